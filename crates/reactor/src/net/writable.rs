//! Waiting until a descriptor that is written past its channel takes more.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::channel::Side;
use crate::net::handle::Handle;
use crate::op::WriteOp;

/// Waits for room to write, after a write has met `WouldBlock`. `submitted` tells whether the
/// operation is under way; whoever gives up then cancels it.
pub(crate) fn poll(
    handle: &Handle,
    submitted: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    if !*submitted {
        handle.begin_write(WriteOp::Ready, true, cx)?;
        *submitted = true;
        return Poll::Pending;
    }
    let outcome = ready!(handle.poll_write(cx));
    *submitted = false;
    Poll::Ready(outcome.result)
}

/// [`poll`] as a future, which cancels when dropped.
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Writable<'a> {
    handle: &'a Handle,
    submitted: bool,
}

impl<'a> Writable<'a> {
    pub(crate) fn new(handle: &'a Handle) -> Writable<'a> {
        Writable {
            handle,
            submitted: false,
        }
    }
}

impl Future for Writable<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let writable = &mut *self;
        poll(writable.handle, &mut writable.submitted, cx)
    }
}

impl Drop for Writable<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.handle.cancel(Side::Write);
        }
    }
}
