//! Where the parts that threads share take their locks and atomics from: here the standard library. The
//! models in `tests/loom.rs` put loom's in its place.

use std::task::Context;

use crate::event_loop;

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use std::thread::{self, Thread};

/// True if a task of this thread's loop has had its share of what it need not wait for, and gives way.
pub(crate) fn gives_way(cx: &Context<'_>) -> bool {
    event_loop::try_with_core(|core| core.gives_way(cx.waker())) == Some(true)
}
