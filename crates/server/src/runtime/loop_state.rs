//! What one loop of a worker has: the configuration in force, files, logs, connections, counts.
//!
//! Everything in it belongs to that loop. Accepting, draining and handing off have files of their own
//! beside this one.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::cmp::Reverse;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use revolve_reactor::{
    Address, Lease, Reactors, Readable, Stream, TurnEnd, on_task_panic, on_turn_end, spawn_urgent,
};
use slab::Slab;

use crate::clock::Clock;
use crate::config::Base;
use crate::file_cache::FileCache;
use crate::log::{Level, Logs, OpenLogs, Outputs, error_text};
use crate::net::SocketId;
use crate::net::resolver::Resolvers;
use crate::runtime::accepting::Accepting;
use crate::runtime::capacity::{Capacity, Idle};
use crate::runtime::connection::{Connection, History, ListenerInfo};
use crate::runtime::draining::Draining;
use crate::runtime::report::LoopReport;
use crate::upstream::report::{UpstreamOrder, UpstreamReport};
use crate::zones::{LoopCounts, Seat, Zones};

/// Connections are numbered through the whole process.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

thread_local! {
    static CURRENT: OnceCell<Rc<LoopState>> = const { OnceCell::new() };
}

/// A configuration as any thread may have it: what every loop installs.
#[derive(Clone)]
pub(crate) struct Offered {
    pub(crate) base: Arc<Base>,
    /// The configuration as the applications know it.
    pub(crate) whole: Arc<dyn Any + Send + Sync>,
    pub(crate) logs: OpenLogs,
    pub(crate) zones: Arc<Zones>,
    pub(crate) seat: Arc<Seat>,
}

/// A configuration in force on one loop.
pub(crate) struct Installed {
    pub(crate) base: Arc<Base>,
    /// The configuration as the applications know it.
    pub(crate) whole: Arc<dyn Any + Send + Sync>,
    pub(crate) logs: Rc<Logs>,
    pub(crate) zones: Arc<Zones>,
    pub(crate) seat: Arc<Seat>,
}

impl Installed {
    fn new(offered: &Offered, outputs: Rc<Outputs>) -> Rc<Self> {
        let base = offered.base.clone();
        let logs = Logs::new(outputs, &base.logs, &offered.logs, base.process_log.clone());
        Rc::new(Self {
            base,
            whole: offered.whole.clone(),
            logs: Rc::new(logs),
            zones: offered.zones.clone(),
            seat: offered.seat.clone(),
        })
    }
}

/// What serves the connections of one loop.
pub(crate) trait Applications {
    /// A configuration is in force: requests that begin from now on are served by it.
    fn configure(&self, installed: &Rc<Installed>);

    /// Whether a connection that was just accepted begins with a handshake.
    fn speaks_tls(&self, connection: &Connection) -> bool;

    /// The groups of servers behind it; an order is obeyed before.
    fn upstreams(&self, order: Option<&UpstreamOrder>) -> Vec<UpstreamReport>;

    /// Serves a connection, until it ends. `lease` counts it where loops are dealt connections.
    fn serve(&self, connection: Rc<Connection>, lease: Option<Lease>);
}

/// Makes the applications of a loop, which serve nothing before they are configured.
pub(crate) type MakeApplications = fn() -> Box<dyn Applications>;

/// What one loop serves with. Everything in it belongs to that loop.
pub(crate) struct LoopState {
    installed: RefCell<Rc<Installed>>,
    /// The loop's files.
    pub(crate) files: FileCache,
    /// What names lead to.
    pub(crate) resolvers: Resolvers,
    pub(super) logs: Rc<Outputs>,
    pub(super) connections: RefCell<Slab<Rc<Connection>>>,
    applications: OnceCell<Box<dyn Applications>>,
    /// Where connections are dealt to, on a loop that only accepts.
    pub(super) dealer: Option<Arc<Reactors>>,
    pub(super) accepting: Accepting,
    pub(super) draining: Draining,
    /// Connections taken since the loop was built.
    accepted: Cell<u64>,
    pub(super) capacity: Capacity,
    current_number: Cell<u64>,
    turn_end: RefCell<Option<TurnEnd>>,
    pub(super) seat: Arc<Seat>,
    counts: Rc<LoopCounts>,
}

impl LoopState {
    /// Makes this thread's loop serve a configuration; there is one a thread.
    pub(crate) fn start(
        offered: &Offered,
        applications: MakeApplications,
        dealer: Option<Arc<Reactors>>,
        capacity: Capacity,
        counts: LoopCounts,
    ) -> Rc<Self> {
        let outputs = Outputs::new(Rc::new(Clock::of_loop()));
        let (files, error) = FileCache::new(offered.base.file_limits);
        files.set_within(offered.base.files_within.as_deref());
        let installed = Installed::new(offered, outputs.clone());
        if let Some(error) = error {
            let reason = error_text(&error);
            installed.logs.process(
                Level::Warn,
                format_args!(
                    "inotify_init1() failed ({reason}), files are opened for each request; \
                     raise fs.inotify.max_user_instances to cache them"
                ),
            );
        }
        let state = Rc::new(Self {
            installed: RefCell::new(installed),
            files,
            resolvers: Resolvers::default(),
            logs: outputs,
            connections: RefCell::default(),
            applications: OnceCell::new(),
            dealer,
            accepting: Accepting::default(),
            draining: Draining::default(),
            accepted: Cell::new(0),
            capacity,
            current_number: Cell::new(0),
            turn_end: RefCell::new(None),
            seat: offered.seat.clone(),
            counts: Rc::new(counts),
        });
        let made = applications();
        made.configure(&state.installed());
        let _ = state.applications.set(made);
        state.attach_hooks();
        CURRENT.with(|current| {
            assert!(current.set(state.clone()).is_ok(), "one server a thread");
        });
        state
    }

    fn applications(&self) -> &dyn Applications {
        let made = self.applications.get();
        made.expect("they are made when the loop starts").as_ref()
    }

    fn attach_hooks(self: &Rc<Self>) {
        let state = self.clone();
        *self.turn_end.borrow_mut() = Some(on_turn_end(move || {
            if state.files.end_turn() {
                state.log(
                    Level::Warn,
                    format_args!(
                        "inotify_add_watch() failed (28: No space left on device), files of folders that \
                         are not watched are opened for each request; raise fs.inotify.max_user_watches \
                         to cache them"
                    ),
                );
            }
            state.logs.end_turn();
        }));
        let state = self.clone();
        on_task_panic(move |message| {
            let number = state.current_number.get();
            let installed = state.installed();
            installed.logs.connection(
                &installed.base.process_log,
                Level::Alert,
                number,
                format_args!("a request's task panicked and its connection is closed: {message}"),
            );
        });
        if let Some(Ok(fd)) = self.files.watch_descriptor()
            && let Ok(queue) = Readable::new(fd)
        {
            let state = self.clone();
            // Urgent: what changed before a request was read is known before it is answered.
            spawn_urgent(async move {
                while queue.ready().await.is_ok() {
                    state.files.drain();
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
    /// The state of the calling thread's loop.
    pub(crate) fn current() -> Option<Rc<Self>> {
        CURRENT.with(|current| current.get().cloned())
    }

    /// The configuration in force.
    pub(crate) fn installed(&self) -> Rc<Installed> {
        self.installed.borrow().clone()
    }

    /// Writes a line about the process to its error log.
    pub(crate) fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.installed.borrow().logs.process(level, message);
    }

    /// Connections of this loop.
    pub(crate) fn connection_count(&self) -> usize {
        match &self.dealer {
            Some(reactors) => reactors.connections().iter().sum(),
            None => self.connections.borrow().len(),
        }
    }

    /// Whether `worker_connections` allows another connection.
    pub(crate) fn has_capacity(&self) -> bool {
        self.connection_count() < self.capacity.connections_max()
    }
    /// What there is to be told of this loop, with so many of its connections at most.
    pub(super) fn report(&self, connections_max: usize) -> LoopReport {
        let connections = self.connections.borrow();
        LoopReport {
            accepts_only: self.dealer.is_some(),
            open: connections.len(),
            accepted: self.accepted.get(),
            requests: self.counts.requests(),
            stats: revolve_reactor::current().stats(),
            connections: connections
                .iter()
                .take(connections_max)
                .map(|(_, connection)| connection.report())
                .collect(),
        }
    }

    /// The groups of servers behind it; an order is obeyed before.
    pub(super) fn upstreams(&self, order: Option<&UpstreamOrder>) -> Vec<UpstreamReport> {
        self.applications().upstreams(order)
    }

    pub(crate) fn next_connection_number(&self) -> u64 {
        CONNECTIONS.fetch_add(1, Ordering::Relaxed)
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
        history: Option<History>,
    ) {
        match &self.dealer {
            None => self.serve(fd, (peer, history), info.clone(), None),
            Some(reactors) => {
                let socket = info.id().clone();
                reactors.deal(fd, move |fd, lease| {
                    if let Some(state) = LoopState::current() {
                        let info = state.listener_info(socket);
                        state.serve(fd, (peer, history), info, Some(lease));
                    }
                });
            }
        }
    }

    fn serve(
        self: &Rc<Self>,
        fd: OwnedFd,
        (peer, history): (Address, Option<History>),
        info: Rc<ListenerInfo>,
        lease: Option<Lease>,
    ) {
        self.accepted.set(self.accepted.get().wrapping_add(1));
        let stream = match Stream::from_fd(fd) {
            Ok(stream) => stream,
            Err(error) => {
                let reason = error_text(&error);
                self.log(
                    Level::Alert,
                    format_args!("a connection could not be registered ({reason})"),
                );
                self.seat.note_left();
                return;
            }
        };
        let mut connection = Connection::new(stream.into(), peer, info, self.clone());
        if self.applications().speaks_tls(&connection) {
            connection = connection.into_tls();
        }
        match history {
            Some(history) => connection.resume(history),
            None => self.seat.note_handled(),
        }
        let connection = Rc::new(connection);
        let key = self.connections.borrow_mut().insert(connection.clone());
        connection.key.set(key);
        self.applications().serve(connection, lease);
    }

    /// The listener of a socket on a loop that does not accept: one for all its connections.
    pub(super) fn listener_info(&self, socket: SocketId) -> Rc<ListenerInfo> {
        let connections = self.connections.borrow();
        let known = connections.iter().map(|(_, known)| known.listener_rc());
        match known.into_iter().find(|info| *info.id() == socket) {
            Some(info) => info.clone(),
            None => Rc::new(ListenerInfo::new(socket)),
        }
    }

    pub(crate) fn remove(&self, connection: &Connection) {
        self.connections
            .borrow_mut()
            .try_remove(connection.key.get());
        self.counts.end_busy(&connection.is_busy);
        self.seat.note_left();
        self.capacity.note_end();
        if let Some(acceptor) = self.capacity.acceptor_waiting_elsewhere() {
            acceptor.run_in_loop(|| {
                if let Some(state) = LoopState::current() {
                    state.capacity.note_end();
                }
            });
        }
    }

    /// Closes connections that have idled for at least so long, as many of each loop as `which` says. On a
    /// loop that only accepts, those of the loops that serve.
    pub(crate) fn close_idle(&self, at_least: Duration, which: Idle) {
        for handle in self.dealer.iter().flat_map(|reactors| reactors.handles()) {
            handle.run_in_loop(move || {
                if let Some(state) = LoopState::current() {
                    state.close_idle(at_least, which);
                }
            });
        }
        let connections = self.connections.borrow();
        let idle = connections
            .iter()
            .filter(|(_, connection)| connection.has_idled_for(at_least))
            .filter_map(|(_, connection)| Some((connection.idle_for()?, connection)));
        let mut idle: Vec<_> = idle.collect();
        let count = which.count(idle.len());
        if (1..idle.len()).contains(&count) {
            // Those that have idled longest come first.
            idle.select_nth_unstable_by_key(count, |(idle, _)| Reverse(*idle));
        }
        for (_, connection) in idle.into_iter().take(count) {
            connection.close_idle();
        }
    }

    /// Takes a configuration: requests that begin from now on are served by it.
    pub(super) fn install(self: &Rc<Self>, offered: &Offered) {
        self.files.set_limits(offered.base.file_limits);
        self.files.set_within(offered.base.files_within.as_deref());
        let installed = Installed::new(offered, self.logs.clone());
        *self.installed.borrow_mut() = installed.clone();
        self.applications().configure(&installed);
        for (_, connection) in self.connections.borrow().iter() {
            let socket = connection.listener().id();
            if !installed.base.listens_on(socket) && connection.is_idle() {
                connection.close_idle();
            }
        }
    }
}
