//! Sockets, and the servers behind them.

use std::net::{IpAddr, SocketAddr};

use revolve_conf::{Diagnostic, Diagnostics};
use revolve_reactor::Address;

use crate::http::Http;
use crate::http::location::ServerId;
use crate::http::modules::listen::Listen;
use crate::http::modules::server_name::{ServerName, VirtualHosts};
use crate::http::modules::ssl::ServerTls;
use crate::net::{ListenSpec, SocketId};
use crate::runtime::connection::Connection;
use crate::tls::ClientTrust;

/// Where servers are reached by TLS: the default one, and all that answer there.
pub(super) type TlsAddresses = Vec<(ServerId, Vec<ServerId>)>;

/// A socket, and which servers answer behind it.
#[derive(Debug)]
pub(crate) struct Port {
    /// The socket.
    pub spec: ListenSpec,
    /// The servers of the socket's own address.
    hosts: VirtualHosts,
    /// Where the socket is a wildcard: the servers of addresses that share it.
    special: Vec<(IpAddr, VirtualHosts)>,
}

impl Http {
    /// The servers behind the local address of a connection.
    pub(crate) fn hosts_at(&self, connection: &Connection) -> &VirtualHosts {
        let place = |socket: &SocketId| {
            let mut ports = self.ports.iter();
            ports.position(|port| port.spec.id == *socket)
        };
        let port = &self.ports[connection.listener().place(self.id, place)];
        if port.special.is_empty() {
            return &port.hosts;
        }
        let local = match connection.local() {
            Some(Address::Inet(address)) => address.ip(),
            _ => return &port.hosts,
        };
        port.special
            .iter()
            .find(|(ip, _)| *ip == local)
            .map_or(&port.hosts, |(_, hosts)| hosts)
    }
}

/// TLS of servers.
impl Http {
    /// By whose certificate a server is reached: one without is reached by the default one's.
    pub(crate) fn tls_of(&self, server: ServerId, hosts: &VirtualHosts) -> Option<&ServerTls> {
        let tls = |id: ServerId| self.servers[id as usize].tls.as_ref();
        tls(server).or_else(|| tls(hosts.default))
    }

    /// How a client is judged by the server that it has named in its handshake.
    pub(crate) fn client_trust(&self, connection: &Connection) -> Option<&ClientTrust> {
        let named = connection.named_server(self.id)?;
        let tls = self.tls_of(named, self.hosts_at(connection))?;
        tls.clients.as_ref()
    }
}

/// An address, gathered over all servers.
struct Gathered {
    listen: Listen,
    default: Option<ServerId>,
    servers: Vec<ServerId>,
    options: Option<Listen>,
}

/// Gathers the `listen`s of all servers into sockets.
pub(super) fn build(
    listens: &[(ServerId, Vec<Listen>, Vec<ServerName>)],
    diagnostics: &mut Diagnostics,
) -> (Vec<Port>, TlsAddresses) {
    let mut gathered: Vec<Gathered> = Vec::new();
    for (server, listens, _) in listens {
        for listen in listens {
            gather(&mut gathered, *server, listen, diagnostics);
        }
    }
    let hosts: Vec<VirtualHosts> = gathered
        .iter()
        .map(|address| virtual_hosts(address, listens, diagnostics))
        .collect();
    let by_tls = gathered.iter().filter(|address| address.listen.ssl);
    let by_tls = by_tls
        .map(|address| {
            let default = address.default.unwrap_or(address.servers[0]);
            (default, address.servers.clone())
        })
        .collect();
    (into_sockets(gathered, hosts), by_tls)
}

fn gather(
    gathered: &mut Vec<Gathered>,
    server: ServerId,
    listen: &Listen,
    diagnostics: &mut Diagnostics,
) {
    let Some(known) = gathered
        .iter_mut()
        .find(|known| known.listen.address == listen.address)
    else {
        gathered.push(Gathered {
            listen: listen.clone(),
            default: listen.default_server.then_some(server),
            servers: vec![server],
            options: listen.options_set.then(|| listen.clone()),
        });
        return;
    };
    known.servers.push(server);
    known.listen.bind |= listen.bind;
    known.listen.ssl |= listen.ssl;
    known.listen.proxy_protocol |= listen.proxy_protocol;
    known.listen.http2 |= listen.http2;
    if listen.default_server && known.default.replace(server).is_some() {
        let message = format!("a duplicate default server for {}", listen.address);
        diagnostics.push(
            Diagnostic::new(listen.span, message).label("another server is the default already"),
        );
    }
    if listen.options_set {
        if let Some(first) = &known.options {
            let message = format!("duplicate listen options for {}", listen.address);
            diagnostics.push(
                Diagnostic::new(listen.span, message)
                    .label("the socket's options are set already; one `listen` has them for all")
                    .note(first.span, "here"),
            );
        }
        known.options = Some(listen.clone());
    }
}

fn virtual_hosts(
    address: &Gathered,
    listens: &[(ServerId, Vec<Listen>, Vec<ServerName>)],
    diagnostics: &mut Diagnostics,
) -> VirtualHosts {
    let default = address.default.unwrap_or(address.servers[0]);
    // nginx looks at no name where all lead to one server.
    let are_looked_at =
        address.servers.len() > 1 || listens[default as usize].2.iter().any(ServerName::captures);
    let mut hosts = VirtualHosts::with_default(default);
    hosts.is_tls = address.listen.ssl;
    hosts.takes_proxy_protocol = address.listen.proxy_protocol;
    hosts.is_http2 = address.listen.http2;
    for server in &address.servers {
        let (_, listens, names) = &listens[*server as usize];
        let span = listens
            .iter()
            .find(|listen| listen.address == address.listen.address)
            .map(|listen| listen.span);
        for name in names {
            if !hosts.add(name, *server) && are_looked_at {
                let message = format!(
                    "conflicting server name \"{name}\" on {}, ignored",
                    address.listen.address
                );
                diagnostics.push(Diagnostic::new(span, message).warn());
            }
        }
    }
    hosts
}

/// An address beside a wildcard of its port shares the wildcard's socket, unless it wants one of
/// its own (`bind`).
fn into_sockets(gathered: Vec<Gathered>, hosts: Vec<VirtualHosts>) -> Vec<Port> {
    let wildcards: Vec<SocketAddr> = gathered
        .iter()
        .filter_map(|known| known.listen.address.as_inet())
        .filter(|address| address.ip().is_unspecified())
        .collect();
    let mut ports: Vec<Port> = Vec::new();
    let mut sharing: Vec<(SocketAddr, VirtualHosts)> = Vec::new();
    for (known, hosts) in gathered.into_iter().zip(hosts) {
        if let Some(address) = known.listen.address.as_inet()
            && !address.ip().is_unspecified()
            && !known.listen.bind
            && wildcards.iter().any(|wildcard| {
                wildcard.port() == address.port() && wildcard.is_ipv4() == address.is_ipv4()
            })
        {
            sharing.push((address, hosts));
            continue;
        }
        let options = known
            .options
            .map_or(known.listen.options, |listen| listen.options);
        let spec = ListenSpec {
            id: SocketId::stream(known.listen.address),
            options,
            span: known.listen.span,
            place: String::new(),
        };
        ports.push(Port {
            spec,
            hosts,
            special: Vec::new(),
        });
    }
    for (address, hosts) in sharing {
        let wildcard = ports.iter_mut().find(|port| {
            port.spec.id.address.as_inet().is_some_and(|wildcard| {
                wildcard.ip().is_unspecified()
                    && wildcard.port() == address.port()
                    && wildcard.is_ipv4() == address.is_ipv4()
            })
        });
        wildcard
            .expect("an address shares a wildcard that is there")
            .special
            .push((address.ip(), hosts));
    }
    ports
}
