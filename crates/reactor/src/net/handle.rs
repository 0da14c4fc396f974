//! What streams, listeners and other sources have in common: a channel of their loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::fs::OFlags;

use crate::channel::{Channel, ChannelState, Deadline, Kind, Side, Slot};
use crate::event_loop::{self, Core};
use crate::op::{ReadOp, ReadOutcome, WriteOp, WriteOutcome};
use crate::scheduler::Waiter;
use crate::send_queue::Chunk;
use crate::sys::Driver;
use crate::timer_queue::NEVER_MS;

/// A registered descriptor. Dropping it cancels what is pending and closes the descriptor.
pub(crate) struct Handle {
    pub(crate) core: Rc<Core>,
    pub(crate) channel: Rc<Channel>,
}

impl Handle {
    pub(crate) fn register(fd: OwnedFd, kind: Kind) -> io::Result<Handle> {
        let core = event_loop::core()?;
        let channel = core.driver.borrow_mut().register(fd, kind)?;
        Ok(Handle { core, channel })
    }

    /// [`register`](Handle::register) for a socket that the loop reads and writes, and that may have come
    /// from elsewhere: one that blocks would stop the loop, so it is made to block no more.
    pub(crate) fn adopt(fd: OwnedFd, kind: Kind) -> io::Result<Handle> {
        if !rustix::fs::fcntl_getfl(&fd)?.contains(OFlags::NONBLOCK) {
            rustix::io::ioctl_fionbio(&fd, true)?;
        }
        Handle::register(fd, kind)
    }

    /// Who waits, when a future of this is polled.
    #[inline]
    pub(crate) fn waiter(&self, cx: &Context<'_>) -> Waiter {
        self.core.tasks.waiter(cx.waker())
    }

    /// Begins an operation of the read side. What a cancelled one left behind is its outcome.
    #[inline]
    pub(crate) fn begin_read(
        &self,
        op: ReadOp,
        deadline: Deadline,
        cx: &Context<'_>,
    ) -> Poll<ReadOutcome> {
        let state = &mut *self.channel.state();
        if !matches!(state.read, Slot::Idle) {
            return Poll::Ready(left_behind(state));
        }
        state.read.begin(op, self.waiter(cx));
        state.read_deadline_ms = deadline.at_ms;
        state.read_asked = deadline.asked;
        let submitted = {
            let mut driver = self.core.driver.borrow_mut();
            driver.submit_read(&self.channel, state)
        };
        if let Err(error) = submitted {
            return Poll::Ready(withdraw(state, error));
        }
        if deadline.at_ms < state.looked_at_ms {
            self.core.arm_channel(&self.channel, state);
        }
        Poll::Pending
    }

    /// Sees to it that the write side is free. What a cancelled send has left behind is given to be
    /// dropped where nothing is borrowed: that may run code of the user.
    #[inline]
    fn free_write(&self) -> io::Result<Option<WriteOutcome>> {
        let mut state = self.channel.state();
        ChannelState::check_free(&state.write, WriteOp::describe)?;
        Ok(state.write.take_done())
    }

    /// Begins an operation of the write side, after the socket was seen to take no more if it is
    /// `blocked`.
    pub(crate) fn begin_write(
        &self,
        op: WriteOp,
        blocked: bool,
        cx: &Context<'_>,
    ) -> io::Result<()> {
        let _left_behind = self.free_write()?;
        let state = &mut *self.channel.state();
        let mut driver = self.core.driver.borrow_mut();
        if blocked {
            driver.send_blocked(&self.channel, state);
        }
        state.write.begin(op, self.waiter(cx));
        driver.submit_write(&self.channel, state);
        Ok(())
    }

    /// Begins to send a chunk, for nobody yet.
    pub(crate) fn begin_chunk(&self, chunk: Chunk) -> io::Result<()> {
        let _left_behind = self.free_write()?;
        let state = &mut *self.channel.state();
        let mut driver = self.core.driver.borrow_mut();
        if let Err(chunk) = driver.submit_chunk(&self.channel, state, chunk) {
            let queue = self.core.send_queues.queue_of(chunk);
            let op = WriteOp::Send { queue, stall_ms: 0 };
            state.write.begin(op, Waiter::NOBODY);
            driver.submit_write(&self.channel, state);
        }
        Ok(())
    }

    /// The outcome of the operation of the read side that was begun.
    #[inline]
    pub(crate) fn poll_read(&self, cx: &Context<'_>) -> Poll<ReadOutcome> {
        let taken = self.channel.state().read.take_done();
        match taken {
            Some(outcome) => Poll::Ready(outcome),
            None => self.wait_on(cx),
        }
    }

    /// The task was woken for something else, or it is another one than is stored: the future has
    /// moved.
    #[cold]
    fn wait_on<T>(&self, cx: &Context<'_>) -> Poll<T> {
        let new = self.waiter(cx);
        let former = replace_waiter(&mut self.channel.state().read, new);
        drop(former);
        Poll::Pending
    }

    /// The outcome of the operation of the write side that was begun.
    pub(crate) fn poll_write(&self, cx: &Context<'_>) -> Poll<WriteOutcome> {
        let taken = self.channel.state().write.take_done();
        if let Some(outcome) = taken {
            return Poll::Ready(outcome);
        }
        let new = self.waiter(cx);
        let former = replace_waiter(&mut self.channel.state().write, new);
        drop(former);
        Poll::Pending
    }

    /// The caller reads the descriptor himself from now on: see [`Driver::read_directly`].
    pub(crate) fn read_directly(&self) {
        let mut driver = self.core.driver.borrow_mut();
        driver.read_directly(&mut self.channel.state());
    }

    pub(crate) fn cancel(&self, side: Side) {
        let remains = self.core.driver.borrow_mut().cancel(&self.channel, side);
        drop(remains);
    }
}

impl AsFd for Handle {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// What a read side that is not free has for the next operation: an outcome that nobody has taken, or
/// the reason why there can be none.
#[cold]
fn left_behind(state: &mut ChannelState) -> ReadOutcome {
    match ChannelState::check_free(&state.read, ReadOp::describe) {
        Err(error) => ReadOutcome::Failed(error),
        Ok(()) => state.read.take_done().unwrap_or(ReadOutcome::Ready),
    }
}

/// Takes back an operation that the driver could not begin.
#[cold]
fn withdraw(state: &mut ChannelState, error: io::Error) -> ReadOutcome {
    state.read = Slot::Idle;
    state.read_deadline_ms = NEVER_MS;
    ReadOutcome::Failed(error)
}

/// Puts another waiter in place, and gives the one that is not needed.
fn replace_waiter<O, R>(slot: &mut Slot<O, R>, new: Waiter) -> Waiter {
    match slot {
        Slot::Pending(_, waiter) if !waiter.will_wake(&new) => std::mem::replace(waiter, new),
        Slot::Pending(..) | Slot::Idle | Slot::Done(_) | Slot::Gone => new,
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.core.driver.borrow_mut().release(&self.channel);
        let key = self.channel.state().timer.take();
        if let Some(key) = key {
            let owner = self.core.timers.borrow_mut().remove(key);
            drop(owner);
        }
    }
}
