//! Looking up a host's name without blocking the loop.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

/// What the thread has found, and who waits for it.
type Lookup = (Option<io::Result<SocketAddr>>, Option<Waker>);

/// The first address of `name`. `getaddrinfo(3)` may block for seconds, so that it runs on a thread
/// of its own; of the task nothing but its waker goes there.
pub(crate) async fn lookup(name: String, port: u16) -> io::Result<SocketAddr> {
    let lookup = Arc::new(Mutex::new(Lookup::default()));
    let asked = Arc::clone(&lookup);
    std::thread::Builder::new().spawn(move || {
        let found = (name.as_str(), port).to_socket_addrs();
        let first = found.and_then(|mut all| all.next().ok_or(ErrorKind::NotFound.into()));
        let mut lookup = asked.lock().unwrap_or_else(PoisonError::into_inner);
        lookup.0 = Some(first);
        lookup.1.take().into_iter().for_each(Waker::wake);
    })?;
    poll_fn(|cx| {
        let mut lookup = lookup.lock().unwrap_or_else(PoisonError::into_inner);
        lookup.1 = Some(cx.waker().clone());
        lookup.0.take().map_or(Poll::Pending, Poll::Ready)
    })
    .await
}
