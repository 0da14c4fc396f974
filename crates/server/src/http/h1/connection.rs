//! The life of a connection that speaks HTTP/1: wait, exchange, wait again.

use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Buffer, Lease};

use super::After;
use super::pool::Exchanges;
use crate::http::HttpLoop;
use crate::http::handshake::{self, Shaken};
use crate::http::request::Request;
use crate::log::Level;
use crate::runtime::connection::{Connection, Registered};

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
    if let Some(tls) = connection.stream.tls() {
        // Boxed: it is large, and soon over.
        let shaken = handshake::shake(connection, tls, &exchanges.http_loop, wait);
        match Box::pin(shaken).await {
            Shaken::Secure => connection.begin_idle(),
            Shaken::Plain(input) => {
                connection.end_idle();
                match exchanges.begin(connection, input).await {
                    After::Idle(keep_alive) => {
                        connection.begin_idle();
                        wait = keep_alive;
                    }
                    After::Close => return,
                }
            }
            Shaken::Over => return,
        }
    }
    loop {
        if connection.state.hand_off(connection) {
            return;
        }
        let left = connection.left_of(wait);
        let input = match connection.stream.recv().within(left).await {
            Ok(input) if !input.is_empty() => input,
            // There may be successors now.
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
                timed_out_idle(connection);
                return;
            }
            _ => return,
        };
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
