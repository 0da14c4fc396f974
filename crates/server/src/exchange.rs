//! One or more requests of a connection, from the first byte until it idles again.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use revolve_http::h1::{
    HeadError, HeadLimits, Progress, Target, TargetError, TargetForm, Version, normalize_path,
};
use revolve_reactor::{Buffer, Chunk, SendQueue};

use crate::body::{self, Drained};
use crate::connection::Connection;
use crate::log::Level;
use crate::modules::keepalive::Lingering;
use crate::modules::{self, access_log};
use crate::phase::{self, Outcome, Walked};
use crate::refusal;
use crate::request::Request;
use crate::response::{HeadContext, Piece, write_head};

/// Pieces up to this size are copied beside the head, so that one plain `send` takes both.
const COPY_BYTES_MAX: u64 = 4096;

/// What answers of pipelined requests may gather before they go out.
const GATHER_BYTES_MAX: u64 = 64 * 1024;

/// What becomes of a connection after an exchange.
pub(crate) enum After {
    /// It waits so long for another request.
    Idle(Duration),
    /// It is closed.
    Close,
}

/// The exchanges of one loop, in memory that is used again.
///
/// The future of an exchange is large and a connection needs it only while a request is under
/// way. Its type is the same for all, so a finished one's memory serves the next.
pub(crate) struct Exchanges<F> {
    make: fn(Box<Request>, Buffer) -> F,
    futures: RefCell<Vec<Pin<Box<Option<F>>>>>,
    #[allow(
        clippy::vec_box,
        reason = "a request moves into the pool and out by its box"
    )]
    requests: RefCell<Vec<Box<Request>>>,
}

/// Memory of finished exchanges that is kept at most.
const KEPT_MAX: usize = 32;

impl<F> Exchanges<F>
where
    F: Future<Output = (Box<Request>, After)> + 'static,
{
    pub(crate) fn new(make: fn(Box<Request>, Buffer) -> F) -> Self {
        Self {
            make,
            futures: RefCell::default(),
            requests: RefCell::default(),
        }
    }

    /// Begins an exchange with these bytes.
    pub(crate) fn begin<'a>(
        &'a self,
        connection: &'a Rc<Connection>,
        input: Buffer,
    ) -> Running<'a, F> {
        let request = self.request(connection);
        let kept = self.futures.borrow_mut().pop();
        let mut future = kept.unwrap_or_else(|| Box::pin(None));
        future.set(Some((self.make)(request, input)));
        Running {
            exchanges: self,
            connection,
            future: Some(future),
        }
    }

    fn request(&self, connection: &Rc<Connection>) -> Box<Request> {
        let site = connection.server.site();
        let kept = self.requests.borrow_mut().pop();
        match kept {
            Some(mut request) => {
                request.reuse(connection.clone(), site);
                request
            }
            None => Box::new(Request::new(connection.clone(), site)),
        }
    }
}

/// An exchange under way. Its size is what an idle connection pays for it, so the exchange itself
/// lies elsewhere.
pub(crate) struct Running<'a, F> {
    exchanges: &'a Exchanges<F>,
    connection: &'a Connection,
    future: Option<Pin<Box<Option<F>>>>,
}

impl<F> Future for Running<'_, F>
where
    F: Future<Output = (Box<Request>, After)>,
{
    type Output = After;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<After> {
        self.connection.server.set_current(self.connection.number);
        let slot = self.future.as_mut();
        let exchange = slot.and_then(|slot| slot.as_mut().as_pin_mut());
        let exchange = exchange.expect("a finished exchange is not polled");
        let (mut request, after) = std::task::ready!(exchange.poll(cx));
        request.release();
        let exchanges = self.exchanges;
        if let Some(mut future) = self.future.take() {
            future.set(None);
            let mut futures = exchanges.futures.borrow_mut();
            if futures.len() < KEPT_MAX {
                futures.push(future);
                exchanges.requests.borrow_mut().push(request);
            }
        }
        Poll::Ready(after)
    }
}

/// What is on its way out.
pub(crate) struct Output {
    queue: Option<SendQueue>,
    tail: Option<Buffer>,
    gathered_bytes: u64,
}

impl Output {
    fn new() -> Self {
        Self {
            queue: None,
            tail: None,
            gathered_bytes: 0,
        }
    }

    /// Copies bytes.
    fn write(&mut self, mut bytes: &[u8]) {
        self.gathered_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let tail = self.tail.get_or_insert_with(Buffer::take);
            let taken = tail.fill(bytes);
            bytes = &bytes[taken..];
            if tail.spare_len() == 0 {
                self.push_tail();
            }
        }
    }

    /// Takes a chunk as it is.
    fn push(&mut self, chunk: Chunk) {
        self.gathered_bytes += chunk.len();
        self.push_tail();
        self.queue.get_or_insert_with(SendQueue::new).push(chunk);
    }

    fn push_tail(&mut self) {
        if let Some(tail) = self.tail.take()
            && !tail.is_empty()
        {
            self.queue
                .get_or_insert_with(SendQueue::new)
                .push(Chunk::Buffer(tail));
        }
    }

    /// Sends all of it; on an error the answer is how many bytes were left.
    async fn flush(&mut self, request: &Request) -> Result<(), (io::Error, u64)> {
        self.push_tail();
        let settings = &request.settings().output;
        let Some(mut queue) = self.queue.take() else {
            return Ok(());
        };
        queue.file_bytes_per_turn_max(settings.sendfile_chunk_bytes);
        queue.join_files(settings.tcp_nopush);
        let stall_max = Duration::from_millis(settings.send_timeout_ms);
        let (result, mut queue) = request
            .connection
            .stream
            .send(queue)
            .stall_max(stall_max)
            .await;
        let left = queue.bytes();
        queue.clear();
        self.queue = Some(queue);
        self.gathered_bytes = 0;
        result.map_err(|error| (error, left))
    }
}

/// How the reading of a head ended.
enum HeadRead {
    /// It is complete.
    Complete,
    /// It is not sound; this is the status to refuse it with.
    Refused(u16),
    /// The client went away, or took too long. Nothing is answered.
    Gone,
}

/// Serves the requests of a connection until no byte of another has come.
pub(crate) async fn exchange(
    mut request: Box<Request>,
    mut input: Buffer,
) -> (Box<Request>, After) {
    let mut output = Output::new();
    let after = serve(&mut request, &mut input, &mut output).await;
    (request, after)
}

async fn serve(request: &mut Request, input: &mut Buffer, output: &mut Output) -> After {
    loop {
        let (mut walked, mut drained) = match read_head(request, input, output).await {
            HeadRead::Complete => (phase::walk(request), body::drain_buffered(request, input)),
            HeadRead::Refused(status) => (phase::refuse(request, status), Drained::Broken),
            HeadRead::Gone => return After::Close,
        };
        if let Drained::Invalid(status) = drained {
            request.response.reset();
            walked = phase::refuse(request, status);
            drained = Drained::Broken;
        }
        if walked == Walked::Close {
            request.response.status = 444;
            access_log::write(request);
            // What was answered before is still on its way out; whether it arrives is no matter.
            let _ = output.flush(request).await;
            return After::Close;
        }
        respond(request, output);
        let more = request.keep_alive && drained == Drained::Whole && !input.is_empty();
        if (!more || output.gathered_bytes > GATHER_BYTES_MAX)
            && let Err((error, left)) = output.flush(request).await
        {
            return abort(request, &error, left);
        }
        request.completed = true;
        access_log::write(request);
        if drained == Drained::Partly && request.keep_alive && !body::drain(request, input).await {
            request.keep_alive = false;
        }
        if !request.keep_alive {
            close(request, input, drained).await;
            return After::Close;
        }
        if input.is_empty() {
            // The answer was begun before the drain, and said that the connection stays.
            if request.connection.server.is_draining() {
                return After::Close;
            }
            return After::Idle(Duration::from_millis(
                request.settings().keepalive.timeout.0,
            ));
        }
        request.connection.set_pipelined(true);
        request.begin();
    }
}

/// Reads until the head is complete. What follows it stays in `input`.
async fn read_head(request: &mut Request, input: &mut Buffer, output: &mut Output) -> HeadRead {
    let settings = &request.server_settings().client;
    let (limits, timeout_ms) = (settings.head_limits(), settings.header_timeout_ms);
    loop {
        let before = request.head_bytes.len();
        // A head that came whole is parsed where it lies, and only its own bytes are copied.
        let progress = if before == 0 {
            request.parser.parse(input, &limits)
        } else {
            request.head_bytes.extend_from_slice(input);
            request.parser.parse(&request.head_bytes, &limits)
        };
        match progress {
            Ok(Progress::Complete { head_bytes }) => {
                if before == 0 {
                    request.head_bytes.extend_from_slice(&input[..head_bytes]);
                }
                request.head_bytes.truncate(head_bytes);
                input.advance(head_bytes - before);
                request.length = head_bytes as u64;
                return take_head(request, &limits);
            }
            Ok(Progress::Partial) if before == 0 => request.head_bytes.extend_from_slice(input),
            Ok(Progress::Partial) => {}
            Err(error) => {
                if before == 0 {
                    request.head_bytes.extend_from_slice(input);
                }
                request.length = request.head_bytes.len() as u64;
                return refuse_head(request, error);
            }
        }
        // Whoever waits for the answers before this one gets them before we wait for the rest.
        if output.flush(request).await.is_err() {
            return HeadRead::Gone;
        }
        let deadline = request.started_at + Duration::from_millis(timeout_ms);
        match request.connection.stream.recv().deadline(deadline).await {
            Ok(received) if !received.is_empty() => *input = received,
            Ok(_) => {
                request.length = request.head_bytes.len() as u64;
                return client_gone(request, "client prematurely closed connection", 400);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if request.server_settings().keepalive.reset_timed_out {
                    let _ = request.connection.stream.set_linger_reset();
                }
                request.length = request.head_bytes.len() as u64;
                return client_gone(request, "client timed out (110: Connection timed out)", 408);
            }
            Err(_) => return client_gone(request, "client closed connection", 400),
        }
    }
}

/// Nothing can be answered; what came is worth a line in both logs.
fn client_gone(request: &mut Request, what: &str, status: u16) -> HeadRead {
    if request.parser.line_started() {
        request.log(
            Level::Info,
            format_args!("{what}{}", refusal::while_reading(request)),
        );
        request.response.status = status;
        take_target_of_line(request);
        access_log::write(request);
    }
    HeadRead::Gone
}

fn refuse_head(request: &mut Request, error: HeadError) -> HeadRead {
    refusal::log(request, error);
    take_target_of_line(request);
    HeadRead::Refused(error.status())
}

/// Takes the target of a head that will not be complete, for the access log.
fn take_target_of_line(request: &mut Request) {
    if !request.head_done && request.parser.request_line_done() {
        // That it may be refused too is no matter any more.
        let _ = take_target(request);
    }
}

/// Takes from the head what the walk needs: path, arguments, host, server.
fn take_head(request: &mut Request, limits: &HeadLimits) -> HeadRead {
    request.head_done = true;
    let head = request.parser.head();
    request.method = head.method;
    request.keep_alive = head.keep_alive.is_on();
    if let Err(error) = take_target(request) {
        let message = error.message();
        request.log(
            Level::Info,
            format_args!("{message} while reading client request line"),
        );
        return HeadRead::Refused(error.status());
    }
    choose_server(request);
    if let Err(error) = apply_limits_of_server(request, limits) {
        return refuse_head(request, error);
    }
    log_ignored(request);
    HeadRead::Complete
}

/// Takes path and arguments from the request line.
fn take_target(request: &mut Request) -> Result<(), TargetError> {
    let Target {
        form,
        path,
        args,
        complex,
        ..
    } = request.parser.head().target;
    if let Some(args) = args {
        request.args.extend_from_slice(args.of(&request.head_bytes));
    }
    let raw_path = path.of(&request.head_bytes);
    match form {
        TargetForm::Authority => request.path.push(b'/'),
        _ if raw_path.is_empty() => request.path.push(b'/'),
        _ if complex => {
            let merge_slashes = request.server_settings().client.merge_slashes;
            let mut path = std::mem::take(&mut request.path);
            let raw_path = request.bytes(request.head().target.path);
            let result = normalize_path(raw_path, merge_slashes, &mut path);
            request.path = path;
            if result.is_err() {
                request.path.clear();
            }
            return result;
        }
        _ => request.path.extend_from_slice(raw_path),
    }
    Ok(())
}

fn choose_server(request: &mut Request) {
    let site = request.site.share();
    let hosts = site.http().hosts_at(&request.connection);
    if hosts.is_single() {
        return;
    }
    let mut host = Vec::new();
    request.append_host(&mut host);
    let host = String::from_utf8_lossy(&host);
    let found = hosts.find(&host, &mut request.groups);
    request.server = found.server;
    request.location = site.http().servers[found.server as usize].location;
    if let Some(slots) = found.groups {
        request.groups_subject.clear();
        request.groups_subject.extend_from_slice(host.as_bytes());
        request.set_slots(slots);
    }
}

/// The head was read by the rules of the default server; where those of the server that its host
/// chose differ, it is read again by them.
fn apply_limits_of_server(request: &mut Request, limits: &HeadLimits) -> Result<(), HeadError> {
    let own = request.server_settings().client.head_limits();
    if own == *limits {
        return Ok(());
    }
    let own = HeadLimits {
        line_bytes_max: limits.line_bytes_max,
        head_bytes_max: limits.head_bytes_max,
        ..own
    };
    request.parser.reset();
    request.parser.parse(&request.head_bytes, &own).map(|_| ())
}

fn log_ignored(request: &Request) {
    for line in &request.head().ignored {
        let shown = String::from_utf8_lossy(request.bytes(*line));
        request.log(
            Level::Info,
            format_args!(
                "client sent invalid header line: \"{shown}\" while reading client request headers"
            ),
        );
    }
}

/// Passes the response through the header filters and puts it into the output.
fn respond(request: &mut Request, output: &mut Output) {
    let may_continue = request.continue_wanted && !request.continue_refused;
    if may_continue && request.head().expect_continue {
        let line = b"HTTP/1.1 100 Continue\r\n\r\n";
        output.write(line);
        request.response.sent_bytes += line.len() as u64;
    }
    filter(request);
    if request.connection.server.is_draining() {
        request.keep_alive = false;
    }
    let head_only = finish_response(request);
    if request.version() >= Version::HTTP_10 {
        let mut scratch = std::mem::take(&mut request.file_path);
        scratch.clear();
        let settings = request.settings();
        let keep_alive_header_s = settings.keepalive.timeout.1;
        request
            .site
            .logs
            .clock()
            .with_preamble(settings.core.server_tokens, |preamble| {
                let keep_alive = request.keep_alive;
                let context = HeadContext {
                    preamble,
                    keep_alive,
                    keep_alive_header_s,
                };
                write_head(&request.response, &context, &mut scratch);
            });
        output.write(&scratch);
        request.response.head_bytes = scratch.len() as u64;
        request.response.sent_bytes += scratch.len() as u64;
        request.file_path = scratch;
    }
    if !head_only {
        write_body(request, output);
    }
}

/// A filter may refuse the response (412, 416): the page that takes its place passes the same
/// filters, which leave an error alone.
fn filter(request: &mut Request) {
    let mut at = 0;
    let mut refused = false;
    while let Some(filter) = modules::HEADER_FILTERS.get(at) {
        if request.response.error_status != 0 {
            request.response.status = request.response.error_status;
        }
        match filter(request) {
            Outcome::Finish(status) if !refused => {
                refused = true;
                phase::settle(request, Outcome::Finish(status));
                at = 0;
            }
            _ => at += 1,
        }
    }
}

/// Applies what holds whatever the content is; the answer says whether the body stays behind.
fn finish_response(request: &mut Request) -> bool {
    let is_head = request.is_head();
    modules::core::complete_location(request);
    let http_11 = request.version() >= Version::HTTP_11;
    let response = &mut request.response;
    match response.status {
        204 => {
            response.clear_content();
            true
        }
        304 => true,
        _ => {
            if response.content_length.is_none() && !is_head {
                response.chunked = http_11;
                if !http_11 {
                    request.keep_alive = false;
                }
            }
            is_head
        }
    }
}

fn write_body(request: &mut Request, output: &mut Output) {
    let body = std::mem::take(&mut request.response.body);
    for piece in &body {
        request.response.sent_bytes += piece.len();
        match piece {
            Piece::Text { start, end } => output.write(&request.response.text[*start..*end]),
            Piece::Bytes(bytes) if piece.len() <= COPY_BYTES_MAX => output.write(bytes),
            Piece::Bytes(bytes) => output.push(Chunk::Bytes(bytes.clone())),
            Piece::Static(bytes) if piece.len() <= COPY_BYTES_MAX => output.write(bytes),
            Piece::Static(bytes) => output.push(Chunk::Static(bytes)),
            Piece::File { file, offset, len } => {
                output.push(Chunk::File {
                    file: file.clone(),
                    offset: *offset,
                    len: *len,
                });
            }
        }
    }
    request.response.body = body;
    request.response.body.clear();
}

/// The client took the response no further: it went away, or stopped reading.
fn abort(request: &mut Request, error: &io::Error, left_bytes: u64) -> After {
    request.response.sent_bytes = request.response.sent_bytes.saturating_sub(left_bytes);
    request.keep_alive = false;
    let text = crate::log::error_text(error);
    if error.kind() == io::ErrorKind::TimedOut {
        request.log(
            Level::Info,
            format_args!(
                "client timed out (110: Connection timed out) while sending response to client"
            ),
        );
        if request.settings().keepalive.reset_timed_out {
            let _ = request.connection.stream.set_linger_reset();
        }
    } else {
        request.log(
            Level::Info,
            format_args!("send() failed ({text}) while sending response to client"),
        );
    }
    access_log::write(request);
    After::Close
}

/// Closes; bytes that the client is still sending are read first, so that it gets to see the
/// response instead of a reset.
async fn close(request: &mut Request, input: &mut Buffer, drained: Drained) {
    let settings = &request.settings().keepalive;
    let unread = drained != Drained::Whole || !input.is_empty();
    let linger = match settings.lingering {
        Lingering::Off => false,
        Lingering::On => unread,
        Lingering::Always => true,
    };
    if linger {
        let total = Duration::from_millis(settings.lingering_time_ms);
        let pause = Duration::from_millis(settings.lingering_timeout_ms);
        body::linger(&request.connection.stream, total, pause).await;
    }
}
