//! `syslog:` of `access_log` and `error_log`.
//!
//! ```nginx
//! error_log  syslog:server=192.0.2.1,facility=local7,tag=web,nohostname warn;
//! access_log syslog:server=[2001:db8::1]:5140,severity=notice combined;
//! access_log syslog:server=unix:/dev/log;
//! ```
//!
//! Source: nginx's `ngx_syslog_parse_args`.

use std::net::{Ipv6Addr, SocketAddr, ToSocketAddrs};

use revolve_conf::{Diagnostic, Word};
use revolve_reactor::Address;

use crate::log::Level;
use crate::log::syslog::{FACILITIES, FACILITY, SyslogServer};

/// The port where none is named (RFC 3164, 2).
const PORT: u16 = 514;

/// The length of a tag at most (RFC 3164, 4.1.3).
const TAG_BYTES_MAX: usize = 32;

/// Reads what stands behind `syslog:`. A host name is looked up here, once.
pub(crate) fn server(word: &Word, parameters: &str) -> Result<SyslogServer, Diagnostic> {
    let wrong = |message: String, label: &str| {
        let label = format!("expected {label}");
        Err(Diagnostic::new(word.span, message).label(label))
    };
    let (mut address, mut facility, mut severity, mut tag) = (None, None, None, None);
    let mut names_host = true;
    for parameter in parameters.split(',') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let is_duplicate = match name {
            "server" => address.is_some(),
            "facility" => facility.is_some(),
            "severity" => severity.is_some(),
            "tag" => tag.is_some(),
            _ => false,
        };
        if is_duplicate {
            return wrong(format!("duplicate syslog \"{name}\""), "each once");
        }
        match name {
            "server" => address = Some(server_address(word, value)?),
            "facility" => {
                facility = FACILITIES.iter().position(|known| *known == value);
                if facility.is_none() {
                    let message = format!("unknown syslog facility \"{value}\"");
                    return wrong(message, &FACILITIES.join(", "));
                }
            }
            "severity" => {
                severity = Level::named(value);
                if severity.is_none() {
                    let message = format!("unknown syslog severity \"{value}\"");
                    let names = Level::NAMES.map(|(name, _)| name);
                    return wrong(message, &names.join(", "));
                }
            }
            "tag" if value.len() > TAG_BYTES_MAX => {
                return wrong("syslog tag length exceeds 32".into(), "a shorter tag");
            }
            "tag" if !value.bytes().all(is_tag_byte) => {
                let message = "syslog \"tag\" only allows alphanumeric characters and underscore";
                return wrong(message.into(), "letters, digits and _");
            }
            "tag" => tag = Some(value.to_owned()),
            "nohostname" if parameter == name => names_host = false,
            _ => {
                return wrong(
                    format!("unknown syslog parameter \"{parameter}\""),
                    "server=, facility=, severity=, tag= or nohostname",
                );
            }
        }
    }
    let Some(address) = address else {
        return wrong("no syslog server specified".into(), "server=");
    };
    Ok(SyslogServer {
        address,
        facility: facility.map_or(FACILITY, |index| index as u8),
        severity: severity.unwrap_or(Level::Info),
        // Filters of syslog servers are written for nginx's.
        tag: tag.unwrap_or_else(|| "nginx".into()),
        names_host,
    })
}

fn is_tag_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// An address of UDP, or the path of a Unix socket.
fn server_address(word: &Word, text: &str) -> Result<Address, Diagnostic> {
    let wrong = |what: &str, label: &str| {
        let message = format!("{what} in syslog server \"{text}\"");
        Diagnostic::new(word.span, message).label(label.to_owned())
    };
    if let Some(path) = text.strip_prefix("unix:") {
        // struct sockaddr_un holds 108 bytes, the ending zero included (unix(7)).
        return match path.len() {
            0 => Err(wrong(
                "no path in the unix domain socket",
                "expected a path after unix:",
            )),
            1..108 => Ok(Address::Unix(path.into())),
            _ => Err(wrong(
                "too long path in the unix domain socket",
                "a socket's path is at most 107 bytes long",
            )),
        };
    }
    let port_of = |port: &str| {
        let port = port.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| wrong("invalid port", "expected a port from 1 to 65535"))
    };
    if let Some(rest) = text.strip_prefix('[') {
        let wrong = || {
            wrong(
                "invalid host",
                "expected an IPv6 address, ] and perhaps a port",
            )
        };
        let (ip, rest) = rest.split_once(']').ok_or_else(wrong)?;
        let ip: Ipv6Addr = ip.parse().map_err(|_| wrong())?;
        let port = match rest.strip_prefix(':') {
            Some(port) => port_of(port)?,
            None if rest.is_empty() => PORT,
            None => return Err(wrong()),
        };
        return Ok(Address::Inet(SocketAddr::new(ip.into(), port)));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port_of(port)?),
        None => (text, PORT),
    };
    if host.is_empty() {
        return Err(wrong("no host", "expected an address or a host's name"));
    }
    let found = (host, port).to_socket_addrs();
    match found.map(|mut found| found.next()) {
        Ok(Some(address)) => Ok(Address::Inet(address)),
        Ok(None) => Err(wrong("host not found", "the name has no address")),
        Err(error) => Err(wrong("host not found", &error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use revolve_conf::{FileId, Span};

    use super::*;

    fn read(parameters: &str) -> Result<SyslogServer, String> {
        let word = Word {
            text: format!("syslog:{parameters}"),
            span: Span {
                file: FileId(0),
                start: 0,
                end: 1,
            },
            quoted: false,
            begins_line: false,
        };
        server(&word, parameters).map_err(|error| error.message)
    }

    #[test]
    fn addresses() {
        let address = |text: &str| Ok(read(&format!("server={text}"))?.address.to_string());
        assert_eq!(address("127.0.0.1"), Ok("127.0.0.1:514".into()));
        assert_eq!(address("127.0.0.1:5140"), Ok("127.0.0.1:5140".into()));
        assert_eq!(address("[::1]"), Ok("[::1]:514".into()));
        assert_eq!(address("[::1]:99"), Ok("[::1]:99".into()));
        assert_eq!(address("unix:/dev/log"), Ok("unix:/dev/log".into()));
        let error = |text: &str, what: &str| {
            let message = format!("{what} in syslog server \"{text}\"");
            assert_eq!(address(text), Err::<String, _>(message));
        };
        error("127.0.0.1:0", "invalid port");
        error("127.0.0.1:99999", "invalid port");
        error("[::1", "invalid host");
        error("[::1]x", "invalid host");
        error("[::1]:0", "invalid port");
        error("unix:", "no path in the unix domain socket");
        error(":514", "no host");
        error("", "no host");
    }
}
