//! What streams, listeners and other sources have in common: a channel of their loop.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::channel::{Channel, Kind, Side, Slot, Token};
use crate::event_loop::{self, Core};
use crate::op::{ReadOp, ReadOutcome};
use crate::scheduler::Waiter;
use crate::sys::Driver;

/// A registered descriptor. Dropping it cancels what is pending and closes the descriptor.
pub(crate) struct Handle {
    pub(crate) core: Rc<Core>,
    pub(crate) token: Token,
    /// Shared with the channel, so that it can be borrowed while the loop is not.
    pub(crate) fd: Rc<OwnedFd>,
}

impl Handle {
    pub(crate) fn register(fd: OwnedFd, kind: Kind) -> io::Result<Handle> {
        let core = event_loop::core()?;
        let fd = Rc::new(fd);
        let token = core.driver.borrow_mut().register(Rc::clone(&fd), kind)?;
        Ok(Handle { core, token, fd })
    }

    /// Who waits, when a future of this is polled.
    #[inline]
    pub(crate) fn waiter(&self, cx: &Context<'_>) -> Waiter {
        self.core.tasks.waiter(cx.waker())
    }

    /// Looks at the channel. `f` must not run code of the user.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&Channel) -> R) -> R {
        f(self.core.driver.borrow().channels().get(self.token))
    }

    /// Changes the channel. `f` must not run code of the user.
    #[inline]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(&mut Channel) -> R) -> R {
        f(self
            .core
            .driver
            .borrow_mut()
            .channels_mut()
            .get_mut(self.token))
    }

    /// Begins an operation of the read side. What a cancelled one left behind is its outcome.
    #[inline]
    pub(crate) fn begin_read(
        &self,
        op: ReadOp,
        deadline_ms: u64,
        cx: &mut Context<'_>,
    ) -> Poll<ReadOutcome> {
        let waiter = self.waiter(cx);
        let mut driver = self.core.driver.borrow_mut();
        let channel = driver.channels_mut().get_mut(self.token);
        if let Err(error) = Channel::check_free(&channel.read, ReadOp::describe) {
            return Poll::Ready(ReadOutcome::Failed(error));
        }
        if let Some(outcome) = channel.read.take_done() {
            return Poll::Ready(outcome);
        }
        channel.read_deadline_ms = deadline_ms;
        let is_looked_at = channel.looked_at_ms <= deadline_ms;
        if let Err(error) = driver.submit_read(self.token, op, waiter) {
            return Poll::Ready(ReadOutcome::Failed(error));
        }
        if !is_looked_at {
            self.core.arm_channel(&mut driver, self.token);
        }
        Poll::Pending
    }

    /// The outcome of the operation that was begun.
    #[inline]
    pub(crate) fn poll_read(&self, cx: &mut Context<'_>) -> Poll<ReadOutcome> {
        let taken = self.with_mut(|channel| channel.read.take_done());
        if let Some(outcome) = taken {
            return Poll::Ready(outcome);
        }
        self.wait_on(cx);
        Poll::Pending
    }

    /// The task was woken for something else, or it is another one than is stored: the future has
    /// moved.
    #[cold]
    fn wait_on(&self, cx: &mut Context<'_>) {
        let new = self.waiter(cx);
        let former = self.with_mut(|channel| replace_waiter(&mut channel.read, new));
        drop(former);
    }

    /// The caller reads the descriptor himself from now on: see [`Driver::read_directly`].
    pub(crate) fn read_directly(&self) {
        self.core.driver.borrow_mut().read_directly(self.token);
    }

    pub(crate) fn cancel(&self, side: Side) {
        let remains = self.core.driver.borrow_mut().cancel(self.token, side);
        drop(remains);
    }
}

/// Puts another waiter in place, and gives the one that is not needed.
pub(crate) fn replace_waiter<O, R>(slot: &mut Slot<O, R>, new: Waiter) -> Waiter {
    match slot {
        Slot::Pending(_, waiter) if !waiter.will_wake(&new) => std::mem::replace(waiter, new),
        Slot::Pending(..) | Slot::Idle | Slot::Done(_) | Slot::Gone => new,
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let channel = self.core.driver.borrow_mut().release(self.token);
        if let Some(key) = channel.timer {
            let owner = self.core.timers.borrow_mut().remove(key);
            drop(owner);
        }
        drop(channel);
    }
}
