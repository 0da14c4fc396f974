//! A stream that speaks TLS: handshakes of both sides, receiving, sending, closing.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use revolve_reactor::{Buffer, Chunk, Receiving, SendQueue, Stream};
use rustix::net::SendFlags;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, CommonState, ServerConfig};

use crate::error::{AcceptError, ConnectError};
use crate::hello::{self, ClientHello, Greeting};
use crate::judge::VerifyError;
use crate::seal::{self, PIECES_MAX};
use crate::session::Session;

/// Handshakes of one turn of the loop that go on at once. Each takes the time of dozens of requests, and
/// whoever else has something to do in that turn waits for it.
const HANDSHAKES_PER_TURN_MAX: u32 = 8;

/// Bytes that one poll of a send seals and sends at most before others have their turn.
const SENT_AT_ONCE_MAX: u64 = 512 * 1024;

/// What the one who serves a connection decides once the client has said what it wants.
pub enum Choice {
    /// It is served by this configuration.
    Accept(Arc<ServerConfig>),
    /// It is refused with this alert (`unrecognized_name` is 112). Source: RFC 8446, 6.
    Refuse(u8),
}

/// A stream of this thread's loop that speaks TLS, or will once its client has
/// [greeted](TlsStream::accept), or its server was [greeted](TlsStream::connect).
///
/// One receive and one send may be pending at a time, as on a [`Stream`]. Where the connection ends
/// without an error its peer is told so (`close_notify`) when this is dropped; that nobody can tell a
/// response that was cut off from one that is complete, a send that failed or was given up prevents it.
pub struct TlsStream {
    stream: Stream,
    /// None before the handshake, and where the client does not speak TLS.
    session: RefCell<Option<Box<Session>>>,
    hello: RefCell<ClientHello>,
    /// What was judged of the certificate that the peer has shown.
    verdict: Cell<Option<Result<(), VerifyError>>>,
    record_bytes_max: Cell<u32>,
    /// Whether something that was sealed did not get into the socket as a whole.
    is_cut: Cell<bool>,
    has_closed: Cell<bool>,
    /// Whether a send is pending on the stream below.
    is_sending: Cell<bool>,
}

impl TlsStream {
    /// A connection before its handshake.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            session: RefCell::default(),
            hello: RefCell::default(),
            verdict: Cell::new(None),
            record_bytes_max: Cell::new(crate::session::RECORD_BYTES_MAX as u32),
            is_cut: Cell::new(false),
            has_closed: Cell::new(false),
            is_sending: Cell::new(false),
        }
    }

    /// The stream that carries it. What is received or sent past this breaks the connection.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Bytes that one record carries at most, 16384 unless told otherwise (nginx `ssl_buffer_size`):
    /// small records reach the client's program sooner, large ones cost less.
    pub fn set_record_bytes_max(&self, bytes: u32) {
        let bytes = bytes.clamp(512, crate::session::RECORD_BYTES_MAX as u32);
        self.record_bytes_max.set(bytes);
    }

    /// The handshake. `choose` is asked once, when the client has said what it wants; one that does not
    /// say it soundly gets what is chosen for a client that asks for nothing.
    ///
    /// # Errors
    ///
    /// See [`AcceptError`]. After [`AcceptError::NotTls`] the connection goes on without TLS.
    pub async fn accept(
        &self,
        choose: impl FnOnce(&ClientHello) -> Choice,
        deadline: Instant,
    ) -> Result<(), AcceptError> {
        let mut received = self.greeting(deadline).await?;
        take_turn().await;
        let config = match choose(&self.hello.borrow()) {
            Choice::Accept(config) => config,
            Choice::Refuse(alert) => {
                // A fatal alert in the clear: no key has been agreed on.
                let record: &[u8] = &[21, 3, 3, 0, 2, 2, alert];
                let _ = rustix::net::send(&self.stream, record, FLAGS);
                return Err(AcceptError::Refused(alert));
            }
        };
        let session = Session::server(config).map_err(AcceptError::Tls)?;
        *self.session.borrow_mut() = Some(Box::new(session));
        Ok(self.shake(&mut received, deadline).await?)
    }

    /// The client's side of a handshake with the server of a name. Whether the server is who it ought to be
    /// is not judged here: look at the certificate that it has shown before anything is sent.
    ///
    /// # Errors
    ///
    /// See [`ConnectError`].
    pub async fn connect(
        &self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        deadline: Instant,
    ) -> Result<(), ConnectError> {
        take_turn().await;
        let session = Session::client(config, name).map_err(ConnectError::Tls)?;
        *self.session.borrow_mut() = Some(Box::new(session));
        self.shake(&mut Vec::new(), deadline).await
    }

    /// Goes on with a handshake until it is complete.
    async fn shake(&self, received: &mut Vec<u8>, deadline: Instant) -> Result<(), ConnectError> {
        loop {
            let (outgoing, failure, is_ready) = self.with_session(|session| {
                session.receive(received);
                let outgoing = std::mem::take(session.outgoing());
                let failure = session.failure().cloned();
                // Early data is answered before the handshake is complete: that is what it is for.
                let is_ready = session.is_established() || session.early_bytes() > 0;
                (outgoing, failure, is_ready)
            });
            if !outgoing.is_empty() {
                let queue = SendQueue::from(Chunk::Bytes(outgoing.into()));
                let left = deadline.saturating_duration_since(revolve_reactor::now());
                let (sent, _) = self.stream.send(queue).stall_max(left).await;
                if failure.is_none() {
                    sent?;
                }
            }
            if let Some(failure) = failure {
                return Err(ConnectError::Tls(failure));
            }
            if is_ready {
                return Ok(());
            }
            let mut more = self.stream.recv().deadline(deadline).await?;
            if more.is_empty() {
                return Err(ConnectError::Closed);
            }
            received.clear();
            received.extend_from_slice(more.as_mut_slice());
            drop(more);
            take_turn().await;
        }
    }

    /// Reads what the client says first.
    async fn greeting(&self, deadline: Instant) -> Result<Vec<u8>, AcceptError> {
        let mut received = Vec::new();
        loop {
            let more = self.stream.recv().deadline(deadline).await?;
            if more.is_empty() {
                return Err(AcceptError::Closed);
            }
            received.extend_from_slice(&more);
            match hello::read(&received) {
                Greeting::Partial => {}
                Greeting::Hello(hello) => {
                    *self.hello.borrow_mut() = hello;
                    return Ok(received);
                }
                Greeting::Malformed => return Ok(received),
                Greeting::NotTls => return Err(AcceptError::NotTls(received)),
            }
        }
    }

    fn with_session<T>(&self, with: impl FnOnce(&mut Session) -> T) -> T {
        let mut session = self.session.borrow_mut();
        with(session.as_mut().expect("the handshake made it"))
    }

    /// What the client said first.
    pub fn hello(&self) -> std::cell::Ref<'_, ClientHello> {
        self.hello.borrow()
    }

    /// Whether what is sent and received goes by TLS: the handshake was begun and did not fail.
    pub fn is_secure(&self) -> bool {
        self.session.borrow().is_some()
    }

    /// Whether the handshake is complete. Early data may have come before it is.
    pub fn is_established(&self) -> bool {
        let session = self.session.borrow();
        session.as_ref().is_some_and(|it| it.is_established())
    }

    /// Whether this is the protocol above TLS that was agreed on (ALPN).
    pub fn speaks(&self, protocol: &[u8]) -> bool {
        let session = self.session.borrow();
        let agreed = session.as_ref().and_then(|it| it.common().alpn_protocol());
        agreed == Some(protocol)
    }

    /// Looks at what rustls knows of the connection; `None` where it does not speak TLS.
    pub fn with_connection<T>(&self, look: impl FnOnce(&CommonState) -> T) -> Option<T> {
        let session = self.session.borrow();
        session.as_ref().map(|session| look(session.common()))
    }

    /// The signature scheme that we have signed with in the handshake, by its number; `None` where we did
    /// not, as in a session that was resumed.
    pub fn own_scheme(&self) -> Option<u16> {
        self.session.borrow().as_ref()?.schemes().0
    }

    /// The same of the peer.
    pub fn peer_scheme(&self) -> Option<u16> {
        self.session.borrow().as_ref()?.schemes().1
    }

    /// Whether the peer has said that it sends no more. Where the connection ends without that, what came
    /// before may have been cut off.
    pub fn has_ended(&self) -> bool {
        let session = self.session.borrow();
        session.as_ref().is_some_and(|it| it.is_ended())
    }

    /// Judges what the peer has shown, if it has shown anything: its own certificate stands first. What comes
    /// of it is the [`verdict`](Self::verdict) from then on.
    pub fn judge(&self, judge: impl FnOnce(&[CertificateDer<'_>]) -> Result<(), VerifyError>) {
        let chain = |it: &CommonState| it.peer_certificates().map(judge);
        self.verdict.set(self.with_connection(chain).flatten());
    }

    /// What was judged of the peer's certificate; `None` where it has shown none, or nobody has judged.
    pub fn verdict(&self) -> Option<Result<(), VerifyError>> {
        self.verdict.get()
    }

    /// Whether anything came as early data, which somebody else may have sent before.
    pub fn has_early_data(&self) -> bool {
        let session = self.session.borrow();
        session.as_ref().is_some_and(|it| it.early_bytes() > 0)
    }

    /// Receives what is there, as [`Stream::recv`] does. An empty buffer means that the client has said
    /// that it sends no more.
    ///
    /// # Errors
    ///
    /// As [`Stream::recv`]; `UnexpectedEof` where the connection ends and the client did not say so;
    /// `InvalidData` for records that are not sound.
    pub fn recv(&self) -> TlsRecv<'_> {
        TlsRecv {
            tls: self,
            inner: self.stream.recv(),
        }
    }

    /// The same for a receive that is [polled](Receiving).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn poll_recv(
        &self,
        receiving: &mut Receiving,
        within: Option<Duration>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Buffer>> {
        loop {
            if let Some(done) = self.opened() {
                return Poll::Ready(done);
            }
            let received = ready!(receiving.poll(&self.stream, within, cx));
            if let Some(done) = self.take_received(received?) {
                return Poll::Ready(done);
            }
        }
    }

    /// What can be told without receiving.
    fn opened(&self) -> Option<io::Result<Buffer>> {
        let mut session = self.session.borrow_mut();
        let session = session.as_mut()?;
        if let Some(opened) = session.take_opened() {
            return Some(Ok(opened));
        }
        if let Some(failure) = session.failure() {
            let error = io::Error::new(io::ErrorKind::InvalidData, failure.clone());
            return Some(Err(error));
        }
        session.is_ended().then(|| Ok(Buffer::default()))
    }

    fn take_received(&self, mut received: Buffer) -> Option<io::Result<Buffer>> {
        {
            let mut session = self.session.borrow_mut();
            let Some(session) = session.as_mut() else {
                return Some(Ok(received));
            };
            if received.is_empty() {
                return Some(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            session.receive(received.as_mut_slice());
        }
        drop(received);
        // What is said in between: that keys have changed, or that something was wrong.
        self.try_send_outgoing();
        self.opened()
    }

    /// Sends what waits to leave before anything else, as far as the socket takes it at once.
    fn try_send_outgoing(&self) {
        let mut session = self.session.borrow_mut();
        let Some(session) = session.as_mut() else {
            return;
        };
        if !session.has_outgoing() {
            return;
        }
        let outgoing = session.outgoing();
        let mut sent = self.stream.try_send(outgoing).unwrap_or(0);
        // A driver that sends with the turn takes nothing at once; where it has nothing to send, nothing is
        // overtaken.
        if sent == 0 && !self.is_sending.get() {
            sent = rustix::net::send(&self.stream, &*outgoing, FLAGS).unwrap_or(0);
        }
        outgoing.drain(..sent);
        if outgoing.is_empty() {
            *outgoing = Vec::new();
        }
    }

    /// Seals these bytes, at most a record of them, and sends what the socket takes at once. How many
    /// were sealed is the answer; whether all that was sealed has left says
    /// [`has_unsent`](Self::has_unsent): the rest leaves with the next [`send`](Self::send), which may be
    /// one of an empty queue.
    ///
    /// # Errors
    ///
    /// `BrokenPipe`, `ConnectionReset`.
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        let Some(session) = session.as_mut() else {
            return self.stream.try_send(bytes);
        };
        if session.has_outgoing() || bytes.is_empty() {
            return Ok(0);
        }
        let bytes = &bytes[..bytes.len().min(self.record_bytes_max.get() as usize)];
        let sealed = seal::seal_anywhere(session, bytes)?;
        // What is sent in between was sealed before it.
        if session.has_outgoing() {
            session.outgoing().extend_from_slice(memory(&sealed));
            return Ok(bytes.len());
        }
        let sealed = memory(&sealed);
        let sent = self.stream.try_send(sealed).inspect_err(|_| {
            self.is_cut.set(true);
        })?;
        session.outgoing().extend_from_slice(&sealed[sent..]);
        Ok(bytes.len())
    }

    /// Whether something was sealed that has not left.
    pub fn has_unsent(&self) -> bool {
        let session = self.session.borrow();
        session.as_ref().is_some_and(|it| it.has_outgoing())
    }

    /// Seals and sends what the queue holds, as [`Stream::send`] does. Files are read on this thread, a
    /// record at a time.
    ///
    /// # Errors
    ///
    /// As [`Stream::send`].
    pub fn send(&self, queue: SendQueue) -> TlsSend<'_> {
        TlsSend {
            tls: self,
            queue,
            stall_max: None,
            inner: None,
        }
    }

    /// What leaves next: sealed, and taken out of the queue. Empty where nothing is left.
    fn seal_next(&self, queue: &mut SendQueue) -> io::Result<SendQueue> {
        let mut session = self.session.borrow_mut();
        let Some(session) = session.as_mut() else {
            return Ok(std::mem::take(queue));
        };
        let mut out = SendQueue::new();
        let record_bytes_max = self.record_bytes_max.get() as usize;
        for _ in 0..PIECES_MAX {
            if session.has_outgoing() {
                out.push(Chunk::Bytes(std::mem::take(session.outgoing()).into()));
            }
            if queue.is_empty() {
                break;
            }
            let sealed = seal::seal_front(session, queue, record_bytes_max)?;
            if session.has_outgoing() {
                out.push(Chunk::Bytes(std::mem::take(session.outgoing()).into()));
            }
            out.push(sealed);
        }
        Ok(out)
    }

    /// Says that nothing more will be sent, and closes the write side: what is received after that is
    /// still opened.
    ///
    /// # Errors
    ///
    /// As [`Stream::shutdown_write`].
    pub fn shutdown_write(&self) -> io::Result<()> {
        self.close_notify();
        self.stream.shutdown_write()
    }

    /// Has the connection end without a word to the peer, which will see that it was cut off.
    pub fn abandon(&self) {
        self.is_cut.set(true);
    }

    fn close_notify(&self) {
        if self.is_cut.get() || self.has_closed.replace(true) || !self.is_secure() {
            return;
        }
        let outgoing = self.with_session(|session| {
            session.close();
            std::mem::take(session.outgoing())
        });
        if !outgoing.is_empty() {
            // Nothing is pending any more, and whether it arrives is no matter.
            let _ = rustix::net::send(&self.stream, &outgoing, FLAGS);
        }
    }
}

const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

fn memory(sealed: &Chunk) -> &[u8] {
    sealed.memory().expect("what is sealed lies in memory")
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.close_notify();
    }
}

impl std::fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsStream")
            .field("stream", &self.stream)
            .field("is_established", &self.is_established())
            .finish_non_exhaustive()
    }
}

/// Waits until a handshake may go on.
async fn take_turn() {
    thread_local! {
        static OF_TURN: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    }
    loop {
        let turn = revolve_reactor::turn();
        let count = match OF_TURN.get() {
            (of, count) if of == turn => count,
            _ => 0,
        };
        if count < HANDSHAKES_PER_TURN_MAX {
            OF_TURN.set((turn, count + 1));
            return;
        }
        revolve_reactor::yield_now().await;
    }
}

/// A receive. Made by [`TlsStream::recv`].
#[must_use = "futures do nothing unless awaited"]
pub struct TlsRecv<'a> {
    tls: &'a TlsStream,
    inner: revolve_reactor::Recv<'a>,
}

impl TlsRecv<'_> {
    /// As [`Recv::deadline`](revolve_reactor::Recv::deadline).
    pub fn deadline(mut self, at: Instant) -> Self {
        self.inner = self.inner.deadline(at);
        self
    }

    /// As [`Recv::within`](revolve_reactor::Recv::within): for the first byte that is of use.
    pub fn within(mut self, duration: Duration) -> Self {
        self.inner = self.inner.within(duration);
        self
    }
}

impl Future for TlsRecv<'_> {
    type Output = io::Result<Buffer>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let tls = self.tls;
        poll_recv_by(tls, &mut self.inner, cx)
    }
}

/// Polls a receive of the stream below for what it opens to.
pub fn poll_recv_by(
    tls: &TlsStream,
    recv: &mut revolve_reactor::Recv<'_>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Buffer>> {
    loop {
        if let Some(done) = tls.opened() {
            return Poll::Ready(done);
        }
        let received = ready!(Pin::new(&mut *recv).poll(cx));
        if let Some(done) = tls.take_received(received?) {
            return Poll::Ready(done);
        }
    }
}

/// A send. Made by [`TlsStream::send`].
#[must_use = "futures do nothing unless awaited"]
pub struct TlsSend<'a> {
    tls: &'a TlsStream,
    queue: SendQueue,
    stall_max: Option<Duration>,
    inner: Option<revolve_reactor::Send<'a>>,
}

impl TlsSend<'_> {
    /// As [`Send::stall_max`](revolve_reactor::Send::stall_max).
    pub fn stall_max(mut self, duration: Duration) -> Self {
        self.stall_max = Some(duration);
        self
    }
}

impl Future for TlsSend<'_> {
    /// The result, and what of the queue is left.
    type Output = (io::Result<()>, SendQueue);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let tls = this.tls;
        let mut sent_bytes = 0;
        loop {
            if let Some(inner) = &mut this.inner {
                let (result, left) = ready!(Pin::new(inner).poll(cx));
                this.inner = None;
                tls.is_sending.set(false);
                if result.is_err() {
                    tls.is_cut.set(true);
                    let mut queue = std::mem::take(&mut this.queue);
                    if tls.session.borrow().is_none() {
                        queue = left;
                    }
                    return Poll::Ready((result, queue));
                }
            }
            if sent_bytes > SENT_AT_ONCE_MAX {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let sealed = match tls.seal_next(&mut this.queue) {
                Ok(sealed) if sealed.is_empty() => {
                    return Poll::Ready((Ok(()), std::mem::take(&mut this.queue)));
                }
                Ok(sealed) => sealed,
                Err(error) => {
                    tls.is_cut.set(true);
                    return Poll::Ready((Err(error), std::mem::take(&mut this.queue)));
                }
            };
            sent_bytes += sealed.bytes();
            tls.is_sending.set(true);
            let send = tls.stream.send(sealed);
            this.inner = Some(match this.stall_max {
                Some(stall_max) => send.stall_max(stall_max),
                None => send,
            });
        }
    }
}

impl Drop for TlsSend<'_> {
    fn drop(&mut self) {
        // A send that was given up leaves it unknown how much of it the peer has.
        if self.inner.is_some() {
            self.tls.is_sending.set(false);
            self.tls.is_cut.set(true);
        }
    }
}
