//! `tunnel_pass`: clients that ask for a connection to somebody else (CONNECT; RFC 9110, 9.3.6).
//!
//! ```nginx
//! server {
//!     listen 3128;
//!     resolver system;
//!     tunnel_pass;                          # $host:$request_port
//!     tunnel_allow_private 10.1.0.0/16;
//! }
//! ```
//!
//! A client that chooses where the connection goes reaches no loopback, private or otherwise special address,
//! unless `tunnel_allow_private` names its network: else whoever may use the tunnel would be behind the
//! firewall. What the configuration names itself, an address or a group of servers, is reached wherever it
//! is.
//!
//! Source: nginx's `ngx_http_tunnel_module`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::Method;
use revolve_reactor::Address;

use crate::config::scope::{
    HTTP, IF_LOCATION, LOCATION, SERVER, checked_once, choice, invalid_parameter, set_once,
};
use crate::config::setting::settings;
use crate::http::modules::cgi;
use crate::http::modules::passing::{self, Protocol, next};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::proxy::Pass;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::log::Level;
use crate::net::cidr::Network;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_tunnel_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// Where tunnels lead.
    pub struct TunnelSettings / RawTunnel {
        inherit {
            /// `tunnel_allow_private`: networks that are reached although they are not public.
            private: Arc<Vec<Network>> = Arc::default(),
        }
        own {}
        handler {
            /// `tunnel_pass`.
            pass: Option<Arc<Pass>> = None,
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(
        SERVER | LOCATION | IF_LOCATION,
        "tunnel_pass",
        Args::range(0, 1),
        tunnel_pass,
    ),
    row(ANY, "tunnel_allow_private", Args::ONE_MORE, allow_private),
    row(ANY, "tunnel_bind", Args::ONE_OR_TWO, |scope, d| {
        let bind = passing::bind(&mut scope.shared.registry, d)?;
        set_once(&mut scope.level.settings.tunnel_passing.bind, bind, d)
    }),
    row(
        ANY,
        "tunnel_connect_timeout",
        Args::ONE,
        slot!(time_ms tunnel_passing.connect_timeout_ms),
    ),
    row(
        ANY,
        "tunnel_read_timeout",
        Args::ONE,
        slot!(time_ms tunnel_passing.read_timeout_ms),
    ),
    row(
        ANY,
        "tunnel_send_timeout",
        Args::ONE,
        slot!(time_ms tunnel_passing.send_timeout_ms),
    ),
    row(ANY, "tunnel_next_upstream", Args::ONE_MORE, next_upstream),
    row(
        ANY,
        "tunnel_next_upstream_tries",
        Args::ONE,
        slot!(number tunnel_passing.tries_max),
    ),
    row(
        ANY,
        "tunnel_next_upstream_timeout",
        Args::ONE,
        slot!(time_ms tunnel_passing.tries_timeout_ms),
    ),
    row(
        ANY,
        "tunnel_socket_keepalive",
        Args::FLAG,
        slot!(flag tunnel_passing.socket_keepalive),
    ),
    row(
        ANY,
        "tunnel_socket_rcvbuf",
        Args::ONE,
        slot!(size tunnel_passing.receive_buffer_bytes),
    ),
    row(
        ANY,
        "tunnel_socket_sndbuf",
        Args::ONE,
        slot!(size tunnel_passing.send_buffer_bytes),
    ),
    // Bytes go on out of the memory that they came in.
    row(ANY, "tunnel_buffer_size", Args::ONE, checked_once),
    // As on every system but FreeBSD.
    row(ANY, "tunnel_send_lowat", Args::ONE, checked_once),
];

/// Where tunnels lead that name nothing.
const AS_ASKED: &str = "$host:$request_port";

fn tunnel_pass(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (text, word) = match directive.args.first() {
        Some(word) => (word.text.as_str(), word),
        None => (AS_ASKED, &directive.name),
    };
    let pass = cgi::pass(scope, (Protocol::Tunnel, text), word)?;
    set_once(&mut scope.level.settings.tunnel.pass, pass, directive)
}

fn allow_private(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut networks = Vec::new();
    for word in &directive.args {
        match (word.text.as_str(), directive.args.len()) {
            ("off", 1) => {}
            ("off", _) => return Err(invalid_parameter(word, "expected networks, or off alone")),
            _ => networks.push(Network::of(word, &mut scope.shared.diagnostics)?),
        }
    }
    let networks = Arc::new(networks);
    set_once(
        &mut scope.level.settings.tunnel.private,
        networks,
        directive,
    )
}

fn next_upstream(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let choices = [
        ("error", next::ERROR),
        ("timeout", next::TIMEOUT),
        ("off", next::OFF),
    ];
    let mut bits = 0;
    for word in &directive.args {
        bits |= choice(word, choices)?;
    }
    set_once(
        &mut scope.level.settings.tunnel_passing.next_upstream,
        bits,
        directive,
    )
}

/// Whether the level makes tunnels.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.tunnel.pass.is_some()
}

/// Content phase: makes the tunnel.
fn handle(request: &mut Request) -> Outcome {
    if request.current.method != Method::Connect {
        return Outcome::Finish(405);
    }
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::Tunnel)))
}

/// Those of the addresses that a client has led to which it may reach.
///
/// Errors: the status to answer with, where there is none; why is in the log.
pub(crate) fn reachable(
    request: &Request,
    host: &str,
    addresses: Vec<Address>,
) -> Result<Vec<Address>, u16> {
    let named = &request.settings().tunnel.private;
    let may = |address: &Address| {
        let is_public = address.as_inet().is_some_and(|it| is_public(it.ip()));
        is_public || named.iter().any(|network| network.contains(address))
    };
    let (reachable, refused): (Vec<_>, Vec<_>) = addresses.into_iter().partition(may);
    match refused.first() {
        Some(address) if reachable.is_empty() => {
            request.log(
                Level::Error,
                format_args!(
                    "tunnel to \"{host}\" refused: {address} is not a public address; networks that \
                     clients may reach all the same are named by tunnel_allow_private"
                ),
            );
            Err(403)
        }
        _ => Ok(reachable),
    }
}

/// Whether an address is one of the public network, and no other hides within it.
///
/// Source: IANA's registries of special-purpose addresses (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let is_special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || matches!((a, b, c), (0 | 224.., ..) | (192, 0, 0))
        || a == 100 && (64..128).contains(&b)
        || a == 198 && (18..20).contains(&b);
    !is_special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let parts = ip.segments();
    let v4 =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match parts {
        // NAT64 (RFC 6052), its local prefix (RFC 8215), and 6to4 (RFC 3056): what lies behind them counts.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => v4(high, low),
        [0x64, 0xff9b, ..] => false,
        [0x2002, high, low, ..] => v4(high, low),
        // Teredo, benchmarks, ORCHID, documentation.
        [0x2001, 0..0x200 | 0xdb8, ..] | [0x3fff, 0..0x1000, ..] => false,
        // All that is global is within 2000::/3.
        [first, ..] => first >> 13 == 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_addresses_are_not_public_however_they_are_written() {
        for special in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "240.0.0.1",
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2001::1",
            "2001:db8::1",
        ] {
            assert!(!is_public(special.parse().unwrap()), "{special}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "192.0.1.1",
            "223.255.255.1",
            "2606:4700::1111",
            "2a00:1450::1",
            "64:ff9b::808:808",
            "2002:808:808::",
            "2001:4860::8888",
        ] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
    }
}
