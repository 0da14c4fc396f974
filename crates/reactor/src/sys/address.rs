//! Socket addresses as the kernel writes them, which nobody has checked: the name of a Unix peer is the
//! peer's own choice.
//!
//! Any bytes give an address, and none of them a panic: what is too short, or of a family that is not
//! known, counts as a socket without a name.
#![allow(unsafe_code)]

use std::ffi::OsStr;
use std::mem::offset_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use libc::{sa_family_t, sockaddr, sockaddr_in, sockaddr_in6, sockaddr_un};
use rustix::net::SocketAddrAny;

use crate::net::Address;

/// Whether a name may begin with a NUL byte, which puts it into an abstract namespace (unix(7)).
const HAS_ABSTRACT_NAMES: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// The address that a call has brought.
pub(crate) fn from_raw(raw: &SocketAddrAny) -> Address {
    let len = raw.addr_len() as usize;
    // SAFETY: as many bytes as it says it is long are initialized, which is an invariant of the type,
    // and they live as long as it does.
    parse(unsafe { std::slice::from_raw_parts(raw.as_ptr().cast(), len) })
}

/// The address that lies in these bytes: a `sockaddr` of any family, cut off anywhere.
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
