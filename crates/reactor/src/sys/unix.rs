//! What `linux.rs` has, for macOS and the BSDs: in more system calls where they have no single one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, SocketType, sockopt};

use crate::sys::socket_option;

/// Sockets made here have `SO_NOSIGPIPE` instead.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::empty();

/// There is no way to say so.
pub(crate) const MORE: SendFlags = SendFlags::empty();

/// Bytes of a file that pass through memory in one call.
const COPY_BYTES: usize = 16 * 1024;

fn prepare(socket: OwnedFd) -> Result<OwnedFd, Errno> {
    rustix::io::fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    // OpenBSD has no such option, and Rust's programs ignore the signal anyway.
    #[cfg(not(target_os = "openbsd"))]
    let _ = sockopt::set_socket_nosigpipe(&socket, true);
    Ok(socket)
}

/// A non-blocking, close-on-exec socket.
pub(crate) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    prepare(rustix::net::socket(family, kind, None)?)
}

/// The next connection, non-blocking and close-on-exec, and its peer.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
    let (socket, peer) = rustix::net::acceptfrom(fd)?;
    Ok((prepare(socket)?, peer))
}

/// Sends from `offset` of the file on, at most `count` bytes, fewer if the file is long; 0 at its
/// end. The bytes are copied: the `sendfile(2)` of these systems all differ.
pub(crate) fn sendfile(
    socket: BorrowedFd<'_>,
    file: impl AsFd,
    offset: u64,
    count: usize,
) -> Result<usize, Errno> {
    let mut bytes = [0; COPY_BYTES];
    let read = rustix::io::pread(file, &mut bytes[..count.min(COPY_BYTES)], offset)?;
    if read == 0 {
        return Ok(0);
    }
    rustix::net::send(socket, &bytes[..read], NO_SIGNAL)
}

/// `TCP_NOPUSH` of tcp(4).
pub(crate) fn set_cork(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    socket_option::set_nopush(socket, on)
}

/// The address of a Unix socket without a name: nothing can be bound or connected to it.
pub(crate) fn unnamed() -> io::Result<SocketAddrUnix> {
    let message = "a Unix socket needs a path on this system";
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}

/// Linux alone has an abstract namespace.
pub(crate) fn abstract_name(_: &[u8]) -> io::Result<SocketAddrUnix> {
    let message = "this system has no abstract names of Unix sockets";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}
