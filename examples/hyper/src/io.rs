//! Reading and writing.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite};
use hyper::rt::{Read, ReadBufCursor, Write};
use revolve_reactor::{Stream, StreamIo};

/// What one read gives hyper at most. It is copied by way of the stack, because hyper's buffer may
/// be uninitialized, which nothing safe can be told to fill.
const READ_BYTES_MAX: usize = 8 * 1024;

/// A stream as hyper reads and writes it. Loop-local; the rest is as with [`StreamIo`].
#[derive(Debug)]
pub struct LoopIo(StreamIo);

impl LoopIo {
    /// The adaptor of a stream.
    pub fn new(stream: Stream) -> LoopIo {
        LoopIo(StreamIo::new(stream))
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut StreamIo> {
        Pin::new(&mut self.get_mut().0)
    }
}

impl Read for LoopIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = [0; READ_BYTES_MAX];
        let wanted = into.remaining().min(READ_BYTES_MAX);
        let count = ready!(self.io().poll_read(cx, &mut bytes[..wanted]))?;
        into.put_slice(&bytes[..count]);
        Poll::Ready(Ok(()))
    }
}

impl Write for LoopIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_close(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.io().poll_write_vectored(cx, slices)
    }
}
