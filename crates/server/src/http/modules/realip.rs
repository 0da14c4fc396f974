//! The client's address, as a proxy before us tells it.
//!
//! ```nginx
//! set_real_ip_from  192.168.1.0/24;
//! set_real_ip_from  unix:;
//! real_ip_header    X-Forwarded-For;
//! real_ip_recursive on;
//! ```

use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive, Word};
use revolve_http::HeaderId;
use revolve_reactor::Address;

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::modules::{Module, RequestState, Settings, proxy_protocol};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::http::variables::Builtin;
use crate::net::cidr::{Network, forwarded};
use crate::runtime::connection::append_address;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_realip_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[
        (Phase::PostRead, applies, handle),
        (Phase::PreAccess, applies, handle),
    ],
    ..Module::EMPTY
};

/// Where the address stands.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// In all lines of `X-Forwarded-For`.
    XForwardedFor,
    /// In the first line of a header; its name.
    Header(Box<[u8]>),
    /// In the head of the PROXY protocol.
    ProxyProtocol,
}

settings! {
    /// The client's address, as a proxy before us tells it.
    pub struct RealIpSettings / RawRealIp {
        inherit {
            /// `set_real_ip_from`; a level that has one inherits none.
            proxies: Arc<Vec<Network>> = Arc::default(),
            /// `real_ip_header`, default `X-Real-IP`.
            source: Source = Source::Header(b"X-Real-IP".as_slice().into()),
            /// `real_ip_recursive`, default off.
            is_recursive: bool = false,
        }
        own {}
    }
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct RealIpState {
    /// The address that takes the place of the connection's.
    client: Option<Address>,
}

impl RequestState for RealIpState {
    fn for_subrequest(&self) -> Self {
        Self {
            client: self.client.clone(),
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "set_real_ip_from",
        contexts: ANY,
        args: Args::ONE,
        set: from,
    },
    DirectiveRow {
        name: "real_ip_header",
        contexts: ANY,
        args: Args::ONE,
        set: header,
    },
    DirectiveRow {
        name: "real_ip_recursive",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag realip.is_recursive),
    },
];

fn from(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let networks = networks(scope, &directive.args[0])?;
    let proxies = &mut scope.level.settings.realip.proxies;
    let proxies = Arc::get_mut(proxies.get_or_insert_default());
    let proxies = proxies.expect("nobody shares a level's proxies while it is read");
    proxies.extend(networks);
    Ok(())
}

/// The networks of a word, which may be the name of a host.
fn networks(scope: &mut Scope, word: &Word) -> Result<Vec<Network>, Diagnostic> {
    let text = word.text.as_str();
    if text == "unix:" {
        return Ok(vec![Network::Unix]);
    }
    if Network::parse(text).is_some() {
        return Ok(vec![Network::of(word, &mut scope.shared.diagnostics)?]);
    }
    let addresses = match text.is_empty() {
        true => Vec::new(),
        false => scope.shared.hosts.addresses(text).unwrap_or_default(),
    };
    if addresses.is_empty() {
        let message = format!("host not found in set_real_ip_from \"{text}\"");
        let label = "expected an address, a network like 10.0.0.0/8, unix: or the name of a host";
        return Err(Diagnostic::new(word.span, message).label(label));
    }
    Ok(addresses.into_iter().map(Network::from).collect())
}

fn header(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let source = &mut scope.level.settings.realip.source;
    if source.is_some() {
        return Err(duplicate(directive));
    }
    // nginx knows the name of a list as it is written here alone; in other letters it is any header.
    *source = Some(match directive.args[0].text.as_str() {
        "X-Forwarded-For" => Source::XForwardedFor,
        "proxy_protocol" => Source::ProxyProtocol,
        name => Source::Header(name.as_bytes().into()),
    });
    Ok(())
}

fn applies(settings: &Settings) -> bool {
    !settings.realip.proxies.is_empty()
}

/// Takes the address that is told, if a trusted one tells it: once a request.
///
/// Source: nginx's `ngx_http_realip_handler`.
fn handle(request: &mut Request) -> Outcome {
    if request.state.realip.client.is_none() {
        request.state.realip.client = told(request);
    }
    Outcome::Next
}

fn told(request: &Request) -> Option<Address> {
    let settings = &request.settings().realip;
    let headers = &request.head().headers;
    let (proxies, is_recursive) = (&settings.proxies, settings.is_recursive);
    let from = &request.connection.peer;
    match &settings.source {
        Source::ProxyProtocol => {
            let client = proxy_protocol::client(request)?;
            let is_trusted = proxies.iter().any(|network| network.contains(from));
            is_trusted.then_some(Address::Inet(client))
        }
        Source::XForwardedFor => {
            let lines = headers.iter();
            let lines = lines.filter(|header| header.id == HeaderId::XForwardedFor);
            let lines = lines.map(|header| request.bytes(header.value));
            forwarded(from, lines, proxies, is_recursive)
        }
        Source::Header(name) => {
            let mut lines = headers.iter();
            let line = lines.find(|line| request.bytes(line.name).eq_ignore_ascii_case(name))?;
            let line = request.bytes(line.value);
            forwarded(from, std::iter::once(line), proxies, is_recursive)
        }
    }
}

impl Request {
    /// The client's address: the connection's, or what a trusted proxy has told.
    pub(crate) fn client(&self) -> &Address {
        match &self.state.realip.client {
            Some(client) => client,
            None => &self.connection.peer,
        }
    }

    /// Appends the client's address as logs show it.
    pub(crate) fn append_client(&self, out: &mut Vec<u8>) {
        append_address(self.client(), out);
    }
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "realip_remote_addr",
        get: |request, out| {
            request.connection.append_peer(out);
            true
        },
    },
    Builtin {
        name: "realip_remote_port",
        get: |request, out| {
            append_port(&request.connection.peer, out);
            true
        },
    },
];

/// Appends the port of an address; nothing where it has none.
pub(crate) fn append_port(address: &Address, out: &mut Vec<u8>) {
    if let Some(port) = address.as_inet().map(|address| address.port())
        && port != 0
    {
        out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    }
}
