//! A receive that is polled, for those who keep a stream and its receive in one place.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::buffer::Buffer;
use crate::channel::{Deadline, Side};
use crate::net::stream::{Stream, ticks_ms};
use crate::op::{ReadOp, ReadOutcome};

/// The state of a receive that is polled. [`Stream::recv`] borrows its stream; a source of bytes that
/// owns one, or shares it, keeps this beside it.
///
/// One stream has one receive at a time. Whoever drops this while it is pending calls
/// [`cancel`](Self::cancel) first; what had come in is then what the next receive gives.
#[derive(Debug, Default)]
pub struct Receiving {
    submitted: bool,
}

impl Receiving {
    /// Receives what there is: an empty buffer means the end of the stream. To be called on the stream's
    /// loop, with the same stream each time. `within` is that of the first call after a result: it fails with `TimedOut` if nothing has come
    /// for so long.
    ///
    /// # Errors
    ///
    /// As [`Stream::recv`].
    pub fn poll(
        &mut self,
        stream: &Stream,
        within: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Buffer>> {
        let handle = stream.handle();
        loop {
            let outcome = if self.submitted {
                let outcome = ready!(handle.poll_read(cx));
                self.submitted = false;
                outcome
            } else {
                let deadline = within.map_or(Deadline::NEVER, |duration| {
                    handle.core.after_ms(ticks_ms(duration))
                });
                let op = ReadOp::Recv {
                    bytes_max: u32::MAX,
                };
                match handle.begin_read(op, deadline, cx) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => {
                        self.submitted = true;
                        return Poll::Pending;
                    }
                }
            };
            match outcome {
                ReadOutcome::Received(buffer) => return Poll::Ready(Ok(buffer)),
                ReadOutcome::Failed(error) => return Poll::Ready(Err(error)),
                // A wait for readiness that was cancelled after it had come true: the receive begins now.
                ReadOutcome::Ready => {}
            }
        }
    }

    /// Gives a pending receive up; without one nothing happens.
    pub fn cancel(&mut self, stream: &Stream) {
        if std::mem::take(&mut self.submitted) {
            stream.handle().cancel(Side::Read);
        }
    }
}
