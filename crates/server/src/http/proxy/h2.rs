//! Requests over HTTP/2: a stream of a connection that many requests share.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h2::HeadWriter;
use revolve_http::{HeaderId, ResponseHead};
use revolve_reactor::{Chunk, SendQueue, Sleep, sleep};

use super::body::Rate;
use super::exchange::{Carried, Failure, Received, What, hints};
use super::grpc_web::{Decoder, NoBase64, Web};
use super::request_head::{self, Fields};
use super::target::Resolved;
use super::tries::{AnsweredHead, Tries};
use super::written::Written;
use super::{is_idempotent, reach};
use crate::http::body::{Broken, Piece, Source};
use crate::http::modules::early_hints;
use crate::http::modules::passing::Protocol;
use crate::http::modules::proxy::HttpVersion;
use crate::http::request::Request;
use crate::http::request_body::{Fault, RequestBody};
use crate::http::response::HeaderList;
use crate::log::Level;
use crate::upstream::Peer;
use crate::upstream::h2::{
    self, Carrier, Half, Incoming, Limits, Rules, Stream, StreamError, Turn,
};
use crate::upstream::peer::InUse;

/// How often a request that a peer has not looked at is sent to it again over another stream.
const AGAIN_MAX: u32 = 2;

/// What is kept of a body that comes while it is sent, so that it can be sent again to another peer.
const REPLAY_BYTES_MAX: usize = 64 * 1024;

/// Whether a request is passed on over HTTP/2.
pub(super) fn is_spoken(request: &Request) -> bool {
    match request.state.proxy.protocol {
        Protocol::Http => request.settings().proxy.version == HttpVersion::Http2,
        Protocol::Grpc => true,
        _ => false,
    }
}

/// How a call came, where it is one of gRPC-Web and may be.
pub(super) fn web(request: &Request) -> Option<Web> {
    let is_on = request.state.proxy.protocol == Protocol::Grpc && request.settings().grpc.web;
    let accept = request.known(HeaderId::Accept).unwrap_or_default();
    Web::of(
        request.known(HeaderId::ContentType).filter(|_| is_on)?,
        accept,
    )
}

/// Whether fields behind a body are passed, in both directions.
pub(super) fn passes_trailers(request: &Request) -> bool {
    match request.state.proxy.protocol {
        Protocol::Http => request.settings().proxy.pass_trailers,
        // The status of a call is among them.
        Protocol::Grpc => true,
        _ => false,
    }
}

/// Asks one peer: over a connection that there is, or over a new one where none takes another stream.
pub(super) async fn ask(
    request: &mut Request,
    resolved: &Resolved,
    written: &Written,
    peer: &Peer,
) -> Result<Received, Failure> {
    let in_use = Rc::new(peer.begin());
    let mut again = 0;
    loop {
        let stream = begin(request, resolved, written, peer).await?;
        let may_repeat = again < AGAIN_MAX;
        let exchange = Exchange::new(request, written, stream, in_use.clone());
        match exchange.run(request, resolved, written, may_repeat).await {
            // It was not looked at: as if the connection had not been there.
            Err(failure) if failure.was_stale => again += 1,
            result => return result,
        }
    }
}

/// Begins a stream.
async fn begin(
    request: &mut Request,
    resolved: &Resolved,
    written: &Written,
    peer: &Peer,
) -> Result<Stream, Failure> {
    let carriers = &peer.state.carriers;
    let identity = resolved.secure.as_ref().map(|it| &it.identity);
    let began_at = revolve_reactor::now();
    loop {
        if let Some(carrier) = carriers.with_room(identity)
            && let Some(stream) = open(&carrier, request, written)
        {
            return Ok(stream);
        }
        match carriers.turn(identity) {
            Turn::Wait(dial) => {
                if let Some((what, is_late)) = dial.ended().await {
                    request.log(Level::Error, format_args!("{what}"));
                    return Err(Failure::new(match is_late {
                        true => What::Timeout,
                        false => What::Error,
                    }));
                }
                request.state.proxy.tries.note_connected(began_at);
            }
            Turn::Dial(dialing) => match reach(request, resolved, peer).await {
                Ok(transport) => {
                    let limits = Limits {
                        kept: resolved.group.spec.kept,
                        send_timeout: Duration::from_millis(request.passing().send_timeout_ms),
                    };
                    let carrier = h2::start(transport, identity.cloned(), limits, carriers);
                    if let Some(stream) = open(&carrier, request, written) {
                        return Ok(stream);
                    }
                    let closed = "upstream prematurely closed connection";
                    request.log(
                        Level::Error,
                        format_args!("{closed} while sending request to upstream"),
                    );
                    return Err(Failure::new(What::Error));
                }
                Err((what, message)) => {
                    request.log(Level::Error, format_args!("{message}"));
                    dialing.fail(message, what == What::Timeout);
                    return Err(Failure::new(what));
                }
            },
        }
    }
}

fn open(carrier: &Rc<Carrier>, request: &Request, written: &Written) -> Option<Stream> {
    let fields = written.fields.as_ref();
    let fields = fields.expect("what is sent over HTTP/2 was written as its fields");
    let rules = Rules {
        method: request_head::method(request),
        head_bytes_max: request.passing().head_bytes_max as usize,
    };
    Stream::open(carrier, rules, !has_body(request, written), |head| {
        write(head, fields);
    })
}

fn write(head: &mut HeadWriter<'_>, fields: &Fields) {
    head.pseudo(b":method", &fields.method);
    head.pseudo(b":scheme", fields.scheme.as_bytes());
    head.pseudo(b":authority", &fields.authority);
    head.pseudo(b":path", &fields.path);
    for (name, value) in fields.lines.iter() {
        head.field(name, value);
    }
}

/// Whether something follows the head.
fn has_body(request: &Request, written: &Written) -> bool {
    match (&written.own_body, &request.body) {
        (Some(own), _) => !own.is_empty(),
        (None, RequestBody::Kept(kept)) => written.has_body && kept.whole().len > 0,
        (None, RequestBody::None) => false,
        (None, _) => written.has_body,
    }
}

const NO_BASE64: Fault = Fault {
    status: 400,
    message: "client sent invalid base64 in a call of gRPC-Web",
};

/// What has been sent of a body that comes while it is sent.
#[derive(Default)]
pub(super) struct Replay {
    pieces: RefCell<Vec<Bytes>>,
    bytes: Cell<usize>,
    is_lost: Cell<bool>,
}

impl Replay {
    /// Whether all that was taken of the body is still there.
    pub(super) fn is_whole(&self) -> bool {
        !self.is_lost.get()
    }

    /// Something was taken that nobody keeps, or is to keep any more.
    pub(super) fn lose(&self) {
        self.is_lost.set(true);
        self.pieces.borrow_mut().clear();
    }

    fn keep(&self, bytes: &Bytes) {
        if self.is_lost.get() {
            return;
        }
        self.bytes.set(self.bytes.get() + bytes.len());
        match self.bytes.get() > REPLAY_BYTES_MAX {
            true => self.lose(),
            false => self.pieces.borrow_mut().push(bytes.clone()),
        }
    }
}

/// Why a body does not get to its end.
enum UploadError {
    Client(Fault),
    /// The peer takes nothing any more.
    Stalled,
}

/// The body of a request on its way.
pub(super) struct Upload {
    own: Option<Bytes>,
    body: RequestBody,
    replay: Rc<Replay>,
    /// How much of what is kept has been sent again.
    replayed: usize,
    /// Makes what the client sends what the server takes.
    decoder: Option<Decoder>,
    sender: Half,
    /// Whether fields behind it are passed.
    passes_trailers: bool,
    has_ended: bool,
    timeout: Duration,
    /// Waits for something to leave, with how much had when that began.
    stalled: Option<(Sleep, u64)>,
}

impl Upload {
    fn new(request: &Request, written: &Written, sender: Half) -> Self {
        let body = match (
            &request.body,
            written.has_body && written.own_body.is_none(),
        ) {
            (_, false) => RequestBody::None,
            (RequestBody::Kept(kept), true) => RequestBody::Kept(kept.rewound()),
            (body, true) => body.share(),
        };
        body.set_limits(request);
        Self {
            own: written.own_body.clone(),
            body,
            replay: written.replay.clone(),
            replayed: 0,
            decoder: web(request).and_then(|web| web.decoder()),
            sender,
            passes_trailers: passes_trailers(request),
            has_ended: false,
            timeout: Duration::from_millis(request.passing().send_timeout_ms),
            stalled: None,
        }
    }

    /// Whether the client sends it over a stream, so that it may be read whoever reads beside.
    fn is_of_stream(&self) -> bool {
        matches!(self.body, RequestBody::Stream(_))
    }

    /// Sends it; ready when all has left, or nobody wants it any more.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), UploadError>> {
        loop {
            if self.sender.is_over() {
                return Poll::Ready(Ok(()));
            }
            if self.has_ended || !self.sender.has_room() {
                return self.poll_stalled(cx).map(|()| Err(UploadError::Stalled));
            }
            self.stalled = None;
            self.sender.note_waiting(cx);
            match ready!(self.poll_decoded(cx)) {
                Some(Ok(bytes)) => self.sender.push(bytes),
                Some(Err(fault)) => return Poll::Ready(Err(UploadError::Client(fault))),
                None => {
                    self.has_ended = true;
                    let trailers = self.body.trailers().filter(|_| self.passes_trailers);
                    self.sender.end(trailers);
                }
            }
        }
    }

    /// The next bytes as the server takes them.
    fn poll_decoded(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        let next = ready!(self.poll_bytes(cx));
        let Some(decoder) = &mut self.decoder else {
            return Poll::Ready(next);
        };
        Poll::Ready(match next {
            Some(Ok(text)) => Some(decoder.feed(&text).map_err(|NoBase64| NO_BASE64)),
            None if !decoder.is_whole() => Some(Err(NO_BASE64)),
            other => other,
        })
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        if let Some(own) = self.own.take() {
            return Poll::Ready(Some(Ok(own)));
        }
        if let Some(bytes) = self.replay.pieces.borrow().get(self.replayed) {
            self.replayed += 1;
            return Poll::Ready(Some(Ok(bytes.clone())));
        }
        let next = ready!(self.body.poll_next(cx));
        if let Some(Ok(bytes)) = &next
            && self.body.is_streamed()
        {
            self.replay.keep(bytes);
            self.replayed += 1;
        }
        Poll::Ready(next)
    }

    /// Ready when nothing has left for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sender.note_waiting(cx);
        loop {
            let sent = self.sender.sent_bytes();
            let (waiting, before) = self
                .stalled
                .get_or_insert_with(|| (sleep(self.timeout), sent));
            ready!(Pin::new(waiting).poll(cx));
            if *before == sent {
                return Poll::Ready(());
            }
            self.stalled = None;
        }
    }
}

/// One request and one answer on one stream.
struct Exchange {
    stream: Stream,
    upload: Option<Upload>,
    read_timeout: Duration,
    in_use: Rc<InUse>,
}

/// Why there is no head.
enum Missing {
    Client(Fault),
    Stalled,
    TimedOut,
    Stream(StreamError),
    /// The stream has ended without one.
    Head,
}

impl Exchange {
    fn new(request: &Request, written: &Written, stream: Stream, in_use: Rc<InUse>) -> Self {
        let upload = has_body(request, written);
        let upload = upload.then(|| Upload::new(request, written, stream.sender()));
        Self {
            stream,
            upload,
            read_timeout: Duration::from_millis(request.passing().read_timeout_ms),
            in_use,
        }
    }

    async fn run(
        mut self,
        request: &mut Request,
        resolved: &Resolved,
        written: &Written,
        may_repeat: bool,
    ) -> Result<Received, Failure> {
        let hinted = early_hints::are_wanted(request).then(|| request.connection.share());
        let read = loop {
            match self.head().await {
                Ok((head, bytes)) if head.is_interim() => {
                    if let Some(client) = hinted.as_ref().filter(|_| head.status == 103) {
                        let hints = SendQueue::from(Chunk::Bytes(hints(&head, &bytes).into()));
                        let within = self.read_timeout;
                        // A client that takes nothing any more is found out by what follows.
                        let _ = client.stream.send(hints, within).await;
                    }
                }
                other => break other,
            }
        };
        let tries = &request.state.proxy.tries;
        let noted_bytes = self.stream.sender().sent_bytes();
        tries.note_sent(noted_bytes);
        match read {
            Ok((head, bytes)) => {
                tries.note_received(self.stream.take_received_bytes());
                Ok(Received {
                    answered: Rc::new(AnsweredHead { head, bytes }),
                    carried: Carried::Stream(Answer {
                        stream: self.stream,
                        upload: self.upload,
                        noted_bytes,
                        _in_use: self.in_use,
                    }),
                })
            }
            Err(missing) => {
                let may_repeat =
                    may_repeat && self.may_repeat(request, resolved, written, &missing);
                Err(failed(request, missing, may_repeat))
            }
        }
    }

    /// The next head. The time for it counts from when the peer has all of the request.
    async fn head(&mut self) -> Result<(ResponseHead, Vec<u8>), Missing> {
        let Self {
            stream,
            upload,
            read_timeout,
            ..
        } = self;
        let mut waiting: Option<Sleep> = None;
        poll_fn(|cx| {
            if let Some(sending) = upload {
                match sending.poll(cx) {
                    Poll::Pending => {}
                    Poll::Ready(Ok(())) => *upload = None,
                    Poll::Ready(Err(UploadError::Client(fault))) => {
                        return Poll::Ready(Err(Missing::Client(fault)));
                    }
                    Poll::Ready(Err(UploadError::Stalled)) => {
                        return Poll::Ready(Err(Missing::Stalled));
                    }
                }
            }
            match stream.poll_next(cx) {
                Poll::Ready(Ok(Incoming::Head(head))) => {
                    return Poll::Ready(Ok(*head));
                }
                Poll::Ready(Ok(_)) => return Poll::Ready(Err(Missing::Head)),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Missing::Stream(error))),
                Poll::Pending => {}
            }
            if upload.is_some() {
                return Poll::Pending;
            }
            let waiting = waiting.get_or_insert_with(|| sleep(*read_timeout));
            Pin::new(waiting).poll(cx).map(|()| Err(Missing::TimedOut))
        })
        .await
    }

    /// Whether the same peer is asked again at once, as if this stream had not been begun.
    fn may_repeat(
        &self,
        request: &Request,
        resolved: &Resolved,
        written: &Written,
        missing: &Missing,
    ) -> bool {
        let is_replayable = !request.body.is_streamed() || written.replay.is_whole();
        if !is_replayable {
            return false;
        }
        match missing {
            Missing::Stream(StreamError::Unprocessed { is_closing }) => {
                // Another may be less busy, but for a peer that could not say yet how many it takes.
                *is_closing || !self.stream.knew_settings() || resolved.group.peers.len() == 1
            }
            Missing::Stream(StreamError::Closed | StreamError::Broken(_)) => {
                let is_silent = self.stream.received_bytes() == 0;
                self.stream.is_reused() && is_silent && is_idempotent(request)
            }
            _ => false,
        }
    }
}

fn failed(request: &mut Request, missing: Missing, may_repeat: bool) -> Failure {
    let reading = "while reading response header from upstream";
    let timed_out = "upstream timed out (110: Connection timed out)";
    let is_unprocessed = matches!(&missing, Missing::Stream(StreamError::Unprocessed { .. }));
    if may_repeat {
        return Failure {
            was_stale: true,
            ..Failure::new(What::Error)
        };
    }
    let what = match missing {
        Missing::Client(fault) => {
            request.current.must_close = true;
            request.log(Level::Info, format_args!("{}", fault.message));
            What::Client(fault.status)
        }
        Missing::Stalled => {
            let sending = "while sending request to upstream";
            request.log(Level::Error, format_args!("{timed_out} {sending}"));
            What::Timeout
        }
        Missing::TimedOut => {
            request.log(Level::Error, format_args!("{timed_out} {reading}"));
            What::Timeout
        }
        Missing::Head => {
            let message = format_args!("upstream prematurely closed stream {reading}");
            request.log(Level::Error, message);
            What::Error
        }
        Missing::Stream(error) => {
            let directives = request.state.proxy.protocol.name();
            let advice = match &error {
                StreamError::Fault(what) if what.contains("too big") => {
                    format!(" ({directives}_buffer_size bounds it)")
                }
                _ => String::new(),
            };
            request.log(Level::Error, format_args!("{error}{advice} {reading}"));
            match error {
                StreamError::Fault(_) | StreamError::Rejected(_) => What::InvalidHeader,
                StreamError::Stalled => What::Timeout,
                _ => What::Error,
            }
        }
    };
    Failure {
        was_sent: !is_unprocessed,
        ..Failure::new(what)
    }
}

/// What carries an answer whose head has come.
pub(super) struct Answer {
    stream: Stream,
    upload: Option<Upload>,
    /// Bytes sent that have been told of.
    noted_bytes: u64,
    _in_use: Rc<InUse>,
}

/// The body of an answer, read no faster than it is asked for.
pub(super) struct StreamBody {
    /// Nothing once it has ended.
    answer: Option<Answer>,
    read_timeout: Duration,
    waiting: Option<Sleep>,
    tries: Tries,
    rate: Rate,
    /// Where fields behind the body go.
    trailers: Option<Rc<RefCell<HeaderList>>>,
}

impl StreamBody {
    pub(super) fn new(
        mut answer: Answer,
        read_timeout: Duration,
        rate: Rate,
        tries: Tries,
        trailers: Option<Rc<RefCell<HeaderList>>>,
    ) -> Self {
        // A client that takes no answer for a while may still send.
        if let Some(upload) = answer.upload.take_if(|it| it.is_of_stream()) {
            revolve_reactor::spawn(go_on(upload));
        }
        Self {
            answer: Some(answer),
            read_timeout,
            waiting: None,
            tries,
            rate,
            trailers,
        }
    }

    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(None);
        };
        if let Some(upload) = &mut answer.upload
            && let Poll::Ready(sent) = upload.poll(cx)
        {
            answer.upload = None;
            match sent {
                Ok(()) => {}
                Err(UploadError::Client(fault)) => {
                    return Poll::Ready(Some(Err(Broken::because(fault.message))));
                }
                Err(UploadError::Stalled) => {
                    let error = StreamError::Stalled;
                    let why = format!("{error} while sending request to upstream");
                    return Poll::Ready(Some(Err(Broken::because(why))));
                }
            }
        }
        loop {
            let next = match answer.stream.poll_next(cx) {
                Poll::Ready(next) => next,
                Poll::Pending => {
                    let timeout = self.read_timeout;
                    let waiting = self.waiting.get_or_insert_with(|| sleep(timeout));
                    ready!(Pin::new(waiting).poll(cx));
                    Err(StreamError::Stalled)
                }
            };
            self.waiting = None;
            let received = answer.stream.take_received_bytes();
            self.tries.note_received(received);
            self.rate.note(received);
            match next {
                Ok(Incoming::Data(bytes)) => {
                    self.tries.note_body(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(Piece::Bytes(bytes))));
                }
                Ok(Incoming::Trailers(trailers)) => {
                    if let Some(list) = &self.trailers {
                        list.borrow_mut().push_trailers(&trailers);
                    }
                }
                Ok(Incoming::Head(_)) => {}
                Ok(Incoming::End) => {
                    let sent = answer.stream.sender().sent_bytes();
                    self.tries
                        .note_sent(sent.saturating_sub(answer.noted_bytes));
                    self.tries.note_end();
                    self.answer = None;
                    return Poll::Ready(None);
                }
                Err(error) => {
                    let why = error.to_string();
                    return Poll::Ready(Some(Err(Broken::while_reading(&why))));
                }
            }
        }
    }
}

impl Source for StreamBody {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        ready!(self.rate.poll(cx));
        self.poll_stream(cx)
    }
}

/// Sends a body beside the answer.
async fn go_on(mut upload: Upload) {
    let error = match poll_fn(|cx| upload.poll(cx)).await {
        Ok(()) => return,
        Err(UploadError::Stalled) => StreamError::Stalled,
        Err(UploadError::Client(fault)) => StreamError::Client(fault.message),
    };
    upload.sender.fail(error);
}
