//! Readiness of any descriptor, told as the caller wants it.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::channel::{Deadline, Flags, Kind, Side};
use crate::net::handle::Handle;
use crate::op::{ReadOp, ReadOutcome};
use crate::sys::Driver;
use crate::trigger::{Interest, Trigger};

/// A descriptor of this thread's loop that is told to be ready by a [`Trigger`], and that its owner reads
/// and writes himself. Loop-local.
///
/// Sockets that the loop is to read and write are better off as [`Stream`](crate::Stream) and its like.
///
/// ```
/// use std::io::{Read, Write};
/// use revolve_reactor::{EventLoop, Interest, Registration, Trigger};
///
/// # fn main() -> std::io::Result<()> {
/// let (mut reader, mut writer) = std::io::pipe()?;
/// EventLoop::new()?.block_on(async {
///     let watched = reader.try_clone()?.into();
///     let registration = Registration::new(watched, Interest::Read, Trigger::Level)?;
///     writer.write_all(b"hello")?;
///     assert!(registration.event().await?.readable);
///     // Nothing was taken, so it is told again.
///     assert!(registration.event().await?.readable);
///     reader.read_exact(&mut [0; 5])
/// })
/// # }
/// ```
pub struct Registration {
    handle: Handle,
}

impl Registration {
    /// Registers a descriptor, which stays as it is: whoever reads until `WouldBlock` needs one that does
    /// not block. With [`Trigger::OneShot`] it is armed.
    ///
    /// # Errors
    ///
    /// `Unsupported` for a trigger that the loop's driver has not, with its name, and for a socket that
    /// is simulated in memory; `PermissionDenied` for what is always ready (a regular file); no
    /// loop on this thread.
    pub fn new(fd: OwnedFd, interest: Interest, trigger: Trigger) -> io::Result<Registration> {
        let handle = Handle::register(fd, Kind::Watched(interest, trigger))?;
        Ok(Registration { handle })
    }

    /// What the descriptor is told to be ready for next. What was told while nobody asked counts, but with
    /// the triggers that tell again ([`Level`](Trigger::Level), [`Exclusive`](Trigger::Exclusive)).
    /// One task may ask at a time. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// Another task is asking; the loop has ended; the kernel refuses to watch it again.
    pub fn event(&self) -> Told<'_> {
        Told {
            handle: &self.handle,
            submitted: false,
        }
    }

    /// Arms a [`OneShot`](Trigger::OneShot) anew, which is told at once if it is ready already. Does
    /// nothing with the other triggers.
    ///
    /// # Errors
    ///
    /// As epoll_ctl(2).
    pub fn arm(&self) -> io::Result<()> {
        let Handle { core, channel } = &self.handle;
        core.driver.borrow_mut().arm(channel, &mut channel.state())
    }

    /// The descriptor.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl AsFd for Registration {
    fn as_fd(&self) -> BorrowedFd<'_> {
        Registration::as_fd(self)
    }
}

impl AsRawFd for Registration {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Registration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}

/// What a descriptor is ready for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read, or the end of it, or an error.
    pub readable: bool,
    /// There is room to write, or an error.
    pub writable: bool,
    /// The other end is closed, or the descriptor is broken. Not every driver tells before that is read.
    pub closed: bool,
}

/// Waits until a [`Registration`] is told of. Made by [`Registration::event`].
#[must_use = "futures do nothing unless awaited"]
pub struct Told<'a> {
    handle: &'a Handle,
    submitted: bool,
}

/// What was told and nobody has taken.
fn take(handle: &Handle) -> Option<Readiness> {
    let flags = &mut handle.channel.state().flags;
    let told = *flags;
    flags.remove(Flags::TOLD);
    told.any(Flags::TOLD).then(|| Readiness {
        readable: told.has(Flags::READABLE),
        writable: told.has(Flags::WRITABLE),
        closed: told.has(Flags::PEER_CLOSED),
    })
}

impl Future for Told<'_> {
    type Output = io::Result<Readiness>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let outcome = if self.submitted {
                ready!(self.handle.poll_read(cx))
            } else if let Some(told) = take(self.handle) {
                return Poll::Ready(Ok(told));
            } else {
                self.submitted = true;
                let op = ReadOp::Ready { edge: false };
                ready!(self.handle.begin_read(op, Deadline::NEVER, cx))
            };
            self.submitted = false;
            if let ReadOutcome::Failed(error) = outcome {
                return Poll::Ready(Err(error));
            }
        }
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.handle.cancel(Side::Read);
            // What is told again is told when it is so then.
            if self.handle.channel.kind().is_level() {
                self.handle.channel.state().flags.remove(Flags::TOLD);
            }
        }
    }
}

impl std::fmt::Debug for Told<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Told")
            .field("submitted", &self.submitted)
            .finish_non_exhaustive()
    }
}
