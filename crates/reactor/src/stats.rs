//! What a loop has done so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a loop has done since it was built. Read by
/// [`LoopHandle::stats`](crate::LoopHandle::stats), from any thread; the numbers need not be of
/// one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoopStats {
    /// Turns begun.
    pub turns: u64,
    /// Operations that were completed because their channel had become ready.
    pub ready_events: u64,
    /// Times that a task was run.
    pub tasks_run: u64,
    /// Timers that have fired, those of deadlines that had moved meanwhile included.
    pub timers_fired: u64,
    /// The longest turn, sleep excluded; zero unless
    /// [`Builder::measure_turns`](crate::Builder::measure_turns) or a watchdog is on.
    pub longest_turn: Duration,
}

/// The counters of a loop. The loop's thread alone writes them, so that counting takes no locked
/// instruction; they have a cache line of their own.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Counters {
    pub(crate) turns: Counter,
    pub(crate) ready_events: Counter,
    pub(crate) tasks_run: Counter,
    pub(crate) timers_fired: Counter,
    longest_turn_us: Counter,
}

/// A number that one thread writes and any may read.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.set(self.get().wrapping_add(n));
    }

    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(crate) fn note_turn(&self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if took_us > self.longest_turn_us.get() {
            self.longest_turn_us.set(took_us);
        }
    }

    pub(crate) fn stats(&self) -> LoopStats {
        LoopStats {
            turns: self.turns.get(),
            ready_events: self.ready_events.get(),
            tasks_run: self.tasks_run.get(),
            timers_fired: self.timers_fired.get(),
            longest_turn: Duration::from_micros(self.longest_turn_us.get()),
        }
    }
}
