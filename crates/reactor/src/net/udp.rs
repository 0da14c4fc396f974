//! UDP.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::sockopt;

use crate::net::address::Address;
use crate::net::datagram::{Datagram, DatagramSocket};
use crate::net::socket;

/// A UDP socket (udp(7)) of this thread's loop.
///
/// One task may receive and one send at a time. Dropping a future loses no datagram.
///
/// ```
/// use revolve_reactor::{Address, EventLoop, UdpSocket};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let any = Address::Inet(([127, 0, 0, 1], 0).into());
///     let (one, other) = (UdpSocket::bind(&any)?, UdpSocket::bind(&any)?);
///     one.send_to(b"hello", &other.local_address()?).await?;
///     let datagram = other.recv_from().await?;
///     assert_eq!(&datagram.bytes[..], b"hello");
///     assert_eq!(datagram.from, one.local_address()?);
///     Ok(())
/// })
/// # }
/// ```
pub struct UdpSocket {
    socket: DatagramSocket,
}

impl UdpSocket {
    /// Binds to an address; port 0 lets the kernel choose one.
    ///
    /// # Errors
    ///
    /// As bind(2): `AddrInUse`, `AddrNotAvailable`, `PermissionDenied`; `InvalidInput` for
    /// a Unix address; no loop on this thread.
    pub fn bind(address: &Address) -> io::Result<UdpSocket> {
        check(address)?;
        let socket = DatagramSocket::bind(address)?;
        Ok(UdpSocket { socket })
    }

    /// As [`bind`](UdpSocket::bind), but shares the address with other sockets that were bound so
    /// (`SO_REUSEPORT`): the kernel deals the senders out among them, one socket a loop.
    ///
    /// # Errors
    ///
    /// As `bind`.
    pub fn bind_shared(address: &Address) -> io::Result<UdpSocket> {
        check(address)?;
        UdpSocket::from_fd(socket::datagram(address, true)?)
    }

    /// Registers a UDP socket with this thread's loop. One that blocks is made non-blocking, and with
    /// it all duplicates of the descriptor.
    ///
    /// # Errors
    ///
    /// No loop on this thread; a descriptor that cannot be polled.
    pub fn from_fd(fd: OwnedFd) -> io::Result<UdpSocket> {
        let socket = DatagramSocket::from_fd(fd)?;
        Ok(UdpSocket { socket })
    }

    /// Names the peer that [`send`](UdpSocket::send) sends to, and receives from no other.
    ///
    /// # Errors
    ///
    /// As connect(2).
    pub fn connect(&self, peer: &Address) -> io::Result<()> {
        check(peer)?;
        self.socket.connect(peer)
    }

    /// Receives a datagram.
    ///
    /// # Errors
    ///
    /// As recvmsg(2): `ConnectionRefused` on a connected socket, when an earlier datagram found
    /// nobody; the socket stays usable.
    pub async fn recv_from(&self) -> io::Result<Datagram> {
        self.socket.recv().await
    }

    /// Waits for a datagram, appends it and those that are there already, up to `datagrams_max`
    /// (and 16), and says how many. One recvmmsg(2) on Linux.
    ///
    /// # Errors
    ///
    /// As [`recv_from`](UdpSocket::recv_from).
    pub async fn recv_batch(
        &self,
        into: &mut Vec<Datagram>,
        datagrams_max: usize,
    ) -> io::Result<usize> {
        self.socket.recv_batch(into, datagrams_max).await
    }

    /// Sends a datagram to the peer that the socket is connected to.
    ///
    /// # Errors
    ///
    /// As send(2): what is too long for a datagram is not sent (`EMSGSIZE`).
    pub async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, None).await
    }

    /// Sends a datagram to an address.
    ///
    /// # Errors
    ///
    /// As [`send`](UdpSocket::send).
    pub async fn send_to(&self, bytes: &[u8], to: &Address) -> io::Result<()> {
        self.socket.send(bytes, Some(to)).await
    }

    /// Sends datagrams in order, up to 16 in one sendmmsg(2) on Linux, and says how many went:
    /// all of them, if there is no error.
    ///
    /// # Errors
    ///
    /// As [`send`](UdpSocket::send), of the first that could not be sent.
    pub async fn send_batch<B: AsRef<[u8]>>(
        &self,
        datagrams: &[(B, Address)],
    ) -> (usize, io::Result<()>) {
        self.socket.send_batch(datagrams).await
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_address(&self) -> io::Result<Address> {
        self.socket.local_address()
    }

    /// `SO_BROADCAST`: whether broadcast addresses may be sent to. Default: no.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_broadcast(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_socket_broadcast(self, on)?)
    }

    /// `SO_RCVBUF`, in bytes; the kernel doubles it for its own use. What comes in while it
    /// is full is lost.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_recv_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size(self, bytes)?)
    }

    /// `SO_SNDBUF`, in bytes; the kernel doubles it for its own use.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_send_buffer_size(self, bytes)?)
    }

    /// `IP_TTL`: routers that a datagram passes at most. Default 64.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_ttl(&self, hops: u32) -> io::Result<()> {
        Ok(sockopt::set_ip_ttl(self, hops)?)
    }

    /// `IP_ADD_MEMBERSHIP`: joins a multicast group by the interface with that address
    /// ([`Ipv4Addr::UNSPECIFIED`]: the system chooses).
    ///
    /// # Errors
    ///
    /// As setsockopt(2): not a multicast address, no such interface, joined already.
    pub fn join_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        Ok(sockopt::set_ip_add_membership(self, group, interface)?)
    }

    /// `IP_DROP_MEMBERSHIP`: leaves a multicast group.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn leave_multicast_v4(&self, group: &Ipv4Addr, interface: &Ipv4Addr) -> io::Result<()> {
        Ok(sockopt::set_ip_drop_membership(self, group, interface)?)
    }

    /// `IPV6_ADD_MEMBERSHIP`: joins a multicast group by the interface with that index (0: the
    /// system chooses).
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn join_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        Ok(sockopt::set_ipv6_add_membership(self, group, interface)?)
    }

    /// `IPV6_DROP_MEMBERSHIP`: leaves a multicast group.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn leave_multicast_v6(&self, group: &Ipv6Addr, interface: u32) -> io::Result<()> {
        Ok(sockopt::set_ipv6_drop_membership(self, group, interface)?)
    }
}

fn check(address: &Address) -> io::Result<()> {
    if address.is_unix() {
        let message = "UDP needs an IP address and a port; a Unix path needs a UnixDatagram";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(())
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.handle.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.handle.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for UdpSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpSocket")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}
