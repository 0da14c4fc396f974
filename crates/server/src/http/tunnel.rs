//! What follows a switch of protocols: bytes both ways, of which nothing is known (RFC 9110, 7.8).

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{Chunk, local};

use crate::net::Transport;

/// A connection to a peer that speaks another protocol from here on.
pub(crate) struct Tunnel {
    pub(crate) peer: Rc<Transport>,
    /// What counts the connection as in use.
    _in_use: Box<dyn Any>,
    /// What the peer has sent behind its head.
    pub(crate) first: Bytes,
    pub(crate) read_timeout: Duration,
}

impl Tunnel {
    /// `first` is what the peer has sent behind its head; `in_use` is dropped at the end.
    pub(crate) fn new(
        peer: Rc<Transport>,
        in_use: Box<dyn Any>,
        first: Bytes,
        read_timeout: Duration,
    ) -> Self {
        Self {
            peer,
            _in_use: in_use,
            first,
            read_timeout,
        }
    }

    /// Passes bytes on until one side closes, or the peer is silent for too long. `ahead` is what the
    /// client has sent behind its head. The answer is how many bytes the client got.
    pub(crate) async fn run(self, client: &Transport, ahead: &[u8]) -> u64 {
        let peer = &*self.peer;
        let ahead = Bytes::copy_from_slice(ahead);
        if !ahead.is_empty() && peer.send_all(ahead).await.is_err() {
            return 0;
        }
        let sent_bytes = Cell::new(self.first.len() as u64);
        if !self.first.is_empty() && client.send_all(self.first.clone()).await.is_err() {
            return 0;
        }
        let down = down(peer, client, self.read_timeout, &sent_bytes);
        local::select(down, up(client, peer)).await;
        sent_bytes.get()
    }
}

/// Passes on what the peer sends, until it ends or is silent for too long.
async fn down(peer: &Transport, client: &Transport, within: Duration, sent_bytes: &Cell<u64>) {
    while let Ok(received) = peer.recv().within(within).await {
        let bytes = received.len() as u64;
        if received.is_empty() || client.send_all(Chunk::Buffer(received)).await.is_err() {
            return;
        }
        sent_bytes.set(sent_bytes.get() + bytes);
    }
}

/// Passes on what the client sends, until it ends.
async fn up(client: &Transport, peer: &Transport) {
    while let Ok(received) = client.recv().await {
        if received.is_empty() || peer.send_all(Chunk::Buffer(received)).await.is_err() {
            return;
        }
    }
}
