//! Unix datagram sockets.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use crate::net::address::Address;
use crate::net::datagram::{Datagram, DatagramSocket};
use crate::net::socket;

/// A Unix datagram socket (unix(7)) of this thread's loop: datagrams arrive, in order, and who
/// sends waits while the receiver's queue is full.
///
/// One task may receive and one send at a time. Dropping a future loses no datagram.
pub struct UnixDatagram {
    socket: DatagramSocket,
}

impl UnixDatagram {
    /// Binds to a path, which must not exist, or to an abstract name. The path stays when the
    /// socket is closed.
    ///
    /// # Errors
    ///
    /// As bind(2): `AddrInUse`, `NotFound`, `PermissionDenied`; `InvalidInput` for an address
    /// that is not a Unix one; no loop on this thread.
    pub fn bind(address: &Address) -> io::Result<UnixDatagram> {
        check(address)?;
        let socket = DatagramSocket::bind(address)?;
        Ok(UnixDatagram { socket })
    }

    /// A socket without a name, which can send and hear no answer.
    ///
    /// # Errors
    ///
    /// As socket(2); no loop on this thread.
    pub fn unbound() -> io::Result<UnixDatagram> {
        UnixDatagram::from_fd(socket::datagram(&Address::UNNAMED, false)?)
    }

    /// Registers a Unix datagram socket with this thread's loop. One that blocks is made non-blocking, and with
    /// it all duplicates of the descriptor.
    ///
    /// # Errors
    ///
    /// No loop on this thread; a descriptor that cannot be polled.
    pub fn from_fd(fd: OwnedFd) -> io::Result<UnixDatagram> {
        let socket = DatagramSocket::from_fd(fd)?;
        Ok(UnixDatagram { socket })
    }

    /// Names the peer that [`send`](UnixDatagram::send) sends to, and receives from no other.
    ///
    /// # Errors
    ///
    /// As connect(2): `NotFound`, `ConnectionRefused`.
    pub fn connect(&self, peer: &Address) -> io::Result<()> {
        check(peer)?;
        self.socket.connect(peer)
    }

    /// Receives a datagram.
    ///
    /// # Errors
    ///
    /// As recvmsg(2).
    pub async fn recv_from(&self) -> io::Result<Datagram> {
        self.socket.recv().await
    }

    /// Sends a datagram to the peer that the socket is connected to.
    ///
    /// # Errors
    ///
    /// As send(2).
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, None).await
    }

    /// Sends a datagram to an address, at once. A queue that is full there cannot be waited for without
    /// being connected to it (unix(7)): [`connect`](UnixDatagram::connect) where it may be.
    ///
    /// # Errors
    ///
    /// As send(2): `NotFound`, `ConnectionRefused`; `WouldBlock` when the receiver's queue is
    /// full.
    pub fn send_to(&self, bytes: &[u8], to: &Address) -> io::Result<()> {
        check(to)?;
        self.socket.send_unless_full(bytes, to)
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_address(&self) -> io::Result<Address> {
        self.socket.local_address()
    }
}

fn check(address: &Address) -> io::Result<()> {
    if !address.is_unix() {
        let message = "a Unix datagram socket needs a path, not an IP address";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

impl AsFd for UnixDatagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.handle.as_fd()
    }
}

impl AsRawFd for UnixDatagram {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.handle.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UnixDatagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnixDatagram")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}
