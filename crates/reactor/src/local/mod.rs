//! What tasks of one loop need of each other: a value that is handed over once ([`oneshot`]), a wake-up
//! ([`Notify`]), a [bounded queue](queue), the first of two futures ([`select`]), and being told to come
//! to an end ([`Cancellation`]).
//!
//! All of it stays on its thread, and is made of no lock and no atomic instruction. What crosses threads
//! is [`Semaphore`](crate::Semaphore), [`LoopHandle`](crate::LoopHandle) and the
//! [thread pool](crate::ThreadPool).
//!
//! Waiting is first come, first served. Dropping a future that waits leaves the line and loses nothing,
//! except where it says so. A task that never has to wait gives way after 128 times, so that the loop turns.

mod cancellation;
mod notify;
mod one_shot;
mod queue;
mod select;
mod wait;

pub use cancellation::{Cancellation, Cancelled, WasCancelled};
pub use notify::{Notified, Notify};
pub use one_shot::{OneReceiver, OneSender, SenderGone, oneshot};
pub use queue::{Enqueue, QueueReceiver, QueueSender, TrySendError, queue};
pub use select::{Either, Select, select};
