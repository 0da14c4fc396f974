//! A worker: the loops of one process.

use std::any::Any;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use revolve_reactor::{Deal, Reactors, spawn};

use crate::config::Base;
use crate::log::{Level, OpenLogs};
use crate::net::SocketId;
use crate::runtime::capacity::Capacity;
use crate::runtime::dealing::Peers;
use crate::runtime::loop_state::{LoopState, MakeApplications, Offered};
use crate::runtime::report::{self, LoopReport};
use crate::upstream::report::{UpstreamOrder, UpstreamReport};
use crate::zones::{LoopCounts, Seat, ZoneLabel, Zones};

/// How often the end of a drain is looked for on the other loops.
const DRAIN_CHECK: Duration = Duration::from_millis(20);

/// How long the end of a process waits for another loop to write its logs.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How long those who ask ahead of the answers may keep their connection from a drain.
const PIPELINING_TIMEOUT: Duration = Duration::from_secs(5);

/// What a worker cannot open for itself.
#[derive(Debug, Default)]
pub struct Descriptors {
    /// Listening sockets, non-blocking.
    pub listeners: Vec<(SocketId, OwnedFd)>,
    /// Log files by the paths of [`Config::log_paths`](crate::Config::log_paths).
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

impl Descriptors {
    /// What the loops are offered of a configuration, and what the loop that accepts needs besides.
    fn split(
        self,
        (base, whole): Configuration,
        seat: impl FnOnce(&Arc<Zones>) -> io::Result<Arc<Seat>>,
    ) -> io::Result<(Offered, Sockets)> {
        let zones = Zones::open(&base.zones, self.zones).map_err(io::Error::other)?;
        let zones = Arc::new(zones);
        let offered = Offered {
            base,
            whole,
            logs: OpenLogs::from_descriptors(self.logs),
            seat: seat(&zones)?,
            zones,
        };
        let sockets = Sockets {
            listeners: self.listeners,
            peers: self.peers,
            inherited: self.inherited,
        };
        Ok((offered, sockets))
    }
}

/// What the loop that accepts needs.
struct Sockets {
    listeners: Vec<(SocketId, OwnedFd)>,
    peers: Option<Peers>,
    inherited: Option<OwnedFd>,
}

/// A configuration as the runtime knows it, and as the applications do.
pub(crate) type Configuration = (Arc<Base>, Arc<dyn Any + Send + Sync>);

/// The loops of one process.
pub(crate) struct Worker {
    main: Rc<LoopState>,
    reactors: Option<Arc<Reactors>>,
    seat: Arc<Seat>,
}

impl Worker {
    /// Serves a configuration on the current thread's loop; with `worker_threads` above 1 that
    /// loop accepts, and as many others, in threads of their own, serve.
    ///
    /// Errors: a socket that cannot be listened on, a zone, a thread or a loop that cannot be made.
    pub(crate) fn start(
        configuration: Configuration,
        descriptors: Descriptors,
        applications: MakeApplications,
    ) -> io::Result<Worker> {
        let take_seat =
            |zones: &Arc<Zones>| Seat::take(zones).map(Arc::new).map_err(io::Error::other);
        let (offered, sockets) = descriptors.split(configuration, take_seat)?;
        let counts = || LoopCounts::take(&offered.zones).map_err(io::Error::other);
        let pressed = Arc::new(AtomicBool::new(false));
        let acceptor = revolve_reactor::current();
        let threads = offered.base.process.thread_count();
        let reactors = if threads > 1 {
            let builder = offered.base.process.event_loop();
            let (offered, pressed, acceptor) = (offered.clone(), pressed.clone(), acceptor.clone());
            // Taken here, where an error can be told.
            let rows = (0..threads).map(|_| counts()).collect::<io::Result<_>>()?;
            let rows: Mutex<Vec<LoopCounts>> = Mutex::new(rows);
            let init = move |_| {
                let capacity = Capacity::new(pressed.clone(), acceptor.clone());
                let row = rows.lock().ok().and_then(|mut rows| rows.pop());
                let row = row.expect("there is a row for each thread");
                LoopState::start(&offered, applications, None, capacity, row);
            };
            let reactors = Reactors::spawn_with(threads, "reactor", builder, init)?;
            Some(Arc::new(reactors.with_deal(Deal::LeastConnections)))
        } else {
            None
        };
        let capacity = Capacity::new(pressed, acceptor);
        let main = LoopState::start(
            &offered,
            applications,
            reactors.clone(),
            capacity,
            counts()?,
        );
        let worker = Worker {
            main: main.clone(),
            reactors,
            seat: offered.seat.clone(),
        };
        worker.listen(sockets)?;
        // Whoever starts the worker opens some more: signals, the channel to the master.
        spawn(async move {
            revolve_reactor::yield_now().await;
            main.measure_capacity();
        });
        Ok(worker)
    }

    /// Has the loop that accepts do so as the configuration in force says.
    fn listen(&self, sockets: Sockets) -> io::Result<()> {
        let installed = self.main.installed();
        for note in installed.zones.notes() {
            self.log(Level::Notice, format_args!("{note}"));
        }
        self.main.set_peers(sockets.peers)?;
        self.main.set_listeners(sockets.listeners)?;
        match sockets.inherited {
            Some(socket) => self.main.receive_handoffs(socket),
            None => Ok(()),
        }
    }

    /// Runs something on every loop.
    fn on_all(&self, f: impl Fn(&Rc<LoopState>) + Send + Clone + 'static) {
        for handle in self.reactors.iter().flat_map(|reactors| reactors.handles()) {
            let f = f.clone();
            handle.run_in_loop(move || {
                if let Some(state) = LoopState::current() {
                    f(&state);
                }
            });
        }
        // Last, so that the others need not wait for it.
        f(&self.main);
    }

    /// Takes a new configuration; open connections stay, requests under way end on the old one.
    ///
    /// Errors: as [`Worker::start`].
    pub(crate) fn reload(
        &self,
        configuration: Configuration,
        descriptors: Descriptors,
    ) -> io::Result<()> {
        let seat = self.seat.clone();
        let (offered, sockets) = descriptors.split(configuration, |_| Ok(seat))?;
        self.on_all(move |state| state.install(&offered));
        self.listen(Sockets {
            inherited: None,
            ..sockets
        })?;
        self.main.measure_capacity();
        Ok(())
    }

    /// Takes newly opened log files in place of those of the same paths.
    pub(crate) fn reopen(&self, logs: Vec<(PathBuf, OwnedFd)>) {
        let logs = OpenLogs::from_descriptors(logs);
        self.on_all(move |state| state.logs.replace(&logs));
    }

    /// Writes a line about the process to its error log.
    pub(crate) fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        self.main.log(level, message);
    }

    /// Connections that are open.
    pub(crate) fn connection_count(&self) -> usize {
        self.main.connection_count()
    }

    /// What each loop has to tell, the one that accepts first, with so many of its connections at
    /// most; `None` for a loop that did not answer within `patience`.
    pub(crate) async fn report(
        &self,
        connections_max: usize,
        patience: Duration,
    ) -> Vec<Option<LoopReport>> {
        let main = self.main.report(connections_max);
        let handles = self.reactors.iter().flat_map(|reactors| reactors.handles());
        let others = report::gather(handles, patience, move || {
            let state = LoopState::current();
            state.map(|state| state.report(connections_max))
        });
        let mut loops = vec![Some(main)];
        loops.extend(others.await);
        loops
    }

    /// The groups of servers as each loop has them; an order is obeyed before.
    pub(crate) async fn upstreams(
        &self,
        order: Option<UpstreamOrder>,
        patience: Duration,
    ) -> Vec<Vec<UpstreamReport>> {
        let main = self.main.upstreams(order.as_ref());
        let handles = self.reactors.iter().flat_map(|reactors| reactors.handles());
        let others = report::gather(handles, patience, move || {
            let state = LoopState::current();
            state.map(|state| state.upstreams(order.as_ref()))
        });
        let mut loops = vec![main];
        loops.extend(others.await.into_iter().flatten());
        loops
    }

    /// Stops accepting, and waits until all connections have ended, for `worker_shutdown_timeout`
    /// at most. Those that idle for a second are closed; the others are told so with their next
    /// response. Where there are `successors`, who have the other end of what is [`Descriptors::inherited`]
    /// there, they get each connection that idles, as soon as it does.
    pub(crate) async fn drain(&self, successors: Option<OwnedFd>) {
        let successors = successors.map(Arc::new);
        self.main.stop_accepting();
        self.on_all(move |state| state.begin_drain(successors.clone()));
        self.main.leave_peers().await;
        let timeout_ms = self
            .main
            .installed()
            .base
            .process
            .worker_shutdown_timeout_ms;
        let end = timeout_ms.map(|ms| revolve_reactor::now() + Duration::from_millis(ms));
        let pipelining_end = revolve_reactor::now() + PIPELINING_TIMEOUT;
        while self.connection_count() > 0 && end.is_none_or(|end| revolve_reactor::now() < end) {
            revolve_reactor::sleep(DRAIN_CHECK).await;
            self.on_all(|state| state.release_idle());
            if revolve_reactor::now() > pipelining_end {
                self.on_all(|state| state.end_pipelining());
            }
        }
        self.flush();
    }

    /// Writes what the logs have gathered, before the process ends. It waits for the other loops,
    /// and for a moment for a pipe that is full.
    pub(crate) fn flush(&self) {
        let (done, all_done) = mpsc::channel();
        self.on_all(move |state| {
            state.logs.finish();
            // Nobody waits any more if that took too long.
            let _ = done.send(());
        });
        let loops = 1 + self.reactors.as_ref().map_or(0, |reactors| reactors.len());
        for _ in 0..loops {
            if all_done.recv_timeout(FLUSH_TIMEOUT).is_err() {
                return;
            }
        }
    }
}
