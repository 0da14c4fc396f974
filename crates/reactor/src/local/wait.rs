//! Waiting for another task, and waking it.

use std::task::{Context, Poll};

use crate::event_loop;
use crate::give_way::gives_way;
use crate::scheduler::Waiter;

/// Who polls, without an atomic instruction where it is a task of this thread's loop.
pub(super) fn waiter(cx: &Context<'_>) -> Waiter {
    let waiter = event_loop::try_with_core(|core| core.tasks.waiter(cx.waker()));
    waiter.unwrap_or_else(|| Waiter::Waker(cx.waker().clone()))
}

/// Wakes who waits. Not to be called while anything is borrowed: a foreign waker runs code of the user.
pub(super) fn wake(waiter: Option<Waiter>) {
    let Some(waiter) = waiter else {
        return;
    };
    let foreign = event_loop::try_with_core(|core| core.tasks.wake_own(waiter));
    if let Some(Some(waker)) = foreign {
        waker.wake();
    }
}

/// Ready at once, unless the task that polls has had its share.
pub(super) fn at_once<T>(cx: &Context<'_>, take: impl FnOnce() -> T) -> Poll<T> {
    if gives_way(cx) {
        Poll::Pending
    } else {
        Poll::Ready(take())
    }
}
