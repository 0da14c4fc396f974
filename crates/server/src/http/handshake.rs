//! The handshake of a connection that speaks TLS: its client's name chooses the server.

use std::io;
use std::time::Duration;

use revolve_reactor::Buffer;
use revolve_tls::{AcceptError, Choice, ClientHello, TlsStream};

use crate::config::regex::Groups;
use crate::http::{HttpLoop, Server};
use crate::log::{Level, error_text};
use crate::runtime::connection::Connection;

/// The alert for a name that no server has. Source: RFC 6066, 3.
const UNRECOGNIZED_NAME: u8 = 112;

/// How a handshake ended.
pub(crate) enum Shaken {
    /// It is done.
    Secure,
    /// The client does not speak TLS, and has sent this.
    Plain(Buffer),
    /// The connection is over.
    Over,
}

/// Waits for the handshake, for as long as a head may take.
pub(crate) async fn shake(
    connection: &Connection,
    tls: &TlsStream,
    http_loop: &HttpLoop,
    wait: Duration,
) -> Shaken {
    let deadline = revolve_reactor::now() + wait;
    let shaken = tls.accept(|hello| choose(connection, tls, http_loop, hello), deadline);
    match shaken.await {
        Ok(()) => Shaken::Secure,
        Err(AcceptError::NotTls(received)) => {
            let mut input = Buffer::with_room(received.len());
            input.fill(&received);
            Shaken::Plain(input)
        }
        Err(error) => {
            log(connection, http_loop, &error);
            Shaken::Over
        }
    }
}

/// Chooses the server by the name that the client asks for, as its requests will by their hosts.
fn choose(
    connection: &Connection,
    tls: &TlsStream,
    http_loop: &HttpLoop,
    hello: &ClientHello,
) -> Choice {
    let site = http_loop.site();
    let hosts = site.http.hosts_at(connection);
    let name = hello.server_name.as_deref();
    let found = name.and_then(|name| hosts.find(name.as_bytes(), &mut Groups::new()).ok());
    let id = found.map_or(hosts.default, |found| found.server);
    let server = |id: u32| -> &Server { &site.http.servers[id as usize] };
    connection.set_named_server(site.http.id, id);
    // One without a certificate of its own is reached by the default one's.
    let own = server(id).tls.as_ref();
    let chosen = own.or_else(|| server(hosts.default).tls.as_ref());
    match chosen {
        Some(chosen) if !chosen.rejects => match &chosen.config {
            Some(config) => {
                tls.set_record_bytes_max(chosen.record_bytes_max);
                Choice::Accept(config.clone())
            }
            None => Choice::Refuse(UNRECOGNIZED_NAME),
        },
        _ => Choice::Refuse(UNRECOGNIZED_NAME),
    }
}

/// What a client did wrong is worth a line for those who look for it.
fn log(connection: &Connection, http_loop: &HttpLoop, error: &AcceptError) {
    let what = match error {
        AcceptError::Closed => "peer closed connection in SSL handshake".to_owned(),
        AcceptError::Refused => "SSL_do_handshake() failed (unrecognized name)".to_owned(),
        AcceptError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
            "client timed out (110: Connection timed out)".to_owned()
        }
        AcceptError::Io(error) => {
            let text = error_text(error);
            format!("peer closed connection in SSL handshake ({text})")
        }
        error => format!("SSL_do_handshake() failed (SSL: {error})"),
    };
    let mut client = Vec::new();
    connection.append_peer(&mut client);
    let client = String::from_utf8_lossy(&client);
    let address = connection.listener().address();
    let site = http_loop.site();
    site.logs.connection(
        &site.base.process_log,
        Level::Info,
        connection.number,
        format_args!("{what} while SSL handshaking, client: {client}, server: {address}"),
    );
}
