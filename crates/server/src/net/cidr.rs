//! Networks, and the addresses that proxies forward.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use revolve_conf::{Diagnostic, Diagnostics, Word};
use revolve_reactor::Address;

/// A network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// The address and the number of its bits that count; the others are 0.
    V4(u32, u8),
    /// The same.
    V6(u128, u8),
    /// All Unix sockets.
    Unix,
}

impl Network {
    /// Reads `10.0.0.0/8`, `2001:db8::/32` or an address, and says whether bits behind the prefix were set.
    ///
    /// Source: nginx's `ngx_ptocidr`.
    pub(crate) fn parse(text: &str) -> Option<(Self, bool)> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(decimal(bits)?)),
            None => (text, None),
        };
        if let Some(address) = parse_v4(address) {
            let bits = bits.unwrap_or(32);
            let masked = u32::from(address) & mask_v4(u8::try_from(bits).ok()?)?;
            return Some((Self::V4(masked, bits as u8), masked != u32::from(address)));
        }
        let address = u128::from(address.parse::<Ipv6Addr>().ok()?);
        let bits = bits.unwrap_or(128);
        let masked = address & mask_v6(u8::try_from(bits).ok()?)?;
        Some((Self::V6(masked, bits as u8), masked != address))
    }

    /// The network that a word names, with nginx's words where it names none or too much.
    pub(crate) fn of(word: &Word, diagnostics: &mut Diagnostics) -> Result<Self, Diagnostic> {
        match Self::parse(&word.text) {
            Some((network, false)) => Ok(network),
            Some((network, true)) => {
                let message = format!("low address bits of {} are meaningless", word.text);
                diagnostics.push(Diagnostic::new(word.span, message).warn());
                Ok(network)
            }
            None => {
                let message = format!("invalid network \"{}\"", word.text);
                Err(Diagnostic::new(word.span, message)
                    .label("expected an address or a network like 10.0.0.0/8 or 2001:db8::/32"))
            }
        }
    }

    /// Whether an address is in it. An IPv4 address within IPv6 is one of IPv4.
    pub(crate) fn contains(self, address: &Address) -> bool {
        let ip = match address {
            Address::Inet(address) => address.ip().to_canonical(),
            Address::Unix(_) => return self == Self::Unix,
        };
        match (self, ip) {
            (Self::V4(network, bits), IpAddr::V4(ip)) => {
                mask_v4(bits).is_some_and(|mask| u32::from(ip) & mask == network)
            }
            (Self::V6(network, bits), IpAddr::V6(ip)) => {
                mask_v6(bits).is_some_and(|mask| u128::from(ip) & mask == network)
            }
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    /// The one address.
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::V4(ip.into(), 32),
            IpAddr::V6(ip) => Self::V6(ip.into(), 128),
        }
    }
}

/// The bits of a prefix; none where it is too long.
pub(crate) fn mask_v4(bits: u8) -> Option<u32> {
    let rest = 32_u32.checked_sub(bits.into())?;
    Some(u32::MAX.checked_shl(rest).unwrap_or(0))
}

/// The same for IPv6.
pub(crate) fn mask_v6(bits: u8) -> Option<u128> {
    let rest = 128_u32.checked_sub(bits.into())?;
    Some(u128::MAX.checked_shl(rest).unwrap_or(0))
}

fn decimal(text: &str) -> Option<u64> {
    let are_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    if are_digits { text.parse().ok() } else { None }
}

/// An IPv4 address as nginx reads it: numbers may have zeros before them, or be missing. 255.255.255.255
/// is none.
///
/// Source: nginx's `ngx_inet_addr`.
pub(crate) fn parse_v4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = text.split('.').map(|part| {
        let mut octet = 0_u32;
        for byte in part.bytes() {
            let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
            octet = octet * 10 + u32::from(digit);
            if octet > 255 {
                return None;
            }
        }
        Some(octet as u8)
    });
    let mut next = || octets.next()?;
    let address = Ipv4Addr::new(next()?, next()?, next()?, next()?);
    let is_whole = octets.next().is_none();
    (is_whole && address != Ipv4Addr::BROADCAST).then_some(address)
}

/// An address without a port. An IPv6 address stands without brackets.
pub(crate) fn parse_ip(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let v4 = parse_v4(text).map(IpAddr::V4);
    v4.or_else(|| text.parse().ok().map(IpAddr::V6))
}

/// An address that may have a port; it is 0 where it has none. One in brackets needs none, as in nginx
/// 1.31.
///
/// Source: nginx's `ngx_parse_addr_port`.
pub(crate) fn parse_ip_and_port(text: &[u8]) -> Option<SocketAddr> {
    if let Some(ip) = parse_ip(text) {
        return Some(SocketAddr::new(ip, 0));
    }
    let (ip, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let end = memchr::memchr(b']', rest)?;
            match &rest[end + 1..] {
                [] => return Some(SocketAddr::new(parse_ip(&rest[..end])?, 0)),
                port => (&rest[..end], port.strip_prefix(b":")?),
            }
        }
        None => {
            let at = memchr::memchr(b':', text)?;
            (&text[..at], &text[at + 1..])
        }
    };
    let port = decimal(std::str::from_utf8(port).ok()?)?;
    let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
    Some(SocketAddr::new(parse_ip(ip)?, port))
}

/// The client's address, as trusted proxies tell it: the last of the addresses that they have appended,
/// or with `recursive` the last that is not itself one of theirs. `None` where nothing is told, or by one
/// that is not trusted.
///
/// `lines` are the values of the header that tells it, in their order.
///
/// Source: nginx's `ngx_http_get_forwarded_addr`.
pub(crate) fn forwarded<'a>(
    from: &Address,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    proxies: &[Network],
    recursive: bool,
) -> Option<Address> {
    let is_trusted = |address: &Address| proxies.iter().any(|network| network.contains(address));
    let mut found: Option<Address> = None;
    for line in lines.rev() {
        let mut rest = line;
        loop {
            if !is_trusted(found.as_ref().unwrap_or(from)) {
                return found;
            }
            let (before, last) = split_last(rest);
            let Some(address) = parse_ip_and_port(last) else {
                return found;
            };
            found = Some(Address::Inet(address));
            if !recursive {
                return found;
            }
            if before.is_empty() {
                break;
            }
            rest = before;
        }
    }
    found
}

/// The last of a list of addresses, and what stands before it.
fn split_last(list: &[u8]) -> (&[u8], &[u8]) {
    let is_between = |byte: &u8| matches!(byte, b' ' | b',');
    let end = list.iter().rposition(|byte| !is_between(byte));
    let list = &list[..end.map_or(0, |end| end + 1)];
    match list.iter().rposition(is_between) {
        Some(at) => (&list[..at], &list[at + 1..]),
        None => (b"", list),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_as_nginx_does() {
        let v4 = |address: [u8; 4], bits| Network::V4(u32::from_be_bytes(address), bits);
        for (text, expected) in [
            ("10.0.0.0/8", Some((v4([10, 0, 0, 0], 8), false))),
            ("10.1.0.0/8", Some((v4([10, 0, 0, 0], 8), true))),
            ("0.0.0.0/0", Some((v4([0; 4], 0), false))),
            ("01.2.3.004", Some((v4([1, 2, 3, 4], 32), false))),
            (".2.3.4", Some((v4([0, 2, 3, 4], 32), false))),
            ("::/0", Some((Network::V6(0, 0), false))),
            ("::1/128", Some((Network::V6(1, 128), false))),
            ("::1/127", Some((Network::V6(0, 127), true))),
            ("10.0.0.0/33", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/+8", None),
            ("10.0.0/8", None),
            ("10.0.0.0.0", None),
            ("256.0.0.0", None),
            ("255.255.255.255", None),
            ("::/129", None),
            ("", None),
            ("unix:", None),
        ] {
            assert_eq!(Network::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_may_have_a_port() {
        for (text, expected) in [
            ("1.2.3.4", Some("1.2.3.4:0")),
            ("1.2.3.4:80", Some("1.2.3.4:80")),
            ("::1", Some("[::1]:0")),
            ("[::1]:80", Some("[::1]:80")),
            ("[1.2.3.4]:80", Some("1.2.3.4:80")),
            ("[::1]", Some("[::1]:0")),
            ("[1.2.3.4]", Some("1.2.3.4:0")),
            ("[::1]x", None),
            ("[::1]:", None),
            ("[::1", None),
            ("::1]", None),
            ("1.2.3.4:0", None),
            ("1.2.3.4:65536", None),
            ("1.2.3.4:", None),
            ("[::1:80", None),
            ("unix:", None),
            ("", None),
        ] {
            let found = parse_ip_and_port(text.as_bytes());
            assert_eq!(
                found.map(|it| it.to_string()).as_deref(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn the_client_is_the_last_that_is_no_proxy() {
        let proxies = ["127.0.0.1", "10.0.0.0/8"].map(|text| Network::parse(text).unwrap().0);
        let told = |from: &str, lines: &[&str], recursive| {
            let from = Address::Inet(format!("{from}:9").parse().unwrap());
            let lines = lines.iter().map(|line| line.as_bytes());
            let found = forwarded(&from, lines, &proxies, recursive);
            found.map(|it| it.to_string()).unwrap_or_default()
        };
        assert_eq!(
            told("127.0.0.1", &["1.1.1.1, 10.0.0.1"], false),
            "10.0.0.1:0"
        );
        assert_eq!(told("127.0.0.1", &["1.1.1.1, 10.0.0.1"], true), "1.1.1.1:0");
        assert_eq!(told("9.9.9.9", &["1.1.1.1"], true), "");
        assert_eq!(
            told("127.0.0.1", &["2.2.2.2", "1.1.1.1:7"], true),
            "1.1.1.1:7"
        );
        assert_eq!(
            told("127.0.0.1", &["2.2.2.2", "10.0.0.1"], true),
            "2.2.2.2:0"
        );
        assert_eq!(
            told("127.0.0.1", &["2.2.2.2", "10.0.0.1"], false),
            "10.0.0.1:0"
        );
        assert_eq!(
            told("127.0.0.1", &["2.2.2.2", "x, 10.0.0.1 , "], true),
            "10.0.0.1:0"
        );
        assert_eq!(told("127.0.0.1", &["x"], true), "");
        assert_eq!(told("127.0.0.1", &[], true), "");
    }
}
