//! The driver of simulations: sockets whose bytes, readiness, failures and time a seed decides.
//!
//! Listeners, streams and datagram sockets that a program makes on such a loop exist in memory (`network`), so that a
//! run depends on its seed alone; with a virtual clock it takes the same steps each time. What
//! the seed decides: how many bytes a receive or a send moves, what is on its way and for how
//! long, which readiness is told late and in which order, which operations find nothing after
//! all, which connections break, and where descriptors run out. The clock stands still while
//! anything is ready; when nothing is, it goes to the next deadline at once instead of sleeping.
//!
//! Descriptors of the kernel's (pipes, signals, sockets made elsewhere) can be used on the same
//! loop, and have the same faults but for latency.

use std::io;

mod chance;
mod datagram;
mod endpoint;
mod network;
mod placeholder;
mod poller;
mod schedule;
mod transport;

pub(crate) use chance::Clock;
pub(crate) use datagram::Packet;
pub(crate) use network::Network;
pub(crate) use poller::Sim;
pub use schedule::Schedule;

/// The environment variable that names the seed to replay.
const VARIABLE: &str = "REVOLVE_SEED";

/// How often each fault happens, in thousandths of the occasions for it; 0 for never.
///
/// The faults up to [`clock_jump`](Faults::clock_jump) are what any network and any system may do,
/// and no correct program fails by them. The others break connections, and lose datagrams.
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
    /// What is sent in memory, a connection included, is on its way for up to 50 ms of virtual time.
    pub latency: u16,
    /// A turn finds the virtual clock up to ten seconds ahead of where it was to wake.
    pub clock_jump: u16,
    /// A receive or a send fails with `ECONNRESET`; the peer finds the connection closed.
    pub reset: u16,
    /// An accept or a connect fails with `EMFILE`, or a registration with `ENOSPC`.
    pub exhaust: u16,
    /// A datagram that is sent by UDP gets lost.
    pub lose: u16,
    /// It arrives twice.
    pub duplicate: u16,
    /// It arrives before some that were sent earlier.
    pub overtake: u16,
    /// It is cut short, as if the receiver's buffer were smaller:
    /// [`Datagram::truncated`](crate::Datagram::truncated) says so.
    pub truncate: u16,
}

impl Faults {
    /// None at all.
    pub const NONE: Faults = Faults {
        split: 0,
        short_write: 0,
        false_ready: 0,
        delay: 0,
        reorder: 0,
        latency: 0,
        clock_jump: 0,
        reset: 0,
        exhaust: 0,
        lose: 0,
        duplicate: 0,
        overtake: 0,
        truncate: 0,
    };

    /// Everything that a correct program does not notice: no clock jumps, no broken connections, no
    /// datagrams that go astray.
    pub const HARMLESS: Faults = Faults {
        split: 500,
        short_write: 300,
        false_ready: 100,
        delay: 200,
        reorder: 500,
        latency: 150,
        ..Faults::NONE
    };

    /// Everything.
    pub const ALL: Faults = Faults {
        clock_jump: 5,
        reset: 3,
        exhaust: 20,
        lose: 100,
        duplicate: 100,
        overtake: 150,
        truncate: 20,
        ..Faults::HARMLESS
    };
}

/// How a loop on [`DriverKind::Sim`](crate::DriverKind::Sim) is to behave.
///
/// With sockets in memory and a virtual clock, the same program takes the same steps each time it
/// runs with the same seed. Both ends of each connection are on the loop then: what listens or
/// connects there meets nobody else. Even seeds tell readiness as epoll does, once for each
/// change; odd ones as poll and select do, until a side was drained. A loop that is dropped while
/// its thread panics prints the seed.
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
    /// Whether listeners, streams and datagram sockets made on the loop exist in memory. Otherwise they are the
    /// kernel's.
    pub in_memory: bool,
    /// Whether time is simulated, so that nothing sleeps. Otherwise it is the system's.
    pub virtual_clock: bool,
}

impl Simulation {
    /// No faults and the system's clock: what is left is the readiness contract.
    pub const CALM: Simulation = Simulation {
        seed: 0,
        faults: Faults::NONE,
        in_memory: false,
        virtual_clock: false,
    };

    /// Harmless faults, sockets in memory, and the virtual clock.
    pub const fn seeded(seed: u64) -> Simulation {
        Simulation {
            seed,
            faults: Faults::HARMLESS,
            in_memory: true,
            virtual_clock: true,
        }
    }

    /// Whether the network tells readiness as epoll does.
    fn tells_edges(&self) -> bool {
        self.seed.is_multiple_of(2)
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

    /// With `REVOLVE_SEED`, the harmless faults of that seed with the kernel's sockets and in the
    /// system's time, as a program needs it that talks to others; without, [`CALM`](Simulation::CALM).
    ///
    /// # Errors
    ///
    /// As [`seed_from_env`](Simulation::seed_from_env).
    pub fn from_env() -> io::Result<Simulation> {
        Ok(match Simulation::seed_from_env()? {
            None => Simulation::CALM,
            Some(seed) => Simulation {
                in_memory: false,
                virtual_clock: false,
                ..Simulation::seeded(seed)
            },
        })
    }
}
