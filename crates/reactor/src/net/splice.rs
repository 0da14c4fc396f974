//! Moving bytes from one stream to another within the kernel.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use rustix::io::Errno;

use crate::buffer::Buffer;
use crate::channel::Flags;
use crate::net::readable::Ready;
use crate::net::stream::Stream;
use crate::net::writable::Writable;
use crate::op::ReadOutcome;
use crate::send_queue::SendQueue;
use crate::sys::pipe::Pipe;
use crate::task::yield_now;

/// Bytes moved before the others have their turn.
const TURN_BYTES: u64 = 1 << 20;

/// Moves all bytes that `from` receives to `to`, until the end of `from`; then closes the write
/// side of `to`, and says how many there were.
///
/// On Linux they do not leave the kernel (splice(2)), and no pipe is held while there is nothing
/// to move; elsewhere, and when there is no descriptor left for a pipe, they pass through a
/// pooled buffer. Nothing is read that cannot be written: a slow reader slows the sender
/// down, and at most a pipe (64 KiB) or a buffer lies between them.
///
/// Nobody else may receive from the one or send to the other meanwhile. Dropping the future
/// loses what lay between.
///
/// # Errors
///
/// Those of receiving and of sending.
pub async fn splice(from: &Stream, to: &Stream) -> io::Result<u64> {
    from.handle().read_directly();
    let mut moved = 0;
    let mut edge = false;
    loop {
        while let Some(first) = left_behind(from)? {
            if first.is_empty() {
                return end(to, moved);
            }
            moved += first.len() as u64;
            to.send(SendQueue::from(first)).await.0?;
        }
        let ready = Ready {
            handle: from.handle(),
            edge,
            submitted: false,
        };
        ready.await?;
        // A driver that had received ahead gives that first.
        if from.handle().channel.state().read.is_done() {
            continue;
        }
        let simulated = from.handle().network().or_else(|| to.handle().network());
        let pipe = simulated.map_or_else(|| Pipe::take().ok(), |_| None);
        match pipe {
            Some(pipe) => {
                let done = through(&pipe, from, to, &mut moved).await?;
                pipe.put_back();
                if done {
                    return end(to, moved);
                }
                edge = true;
            }
            None => {
                // What waits was told once, and will not be told again.
                from.handle().channel.state().flags.insert(Flags::READABLE);
                let received = from.recv().await?;
                if received.is_empty() {
                    return end(to, moved);
                }
                moved += received.len() as u64;
                to.send(SendQueue::from(received)).await.0?;
                edge = false;
            }
        }
    }
}

/// What a receive that was cancelled has left behind, or one that the kernel had begun.
fn left_behind(from: &Stream) -> io::Result<Option<Buffer>> {
    let outcome = from.handle().channel.state().read.take_done();
    match outcome {
        Some(ReadOutcome::Received(buffer)) => Ok(Some(buffer)),
        Some(ReadOutcome::Failed(error)) => Err(error),
        Some(ReadOutcome::Ready) | None => Ok(None),
    }
}

/// A peer that is gone already needs no end.
fn end(to: &Stream, moved: u64) -> io::Result<u64> {
    match to.shutdown_write() {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        _ => Ok(moved),
    }
}

/// Moves what is there through the pipe, which is empty before and after; true at the end of
/// the stream.
async fn through(pipe: &Pipe, from: &Stream, to: &Stream, moved: &mut u64) -> io::Result<bool> {
    let mut since_yield = 0;
    loop {
        let mut within = match pipe.fill(from.as_fd()) {
            Ok(0) => return Ok(true),
            Ok(filled) => filled,
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        since_yield += within as u64;
        while within > 0 {
            match pipe.drain(to.as_fd(), within) {
                Ok(drained) => {
                    within -= drained;
                    *moved += drained as u64;
                }
                Err(Errno::AGAIN) => Writable::new(to.handle()).await?,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if since_yield >= TURN_BYTES {
            since_yield = 0;
            yield_now().await;
        }
    }
}

/// What passed between two streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spliced {
    /// Bytes from the first to the second.
    pub forth: u64,
    /// Bytes from the second to the first.
    pub back: u64,
}

/// [`splice`]s two streams with each other, each way until its end: what a proxy does once both
/// its sides are connected.
///
/// # Errors
///
/// The first of either way; the other way is given up then.
pub async fn splice_both(first: &Stream, second: &Stream) -> io::Result<Spliced> {
    let mut forth = pin!(splice(first, second));
    let mut back = pin!(splice(second, first));
    let (mut went, mut came) = (None, None);
    poll_fn(|cx| {
        if went.is_none()
            && let Poll::Ready(result) = forth.as_mut().poll(cx)
        {
            went = Some(result?);
        }
        if came.is_none()
            && let Poll::Ready(result) = back.as_mut().poll(cx)
        {
            came = Some(result?);
        }
        match (went, came) {
            (Some(forth), Some(back)) => Poll::Ready(Ok(Spliced { forth, back })),
            _ => Poll::Pending,
        }
    })
    .await
}
