//! What follows a switch of protocols: bytes both ways, of which nothing is known (RFC 9110, 7.8).

use std::any::Any;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{Chunk, Stream, local};

/// A connection to a peer that speaks another protocol from here on.
pub(crate) struct Tunnel {
    peer: Rc<Stream>,
    /// What counts the connection as in use.
    _in_use: Box<dyn Any>,
    /// What the peer has sent behind its head.
    first: Bytes,
    read_timeout: Duration,
}

impl Tunnel {
    /// `first` is what the peer has sent behind its head; `in_use` is dropped at the end.
    pub(crate) fn new(
        peer: Rc<Stream>,
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
    /// client has sent behind its head.
    pub(crate) async fn run(self, client: &Stream, ahead: &[u8]) {
        let peer = self.peer.clone();
        if !ahead.is_empty() && !send(&peer, Bytes::copy_from_slice(ahead)).await {
            return;
        }
        if !self.first.is_empty() && !send(client, self.first.clone()).await {
            return;
        }
        let down = pass(&peer, client, Some(self.read_timeout));
        let up = pass(client, &peer, None);
        local::select(down, up).await;
    }
}

/// Passes on what one side sends, until it ends.
async fn pass(from: &Stream, to: &Stream, within: Option<Duration>) {
    loop {
        let receiving = from.recv();
        let received = match within {
            Some(within) => receiving.within(within).await,
            None => receiving.await,
        };
        match received {
            Ok(received) if !received.is_empty() => {
                if to.send_all(Chunk::Buffer(received)).await.is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

async fn send(to: &Stream, bytes: Bytes) -> bool {
    to.send_all(bytes).await.is_ok()
}
