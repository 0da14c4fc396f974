//! Scenarios on the driver that simulates: every one with thousands of seeds.
//!
//! `REVOLVE_SEEDS` says how many seeds each scenario runs (nightly 100,000; by default 1,000, and 100
//! of each test of the conformance suite); those of several loops run a twentieth.
//! A failure prints its seed, and with `REVOLVE_SEED` set to it that one is run again.

use std::future::Future;
use std::time::Duration;

use revolve_reactor::{EventLoop, Faults, Simulation, timeout};

mod common;
/// The message server's, a codec made outside of the library.
#[path = "../../../examples/message/src/frame.rs"]
#[allow(dead_code, unreachable_pub, reason = "the tests take what they need")]
mod frame;
#[macro_use]
#[path = "conformance/mod.rs"]
mod suite;

#[path = "simulation/cancelling.rs"]
mod cancelling;
#[path = "simulation/churn.rs"]
mod churn;
#[path = "simulation/clock.rs"]
mod clock;
#[path = "simulation/codec.rs"]
mod codec;
#[path = "simulation/conformance.rs"]
mod conformance;
#[path = "simulation/datagrams.rs"]
mod datagrams;
#[path = "simulation/echo.rs"]
mod echo;
#[path = "simulation/framing.rs"]
mod framing;
#[path = "simulation/local.rs"]
mod local;
#[path = "simulation/loops.rs"]
mod loops;

/// Seeds for each scenario, unless the environment says otherwise.
const SEEDS: u64 = 1000;
/// Seeds for each test of the conformance suite, of which there are many.
const SEEDS_CONFORMANCE: u64 = 100;

/// No scenario takes longer, in the time of its loop.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// What a scenario draws its sizes and choices from: xorshift64*, apart from the driver's.
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    /// Mostly few bytes, sometimes more than a buffer.
    fn bytes(&mut self) -> Vec<u8> {
        let bound = [1, 10, 100, 3000][self.below(4) as usize];
        let len = self.below(bound + 1);
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// The seeds to run.
fn seeds() -> Vec<u64> {
    seeds_or(SEEDS)
}

fn seeds_or(default: u64) -> Vec<u64> {
    if let Some(seed) = Simulation::seed_from_env().expect("REVOLVE_SEED") {
        return vec![seed];
    }
    let count = std::env::var("REVOLVE_SEEDS").map_or(Ok(default), |count| count.parse());
    (0..count.expect("REVOLVE_SEEDS: a number")).collect()
}

/// Runs one scenario with one seed, on a loop of its own.
fn run<T>(seed: u64, faults: Faults, scenario: impl Future<Output = T>) -> T {
    let simulation = Simulation::seeded(seed).faults(faults);
    let builder = EventLoop::builder()
        .simulation(simulation)
        .buffer_bytes(512);
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async {
        timeout(PATIENCE, scenario)
            .await
            .expect("the scenario hangs")
    })
}
