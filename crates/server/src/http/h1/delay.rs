//! A request that waits, and the client that may go away meanwhile.

use std::time::Duration;

use revolve_reactor::{Stream, sleep, timeout};
use rustix::net::RecvFlags;

use super::output::Output;
use crate::http::request::Request;

/// Where bytes lie unread before a client's end, that is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Lets a request wait; false if its client went away before the time was over.
///
/// Source: nginx's `ngx_http_test_reading`, which takes a client that closed its side alone for one
/// that has left, too.
pub(super) async fn delay(request: &mut Request, output: &mut Output, time: Duration) -> bool {
    // Whoever waits for the answers before this one gets them first. Where they do not go out,
    // neither will this one's, which tells.
    let _ = output.flush(request).await;
    timeout(time, left(&request.connection.stream))
        .await
        .is_err()
}

/// Waits until the client closes. What it sends is left where it is: it is read in its turn.
async fn left(stream: &Stream) {
    while stream.readable().await.is_ok() && !is_closed(stream) {
        sleep(LOOK_AGAIN).await;
    }
}

fn is_closed(stream: &Stream) -> bool {
    if stream.is_peer_closed() {
        return true;
    }
    // Not every driver tells the end of the stream from something to read (`select` does not): with
    // those it is seen here, unless unread bytes lie before it.
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(stream.as_fd(), &mut [0; 1], flags) {
        Ok((_, count)) => count == 0,
        Err(error) => ![rustix::io::Errno::AGAIN, rustix::io::Errno::INTR].contains(&error),
    }
}
