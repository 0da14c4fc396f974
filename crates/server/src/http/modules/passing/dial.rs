//! A new connection to a peer.

use std::io;

use revolve_reactor::{Address, Keepalive, Stream};

use super::{Bind, PassSettings, local_address};
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// Connects to an address, from where `*_bind` says.
pub(crate) async fn dial(request: &Request, address: &Address) -> io::Result<Stream> {
    let settings = request.passing();
    let local = match settings.bind.as_deref() {
        // The files of Unix sockets have no other side.
        _ if address.as_inet().is_none() => None,
        None => None,
        Some(Bind::Fixed(local)) => Some(local.clone()),
        Some(Bind::Made(value)) => {
            let text = value.evaluate(request);
            let local = std::str::from_utf8(&text).ok().and_then(local_address);
            if local.is_none() && !text.is_empty() {
                let shown = Shown(&text);
                request.log(
                    Level::Error,
                    format_args!("invalid local address \"{shown}\""),
                );
            }
            local
        }
    };
    let stream = match local {
        Some(local) => Stream::connect_from(&local, address).await?,
        None => Stream::connect(address).await?,
    };
    set_options(&stream, settings);
    Ok(stream)
}

/// What cannot be set is not worth a request.
fn set_options(stream: &Stream, settings: &PassSettings) {
    let _ = stream.set_nodelay(true);
    if settings.socket_keepalive {
        let keepalive = Keepalive {
            enabled: true,
            ..Keepalive::default()
        };
        let _ = stream.set_keepalive(&keepalive);
    }
    if settings.receive_buffer_bytes > 0 {
        let _ = stream.set_recv_buffer(settings.receive_buffer_bytes as usize);
    }
    if settings.send_buffer_bytes > 0 {
        let _ = stream.set_send_buffer(settings.send_buffer_bytes as usize);
    }
}

/// What is to be done about an error, where it is not plain.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "; no local address or port is free: let more connections be kept (keepalive), widen \
             net.ipv4.ip_local_port_range, or see what *_bind names"
        }
        _ => "",
    }
}
