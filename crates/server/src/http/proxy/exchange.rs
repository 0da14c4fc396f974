//! One request and one answer on one connection to a peer.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use revolve_http::h1::{
    ResponseError, ResponseLimits, ResponseParser, ResponseProgress, StatusLine, writer,
};
use revolve_http::{Method, ResponseFraming, ResponseHead, Trailers};
use revolve_reactor::{Buffer, Chunk, SendQueue};

use super::answer;
use super::fastcgi::{self, Records};
use super::h2;
use super::lease::Lease;
use super::memcached::Found;
use super::request_head::{self, BodyForm};
use super::target::Resolved;
use super::tries::AnsweredHead;
use super::unwrap::Unwrap;
use super::written::Written;
use crate::http::modules::early_hints;
use crate::http::modules::passing::{Protocol, next};
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::log::{Level, Shown};
use crate::net::Transport;
use crate::runtime::connection::Connection as Session;
use crate::upstream::Peer;
use crate::upstream::peer::InUse;
use crate::upstream::pool::Connection;

/// What of a request is sent at once, at most.
const SEND_BYTES_MAX: u64 = 64 * 1024;

/// What went wrong with a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// It could not be reached, or broke off.
    Error,
    /// It took too long.
    Timeout,
    /// Its answer is no HTTP.
    InvalidHeader,
    /// It answered with a status that another is to be asked for: which, and the bit of it.
    Status(u16, u32),
    /// The client's own body failed: nobody else need be asked.
    Client(u16),
}

/// A try that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(super) what: What,
    /// Whether any byte of the request may have been read.
    pub(super) was_sent: bool,
    /// Whether a kept connection turned out to be closed before a byte came.
    pub(super) was_stale: bool,
}

impl Failure {
    pub(super) fn new(what: What) -> Self {
        Self {
            what,
            was_sent: false,
            was_stale: false,
        }
    }

    /// Nobody was there to be asked.
    pub(super) fn of_nobody() -> Self {
        Self::new(What::Error)
    }

    pub(super) fn of_status(bit: u32, status: u16) -> Self {
        Self {
            was_sent: true,
            ..Self::new(What::Status(status, bit))
        }
    }

    fn sent(what: What) -> Self {
        Self {
            was_sent: true,
            ..Self::new(what)
        }
    }

    /// What the client is told if nobody else answers.
    pub(crate) fn status(&self) -> u16 {
        match self.what {
            What::Error | What::InvalidHeader => 502,
            What::Timeout => 504,
            What::Status(status, _) | What::Client(status) => status,
        }
    }

    /// Its bit of `proxy_next_upstream`.
    pub(crate) fn bit(&self) -> u32 {
        match self.what {
            What::Error => next::ERROR,
            What::Timeout => next::TIMEOUT,
            What::InvalidHeader => next::INVALID_HEADER,
            What::Status(_, bit) => bit,
            What::Client(_) => next::OFF,
        }
    }
}

/// The head of an answer, and the connection that its body comes on.
pub(crate) struct Received {
    pub(crate) answered: Rc<AnsweredHead>,
    pub(super) carried: Carried,
}

/// What the body of an answer comes on.
pub(super) enum Carried {
    /// A connection of its own.
    Connection {
        /// What of the body has come with the head.
        rest: Bytes,
        /// What takes the rest of it out of the records that it comes in.
        unwrap: Option<Unwrap>,
        lease: Lease,
        /// Whether the whole request has been sent: a connection in the midst of one is not kept.
        was_all_sent: bool,
    },
    /// A stream of a connection that others share.
    Stream(h2::Answer),
}

impl Carried {
    /// Whether the whole request has been sent.
    pub(super) fn was_all_sent(&self) -> bool {
        match self {
            Carried::Connection { was_all_sent, .. } => *was_all_sent,
            Carried::Stream(_) => true,
        }
    }

    /// Lets go of it without reading. A connection that `keeps` may serve again, where nothing follows.
    pub(super) fn let_go(self, keeps: bool, idle_max: Option<Duration>) {
        if let Carried::Connection {
            rest,
            unwrap,
            lease,
            ..
        } = self
            && keeps
            && rest.is_empty()
            && unwrap.as_ref().is_none_or(Unwrap::is_whole)
        {
            lease.give_back(idle_max);
        }
    }
}

pub(super) struct Exchange {
    lease: Lease,
    request_head: Bytes,
    form: BodyForm,
    body: RequestBody,
    replay: Rc<h2::Replay>,
    /// Whether lines behind the body are passed.
    passes_trailers: bool,
    send_timeout: Duration,
    read_timeout: Duration,
    rules: HeadRules,
    unwrap: Option<Unwrap>,
    /// Who is told of early hints.
    hinted: Option<Rc<Session>>,
}

impl Exchange {
    pub(super) fn new(
        request: &Request,
        resolved: &Resolved,
        written: &Written,
        peer: &Peer,
        connection: Connection,
        in_use: Rc<InUse>,
    ) -> Self {
        let settings = request.passing();
        let protocol = request.state.proxy.protocol;
        let body = match (&request.body, written.has_body) {
            (_, false) => RequestBody::None,
            (RequestBody::Kept(kept), true) => RequestBody::Kept(kept.rewound()),
            (body, true) => body.share(),
        };
        body.set_limits(request);
        Self {
            lease: Lease::new(
                connection,
                peer.state.clone(),
                resolved.group.spec.kept,
                in_use,
            ),
            request_head: written.head.clone(),
            form: written.form,
            body,
            replay: written.replay.clone(),
            passes_trailers: h2::passes_trailers(request),
            send_timeout: Duration::from_millis(settings.send_timeout_ms),
            read_timeout: Duration::from_millis(settings.read_timeout_ms),
            rules: HeadRules {
                method: request_head::method(request),
                bytes_max: settings.head_bytes_max as usize,
                status_line: answer::status_line(protocol),
                directives: protocol.name(),
            },
            hinted: early_hints::are_wanted(request).then(|| request.connection.share()),
            unwrap: match protocol {
                Protocol::Http
                | Protocol::Grpc
                | Protocol::Uwsgi
                | Protocol::Scgi
                | Protocol::Tunnel => None,
                Protocol::FastCgi => Some(Unwrap::Records(Records::new(
                    request.state.proxy.stderr.clone(),
                ))),
                Protocol::Memcached => {
                    let gzip_flag = request.settings().memcached.gzip_flag;
                    Some(Unwrap::Found(Found::new(written.key.clone(), gzip_flag)))
                }
            },
        }
    }

    /// The connection itself is the answer.
    pub(super) fn tunnel(self) -> Received {
        let head = ResponseHead {
            status: 200,
            framing: ResponseFraming::Tunnel,
            ..ResponseHead::default()
        };
        Received {
            answered: Rc::new(AnsweredHead {
                head,
                bytes: Vec::new(),
            }),
            carried: Carried::Connection {
                rest: Bytes::new(),
                unwrap: None,
                lease: self.lease,
                was_all_sent: true,
            },
        }
    }

    /// Sends the request and reads the head of the answer. An answer that comes while the body is still
    /// being sent ends the sending.
    pub(super) async fn run(mut self, request: &mut Request) -> Result<Received, Failure> {
        let stream = self.lease.stream().clone();
        let progress = Progress::default();
        let sent = {
            let head = std::mem::take(&mut self.request_head);
            let mut sending = pin!(send(
                &stream,
                head,
                &mut self.body,
                self.form,
                self.send_timeout,
                (&progress, &self.replay, self.passes_trailers)
            ));
            let mut reading = pin!(read_head(
                &stream,
                self.rules,
                &mut self.unwrap,
                self.hinted.take(),
                self.read_timeout,
                &progress
            ));
            let mut sent = None;
            let read = poll_fn(|cx| {
                if sent.is_none()
                    && let Poll::Ready(result) = sending.as_mut().poll(cx)
                {
                    progress.is_all_sent.set(true);
                    sent = Some(result);
                }
                // The client's own fault ends it; what the peer says to a broken pipe is still heard.
                if let Some(Err(SendFailure::Client(_))) = &sent {
                    return Poll::Ready(None);
                }
                reading.as_mut().poll(cx).map(Some)
            })
            .await;
            (sent, read)
        };
        let tries = &request.state.proxy.tries;
        tries.note_sent(progress.sent_bytes.get());
        tries.note_received(progress.received_bytes.get());
        let is_caught = is_caught(request);
        log_stderr(request, "while reading response header from upstream");
        match sent {
            (_, Some(Ok(_))) if is_caught => Err(Failure::sent(What::InvalidHeader)),
            (Some(Err(SendFailure::Client(fault))), _) => {
                request.current.must_close = true;
                request.log(Level::Info, format_args!("{}", fault.message));
                Err(Failure::sent(What::Client(fault.status)))
            }
            (sent, Some(Ok((answered, rest)))) => Ok(Received {
                answered,
                carried: Carried::Connection {
                    rest,
                    unwrap: self.unwrap,
                    lease: self.lease,
                    was_all_sent: matches!(sent, Some(Ok(()))),
                },
            }),
            (sent, Some(Err(read))) => Err(self.failed(request, sent, read, &progress)),
            (_, None) => unreachable!("only the client's fault ends the reading"),
        }
    }

    fn failed(
        &self,
        request: &Request,
        sent: Option<Result<(), SendFailure>>,
        read: ReadFailure,
        progress: &Progress,
    ) -> Failure {
        let was_silent = progress.received_bytes.get() == 0;
        let is_broken = matches!(read, ReadFailure::Closed | ReadFailure::Io(_));
        let was_stale = was_silent && is_broken && self.lease.is_reused();
        if was_stale {
            return Failure {
                was_stale,
                ..Failure::sent(What::Error)
            };
        }
        let reading = "while reading response header from upstream";
        let what = match (sent, read) {
            (Some(Err(SendFailure::Io(error))), _) if error.kind() == io::ErrorKind::TimedOut => {
                request.log(
                    Level::Error,
                    format_args!("upstream timed out (110: Connection timed out) while sending request to upstream"),
                );
                What::Timeout
            }
            (_, ReadFailure::TimedOut) => {
                request.log(
                    Level::Error,
                    format_args!("upstream timed out (110: Connection timed out) {reading}"),
                );
                What::Timeout
            }
            (_, ReadFailure::Closed) => {
                request.log(
                    Level::Error,
                    format_args!("upstream prematurely closed connection {reading}"),
                );
                What::Error
            }
            (_, ReadFailure::Io(error)) => {
                let reason = crate::log::error_text(&error);
                request.log(
                    Level::Error,
                    format_args!("recv() failed ({reason}) {reading}"),
                );
                What::Error
            }
            (_, ReadFailure::Invalid(error)) => {
                request.log(Level::Error, format_args!("{error} {reading}"));
                What::InvalidHeader
            }
        };
        // What was taken of a body that goes out as it comes is gone, sent or not.
        let is_gone = progress.has_taken.get() && request.body.is_streamed();
        Failure {
            was_sent: progress.sent_bytes.get() > 0 || is_gone,
            ..Failure::new(what)
        }
    }
}

/// How far an exchange is; both of its directions look at it.
#[derive(Default)]
struct Progress {
    sent_bytes: Cell<u64>,
    received_bytes: Cell<u64>,
    /// Whether any of the body was taken from where it comes.
    has_taken: Cell<bool>,
    is_all_sent: Cell<bool>,
}

enum SendFailure {
    Io(io::Error),
    Client(crate::http::request_body::Fault),
}

async fn send(
    stream: &Transport,
    head: Bytes,
    body: &mut RequestBody,
    form: BodyForm,
    stall_max: Duration,
    (progress, replay, passes_trailers): (&Progress, &h2::Replay, bool),
) -> Result<(), SendFailure> {
    let is_streamed = body.is_streamed();
    let mut queue = SendQueue::new();
    queue.push(Chunk::Bytes(head));
    loop {
        // What is there already leaves together.
        let ready = poll_fn(|cx| Poll::Ready(body.poll_next(cx))).await;
        let next = match ready {
            Poll::Ready(next) => next,
            Poll::Pending => {
                send_queue(stream, std::mem::take(&mut queue), stall_max, progress).await?;
                poll_fn(|cx| body.poll_next(cx)).await
            }
        };
        match next {
            Some(Ok(bytes)) => {
                progress.has_taken.set(true);
                if is_streamed {
                    replay.lose();
                }
                push(&mut queue, bytes, form);
            }
            Some(Err(fault)) => return Err(SendFailure::Client(fault)),
            None => break,
        }
        if queue.bytes() >= SEND_BYTES_MAX {
            send_queue(stream, std::mem::take(&mut queue), stall_max, progress).await?;
        }
    }
    match form {
        BodyForm::Length => {}
        BodyForm::Chunked => {
            let trailers = body.trailers().filter(|_| passes_trailers);
            match trailers {
                None => queue.push(Chunk::Static(writer::LAST_CHUNK)),
                Some(trailers) => queue.push(Chunk::Bytes(last_chunk(&trailers))),
            }
        }
        BodyForm::Records => queue.push(Chunk::Static(&fastcgi::LAST_RECORD)),
    }
    send_queue(stream, queue, stall_max, progress).await
}

/// What ends a body in chunks that has lines behind it.
fn last_chunk(trailers: &Trailers) -> Bytes {
    let bytes = trailers.bytes();
    let mut out = writer::LAST_CHUNK_HEAD.to_vec();
    for line in trailers.lines() {
        writer::header(&mut out, line.name.of(bytes), line.value.of(bytes));
    }
    out.extend_from_slice(b"\r\n");
    Bytes::from(out)
}

fn push(queue: &mut SendQueue, mut bytes: Bytes, form: BodyForm) {
    match form {
        BodyForm::Length => queue.push(Chunk::Bytes(bytes)),
        BodyForm::Chunked => {
            let mut memory = [0; 18];
            let head = writer::chunk_head(bytes.len() as u64, &mut memory);
            queue.push(Chunk::Bytes(Bytes::copy_from_slice(head)));
            queue.push(Chunk::Bytes(bytes));
            queue.push(Chunk::Static(b"\r\n"));
        }
        BodyForm::Records => {
            while !bytes.is_empty() {
                let len = bytes.len().min(fastcgi::RECORD_BYTES);
                let head = fastcgi::record_head(len);
                queue.push(Chunk::Bytes(Bytes::copy_from_slice(&head)));
                queue.push(Chunk::Bytes(bytes.split_to(len)));
            }
        }
    }
}

async fn send_queue(
    stream: &Transport,
    queue: SendQueue,
    stall_max: Duration,
    progress: &Progress,
) -> Result<(), SendFailure> {
    let bytes = queue.bytes();
    let (result, left) = stream.send(queue, stall_max).await;
    let sent = bytes.saturating_sub(left.bytes());
    progress.sent_bytes.set(progress.sent_bytes.get() + sent);
    result.map_err(SendFailure::Io)
}

enum ReadFailure {
    Closed,
    TimedOut,
    Io(io::Error),
    /// What the error log says of it.
    Invalid(String),
}

/// What a head may be.
#[derive(Clone, Copy)]
struct HeadRules {
    method: Method,
    bytes_max: usize,
    status_line: StatusLine,
    /// What the directives begin with that bound it.
    directives: &'static str,
}

async fn read_head(
    stream: &Transport,
    rules: HeadRules,
    unwrap: &mut Option<Unwrap>,
    hinted: Option<Rc<Session>>,
    timeout: Duration,
    progress: &Progress,
) -> Result<(Rc<AnsweredHead>, Bytes), ReadFailure> {
    let limits = ResponseLimits {
        head_bytes_max: rules.bytes_max,
        status_line: rules.status_line,
        ..ResponseLimits::default()
    };
    let mut parser = ResponseParser::new(rules.method);
    // Made where it stays.
    let mut answered = Rc::new(AnsweredHead::default());
    loop {
        let AnsweredHead { head, bytes } = Rc::get_mut(&mut answered).expect("nobody has it yet");
        let received = receive(stream, timeout, progress).await?;
        match unwrap {
            None => bytes.extend_from_slice(&received),
            Some(unwrap) => {
                let unwrapped = unwrap.feed(&received, bytes);
                unwrapped.map_err(ReadFailure::Invalid)?;
            }
        }
        loop {
            match parser.parse(head, bytes, &limits) {
                Ok(ResponseProgress::Partial) if unwrap.as_ref().is_some_and(Unwrap::is_ended) => {
                    let why = "upstream prematurely closed FastCGI stdout";
                    return Err(ReadFailure::Invalid(why.into()));
                }
                Ok(ResponseProgress::Partial) => break,
                Ok(ResponseProgress::Interim { head_bytes }) => {
                    if head.status == 103
                        && let Some(client) = &hinted
                    {
                        let hints = hints(head, bytes);
                        // A client that takes nothing any more is found out by what follows.
                        let _ = client.stream.send_all(Bytes::from(hints)).await;
                    }
                    bytes.drain(..head_bytes);
                }
                Ok(ResponseProgress::Complete { head_bytes }) => {
                    let rest = Bytes::copy_from_slice(&bytes[head_bytes..]);
                    bytes.truncate(head_bytes);
                    return Ok((answered, rest));
                }
                Err(error) => {
                    let advice = match error {
                        ResponseError::HeadTooLarge => {
                            format!(" ({}_buffer_size bounds it)", rules.directives)
                        }
                        _ => String::new(),
                    };
                    let why = format!("upstream sent {error}{advice}");
                    return Err(ReadFailure::Invalid(why));
                }
            }
        }
    }
}

async fn receive(
    stream: &Transport,
    timeout: Duration,
    progress: &Progress,
) -> Result<Buffer, ReadFailure> {
    loop {
        match stream.recv().within(timeout).await {
            Ok(received) if received.is_empty() => return Err(ReadFailure::Closed),
            Ok(received) => {
                let before = progress.received_bytes.get();
                progress.received_bytes.set(before + received.len() as u64);
                return Ok(received);
            }
            // The time counts from when the peer has all of the request.
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if progress.is_all_sent.get() {
                    return Err(ReadFailure::TimedOut);
                }
            }
            Err(error) => return Err(ReadFailure::Io(error)),
        }
    }
}

/// A head with the status 103, for the client.
pub(super) fn hints(head: &ResponseHead, bytes: &[u8]) -> Vec<u8> {
    let mut out = b"HTTP/1.1 103 Early Hints\r\n".to_vec();
    for header in &head.headers {
        let (name, value) = (header.name.of(bytes), header.value.of(bytes));
        if !answer::is_of_connection(header.id) {
            writer::header(&mut out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Whether an application has written what `fastcgi_catch_stderr` is about.
fn is_caught(request: &Request) -> bool {
    let stderr = request.state.proxy.stderr.borrow();
    let caught = request.settings().fastcgi.caught.iter();
    let mut caught = caught.filter(|text| !text.is_empty());
    !stderr.is_empty()
        && caught.any(|text| memchr::memmem::find(&stderr, text.as_bytes()).is_some())
}

/// Logs what the application has written to its standard error.
pub(crate) fn log_stderr(request: &Request, doing: &str) {
    if request.state.proxy.stderr.borrow().is_empty() {
        return;
    }
    let said = request.state.proxy.stderr.take();
    let end = said
        .iter()
        .rposition(|it| !matches!(it, b'\n' | b'\r' | b'.' | b' '));
    let shown = Shown(&said[..end.map_or(0, |end| end + 1)]);
    request.log(
        Level::Error,
        format_args!("FastCGI sent in stderr: \"{shown}\" {doing}"),
    );
}
