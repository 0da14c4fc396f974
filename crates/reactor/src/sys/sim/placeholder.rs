//! The descriptors by which a program names its simulated sockets.
//!
//! Each is a socket of the kernel that is never connected: it takes the options that programs set,
//! counts towards the limit of descriptors, and is told apart from a later one with its number.
#![allow(unsafe_code)]

use std::mem::zeroed;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::net::Address;
use crate::sys::platform;

/// What a number names, while it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    number: RawFd,
    device: u64,
    inode: u64,
}

/// A socket that takes the options which one with that address takes.
pub(super) fn open(address: &Address) -> Result<OwnedFd, Errno> {
    let family = if address.is_unix() {
        AddressFamily::UNIX
    } else {
        AddressFamily::INET
    };
    platform::socket(family, SocketType::STREAM)
}

/// A datagram socket that takes the options which one with that address takes.
pub(super) fn open_datagram(address: &Address) -> Result<OwnedFd, Errno> {
    let family = match address {
        Address::Unix(_) => AddressFamily::UNIX,
        Address::Inet(inet) if inet.is_ipv6() => AddressFamily::INET6,
        Address::Inet(_) => AddressFamily::INET,
    };
    platform::socket(family, SocketType::DGRAM)
}

/// What the number names at present; `None` if nothing.
pub(super) fn identity(number: RawFd) -> Option<Identity> {
    // SAFETY: the structure is plain integers, for which zeroes are valid, and fstat(2) writes
    // within it; a number that is not open is an error.
    let (status, result) = unsafe {
        let mut status: libc::stat = zeroed();
        let result = libc::fstat(number, &raw mut status);
        (status, result)
    };
    #[allow(clippy::unnecessary_cast, reason = "the widths differ between systems")]
    (result == 0).then_some(Identity {
        number,
        device: status.st_dev as u64,
        inode: status.st_ino as u64,
    })
}

impl Identity {
    pub(super) fn number(self) -> RawFd {
        self.number
    }

    /// True if the number still names the same.
    pub(super) fn holds(self) -> bool {
        identity(self.number) == Some(self)
    }
}

/// True if closing is to reset the connection.
pub(super) fn resets_when_closed(fd: impl AsFd) -> bool {
    matches!(sockopt::socket_linger(fd), Ok(Some(Duration::ZERO)))
}

/// The identity of a descriptor that is open.
pub(super) fn identity_of(fd: &OwnedFd) -> Result<Identity, Errno> {
    identity(fd.as_raw_fd()).ok_or(Errno::BADF)
}
