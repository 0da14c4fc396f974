//! Bytes carried between two streams, both ways: what `proxy` and `socks5` have in common.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use revolve_reactor::Stream;

/// A direction may be silent for so long, and a receiver may take nothing for so long.
const SILENCE_MAX: Duration = Duration::from_secs(600);
const STALL_MAX: Duration = Duration::from_secs(60);

/// Carries bytes both ways until both sides have ended, or one has failed.
pub(crate) async fn relay(a: &Stream, b: &Stream) -> io::Result<()> {
    both(pump(a, b), pump(b, a)).await
}

/// Carries bytes one way, and passes the end of the stream on as a half-close.
///
/// Nothing is received before what was received is sent: a slow receiver slows its sender down,
/// and one buffer a direction is all the memory that it takes.
async fn pump(from: &Stream, to: &Stream) -> io::Result<()> {
    loop {
        let received = from.recv().within(SILENCE_MAX).await?;
        if received.is_empty() {
            return to.shutdown_write();
        }
        to.send(received.into()).stall_max(STALL_MAX).await.0?;
    }
}

/// Runs two futures in one task, until both are done or one has failed. Dropping the other then
/// cancels what it waits for.
async fn both(
    a: impl Future<Output = io::Result<()>>,
    b: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let (mut a, mut b) = (pin!(a), pin!(b));
    let (mut a_done, mut b_done) = (false, false);
    poll_fn(|cx| {
        if !a_done && let Poll::Ready(result) = a.as_mut().poll(cx) {
            result?;
            a_done = true;
        }
        if !b_done && let Poll::Ready(result) = b.as_mut().poll(cx) {
            result?;
            b_done = true;
        }
        if a_done && b_done {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    })
    .await
}
