//! Readiness of any descriptor that can be polled.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::channel::{Deadline, Kind, Side, Slot};
use crate::net::handle::Handle;
use crate::op::{ReadOp, ReadOutcome};

/// A descriptor whose owner reads it himself: inotify, a pipe, a signalfd. Loop-local.
pub struct Readable {
    handle: Handle,
}

impl Readable {
    /// Registers a descriptor with this thread's loop. It stays as it is, because the loop does not read
    /// it: whoever reads until `WouldBlock` needs one that does not block.
    ///
    /// # Errors
    ///
    /// No loop on this thread; a descriptor that cannot be polled (a regular file).
    pub fn new(fd: OwnedFd) -> io::Result<Readable> {
        Ok(Readable {
            handle: Handle::register(fd, Kind::Source)?,
        })
    }

    /// Ready once there is something to read, or the other end is closed. Edge-triggered: read
    /// until `WouldBlock` before asking again.
    pub fn ready(&self) -> Ready<'_> {
        Ready {
            handle: &self.handle,
            edge: true,
            submitted: false,
        }
    }

    /// The descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl AsFd for Readable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        Readable::as_fd(self)
    }
}

impl AsRawFd for Readable {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Readable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Readable")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}

/// Waits for something to read, and reads nothing.
#[must_use = "futures do nothing unless awaited"]
pub struct Ready<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) edge: bool,
    pub(crate) submitted: bool,
}

impl Future for Ready<'_> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = if self.submitted {
            ready!(self.handle.poll_read(cx))
        } else {
            self.submitted = true;
            let op = ReadOp::Ready { edge: self.edge };
            ready!(self.handle.begin_read(op, Deadline::NEVER, cx))
        };
        self.submitted = false;
        Poll::Ready(match outcome {
            ReadOutcome::Ready => Ok(()),
            ReadOutcome::Failed(error) => Err(error),
            // Bytes that a cancelled receive left behind: they stay for the next one.
            received @ ReadOutcome::Received(_) => {
                self.handle.channel.state().read = Slot::Done(received);
                Ok(())
            }
        })
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.handle.cancel(Side::Read);
        }
    }
}

impl std::fmt::Debug for Ready<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready")
            .field("submitted", &self.submitted)
            .finish()
    }
}
