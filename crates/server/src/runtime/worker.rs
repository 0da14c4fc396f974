//! A worker: the loops of one process, and what each of them serves with.

use std::cell::{Cell, OnceCell, RefCell};
use std::hash::BuildHasher;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use revolve_reactor::{
    Address, Deal, JoinHandle, Lease, Listener, Reactors, Readable, Stream, TurnEnd, on_task_panic,
    on_turn_end, spawn, spawn_urgent,
};
use slab::Slab;

use crate::clock::Clock;
use crate::config::Config;
use crate::file_cache::FileCache;
use crate::http::h1::{self, Exchanges, exchange};
use crate::http::site::Site;
use crate::log::{Level, Logs, OpenLogs, Outputs};
use crate::runtime::accepting::{self, Waiting};
use crate::runtime::connection::{Connection, ListenerInfo, Past};
use crate::runtime::peers::{self, Inbox, Others, Peers};
use crate::runtime::report::{self, LoopReport};
use crate::runtime::room::{self, Room};
use crate::zones::{LoopCounts, Seat, ZoneLabel, Zones};

/// Connections are numbered through the whole process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// How often the end of a drain is looked for on the other loops.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// How long the end of a process waits for another loop to write its logs.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// How long a connection must have idled to be closed when its worker drains. The request of a client
/// that asks again at once may be on its way: it is answered, with `Connection: close`.
pub(super) const DRAIN_IDLE: Duration = Duration::from_secs(1);

/// How long those who ask ahead of the answers may keep their connection from its heirs.
const PIPELINE_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Zones, as [`Zones::descriptors`] names them. Those that are missing are made, for this worker
    /// alone.
    pub zones: Vec<(ZoneLabel, OwnedFd)>,
    /// The other workers, where there are any.
    pub peers: Option<Peers>,
    /// Where the workers of another binary, whose place this one takes, send the connections that idle:
    /// a packet socket, non-blocking, which all workers share. Taken at the start alone.
    pub inherited: Option<OwnedFd>,
}

/// What one loop serves with. Everything in it belongs to that loop.
pub struct LoopServer {
    site: RefCell<Rc<Site>>,
    /// The loop's files.
    pub files: FileCache,
    logs: Rc<Outputs>,
    pub(super) connections: RefCell<Slab<Rc<Connection>>>,
    serve: OnceCell<Serve>,
    listeners: RefCell<Vec<Listening>>,
    /// Where connections are dealt to, on a loop that only accepts.
    pub(super) dealer: Option<Arc<Reactors>>,
    pub(super) draining: Cell<bool>,
    /// Requests begun and connections taken, since the loop was built.
    requests: Cell<u64>,
    accepted: Cell<u64>,
    room: Room,
    current_number: Cell<u64>,
    boundary: Cell<u64>,
    ids: foldhash::quality::RandomState,
    turn_end: RefCell<Option<TurnEnd>>,
    pub(super) seat: Arc<Seat>,
    counts: Rc<LoopCounts>,
    /// On a loop that accepts, where other workers do too.
    peers: RefCell<Option<Others>>,
    /// Receives what other workers accepted.
    inbox: RefCell<Option<(Rc<Inbox>, JoinHandle<()>)>>,
    /// Receives what the workers of another binary send.
    pub(super) inheriting: RefCell<Option<JoinHandle<()>>>,
    /// While the worker ends: where idle connections go, and whether they do.
    pub(super) heirs: RefCell<Option<Arc<OwnedFd>>>,
    pub(super) has_heirs: Cell<bool>,
    pub(super) heirs_are_busy: Cell<bool>,
    pub(super) is_impatient: Cell<bool>,
}

/// Starts the task of a connection. The task's type is known where the loop is set up alone.
type Serve = Box<dyn Fn(Rc<Connection>, Option<Lease>)>;

struct Listening {
    info: Rc<ListenerInfo>,
    listener: Rc<Listener>,
    waiting: Rc<Waiting>,
    task: JoinHandle<()>,
}

impl LoopServer {
    /// Makes this thread's loop a server with a configuration; there is one a thread.
    fn start(
        start: &Start,
        dealer: Option<Arc<Reactors>>,
        room: Room,
        counts: LoopCounts,
    ) -> Rc<Self> {
        let outputs = Outputs::new(Rc::new(Clock::of_loop()));
        let limits = file_limits(&start.config);
        let (files, error) = FileCache::new(limits);
        files.set_within(files_within(&start.config));
        let site = site(start, outputs.clone());
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
            logs: outputs,
            connections: RefCell::default(),
            serve: OnceCell::new(),
            listeners: RefCell::default(),
            dealer,
            draining: Cell::new(false),
            requests: Cell::new(0),
            accepted: Cell::new(0),
            room,
            current_number: Cell::new(0),
            boundary: Cell::new(0),
            ids: foldhash::quality::RandomState::default(),
            turn_end: RefCell::new(None),
            seat: start.seat.clone(),
            counts: Rc::new(counts),
            peers: RefCell::default(),
            inbox: RefCell::default(),
            inheriting: RefCell::default(),
            heirs: RefCell::default(),
            has_heirs: Cell::new(false),
            heirs_are_busy: Cell::new(false),
            is_impatient: Cell::new(false),
        });
        let exchanges = Rc::new(Exchanges::new(exchange::exchange));
        let _ = server.serve.set(Box::new(move |connection, lease| {
            spawn(h1::connection::run(connection, exchanges.clone(), lease));
        }));
        server.attach_hooks();
        CURRENT.with(|current| {
            assert!(current.set(server.clone()).is_ok(), "one server a thread");
        });
        server
    }

    fn attach_hooks(self: &Rc<Self>) {
        let server = self.clone();
        *self.turn_end.borrow_mut() = Some(on_turn_end(move || {
            server.files.end_turn();
            server.logs.end_turn();
        }));
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

    /// The worker's row among all workers.
    pub(crate) fn seat(&self) -> &Seat {
        &self.seat
    }

    /// What this loop counts.
    pub(crate) fn counts(&self) -> &Rc<LoopCounts> {
        &self.counts
    }

    /// The server of the calling thread's loop.
    fn current() -> Option<Rc<Self>> {
        CURRENT.with(|current| current.get().cloned())
    }

    /// The configuration for the next request.
    pub fn site(&self) -> Rc<Site> {
        self.site.borrow().clone()
    }

    /// Whether the worker is ending and nobody takes its connections, so that none is kept.
    pub fn is_draining(&self) -> bool {
        self.draining.get() && !self.has_heirs.get()
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
        self.connection_count() < self.room.connections_max()
    }

    /// A request has begun.
    pub(crate) fn note_request(&self) {
        self.requests.set(self.requests.get().wrapping_add(1));
    }

    /// What there is to be told of this loop, with so many of its connections at most.
    pub(crate) fn report(&self, connections_max: usize) -> LoopReport {
        let connections = self.connections.borrow();
        LoopReport {
            accepts_only: self.dealer.is_some(),
            open: connections.len(),
            accepted: self.accepted.get(),
            requests: self.requests.get(),
            stats: revolve_reactor::current().stats(),
            connections: connections
                .iter()
                .take(connections_max)
                .map(|(_, connection)| connection.report())
                .collect(),
        }
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
    pub(crate) fn request_id(&self, request: &crate::http::request::Request) -> String {
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

    /// Takes a connection that was accepted, or that another binary has served before.
    pub(crate) fn admit(
        self: &Rc<Self>,
        fd: OwnedFd,
        peer: Address,
        info: &Rc<ListenerInfo>,
        past: Option<Past>,
    ) {
        match &self.dealer {
            None => self.serve(fd, (peer, past), info.clone(), None),
            Some(reactors) => {
                let address = info.address().clone();
                reactors.deal(fd, move |fd, lease| {
                    if let Some(server) = LoopServer::current() {
                        let info = server.listener_info(address);
                        server.serve(fd, (peer, past), info, Some(lease));
                    }
                });
            }
        }
    }

    fn serve(
        self: &Rc<Self>,
        fd: OwnedFd,
        (peer, past): (Address, Option<Past>),
        info: Rc<ListenerInfo>,
        lease: Option<Lease>,
    ) {
        self.accepted.set(self.accepted.get().wrapping_add(1));
        let stream = match Stream::from_fd(fd) {
            Ok(stream) => stream,
            Err(error) => {
                let reason = crate::log::error_text(&error);
                self.site().logs.process(
                    Level::Alert,
                    format_args!("a connection could not be registered ({reason})"),
                );
                self.seat.note_gone();
                return;
            }
        };
        let connection = Connection::new(stream, peer, info, self.clone());
        match past {
            Some(past) => connection.go_on(past),
            None => self.seat.note_handled(),
        }
        let connection = Rc::new(connection);
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
        self.counts.end_busy(&connection.is_busy);
        self.seat.note_gone();
        self.room.note_end();
        if let Some(acceptor) = self.room.acceptor_waiting_elsewhere() {
            acceptor.run_in_loop(|| {
                if let Some(server) = LoopServer::current() {
                    server.room.note_end();
                }
            });
        }
    }

    /// Closes connections that have idled for at least so long; with `longest`, the one alone
    /// that has idled longest. On a loop that only accepts, those of the loops that serve.
    pub(crate) fn close_idle(&self, at_least: Duration, longest: bool) {
        for handle in self.dealer.iter().flat_map(|reactors| reactors.handles()) {
            handle.run_in_loop(move || {
                if let Some(server) = LoopServer::current() {
                    server.close_idle(at_least, longest);
                }
            });
        }
        let connections = self.connections.borrow();
        let idle = connections
            .iter()
            .filter_map(|(_, connection)| Some((connection.idle_for()?, connection)))
            .filter(|(idle, _)| *idle >= at_least);
        if longest {
            if let Some((_, connection)) = idle.max_by_key(|(idle, _)| *idle) {
                connection.close_idle();
            }
        } else {
            idle.for_each(|(_, connection)| connection.close_idle());
        }
    }

    /// Looks again how many connections there is room for.
    pub(crate) fn measure_room(&self) {
        let site = self.site();
        self.room.measure(&site.config, self.connection_count());
    }

    /// The room for connections.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Whether a connection closes after the response at hand, whatever its client would like.
    pub(crate) fn keeps_not(&self, connection: &Connection) -> bool {
        // Who asks before the answer is there, again and again, never idles.
        let stays_busy = self.is_impatient.get() && connection.pipelined();
        self.is_draining() || self.room.is_pressed() || stays_busy
    }

    /// Complains, once a second at most, that connections have to wait.
    pub(crate) fn complain_of_room(&self, why: &str) {
        if self.room.complaint_is_due() {
            let count = self.connection_count();
            self.site().logs.process(
                Level::Alert,
                format_args!("{why}; {count} connections are open, new ones wait until one ends"),
            );
        }
    }

    /// Takes a configuration: requests that begin from now on are served by it.
    fn set_config(self: &Rc<Self>, start: &Start) {
        self.files.set_limits(file_limits(&start.config));
        self.files.set_within(files_within(&start.config));
        let site = site(start, self.logs.clone());
        *self.site.borrow_mut() = site;
        let site = self.site();
        for (_, connection) in self.connections.borrow().iter() {
            let address = connection.listener().address();
            let kept = site.config.listens().any(|spec| spec.address == *address);
            if !kept && connection.is_idle() {
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
            let batch = if site.config.process.multi_accept() {
                256
            } else {
                16
            };
            listener.set_accept_budget(room::batch_max(batch));
            let is_shared = !spec.options.reuse_port && self.peers.borrow().is_some();
            if !is_shared {
                listener.set_rotation(0);
            }
            let info = Rc::new(ListenerInfo::new(address));
            let waiting = Rc::new(Waiting::default());
            let task = spawn(accepting::run(
                self.clone(),
                listener.clone(),
                info.clone(),
                waiting.clone(),
                is_shared,
            ));
            listeners.push(Listening {
                info,
                listener,
                waiting,
                task,
            });
        }
        Ok(())
    }

    /// Deals connections with the workers of a configuration.
    fn set_peers(self: &Rc<Self>, peers: Option<Peers>) -> io::Result<()> {
        let Some(Peers {
            group,
            own,
            inbox,
            others,
        }) = peers
        else {
            // What was sent before is still received.
            self.seat.set_takes_as(None);
            *self.peers.borrow_mut() = None;
            return Ok(());
        };
        let others = Others::new(group, own, others);
        let inbox = Inbox::new(inbox)?;
        let known = self.inbox.take();
        let (same, another) = match known {
            Some((known, task)) if known.is_same(&inbox) => (Some((known, task)), None),
            another => (None, another),
        };
        if let Some((another, task)) = another {
            // Nobody sends there any more.
            task.cancel();
            another.take_all(self);
        }
        let receiving = same.unwrap_or_else(|| {
            let inbox = Rc::new(inbox);
            let task = spawn(peers::run(self.clone(), inbox.clone()));
            (inbox, task)
        });
        *self.inbox.borrow_mut() = Some(receiving);
        self.seat.set_takes_as(Some(others.own_name()));
        *self.peers.borrow_mut() = Some(others);
        Ok(())
    }

    /// Sends a connection that was accepted to another worker, if that one has clearly fewer. The
    /// answer is whether it is gone.
    pub(crate) fn hand_over(&self, fd: BorrowedFd<'_>, info: &ListenerInfo) -> bool {
        let peers = self.peers.borrow();
        let peers = peers.as_ref();
        peers.is_some_and(|peers| peers.send(&self.seat, fd, info.address()))
    }

    /// Takes a connection that another worker has accepted; it counts as this one's already.
    pub(crate) fn admit_received(self: &Rc<Self>, fd: OwnedFd, peer: Address, listener: Address) {
        self.admit(fd, peer, &self.info_of(listener), None);
    }

    /// The listener of an address on the loop that accepts.
    pub(super) fn info_of(&self, listener: Address) -> Rc<ListenerInfo> {
        let known = self.listeners.borrow();
        let known = known.iter().map(|listening| &listening.info);
        let info = known
            .into_iter()
            .find(|info| *info.address() == listener)
            .cloned();
        info.unwrap_or_else(|| self.listener_info(listener))
    }

    /// Receives no more from other workers, after what is there.
    async fn leave_peers(self: &Rc<Self>) {
        self.seat.set_takes_as(None);
        self.peers.borrow_mut().take();
        let Some((inbox, task)) = self.inbox.borrow_mut().take() else {
            return;
        };
        // Who looked at us a moment ago may be about to send.
        revolve_reactor::sleep(DRAIN_CHECK).await;
        task.cancel();
        inbox.take_all(self);
    }

    /// Stops accepting; connections that were accepted and not served yet still are.
    fn stop_accepting(self: &Rc<Self>) {
        for listening in self.listeners.borrow_mut().drain(..) {
            listening.task.cancel();
            let held = listening.waiting.take();
            let batch = std::iter::from_fn(|| listening.listener.take_accepted());
            for (fd, peer) in held.into_iter().chain(batch.flatten()) {
                self.admit(fd, peer, &listening.info, None);
            }
        }
    }

    fn note_zones(&self) {
        let site = self.site();
        for note in site.zones.notes() {
            site.logs.process(Level::Notice, format_args!("{note}"));
        }
    }
}

fn file_limits(config: &Config) -> crate::file_cache::Limits {
    config
        .http
        .as_ref()
        .map(|http| http.file_limits)
        .unwrap_or_default()
}

fn files_within(config: &Config) -> Option<&Path> {
    config.http.as_ref()?.files_within.as_deref()
}

/// What the loops of a worker begin to serve a configuration with.
#[derive(Clone)]
struct Start {
    config: Arc<Config>,
    logs: OpenLogs,
    zones: Arc<Zones>,
    seat: Arc<Seat>,
}

fn site(start: &Start, outputs: Rc<Outputs>) -> Rc<Site> {
    let (config, zones) = (start.config.clone(), start.zones.clone());
    let process_targets = config.process_log.clone();
    let logs = Logs::new(outputs, &config.logs, &start.logs, process_targets);
    Rc::new(Site::new(config, Rc::new(logs), zones))
}

fn open_zones(config: &Config, given: Vec<(ZoneLabel, OwnedFd)>) -> io::Result<Arc<Zones>> {
    let zones = Zones::open(&config.zones, given);
    zones.map(Arc::new).map_err(io::Error::other)
}

/// The loops of one process.
pub struct Worker {
    main: Rc<LoopServer>,
    reactors: Option<Arc<Reactors>>,
    seat: Arc<Seat>,
}

impl Worker {
    /// Serves a configuration on the current thread's loop; with `worker_threads` above 1 that
    /// loop accepts, and as many others, in threads of their own, serve.
    ///
    /// Errors: a socket that cannot be listened on, a zone, a thread or a loop that cannot be made.
    pub fn start(config: Arc<Config>, descriptors: Descriptors) -> io::Result<Worker> {
        let logs = OpenLogs::from_descriptors(descriptors.logs);
        let zones = open_zones(&config, descriptors.zones)?;
        let seat = Arc::new(Seat::take(&zones).map_err(io::Error::other)?);
        let counts = || LoopCounts::take(&zones).map_err(io::Error::other);
        let start = Start {
            config: config.clone(),
            logs,
            zones: zones.clone(),
            seat: seat.clone(),
        };
        let threads = config.process.thread_count();
        let pressed = Arc::new(AtomicBool::new(false));
        let acceptor = revolve_reactor::current();
        let reactors = if threads > 1 {
            let builder = config.process.event_loop();
            let (start, pressed, acceptor) = (start.clone(), pressed.clone(), acceptor.clone());
            // Taken here, where an error can be told.
            let rows = (0..threads).map(|_| counts()).collect::<io::Result<_>>()?;
            let rows: Mutex<Vec<LoopCounts>> = Mutex::new(rows);
            let init = move |_| {
                let room = Room::new(pressed.clone(), acceptor.clone());
                let row = rows.lock().ok().and_then(|mut rows| rows.pop());
                let row = row.expect("there is a row for each thread");
                LoopServer::start(&start, None, room, row);
            };
            let reactors = Reactors::spawn_with(threads, "reactor", builder, init)?;
            Some(Arc::new(reactors.with_deal(Deal::LeastConnections)))
        } else {
            None
        };
        let room = Room::new(pressed, acceptor);
        let main = LoopServer::start(&start, reactors.clone(), room, counts()?);
        main.note_zones();
        main.set_peers(descriptors.peers)?;
        main.set_listeners(descriptors.listeners)?;
        if let Some(socket) = descriptors.inherited {
            main.inherit(socket)?;
        }
        let server = main.clone();
        // Whoever starts the worker opens some more: signals, the channel to the master.
        spawn(async move {
            revolve_reactor::yield_now().await;
            server.measure_room();
        });
        Ok(Worker {
            main,
            reactors,
            seat,
        })
    }

    /// Runs something on every loop.
    fn on_all(&self, f: impl Fn(&Rc<LoopServer>) + Send + Clone + 'static) {
        for handle in self.reactors.iter().flat_map(|reactors| reactors.handles()) {
            let f = f.clone();
            handle.run_in_loop(move || {
                if let Some(server) = LoopServer::current() {
                    f(&server);
                }
            });
        }
        // Last, so that the others need not wait for it.
        f(&self.main);
    }

    /// Takes a new configuration; open connections stay, requests under way end on the old one.
    ///
    /// Errors: as [`Worker::start`].
    pub fn reload(&self, config: Arc<Config>, descriptors: Descriptors) -> io::Result<()> {
        let logs = OpenLogs::from_descriptors(descriptors.logs);
        let zones = open_zones(&config, descriptors.zones)?;
        let seat = self.seat.clone();
        let start = Start {
            config,
            logs,
            zones,
            seat,
        };
        self.on_all(move |server| server.set_config(&start));
        self.main.note_zones();
        self.main.set_peers(descriptors.peers)?;
        self.main.set_listeners(descriptors.listeners)?;
        self.main.measure_room();
        Ok(())
    }

    /// Takes newly opened log files in place of those of the same paths.
    pub fn reopen(&self, logs: Vec<(PathBuf, OwnedFd)>) {
        let logs = OpenLogs::from_descriptors(logs);
        self.on_all(move |server| server.logs.replace(&logs));
    }

    /// Writes a line about the process to its error log.
    pub fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.main.site().logs.process(level, message);
    }

    /// Connections that are open.
    pub fn connection_count(&self) -> usize {
        self.main.connection_count()
    }

    /// What each loop has to tell, the one that accepts first, with so many of its connections at
    /// most; `None` for a loop that did not answer within `patience`.
    pub async fn report(
        &self,
        connections_max: usize,
        patience: Duration,
    ) -> Vec<Option<LoopReport>> {
        let main = self.main.report(connections_max);
        let handles = self.reactors.iter().flat_map(|reactors| reactors.handles());
        let others = report::gather(handles, patience, move || {
            let server = LoopServer::current();
            server.map(|server| server.report(connections_max))
        });
        let mut loops = vec![Some(main)];
        loops.extend(others.await);
        loops
    }

    /// Stops accepting, and waits until all connections have ended, for `worker_shutdown_timeout`
    /// at most. Those that idle for a second are closed; the others are told so with their next
    /// response. Where there are `heirs`, who have the other end of what is [`Descriptors::inherited`]
    /// there, they get each connection that idles, as soon as it does.
    pub async fn drain(&self, heirs: Option<OwnedFd>) {
        let heirs = heirs.map(Arc::new);
        self.main.stop_accepting();
        self.on_all(move |server| server.begin_drain(heirs.clone()));
        self.main.leave_peers().await;
        let timeout_ms = self.main.site().config.process.worker_shutdown_timeout_ms;
        let end = timeout_ms.map(|ms| revolve_reactor::now() + Duration::from_millis(ms));
        let patience_end = revolve_reactor::now() + PIPELINE_PATIENCE;
        while self.connection_count() > 0 && end.is_none_or(|end| revolve_reactor::now() < end) {
            revolve_reactor::sleep(DRAIN_CHECK).await;
            self.on_all(|server| server.release_idle());
            if revolve_reactor::now() > patience_end {
                self.on_all(|server| server.lose_patience());
            }
        }
        self.flush();
    }

    /// Writes what the logs have gathered, before the process ends. It waits for the other loops,
    /// and for a moment for a pipe that is full.
    pub fn flush(&self) {
        let (done, all_done) = mpsc::channel();
        self.on_all(move |server| {
            server.logs.finish();
            // Nobody waits any more if that took too long.
            let _ = done.send(());
        });
        let loops = 1 + self.reactors.as_ref().map_or(0, |reactors| reactors.len());
        for _ in 0..loops {
            if all_done.recv_timeout(FLUSH_PATIENCE).is_err() {
                return;
            }
        }
    }
}
