//! By what a socket is known to the configuration, the master and its workers, and another binary.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use revolve_reactor::Address;
use rustix::net::{SocketType, getsockname, sockopt};

/// What a socket carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SocketKind {
    /// Connections: TCP, or a Unix stream.
    Stream,
    /// Datagrams: UDP, or a Unix datagram socket.
    Datagram,
}

/// A socket's kind and address. TCP 443 and UDP 443 are two sockets, so that an address alone names none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketId {
    /// What it carries.
    pub kind: SocketKind,
    /// Where it is bound.
    pub address: Address,
}

const INET: u8 = b'i';
const UNIX: u8 = b'u';
const INET_DATAGRAM: u8 = b'I';
const UNIX_DATAGRAM: u8 = b'U';

impl SocketId {
    /// A socket of connections.
    pub fn stream(address: Address) -> SocketId {
        SocketId {
            kind: SocketKind::Stream,
            address,
        }
    }

    /// What the kernel says of a socket.
    ///
    /// # Errors
    ///
    /// Those of getsockopt(2) and getsockname(2); `InvalidInput` for one that is neither of streams nor of
    /// datagrams.
    pub fn of(socket: BorrowedFd<'_>) -> io::Result<SocketId> {
        let kind = match sockopt::socket_type(socket)? {
            SocketType::STREAM => SocketKind::Stream,
            SocketType::DGRAM => SocketKind::Datagram,
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        let address = Address::from(getsockname(socket)?);
        Ok(SocketId { kind, address })
    }

    /// Appends it as processes tell it each other, which [`SocketId::decode`] reads: a byte that says what it
    /// is, and the address to the end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let is_stream = self.kind == SocketKind::Stream;
        match &self.address {
            Address::Inet(address) => {
                out.push(if is_stream { INET } else { INET_DATAGRAM });
                out.extend_from_slice(address.to_string().as_bytes());
            }
            Address::Unix(path) => {
                out.push(if is_stream { UNIX } else { UNIX_DATAGRAM });
                out.extend_from_slice(path.as_os_str().as_bytes());
            }
        }
    }

    /// What [`SocketId::encode`] has written.
    pub fn decode(bytes: &[u8]) -> Option<SocketId> {
        let (&tag, address) = bytes.split_first()?;
        let kind = match tag {
            INET | UNIX => SocketKind::Stream,
            INET_DATAGRAM | UNIX_DATAGRAM => SocketKind::Datagram,
            _ => return None,
        };
        let address = match tag {
            INET | INET_DATAGRAM => Address::Inet(std::str::from_utf8(address).ok()?.parse().ok()?),
            _ => Address::Unix(OsStr::from_bytes(address).into()),
        };
        Some(SocketId { kind, address })
    }
}

/// The address, and what it is where that is not a stream: `0.0.0.0:443 (datagrams)`.
impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)?;
        match self.kind {
            SocketKind::Stream => Ok(()),
            SocketKind::Datagram => f.write_str(" (datagrams)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;

    fn there_and_back(id: &SocketId) -> Option<SocketId> {
        let mut bytes = Vec::new();
        id.encode(&mut bytes);
        SocketId::decode(&bytes)
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        for kind in [SocketKind::Stream, SocketKind::Datagram] {
            for address in [
                Address::Inet("127.0.0.1:443".parse().unwrap()),
                Address::Inet("[fe80::1%3]:443".parse().unwrap()),
                Address::Unix("/run/a socket".into()),
                Address::Unix("".into()),
            ] {
                let id = SocketId { kind, address };
                assert_eq!(there_and_back(&id), Some(id));
            }
        }
        for bytes in [&b""[..], b"i", b"ino address", b"x127.0.0.1:80", b"i\xff"] {
            assert_eq!(SocketId::decode(bytes), None, "{bytes:?}");
        }
    }

    #[test]
    fn the_same_port_has_two_sockets() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let of_udp = SocketId::of(udp.as_fd()).unwrap();
        assert_eq!(of_udp.kind, SocketKind::Datagram);
        let of_tcp = SocketId::stream(of_udp.address.clone());
        assert_ne!(of_udp, of_tcp);
        assert_eq!(format!("{of_udp}"), format!("{of_tcp} (datagrams)"));
        let (pipe, _end) = std::io::pipe().unwrap();
        assert!(SocketId::of(pipe.as_fd()).is_err());
    }
}
