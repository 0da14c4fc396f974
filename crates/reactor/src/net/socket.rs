//! What is asked of a socket outside of its operations: of the kernel, or of the network that the
//! loop simulates.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, Shutdown, SocketAddrAny, SocketType, sockopt};

use crate::event_loop;
use crate::net::address::Address;
use crate::net::handle::Handle;
use crate::op::{self, Progress};
use crate::sys::platform::{self, NO_SIGNAL};
use crate::sys::sim::Network;

/// A non-blocking, close-on-exec socket of the family of `address`.
pub(crate) fn stream_socket(address: &SocketAddrAny) -> io::Result<OwnedFd> {
    Ok(platform::socket(
        address.address_family(),
        SocketType::STREAM,
    )?)
}

/// Begins to connect, from an address where one is given; true if that was all.
pub(crate) fn connect(local: Option<&Address>, address: &Address) -> io::Result<(OwnedFd, bool)> {
    if let Some(network) = event_loop::network() {
        return network.connect(address);
    }
    let raw = address.to_raw()?;
    let socket = stream_socket(&raw)?;
    if let Some(local) = local {
        rustix::net::bind(&socket, &local.to_raw()?)?;
    }
    match op::connect(socket.as_fd(), &raw) {
        Progress::Done(Ok(())) => Ok((socket, true)),
        Progress::Done(Err(error)) => Err(error),
        Progress::Blocked | Progress::Spent => Ok((socket, false)),
    }
}

/// Two connected sockets without names.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    if let Some(network) = event_loop::network() {
        return network.pair();
    }
    let (one, other) = UnixStream::pair()?;
    one.set_nonblocking(true)?;
    other.set_nonblocking(true)?;
    Ok((one.into(), other.into()))
}

/// A datagram socket with an address, which others may share if all do so (`SO_REUSEPORT`). A Unix
/// one may have none.
pub(crate) fn datagram(address: &Address, shared: bool) -> io::Result<OwnedFd> {
    if let Some(network) = event_loop::network() {
        return network.bind_datagram(address, shared);
    }
    let raw = address.to_raw()?;
    let fd = platform::socket(raw.address_family(), SocketType::DGRAM)?;
    if shared {
        sockopt::set_socket_reuseport(&fd, true)?;
    }
    if !address.is_unnamed() {
        rustix::net::bind(&fd, &raw)?;
    }
    Ok(fd)
}

/// The address of a socket that is not registered (getsockname(2)).
pub(crate) fn local_address(fd: BorrowedFd<'_>) -> io::Result<Address> {
    let network = event_loop::network();
    match network.and_then(|network| network.addresses(fd)) {
        Some((local, _)) => Ok(local),
        None => Ok(rustix::net::getsockname(fd)?.into()),
    }
}

impl Handle {
    /// The network that the socket is of, if it is simulated.
    pub(crate) fn network(&self) -> Option<&Network> {
        let network = self.core.network.as_deref();
        network.filter(|network| network.has(self.as_fd()))
    }

    /// The address of this end (getsockname(2)).
    pub(crate) fn local_address(&self) -> io::Result<Address> {
        let simulated = self.core.network.as_deref();
        match simulated.and_then(|network| network.addresses(self.as_fd())) {
            Some((local, _)) => Ok(local),
            None => Ok(rustix::net::getsockname(self)?.into()),
        }
    }

    /// The address of the other end (getpeername(2)).
    pub(crate) fn peer_address(&self) -> io::Result<Address> {
        let simulated = self.core.network.as_deref();
        match simulated.and_then(|network| network.addresses(self.as_fd())) {
            Some((_, remote)) => Ok(remote),
            None => {
                let peer = rustix::net::getpeername(self)?;
                Ok(peer.map_or(Address::UNNAMED, Address::from))
            }
        }
    }

    /// Closes the write side (shutdown(2)).
    pub(crate) fn shutdown_write(&self) -> Result<(), Errno> {
        shutdown_write(self.network(), self.as_fd())
    }

    /// Writes at once what the socket takes, past the channel.
    #[cfg(feature = "futures-io")]
    pub(crate) fn write(&self, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        write(self.network(), self.as_fd(), slices)
    }

    /// Accepts at once, answers as far as that is possible, and closes; false if nobody waits.
    pub(crate) fn turn_away(&self, answer: &[u8]) -> Result<bool, Errno> {
        let network = self.network();
        let accepted = match network {
            Some(network) => network.accept(self.as_fd()).map(|(socket, _)| socket),
            None => platform::accept(self.as_fd()).map(|(socket, _)| socket),
        };
        let socket = match accepted {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => return Ok(false),
            Err(error) => return Err(error),
        };
        if !answer.is_empty() {
            let _ = write(network, socket.as_fd(), &[IoSlice::new(answer)]);
            let _ = shutdown_write(network, socket.as_fd());
        }
        Ok(true)
    }
}

fn shutdown_write(network: Option<&Network>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match network {
        Some(network) => network.shutdown_write(fd),
        None => rustix::net::shutdown(fd, Shutdown::Write),
    }
}

fn write(
    network: Option<&Network>,
    fd: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
) -> Result<usize, Errno> {
    match (network, slices) {
        (Some(network), _) => network.write(fd, slices),
        (None, [only]) => rustix::net::send(fd, only, NO_SIGNAL),
        (None, _) => {
            let mut control = SendAncillaryBuffer::default();
            rustix::net::sendmsg(fd, slices, &mut control, NO_SIGNAL)
        }
    }
}
