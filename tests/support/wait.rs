//! Waiting for a condition instead of a time.

use std::time::{Duration, Instant};

/// How long a test waits for what must come at once. It is long because a machine may be slow,
/// and costs nothing where all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition` holds.
///
/// # Panics
///
/// If it does not within [`PATIENCE`]; `what` says what was waited for.
#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}

/// Waits until `condition` gives something.
///
/// # Panics
///
/// If it does not within [`PATIENCE`].
#[track_caller]
pub(crate) fn until_some<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(PAUSE);
    }
}

/// Whether `condition` comes to hold within [`PATIENCE`], for those who have more to say where it does not.
pub(crate) fn comes(mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if condition() {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Whether `condition` holds all the time for `duration`.
pub(crate) fn stays(duration: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while start.elapsed() < duration {
        if !condition() {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    true
}
