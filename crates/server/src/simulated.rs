//! What the simulations of this crate have in common: which seeds are run, what breaks, and what is drawn.
//!
//! `REVOLVE_SEEDS` says how many seeds are run; with `REVOLVE_SEED` set to the one that a failure has named,
//! that one is run again.

use revolve_reactor::{Faults, Simulation};

/// Runs `check` for so many seeds, on two threads.
pub(crate) fn for_seeds(count: u64, check: impl Fn(u64) + Sync) {
    let seeds: Vec<u64> = match Simulation::seed_from_env().expect("REVOLVE_SEED") {
        Some(seed) => vec![seed],
        None => {
            let count = std::env::var("REVOLVE_SEEDS").map_or(Ok(count), |count| count.parse());
            (0..count.expect("REVOLVE_SEEDS: a number")).collect()
        }
    };
    std::thread::scope(|scope| {
        for half in seeds.chunks(seeds.len().div_ceil(2).max(1)) {
            scope.spawn(|| half.iter().copied().for_each(&check));
        }
    });
}

/// A network that cuts, delays and reorders, and breaks nothing.
pub(crate) const ROUGH: Faults = Faults {
    split: 300,
    short_write: 300,
    false_ready: 100,
    delay: 100,
    reorder: 100,
    latency: 200,
    ..Faults::NONE
};

/// One that also resets connections.
pub(crate) const BREAKING: Faults = Faults { reset: 20, ..ROUGH };

/// What a simulated client or server draws: xorshift64*, apart from the driver's.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) | 1)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    pub(crate) fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len() as u64) as usize]
    }
}
