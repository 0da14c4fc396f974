//! A question to another loop, and its answer on the loop that asked.
//!
//! A function that was posted to a loop gives the answer; a task awaits it. Nothing blocks: the
//! waker crosses over as any waker may.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

struct Slot<T> {
    value: Option<T>,
    answered: bool,
    waker: Option<Waker>,
}

/// The end of the one who answers. Dropped without an answer, it says that there will be none.
pub(crate) struct Answer<T>(Arc<Mutex<Slot<T>>>);

/// The end of the one who asks: `None` if the other loop has ended.
pub(crate) struct Asked<T>(Arc<Mutex<Slot<T>>>);

pub(crate) fn ask<T>() -> (Answer<T>, Asked<T>) {
    let slot = Arc::new(Mutex::new(Slot {
        value: None,
        answered: false,
        waker: None,
    }));
    (Answer(Arc::clone(&slot)), Asked(slot))
}

fn lock<T>(slot: &Mutex<Slot<T>>) -> MutexGuard<'_, Slot<T>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Answer<T> {
    pub(crate) fn give(self, value: T) {
        lock(&self.0).value = Some(value);
        // Dropping it wakes the one who asked.
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        let mut slot = lock(&self.0);
        slot.answered = true;
        let waker = slot.waker.take();
        drop(slot);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Asked<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut slot = lock(&self.0);
        if slot.answered {
            return Poll::Ready(slot.value.take());
        }
        slot.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}
