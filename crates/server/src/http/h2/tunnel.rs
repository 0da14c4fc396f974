//! What follows a switch of protocols, over one stream (RFC 8441).

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::local;

use crate::http::body::Piece;
use crate::http::sink::Stream;
use crate::http::tunnel::Tunnel;
use crate::net::Transport;

/// Passes bytes on until one side ends, or the peer is silent for too long.
pub(super) async fn run(tunnel: Tunnel, client: &dyn Stream) {
    let peer = &*tunnel.peer;
    if !tunnel.first.is_empty() {
        client.push(Piece::Bytes(tunnel.first.clone()));
    }
    local::select(down(peer, client, tunnel.read_timeout), up(client, peer)).await;
}

async fn down(peer: &Transport, client: &dyn Stream, within: Duration) {
    while let Ok(received) = peer.recv().within(within).await {
        if received.is_empty() {
            return;
        }
        client.push(Piece::Bytes(Bytes::copy_from_slice(&received)));
        if !client.has_room() && poll_fn(|cx| client.poll_flush(cx)).await.is_err() {
            return;
        }
    }
}

async fn up(client: &dyn Stream, peer: &Transport) {
    while let Some(Ok(received)) = poll_fn(|cx| client.poll_body(cx)).await {
        if peer.send_all(received).await.is_err() {
            return;
        }
    }
}
