//! The driver of simulations: real sockets of this machine, whose readiness, sizes, failures and
//! time a seed decides.
//!
//! A run depends on its seed alone as long as the sockets are Unix sockets and one thread has
//! both ends, because the kernel moves their bytes within the system call. What the seed decides:
//! how many bytes a receive or a send moves, which readiness is told late and in which order, which
//! operations find nothing after all, which connections break, and where descriptors run out.
//! The virtual clock stands still while anything is ready; when nothing is, it goes to the next
//! deadline at once instead of sleeping.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrAny};

use crate::channel::{Kind, Side, Token};
use crate::net::Address;
use crate::op::{self, Progress};
use crate::send_queue::SendQueue;
use crate::sys::platform;
use crate::sys::poll::Poll;
use crate::sys::{Event, Poller, Wake};

/// The environment variable that names the seed to replay.
const VARIABLE: &str = "REVOLVE_SEED";

/// How often each fault happens, in thousandths of the occasions for it; 0 for never.
///
/// The faults up to [`clock_jump`](Faults::clock_jump) are what any network and any system may do,
/// and no correct program fails by them. The others break connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// A receive brings fewer bytes than there are.
    pub split: u16,
    /// A send moves fewer bytes than there is room for.
    pub short_write: u16,
    /// An operation that was told to be ready finds nothing (`EAGAIN`).
    pub false_ready: u16,
    /// Readiness is told up to four turns late.
    pub delay: u16,
    /// What is ready in one turn is told in another order.
    pub reorder: u16,
    /// A turn finds the virtual clock up to ten seconds ahead of where it was to wake.
    pub clock_jump: u16,
    /// A receive or a send fails with `ECONNRESET`; the peer finds the connection closed.
    pub reset: u16,
    /// An accept fails with `EMFILE`, or a registration with `ENOSPC`.
    pub exhaust: u16,
}

impl Faults {
    /// None at all.
    pub const NONE: Faults = Faults {
        split: 0,
        short_write: 0,
        false_ready: 0,
        delay: 0,
        reorder: 0,
        clock_jump: 0,
        reset: 0,
        exhaust: 0,
    };

    /// Everything that a correct program does not notice: no clock jumps, no broken connections.
    pub const HARMLESS: Faults = Faults {
        split: 500,
        short_write: 300,
        false_ready: 100,
        delay: 200,
        reorder: 500,
        ..Faults::NONE
    };

    /// Everything.
    pub const ALL: Faults = Faults {
        clock_jump: 5,
        reset: 3,
        exhaust: 20,
        ..Faults::HARMLESS
    };
}

/// How a loop on [`DriverKind::Sim`](crate::DriverKind::Sim) is to behave.
///
/// The sockets are the kernel's. With Unix sockets whose two ends are on the loop, and a virtual
/// clock, the same program takes the same steps each time it runs with the same seed. A loop
/// that is dropped while its thread panics prints the seed.
///
/// ```
/// use revolve_reactor::{EventLoop, Simulation, now, sleep};
/// use std::time::{Duration, Instant};
///
/// # fn main() -> std::io::Result<()> {
/// let mut event_loop = EventLoop::builder().simulation(Simulation::seeded(7)).build()?;
/// let begun = Instant::now();
/// event_loop.block_on(async {
///     let before = now();
///     sleep(Duration::from_secs(3600)).await;
///     assert!(now() - before >= Duration::from_secs(3600));
/// });
/// assert!(begun.elapsed() < Duration::from_secs(60));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simulation {
    /// What all chances are drawn from.
    pub seed: u64,
    /// The chances.
    pub faults: Faults,
    /// Whether time is simulated, so that nothing sleeps. Otherwise it is the system's.
    pub virtual_clock: bool,
}

impl Simulation {
    /// No faults and the system's clock: what is left is the readiness contract.
    pub const CALM: Simulation = Simulation {
        seed: 0,
        faults: Faults::NONE,
        virtual_clock: false,
    };

    /// Harmless faults and the virtual clock.
    pub const fn seeded(seed: u64) -> Simulation {
        Simulation {
            seed,
            faults: Faults::HARMLESS,
            virtual_clock: true,
        }
    }

    /// With these faults instead.
    pub const fn faults(mut self, faults: Faults) -> Simulation {
        self.faults = faults;
        self
    }

    /// The seed that the environment variable `REVOLVE_SEED` names, if it is set: a number, decimal
    /// or hexadecimal behind `0x`.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if it is no number.
    pub fn seed_from_env() -> io::Result<Option<u64>> {
        let Some(value) = std::env::var_os(VARIABLE).filter(|value| !value.is_empty()) else {
            return Ok(None);
        };
        let text = value.to_string_lossy();
        let seed = match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => text.parse(),
        };
        seed.map(Some).map_err(|_| {
            let message = format!("{VARIABLE}: \"{text}\" is no seed, expected a number");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })
    }

    /// With `REVOLVE_SEED`, the harmless faults of that seed in the system's time, as a program
    /// needs it that talks to others; without, [`CALM`](Simulation::CALM).
    ///
    /// # Errors
    ///
    /// As [`seed_from_env`](Simulation::seed_from_env).
    pub fn from_env() -> io::Result<Simulation> {
        Ok(match Simulation::seed_from_env()? {
            None => Simulation::CALM,
            Some(seed) => Simulation {
                virtual_clock: false,
                ..Simulation::seeded(seed)
            },
        })
    }
}

/// A clock that is moved by hand.
#[derive(Debug)]
pub(crate) struct Clock(Cell<Instant>);

impl Clock {
    pub(crate) fn now(&self) -> Instant {
        self.0.get()
    }

    fn advance(&self, by: Duration) {
        self.0.set(self.0.get() + by);
    }
}

/// SplitMix64, by Sebastiano Vigna: every seed is good, and the whole state is one number.
#[derive(Clone, Copy, Debug)]
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// True in so many of a thousand cases. Draws nothing where there is nothing to decide.
    fn strikes(&mut self, permille: u16) -> bool {
        permille != 0 && self.below(1000) < u64::from(permille)
    }

    /// A number of bytes from 1 to `max`: mostly few, because boundaries lie there.
    fn bytes(&mut self, max: u64) -> u64 {
        let max = max.max(1);
        match self.below(4) {
            0 => 1,
            1 => 1 + self.below(max.min(8)),
            2 => 1 + self.below(max.min(64)),
            _ => 1 + self.below(max),
        }
    }
}

/// Readiness that is told late.
struct Held {
    waits: u64,
    event: Event,
}

/// `poll(2)` under a seed.
pub(crate) struct Sim {
    poll: Poll,
    simulation: Simulation,
    chance: RefCell<Chance>,
    clock: Option<Rc<Clock>>,
    held: Vec<Held>,
}

impl Sim {
    pub(crate) fn new(simulation: Simulation) -> io::Result<Sim> {
        let clock = simulation
            .virtual_clock
            .then(|| Rc::new(Clock(Cell::new(Instant::now()))));
        Ok(Sim {
            poll: Poll::new()?,
            simulation,
            chance: RefCell::new(Chance(simulation.seed)),
            clock,
            held: Vec::new(),
        })
    }

    pub(crate) fn clock(&self) -> Option<Rc<Clock>> {
        self.clock.clone()
    }

    fn strikes(&self, permille: u16) -> bool {
        self.chance.borrow_mut().strikes(permille)
    }

    /// Breaks a connection: the peer finds it closed.
    fn reset(&self, fd: BorrowedFd<'_>) -> Option<io::Error> {
        self.strikes(self.simulation.faults.reset).then(|| {
            let _ = rustix::net::shutdown(fd, Shutdown::Both);
            Errno::CONNRESET.into()
        })
    }

    /// Asks the kernel; the virtual clock goes on instead of sleeping.
    fn ask(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.held.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let (Some(clock), Some(sleep)) = (&self.clock, timeout) else {
            return self.poll.wait(events, timeout);
        };
        self.poll.wait(events, Some(Duration::ZERO))?;
        if events.is_empty() {
            clock.advance(sleep);
        }
        let mut chance = self.chance.borrow_mut();
        if chance.strikes(self.simulation.faults.clock_jump) {
            clock.advance(Duration::from_millis(chance.below(10_000)));
        }
        Ok(())
    }

    /// Tells what is held back no longer, holds back some of the rest, and shuffles.
    fn disturb(&mut self, events: &mut Vec<Event>) {
        let faults = self.simulation.faults;
        let mut chance = self.chance.borrow_mut();
        let mut late = Vec::new();
        self.held.retain_mut(|held| {
            held.waits -= 1;
            if held.waits == 0 {
                late.push(held.event);
            }
            held.waits != 0
        });
        let held = &mut self.held;
        events.retain(|&event| {
            let delayed = chance.strikes(faults.delay);
            if delayed {
                let waits = 1 + chance.below(4);
                held.push(Held { waits, event });
            }
            !delayed
        });
        events.append(&mut late);
        if events.len() > 1 && chance.strikes(faults.reorder) {
            for last in (1..events.len()).rev() {
                let other = chance.below(last as u64 + 1) as usize;
                events.swap(last, other);
            }
        }
    }
}

impl Poller for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn tells_peer_closed(&self) -> bool {
        self.poll.tells_peer_closed()
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        self.poll.wake_handle()
    }

    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        if kind == Kind::Stream && self.strikes(self.simulation.faults.exhaust) {
            return Err(Errno::NOSPC.into());
        }
        self.poll.add(fd, token, kind)
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, kind: Kind) {
        self.poll.remove(fd, kind);
    }

    fn rearm(&mut self, fd: BorrowedFd<'_>, token: Token, side: Side) {
        self.poll.rearm(fd, token, side);
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        self.poll.pause(fd);
    }

    fn resume(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.poll.resume(fd, token)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.ask(events, timeout)?;
        self.disturb(events);
        Ok(())
    }

    #[cold]
    fn allow_recv(
        &self,
        fd: BorrowedFd<'_>,
        bytes_max: usize,
    ) -> Result<usize, Progress<io::Error>> {
        let faults = self.simulation.faults;
        if self.strikes(faults.false_ready) {
            return Err(Progress::Blocked);
        }
        if let Some(error) = self.reset(fd) {
            return Err(Progress::Done(error));
        }
        if self.strikes(faults.split) {
            let most = bytes_max.min(4096) as u64;
            return Ok(self.chance.borrow_mut().bytes(most) as usize);
        }
        Ok(bytes_max)
    }

    #[cold]
    fn send(
        &self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        budget_bytes: u64,
    ) -> Progress<io::Result<()>> {
        let faults = self.simulation.faults;
        if queue.is_empty() {
            return Progress::Done(Ok(()));
        }
        if self.strikes(faults.false_ready) {
            return Progress::Blocked;
        }
        if let Some(error) = self.reset(fd) {
            return Progress::Done(Err(error));
        }
        if self.strikes(faults.short_write) {
            let bytes = self.chance.borrow_mut().bytes(queue.bytes());
            return send_short(fd, queue, bytes).unwrap_or_else(|error| match error {
                Errno::AGAIN => Progress::Blocked,
                error => Progress::Done(Err(error.into())),
            });
        }
        op::send(fd, queue, budget_bytes)
    }

    #[cold]
    fn accept(&self, fd: BorrowedFd<'_>) -> Progress<io::Result<(OwnedFd, Address)>> {
        if self.strikes(self.simulation.faults.false_ready) {
            return Progress::Blocked;
        }
        if self.strikes(self.simulation.faults.exhaust) {
            return Progress::Done(Err(Errno::MFILE.into()));
        }
        op::accept(fd)
    }

    #[cold]
    fn connect(&self, fd: BorrowedFd<'_>, address: &SocketAddrAny) -> Progress<io::Result<()>> {
        if self.strikes(self.simulation.faults.false_ready) {
            return Progress::Blocked;
        }
        op::connect(fd, address)
    }
}

/// Sends at most so many bytes of the first chunk, and is blocked then unless that was all.
fn send_short(
    fd: BorrowedFd<'_>,
    queue: &mut SendQueue,
    bytes: u64,
) -> Result<Progress<io::Result<()>>, Errno> {
    let sent = match queue.unsent().next() {
        Some(crate::send_queue::Chunk::File { file, offset, len }) => {
            platform::sendfile(fd, file, *offset, bytes.min(*len) as usize)?
        }
        Some(chunk) => {
            let memory = chunk.memory().unwrap_or_default();
            let count = memory.len().min(bytes as usize);
            rustix::net::send(fd, &memory[..count], platform::NO_SIGNAL)?
        }
        None => 0,
    };
    if sent == 0 {
        return Ok(op::send(fd, queue, 1));
    }
    queue.advance(sent as u64);
    Ok(if queue.is_empty() {
        Progress::Done(Ok(()))
    } else {
        Progress::Blocked
    })
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.simulation.seed;
            eprintln!("sim: to run this again, set {VARIABLE}={seed}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Flags;

    #[test]
    fn chances_are_those_of_the_seed() {
        let draw = |seed| {
            let mut chance = Chance(seed);
            [(); 4].map(|()| chance.next())
        };
        // The first values of the reference implementation for the seed 1234567.
        assert_eq!(
            draw(1_234_567)[..3],
            [
                6457827717110365317,
                3203168211198807973,
                9817491932198370423
            ]
        );
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn nothing_strikes_that_may_not_and_everything_that_must() {
        let mut chance = Chance(1);
        assert!((0..1000).all(|_| !chance.strikes(0) && chance.strikes(1000)));
        let struck = (0..10_000).filter(|_| chance.strikes(100)).count();
        assert!((800..1200).contains(&struck), "{struck}");
    }

    #[test]
    fn flags_of_an_event_survive_being_held() {
        let mut sim = Sim::new(Simulation::seeded(3).faults(Faults {
            delay: 1000,
            ..Faults::NONE
        }))
        .expect("a poller");
        let event = Event {
            token: Token::from_u64(5),
            flags: Flags::READABLE,
        };
        let mut events = vec![event];
        sim.disturb(&mut events);
        assert!(events.is_empty() && sim.held.len() == 1);
        let mut waits = 0;
        while events.is_empty() {
            sim.disturb(&mut events);
            waits += 1;
        }
        assert!(waits <= 4 && sim.held.is_empty());
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].token, events[0].flags),
            (event.token, event.flags)
        );
    }
}
