//! `listen`: where a server is reached.
//!
//! ```nginx
//! listen 80 default_server;
//! listen 443 ssl;
//! listen [::]:8080 backlog=1024 reuseport;
//! listen unix:/run/site.sock;
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, HostNames, Span, Word};
use revolve_reactor::{Address, Keepalive, ListenOptions};

use crate::config::scope::{SERVER, invalid_parameter};
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// One address of one `listen`.
#[derive(Debug, Clone)]
pub(crate) struct Listen {
    /// The address; the wildcards are `0.0.0.0` and `[::]`.
    pub address: Address,
    /// The socket's options.
    pub options: ListenOptions,
    /// `default_server`.
    pub default_server: bool,
    /// Whether options that belong to the socket were written; one `listen` an address may.
    pub options_set: bool,
    /// `bind`, or an option that implies it: a socket of its own even beside a wildcard.
    pub bind: bool,
    /// `ssl`: connections begin with a handshake.
    pub ssl: bool,
    /// `proxy_protocol`: connections begin with whom a proxy speaks for.
    pub proxy_protocol: bool,
    /// `http2`: the older word for the directive, of this address alone.
    pub http2: bool,
    /// Where it was written.
    pub span: Span,
}

impl Listen {
    /// What a server listens on that has no `listen`: `*:80`, or `*:8000` without privileges.
    pub(crate) fn implied(span: Span) -> Self {
        // A worker that gave its privilege up reads the same configuration as its master.
        static BEGAN_AS_ROOT: OnceLock<bool> = OnceLock::new();
        let is_root = BEGAN_AS_ROOT.get_or_init(|| rustix::process::geteuid().is_root());
        let port = if *is_root { 80 } else { 8000 };
        Self {
            address: Address::Inet(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
            options: ListenOptions::default(),
            default_server: false,
            options_set: false,
            bind: false,
            ssl: false,
            proxy_protocol: false,
            http2: false,
            span,
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "listen",
    contexts: SERVER,
    args: Args::ONE_MORE,
    set: listen,
}];

fn listen(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let addresses = addresses(&directive.args[0], &mut scope.shared.hosts)?;
    let mut listen = Listen {
        span: directive.span,
        ..Listen::implied(directive.span)
    };
    for word in &directive.args[1..] {
        parameter(&mut listen, word)?;
        if word.text == "http2" {
            let message = "the \"listen ... http2\" directive is deprecated, \
                           use the \"http2\" directive instead";
            let warning = Diagnostic::new(word.span, message);
            let warning = warning.label("nginx has had `http2 on` since 1.25.1");
            scope.shared.diagnostics.push(warning.warn());
        }
    }
    for address in addresses {
        if scope
            .level
            .listens
            .iter()
            .any(|other| other.address == address)
        {
            let message = format!("a duplicate listen {address}");
            return Err(Diagnostic::new(directive.args[0].span, message)
                .label("this server listens there already"));
        }
        scope.level.listens.push(Listen {
            address,
            ..listen.clone()
        });
    }
    Ok(())
}

fn parameter(listen: &mut Listen, word: &Word) -> Result<(), Diagnostic> {
    let (name, value) = match word.text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (word.text.as_str(), None),
    };
    let number = |value: &str| {
        value
            .parse::<u32>()
            .ok()
            .filter(|number| *number > 0)
            .ok_or_else(|| {
                Diagnostic::new(word.span, format!("invalid {name} \"{}\"", word.text))
                    .label("expected a number above 0")
            })
    };
    match (name, value) {
        ("default_server" | "default", None) => {
            listen.default_server = true;
            return Ok(());
        }
        ("ssl", None) => {
            listen.ssl = true;
            return Ok(());
        }
        ("proxy_protocol", None) => {
            listen.proxy_protocol = true;
            return Ok(());
        }
        ("http2", None) => {
            listen.http2 = true;
            return Ok(());
        }
        ("bind", None) => {}
        ("backlog", Some(value)) => listen.options.backlog = number(value)? as i32,
        ("rcvbuf", Some(value)) => listen.options.recv_buffer = Some(bytes(word, value)?),
        ("sndbuf", Some(value)) => listen.options.send_buffer = Some(bytes(word, value)?),
        ("fastopen", Some("0")) => listen.options.fastopen = None,
        ("fastopen", Some(value)) => listen.options.fastopen = Some(number(value)?),
        ("deferred", None) => listen.options.deferred = true,
        ("reuseport", None) => listen.options.reuse_port = true,
        ("ipv6only", Some(value)) => {
            listen.options.ipv6_only = match value {
                "on" => true,
                "off" => false,
                _ => return Err(invalid_parameter(word, "expected on or off")),
            }
        }
        ("so_keepalive", Some(value)) => listen.options.keepalive = keepalive(word, value)?,
        ("quic" | "spdy", None) => {
            let message = format!("the \"{name}\" parameter of \"listen\" is not supported yet");
            return Err(Diagnostic::new(word.span, message)
                .label("this server would speak plain HTTP/1.1 here")
                .help("remove it, or keep this server on nginx for now"));
        }
        _ => {
            let expected = "expected default_server, ssl, proxy_protocol, bind, backlog=, rcvbuf=, sndbuf=, \
                            fastopen=, deferred, reuseport, ipv6only= or so_keepalive=";
            return Err(invalid_parameter(word, expected));
        }
    }
    listen.options_set = true;
    listen.bind = true;
    Ok(())
}

fn bytes(word: &Word, value: &str) -> Result<usize, Diagnostic> {
    let parsed = revolve_conf::value::size(value).map(|size| size as usize);
    let (name, _) = word.text.split_once('=').unwrap_or((&word.text, ""));
    let message = format!("invalid {name} \"{}\"", word.text);
    parsed.ok_or_else(|| Diagnostic::new(word.span, message).label("expected a size like 64k"))
}

/// `on`, `off`, or `keepidle:keepintvl:keepcnt` with any of them left out, and the colons behind
/// the last one.
fn keepalive(word: &Word, value: &str) -> Result<Option<Keepalive>, Diagnostic> {
    match value {
        "on" => {
            return Ok(Some(Keepalive {
                enabled: true,
                ..Keepalive::default()
            }));
        }
        "off" => {
            return Ok(Some(Keepalive {
                enabled: false,
                ..Keepalive::default()
            }));
        }
        _ => {}
    }
    let wrong = || {
        let message = format!("invalid so_keepalive value: \"{value}\"");
        Diagnostic::new(word.span, message).label("expected on, off, or idle:interval:count")
    };
    let mut parts = value.splitn(3, ':');
    let mut next = || parts.next().filter(|part| !part.is_empty());
    // 0 is the system's value, as is what was left out.
    let seconds = |text: Option<&str>| -> Result<_, Diagnostic> {
        let parsed = text.map(|text| revolve_conf::value::time_s(text).ok_or_else(wrong));
        let seconds = parsed.transpose()?.filter(|seconds| *seconds > 0);
        Ok(seconds.map(Duration::from_secs))
    };
    let idle = seconds(next())?;
    let interval = seconds(next())?;
    let count = next().map(|text| text.parse().map_err(|_| wrong()));
    let count = count.transpose()?.filter(|count| *count > 0);
    if idle.is_none() && interval.is_none() && count.is_none() {
        return Err(wrong());
    }
    Ok(Some(Keepalive {
        enabled: true,
        idle,
        interval,
        count,
    }))
}

/// Reads an address as `listen` takes it; a range of ports gives several.
fn addresses(word: &Word, hosts: &mut HostNames) -> Result<Vec<Address>, Diagnostic> {
    let text = word.text.as_str();
    if let Some(path) = text.strip_prefix("unix:") {
        if path.is_empty() {
            let what = "no path in the unix domain socket";
            return Err(wrong_address(word, what, "expected a path after unix:"));
        }
        // struct sockaddr_un holds 108 bytes, the ending zero included (unix(7)).
        if path.len() > 107 {
            let what = "too long path in the unix domain socket";
            let label = "a socket's path is at most 107 bytes long";
            return Err(wrong_address(word, what, label));
        }
        return Ok(vec![Address::Unix(PathBuf::from(path))]);
    }
    let (host, ports) = split_host(word)?;
    let (first, last) = port_range(word, ports)?;
    let mut found = Vec::new();
    for ip in resolve(word, host, hosts)? {
        for port in first..=last {
            found.push(Address::Inet(SocketAddr::new(ip, port)));
        }
    }
    Ok(found)
}

/// Splits `host:port`; either may be missing.
fn split_host(word: &Word) -> Result<(&str, &str), Diagnostic> {
    let text = word.text.as_str();
    if text.contains('/') {
        let label = "expected a host and a port, and no more";
        return Err(wrong_address(word, "invalid host", label));
    }
    if text.is_empty() || text.starts_with(':') || text.starts_with("[]") {
        return Err(wrong_address(word, "no host", "expected an address"));
    }
    if text.starts_with('[') {
        let Some(end) = text.find(']') else {
            let label = "expected ] after the IPv6 address";
            return Err(wrong_address(word, "invalid host", label));
        };
        let rest = &text[end + 1..];
        return match rest.strip_prefix(':') {
            Some(port) => Ok((&text[..=end], port)),
            None if rest.is_empty() => Ok((text, "80")),
            None => Err(wrong_address(
                word,
                "invalid host",
                "expected : and a port after ]",
            )),
        };
    }
    if let Some((host, port)) = text.split_once(':') {
        return Ok((host, port));
    }
    let is_port = text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'-');
    Ok(if is_port { ("*", text) } else { (text, "80") })
}

fn port_range(word: &Word, text: &str) -> Result<(u16, u16), Diagnostic> {
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| {
                let message = format!(
                    "invalid port in \"{}\" of the \"listen\" directive",
                    word.text
                );
                Diagnostic::new(word.span, message).label("expected a port from 1 to 65535")
            })
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        let message = format!(
            "invalid port range in \"{}\" of the \"listen\" directive",
            word.text
        );
        return Err(Diagnostic::new(word.span, message).label("the first port is above the last"));
    }
    Ok((first, last))
}

fn resolve(word: &Word, host: &str, hosts: &mut HostNames) -> Result<Vec<IpAddr>, Diagnostic> {
    if host == "*" {
        return Ok(vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)]);
    }
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let ip: Ipv6Addr = inner
            .parse()
            .map_err(|_| wrong_address(word, "invalid IPv6 address", "this is none"))?;
        return Ok(vec![IpAddr::V6(ip)]);
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(vec![IpAddr::V4(ip)]);
    }
    hosts.addresses(host).map_err(|error| {
        let message = format!(
            "host not found in \"{}\" of the \"listen\" directive",
            word.text
        );
        Diagnostic::new(word.span, message).label(error.to_string())
    })
}

fn wrong_address(word: &Word, what: &str, label: &str) -> Diagnostic {
    let message = format!("{what} in \"{}\" of the \"listen\" directive", word.text);
    Diagnostic::new(word.span, message).label(label)
}
