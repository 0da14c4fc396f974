//! Streams for crates that speak `futures-io`'s traits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use rustix::io::Errno;

use crate::buffer::Buffer;
use crate::channel::{Deadline, Side};
use crate::net::stream::Stream;
use crate::net::writable;
use crate::op::{ReadOp, ReadOutcome};

/// Slices gathered in one write.
const SLICES_MAX: usize = 16;

/// A [`Stream`] as an [`AsyncRead`] and [`AsyncWrite`] of the `futures-io` crate (feature
/// `futures-io`). Loop-local.
///
/// Reading copies out of the loop's buffer; writing copies nothing and holds nothing. What a
/// receive of this adaptor has brought in and nobody has read is lost to the stream when
/// the adaptor is dropped; nobody else may receive or send meanwhile.
pub struct StreamIo {
    stream: Rc<Stream>,
    received: Option<Buffer>,
    receiving: bool,
    waiting: bool,
}

impl StreamIo {
    /// The adaptor of a stream.
    pub fn new(stream: impl Into<Rc<Stream>>) -> StreamIo {
        StreamIo {
            stream: stream.into(),
            received: None,
            receiving: false,
            waiting: false,
        }
    }

    /// The stream.
    pub fn stream(&self) -> &Rc<Stream> {
        &self.stream
    }

    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let handle = self.stream.handle();
        loop {
            let outcome = if self.receiving {
                ready!(handle.poll_read(cx))
            } else {
                let op = ReadOp::Recv {
                    bytes_max: u32::MAX,
                };
                match handle.begin_read(op, Deadline::NEVER, cx) {
                    Poll::Ready(outcome) => outcome,
                    Poll::Pending => {
                        self.receiving = true;
                        return Poll::Pending;
                    }
                }
            };
            self.receiving = false;
            match outcome {
                ReadOutcome::Received(buffer) => return Poll::Ready(Ok(buffer)),
                ReadOutcome::Failed(error) => return Poll::Ready(Err(error)),
                // A wait for readiness that was cancelled after it had come true.
                ReadOutcome::Ready => {}
            }
        }
    }

    fn poll_written(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.waiting {
                ready!(writable::poll(self.stream.handle(), &mut self.waiting, cx))?;
            }
            match self.stream.handle().write(slices) {
                Ok(written) => return Poll::Ready(Ok(written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    ready!(writable::poll(self.stream.handle(), &mut self.waiting, cx))?;
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if into.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let mut received = match self.received.take() {
            Some(received) => received,
            None => ready!(self.poll_received(cx))?,
        };
        let count = received.len().min(into.len());
        into[..count].copy_from_slice(&received[..count]);
        received.advance(count);
        if !received.is_empty() {
            self.received = Some(received);
        }
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_written(cx, &slices[..slices.len().min(SLICES_MAX)])
    }

    /// Nothing is held back.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Closes the write side; the stream is closed when it is dropped.
    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown_write())
    }
}

impl Drop for StreamIo {
    fn drop(&mut self) {
        if self.receiving {
            self.stream.handle().cancel(Side::Read);
        }
        if self.waiting {
            self.stream.handle().cancel(Side::Write);
        }
    }
}

impl std::fmt::Debug for StreamIo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StreamIo")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
