//! Where the parts that threads share take their locks and atomics from: here the standard library. The
//! models in `tests/loom.rs` put loom's in its place.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
pub(crate) use std::sync::{Arc, Condvar, Mutex, MutexGuard};
pub(crate) use std::thread::{self, Thread};
