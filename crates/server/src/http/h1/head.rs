//! Reading a head, and taking from it what the walk needs.

use std::io;
use std::time::Duration;

use revolve_http::h1::{HeadError, HeadLimits, Progress};
use revolve_http::{Framing, Method, Target, TargetError, TargetForm, Version, normalize_path};
use revolve_reactor::Buffer;

use super::output::Output;
use super::refusal;
use crate::config::regex::GivenUp;
use crate::http::location::ServerId;
use crate::http::phase;
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// How the reading of a head ended.
pub(crate) enum HeadRead {
    /// It is complete.
    Complete,
    /// It is complete, and asks about the server itself: `OPTIONS *`.
    Asterisk,
    /// It is not sound; this is the status to refuse it with.
    Refused(u16),
    /// The client went away, or took too long. Nothing is answered.
    Gone,
}

/// Reads on until the head is complete, after [`parse`] has found that it is not. What follows it
/// stays in `input`.
pub(super) async fn read_rest(
    request: &mut Request,
    input: &mut Buffer,
    output: &mut Output,
) -> HeadRead {
    loop {
        let _reading = request.connection.state.counts().reading();
        // Whoever waits for the answers before this one gets them before we wait for the rest.
        if output.flush(request).await.is_err() {
            return HeadRead::Gone;
        }
        let timeout_ms = request.server_settings().client.header_timeout_ms;
        let deadline = request.started_at + Duration::from_millis(timeout_ms);
        match request.connection.stream.recv().deadline(deadline).await {
            Ok(received) if !received.is_empty() => *input = received,
            Ok(_) => {
                request.current.length = request.head_bytes().len() as u64;
                return client_gone(request, "client prematurely closed connection", 400);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                if request.server_settings().keepalive.reset_timed_out {
                    let _ = request.connection.stream.set_linger_reset();
                }
                request.current.length = request.head_bytes().len() as u64;
                return client_gone(request, "client timed out (110: Connection timed out)", 408);
            }
            Err(_) => return client_gone(request, "client closed connection", 400),
        }
        if let Some(read) = parse(request, input) {
            return read;
        }
    }
}

/// Takes what has come of a head; `None` where more is needed, which is seldom.
pub(super) fn parse(request: &mut Request, input: &mut Buffer) -> Option<HeadRead> {
    let site = request.site.share();
    let limits = &site.http.servers[request.current.server as usize].head_limits;
    let (parser, head) = request.head_mut();
    let before = head.bytes.len();
    // A head that came whole is parsed where it lies, and only its own bytes are copied.
    let progress = if before == 0 {
        parser.parse(&mut head.head, input, limits)
    } else {
        head.bytes.extend_from_slice(input);
        parser.parse(&mut head.head, &head.bytes, limits)
    };
    if before == 0 {
        let taken = match progress {
            Ok(Progress::Complete { head_bytes }) => head_bytes,
            _ => input.len(),
        };
        head.bytes.extend_from_slice(&input[..taken]);
    }
    let progress = match progress {
        Err(error) => parse_by_limits_of_host(request, error),
        progress => progress,
    };
    match progress {
        Ok(Progress::Complete { head_bytes }) => Some(complete(request, input, head_bytes, before)),
        Ok(Progress::Partial) => None,
        Err(error) => {
            request.current.length = request.head_bytes().len() as u64;
            Some(refuse_head(request, error))
        }
    }
}

/// Takes a head of so many bytes, of which those from `before` on lie in `input`.
fn complete(
    request: &mut Request,
    input: &mut Buffer,
    head_bytes: usize,
    before: usize,
) -> HeadRead {
    let (_, head) = request.head_mut();
    head.bytes.truncate(head_bytes);
    input.advance(head_bytes - before);
    request.current.length = head_bytes as u64;
    match take_head(request) {
        HeadRead::Complete | HeadRead::Asterisk if request.connection.lacks_tls() => {
            refusal::plain_to_tls(request)
        }
        read => read,
    }
}

/// Header lines that the default server would not take may be fine with the server that a `Host`
/// before them has chosen: the head is read again by the limits of that one.
fn parse_by_limits_of_host(request: &mut Request, error: HeadError) -> Result<Progress, HeadError> {
    let default = request.current.server;
    let is_too_large = matches!(
        error,
        HeadError::HeaderTooLarge | HeadError::RequestTooLarge
    );
    if !is_too_large || request.head().host.is_none() {
        return Err(error);
    }
    if choose_server(request).is_err() || request.current.server == default {
        return Err(error);
    }
    let site = request.site.share();
    let limits = &site.http.servers[request.current.server as usize].head_limits;
    parse_again(request, limits)
}

/// Reads what came of a head by other limits.
fn parse_again(request: &mut Request, limits: &HeadLimits) -> Result<Progress, HeadError> {
    let (parser, head) = request.head_mut();
    parser.reset(&mut head.head);
    parser.parse(&mut head.head, &head.bytes, limits)
}

/// Nothing can be answered; what came is worth a line in both logs.
fn client_gone(request: &mut Request, what: &str, status: u16) -> HeadRead {
    if request.parser.line_started() {
        take_what_came(request);
        request.log(
            Level::Info,
            format_args!("{what}{}", refusal::while_reading(request)),
        );
        request.response.status = status;
        phase::log(request);
    }
    HeadRead::Gone
}

/// Refuses a head, and logs why.
pub(crate) fn refuse_head(request: &mut Request, error: HeadError) -> HeadRead {
    take_what_came(request);
    if error == HeadError::MissingHost {
        // The head is refused whoever does it.
        let _ = choose_server(request);
    }
    log_ignored(request);
    refusal::log(request, error);
    HeadRead::Refused(error.status())
}

/// Takes what came of a head that will not be complete. Whoever refuses it is the server that its
/// host has chosen, if that was read, and the logs show the lines before the one that is wrong.
fn take_what_came(request: &mut Request) {
    let head = request.head();
    let has_lines = head.request_line_done() && head.version > Version::HTTP_09;
    if request.current.head_done || !has_lines {
        return;
    }
    request.current.method = head.method;
    request.current.head_done = true;
    // That the target may be refused too is no matter any more.
    let _ = take_target(request);
    if request.head().host.is_some() {
        // The head is refused whoever does it.
        let _ = choose_server(request);
    }
}

/// Takes from the head what the walk needs: path, arguments, host, server.
pub(crate) fn take_head(request: &mut Request) -> HeadRead {
    request.current.head_done = true;
    let head = request.head();
    request.current.method = head.method;
    if let Err(error) = take_target(request) {
        let message = error.message();
        request.log(
            Level::Info,
            format_args!("{message}{}", refusal::while_reading_line(request)),
        );
        return HeadRead::Refused(error.status());
    }
    let default = request.current.server;
    if choose_server(request).is_err() {
        return HeadRead::Refused(500);
    }
    if request.current.server != default
        && let Err(error) = apply_limits_of_server(request, default)
    {
        return refuse_head(request, error);
    }
    if request.current.method == Method::Connect
        && let Err(error) = check_connect(request)
    {
        return refuse_head(request, error);
    }
    log_ignored(request);
    match request.head().target.form {
        TargetForm::Asterisk => HeadRead::Asterisk,
        _ => HeadRead::Complete,
    }
}

/// A tunnel is asked for where there are any, and nothing stands before it.
fn check_connect(request: &Request) -> Result<(), HeadError> {
    match request.framing() {
        _ if !request.server().allows_connect => Err(HeadError::ConnectMethod),
        Framing::None | Framing::Length(0) => Ok(()),
        Framing::Length(_) | Framing::Chunked => Err(HeadError::ConnectWithBody),
    }
}

/// Takes path and arguments from the request line.
fn take_target(request: &mut Request) -> Result<(), TargetError> {
    let Target {
        form,
        path,
        args,
        complex,
        ..
    } = request.head().target;
    if let Some(args) = args {
        request
            .args
            .extend_from_slice(args.of(&request.shared_head.bytes));
    }
    let raw_path = path.of(&request.shared_head.bytes);
    match form {
        TargetForm::Authority => request.path.push(b'/'),
        TargetForm::Asterisk => request.path.push(b'*'),
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

/// Chooses the server by the host that was named.
fn choose_server(request: &mut Request) -> Result<(), GivenUp> {
    if !request.current.hosts_differ {
        return Ok(());
    }
    let site = request.site.share();
    let hosts = site.http.hosts_at(&request.connection);
    // No pattern has matched yet, so that this memory is free.
    let mut host = std::mem::take(&mut request.state.core_variables.captures_mut().subject);
    host.clear();
    request.append_host_so_far(&mut host);
    let captures = request.state.core_variables.captures_mut();
    let found = hosts.find(&host, &mut captures.groups);
    if found.is_err() {
        let host = Shown(&host);
        request.log(
            Level::Alert,
            format_args!("regular expression of a server_name given up on \"{host}\""),
        );
    }
    request.state.core_variables.captures_mut().subject = host;
    let found = found?;
    if !found.is_named {
        // The default server, or the one that the handshake has named.
        return Ok(());
    }
    request.current.server = found.server;
    request.current.location = site.http.servers[found.server as usize].location;
    if let Some(slots) = found.groups {
        request.state.core_variables.set_slots(slots);
    }
    Ok(())
}

/// The head was read by the rules of the default server; where those of the server that its host
/// chose differ, it is read again by them.
fn apply_limits_of_server(request: &mut Request, default: ServerId) -> Result<(), HeadError> {
    let limits = &request.http().servers[default as usize].head_limits;
    let own = &request.server().head_limits;
    if own == limits {
        return Ok(());
    }
    let own = HeadLimits {
        line_bytes_max: limits.line_bytes_max,
        head_bytes_max: limits.head_bytes_max,
        ..own.clone()
    };
    parse_again(request, &own).map(|_| ())
}

fn log_ignored(request: &Request) {
    for line in &request.head().ignored {
        let shown = Shown(request.bytes(*line));
        request.log(
            Level::Info,
            format_args!(
                "client sent invalid header line: \"{shown}\" while reading client request headers"
            ),
        );
    }
}
