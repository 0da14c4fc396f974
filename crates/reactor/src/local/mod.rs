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

pub use cancellation::{Cancellation, Cancelled, WasCancelled};
pub use notify::{Notified, Notify};
pub use one_shot::{OneReceiver, OneSender, SenderGone, oneshot};
pub use queue::{Enqueue, QueueReceiver, QueueSender, TrySendError, queue};
pub use select::{Either, Select, select};

use std::task::{Context, Poll};

use crate::event_loop;
use crate::scheduler::Waiter;

/// Who polls, without an atomic instruction where it is a task of this thread's loop.
fn waiter(cx: &Context<'_>) -> Waiter {
    let waiter = event_loop::try_with_core(|core| core.tasks.waiter(cx.waker()));
    waiter.unwrap_or_else(|| Waiter::Waker(cx.waker().clone()))
}

/// Wakes who waits. Not to be called while anything is borrowed: a foreign waker runs code of the user.
fn wake(waiter: Option<Waiter>) {
    let Some(waiter) = waiter else {
        return;
    };
    let foreign = event_loop::try_with_core(|core| core.tasks.wake_own(waiter));
    if let Some(Some(waker)) = foreign {
        waker.wake();
    }
}

/// Ready at once, unless the task that polls has had its share.
fn at_once<T>(cx: &Context<'_>, take: impl FnOnce() -> T) -> Poll<T> {
    let gives_way = event_loop::try_with_core(|core| core.gives_way(cx.waker()));
    if gives_way == Some(true) {
        Poll::Pending
    } else {
        Poll::Ready(take())
    }
}
