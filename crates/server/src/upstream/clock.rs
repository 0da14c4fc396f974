//! The time as all workers see it.

use std::cell::Cell;
use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

thread_local! {
    /// A moment of the loop's clock, and what the monotonic clock said then.
    static BASE: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
}

/// Milliseconds of the machine's monotonic clock; never 0.
pub(crate) fn now_ms() -> u64 {
    let now = revolve_reactor::now();
    let (at, ms) = BASE.get().unwrap_or_else(|| {
        let time = clock_gettime(ClockId::Monotonic);
        let ms = time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000;
        BASE.set(Some((now, ms)));
        (now, ms)
    });
    let passed = now.saturating_duration_since(at).as_millis();
    ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
        .max(1)
}
