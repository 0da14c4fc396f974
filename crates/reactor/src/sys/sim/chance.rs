//! What a simulation draws its chances from, and what they decide about.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Faults;

/// What comes late is on its way for less than this.
const LATENCY_MAX_US: u64 = 50_000;

/// Locks what loops that take turns share: nobody else holds it, nor has left it in disorder.
pub(super) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A clock that is moved by hand. Its clones are the same clock.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<Mutex<Instant>>);

impl Clock {
    pub(super) fn new() -> Clock {
        Clock(Arc::new(Mutex::new(Instant::now())))
    }

    pub(crate) fn now(&self) -> Instant {
        *lock(&self.0)
    }

    pub(super) fn advance(&self, by: Duration) {
        *lock(&self.0) += by;
    }
}

/// The chances of one simulation, in the order in which they are drawn, and its time.
pub(super) struct Fate {
    chance: Mutex<Chance>,
    pub(super) faults: Faults,
    pub(super) clock: Option<Clock>,
}

impl Fate {
    pub(super) fn new(seed: u64, faults: Faults, clock: Option<Clock>) -> Fate {
        Fate {
            chance: Mutex::new(Chance(seed)),
            faults,
            clock,
        }
    }

    pub(super) fn below(&self, bound: u64) -> u64 {
        lock(&self.chance).below(bound)
    }

    pub(super) fn strikes(&self, permille: u16) -> bool {
        lock(&self.chance).strikes(permille)
    }

    pub(super) fn bytes(&self, max: u64) -> u64 {
        lock(&self.chance).bytes(max)
    }

    /// When something that is sent now arrives; `None` for at once. Only simulated time waits.
    pub(super) fn arrival(&self) -> Option<Instant> {
        let clock = self.clock.as_ref()?;
        self.strikes(self.faults.latency)
            .then(|| clock.now() + Duration::from_micros(self.below(LATENCY_MAX_US)))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
