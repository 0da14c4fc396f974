//! What carries a connection's bytes: a socket as it is, or one that speaks TLS.
//!
//! An enum and no trait object: one branch that is always foretold, and the plain socket is used as it is.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use revolve_reactor::{Address, Buffer, Chunk, Ready, Receiving, SendQueue, Stream, TcpInfo};
use revolve_tls::{TlsSend, TlsStream};

/// A connection's bytes, in both directions.
#[derive(Debug)]
pub(crate) enum Transport {
    /// As they are.
    Plain(Stream),
    /// Within TLS; or as they are, where the client does not speak it.
    Tls(Box<TlsStream>),
}

impl From<Stream> for Transport {
    fn from(stream: Stream) -> Self {
        Self::Plain(stream)
    }
}

impl From<TlsStream> for Transport {
    fn from(stream: TlsStream) -> Self {
        Self::Tls(Box::new(stream))
    }
}

impl Transport {
    /// The same connection, which is to begin with a handshake.
    pub(crate) fn into_tls(self) -> Self {
        match self {
            Self::Plain(stream) => Self::Tls(Box::new(TlsStream::new(stream))),
            tls => tls,
        }
    }

    /// Its TLS, where it has any.
    #[inline]
    pub(crate) fn tls(&self) -> Option<&TlsStream> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => Some(tls),
        }
    }

    /// The socket below. What is sent or received past this breaks TLS, unless it comes before.
    #[inline]
    pub(crate) fn socket(&self) -> &Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.stream(),
        }
    }

    /// As [`Stream::recv`]. That the other side ends TLS without saying so is an end like any other: what
    /// was cut off is seen by whoever reads it, because requests have their length.
    #[inline]
    pub(crate) fn recv(&self) -> Recv<'_> {
        Recv {
            tls: self.tls(),
            inner: self.socket().recv(),
        }
    }

    /// As [`Receiving::poll`].
    pub(crate) fn poll_recv(
        &self,
        receiving: &mut Receiving,
        within: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Buffer>> {
        match self {
            Self::Plain(stream) => receiving.poll(stream, within, cx),
            Self::Tls(tls) => tls.poll_recv(receiving, within, cx).map(end_is_end),
        }
    }

    /// Gives up what [`poll_recv`](Self::poll_recv) waits for.
    pub(crate) fn cancel_recv(&self, receiving: &mut Receiving) {
        receiving.cancel(self.socket());
    }

    /// As [`Stream::try_send`]. Within TLS it is how many bytes were taken, and
    /// [`has_unsent`](Self::has_unsent) says whether those have left.
    #[inline]
    pub(crate) fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.try_send(bytes),
            Self::Tls(tls) => tls.try_send(bytes),
        }
    }

    /// Whether something that was taken has not left: a [`send`](Self::send) is due, if only of nothing.
    #[inline]
    pub(crate) fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(tls) => tls.has_unsent(),
        }
    }

    /// As [`Stream::send`], with the time that may pass without a byte leaving.
    #[inline]
    pub(crate) fn send(&self, queue: SendQueue, stall_max: Duration) -> Send<'_> {
        match self {
            Self::Plain(stream) => Send::Plain(stream.send(queue).stall_max(stall_max)),
            Self::Tls(tls) => Send::Tls(tls.send(queue).stall_max(stall_max)),
        }
    }

    /// As [`Stream::send_all`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) async fn send_all(&self, chunk: impl Into<Chunk>) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.send_all(chunk).await,
            Self::Tls(tls) => tls.send(SendQueue::from(chunk.into())).await.0,
        }
    }

    /// As [`Stream::readable`].
    pub(crate) fn readable(&self) -> Ready<'_> {
        self.socket().readable()
    }

    /// As [`Stream::is_peer_closed`].
    pub(crate) fn is_peer_closed(&self) -> bool {
        self.socket().is_peer_closed()
    }

    /// As [`Stream::interrupt_recv`].
    pub(crate) fn interrupt_recv(&self) {
        self.socket().interrupt_recv();
    }

    /// As [`Stream::hand_over`].
    ///
    /// # Errors
    ///
    /// As there; `Unsupported` within TLS, whose keys stay here.
    pub(crate) fn hand_over(
        &self,
        pass: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.hand_over(pass),
            Self::Tls(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Says that nothing more will be sent.
    ///
    /// # Errors
    ///
    /// As [`Stream::shutdown_write`].
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.shutdown_write(),
            Self::Tls(tls) => tls.shutdown_write(),
        }
    }

    /// Has the connection end so that its client does not take for whole what it got.
    pub(crate) fn abandon(&self) {
        if let Self::Tls(tls) = self {
            tls.abandon();
        }
    }

    /// As [`Stream::set_linger_reset`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn set_linger_reset(&self) -> io::Result<()> {
        self.abandon();
        self.socket().set_linger_reset()
    }

    /// As [`Stream::tcp_info`].
    pub(crate) fn tcp_info(&self) -> Option<TcpInfo> {
        self.socket().tcp_info()
    }

    /// As [`Stream::local_address`].
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn local_address(&self) -> io::Result<Address> {
        self.socket().local_address()
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }
}

fn end_is_end(received: io::Result<Buffer>) -> io::Result<Buffer> {
    match received {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(Buffer::default()),
        other => other,
    }
}

/// A receive. Made by [`Transport::recv`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Recv<'a> {
    tls: Option<&'a TlsStream>,
    inner: revolve_reactor::Recv<'a>,
}

impl Recv<'_> {
    /// As [`revolve_reactor::Recv::deadline`].
    #[inline]
    pub(crate) fn deadline(mut self, at: Instant) -> Self {
        self.inner = self.inner.deadline(at);
        self
    }

    /// As [`revolve_reactor::Recv::within`].
    #[inline]
    pub(crate) fn within(mut self, duration: Duration) -> Self {
        self.inner = self.inner.within(duration);
        self
    }
}

impl Future for Recv<'_> {
    type Output = io::Result<Buffer>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        match self.tls {
            None => Pin::new(&mut self.inner).poll(cx),
            Some(tls) => revolve_tls::poll_recv_by(tls, &mut self.inner, cx).map(end_is_end),
        }
    }
}

/// A send. Made by [`Transport::send`].
#[must_use = "futures do nothing unless awaited"]
pub(crate) enum Send<'a> {
    Plain(revolve_reactor::Send<'a>),
    Tls(TlsSend<'a>),
}

impl Future for Send<'_> {
    /// The result, and what of the queue is left.
    type Output = (io::Result<()>, SendQueue);

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Plain(send) => Pin::new(send).poll(cx),
            Self::Tls(send) => Pin::new(send).poll(cx),
        }
    }
}
