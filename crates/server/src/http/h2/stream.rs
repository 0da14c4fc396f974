//! A stream: both ways of a request, between whoever serves it and its connection.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use revolve_http::Trailers;
use revolve_http::h2::{Connection as Machine, HEAD_BYTES};
use revolve_reactor::Sleep;

use super::carrier;
use super::head;
use super::pool::Pooled;
use crate::file_cache::Content;
use crate::http::body::Piece;
use crate::http::request::Request;
use crate::http::request_body::Fault;
use crate::http::response::HeaderList;
use crate::http::sink::{self, Lost};

/// What a body that is made while it is sent may gather before it has to wait.
const STREAM_BYTES_MAX: u64 = 64 * 1024;

/// A whole body up to this size leaves with its head.
const AT_ONCE_BYTES_MAX: usize = 8 * 1024;

/// What may gather to leave with other heads at once.
const GATHER_BYTES_MAX: usize = 64 * 1024;

const TOO_LARGE: Fault = Fault {
    status: 413,
    message: "client intended to send too large body",
};
const TIMED_OUT: Fault = Fault {
    status: 408,
    message: "client timed out (110: Connection timed out)",
};
const GONE: Fault = Fault {
    status: 400,
    message: "client prematurely closed stream",
};

/// A connection that speaks HTTP/2.
pub(super) type Carrier = carrier::Carrier<Stream>;

impl Carrier {
    /// Our side of a stream has ended, by what leaves next.
    pub(super) fn end_stream(&self, machine: &mut Machine<Rc<Stream>>, id: u32) {
        if let Some(stream) = machine.finish(id) {
            self.note_leaving(stream);
        }
    }

    /// Something of a stream leaves next.
    pub(super) fn note_leaving(&self, stream: Rc<Stream>) {
        if stream.begin_leaving() {
            self.leaving.borrow_mut().push(stream);
        }
    }
}

/// One stream of a connection.
#[derive(Default)]
pub(super) struct Stream {
    carrier: Option<Rc<Carrier>>,
    id: u32,
    /// Whether its client asks for another protocol over it (RFC 8441).
    is_extended: Cell<bool>,
    incoming: RefCell<Incoming>,
    outgoing: RefCell<Outgoing>,
}

/// What its client sends.
#[derive(Default)]
struct Incoming {
    pieces: VecDeque<Bytes>,
    has_ended: bool,
    /// Fields behind the body.
    trailers: Option<Trailers>,
    is_unwanted: bool,
    received_bytes: u64,
    read_bytes: u64,
    bytes_max: u64,
    timeout: Option<Duration>,
    waiting: Option<Sleep>,
    fault: Option<Fault>,
    waker: Option<Waker>,
    /// Whether the client waits to be told that it may send.
    wants_continue: bool,
}

/// What its client is sent.
#[derive(Default)]
struct Outgoing {
    pieces: VecDeque<Piece>,
    bytes: u64,
    /// Whether nothing comes behind them.
    has_ended: bool,
    /// Whether all of that has been written to what leaves.
    is_written: bool,
    /// Whether something is in what leaves next.
    is_leaving: bool,
    trailers: Option<HeaderList>,
    /// Bytes that the head says the body has, where nothing else ends it.
    announced_bytes: Option<u64>,
    pushed_bytes: u64,
    sent_bytes: u64,
    /// Those of them that are not of the body.
    overhead_bytes: u64,
    /// When something of it left last.
    moved_at_ms: u64,
    send_timeout_ms: u64,
    /// The request, where its answer leaves by itself.
    request: Option<Box<Request>>,
    /// Why nobody takes it any more.
    gone: Option<io::ErrorKind>,
    flush_waker: Option<Waker>,
    left_waker: Option<Waker>,
}

impl Stream {
    /// A stream that has just begun.
    pub(super) fn new(carrier: &Rc<Carrier>, id: u32) -> Rc<Self> {
        let mut stream = carrier.pool.stream();
        match Rc::get_mut(&mut stream) {
            Some(own) => own.begin(carrier.clone(), id),
            None => unreachable!("nobody else has one that lies in the pool"),
        }
        stream
    }

    fn begin(&mut self, carrier: Rc<Carrier>, id: u32) {
        self.carrier = Some(carrier);
        self.id = id;
        self.is_extended.set(false);
        let incoming = self.incoming.get_mut();
        incoming.bytes_max = u64::MAX;
        self.outgoing.get_mut().moved_at_ms = revolve_reactor::now_ms();
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    pub(super) fn carrier(&self) -> &Rc<Carrier> {
        let carrier = self.carrier.as_ref();
        carrier.expect("a stream in the pool is not asked")
    }

    /// The client asks for another protocol over it.
    pub(super) fn note_extended(&self) {
        self.is_extended.set(true);
    }

    pub(super) fn is_extended(&self) -> bool {
        self.is_extended.get()
    }

    /// The body has ended with the head.
    pub(super) fn note_no_body(&self) {
        self.incoming.borrow_mut().has_ended = true;
    }

    /// The client waits to be told that it may send its body.
    pub(super) fn note_wants_continue(&self) {
        self.incoming.borrow_mut().wants_continue = true;
    }

    /// A part of the body has come.
    pub(super) fn receive(&self, bytes: &[u8], is_last: bool) {
        let waker = {
            let mut incoming = self.incoming.borrow_mut();
            incoming.has_ended |= is_last;
            incoming.received_bytes += bytes.len() as u64;
            if !bytes.is_empty() && !incoming.is_unwanted {
                incoming.pieces.push_back(Bytes::copy_from_slice(bytes));
            }
            incoming.waker.take()
        };
        wake(waker);
    }

    /// The body has ended with these.
    pub(super) fn receive_trailers(&self, trailers: Trailers) {
        self.incoming.borrow_mut().trailers = Some(trailers);
        self.receive(&[], true);
    }

    /// Nobody takes the stream any more: whoever waits hears it, and an answer that leaves by itself is the
    /// answer of this. With it comes whether somebody waits, and is about to end.
    pub(super) fn set_gone(&self, why: io::ErrorKind) -> (Option<Box<Request>>, bool) {
        let (wakers, request, pieces) = {
            let mut incoming = self.incoming.borrow_mut();
            let mut outgoing = self.outgoing.borrow_mut();
            if !incoming.has_ended {
                incoming.fault.get_or_insert(GONE);
            }
            outgoing.gone.get_or_insert(why);
            let wakers = [
                incoming.waker.take(),
                outgoing.flush_waker.take(),
                outgoing.left_waker.take(),
            ];
            let pieces = std::mem::take(&mut outgoing.pieces);
            (wakers, outgoing.request.take(), pieces)
        };
        drop(pieces);
        let is_waited_for = wakers.iter().any(Option::is_some);
        wakers.into_iter().for_each(wake);
        (request, is_waited_for)
    }

    /// Keeps the request until its last byte has left.
    pub(super) fn keep(&self, request: Box<Request>) {
        self.outgoing.borrow_mut().request = Some(request);
    }

    /// How long its client takes nothing, where that is longer than it may.
    pub(super) fn is_stalled(&self, now_ms: u64) -> bool {
        let outgoing = self.outgoing.borrow();
        let since = now_ms.saturating_sub(outgoing.moved_at_ms);
        outgoing.bytes > 0 && since >= outgoing.send_timeout_ms
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.outgoing.borrow().bytes > 0
    }

    /// Bytes that did not leave.
    pub(super) fn unsent_bytes(&self) -> u64 {
        self.outgoing.borrow().bytes
    }

    /// Counts what has come and left since this was last called.
    pub(super) fn count(&self, request: &mut Request) {
        let received = std::mem::take(&mut self.incoming.borrow_mut().received_bytes);
        request.current.length += received;
        let mut outgoing = self.outgoing.borrow_mut();
        request.response.sent_bytes += std::mem::take(&mut outgoing.sent_bytes);
        // Whatever is not of the body counts as the head's.
        request.response.head_bytes += std::mem::take(&mut outgoing.overhead_bytes);
    }

    /// Something of it is in what leaves next; the answer is whether nothing was yet.
    pub(super) fn begin_leaving(&self) -> bool {
        !std::mem::replace(&mut self.outgoing.borrow_mut().is_leaving, true)
    }

    /// What was to leave has. The answer is the request, where that was the last of its answer.
    pub(super) fn note_left(&self) -> Option<Box<Request>> {
        let (waker, request) = {
            let mut outgoing = self.outgoing.borrow_mut();
            outgoing.is_leaving = false;
            outgoing.moved_at_ms = revolve_reactor::now_ms();
            let request = match outgoing.is_written {
                true => outgoing.request.take(),
                false => None,
            };
            (outgoing.flush_waker.take(), request)
        };
        wake(waker);
        request
    }

    /// Takes so many bytes off what its client is sent, piece by piece.
    pub(super) fn take_pieces(&self, len: usize, mut take: impl FnMut(Piece)) {
        let outgoing = &mut *self.outgoing.borrow_mut();
        let mut left = len as u64;
        outgoing.bytes = outgoing.bytes.saturating_sub(left);
        while left > 0 {
            let Some(piece) = outgoing.pieces.front_mut() else {
                return;
            };
            let taken = match piece.len() > left {
                true => piece.split_to(left),
                false => match outgoing.pieces.pop_front() {
                    Some(piece) => piece,
                    None => return,
                },
            };
            left -= taken.len();
            if taken.len() > 0 {
                take(taken);
            }
        }
    }

    /// Counts bytes that are in what leaves next, and those of them that are of the body.
    pub(super) fn note_sent(&self, bytes: usize, of_body: usize) {
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.sent_bytes += bytes as u64;
        outgoing.overhead_bytes += (bytes - of_body) as u64;
    }

    /// All of the answer is in what leaves next.
    pub(super) fn note_written(&self) {
        self.outgoing.borrow_mut().is_written = true;
    }

    pub(super) fn take_trailers(&self) -> Option<HeaderList> {
        self.outgoing.borrow_mut().trailers.take()
    }

    pub(super) fn has_trailers(&self) -> bool {
        self.outgoing.borrow().trailers.is_some()
    }

    /// Whether the end of the answer was written or is about to be.
    pub(super) fn is_over(&self) -> bool {
        let outgoing = self.outgoing.borrow();
        outgoing.is_written || outgoing.gone.is_some()
    }

    fn is_gone(&self) -> bool {
        self.outgoing.borrow().gone.is_some()
    }

    /// Writes a small body at once; false where it has to wait for its turn.
    fn write_at_once(&self, request: &mut Request) -> bool {
        let carrier = self.carrier();
        let mut machine = carrier.machine.borrow_mut();
        let response = &request.response;
        let [piece] = &response.body[..] else {
            return false;
        };
        let chunk_bytes = request.settings().http2.chunk_bytes as usize;
        let bytes = match piece {
            Piece::Text { start, end } => &response.text[*start..*end],
            Piece::Bytes(bytes) => bytes,
            Piece::Buffer(buffer) => buffer,
            Piece::File { file, start, len } => match &file.content {
                Content::Bytes(bytes) => &bytes[*start as usize..(*start + *len) as usize],
                Content::Descriptor(_) => return false,
            },
        };
        let is_small = bytes.len() <= AT_ONCE_BYTES_MAX.min(chunk_bytes);
        if !is_small
            || response.expects_trailers
            || machine.out().len() > GATHER_BYTES_MAX
            || !machine.body(self.id, bytes)
        {
            return false;
        }
        self.note_sent(bytes.len() + HEAD_BYTES, bytes.len());
        self.note_written();
        carrier.end_stream(&mut machine, self.id);
        true
    }

    fn offer(&self, bytes: u64, is_last: bool) {
        let carrier = self.carrier();
        carrier.machine.borrow_mut().offer(self.id, bytes, is_last);
        carrier.wake();
    }
}

impl Pooled for Stream {
    fn release(&mut self) {
        self.carrier = None;
        let incoming = self.incoming.get_mut();
        incoming.pieces.clear();
        let pieces = std::mem::take(&mut incoming.pieces);
        *incoming = Incoming {
            pieces,
            ..Incoming::default()
        };
        let outgoing = self.outgoing.get_mut();
        outgoing.pieces.clear();
        let pieces = std::mem::take(&mut outgoing.pieces);
        *outgoing = Outgoing {
            pieces,
            ..Outgoing::default()
        };
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn note(waker: &mut Option<Waker>, cx: &Context<'_>) {
    if !waker
        .as_ref()
        .is_some_and(|known| known.will_wake(cx.waker()))
    {
        *waker = Some(cx.waker().clone());
    }
}

impl sink::Stream for Stream {
    fn head(&self, request: &mut Request) {
        request.response.keep_alive = Some(true);
        if self.is_gone() {
            return;
        }
        // To whom asked for another protocol success would mean that it is spoken from here on.
        let is_success = matches!(request.response.status, 200..300);
        if self.is_extended.get() && is_success && request.response.tunnel.is_none() {
            request.response.status = 501;
        }
        let response = &request.response;
        let is_bodiless = matches!(response.status, 204 | 304) || request.is_head();
        let is_made = response.source.is_some() || !response.filters.is_empty();
        let is_empty = !is_made && response.body_bytes() == 0 && !response.expects_trailers;
        let is_last = (is_bodiless || is_empty) && response.tunnel.is_none();
        self.outgoing.borrow_mut().send_timeout_ms = request.settings().output.send_timeout_ms;
        let carrier = self.carrier();
        let head_bytes = head::write(
            &mut carrier.machine.borrow_mut(),
            &mut carrier.heads.borrow_mut(),
            self.id,
            request,
            is_last,
        );
        self.note_sent(head_bytes, 0);
        let mut outgoing = self.outgoing.borrow_mut();
        outgoing.announced_bytes = match request.response.expects_trailers {
            true => None,
            false => request.response.content_length.map(|length| length.bytes),
        };
        if is_last {
            outgoing.has_ended = true;
            outgoing.is_written = true;
            drop(outgoing);
            carrier.end_stream(&mut carrier.machine.borrow_mut(), self.id);
        } else {
            drop(outgoing);
        }
        carrier.wake();
    }

    fn pieces(&self, request: &mut Request) {
        if self.is_over() {
            request.response.body.clear();
            return;
        }
        if self.write_at_once(request) {
            self.outgoing.borrow_mut().has_ended = true;
            request.response.body.clear();
            return;
        }
        let mut body = std::mem::take(&mut request.response.body);
        for piece in body.drain(..) {
            let piece = match piece {
                Piece::Text { start, end } => {
                    Piece::Bytes(Bytes::copy_from_slice(&request.response.text[start..end]))
                }
                other => other,
            };
            sink::Stream::push(self, piece);
        }
        request.response.body = body;
    }

    fn push(&self, piece: Piece) {
        let len = piece.len();
        if len == 0 || self.is_gone() {
            return;
        }
        let is_last = {
            let mut outgoing = self.outgoing.borrow_mut();
            if outgoing.bytes == 0 {
                outgoing.moved_at_ms = revolve_reactor::now_ms();
            }
            outgoing.bytes += len;
            outgoing.pushed_bytes += len;
            outgoing.pieces.push_back(piece);
            // The last frame says that it is, where that is known.
            outgoing.has_ended = outgoing.announced_bytes == Some(outgoing.pushed_bytes);
            outgoing.has_ended
        };
        self.offer(len, is_last);
    }

    fn end(&self, request: &mut Request) {
        let is_over = self.is_over() || self.outgoing.borrow().has_ended;
        if is_over || request.response.tunnel.is_some() {
            return;
        }
        if !request.response.trailers.is_empty() {
            let trailers = std::mem::take(&mut request.response.trailers);
            self.outgoing.borrow_mut().trailers = Some(trailers);
        }
        self.outgoing.borrow_mut().has_ended = true;
        self.offer(0, true);
    }

    fn has_room(&self) -> bool {
        self.outgoing.borrow().bytes < STREAM_BYTES_MAX
    }

    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        let outgoing = &mut *self.outgoing.borrow_mut();
        if let Some(why) = outgoing.gone {
            return Poll::Ready(Err(Lost {
                error: why.into(),
                left_bytes: outgoing.bytes,
            }));
        }
        let is_written = outgoing.bytes == 0 && (!outgoing.has_ended || outgoing.is_written);
        if is_written && !outgoing.is_leaving {
            return Poll::Ready(Ok(()));
        }
        note(&mut outgoing.flush_waker, cx);
        Poll::Pending
    }

    fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        let outgoing = &mut *self.outgoing.borrow_mut();
        if outgoing.gone.is_some() {
            return Poll::Ready(());
        }
        note(&mut outgoing.left_waker, cx);
        Poll::Pending
    }

    fn has_whole_body(&self) -> bool {
        let incoming = self.incoming.borrow();
        incoming.has_ended && incoming.pieces.is_empty()
    }

    fn poll_body(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let incoming = &mut *self.incoming.borrow_mut();
        if let Some(fault) = incoming.fault {
            return Poll::Ready(Some(Err(fault)));
        }
        let carrier = self.carrier();
        if let Some(bytes) = incoming.pieces.pop_front() {
            incoming.waiting = None;
            incoming.read_bytes += bytes.len() as u64;
            if incoming.read_bytes > incoming.bytes_max {
                incoming.fault = Some(TOO_LARGE);
                return Poll::Ready(Some(Err(TOO_LARGE)));
            }
            carrier
                .machine
                .borrow_mut()
                .note_taken(self.id, bytes.len());
            carrier.wake();
            return Poll::Ready(Some(Ok(bytes)));
        }
        if incoming.has_ended {
            return Poll::Ready(None);
        }
        if std::mem::take(&mut incoming.wants_continue) {
            if let Some(mut head) = carrier.machine.borrow_mut().head(self.id, false) {
                head.status(100);
                self.note_sent(head.finish(), 0);
            }
            carrier.wake();
        }
        note(&mut incoming.waker, cx);
        if let Some(timeout) = incoming.timeout {
            let waiting = incoming
                .waiting
                .get_or_insert_with(|| revolve_reactor::sleep(timeout));
            if Pin::new(waiting).poll(cx).is_ready() {
                incoming.fault = Some(TIMED_OUT);
                return Poll::Ready(Some(Err(TIMED_OUT)));
            }
        }
        Poll::Pending
    }

    fn body_trailers(&self) -> Option<Trailers> {
        self.incoming.borrow().trailers.clone()
    }

    fn set_body_limits(&self, request: &Request) {
        let client = &request.settings().client;
        let mut incoming = self.incoming.borrow_mut();
        incoming.timeout = Some(Duration::from_millis(client.body_timeout_ms));
        incoming.bytes_max = match client.body_bytes_max {
            0 => u64::MAX,
            bytes_max => bytes_max,
        };
    }

    fn discard_body(&self) {
        let mut incoming = self.incoming.borrow_mut();
        incoming.is_unwanted = true;
        incoming.pieces.clear();
    }
}
