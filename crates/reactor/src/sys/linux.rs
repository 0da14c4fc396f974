//! What Linux has and other systems have not, or have otherwise; `unix.rs` has the same
//! functions for those.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};

/// Sending to a closed peer is an error, never a `SIGPIPE`.
pub(crate) const NO_SIGNAL: SendFlags = SendFlags::NOSIGNAL;

/// More is about to be sent: a segment may wait for it.
pub(crate) const MORE: SendFlags = SendFlags::MORE;

const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A non-blocking, close-on-exec socket.
#[inline]
pub(crate) fn socket(family: AddressFamily, kind: SocketType) -> Result<OwnedFd, Errno> {
    rustix::net::socket_with(family, kind, FLAGS, None)
}

/// The next connection, non-blocking and close-on-exec, and its peer.
#[inline]
pub(crate) fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
    rustix::net::acceptfrom_with(fd, FLAGS)
}

/// `sendfile(2)`: sends from `offset` on, at most `count` bytes; 0 at the end of the file.
#[inline]
pub(crate) fn sendfile(
    socket: BorrowedFd<'_>,
    file: impl AsFd,
    mut offset: u64,
    count: usize,
) -> Result<usize, Errno> {
    rustix::fs::sendfile(socket, file, Some(&mut offset), count)
}

/// `TCP_CORK` of tcp(7).
pub(crate) fn set_cork(socket: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    Ok(sockopt::set_tcp_cork(socket, on)?)
}

/// The address of a Unix socket without a name.
pub(crate) fn unnamed() -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_unnamed())
}

/// A name in the abstract namespace (unix(7)).
pub(crate) fn abstract_name(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(name)?)
}
