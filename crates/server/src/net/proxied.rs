//! Whom a proxy before us speaks for: the head of the PROXY protocol, read before anything else.

use std::net::SocketAddr;
use std::{fmt, io};

use revolve_http::proxy_protocol::{self, Addresses, HEADER_BYTES_MAX, ProxyProtocolError};
use revolve_reactor::Stream;
use rustix::net::RecvFlags;

use crate::log::{Shown, error_text};

/// What such a head says.
#[derive(Debug)]
pub(crate) struct Proxied {
    /// The client's address and the one that it connected to; `None` where the proxy speaks for itself.
    pub(crate) addresses: Option<(SocketAddr, SocketAddr)>,
    /// The head as it came.
    head: Box<[u8]>,
}

impl Proxied {
    /// The head, for what else it says.
    pub(crate) fn header(&self) -> Option<proxy_protocol::Header<'_>> {
        proxy_protocol::parse(&self.head, HEADER_BYTES_MAX)
            .ok()
            .flatten()
    }
}

/// Why there is no such head.
#[derive(Debug)]
pub(crate) enum ProxiedError {
    /// The connection has ended.
    Closed,
    /// It has failed.
    Io(io::Error),
    /// It did not come in time.
    TimedOut,
    /// What came is none; with its first bytes.
    Broken(ProxyProtocolError, Vec<u8>),
}

impl fmt::Display for ProxiedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("client closed connection"),
            Self::Io(error) => write!(f, "recv() failed ({})", error_text(error)),
            Self::TimedOut => f.write_str("client timed out (110: Connection timed out)"),
            Self::Broken(error, head) => {
                let shown = Shown(head);
                write!(f, "broken header: \"{shown}\" ({error})")
            }
        }
    }
}

/// Reads the head, and no byte behind it.
///
/// # Errors
///
/// See [`ProxiedError`].
pub(crate) async fn read(stream: &Stream) -> Result<Proxied, ProxiedError> {
    let mut head = Vec::new();
    loop {
        stream.readable().await.map_err(ProxiedError::Io)?;
        // Looked at and left where it is, so that TLS or HTTP find what follows in its place.
        let before = head.len();
        head.resize(HEADER_BYTES_MAX + 1, 0);
        let peeked = rustix::net::recv(stream, &mut head[before..], RecvFlags::PEEK);
        let count = match peeked {
            Ok((0, _)) => return Err(ProxiedError::Closed),
            Ok((count, _)) => count,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => 0,
            Err(error) => return Err(ProxiedError::Io(error.into())),
        };
        head.truncate(before + count);
        let parsed = proxy_protocol::parse(&head, HEADER_BYTES_MAX);
        let found = match parsed {
            Ok(Some(header)) => Some((header.header_bytes, known(&header.addresses))),
            Ok(None) => None,
            Err(error) => {
                head.truncate(SHOWN_BYTES_MAX);
                return Err(ProxiedError::Broken(error, head));
            }
        };
        let Some((header_bytes, addresses)) = found else {
            take(stream, count).await?;
            continue;
        };
        take(stream, header_bytes - before).await?;
        head.truncate(header_bytes);
        return Ok(Proxied {
            addresses,
            head: head.into(),
        });
    }
}

/// The addresses, where they are those of a network.
fn known(addresses: &Addresses<'_>) -> Option<(SocketAddr, SocketAddr)> {
    match addresses {
        Addresses::Ip {
            source,
            destination,
        } => Some((*source, *destination)),
        Addresses::Local | Addresses::Unspecified | Addresses::Unix { .. } => None,
    }
}

/// What of a broken head is shown at most.
const SHOWN_BYTES_MAX: usize = 107;

/// Takes so many bytes that were looked at.
async fn take(stream: &Stream, mut count: usize) -> Result<(), ProxiedError> {
    while count > 0 {
        let taken = stream.recv().max(count).await.map_err(ProxiedError::Io)?;
        if taken.is_empty() {
            return Err(ProxiedError::Closed);
        }
        count -= taken.len();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use revolve_reactor::EventLoop;

    use super::*;

    #[test]
    fn nothing_behind_the_head_is_taken() {
        let mut event_loop = EventLoop::new().expect("a loop");
        event_loop.block_on(async {
            for pieces in [
                &["PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET"][..],
                &["PROX", "Y TCP4 192.0.2.1 192.0", ".2.2 1 2\r", "\nGET"],
            ] {
                let (ours, theirs) = Stream::pair().expect("a pair");
                let feed = revolve_reactor::spawn(async move {
                    for piece in pieces {
                        theirs
                            .send_all(piece.as_bytes())
                            .await
                            .expect("it takes all");
                        revolve_reactor::sleep(std::time::Duration::from_millis(5)).await;
                    }
                    theirs
                });
                let proxied = read(&ours).await.expect("a head");
                let addresses = proxied.addresses.expect("addresses");
                assert_eq!(addresses.0, "192.0.2.1:1".parse().unwrap());
                assert_eq!(addresses.1, "192.0.2.2:2".parse().unwrap());
                assert_eq!(&*ours.recv().await.expect("the rest"), b"GET");
                drop(feed.await);
            }
            let (ours, theirs) = Stream::pair().expect("a pair");
            theirs
                .send_all(&b"GET / HTTP/1.1\r\n"[..])
                .await
                .expect("it takes all");
            assert!(matches!(read(&ours).await, Err(ProxiedError::Broken(..))));
            let (ours, theirs) = Stream::pair().expect("a pair");
            theirs.send_all(&b"PROXY"[..]).await.expect("it takes all");
            drop(theirs);
            assert!(matches!(read(&ours).await, Err(ProxiedError::Closed)));
        });
    }
}
