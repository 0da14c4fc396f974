//! Socket addresses.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::net::{SocketAddrAny, SocketAddrUnix};

use crate::sys::address;
use crate::sys::platform;

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
        address::from_raw(&raw)
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

#[cfg(test)]
mod tests {
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
}
