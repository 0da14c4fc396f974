//! Socket addresses.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libc::{sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un};
use rustix::net::{SocketAddrAny, SocketAddrUnix};

use crate::sys::address;
use crate::sys::platform;

/// Whether a name may begin with a NUL byte, which puts it into an abstract namespace (unix(7)).
const HAS_ABSTRACT_NAMES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The address of a TCP or Unix socket.
///
/// Displayed as nginx does: `127.0.0.1:80`, `[::1]:80`, `unix:/path`, and `unix:` for a
/// socket without a name; and, where an IPv6 address means something on one link alone, with the number
/// of its interface: `[fe80::1%3]:80`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// IPv4 or IPv6 address and port.
    Inet(SocketAddr),
    /// Path of a Unix socket. Empty: a socket without a name, as clients have. Beginning with a
    /// NUL byte: a name in Linux's abstract namespace (unix(7)).
    Unix(PathBuf),
}

impl Address {
    /// A Unix socket without a name.
    pub const UNNAMED: Address = Address::Unix(PathBuf::new());

    /// The IP address and port, if it has them.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(inet) => Some(*inet),
            Address::Unix(_) => None,
        }
    }

    /// True for a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Address::Unix(_))
    }

    /// True for a Unix socket without a name.
    pub fn is_unnamed(&self) -> bool {
        matches!(self, Address::Unix(path) if path.as_os_str().is_empty())
    }

    /// As the kernel takes it.
    ///
    /// # Errors
    ///
    /// A path that is too long (above 108 bytes, unix(7)) or holds a NUL byte.
    pub(crate) fn to_raw(&self) -> io::Result<SocketAddrAny> {
        match self {
            Address::Inet(inet) => Ok(SocketAddrAny::from(*inet)),
            Address::Unix(path) => {
                let raw = match path.as_os_str().as_bytes() {
                    [] => platform::unnamed()?,
                    [0, name @ ..] => platform::abstract_name(name)?,
                    _ => SocketAddrUnix::new(path)?,
                };
                Ok(SocketAddrAny::from(raw))
            }
        }
    }
}

impl From<SocketAddrAny> for Address {
    /// A socket of another family counts as one without a name.
    fn from(raw: SocketAddrAny) -> Address {
        parse(address::bytes(&raw))
    }
}

impl From<SocketAddr> for Address {
    fn from(inet: SocketAddr) -> Address {
        Address::Inet(inet)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(inet) => write!(f, "{inet}"),
            Address::Unix(path) => match path.as_os_str().as_bytes() {
                [0, name @ ..] => write!(f, "unix:@{}", String::from_utf8_lossy(name)),
                _ => write!(f, "unix:{}", path.display()),
            },
        }
    }
}

/// The address that lies in these bytes: a `sockaddr` of any family, cut off anywhere.
///
/// Nobody has checked them: the name of a Unix peer is the peer's own choice. Any bytes give an address, and
/// none of them a panic: what is too short, or of a family that is not known, counts as a socket
/// without a name.
pub(crate) fn parse(bytes: &[u8]) -> Address {
    let inet = match family(bytes).map(i32::from) {
        Some(libc::AF_INET) => v4(bytes).map(SocketAddr::V4),
        Some(libc::AF_INET6) => v6(bytes).map(SocketAddr::V6),
        Some(libc::AF_UNIX) => {
            return unix(
                bytes
                    .get(offset_of!(sockaddr_un, sun_path)..)
                    .unwrap_or(&[]),
            );
        }
        _ => None,
    };
    inet.map_or(Address::UNNAMED, Address::Inet)
}

/// So many bytes from there on.
fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn family(bytes: &[u8]) -> Option<sa_family_t> {
    field(bytes, offset_of!(sockaddr, sa_family)).map(sa_family_t::from_ne_bytes)
}

fn v4(bytes: &[u8]) -> Option<SocketAddrV4> {
    let port = field(bytes, offset_of!(sockaddr_in, sin_port))?;
    let ip: [u8; 4] = field(bytes, offset_of!(sockaddr_in, sin_addr))?;
    Some(SocketAddrV4::new(
        Ipv4Addr::from(ip),
        u16::from_be_bytes(port),
    ))
}

fn v6(bytes: &[u8]) -> Option<SocketAddrV6> {
    let port = field(bytes, offset_of!(sockaddr_in6, sin6_port))?;
    let flow = field(bytes, offset_of!(sockaddr_in6, sin6_flowinfo))?;
    let ip: [u8; 16] = field(bytes, offset_of!(sockaddr_in6, sin6_addr))?;
    let scope = field(bytes, offset_of!(sockaddr_in6, sin6_scope_id))?;
    Some(SocketAddrV6::new(
        Ipv6Addr::from(ip),
        u16::from_be_bytes(port),
        u32::from_be_bytes(flow),
        u32::from_ne_bytes(scope),
    ))
}

/// A path ends with a NUL byte or, when it fills the structure, without: the kernel then counts the NUL
/// byte that would stand behind it.
fn unix(name: &[u8]) -> Address {
    let name = match name {
        [0, ..] if HAS_ABSTRACT_NAMES => name,
        _ => name.split(|&byte| byte == 0).next().unwrap_or(&[]),
    };
    Address::Unix(PathBuf::from(OsStr::from_bytes(name)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn inet(text: &str) -> Address {
        Address::Inet(text.parse().unwrap())
    }

    #[test]
    fn addresses_print_as_nginx_prints_them() {
        assert_eq!(inet("127.0.0.1:80").to_string(), "127.0.0.1:80");
        assert_eq!(inet("[::1]:80").to_string(), "[::1]:80");
        assert_eq!(inet("[fe80::1%3]:80").to_string(), "[fe80::1%3]:80");
        assert_eq!(
            Address::Unix("/run/a.sock".into()).to_string(),
            "unix:/run/a.sock"
        );
        assert_eq!(Address::UNNAMED.to_string(), "unix:");
    }

    #[test]
    fn addresses_survive_the_way_to_the_kernel_and_back() {
        let unix = [
            Address::Unix("/run/a.sock".into()),
            Address::Unix("x".repeat(107).into()),
            Address::Unix("x".repeat(108).into()),
            Address::Unix("\0name".into()),
            Address::Unix("\0".into()),
        ];
        for address in unix
            .into_iter()
            .chain([inet("1.2.3.4:5"), inet("[fe80::1%3]:6")])
        {
            assert_eq!(Address::from(address.to_raw().unwrap()), address);
        }
        assert!(Address::from(Address::UNNAMED.to_raw().unwrap()).is_unnamed());
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        assert!(Address::Unix("x".repeat(200).into()).to_raw().is_err());
    }

    /// A `sockaddr` of a family with these bytes behind it.
    fn raw(family: i32, rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; offset_of!(sockaddr, sa_family)];
        bytes.extend_from_slice(&(family as sa_family_t).to_ne_bytes());
        bytes.extend_from_slice(rest);
        bytes
    }

    fn name_of(rest: &[u8]) -> Vec<u8> {
        match parse(&raw(libc::AF_UNIX, rest)) {
            Address::Unix(path) => path.as_os_str().as_bytes().to_vec(),
            Address::Inet(inet) => panic!("{inet}"),
        }
    }

    #[test]
    fn names_of_every_length_come_back_as_they_are() {
        for len in 1..=108 {
            let name = vec![b'x'; len];
            assert_eq!(name_of(&name), name, "without a NUL byte");
            let ended = [&name[..], &[0]].concat();
            assert_eq!(name_of(&ended), name, "with one, of {len} bytes");
        }
        assert_eq!(name_of(&[]), b"");
        assert_eq!(name_of(b"/a\0behind"), b"/a");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names_keep_every_byte() {
        for name in [&b"\0"[..], b"\0a\0b", &[0; 108]] {
            assert_eq!(name_of(name), name);
        }
    }

    #[test]
    fn another_family_is_a_socket_without_a_name() {
        for family in [libc::AF_UNSPEC, libc::AF_INET + 38, 0xffff] {
            assert_eq!(parse(&raw(family, &[7; 30])), Address::UNNAMED);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_address(bytes in prop::collection::vec(any::<u8>(), 0..140)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_bytes_of_a_known_family_are_an_address(
            family in prop::sample::select(vec![libc::AF_INET, libc::AF_INET6, libc::AF_UNIX]),
            rest in prop::collection::vec(any::<u8>(), 0..140),
        ) {
            let address = parse(&raw(family, &rest));
            let _ = address.to_string();
            prop_assert!(family != libc::AF_UNIX || address.is_unix());
        }
    }
}
