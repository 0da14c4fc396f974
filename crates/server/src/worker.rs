//! A worker: the loops of one process, and what each of them serves with.

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use revolve_reactor::{
    Address, Deal, JoinHandle, Lease, Listener, Reactors, Readable, Stream, TurnEnd, on_task_panic,
    on_turn_end, spawn, spawn_urgent,
};
use slab::Slab;

use crate::config::Config;
use crate::connection::{self, Connection, ListenerInfo, State};
use crate::exchange::{Exchanges, exchange};
use crate::file_cache::FileCache;
use crate::listener;
use crate::log::{Clock, Level, LogFile, Logs, OpenLogs, file::STDERR};
use crate::site::Site;

/// Connections are numbered through the whole process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// How often a lack of room is complained about.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// How often the end of a drain is looked for on the other loops.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

thread_local! {
    static CURRENT: OnceCell<Rc<LoopServer>> = const { OnceCell::new() };
}

/// What a worker cannot open for itself.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Listening sockets, non-blocking.
    pub listeners: Vec<(Address, OwnedFd)>,
    /// Log files by the paths of [`Config::log_paths`].
    pub logs: Vec<(PathBuf, OwnedFd)>,
}

/// What one loop serves with. Everything in it belongs to that loop.
pub struct LoopServer {
    site: RefCell<Rc<Site>>,
    /// The loop's files.
    pub files: FileCache,
    clock: Rc<Clock>,
    connections: RefCell<Slab<Rc<Connection>>>,
    serve: OnceCell<Serve>,
    listeners: RefCell<Vec<Listening>>,
    /// Where connections are dealt to, on a loop that only accepts.
    dealer: Option<Arc<Reactors>>,
    draining: Cell<bool>,
    ended: RefCell<Vec<Waker>>,
    complained_at: Cell<Option<Instant>>,
    current_number: Cell<u64>,
    boundary: Cell<u64>,
    ids: foldhash::quality::RandomState,
    turn_end: RefCell<Option<TurnEnd>>,
}

/// Starts the task of a connection. The task's type is known where the loop is set up alone.
type Serve = Box<dyn Fn(Rc<Connection>, Option<Lease>)>;

struct Listening {
    info: Rc<ListenerInfo>,
    listener: Rc<Listener>,
    task: JoinHandle<()>,
}

impl LoopServer {
    /// Makes this thread's loop a server with a configuration; there is one a thread.
    fn start(config: Arc<Config>, logs: &OpenLogs, dealer: Option<Arc<Reactors>>) -> Rc<Self> {
        let clock = Rc::new(Clock::of_loop());
        let limits = file_limits(&config);
        let (files, error) = FileCache::new(limits);
        let site = site(config, logs, clock.clone());
        if let Some(error) = error {
            let reason = crate::log::error_text(&error);
            site.logs.process(
                Level::Warn,
                format_args!(
                    "inotify_init1() failed ({reason}), files are opened for each request; \
                     raise fs.inotify.max_user_instances to cache them"
                ),
            );
        }
        let server = Rc::new(Self {
            site: RefCell::new(site),
            files,
            clock,
            connections: RefCell::default(),
            serve: OnceCell::new(),
            listeners: RefCell::default(),
            dealer,
            draining: Cell::new(false),
            ended: RefCell::default(),
            complained_at: Cell::new(None),
            current_number: Cell::new(0),
            boundary: Cell::new(0),
            ids: foldhash::quality::RandomState::default(),
            turn_end: RefCell::new(None),
        });
        let exchanges = Rc::new(Exchanges::new(exchange));
        let _ = server.serve.set(Box::new(move |connection, lease| {
            spawn(connection::run(connection, exchanges.clone(), lease));
        }));
        server.attach_hooks();
        CURRENT.with(|current| {
            assert!(current.set(server.clone()).is_ok(), "one server a thread");
        });
        server
    }

    fn attach_hooks(self: &Rc<Self>) {
        let server = self.clone();
        *self.turn_end.borrow_mut() = Some(on_turn_end(move || server.site.borrow().logs.flush()));
        let server = self.clone();
        on_task_panic(move |message| {
            let number = server.current_number.get();
            let site = server.site();
            site.logs.connection(
                &site.config.process_log,
                Level::Alert,
                number,
                format_args!("a request's task panicked and its connection is closed: {message}"),
            );
        });
        if let Some(Ok(fd)) = self.files.watch_descriptor()
            && let Ok(queue) = Readable::new(fd)
        {
            let server = self.clone();
            // Urgent: what changed before a request was read is known before it is answered.
            spawn_urgent(async move {
                while queue.ready().await.is_ok() {
                    server.files.drain();
                }
            });
        }
    }

    /// The server of the calling thread's loop.
    fn current() -> Option<Rc<Self>> {
        CURRENT.with(|current| current.get().cloned())
    }

    /// The configuration for the next request.
    pub fn site(&self) -> Rc<Site> {
        self.site.borrow().clone()
    }

    /// Whether the worker is ending, so that no connection is kept.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Connections of this loop.
    pub fn connection_count(&self) -> usize {
        match &self.dealer {
            Some(reactors) => reactors.connections().iter().sum(),
            None => self.connections.borrow().len(),
        }
    }

    /// Whether `worker_connections` allows another connection.
    pub(crate) fn has_room(&self) -> bool {
        self.connection_count() < self.site.borrow().config.process.connections_max()
    }

    pub(crate) fn next_connection_number(&self) -> u64 {
        CONNECTIONS.fetch_add(1, Ordering::Relaxed)
    }

    /// A number for the boundary of a multipart response.
    pub(crate) fn next_boundary(&self) -> u64 {
        self.boundary.set(self.boundary.get() + 1);
        self.boundary.get()
    }

    /// `$request_id`: 32 hexadecimal digits, the same for one request however often it is asked.
    pub(crate) fn request_id(&self, request: &crate::request::Request) -> String {
        let half = |salt: u8| {
            self.ids
                .hash_one((request.connection.number, request.sequence, salt))
        };
        format!("{:016x}{:016x}", half(0), half(1))
    }

    /// The connection whose task runs, for the report of a panic.
    pub(crate) fn set_current(&self, number: u64) {
        self.current_number.set(number);
    }

    /// Takes a connection that was accepted.
    pub(crate) fn admit(self: &Rc<Self>, fd: OwnedFd, peer: Address, info: &Rc<ListenerInfo>) {
        match &self.dealer {
            None => self.serve(fd, peer, info.clone(), None),
            Some(reactors) => {
                let address = info.address().clone();
                reactors.deal(fd, move |fd, lease| {
                    if let Some(server) = LoopServer::current() {
                        let info = server.listener_info(address);
                        server.serve(fd, peer, info, Some(lease));
                    }
                });
            }
        }
    }

    fn serve(
        self: &Rc<Self>,
        fd: OwnedFd,
        peer: Address,
        info: Rc<ListenerInfo>,
        lease: Option<Lease>,
    ) {
        let stream = match Stream::from_fd(fd) {
            Ok(stream) => stream,
            Err(error) => {
                let reason = crate::log::error_text(&error);
                self.site().logs.process(
                    Level::Alert,
                    format_args!("a connection could not be registered ({reason})"),
                );
                return;
            }
        };
        let connection = Rc::new(Connection::new(stream, peer, info, self.clone()));
        let key = self.connections.borrow_mut().insert(connection.clone());
        connection.key.set(key);
        let serve = self.serve.get().expect("it is set when the server starts");
        serve(connection, lease);
    }

    /// The listener of an address on a loop that does not accept: one for all its connections.
    fn listener_info(&self, address: Address) -> Rc<ListenerInfo> {
        let connections = self.connections.borrow();
        let known = connections.iter().map(|(_, known)| known.listener_rc());
        match known.into_iter().find(|info| *info.address() == address) {
            Some(info) => info.clone(),
            None => Rc::new(ListenerInfo::new(address)),
        }
    }

    pub(crate) fn remove(&self, connection: &Connection) {
        self.connections
            .borrow_mut()
            .try_remove(connection.key.get());
        for waker in self.ended.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Waits until a connection ends.
    pub(crate) async fn connection_ended(&self) {
        let mut registered = false;
        poll_fn(|cx| {
            if registered {
                return Poll::Ready(());
            }
            registered = true;
            self.ended.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Closes the connection that has idled longest: somebody needs its descriptor more.
    pub(crate) fn close_longest_idle(&self) {
        let connections = self.connections.borrow();
        let idle = connections.iter().map(|(_, connection)| connection);
        let idle = idle.filter(|connection| connection.state() == State::Idle);
        if let Some(connection) = idle.min_by_key(|connection| connection.number) {
            connection.close_idle();
        }
    }

    /// Complains, once a second at most, that connections have to wait.
    pub(crate) fn complain_of_room(&self, why: &str) {
        let now = revolve_reactor::now();
        let due = self
            .complained_at
            .get()
            .is_none_or(|at| now - at >= COMPLAINT_INTERVAL);
        if due {
            self.complained_at.set(Some(now));
            let count = self.connection_count();
            self.site().logs.process(
                Level::Alert,
                format_args!("{why}; {count} connections are open, new ones wait until one ends"),
            );
        }
    }

    /// Takes a configuration: requests that begin from now on are served by it.
    fn set_config(self: &Rc<Self>, config: Arc<Config>, logs: &OpenLogs) {
        self.files.set_limits(file_limits(&config));
        self.site.borrow().logs.flush();
        let site = site(config, logs, self.clock.clone());
        *self.site.borrow_mut() = site;
        let site = self.site();
        for (_, connection) in self.connections.borrow().iter() {
            let address = connection.listener().address();
            let kept = site.config.listens().any(|spec| spec.address == *address);
            if !kept && connection.state() == State::Idle {
                connection.close_idle();
            }
        }
    }

    /// Listens on what the configuration names; sockets of before are kept where it still does.
    fn set_listeners(self: &Rc<Self>, offered: Vec<(Address, OwnedFd)>) -> io::Result<()> {
        let site = self.site();
        let mut listeners = self.listeners.borrow_mut();
        listeners.retain(|listening| {
            let address = listening.info.address();
            let kept = site.config.listens().any(|spec| spec.address == *address);
            if !kept {
                listening.task.cancel();
            }
            kept
        });
        for (address, fd) in offered {
            if listeners
                .iter()
                .any(|listening| *listening.info.address() == address)
            {
                continue;
            }
            let Some(spec) = site.config.listens().find(|spec| spec.address == address) else {
                continue;
            };
            if !address.is_unix() {
                // Accepted sockets inherit it, so that no connection pays for it.
                rustix::net::sockopt::set_tcp_nodelay(fd.as_fd(), true)?;
            }
            let listener = Rc::new(Listener::from_fd(fd)?);
            if site.config.process.multi_accept() {
                listener.set_accept_budget(256);
            }
            if spec.options.reuse_port || site.config.process.worker_count() == 1 {
                listener.set_rotation(0);
            }
            let info = Rc::new(ListenerInfo::new(address));
            let task = spawn(listener::run(self.clone(), listener.clone(), info.clone()));
            listeners.push(Listening {
                info,
                listener,
                task,
            });
        }
        Ok(())
    }

    /// Stops accepting; connections that were accepted and not served yet still are.
    fn stop_accepting(self: &Rc<Self>) {
        for listening in self.listeners.borrow_mut().drain(..) {
            listening.task.cancel();
            while let Some(accepted) = listening.listener.take_accepted() {
                if let Ok((fd, peer)) = accepted {
                    self.admit(fd, peer, &listening.info);
                }
            }
        }
    }

    fn begin_drain(self: &Rc<Self>) {
        self.draining.set(true);
        for (_, connection) in self.connections.borrow().iter() {
            if connection.state() == State::Idle {
                connection.close_idle();
            }
        }
    }

    fn flush_logs(&self) {
        self.site.borrow().logs.flush();
    }
}

fn file_limits(config: &Config) -> crate::file_cache::Limits {
    config
        .http
        .as_ref()
        .map(|http| http.file_limits)
        .unwrap_or_default()
}

fn site(config: Arc<Config>, logs: &OpenLogs, clock: Rc<Clock>) -> Rc<Site> {
    let files = config
        .log_paths
        .iter()
        .map(|path| {
            let file = logs.get(path).or_else(|| {
                let is_stderr = path.as_os_str() == STDERR;
                is_stderr
                    .then(|| crate::log::file::open(path).ok().map(Arc::new))
                    .flatten()
            });
            LogFile::new(path.clone(), file)
        })
        .collect();
    let logs = Rc::new(Logs::new(files, config.process_log.clone(), clock));
    Rc::new(Site { config, logs })
}

/// The loops of one process.
pub struct Worker {
    main: Rc<LoopServer>,
    reactors: Option<Arc<Reactors>>,
}

impl Worker {
    /// Serves a configuration on the current thread's loop; with `worker_threads` above 1 that
    /// loop accepts, and as many others, in threads of their own, serve.
    ///
    /// Errors: a socket that cannot be listened on, a thread or a loop that cannot be made.
    pub fn start(config: Arc<Config>, descriptors: Descriptors) -> io::Result<Worker> {
        let logs = OpenLogs::from_descriptors(descriptors.logs);
        let threads = config.process.thread_count();
        let reactors = if threads > 1 {
            let builder = config.process.event_loop();
            let (config, logs) = (config.clone(), logs.clone());
            let init = move |_| {
                LoopServer::start(config.clone(), &logs, None);
            };
            let reactors = Reactors::spawn_with(threads, "reactor", builder, init)?;
            Some(Arc::new(reactors.with_deal(Deal::LeastConnections)))
        } else {
            None
        };
        let main = LoopServer::start(config, &logs, reactors.clone());
        main.set_listeners(descriptors.listeners)?;
        Ok(Worker { main, reactors })
    }

    /// Runs something on every loop.
    fn on_all(&self, f: impl Fn(&Rc<LoopServer>) + Send + Clone + 'static) {
        f(&self.main);
        for handle in self.reactors.iter().flat_map(|reactors| reactors.handles()) {
            let f = f.clone();
            handle.run_in_loop(move || {
                if let Some(server) = LoopServer::current() {
                    f(&server);
                }
            });
        }
    }

    /// Takes a new configuration; open connections stay, requests under way end on the old one.
    ///
    /// Errors: as [`Worker::start`].
    pub fn reload(&self, config: Arc<Config>, descriptors: Descriptors) -> io::Result<()> {
        let logs = OpenLogs::from_descriptors(descriptors.logs);
        self.on_all(move |server| server.set_config(config.clone(), &logs));
        self.main.set_listeners(descriptors.listeners)
    }

    /// Takes newly opened log files in place of those of the same paths.
    pub fn reopen(&self, logs: Vec<(PathBuf, OwnedFd)>) {
        let logs = OpenLogs::from_descriptors(logs);
        self.on_all(move |server| server.site().logs.replace(&logs));
    }

    /// Writes a line about the process to its error log.
    pub fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.main.site().logs.process(level, message);
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.main.connection_count()
    }

    /// Stops accepting, closes idle connections and waits until the others have ended, for
    /// `worker_shutdown_timeout` at most.
    pub async fn drain(&self) {
        self.main.stop_accepting();
        self.on_all(LoopServer::begin_drain);
        let timeout_ms = self.main.site().config.process.worker_shutdown_timeout_ms;
        let end = timeout_ms.map(|ms| revolve_reactor::now() + Duration::from_millis(ms));
        while self.connection_count() > 0 && end.is_none_or(|end| revolve_reactor::now() < end) {
            revolve_reactor::sleep(DRAIN_CHECK).await;
        }
        self.flush();
    }

    /// Writes what the logs have gathered, before the process ends.
    pub fn flush(&self) {
        self.on_all(|server| server.flush_logs());
    }
}
