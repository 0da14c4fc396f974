//! Reactors in threads of their own, to which connections are dealt.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::builder::Builder;
use crate::event_loop::{self, EventLoop, LoopHandle};
use crate::sys::fork::Birthplace;
use crate::time::sleep;

/// So long a reactor may leave a connection lying that was dealt to it; then it gets no more, and the
/// others take what lies there.
const LATE: Duration = Duration::from_millis(50);
/// Between two looks at what was dealt.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// By how many connections a reactor that accepts for itself may be ahead of another.
const AHEAD_MAX: usize = 4;

/// How a reactor is chosen for a connection.
///
/// One that has left a connection lying for 50 ms, because a task holds its thread, gets none as long as
/// another one is not late; what lies there is dealt again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Deal {
    /// One after the other.
    #[default]
    RoundRobin,
    /// The one that has the fewest.
    LeastConnections,
}

/// Counts a connection for the reactor that it was dealt to, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    connections: Arc<AtomicUsize>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that was dealt, and not taken yet.
struct Dealt {
    connection: OwnedFd,
    lease: Lease,
    serve: Box<dyn FnOnce(OwnedFd, Lease) + Send>,
    since: Instant,
}

/// What a reactor was dealt and has not taken.
#[derive(Default)]
struct Untaken {
    /// Oldest first. Apart from what was posted to the loop, so that others can take it from there.
    dealt: VecDeque<Dealt>,
    /// Since when something lies there, or lay there and was taken by others: until the reactor itself looks.
    since: Option<Instant>,
}

/// A reactor as others see it.
pub(crate) struct Seat {
    handle: LoopHandle,
    connections: Arc<AtomicUsize>,
    untaken: Mutex<Untaken>,
}

impl Seat {
    fn new(handle: LoopHandle) -> Seat {
        Seat {
            handle,
            connections: Arc::default(),
            untaken: Mutex::default(),
        }
    }

    pub(crate) fn handle(&self) -> &LoopHandle {
        &self.handle
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Counts a connection.
    pub(crate) fn lease(&self) -> Lease {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Lease {
            connections: Arc::clone(&self.connections),
        }
    }

    fn untaken(&self) -> MutexGuard<'_, Untaken> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For how long the reactor has not looked at what lies there.
    fn lag(&self, now: Instant) -> Duration {
        let since = self.untaken().since;
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Runs what lies longest, unless somebody else has taken it.
    fn take_one(&self) {
        let dealt = {
            let mut untaken = self.untaken();
            let dealt = untaken.dealt.pop_front();
            untaken.since = untaken.dealt.front().map(|dealt| dealt.since);
            dealt
        };
        if let Some(dealt) = dealt {
            (dealt.serve)(dealt.connection, dealt.lease);
        }
    }
}

/// All reactors, as whoever deals sees them.
pub(crate) struct Seats {
    seats: Vec<Seat>,
    next: AtomicUsize,
    /// Whether somebody looks after what was dealt.
    is_watched: AtomicBool,
}

impl Seats {
    pub(crate) fn get(&self, number: usize) -> &Seat {
        &self.seats[number]
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Deals a connection to a reactor. From any thread.
    pub(crate) fn deal(
        self: &Arc<Self>,
        number: usize,
        connection: OwnedFd,
        serve: Box<dyn FnOnce(OwnedFd, Lease) + Send>,
    ) {
        let seat = &self.seats[number];
        let dealt = Dealt {
            connection,
            lease: seat.lease(),
            serve,
            since: time(),
        };
        let mut untaken = seat.untaken();
        untaken.since.get_or_insert(dealt.since);
        untaken.dealt.push_back(dealt);
        drop(untaken);
        let seats = Arc::clone(self);
        seat.handle
            .run_in_loop(move || seats.seats[number].take_one());
        self.watch(number);
    }

    /// The reactor for the next connection, among those that are not late; where all are, the least late.
    fn choose(&self, deal: Deal, now: Instant) -> usize {
        let count = self.seats.len().max(1);
        // Equals take turns: the search begins at another one each time.
        let first = self.next.fetch_add(1, Ordering::Relaxed) % count;
        let order = || (first..count).chain(0..first);
        let lag = |number: &usize| self.seats[*number].lag(now);
        let mut timely = order().filter(|number| lag(number) < LATE);
        let chosen = match deal {
            Deal::RoundRobin => timely.next(),
            Deal::LeastConnections => timely.min_by_key(|&number| self.seats[number].count()),
        };
        chosen.or_else(|| order().min_by_key(lag)).unwrap_or(first)
    }

    /// The reactor for a connection that `own` has accepted: itself, unless it is too far ahead. Of
    /// those that share a listener the one that happens to run takes all that wait, so that
    /// long-lived connections would pile up on it.
    pub(crate) fn choose_near(&self, own: usize) -> usize {
        let now = time();
        let least = (0..self.seats.len())
            .map(|number| (number, self.seats[number].count()))
            .filter(|&(number, _)| self.seats[number].lag(now) < LATE)
            .min_by_key(|&(_, count)| count);
        least
            .filter(|&(_, count)| self.seats[own].count() >= count + AHEAD_MAX)
            .map_or(own, |(number, _)| number)
    }

    /// Has somebody look after what was dealt to a reactor: this thread's loop, or another of the reactors.
    fn watch(self: &Arc<Self>, dealt_to: usize) {
        if self.seats.len() < 2 || self.is_watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let watched = Watched(Arc::clone(self));
        let look = move || drop(event_loop::spawn(look_after(watched)));
        if event_loop::try_with_core(|_| ()).is_some() {
            look();
        } else {
            let other = (dealt_to + 1) % self.seats.len();
            self.seats[other].handle.run_in_loop(look);
        }
    }

    /// Deals again what the late have left lying, as far as there is somebody who is not late. The answer is
    /// whether anything still lies somewhere.
    fn look(self: &Arc<Self>) -> bool {
        let now = time();
        let is_late = |seat: &Seat| seat.lag(now) >= LATE;
        for late in self.seats.iter().filter(|seat| is_late(seat)) {
            while self.seats.iter().any(|seat| !is_late(seat)) {
                let Some(dealt) = late.untaken().dealt.pop_front() else {
                    break;
                };
                let number = self.choose(Deal::LeastConnections, now);
                drop(dealt.lease);
                self.deal(number, dealt.connection, dealt.serve);
            }
        }
        self.has_untaken()
    }

    fn has_untaken(&self) -> bool {
        self.seats
            .iter()
            .any(|seat| !seat.untaken().dealt.is_empty())
    }
}

/// The right to look after what was dealt, which one task has; a loop that ends gives it back.
struct Watched(Arc<Seats>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.is_watched.store(false, Ordering::Release);
    }
}

async fn look_after(watched: Watched) {
    let seats = Arc::clone(&watched.0);
    loop {
        sleep(LOOK_PAUSE).await;
        if !seats.look() {
            break;
        }
    }
    drop(watched);
    // Whoever dealt in between has seen it watched.
    if seats.has_untaken() {
        seats.watch(0);
    }
}

/// The time of this thread's loop at this moment, or the system's where there is none.
fn time() -> Instant {
    event_loop::try_with_core(|core| core.ask_clock()).unwrap_or_else(Instant::now)
}

/// Event loops in threads of their own, to which connections are dealt.
///
/// Dropping it stops the loops at the end of their turn, with all their tasks, and waits for
/// their threads. A child after fork(2) has none of the threads: there, dropping does nothing.
pub struct Reactors {
    seats: Arc<Seats>,
    threads: Vec<thread::JoinHandle<()>>,
    deal: Deal,
    birthplace: Birthplace,
}

impl Reactors {
    /// Starts `count` threads named `name-0`, `name-1` and so on, each with a loop of its own.
    /// `init` is called with the reactor's number on each thread before its loop turns, and may
    /// spawn tasks. Returns when all have been called.
    ///
    /// # Errors
    ///
    /// A thread or a loop that cannot be made; those made already are stopped.
    pub fn spawn(
        count: usize,
        name: &str,
        init: impl Fn(usize) + Send + Sync + 'static,
    ) -> io::Result<Reactors> {
        Reactors::spawn_with(count, name, EventLoop::builder(), init)
    }

    /// As [`spawn`](Reactors::spawn), with loops of one's own settings.
    ///
    /// # Errors
    ///
    /// As [`spawn`](Reactors::spawn).
    pub fn spawn_with(
        count: usize,
        name: &str,
        builder: Builder,
        init: impl Fn(usize) + Send + Sync + 'static,
    ) -> io::Result<Reactors> {
        let init = Arc::new(init);
        let (mut seats, mut threads) = (Vec::new(), Vec::new());
        let mut result = Ok(());
        for number in 0..count {
            let (builder, init) = (builder.clone(), Arc::clone(&init));
            match start(format!("{name}-{number}"), builder, move || init(number)) {
                Ok((handle, thread)) => {
                    seats.push(Seat::new(handle));
                    threads.push(thread);
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        let reactors = Reactors {
            seats: Arc::new(Seats {
                seats,
                next: AtomicUsize::new(0),
                is_watched: AtomicBool::new(false),
            }),
            threads,
            deal: Deal::default(),
            birthplace: Birthplace::here(),
        };
        result.map(|()| reactors)
    }

    /// How reactors are chosen. Default: round robin.
    #[must_use]
    pub fn with_deal(mut self, deal: Deal) -> Reactors {
        self.deal = deal;
        self
    }

    /// How many reactors there are.
    pub fn len(&self) -> usize {
        self.seats.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The loops, by number.
    pub fn handles(&self) -> impl Iterator<Item = &LoopHandle> {
        self.seats.seats.iter().map(Seat::handle)
    }

    pub(crate) fn seats(&self) -> &Arc<Seats> {
        &self.seats
    }

    /// Connections that each reactor has: those dealt whose [`Lease`] lives.
    pub fn connections(&self) -> Vec<usize> {
        self.seats.seats.iter().map(Seat::count).collect()
    }

    /// Deals a connection to a reactor: `serve` runs on its thread, where it makes a stream of the
    /// descriptor and spawns a task that keeps the lease. From any thread. Gives the
    /// reactor's number; the connection is closed if there are no reactors.
    ///
    /// A connection that the reactor leaves lying for 50 ms is dealt to another one, unless all are late.
    pub fn deal(
        &self,
        connection: OwnedFd,
        serve: impl FnOnce(OwnedFd, Lease) + Send + 'static,
    ) -> usize {
        let number = self.seats.choose(self.deal, time());
        if number < self.len() {
            self.seats.deal(number, connection, Box::new(serve));
        }
        number
    }

    /// Stops the loops at the end of their turn. From any thread.
    pub fn stop(&self) {
        for handle in self.handles() {
            handle.stop();
        }
    }

    /// Waits until all loops have been stopped.
    ///
    /// # Errors
    ///
    /// A reactor's thread that panicked, outside of any task.
    pub fn join(mut self) -> io::Result<()> {
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                result = Err(io::Error::other("a reactor's thread panicked"));
            }
        }
        result
    }
}

/// Starts a thread with a loop, and returns when `init` has run there.
fn start(
    name: String,
    builder: Builder,
    init: impl FnOnce() + Send + 'static,
) -> io::Result<(LoopHandle, thread::JoinHandle<()>)> {
    let (started, start) = mpsc::channel();
    let thread = thread::Builder::new().name(name);
    let thread = thread.spawn(move || match builder.build() {
        Ok(mut event_loop) => {
            init();
            // Nobody waits for the answer any more if the spawning thread is gone.
            let _ = started.send(Ok(event_loop.handle()));
            event_loop.run();
        }
        Err(error) => {
            let _ = started.send(Err(error));
        }
    })?;
    let panicked = |_| io::Error::other("a reactor panicked while it was started");
    let handle = start.recv().map_err(panicked)??;
    Ok((handle, thread))
}

impl Drop for Reactors {
    fn drop(&mut self) {
        if self.birthplace.is_elsewhere() {
            self.threads.drain(..).for_each(std::mem::forget);
        }
        if self.threads.is_empty() {
            return;
        }
        self.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl std::fmt::Debug for Reactors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reactors")
            .field("connections", &self.connections())
            .finish()
    }
}
