//! Connected byte streams, TCP or Unix.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::buffer::Buffer;
use crate::channel::{ChannelState, Deadline, Flags, Kind, Side, Slot};
use crate::net::address::Address;
use crate::net::connector;
use crate::net::handle::Handle;
use crate::net::option::{self, Keepalive};
use crate::net::readable::Ready;
use crate::net::socket;
use crate::op::{Progress, ReadOp, ReadOutcome, WriteOp};
use crate::send_queue::{Chunk, SendQueue};
use crate::sys::Driver;
use crate::sys::platform;
use crate::sys::socket_option::{self, TcpInfo};
use crate::timer_queue::NEVER_MS;

/// A connected stream of this thread's loop, TCP or Unix.
///
/// One receive and one send may be pending at a time. Dropping the stream cancels both and
/// closes the connection.
pub struct Stream {
    handle: Handle,
}

impl Stream {
    /// Registers a connected socket with this thread's loop. One that blocks is made non-blocking, and
    /// with it all duplicates of the descriptor.
    ///
    /// # Errors
    ///
    /// No loop on this thread; a descriptor that cannot be polled.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Stream> {
        Ok(Stream {
            handle: Handle::adopt(fd, Kind::Stream)?,
        })
    }

    pub(crate) fn from_handle(handle: Handle) -> Stream {
        Stream { handle }
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Two streams of this loop, connected with each other: a Unix socket pair (socketpair(2)).
    ///
    /// # Errors
    ///
    /// No loop on this thread; descriptors run out.
    pub fn pair() -> io::Result<(Stream, Stream)> {
        let (one, other) = socket::pair()?;
        let stream = |fd| Handle::register(fd, Kind::Stream).map(Stream::from_handle);
        Ok((stream(one)?, stream(other)?))
    }

    /// Connects to an address.
    ///
    /// # Errors
    ///
    /// As connect(2): `ConnectionRefused`, `TimedOut` (after minutes: see
    /// [`timeout`](crate::timeout)), `NotFound` for a Unix path, `WouldBlock` for a Unix
    /// listener whose backlog is full.
    pub async fn connect(address: &Address) -> io::Result<Stream> {
        connector::connect(None, address).await
    }

    /// Connects from an address of this machine's own, with any port where its port is 0. On a simulated
    /// network the address is not looked at.
    ///
    /// # Errors
    ///
    /// As bind(2) and connect(2): `AddrNotAvailable` for an address that is not this machine's, or where
    /// no port is left.
    pub async fn connect_from(local: &Address, address: &Address) -> io::Result<Stream> {
        connector::connect(Some(local), address).await
    }

    /// Receives what is there, in one `recv(2)`, once something is. An empty buffer is the end of
    /// the stream.
    ///
    /// The bytes are read in the perform step of a turn, into a buffer that is taken then: one of
    /// 2 KiB until more than that comes, then one of [`buffer_bytes`](crate::Builder::buffer_bytes)
    /// until that was too large twice. What did not fit is received in the next turn.
    /// Dropping the future loses nothing: bytes that had come in are what the next one gives.
    ///
    /// # Errors
    ///
    /// `ConnectionReset` and the like; `TimedOut` when a deadline passes.
    pub fn recv(&self) -> Recv<'_> {
        Recv {
            stream: self,
            bytes_max: u32::MAX,
            deadline: Deadline::NEVER,
            submitted: false,
        }
    }

    /// Sends what the queue holds: at once as far as the socket takes it, the rest when it is
    /// writable. Gives the queue back; on success it is empty.
    ///
    /// Memory goes out in gathered `sendmsg(2)` calls, files by `sendfile(2)`; never with a
    /// `SIGPIPE`. Dropping the future leaves it unknown how much was sent.
    ///
    /// # Errors
    ///
    /// `BrokenPipe`, `ConnectionReset`; `TimedOut` when it stalls; `UnexpectedEof` when a file
    /// has become shorter than the range to be sent.
    pub fn send(&self, queue: SendQueue) -> Send<'_> {
        Send {
            stream: self,
            queue: Some(queue),
            stall_ms: 0,
            submitted: false,
        }
    }

    /// Sends one chunk whole. Cheaper than [`send`](Stream::send) where the socket takes it at once,
    /// as it does with an answer of usual size, because no queue is made then.
    ///
    /// Sending begins when this is called, not when the future is first polled. Dropping the
    /// future leaves it unknown how much was sent.
    ///
    /// # Errors
    ///
    /// As [`send`](Stream::send).
    pub fn send_all(&self, chunk: impl Into<Chunk>) -> SendAll<'_> {
        let chunk = chunk.into();
        let begun = chunk.memory().map_or(Ok(0), |bytes| self.try_send(bytes));
        match begun {
            Ok(sent) if sent as u64 == chunk.len() => {
                chunk.release(&self.handle.core.buffers);
                SendAll(Sending::Done)
            }
            Ok(sent) => self.send_rest(chunk, sent as u64),
            Err(error) => SendAll(Sending::Failed(error)),
        }
    }

    /// Submits what is left of a chunk. Where the socket took less than all, the driver knows that it
    /// takes no more.
    #[inline(never)]
    fn send_rest(&self, mut chunk: Chunk, sent: u64) -> SendAll<'_> {
        if sent > 0 {
            chunk.advance(sent);
        }
        match self.handle.begin_chunk(chunk) {
            Ok(()) => SendAll(Sending::Submitted(self)),
            Err(error) => SendAll(Sending::Failed(error)),
        }
    }

    /// Sends of these bytes what the socket takes at once, and says how many; 0 where it takes
    /// none, while another send is pending, and always where the driver sends with the turn (io_uring,
    /// sim): the rest is for [`send`](Stream::send), which also waits until the socket takes more.
    ///
    /// # Errors
    ///
    /// `BrokenPipe`, `ConnectionReset`.
    #[inline]
    pub fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        let channel = &*self.handle.channel;
        let mut driver = self.handle.core.driver.borrow_mut();
        driver.try_send(channel, &mut channel.state(), bytes)
    }

    /// Ready once there is something to receive, the end of the stream included; receives
    /// nothing. May be ready at once, and costs no system call.
    pub fn readable(&self) -> Ready<'_> {
        Ready {
            handle: &self.handle,
            edge: false,
            submitted: false,
        }
    }

    /// True once the peer was seen to have closed its side, or the connection to be broken. Bytes
    /// that it sent before may still be there to receive.
    pub fn is_peer_closed(&self) -> bool {
        self.handle.channel.state().flags.has(Flags::PEER_CLOSED)
    }

    /// Fails the pending receive with `Interrupted`, if there is one and nothing has come for it.
    pub fn interrupt_recv(&self) {
        let mut state = self.handle.channel.state();
        if !matches!(state.read, Slot::Pending(ReadOp::Recv { .. }, _)) {
            return;
        }
        state.read_deadline_ms = NEVER_MS;
        let interrupted = ReadOutcome::Failed(io::ErrorKind::Interrupted.into());
        let waiter = state.read.complete(interrupted);
        drop(state);
        if let Some(waiter) = waiter {
            self.handle.core.tasks.wake(waiter);
        }
    }

    /// Has another process go on with the stream: `pass` sends it the descriptor (`SCM_RIGHTS`, see
    /// unix(7)). Bytes that come meanwhile wait in the socket, so nothing is lost. The loop does not
    /// watch the stream after that: it is to be dropped, and nothing else.
    ///
    /// # Errors
    ///
    /// `WouldBlock` where an operation is pending, something was received that nobody has taken, or the
    /// driver receives ahead, as io_uring does; and what `pass` fails with. All is as before then.
    pub fn hand_over(&self, pass: impl FnOnce(BorrowedFd<'_>) -> io::Result<()>) -> io::Result<()> {
        let Handle { core, channel } = &self.handle;
        if !core.driver.borrow().is_quiet(&channel.state()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pass(self.as_fd())?;
        core.driver.borrow_mut().let_go(channel);
        Ok(())
    }

    /// Closes the write side (shutdown(2)): the peer receives the end of the stream.
    ///
    /// # Errors
    ///
    /// `NotConnected` when the connection is gone.
    pub fn shutdown_write(&self) -> io::Result<()> {
        Ok(self.handle.shutdown_write()?)
    }

    /// Makes closing reset the connection (`SO_LINGER` with a time of 0), so that it leaves no
    /// socket in TIME_WAIT.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_linger_reset(&self) -> io::Result<()> {
        Ok(sockopt::set_socket_linger(
            &self.handle,
            Some(Duration::ZERO),
        )?)
    }

    /// `TCP_NODELAY`: send small segments at once.
    ///
    /// # Errors
    ///
    /// As setsockopt(2); a Unix socket has no such option.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        Ok(sockopt::set_tcp_nodelay(&self.handle, on)?)
    }

    /// `TCP_CORK` (`TCP_NOPUSH` on macOS and the BSDs): send full segments only, until turned off (nginx `tcp_nopush`).
    ///
    /// # Errors
    ///
    /// As setsockopt(2); a Unix socket has no such option.
    pub fn set_cork(&self, on: bool) -> io::Result<()> {
        platform::set_cork(self.as_fd(), on)
    }

    /// `SO_KEEPALIVE` and its times.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_keepalive(&self, keepalive: &Keepalive) -> io::Result<()> {
        option::set_keepalive(self.as_fd(), keepalive)
    }

    /// `SO_RCVBUF`, in bytes; the kernel doubles it for its own use.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_recv_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_recv_buffer_size(&self.handle, bytes)?)
    }

    /// `SO_SNDBUF`, in bytes; the kernel doubles it for its own use.
    ///
    /// # Errors
    ///
    /// As setsockopt(2).
    pub fn set_send_buffer(&self, bytes: usize) -> io::Result<()> {
        Ok(sockopt::set_socket_send_buffer_size(&self.handle, bytes)?)
    }

    /// What the kernel knows of a TCP connection; `None` for a Unix socket.
    pub fn tcp_info(&self) -> Option<TcpInfo> {
        socket_option::tcp_info(self.as_fd()).ok()
    }

    /// The address of this end.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_address(&self) -> io::Result<Address> {
        self.handle.local_address()
    }

    /// The address of the other end.
    ///
    /// # Errors
    ///
    /// `NotConnected` when the connection is gone.
    pub fn peer_address(&self) -> io::Result<Address> {
        self.handle.peer_address()
    }

    /// The socket. Reading or writing it past the stream upsets what the loop knows of it.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        Stream::as_fd(self)
    }
}

impl AsRawFd for Stream {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("fd", &self.as_raw_fd())
            .finish()
    }
}

/// Ticks after which a duration has passed, wherever in the present one it begins: it is rounded up,
/// and one more stands for the part of that tick that is gone.
#[inline]
pub(crate) fn ticks_ms(duration: Duration) -> u64 {
    let part_ms = u64::from(!duration.subsec_nanos().is_multiple_of(1_000_000));
    let whole_ms = u64::try_from(duration.as_millis()).unwrap_or(NEVER_MS);
    whole_ms.saturating_add(1 + part_ms)
}

/// A receive. Made by [`Stream::recv`].
///
/// It may be polled again after it was ready: it then receives what comes next, by the same deadline.
#[must_use = "futures do nothing unless awaited"]
pub struct Recv<'a> {
    stream: &'a Stream,
    bytes_max: u32,
    deadline: Deadline,
    submitted: bool,
}

impl Recv<'_> {
    /// Fails with `TimedOut` if nothing has come when `at` has passed. Moving a connection's
    /// deadline later with each receive costs next to nothing.
    pub fn deadline(mut self, at: Instant) -> Self {
        self.deadline = Deadline {
            at_ms: self.stream.handle.core.tick_ms(at),
            asked: 0,
        };
        self
    }

    /// Fails with `TimedOut` if nothing has come for so long. The cheapest way to a deadline: it is
    /// counted from the turn's time, and by how long the turn went on is made up for before it fails.
    pub fn within(mut self, duration: Duration) -> Self {
        self.deadline = self.stream.handle.core.after_ms(ticks_ms(duration));
        self
    }

    /// Receives at most so many bytes, if that is less than a buffer. At least 1.
    pub fn max(mut self, bytes: usize) -> Self {
        self.bytes_max = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        self
    }

    /// What a receive comes to besides bytes.
    #[cold]
    fn poll_seldom(
        mut self: Pin<&mut Self>,
        outcome: ReadOutcome,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Buffer>> {
        match outcome {
            ReadOutcome::Received(buffer) => Poll::Ready(Ok(self.limit(buffer))),
            ReadOutcome::Failed(error) => Poll::Ready(Err(error)),
            // A wait for readiness that was cancelled after it had come true: the receive begins now.
            ReadOutcome::Ready => self.as_mut().poll(cx),
        }
    }

    /// A buffer that a cancelled receive left behind may hold more than is asked for now.
    fn limit(&self, mut received: Buffer) -> Buffer {
        let bytes_max = self.bytes_max as usize;
        let mut first = Buffer::take();
        let taken = first.fill(&received[..bytes_max]);
        received.advance(taken);
        let left = ReadOutcome::Received(received);
        self.stream.handle.channel.state().read = Slot::Done(left);
        first
    }
}

impl Future for Recv<'_> {
    type Output = io::Result<Buffer>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let handle = &self.stream.handle;
        let outcome = if self.submitted {
            let outcome = ready!(handle.poll_read(cx));
            self.submitted = false;
            outcome
        } else {
            let op = ReadOp::Recv {
                bytes_max: self.bytes_max,
            };
            match handle.begin_read(op, self.deadline, cx) {
                Poll::Ready(outcome) => outcome,
                Poll::Pending => {
                    self.submitted = true;
                    return Poll::Pending;
                }
            }
        };
        match outcome {
            ReadOutcome::Received(buffer) if buffer.len() <= self.bytes_max as usize => {
                Poll::Ready(Ok(buffer))
            }
            other => self.poll_seldom(other, cx),
        }
    }
}

impl Drop for Recv<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.stream.handle.cancel(Side::Read);
        }
    }
}

impl std::fmt::Debug for Recv<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recv")
            .field("submitted", &self.submitted)
            .finish_non_exhaustive()
    }
}

/// A send. Made by [`Stream::send`].
#[must_use = "futures do nothing unless awaited"]
pub struct Send<'a> {
    stream: &'a Stream,
    queue: Option<SendQueue>,
    stall_ms: u32,
    submitted: bool,
}

impl Send<'_> {
    /// Fails with `TimedOut` when no byte could be sent for so long (nginx `send_timeout`); every
    /// byte sent starts the time anew. Default: no limit.
    pub fn stall_max(mut self, duration: Duration) -> Self {
        self.stall_ms = u32::try_from(ticks_ms(duration)).unwrap_or(u32::MAX);
        self
    }

    /// Sends as far as it goes at once, and submits the rest.
    #[inline]
    fn begin(&mut self, mut queue: SendQueue, cx: &mut Context<'_>) -> Poll<Sent> {
        let handle = &self.stream.handle;
        let progress = {
            let state = handle.channel.state();
            match ChannelState::check_free(&state.write, WriteOp::describe) {
                Ok(()) => {
                    let driver = handle.core.driver.borrow();
                    driver.send_at_once(&handle.channel, &state, &mut queue)
                }
                Err(error) => Progress::Done(Err(error)),
            }
        };
        queue.drop_sent();
        let blocked = match progress {
            Progress::Done(result) => return Poll::Ready((result, queue)),
            Progress::Blocked => true,
            Progress::Spent => false,
        };
        let op = WriteOp::Send {
            queue,
            stall_ms: self.stall_ms,
        };
        if let Err(error) = handle.begin_write(op, blocked, cx) {
            return Poll::Ready((Err(error), SendQueue::default()));
        }
        if self.stall_ms != 0 {
            let state = &mut *handle.channel.state();
            let deadline = handle.core.after_ms(self.stall_ms.into());
            state.write_deadline_ms = deadline.at_ms;
            state.write_asked = deadline.asked;
            handle.core.arm_channel(&handle.channel, state);
        }
        self.submitted = true;
        Poll::Pending
    }
}

/// A send of one chunk. Made by [`Stream::send_all`].
#[must_use = "what the socket does not take at once may not be sent unless awaited"]
pub struct SendAll<'a>(Sending<'a>);

enum Sending<'a> {
    /// It is sent, or the result was given.
    Done,
    Failed(io::Error),
    Submitted(&'a Stream),
}

impl Future for SendAll<'_> {
    type Output = io::Result<()>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Sending::Submitted(stream) = self.0 {
            let outcome = ready!(stream.handle.poll_write(cx));
            self.0 = Sending::Done;
            if let Some(queue) = outcome.queue {
                stream.handle.core.send_queues.take_back(queue);
            }
            return Poll::Ready(outcome.result);
        }
        match std::mem::replace(&mut self.0, Sending::Done) {
            Sending::Failed(error) => Poll::Ready(Err(error)),
            Sending::Done | Sending::Submitted(_) => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for SendAll<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Sending::Submitted(stream) = self.0 {
            stream.handle.cancel(Side::Write);
        }
    }
}

impl std::fmt::Debug for SendAll<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let is_done = !matches!(self.0, Sending::Submitted(_));
        f.debug_struct("SendAll")
            .field("is_done", &is_done)
            .finish()
    }
}

/// The result of a send, and the queue.
type Sent = (io::Result<()>, SendQueue);

impl Future for Send<'_> {
    type Output = Sent;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Sent> {
        if !self.submitted {
            let queue = self.queue.take().unwrap_or_default();
            return self.begin(queue, cx);
        }
        let outcome = ready!(self.stream.handle.poll_write(cx));
        self.submitted = false;
        Poll::Ready((outcome.result, outcome.queue.unwrap_or_default()))
    }
}

impl Drop for Send<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.stream.handle.cancel(Side::Write);
        }
    }
}

impl std::fmt::Debug for Send<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Send")
            .field("submitted", &self.submitted)
            .finish_non_exhaustive()
    }
}
