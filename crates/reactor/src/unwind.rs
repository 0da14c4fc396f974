//! What is left of a panic that was caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How often what a panic carries may panic in turn before it is leaked.
const TRIES: u32 = 8;

/// Drops what a panic carried. That may panic too, with something that may panic again: whoever
/// caught the first one must not fall to the second.
pub(crate) fn discard(mut payload: Box<dyn Any + Send>) {
    for _ in 0..TRIES {
        match catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            Ok(()) => return,
            Err(worse) => payload = worse,
        }
    }
    std::mem::forget(payload);
}

/// Calls what is the user's; a panic is told to `report` instead of going on.
pub(crate) fn guard(report: impl FnOnce(&str), f: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(f)) {
        told(panic, report);
    }
}

/// Reports a panic, and drops what it carried.
#[cold]
pub(crate) fn told(panic: Box<dyn Any + Send>, report: impl FnOnce(&str)) {
    report(panic_message(&*panic));
    discard(panic);
}

/// The words of a panic, if it had any.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(message) = panic.downcast_ref::<&str>() {
        message
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message
    } else {
        "a panic without a message"
    }
}
