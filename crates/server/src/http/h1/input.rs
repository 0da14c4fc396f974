//! The body of a request as it comes on a connection.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h1::{ChunkedDecoder, Decoded};
use revolve_http::{Framing, Trailers};
use revolve_reactor::{Buffer, Receiving, SendQueue, sleep};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::http::modules::keepalive::KeepaliveSettings;
use crate::http::request::Request;
use crate::http::request_body::{Fault, RequestBody};
use crate::log::Level;
use crate::net::Transport;
use crate::runtime::connection::Connection;

/// Where bytes lie unread before a client's end, that is looked for so often.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How much of a body is behind us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Drained {
    /// All of it, or there was none.
    Whole,
    /// Some is still to come.
    Partly,
}

/// What of a body is still to be read.
#[derive(Debug)]
enum BodyLeft {
    Nothing,
    Bytes(u64),
    Chunks(Box<ChunkedDecoder>),
}

/// What the input has next.
enum Next {
    /// So many bytes from the front of the buffer are of the body; the first so many before them are not.
    Data {
        skipped: usize,
        len: usize,
    },
    More,
    End,
}

/// A request's body on its connection. The request has it, and so may whoever streams the body; the
/// connection takes back what follows it.
pub(crate) struct Input {
    connection: Rc<Connection>,
    reading: RefCell<Reading>,
    /// Bytes that have come, with those of the framing.
    received_bytes: Cell<u64>,
    continue_wanted: Cell<bool>,
}

struct Reading {
    buffer: Buffer,
    left: BodyLeft,
    trailers: Option<Trailers>,
    receiving: Receiving,
    body_bytes: u64,
    body_bytes_max: u64,
    timeout: Option<Duration>,
    fault: Option<Fault>,
    telling: Option<Telling>,
}

/// Sends what a client is told that waits with its body. Some drivers send with the turn, and a socket may be full.
type Telling = Pin<Box<dyn Future<Output = std::io::Result<()>>>>;

const INVALID: Fault = Fault {
    status: 400,
    message: "client sent invalid chunked body",
};
const TOO_LARGE: Fault = Fault {
    status: 413,
    message: "client intended to send too large chunked body",
};
const TIMED_OUT: Fault = Fault {
    status: 408,
    message: "client timed out (110: Connection timed out)",
};
const GONE: Fault = Fault {
    status: 400,
    message: "client prematurely closed connection",
};

impl Input {
    /// The body of a request, of which what follows the head lies in `buffer`; nothing for a request
    /// without one, which leaves the buffer as it is.
    pub(super) fn of(request: &Request, buffer: &mut Buffer) -> Option<Rc<Self>> {
        let left = match request.framing() {
            Framing::None | Framing::Length(0) => return None,
            Framing::Length(length) => BodyLeft::Bytes(length),
            Framing::Chunked => BodyLeft::Chunks(Box::new(ChunkedDecoder::with_trailers())),
        };
        Some(Rc::new(Self {
            connection: request.connection.share(),
            reading: RefCell::new(Reading {
                buffer: std::mem::take(buffer),
                left,
                trailers: None,
                receiving: Receiving::default(),
                body_bytes: 0,
                body_bytes_max: u64::MAX,
                timeout: None,
                fault: None,
                telling: None,
            }),
            received_bytes: Cell::new(0),
            continue_wanted: Cell::new(request.head().expect_continue),
        }))
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.reading.borrow().left, BodyLeft::Nothing)
    }

    /// Lines behind the body, once it has ended.
    pub(crate) fn trailers(&self) -> Option<Trailers> {
        self.reading.borrow().trailers.clone()
    }

    /// Bytes that have come since this was asked for last, with those of the framing.
    pub(super) fn take_received_bytes(&self) -> u64 {
        self.received_bytes.take()
    }

    /// Whoever reads is bound by the settings of the place where the request stands.
    pub(crate) fn set_limits(&self, request: &Request) {
        let client = &request.settings().client;
        let mut reading = self.reading.borrow_mut();
        reading.timeout = Some(Duration::from_millis(client.body_timeout_ms));
        reading.body_bytes_max = match client.body_bytes_max {
            0 => u64::MAX,
            bytes_max => bytes_max,
        };
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let reading = &mut *self.reading.borrow_mut();
        if let Some(fault) = reading.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        let fail = |reading: &mut Reading, fault| {
            reading.fault = Some(fault);
            Poll::Ready(Some(Err(fault)))
        };
        loop {
            match self.next(reading) {
                Ok(Next::Data { skipped, len }) => {
                    let data = Bytes::copy_from_slice(&reading.buffer[skipped..skipped + len]);
                    reading.buffer.advance(skipped + len);
                    reading.body_bytes += len as u64;
                    if reading.body_bytes > reading.body_bytes_max {
                        return fail(reading, TOO_LARGE);
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Ok(Next::End) => return Poll::Ready(None),
                Ok(Next::More) => {}
                Err(fault) => return fail(reading, fault),
            }
            if self.continue_wanted.take() {
                // The answers before this one have left: nobody waits for a body before they have.
                reading.telling = Some(self.tell(reading.timeout));
            }
            match poll_told(&mut reading.telling, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return fail(reading, TIMED_OUT);
                }
                Poll::Ready(Err(_)) => return fail(reading, GONE),
            }
            let stream = &self.connection.stream;
            match stream.poll_recv(&mut reading.receiving, reading.timeout, cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(received)) if !received.is_empty() => reading.buffer = received,
                Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::TimedOut => {
                    return fail(reading, TIMED_OUT);
                }
                Poll::Ready(_) => return fail(reading, GONE),
            }
        }
    }

    fn tell(&self, stall_max: Option<Duration>) -> Telling {
        let connection = self.connection.clone();
        Box::pin(async move {
            let stall_max = stall_max.unwrap_or(Duration::MAX);
            let queue = SendQueue::from(CONTINUE);
            connection.stream.send(queue, stall_max).await.0
        })
    }

    /// Ends once no word to the client is under way, so that an answer may be sent.
    pub(super) async fn told(&self) {
        // What is wrong with the connection, the answer meets too.
        let _ = poll_fn(|cx| poll_told(&mut self.reading.borrow_mut().telling, cx)).await;
    }

    /// What lies in the buffer next. What is not of the body itself is taken off it.
    fn next(&self, reading: &mut Reading) -> Result<Next, Fault> {
        let before = reading.buffer.len();
        let next = match &mut reading.left {
            BodyLeft::Nothing => return Ok(Next::End),
            BodyLeft::Bytes(left) => {
                let len = (before as u64).min(*left) as usize;
                *left -= len as u64;
                self.note_received(len);
                if *left == 0 {
                    reading.left = BodyLeft::Nothing;
                }
                match len {
                    0 => Next::More,
                    len => Next::Data { skipped: 0, len },
                }
            }
            BodyLeft::Chunks(decoder) => match decoder.decode(&reading.buffer) {
                Ok(Decoded::Data {
                    start,
                    end,
                    consumed,
                }) => {
                    self.note_received(consumed);
                    Next::Data {
                        skipped: start,
                        len: end - start,
                    }
                }
                Ok(Decoded::NeedMore { consumed }) => {
                    self.note_received(consumed);
                    reading.buffer.advance(consumed);
                    Next::More
                }
                Ok(Decoded::Done { consumed }) => {
                    self.note_received(consumed);
                    reading.buffer.advance(consumed);
                    reading.trailers = decoder.trailers().filter(|it| !it.is_empty()).cloned();
                    reading.left = BodyLeft::Nothing;
                    Next::End
                }
                Err(_) => return Err(INVALID),
            },
        };
        Ok(next)
    }

    fn note_received(&self, bytes: usize) {
        let before = self.received_bytes.get();
        self.received_bytes.set(before + bytes as u64);
    }

    /// Drops what has come, for a content that does not want it.
    pub(crate) fn discard(&self, request: &mut Request) -> Result<(), u16> {
        match self.drain_buffered(request) {
            Ok(_) => Ok(()),
            Err(fault) => Err(fault.status),
        }
    }

    /// Drops what of the body has come in already.
    pub(super) fn drain_buffered(&self, request: &mut Request) -> Result<Drained, Fault> {
        let reading = &mut *self.reading.borrow_mut();
        if let Some(fault) = reading.fault {
            return Err(fault);
        }
        let drained = self.drop_buffered(reading);
        request.current.length += self.take_received_bytes();
        drained.inspect_err(|fault| {
            reading.fault = Some(*fault);
            request.log(Level::Error, format_args!("{}", fault.message));
            request.current.must_close = true;
        })
    }

    fn drop_buffered(&self, reading: &mut Reading) -> Result<Drained, Fault> {
        loop {
            match self.next(reading)? {
                Next::Data { skipped, len } => reading.buffer.advance(skipped + len),
                Next::End => return Ok(Drained::Whole),
                Next::More => return Ok(Drained::Partly),
            }
        }
    }

    /// Reads past the rest of the body, within `lingering_time`; false where it does not come.
    pub(super) async fn drain(&self, request: &mut Request) -> bool {
        let settings = &request.settings().keepalive;
        let pause = Duration::from_millis(settings.lingering_timeout_ms);
        let end = revolve_reactor::now() + Duration::from_millis(settings.lingering_time_ms);
        self.cancel_recv();
        loop {
            let deadline = end.min(revolve_reactor::now() + pause);
            match self.connection.stream.recv().deadline(deadline).await {
                Ok(received) if !received.is_empty() => {
                    self.reading.borrow_mut().buffer = received;
                }
                _ => return false,
            }
            match self.drain_buffered(request) {
                Ok(Drained::Whole) => return true,
                Ok(_) if revolve_reactor::now() < end => {}
                _ => return false,
            }
        }
    }

    /// Ends the reading; what follows the body is the answer.
    pub(super) fn finish(&self) -> Buffer {
        self.cancel_recv();
        std::mem::take(&mut self.reading.borrow_mut().buffer)
    }

    /// Gives up the receive that whoever read the body has left behind. It loses nothing.
    fn cancel_recv(&self) {
        let mut reading = self.reading.borrow_mut();
        self.connection.stream.cancel_recv(&mut reading.receiving);
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        let stream = &self.connection.stream;
        stream.cancel_recv(&mut self.reading.get_mut().receiving);
    }
}

fn poll_told(telling: &mut Option<Telling>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
    let Some(under_way) = telling else {
        return Poll::Ready(Ok(()));
    };
    let result = ready!(under_way.as_mut().poll(cx));
    *telling = None;
    Poll::Ready(result)
}

/// What a client is told that waits with its body.
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Waits until the client closes, for as long as nobody reads its body. What it sends is left where it
/// is: it is read in its turn.
///
/// Source: nginx's `ngx_http_test_reading`, which takes a client that closed its side alone for one
/// that has left, too.
pub(crate) async fn left(connection: &Connection, body: &RequestBody) {
    poll_fn(|_| match body.is_whole() {
        true => Poll::Ready(()),
        // Whoever reads the body hears of it; it is asked again when that one goes on.
        false => Poll::Pending,
    })
    .await;
    let stream = &connection.stream;
    while stream.readable().await.is_ok() && !is_closed(stream) {
        sleep(LOOK_AGAIN).await;
    }
}

fn is_closed(stream: &Transport) -> bool {
    if stream.is_peer_closed() {
        return true;
    }
    // Not every driver tells the end of the stream from something to read (`select` does not): with
    // those it is seen here, unless unread bytes lie before it.
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(stream, &mut [0; 1], flags) {
        Ok((_, count)) => count == 0,
        // What is in memory alone is no socket, and its driver tells the end.
        Err(Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::NOTSOCK) => false,
        Err(_) => true,
    }
}

/// Says that nothing more will be sent and reads what the client still sends, until it closes,
/// pauses for `lingering_timeout`, or `lingering_time` has passed.
pub(crate) async fn linger(stream: &Transport, settings: &KeepaliveSettings) {
    if stream.shutdown_write().is_err() {
        return;
    }
    let end = revolve_reactor::now() + Duration::from_millis(settings.lingering_time_ms);
    loop {
        let pause = Duration::from_millis(settings.lingering_timeout_ms);
        let deadline = end.min(revolve_reactor::now() + pause);
        match stream.recv().deadline(deadline).await {
            Ok(received) if !received.is_empty() && revolve_reactor::now() < end => {}
            _ => return,
        }
    }
}
