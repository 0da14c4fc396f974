//! From heads to requests, and to their ends.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;

use revolve_http::h2::request::{self, RequestError};
use revolve_http::h2::{ConnectionError, ErrorCode, StreamError};
use revolve_http::{Framing, HeaderId, HeaderSpan, Method, Span};

use super::stream::{Carrier, Stream};
use super::tunnel;
use crate::http::base64;
use crate::http::h1::{self, HeadRead};
use crate::http::phase;
use crate::http::request::{Request, RequestHead};
use crate::http::request_body::RequestBody;
use crate::http::serve::{self, Begun, Served};
use crate::http::sink::{Lost, Sink};
use crate::log::{Level, Shown};

/// Takes the head of a request, and answers it as far as that need not wait.
///
/// Errors: where its client is to be sent away.
pub(super) fn begin(carrier: &Rc<Carrier>, id: u32, is_last: bool) -> Result<(), ConnectionError> {
    let connection = &carrier.connection;
    connection.end_idle();
    connection.state.counts().note_request();
    let stream = Stream::new(carrier, id);
    carrier.machine.borrow_mut().attach(id, stream.clone());
    let mut request = carrier.pool.request(connection, &carrier.http_loop);
    let read = match read(carrier, id, is_last, &mut request) {
        Ok(read) => read,
        Err(error) => return refuse_malformed(carrier, id, request, error),
    };
    match (is_last, stream.is_extended()) {
        (true, _) => stream.note_no_body(),
        // What follows is no body.
        (false, true) => {}
        (false, false) => request.body = RequestBody::Stream(stream.clone()),
    }
    if request.head().expect_continue {
        stream.note_wants_continue();
    }
    if let Some(priority) = priority_of(&request) {
        carrier.machine.borrow_mut().prioritize(id, priority);
    }
    let walked = match read {
        HeadRead::Complete => phase::walk(&mut request),
        HeadRead::Asterisk => phase::answer_for_server(&mut request),
        HeadRead::Refused(status) => phase::refuse(&mut request, status),
        HeadRead::Gone => unreachable!("the head is here"),
    };
    let mut sink = Sink::Stream(stream.clone());
    let begun = serve::begin(&mut request, walked, &mut sink);
    go_away_if_due(carrier, &request);
    match begun {
        Begun::Over(Served::Answered) => stream.keep(request),
        Begun::Over(served) => end(&stream, request, served),
        begun => {
            revolve_reactor::spawn(run(request, stream, begun));
        }
    }
    Ok(())
}

/// Reads the head into the request.
fn read(
    carrier: &Carrier,
    id: u32,
    is_last: bool,
    request: &mut Request,
) -> Result<HeadRead, StreamError> {
    let site = request.site.share();
    let limits = &site.http.servers[request.current.server as usize].head_limits;
    let mut machine = carrier.machine.borrow_mut();
    request.current.length = machine.head_bytes() as u64;
    let key = [request.http_loop.random(), request.http_loop.random()];
    let (mut is_extended, mut is_tunnel) = (false, false);
    let (_, shared) = request.head_mut();
    let read = request::read(
        machine.fields_mut(),
        is_last,
        limits,
        &mut shared.head,
        &mut shared.bytes,
    );
    let refused = match read {
        Ok(protocol) => {
            is_extended = protocol.is_some();
            is_tunnel = is_extended || shared.head.method == Method::Connect;
            None
        }
        Err(RequestError::Refused(error)) => Some(error),
        Err(RequestError::Malformed(error)) => return Err(error),
    };
    if let Framing::Length(length) = shared.head.framing
        && !machine.expect(id, length)
    {
        return Err(StreamError {
            code: ErrorCode::PROTOCOL_ERROR,
            reason: "sent a smaller body than its content-length",
        });
    }
    if is_extended {
        add_key(shared, key);
    }
    if is_tunnel && let Some(stream) = machine.user(id) {
        stream.note_extended();
    }
    drop(machine);
    Ok(match refused {
        Some(error) => h1::refuse_head(request, error),
        None => h1::take_head(request),
    })
}

/// The key that a server of WebSocket over HTTP/1 asks for, and no client over HTTP/2 has.
fn add_key(shared: &mut RequestHead, key: [u64; 2]) {
    let mut append = |append: &dyn Fn(&mut Vec<u8>)| {
        let start = shared.bytes.len() as u32;
        append(&mut shared.bytes);
        let end = shared.bytes.len() as u32;
        Span { start, end }
    };
    let name = append(&|bytes| bytes.extend_from_slice(b"sec-websocket-key"));
    let key: Vec<u8> = key.iter().flat_map(|half| half.to_be_bytes()).collect();
    let value = append(&|bytes| base64::encode(&key, bytes));
    let id = HeaderId::Other;
    shared.head.headers.push(HeaderSpan { name, value, id });
}

/// What the client says of how urgent the answer is.
fn priority_of(request: &Request) -> Option<&[u8]> {
    let mut lines = request.head().headers.iter();
    let line =
        lines.find(|line| line.id == HeaderId::Other && request.bytes(line.name) == b"priority")?;
    Some(request.bytes(line.value))
}

/// Resets the stream of what is no request.
fn refuse_malformed(
    carrier: &Rc<Carrier>,
    id: u32,
    mut request: Box<Request>,
    error: StreamError,
) -> Result<(), ConnectionError> {
    request.log(
        Level::Info,
        format_args!("client {error} while reading client request headers"),
    );
    request.response.status = 400;
    phase::log(&mut request);
    carrier.pool.give_back(request);
    let now_ms = revolve_reactor::now_ms();
    let reset = carrier
        .machine
        .borrow_mut()
        .reset_for_fault(id, error.code, now_ms);
    reset.map(drop)
}

/// The client is told to go elsewhere with its next request, where it has had its share or the worker
/// ends.
fn go_away_if_due(carrier: &Carrier, request: &Request) {
    let settings = &request.settings().keepalive;
    let connection = &carrier.connection;
    let is_due = request.current.sequence >= settings.requests_max
        || connection.age_ms() > settings.time_ms
        || connection.state.must_close(connection)
        || connection.state.is_ending();
    if is_due {
        carrier.machine.borrow_mut().go_away(ErrorCode::NO_ERROR);
    }
}

/// Goes on with a request that waits, or whose body is made while it is sent.
async fn run(request: Box<Request>, stream: Rc<Stream>, begun: Begun) {
    let number = request.connection.number;
    let state = request.connection.state.clone();
    let mut answering = pin!(answer(request, stream, begun));
    poll_fn(|cx| {
        // Whose request it is, for the report of a panic.
        state.set_current(number);
        answering.as_mut().poll(cx)
    })
    .await;
}

async fn answer(mut request: Box<Request>, stream: Rc<Stream>, begun: Begun) {
    let guard = Guard(stream.clone());
    let mut sink = Sink::Stream(stream.clone());
    let mut served = match begun {
        Begun::Over(served) => served,
        Begun::Waits(walked) => serve::respond(&mut request, walked, &mut sink).await,
        Begun::Streams => serve::go_on(&mut request, &mut sink).await,
    };
    if let Some(tunnel) = request.response.tunnel.take() {
        tunnel::run(tunnel, &*stream).await;
        sink.end(&mut request);
    }
    if let Served::Answered = served
        && let Err(lost) = sink.flush(&mut request).await
    {
        served = Served::Lost(lost);
    }
    end(&stream, request, served);
    drop(guard);
}

/// A task that panics takes its stream with it.
struct Guard(Rc<Stream>);

impl Drop for Guard {
    fn drop(&mut self) {
        let stream = &self.0;
        if !stream.is_over() {
            stream
                .carrier()
                .reset(stream.id(), ErrorCode::INTERNAL_ERROR);
        }
    }
}

/// Ends a request: what became of it is logged, and its memory serves the next.
pub(super) fn end(stream: &Stream, mut request: Box<Request>, served: Served) {
    stream.count(&mut request);
    let carrier = stream.carrier();
    match served {
        Served::Answered => request.current.completed = true,
        // As in nginx.
        Served::Close => carrier.reset(stream.id(), ErrorCode::PROTOCOL_ERROR),
        Served::Left => {
            request.log(
                Level::Info,
                format_args!("client prematurely closed stream"),
            );
            if request.response.keep_alive.is_none() {
                request.response.status = 499;
            }
            carrier.reset(stream.id(), ErrorCode::CANCEL);
        }
        Served::Lost(lost) => {
            log_lost(&request, &lost);
            carrier.reset(stream.id(), ErrorCode::CANCEL);
        }
        Served::Broken => carrier.reset(stream.id(), ErrorCode::INTERNAL_ERROR),
    }
    if serve::goes_on(&request) {
        let carrier = carrier.clone();
        revolve_reactor::spawn(async move {
            serve::log(&mut request).await;
            carrier.pool.give_back(request);
        });
        return;
    }
    phase::log(&mut request);
    carrier.pool.give_back(request);
}

/// The client took the response no further.
fn log_lost(request: &Request, lost: &Lost) {
    let Lost { error, left_bytes } = lost;
    let sending = "while sending response to client";
    match error.kind() {
        io::ErrorKind::TimedOut => request.log(
            Level::Info,
            format_args!("client timed out (110: Connection timed out) {sending}"),
        ),
        io::ErrorKind::UnexpectedEof => {
            let file = Shown(&request.file_path);
            request.log(
                Level::Alert,
                format_args!(
                    "sendfile() reported that \"{file}\" was truncated, {left_bytes} bytes are \
                     missing {sending}"
                ),
            );
        }
        _ => request.log(
            Level::Info,
            format_args!("client prematurely closed stream {sending}"),
        ),
    }
}
