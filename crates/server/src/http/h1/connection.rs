//! The life of a connection that speaks HTTP/1: wait, exchange, wait again.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_http::h2::PREFACE;
use revolve_reactor::{Buffer, Elapsed, Lease, timeout};
use revolve_tls::rustls::ServerConfig;
use revolve_tls::{AcceptError, Choice, ClientHello, TlsStream, Usage};

use super::After;
use super::pool::Exchanges;
use crate::acme::{Challenges, tls_alpn};
use crate::config::regex::Groups;
use crate::http::HttpLoop;
use crate::http::location::ServerId;
use crate::http::modules::server_name::VirtualHosts;
use crate::http::request::Request;
use crate::http::site::Site;
use crate::log::{Level, error_text};
use crate::net::proxied::{self, ProxiedError};
use crate::net::resolver::Resolver;
use crate::runtime::connection::{Connection, Registered};
use crate::tls::{self, ByVariable, Certificates};

/// The life of a connection: wait, exchange, wait again.
///
/// While it waits, this small future is all that it costs; what a request needs is borrowed from
/// the loop's pool for as long as the exchange lasts.
pub(crate) async fn run<M, F>(
    connection: Rc<Connection>,
    exchanges: Rc<Exchanges<M, F>>,
    _lease: Option<Lease>,
) where
    M: Fn(Box<Request>, Buffer) -> F + 'static,
    F: Future<Output = (Box<Request>, After)> + 'static,
{
    let registered = Registered(connection);
    let connection = &registered.0;
    let mut wait = first_wait(connection, &exchanges.http_loop);
    if connection.stream.tls().is_some() || takes_proxy_protocol(connection, &exchanges.http_loop) {
        // Boxed: it is large, and soon over.
        match Box::pin(begin(connection, &exchanges.http_loop, wait)).await {
            Begun::Http1 => connection.begin_idle(),
            Begun::Http2 => return (exchanges.http2)(connection.clone(), Buffer::default()).await,
            Begun::Plain(input) => {
                connection.end_idle();
                match exchanges.begin(connection, input).await {
                    After::Idle(keep_alive) => {
                        connection.begin_idle();
                        wait = keep_alive;
                    }
                    After::Close => return,
                }
            }
            Begun::Over => return,
        }
    }
    loop {
        if connection.state.hand_off(connection) {
            return;
        }
        let left = connection.left_of(wait);
        let mut input = match connection.stream.recv().within(left).await {
            Ok(input) if !input.is_empty() => input,
            // There may be successors now.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                timed_out_idle(connection);
                return;
            }
            _ => return,
        };
        let http_loop = &exchanges.http_loop;
        if may_begin_http2(connection, &input)
            && Box::pin(begins_http2(connection, http_loop, &mut input, wait)).await
        {
            return (exchanges.http2)(connection.clone(), input).await;
        }
        connection.end_idle();
        match exchanges.begin(connection, input).await {
            After::Idle(keep_alive) => {
                connection.begin_idle();
                wait = keep_alive;
            }
            After::Close => return,
        }
    }
}

/// Whether a connection is to say first whom it speaks for.
fn takes_proxy_protocol(connection: &Connection, http_loop: &HttpLoop) -> bool {
    let site = http_loop.site();
    site.http.hosts_at(connection).takes_proxy_protocol
}

/// Reads whom it speaks for, for as long as a head may take; false where the connection is over.
async fn read_proxied(connection: &Connection, http_loop: &HttpLoop, wait: Duration) -> bool {
    let read = proxied::read(connection.stream.socket());
    let error = match timeout(wait, read).await {
        Ok(Ok(proxied)) => {
            connection.set_proxied(proxied);
            return true;
        }
        Ok(Err(error)) => error,
        Err(Elapsed) => ProxiedError::TimedOut,
    };
    let level = match error {
        ProxiedError::Broken(..) => Level::Error,
        _ => Level::Info,
    };
    let what = format_args!("{error} while reading PROXY protocol");
    log_beginning(connection, http_loop, level, what);
    false
}

fn first_wait(connection: &Connection, http_loop: &HttpLoop) -> Duration {
    let site = http_loop.site();
    let http = &site.http;
    let server = &http.servers[http.hosts_at(connection).default as usize];
    let settings = &http.locations[server.location as usize].settings;
    // One that another binary has served is kept for as long as it would have been there.
    Duration::from_millis(match connection.requests() {
        0 => settings.client.header_timeout_ms,
        _ => settings.keepalive.timeout_ms,
    })
}

/// A client that never sent a request is worth a line; one that kept its connection is not.
fn timed_out_idle(connection: &Connection) {
    if connection.requests() > 0 {
        return;
    }
    let mut client = Vec::new();
    connection.append_peer(&mut client);
    let client = String::from_utf8_lossy(&client);
    let address = connection.listener().address();
    let installed = connection.state.installed();
    installed.logs.connection(
        &installed.base.process_log,
        Level::Info,
        connection.number,
        format_args!(
            "client timed out (110: Connection timed out) while waiting for request, \
             client: {client}, server: {address}"
        ),
    );
}

/// The alert for a name that no server has. Source: RFC 6066, 3.
const UNRECOGNIZED_NAME: u8 = 112;

/// How a connection began that says something before its first request.
enum Begun {
    /// The client speaks HTTP/1.
    Http1,
    /// The handshake has agreed on HTTP/2.
    Http2,
    /// The client does not speak TLS, and has sent this.
    Plain(Buffer),
    /// The connection is over.
    Over,
}

/// Hears whom a proxy speaks for, and shakes hands.
async fn begin(connection: &Rc<Connection>, http_loop: &Rc<HttpLoop>, wait: Duration) -> Begun {
    if takes_proxy_protocol(connection, http_loop)
        && !read_proxied(connection, http_loop, wait).await
    {
        return Begun::Over;
    }
    match connection.stream.tls() {
        Some(tls) => shake(connection, tls, http_loop, wait).await,
        None => Begun::Http1,
    }
}

/// Waits for the handshake, for as long as a head may take.
async fn shake(
    connection: &Rc<Connection>,
    tls: &TlsStream,
    http_loop: &Rc<HttpLoop>,
    wait: Duration,
) -> Begun {
    let deadline = revolve_reactor::now() + wait;
    let shaken = tls.accept(|hello| choose(connection, tls, http_loop, hello), deadline);
    match shaken.await {
        // An authority has seen what it came for, and closes.
        Ok(()) if tls.speaks(tls_alpn::PROTOCOL) => Begun::Over,
        Ok(()) => {
            judge(connection, tls, http_loop).await;
            match tls.speaks(b"h2") {
                true => Begun::Http2,
                false => Begun::Http1,
            }
        }
        Err(AcceptError::NotTls(received)) => {
            let mut input = Buffer::with_room(received.len());
            input.fill(&received);
            Begun::Plain(input)
        }
        Err(error) => {
            log_handshake(connection, http_loop, &error);
            Begun::Over
        }
    }
}

/// Chooses the server by the name that the client asks for, as its requests will by their hosts.
fn choose(
    connection: &Rc<Connection>,
    tls: &TlsStream,
    http_loop: &Rc<HttpLoop>,
    hello: &ClientHello,
) -> Choice {
    let site = http_loop.site();
    if let Some(config) = shown_to_authority(&site, hello) {
        return Choice::Accept(config);
    }
    let hosts = site.http.hosts_at(connection);
    let name = hello.server_name.as_deref();
    let found = name.and_then(|name| hosts.find(name.as_bytes(), &mut Groups::new()).ok());
    let id = found.map_or(hosts.default, |found| found.server);
    connection.set_named_server(site.http.id, id);
    let is_http2 = speaks_http2(&site, hosts, id);
    match site.http.tls_of(id, hosts) {
        Some(chosen) if !chosen.rejects => {
            tls.set_record_bytes_max(chosen.record_bytes_max);
            if let Some(stapler) = &chosen.stapler {
                let (site, number) = (site.clone(), connection.number);
                let resolver = resolver(connection, &site);
                let now_s = site.logs.clock().unix_s();
                stapler.refresh(&resolver, now_s, move |what| say(&site, number, &what));
            }
            match &chosen.certificates {
                Some(Certificates::Fixed(fixed)) => Choice::Accept(fixed.config(is_http2)),
                Some(Certificates::ByVariable(named)) => {
                    choose_by_variable(connection, http_loop, named, is_http2)
                }
                None => Choice::Refuse(UNRECOGNIZED_NAME),
            }
        }
        _ => Choice::Refuse(UNRECOGNIZED_NAME),
    }
}

/// What an authority is shown that looks by a handshake whether a name is ours.
fn shown_to_authority(site: &Site, hello: &ClientHello) -> Option<Arc<ServerConfig>> {
    let acme = site.http.acme.as_ref()?;
    tls_alpn::answer(hello, site.zones.state::<Challenges>(acme.zone))
}

/// The alert for what is our own fault. Source: RFC 8446, 6.
const INTERNAL_ERROR: u8 = 80;

/// Chooses the certificates that the variables of this handshake name.
fn choose_by_variable(
    connection: &Rc<Connection>,
    http_loop: &Rc<HttpLoop>,
    named: &ByVariable,
    is_http2: bool,
) -> Choice {
    // It is no request, and does not count as one.
    let mut asking = Request::new(connection.clone(), http_loop.clone());
    connection.take_back_sequence();
    let config = named.config(&asking, revolve_reactor::now());
    let choice = match config {
        Ok(config) if is_http2 => Choice::Accept(tls::with_http2(&config)),
        Ok(config) => Choice::Accept(config),
        Err(reason) => {
            asking.log(Level::Error, format_args!("{reason} while SSL handshaking"));
            Choice::Refuse(INTERNAL_ERROR)
        }
    };
    asking.release();
    choice
}

/// Judges what the client has shown, by the server that it has named: requests to others that judge
/// otherwise are refused.
async fn judge(connection: &Connection, tls: &TlsStream, http_loop: &HttpLoop) {
    let site = http_loop.site();
    let Some(clients) = site.http.client_trust(connection) else {
        return;
    };
    let now_s = site.logs.clock().unix_s();
    tls.judge(|chain| clients.trust.judge(chain, Usage::Client, now_s));
    let Some(ocsp) = clients
        .ocsp
        .as_ref()
        .filter(|_| tls.verdict() == Some(Ok(())))
    else {
        return;
    };
    let path = tls.with_connection(|it| {
        clients
            .trust
            .path(it.peer_certificates().unwrap_or_default())
    });
    let resolver = resolver(connection, &site);
    let say = |what: String| say(&site, connection.number, &what);
    let checked = ocsp
        .check(&path.unwrap_or_default(), &resolver, now_s, say)
        .await;
    tls.judge(|_| checked);
}

/// By whom the names of those are found that are asked about certificates.
fn resolver(connection: &Connection, site: &Site) -> Resolver {
    let names = &site.http.names;
    let timeout = Duration::from_millis(names.timeout_ms);
    connection.state.resolvers.get(&names.spec, timeout)
}

/// What went wrong beside a connection.
fn say(site: &Site, number: u64, what: &str) {
    let log = &site.base.process_log;
    site.logs
        .connection(log, Level::Error, number, format_args!("{what}"));
}

/// Whether a server speaks HTTP/2.
fn speaks_http2(site: &Site, hosts: &VirtualHosts, server: ServerId) -> bool {
    let location = site.http.servers[server as usize].location;
    hosts.is_http2 || site.locations[location as usize].settings.http2.enabled
}

/// Whether these first bytes of a connection may be those of HTTP/2, which begin no usual method.
fn may_begin_http2(connection: &Connection, input: &Buffer) -> bool {
    input[0] == PREFACE[0] && connection.requests() == 0 && connection.stream.tls().is_none()
}

/// Whether a client begins with what begins HTTP/2, and may. What has come is read on until that is
/// known.
async fn begins_http2(
    connection: &Connection,
    http_loop: &HttpLoop,
    input: &mut Buffer,
    wait: Duration,
) -> bool {
    let is_spoken = {
        let site = http_loop.site();
        let hosts = site.http.hosts_at(connection);
        speaks_http2(&site, hosts, hosts.default)
    };
    let deadline = revolve_reactor::now() + wait;
    while is_spoken && input.len() < PREFACE.len() && PREFACE.starts_with(input) {
        // Whatever ends it here, the exchange meets too.
        match connection.stream.recv().deadline(deadline).await {
            Ok(more) if !more.is_empty() => {
                let mut all = Buffer::with_room(input.len() + more.len());
                all.fill(input);
                all.fill(&more);
                *input = all;
            }
            _ => return false,
        }
    }
    is_spoken && input.starts_with(PREFACE)
}

/// What a client did wrong is worth a line for those who look for it.
fn log_handshake(connection: &Connection, http_loop: &HttpLoop, error: &AcceptError) {
    let what = match error {
        AcceptError::Closed => "peer closed connection in SSL handshake".to_owned(),
        AcceptError::Refused(UNRECOGNIZED_NAME) => {
            "SSL_do_handshake() failed (unrecognized name)".to_owned()
        }
        // Why is said already.
        AcceptError::Refused(_) => return,
        AcceptError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            "client timed out (110: Connection timed out)".to_owned()
        }
        AcceptError::Io(error) => {
            let text = error_text(error);
            format!("peer closed connection in SSL handshake ({text})")
        }
        error => format!("SSL_do_handshake() failed (SSL: {error})"),
    };
    let what = format_args!("{what} while SSL handshaking");
    log_beginning(connection, http_loop, Level::Info, what);
}

/// Writes a line about a connection that has not got to HTTP.
fn log_beginning(
    connection: &Connection,
    http_loop: &HttpLoop,
    level: Level,
    what: std::fmt::Arguments<'_>,
) {
    let mut client = Vec::new();
    connection.append_peer(&mut client);
    let client = String::from_utf8_lossy(&client);
    let address = connection.listener().address();
    let site = http_loop.site();
    site.logs.connection(
        &site.base.process_log,
        level,
        connection.number,
        format_args!("{what}, client: {client}, server: {address}"),
    );
}
