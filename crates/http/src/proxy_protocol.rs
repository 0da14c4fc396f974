//! The PROXY protocol, versions 1 and 2: whom a proxy speaks for
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! A header stands before the first byte of a connection. Whoever may connect may claim any address
//! with it: it is to be read from trusted peers alone, and from these always.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is taken by default, as in nginx: 4096 bytes. Version 1 takes 107 at most.
pub const HEADER_BYTES_MAX: usize = 4096;

const V1_BYTES_MAX: usize = 107;
const V1_START: &[u8] = b"PROXY ";
const V2_START: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED_BYTES: usize = 16;
const UNIX_PATH_BYTES: usize = 108;

/// The types of additional values (section 2.2).
pub mod tlv {
    /// What is spoken on the connection, as ALPN names it.
    pub const ALPN: u8 = 0x01;
    /// The name that the client asked for by SNI.
    pub const AUTHORITY: u8 = 0x02;
    /// A CRC-32C of the header; it is checked when the header is read.
    pub const CRC32C: u8 = 0x03;
    /// Nothing: padding.
    pub const NOOP: u8 = 0x04;
    /// A number of the connection, of at most 128 bytes.
    pub const UNIQUE_ID: u8 = 0x05;
    /// About TLS: see [`ssl`](super::Header::ssl).
    pub const SSL: u8 = 0x20;
    /// Within [`SSL`]: the version.
    pub const SSL_VERSION: u8 = 0x21;
    /// Within [`SSL`]: the common name of the client's certificate.
    pub const SSL_CN: u8 = 0x22;
    /// Within [`SSL`]: the cipher.
    pub const SSL_CIPHER: u8 = 0x23;
    /// Within [`SSL`]: the algorithm that the certificate was signed with.
    pub const SSL_SIG_ALG: u8 = 0x24;
    /// Within [`SSL`]: the algorithm of the certificate's key.
    pub const SSL_KEY_ALG: u8 = 0x25;
    /// The name of a network namespace.
    pub const NETNS: u8 = 0x30;
}

/// What kind of socket the client has.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Transport {
    /// It is not said.
    Unspecified,
    /// TCP, or a Unix stream. Version 1 knows no other.
    Stream,
    /// UDP, or Unix datagrams.
    Datagram,
}

/// Whom the proxy speaks for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Addresses<'a> {
    /// Itself, as for a check of health: the addresses of the connection hold.
    Local,
    /// Someone whose addresses are not known: the addresses of the connection hold.
    Unspecified,
    /// A client with an address of its own, both of one family.
    Ip {
        /// The client's address.
        source: SocketAddr,
        /// The address that it connected to.
        destination: SocketAddr,
    },
    /// A client on a Unix socket; a path may be empty.
    Unix {
        /// The client's path, up to its first NUL.
        source: &'a [u8],
        /// The path that it connected to.
        destination: &'a [u8],
    },
}

/// A header that was read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Header<'a> {
    /// 1 or 2.
    pub version: u8,
    /// What kind of socket the client has.
    pub transport: Transport,
    /// Whom the proxy speaks for.
    pub addresses: Addresses<'a>,
    /// Additional values; none with version 1.
    pub tlvs: Tlvs<'a>,
    /// How many bytes the header took. What follows is what the client sent.
    pub header_bytes: usize,
}

/// Additional values, in order: the type of each, and its bytes.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Tlvs<'a> {
    bytes: &'a [u8],
}

impl<'a> Tlvs<'a> {
    /// The first value of this type.
    #[must_use]
    pub fn get(self, kind: u8) -> Option<&'a [u8]> {
        let mut all = self;
        all.find(|&(other, _)| other == kind)
            .map(|(_, value)| value)
    }

    /// Whether every value ends where the next one begins.
    fn is_sound(mut self) -> bool {
        while self.next().is_some() {}
        self.bytes.is_empty()
    }
}

impl<'a> Iterator for Tlvs<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [kind, high, low, rest @ ..] = self.bytes else {
            return None;
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, rest) = rest.split_at_checked(len)?;
        self.bytes = rest;
        Some((*kind, value))
    }
}

/// What a proxy tells of the client's TLS (section 2.2.6).
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Ssl<'a> {
    /// Bits: 1 the client came by TLS, 2 it showed a certificate on this connection, 4 in this session.
    pub client: u8,
    /// 0 where the client's certificate was verified.
    pub verify: u32,
    /// The rest.
    pub tlvs: Tlvs<'a>,
}

impl<'a> Header<'a> {
    /// What the header tells of TLS.
    #[must_use]
    pub fn ssl(&self) -> Option<Ssl<'a>> {
        let [client, a, b, c, d, bytes @ ..] = self.tlvs.get(tlv::SSL)? else {
            return None;
        };
        Some(Ssl {
            client: *client,
            verify: u32::from_be_bytes([*a, *b, *c, *d]),
            tlvs: Tlvs { bytes },
        })
    }
}

/// Why a header is refused. The connection cannot be used: it is not known who is at its other end.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ProxyProtocolError {
    /// The connection begins with something else.
    NoHeader,
    /// The line of version 1 is malformed.
    InvalidLine,
    /// Neither version 1 nor 2.
    UnknownVersion,
    /// A command, a family or a kind of socket that version 2 does not have.
    UnknownKind,
    /// The addresses do not fit into the header, or an additional value does not.
    InvalidLength,
    /// The checksum is wrong.
    InvalidChecksum,
    /// The header is longer than it may be.
    TooLarge,
}

impl fmt::Display for ProxyProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "no PROXY protocol header",
            Self::InvalidLine => "invalid PROXY protocol line",
            Self::UnknownVersion => "unknown PROXY protocol version",
            Self::UnknownKind => "unknown PROXY protocol command or family",
            Self::InvalidLength => "invalid length in PROXY protocol header",
            Self::InvalidChecksum => "wrong checksum of PROXY protocol header",
            Self::TooLarge => "too large PROXY protocol header",
        })
    }
}

impl std::error::Error for ProxyProtocolError {}

/// Reads a header of either version at the front of `bytes`, all that the connection has brought so
/// far; `None` where more is needed. It takes at most `bytes_max`, see [`HEADER_BYTES_MAX`].
///
/// Stricter than nginx on purpose: both addresses and both ports of version 1 are there and sound,
/// without leading zeros, and the checksum of version 2 is checked where there is one.
///
/// # Errors
///
/// See [`ProxyProtocolError`].
pub fn parse(bytes: &[u8], bytes_max: usize) -> Result<Option<Header<'_>>, ProxyProtocolError> {
    let begins_with = |start: &[u8]| {
        let len = bytes.len().min(start.len());
        bytes[..len] == start[..len]
    };
    if bytes.is_empty() {
        Ok(None)
    } else if begins_with(V2_START) {
        parse_v2(bytes, bytes_max)
    } else if begins_with(V1_START) {
        parse_v1(bytes, bytes_max)
    } else {
        Err(ProxyProtocolError::NoHeader)
    }
}

fn parse_v1(bytes: &[u8], bytes_max: usize) -> Result<Option<Header<'_>>, ProxyProtocolError> {
    let max = V1_BYTES_MAX.min(bytes_max);
    let window = &bytes[..bytes.len().min(max)];
    let Some(lf) = memchr::memchr(b'\n', window) else {
        return match window.len() < max {
            true => Ok(None),
            false => Err(ProxyProtocolError::TooLarge),
        };
    };
    let line = window[..lf].strip_suffix(b"\r");
    let addresses = line.and_then(v1_addresses);
    let addresses = addresses.ok_or(ProxyProtocolError::InvalidLine)?;
    let transport = match addresses {
        Addresses::Ip { .. } => Transport::Stream,
        _ => Transport::Unspecified,
    };
    Ok(Some(Header {
        version: 1,
        transport,
        addresses,
        tlvs: Tlvs::default(),
        header_bytes: lf + 1,
    }))
}

/// `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`, or `PROXY UNKNOWN` and anything.
fn v1_addresses(line: &[u8]) -> Option<Addresses<'static>> {
    let line = line.strip_prefix(V1_START)?;
    if let Some([] | [b' ', ..]) = line.strip_prefix(b"UNKNOWN") {
        return Some(Addresses::Unspecified);
    }
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let family = words.next()?;
    let mut address = || -> Option<IpAddr> {
        match (family, words.next()?) {
            ("TCP4", text) => Some(text.parse::<Ipv4Addr>().ok()?.into()),
            ("TCP6", text) => Some(text.parse::<Ipv6Addr>().ok()?.into()),
            _ => None,
        }
    };
    let (source, destination) = (address()?, address()?);
    let mut port = || -> Option<u16> {
        let text = words.next()?;
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let no_zero = text == "0" || !text.starts_with('0');
        text.parse().ok().filter(|_| digits && no_zero)
    };
    let (source_port, destination_port) = (port()?, port()?);
    words.next().is_none().then_some(Addresses::Ip {
        source: (source, source_port).into(),
        destination: (destination, destination_port).into(),
    })
}

fn parse_v2(bytes: &[u8], bytes_max: usize) -> Result<Option<Header<'_>>, ProxyProtocolError> {
    let Some(fixed) = bytes.first_chunk::<V2_FIXED_BYTES>() else {
        return Ok(None);
    };
    let [.., version_command, family_transport, high, low] = *fixed;
    if version_command >> 4 != 2 {
        return Err(ProxyProtocolError::UnknownVersion);
    }
    let transport = match family_transport & 15 {
        0 => Transport::Unspecified,
        1 => Transport::Stream,
        2 => Transport::Datagram,
        _ => return Err(ProxyProtocolError::UnknownKind),
    };
    let (command, family) = (version_command & 15, family_transport >> 4);
    let addresses_bytes = match (command, family) {
        // What a proxy says for itself means nothing, whatever it says.
        (0, _) | (1, 0) => 0,
        (1, 1) => 12,
        (1, 2) => 36,
        (1, 3) => 2 * UNIX_PATH_BYTES,
        _ => return Err(ProxyProtocolError::UnknownKind),
    };
    let rest_bytes = usize::from(u16::from_be_bytes([high, low]));
    let header_bytes = V2_FIXED_BYTES + rest_bytes;
    if header_bytes > bytes_max {
        return Err(ProxyProtocolError::TooLarge);
    }
    if rest_bytes < addresses_bytes {
        return Err(ProxyProtocolError::InvalidLength);
    }
    let Some(header) = bytes.get(..header_bytes) else {
        return Ok(None);
    };
    let (addresses, values) = header[V2_FIXED_BYTES..].split_at(addresses_bytes);
    let addresses = match command {
        0 => Addresses::Local,
        _ => v2_addresses(addresses),
    };
    let tlvs = match addresses {
        Addresses::Local => Tlvs::default(),
        _ => Tlvs { bytes: values },
    };
    if !tlvs.is_sound() {
        return Err(ProxyProtocolError::InvalidLength);
    }
    check_checksum(header, tlvs)?;
    Ok(Some(Header {
        version: 2,
        transport,
        addresses,
        tlvs,
        header_bytes,
    }))
}

/// The addresses of a family, which their length tells.
fn v2_addresses(bytes: &[u8]) -> Addresses<'_> {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    if let Some(ips) = bytes.first_chunk::<8>().filter(|_| bytes.len() == 12) {
        let [a, b, c, d, e, f, g, h] = *ips;
        return Addresses::Ip {
            source: (Ipv4Addr::new(a, b, c, d), port(8)).into(),
            destination: (Ipv4Addr::new(e, f, g, h), port(10)).into(),
        };
    }
    if let (36, ([source, destination], _)) = (bytes.len(), bytes.as_chunks::<16>()) {
        return Addresses::Ip {
            source: (Ipv6Addr::from(*source), port(32)).into(),
            destination: (Ipv6Addr::from(*destination), port(34)).into(),
        };
    }
    if bytes.is_empty() {
        return Addresses::Unspecified;
    }
    let (source, destination) = bytes.split_at(bytes.len() / 2);
    Addresses::Unix {
        source: until_nul(source),
        destination: until_nul(destination),
    }
}

fn until_nul(path: &[u8]) -> &[u8] {
    &path[..memchr::memchr(0, path).unwrap_or(path.len())]
}

/// The checksum is of the header with zeros in the checksum's place (section 2.2.3).
fn check_checksum(header: &[u8], tlvs: Tlvs<'_>) -> Result<(), ProxyProtocolError> {
    let mut at = header.len() - tlvs.bytes.len();
    for (kind, value) in tlvs {
        at += 3;
        if kind == tlv::CRC32C {
            let expected = <[u8; 4]>::try_from(value);
            let expected = expected.map_err(|_| ProxyProtocolError::InvalidLength)?;
            let parts = [&header[..at], &[0; 4], &header[at + 4..]];
            if crc32c(parts) != u32::from_be_bytes(expected) {
                return Err(ProxyProtocolError::InvalidChecksum);
            }
            // One says it all, and a header of many would be summed up again and again.
            return Ok(());
        }
        at += value.len();
    }
    Ok(())
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: few headers have one, and they are short.
fn crc32c(parts: [&[u8]; 3]) -> u32 {
    let bytes = parts.into_iter().flatten();
    !bytes.fold(!0u32, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| match sum & 1 {
            1 => sum >> 1 ^ 0x82f6_3b78,
            _ => sum >> 1,
        })
    })
}

/// Appends a header of version 1, which can say TCP with two addresses and nothing else; for any other
/// it says `UNKNOWN`. Of an IPv4 and an IPv6 address the first is written as an IPv4-mapped one.
pub fn write_v1(out: &mut Vec<u8>, addresses: &Addresses<'_>) {
    let Addresses::Ip {
        source,
        destination,
    } = *addresses
    else {
        out.extend_from_slice(b"PROXY UNKNOWN\r\n");
        return;
    };
    let (source, destination) = of_one_family(source, destination);
    let family = if source.is_ipv4() { 4 } else { 6 };
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    write!(
        out,
        "PROXY TCP{family} {from} {to} {from_port} {to_port}\r\n"
    )
    .expect("memory takes it");
}

fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    if source.is_ipv4() == destination.is_ipv4() {
        return (source, destination);
    }
    let mapped = |address: SocketAddr| match address.ip() {
        IpAddr::V4(ip) => (ip.to_ipv6_mapped(), address.port()).into(),
        IpAddr::V6(_) => address,
    };
    (mapped(source), mapped(destination))
}

/// Appends a header of version 2 with these additional values. Of an IPv4 and an IPv6 address the
/// first is written as an IPv4-mapped one.
///
/// # Errors
///
/// [`ProxyProtocolError::InvalidLength`] where a path has more than 108 bytes or all of it more than
/// two bytes can say; `out` is as it was then.
pub fn write_v2(
    out: &mut Vec<u8>,
    transport: Transport,
    addresses: &Addresses<'_>,
    tlvs: &[(u8, &[u8])],
) -> Result<(), ProxyProtocolError> {
    let start = out.len();
    let transport = match transport {
        Transport::Unspecified => 0,
        Transport::Stream => 1,
        Transport::Datagram => 2,
    };
    let command = u8::from(!matches!(addresses, Addresses::Local));
    out.extend_from_slice(V2_START);
    out.extend_from_slice(&[2 << 4 | command, 0, 0, 0]);
    let written = write_v2_rest(out, addresses, tlvs);
    let bytes = u16::try_from(out.len() - start - V2_FIXED_BYTES);
    let (Some(family), Ok(bytes)) = (written, bytes) else {
        out.truncate(start);
        return Err(ProxyProtocolError::InvalidLength);
    };
    // Where no family is said, no kind of socket is.
    out[start + 13] = if family == 0 {
        0
    } else {
        family << 4 | transport
    };
    out[start + 14..][..2].copy_from_slice(&bytes.to_be_bytes());
    Ok(())
}

/// Appends addresses and additional values, and returns the family.
fn write_v2_rest(out: &mut Vec<u8>, addresses: &Addresses<'_>, tlvs: &[(u8, &[u8])]) -> Option<u8> {
    let family = match *addresses {
        Addresses::Local | Addresses::Unspecified => 0,
        Addresses::Ip {
            source,
            destination,
        } => {
            let (source, destination) = of_one_family(source, destination);
            for address in [source, destination] {
                match address.ip() {
                    IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
                }
            }
            for address in [source, destination] {
                out.extend_from_slice(&address.port().to_be_bytes());
            }
            if source.is_ipv4() { 1 } else { 2 }
        }
        Addresses::Unix {
            source,
            destination,
        } => {
            for path in [source, destination] {
                let mut padded = [0; UNIX_PATH_BYTES];
                padded.get_mut(..path.len())?.copy_from_slice(path);
                out.extend_from_slice(&padded);
            }
            3
        }
    };
    for (kind, value) in tlvs {
        out.push(*kind);
        out.extend_from_slice(&u16::try_from(value.len()).ok()?.to_be_bytes());
        out.extend_from_slice(value);
    }
    Some(family)
}
