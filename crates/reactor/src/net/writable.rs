//! Waiting until a descriptor that is written past its channel takes more.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::channel::{Channel, Side};
use crate::net::handle::{Handle, replace_waiter};
use crate::op::WriteOp;
use crate::sys::Driver;

/// Waits for room to write, after a write has met `WouldBlock`. `submitted` tells whether the
/// operation is under way; whoever gives up then cancels it.
pub(crate) fn poll(
    handle: &Handle,
    submitted: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let waiter = handle.waiter(cx);
    if !*submitted {
        let mut driver = handle.core.driver.borrow_mut();
        let channel = driver.channels_mut().get_mut(handle.token);
        if let Err(error) = Channel::check_free(&channel.write, WriteOp::describe) {
            return Poll::Ready(Err(error));
        }
        driver.send_blocked(handle.token);
        driver.submit_write(handle.token, WriteOp::Ready, waiter);
        *submitted = true;
        return Poll::Pending;
    }
    let (done, former) = handle.with_mut(|channel| {
        let done = channel.write.take_done();
        (done, replace_waiter(&mut channel.write, waiter))
    });
    drop(former);
    match done {
        None => Poll::Pending,
        Some(outcome) => {
            *submitted = false;
            Poll::Ready(outcome.result)
        }
    }
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
