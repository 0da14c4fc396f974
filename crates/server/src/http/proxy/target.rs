//! Which group a request is passed to, and with what URI.

use std::net::SocketAddr;
use std::rc::Rc;

use revolve_reactor::Address;

use crate::config::variable::Value;
use crate::http::modules::grpc::split_scheme as split_grpc_scheme;
use crate::http::modules::passing::Protocol;
use crate::http::modules::proxy::{HTTP_PORT, HTTPS_PORT, Pass, Target, split_scheme, split_url};
use crate::http::modules::static_files::escape_path;
use crate::http::modules::{tunnel, upstream, uwsgi};
use crate::http::request::Request;
use crate::log::{Level, Shown};
use crate::upstream::secure::Secure;
use crate::upstream::{Group, GroupSpec, Registry, ServerSpec};

/// What a request is passed on by, before anybody asks where that is.
#[derive(Clone)]
pub(crate) struct Named {
    /// Host and port as written.
    pub(crate) host: String,
    /// The URI of the request line.
    pub(crate) uri: Vec<u8>,
    /// Whether the connection is to be secured.
    pub(crate) is_secure: bool,
    /// Whether `proxy_redirect default` has a meaning: not where the URL is made by the request.
    pub(crate) is_default_redirect: bool,
}

/// Where a request goes.
pub(crate) struct Resolved {
    pub(crate) group: Rc<Group>,
    /// Its place among those of the configuration.
    pub(crate) place: Option<usize>,
    pub(crate) named: Rc<Named>,
    /// How the connection is secured, where it is.
    pub(crate) secure: Option<Secure>,
    /// What the group chooses by.
    pub(crate) key: Vec<u8>,
}

impl Named {
    /// The `Host` that the upstream is asked for, where nothing else is set.
    pub(crate) fn host_header(&self) -> &[u8] {
        match self.host.starts_with("unix:") {
            true => b"localhost",
            false => self.host.as_bytes(),
        }
    }

    /// The URL of `proxy_pass`, which redirects of the upstream begin with.
    pub(crate) fn base(&self, request: &Request) -> String {
        let uri = match &pass_of(request).target {
            Target::Group { uri: Some(uri), .. } => uri,
            _ => "/",
        };
        format!("{}{}{uri}", scheme(self.is_secure), self.host)
    }

    /// What the error log calls the upstream: scheme, address and URI.
    pub(crate) fn shown(&self, request: &Request, address: &str) -> String {
        let scheme = request.state.proxy.protocol.scheme(self.is_secure);
        let colon = if address.starts_with("unix:") && !address.ends_with(':') {
            ":"
        } else {
            ""
        };
        format!("{scheme}{address}{colon}{}", Shown(&self.uri))
    }
}

/// What a request is passed on by.
///
/// Errors: the status to answer with; why is in the log.
pub(crate) fn name(request: &Request) -> Result<Named, u16> {
    let pass = pass_of(request);
    let protocol = request.state.proxy.protocol;
    let is_http = protocol == Protocol::Http;
    match &pass.target {
        Target::Group { host, uri, .. } => {
            let ssl = protocol.ssl(request.settings());
            let is_secure = ssl.is_some_and(|ssl| ssl.is_secure);
            Ok(Named {
                uri: match protocol {
                    Protocol::Http => uri_of(request, pass, uri.as_deref()),
                    Protocol::Grpc => uri_of(request, pass, None),
                    _ => Vec::new(),
                },
                host: host.clone(),
                is_secure,
                is_default_redirect: is_http,
            })
        }
        Target::Url(value) if is_http => name_of_url(request, pass, value),
        Target::Url(value) if protocol == Protocol::Grpc => {
            let url = value.evaluate(request);
            let url = String::from_utf8_lossy(&url);
            let (is_secure, host) = split_grpc_scheme(&url);
            Ok(Named {
                host: host.to_owned(),
                uri: uri_of(request, pass, None),
                is_secure,
                is_default_redirect: false,
            })
        }
        // Of protocols whose requests have no URI.
        Target::Url(value) => {
            let host = value.evaluate(request);
            let host = String::from_utf8_lossy(&host);
            let (is_secure, host) = match request.state.proxy.protocol {
                Protocol::Uwsgi => uwsgi::split_scheme(&host),
                _ => (false, &*host),
            };
            Ok(Named {
                host: host.to_owned(),
                uri: Vec::new(),
                is_secure,
                is_default_redirect: false,
            })
        }
    }
}

/// The same by a URL of HTTP that the request makes.
fn name_of_url(request: &Request, pass: &Pass, value: &Value) -> Result<Named, u16> {
    let url = value.evaluate(request);
    let url = String::from_utf8_lossy(&url).into_owned();
    let Some((is_secure, rest)) = split_scheme(&url) else {
        let shown = Shown(url.as_bytes());
        request.log(
            Level::Error,
            format_args!("invalid URL prefix in \"{shown}\""),
        );
        return Err(500);
    };
    let (host, uri) = split_url(rest);
    let uri = match uri {
        Some(uri) if uri.starts_with('?') => format!("/{uri}").into_bytes(),
        Some(uri) => uri.as_bytes().to_vec(),
        None => uri_of(request, pass, None),
    };
    Ok(Named {
        uri,
        is_secure,
        host: host.to_owned(),
        is_default_redirect: false,
    })
}

/// What a URL of it begins with.
pub(crate) fn scheme(is_secure: bool) -> &'static str {
    if is_secure { "https://" } else { "http://" }
}

/// What the connection of a request to this host needs, where that has TLS.
fn secure(request: &Request, host: &str, is_secure: bool) -> Result<Option<Secure>, u16> {
    if !is_secure {
        return Ok(None);
    }
    let protocol = request.state.proxy.protocol;
    let Some(settings) = protocol.ssl(request.settings()) else {
        return Ok(None);
    };
    let tls = settings.loaded.as_ref();
    let tls = tls.expect("it is loaded where a level passes requests on");
    let name = settings.name.as_ref().map(|name| name.evaluate(request));
    let name = name.map(|name| String::from_utf8_lossy(&name).into_owned());
    let tls = tls.of(request, revolve_reactor::now()).map_err(|reason| {
        request.log(Level::Error, format_args!("{reason}"));
        500_u16
    })?;
    Ok(Some(Secure::new(tls, name.as_deref().unwrap_or(host))))
}

fn pass_of(request: &Request) -> &Pass {
    let pass = request.state.proxy.protocol.pass(request.settings());
    pass.expect("the handler is asked where there is one")
}

/// Where a request goes.
///
/// Errors: the status to answer with; why is in the log.
pub(crate) async fn resolve(request: &mut Request, named: Named) -> Result<Resolved, u16> {
    let place = match &pass_of(request).target {
        Target::Group { place, .. } => Some(*place),
        Target::Url(_) => None,
    };
    let (group, place) = match place {
        Some(place) => (request.site.group(place), Some(place)),
        None => {
            let port = match (request.state.proxy.protocol, named.is_secure) {
                (Protocol::Http, true) => HTTPS_PORT,
                (Protocol::Http, false) => HTTP_PORT,
                (other, _) => other.port(),
            };
            Box::pin(group_of_host(request, &named.host, port)).await?
        }
    };
    Ok(Resolved {
        key: key(request, &group, place),
        place,
        secure: secure(request, &named.host, named.is_secure)?,
        named: Rc::new(named),
        group,
    })
}

/// What the group of a block chooses by: its `hash`, else the client's address.
fn key(request: &Request, group: &Group, place: Option<usize>) -> Vec<u8> {
    if !group.spec.balance.has_key() {
        return Vec::new();
    }
    let by = place.and_then(|place| request.http().upstreams[place].key.as_ref());
    match by {
        Some(value) => value.evaluate(request),
        None => match request.client() {
            Address::Inet(address) => match address.ip() {
                // nginx's: clients of one network of class C go to one server.
                std::net::IpAddr::V4(ip) => ip.octets()[..3].to_vec(),
                std::net::IpAddr::V6(ip) => ip.octets().to_vec(),
            },
            Address::Unix(_) => Vec::new(),
        },
    }
}

/// The group that a host names which a request has made: a block, an address, or a name that is asked for.
async fn group_of_host(
    request: &mut Request,
    host: &str,
    port: u16,
) -> Result<(Rc<Group>, Option<usize>), u16> {
    if let Some((place, group)) = request.site.group_named(host) {
        return Ok((group, Some(place)));
    }
    let addresses = match upstream::host_name(host, port) {
        Some((name, port)) => addresses_of(request, &name, port).await?,
        None => upstream::addresses(host, port, |_| Err(String::new())).map_err(|reason| {
            let shown = Shown(host.as_bytes());
            request.log(
                Level::Error,
                format_args!("invalid host in upstream \"{shown}\": {reason}"),
            );
            500u16
        })?,
    };
    let addresses = match request.state.proxy.protocol {
        Protocol::Tunnel => tunnel::reachable(request, host, addresses)?,
        _ => addresses,
    };
    if addresses
        .iter()
        .any(|it| it.as_inet().is_some_and(|it| it.port() == 0))
    {
        let shown = Shown(host.as_bytes());
        request.log(
            Level::Error,
            format_args!("no port in upstream \"{shown}\""),
        );
        return Err(500);
    }
    let mut spec = GroupSpec::new(host);
    spec.servers.push(ServerSpec::new(host, addresses));
    spec.kept.connections_max = 0;
    Ok((Registry::default().group(&spec), None))
}

async fn addresses_of(request: &Request, name: &str, port: u16) -> Result<Vec<Address>, u16> {
    match request.resolver().lookup(name).await {
        Ok(answer) => {
            let with_port = |ip| Address::Inet(SocketAddr::new(ip, port));
            Ok(answer.addresses.into_iter().map(with_port).collect())
        }
        Err(error) => {
            let shown = Shown(name.as_bytes());
            request.log(
                Level::Error,
                format_args!("{shown} could not be resolved ({error})"),
            );
            Err(502)
        }
    }
}

/// The URI of the request line.
///
/// Source: nginx's `ngx_http_proxy_create_request`.
fn uri_of(request: &Request, pass: &Pass, uri: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    match uri {
        None if !request.current.uri_changed => {
            let raw = request.bytes(request.head().target.raw);
            out.extend_from_slice(raw);
            return out;
        }
        // What was rewritten in its location is not what that is named after.
        Some(_) if request.state.core.location_kept => {
            write_path(request, &request.path, &mut out);
        }
        None => write_path(request, &request.path, &mut out),
        Some(uri) => {
            out.extend_from_slice(uri.as_bytes());
            let rest = request.path.get(pass.replaced..).unwrap_or_default();
            write_path(request, rest, &mut out);
        }
    }
    if !request.args.is_empty() {
        out.push(b'?');
        out.extend_from_slice(&request.args);
    }
    out
}

/// Escapes a path that was decoded; one that came as it is goes on as it is.
fn write_path(request: &Request, path: &[u8], out: &mut Vec<u8>) {
    if request.head().target.complex || request.current.uri_changed {
        escape_path(path, out);
    } else {
        out.extend_from_slice(path);
    }
}
