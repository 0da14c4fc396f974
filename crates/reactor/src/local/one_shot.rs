//! A value that one task hands to another, once.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::wait::{waiter, wake};
use crate::scheduler::Waiter;

/// What lies between the two ends.
enum Slot<T> {
    Empty(Option<Waiter>),
    Full(T),
    /// The sender is gone, or the receiver is, or the value was taken.
    Closed,
}

type Shared<T> = Rc<RefCell<Slot<T>>>;

/// The end that gives the value.
pub struct OneSender<T>(Shared<T>);

/// The end that waits for it: a future of the value, or of [`SenderGone`].
#[must_use = "futures do nothing unless awaited"]
pub struct OneReceiver<T>(Shared<T>);

/// The sender was dropped and has sent nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderGone;

impl fmt::Display for SenderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("whoever was to send the value is gone")
    }
}

impl std::error::Error for SenderGone {}

/// Two ends for one value. Loop-local.
///
/// ```
/// use revolve_reactor::local::oneshot;
/// use revolve_reactor::{EventLoop, spawn};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let (sender, receiver) = oneshot();
///     spawn(async move { sender.send("hello") });
///     assert_eq!(receiver.await, Ok("hello"));
/// });
/// # Ok(())
/// # }
/// ```
pub fn oneshot<T>() -> (OneSender<T>, OneReceiver<T>) {
    let shared = Rc::new(RefCell::new(Slot::Empty(None)));
    (OneSender(Rc::clone(&shared)), OneReceiver(shared))
}

impl<T> OneSender<T> {
    /// Hands the value over.
    ///
    /// # Errors
    ///
    /// The value, if the receiver is gone.
    pub fn send(self, value: T) -> Result<(), T> {
        let mut slot = self.0.borrow_mut();
        let Slot::Empty(waits) = &mut *slot else {
            drop(slot);
            return Err(value);
        };
        let waits = waits.take();
        *slot = Slot::Full(value);
        drop(slot);
        wake(waits);
        Ok(())
    }

    /// True if the receiver is gone: nobody will see the value.
    pub fn is_closed(&self) -> bool {
        matches!(*self.0.borrow(), Slot::Closed)
    }
}

impl<T> Drop for OneSender<T> {
    fn drop(&mut self) {
        let mut slot = self.0.borrow_mut();
        let waits = match &mut *slot {
            Slot::Empty(waits) => waits.take(),
            Slot::Full(_) | Slot::Closed => return,
        };
        *slot = Slot::Closed;
        drop(slot);
        wake(waits);
    }
}

impl<T> OneReceiver<T> {
    /// The value, if it is there already; `Ok(None)` while it is not.
    ///
    /// # Errors
    ///
    /// [`SenderGone`], and after the value was taken.
    pub fn try_recv(&mut self) -> Result<Option<T>, SenderGone> {
        let mut slot = self.0.borrow_mut();
        match &*slot {
            Slot::Empty(_) => Ok(None),
            Slot::Closed => Err(SenderGone),
            Slot::Full(_) => match std::mem::replace(&mut *slot, Slot::Closed) {
                Slot::Full(value) => Ok(Some(value)),
                Slot::Empty(_) | Slot::Closed => Ok(None),
            },
        }
    }
}

impl<T> Future for OneReceiver<T> {
    type Output = Result<T, SenderGone>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(result) = self.try_recv().transpose() {
            return Poll::Ready(result);
        }
        let new = waiter(cx);
        let mut former = None;
        if let Slot::Empty(waits) = &mut *self.0.borrow_mut() {
            former = waits.replace(new);
        }
        drop(former);
        Poll::Pending
    }
}

impl<T> Drop for OneReceiver<T> {
    fn drop(&mut self) {
        let former = self.0.replace(Slot::Closed);
        drop(former);
    }
}

impl<T> fmt::Debug for OneSender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneSender")
            .field("is_closed", &self.is_closed())
            .finish()
    }
}

impl<T> fmt::Debug for OneReceiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneReceiver").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventLoop, spawn, yield_now};

    #[test]
    fn a_value_is_handed_over_before_and_after_it_is_waited_for() {
        EventLoop::new().unwrap().block_on(async {
            let (sender, receiver) = oneshot();
            sender.send(1).unwrap();
            assert_eq!(receiver.await, Ok(1));
            let (sender, mut receiver) = oneshot();
            assert_eq!(receiver.try_recv(), Ok(None));
            let waiting = spawn(receiver);
            yield_now().await;
            sender.send(2).unwrap();
            assert_eq!(waiting.await, Ok(Ok(2)));
        });
    }

    #[test]
    fn an_end_hears_that_the_other_is_gone() {
        EventLoop::new().unwrap().block_on(async {
            let (sender, receiver) = oneshot::<u8>();
            let waiting = spawn(receiver);
            yield_now().await;
            drop(sender);
            assert_eq!(waiting.await, Ok(Err(SenderGone)));
            let (sender, receiver) = oneshot();
            assert!(!sender.is_closed());
            drop(receiver);
            assert!(sender.is_closed());
            assert_eq!(sender.send("back"), Err("back"));
            let (sender, mut receiver) = oneshot();
            sender.send(3).unwrap();
            assert_eq!(receiver.try_recv(), Ok(Some(3)));
            assert_eq!(receiver.try_recv(), Err(SenderGone));
        });
    }
}
