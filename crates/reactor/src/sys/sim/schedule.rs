//! Several loops in one simulation: they take turns.
//!
//! Each loop has a thread of its own, as ever, but only one of them runs at a time. Where a loop would
//! sleep it hands the turn on, and the seed says to which of those that have something to do. When
//! none has, the clock goes on to where the first has.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::Simulation;
use super::chance::{Clock, Fate, lock};
use super::network::{Network, Seat, State};
use crate::sys::Wake;

/// The loop that was built first.
const FIRST: Seat = 0;
/// How long a thread waits for its turn, in the system's time, before it is known that none comes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Loops on threads of their own that take turns under one seed, in one network in memory and one
/// virtual time: what happens depends on the seed alone, posting between them included.
///
/// Loops that are built with [`Builder::schedule`](crate::Builder::schedule) belong to it. The first is
/// that of the thread that prepares the run: it builds its loop, starts the others
/// ([`Reactors`](crate::Reactors), or a [`TcpServer`](crate::TcpServer) with a main reactor), which run
/// freely meanwhile, without faults and without time passing, and runs its loop then. Once as many loops
/// as were announced have been built, and the others have nothing left to do, one thread at a time
/// runs. A thread that waits for another one otherwise than in its loop must have dropped its loop
/// before. After a minute without a turn, a loop panics.
///
/// Descriptors of the kernel's are looked at, and never waited for; a thread pool's results come in
/// the system's time, and what a thread does before its loop is built is its own affair.
///
/// From any thread. Cheap to clone.
///
/// ```
/// use revolve_reactor::{EventLoop, Schedule, Simulation, current};
/// use std::sync::mpsc;
///
/// # fn main() -> std::io::Result<()> {
/// let schedule = Schedule::new(Simulation::seeded(7), 2);
/// let builder = EventLoop::builder().schedule(&schedule);
/// let mut event_loop = builder.clone().build()?;
/// let (started, start) = mpsc::channel();
/// let other = std::thread::spawn(move || {
///     let mut event_loop = builder.build().expect("a loop");
///     started.send(event_loop.handle()).expect("somebody waits");
///     event_loop.run();
/// });
/// let other_loop = start.recv().expect("the other loop");
/// event_loop.block_on(async {
///     let (own, other) = (current(), other_loop.clone());
///     let (answer, answered) = mpsc::channel();
///     other_loop.run_in_loop(move || {
///         own.run_in_loop(move || answer.send("from the other loop").expect("somebody waits"));
///         other.stop();
///     });
///     while answered.try_recv().is_err() {
///         revolve_reactor::yield_now().await;
///     }
/// });
/// drop(event_loop);
/// other.join().expect("no panic");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Schedule {
    shared: Arc<Shared>,
}

struct Shared {
    simulation: Simulation,
    fate: Arc<Fate>,
    clock: Clock,
    network: Arc<Mutex<State>>,
    turns: Mutex<Turns>,
    changed: Condvar,
}

/// Who runs, and who waits for what.
struct Turns {
    loops: Vec<Place>,
    /// Loops that must wait before the turns begin.
    announced: usize,
    begun: bool,
    current: Option<Seat>,
    /// Turns handed on so far.
    count: u64,
}

/// A loop, as the others see it.
#[derive(Default)]
struct Place {
    is_waiting: bool,
    /// It has something to do by itself.
    is_due: bool,
    notified: bool,
    /// When it is to wake at the latest.
    deadline: Option<Instant>,
}

impl Place {
    fn has_work(&self) -> bool {
        self.is_due || self.notified
    }
}

impl Schedule {
    /// A schedule of so many loops, with this seed and these faults. The network is in memory and the
    /// clock virtual, whatever the simulation says.
    pub fn new(simulation: Simulation, loops: usize) -> Schedule {
        let simulation = Simulation {
            in_memory: true,
            virtual_clock: true,
            ..simulation
        };
        let clock = Clock::new();
        let fate = Fate::new(simulation.seed, simulation.faults, Some(clock.clone()));
        let turns = Turns {
            loops: Vec::new(),
            announced: loops,
            begun: false,
            current: None,
            count: 0,
        };
        Schedule {
            shared: Arc::new(Shared {
                simulation,
                fate: Arc::new(fate),
                clock,
                network: Arc::new(Mutex::new(State::new(simulation.tells_edges()))),
                turns: Mutex::new(turns),
                changed: Condvar::new(),
            }),
        }
    }

    pub(super) fn simulation(&self) -> Simulation {
        self.shared.simulation
    }

    pub(super) fn fate(&self) -> Arc<Fate> {
        Arc::clone(&self.shared.fate)
    }

    /// Takes part with one loop more.
    pub(super) fn join(&self) -> Turn {
        let mut turns = lock(&self.shared.turns);
        turns.loops.push(Place::default());
        Turn {
            seat: turns.loops.len() - 1,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schedule")
            .field("simulation", &self.shared.simulation)
            .finish_non_exhaustive()
    }
}

/// One loop's part in a schedule; dropped with the loop.
pub(super) struct Turn {
    seat: Seat,
    shared: Arc<Shared>,
}

impl Turn {
    /// The network, as this loop sees it.
    pub(super) fn network(&self) -> Network {
        Network {
            shared: Arc::clone(&self.shared.network),
            fate: Arc::clone(&self.shared.fate),
            seat: self.seat,
        }
    }

    pub(super) fn wake_handle(&self) -> Arc<dyn Wake> {
        Arc::new(Bell {
            seat: self.seat,
            shared: Arc::clone(&self.shared),
        })
    }

    /// Hands the turn on, and waits for the next one; `timeout` is when this loop has something to do
    /// by itself.
    ///
    /// # Panics
    ///
    /// If no turn comes for a minute though another loop has its own.
    pub(super) fn wait(&self, timeout: Option<Duration>) {
        let shared = &*self.shared;
        let mut turns = lock(&shared.turns);
        let deadline = timeout.map(|timeout| shared.clock.now() + timeout);
        let place = &mut turns.loops[self.seat];
        place.is_waiting = true;
        place.is_due = timeout == Some(Duration::ZERO);
        place.deadline = deadline;
        if turns.begun {
            shared.hand_on(&mut turns);
        } else {
            shared.begin(&mut turns);
        }
        while !self.is_my_turn(&turns) {
            turns = self.sleep(turns);
        }
        let place = &mut turns.loops[self.seat];
        place.is_waiting = false;
        place.notified = false;
    }

    fn is_my_turn(&self, turns: &Turns) -> bool {
        let place = &turns.loops[self.seat];
        if turns.begun {
            turns.current == Some(self.seat)
        } else {
            self.seat != FIRST && place.has_work()
        }
    }

    fn sleep<'a>(&self, turns: MutexGuard<'a, Turns>) -> MutexGuard<'a, Turns> {
        let (begun, count) = (turns.begun, turns.count);
        let slept = self.shared.changed.wait_timeout(turns, PATIENCE);
        let (turns, slept) = slept.unwrap_or_else(|poisoned| poisoned.into_inner());
        // Where nobody has the turn, all sleep until another thread posts something.
        let is_stuck =
            (turns.begun, turns.count) == (begun, count) && (turns.current.is_some() || !begun);
        assert!(
            !slept.timed_out() || !is_stuck,
            "a schedule of {} loops stands still: {} were built, and loop {:?} has had the turn for \
             {PATIENCE:?}. Does its thread wait for another one outside of the loop?",
            turns.announced,
            turns.loops.len(),
            turns.current,
        );
        turns
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = lock(&self.shared.turns);
        turns.loops[self.seat] = Place::default();
        if turns.current == Some(self.seat) {
            self.shared.hand_on(&mut turns);
        }
    }
}

impl Shared {
    /// Begins with the turns when all loops wait, and all but the first have done what they had to.
    fn begin(&self, turns: &mut Turns) {
        let mut places = turns.loops.iter().enumerate();
        let is_ready = |(seat, place): (Seat, &Place)| {
            place.is_waiting && (seat == FIRST || !place.has_work())
        };
        if turns.loops.len() == turns.announced && places.all(is_ready) {
            turns.begun = true;
            self.hand_on(turns);
        }
    }

    /// Chooses who is next, at the time when there is one.
    fn hand_on(&self, turns: &mut Turns) {
        let mut network = lock(&self.network);
        // Whoever is connected with those may be whom it concerns.
        network.close_forgotten();
        loop {
            let now = self.clock.now();
            let due = |(seat, place): &(Seat, &Place)| {
                let is_late = place.deadline.is_some_and(|deadline| deadline <= now);
                let is_due = place.has_work() || is_late || network.concerns(*seat);
                place.is_waiting && is_due
            };
            let places = turns.loops.iter().enumerate();
            let due: Vec<Seat> = places.filter(due).map(|(seat, _)| seat).collect();
            if !due.is_empty() {
                let chosen = self.fate.below(due.len() as u64) as usize;
                turns.current = Some(due[chosen]);
                turns.count += 1;
                break;
            }
            let waiting = turns.loops.iter().filter(|place| place.is_waiting);
            let deadlines = waiting.filter_map(|place| place.deadline);
            let Some(next) = deadlines.chain(network.next_arrival()).min() else {
                turns.current = None;
                break;
            };
            self.clock.advance(next.saturating_duration_since(now));
            network.arrive(self.clock.now());
        }
        self.changed.notify_all();
    }
}

/// What ends a loop's sleep.
struct Bell {
    seat: Seat,
    shared: Arc<Shared>,
}

impl Wake for Bell {
    fn wake(&self) {
        let mut turns = lock(&self.shared.turns);
        turns.loops[self.seat].notified = true;
        if !turns.begun {
            self.shared.changed.notify_all();
        } else if turns.current.is_none() {
            self.shared.hand_on(&mut turns);
        }
    }
}
