//! Pipes that bytes pass through from one socket to another without being copied to the
//! program: splice(2), which Linux has.

use std::cell::RefCell;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

/// Empty pipes that a thread keeps for use again.
const KEPT_MAX: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

/// A pipe of the kernel's usual size, 64 KiB (pipe(7)).
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

impl Pipe {
    /// An empty pipe; an error where there is no splice(2), or no descriptor left.
    pub(crate) fn take() -> io::Result<Pipe> {
        match KEPT.with(|kept| kept.borrow_mut().pop()) {
            Some(pipe) => Ok(pipe),
            None => Pipe::open(),
        }
    }

    /// Keeps the pipe, which must be empty, for use again.
    pub(crate) fn put_back(self) {
        KEPT.with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < KEPT_MAX {
                kept.push(self);
            }
        });
    }

    #[cfg(target_os = "linux")]
    fn open() -> io::Result<Pipe> {
        use rustix::pipe::{PipeFlags, pipe_with};
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Pipe { read, write })
    }

    #[cfg(not(target_os = "linux"))]
    fn open() -> io::Result<Pipe> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves what a socket has received into the pipe, which must be empty: `AGAIN` is the
    /// socket's then, and 0 its end.
    pub(crate) fn fill(&self, from: BorrowedFd<'_>) -> Result<usize, Errno> {
        splice(from, std::os::fd::AsFd::as_fd(&self.write), 1 << 20)
    }

    /// Moves up to `bytes` out of the pipe to a socket.
    pub(crate) fn drain(&self, to: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
        splice(std::os::fd::AsFd::as_fd(&self.read), to, bytes)
    }
}

#[cfg(target_os = "linux")]
fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, bytes: usize) -> Result<usize, Errno> {
    use rustix::pipe::SpliceFlags;
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    rustix::pipe::splice(from, None, to, None, bytes, flags)
}

#[cfg(not(target_os = "linux"))]
fn splice(_: BorrowedFd<'_>, _: BorrowedFd<'_>, _: usize) -> Result<usize, Errno> {
    Err(Errno::NOSYS)
}
