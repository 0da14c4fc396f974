//! From the head of a peer's answer to the response.
//!
//! Source: nginx's `ngx_http_upstream_process_headers`.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use revolve_conf::value::size;
use revolve_http::h1::{ResponseLimits, ResponseParser, ResponseProgress, StatusLine};
use revolve_http::{HeaderId, Method, ResponseFraming, ResponseHead};

use super::body::{Rate, UpstreamBody};
use super::exchange::{Carried, Received};
use super::h2::{self, StreamBody};
use super::request_head::is_listed;
use super::target::{Named, Resolved};
use super::tries::AnsweredHead;
use crate::http::body::{Broken, Piece, Source};
use crate::http::cache::{Kind, Record};
use crate::http::modules::error_page;
use crate::http::modules::passing::{Protocol, store};
use crate::http::modules::proxy::{HttpVersion, Redirect};
use crate::http::modules::try_files::split_args;
use crate::http::modules::types;
use crate::http::modules::{output, proxy_cookie, sticky};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::response::HeaderList;
use crate::http::tunnel::Tunnel;
use crate::log::{Level, Shown};

/// Takes an answer as the response.
pub(crate) fn take(request: &mut Request, resolved: &Resolved, received: Received) -> Outcome {
    let Received { answered, carried } = received;
    let status = answered.head.status;
    let framing = answered.head.framing;
    let is_tunnel = framing == ResponseFraming::Tunnel;
    if is_tunnel && !may_switch(request) {
        return Outcome::Finish(502);
    }
    let is_memcached = request.state.proxy.protocol == Protocol::Memcached;
    let keeps = carried.was_all_sent() && may_be_kept(request, &answered);
    let idle_max = answered.head.keep_alive_timeout_s(&answered.bytes);
    let idle_max = idle_max.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)));
    let redirect = accel_redirect(request, &answered);
    limit_rate(request, &answered);
    let settings = request.passing();
    let is_intercepted = settings.intercept_errors && error_page::is_chosen(request, status);
    request.state.proxy.tries.note_head(answered);
    if redirect.is_none() && !is_intercepted {
        sticky::bind(request, resolved.place);
    }
    if request.state.proxy.protocol == Protocol::Tunnel {
        // Nobody has answered with a status.
        request.state.proxy.tries.end(0);
    }
    fill(request, &resolved.named);
    let has_no_body = matches!(framing, ResponseFraming::None | ResponseFraming::Length(0));
    if redirect.is_some() || is_intercepted || has_no_body {
        request.state.proxy.tries.note_end();
    }
    if is_memcached && status == 404 {
        log_not_found(request);
        carried.let_go(keeps && has_no_body, idle_max);
        return Outcome::Finish(404);
    }
    if let Some(uri) = redirect {
        return go_on_at(request, uri);
    }
    if is_intercepted {
        return Outcome::Finish(status);
    }
    if is_memcached {
        types::set_content_type(request);
    }
    allow_ranges(request);
    if !has_no_body {
        set_body(request, framing, carried, (keeps, idle_max));
    } else {
        carried.let_go(keeps, idle_max);
        make_web(request);
    }
    if framing != ResponseFraming::None && !is_tunnel {
        store::keep(request);
    }
    Outcome::Respond
}

/// Takes an answer that was kept as the response; `None` where its head is none that this protocol has.
/// Its body is set by whoever has it.
pub(crate) fn take_kept(request: &mut Request, named: &Named, record: &Record) -> Option<Outcome> {
    let head = &record.head;
    let limits = ResponseLimits {
        head_bytes_max: head.len(),
        status_line: status_line(request.state.proxy.protocol),
        ..ResponseLimits::default()
    };
    let mut answered = AnsweredHead {
        head: ResponseHead::default(),
        bytes: head.clone(),
    };
    let progress =
        ResponseParser::new(Method::Get).parse(&mut answered.head, &answered.bytes, &limits);
    if !matches!(progress, Ok(ResponseProgress::Complete { .. })) {
        return None;
    }
    let framing = &mut answered.head.framing;
    *framing = match (record.kind, *framing) {
        (Kind::HeadAnswer, _) | (_, ResponseFraming::None) => ResponseFraming::None,
        _ => ResponseFraming::Length(record.body_bytes),
    };
    limit_rate(request, &answered);
    let status = answered.head.status;
    request.state.proxy.tries.note_kept(Rc::new(answered));
    fill(request, named);
    if request.passing().intercept_errors && error_page::is_chosen(request, status) {
        return Some(Outcome::Finish(status));
    }
    allow_ranges(request);
    Some(Outcome::Respond)
}

/// Lets go of an answer that is not used. Its connection may serve again where nothing follows.
pub(crate) fn let_go(request: &mut Request, received: Received) {
    let Received { answered, carried } = received;
    let keeps = carried.was_all_sent() && may_be_kept(request, &answered);
    let idle_max = answered.head.keep_alive_timeout_s(&answered.bytes);
    let idle_max = idle_max.map(|seconds| Duration::from_secs(seconds.saturating_sub(1)));
    let has_no_body = matches!(
        answered.head.framing,
        ResponseFraming::None | ResponseFraming::Length(0)
    );
    request.state.proxy.tries.end(answered.head.status);
    carried.let_go(keeps && has_no_body, idle_max);
}

/// Whether the heads of a protocol begin with a status line.
pub(crate) fn status_line(protocol: Protocol) -> StatusLine {
    match protocol {
        Protocol::Http | Protocol::Grpc | Protocol::Memcached | Protocol::Tunnel => {
            StatusLine::Required
        }
        Protocol::FastCgi => StatusLine::Absent,
        Protocol::Uwsgi | Protocol::Scgi => StatusLine::Optional,
    }
}

/// What follows the head: another protocol, or a body.
fn set_body(
    request: &mut Request,
    framing: ResponseFraming,
    carried: Carried,
    kept: (bool, Option<Duration>),
) {
    let read_timeout = Duration::from_millis(request.passing().read_timeout_ms);
    let (rest, unwrap, lease) = match carried {
        Carried::Connection {
            rest,
            unwrap,
            lease,
            ..
        } => (rest, unwrap, lease),
        Carried::Stream(answer) => {
            let tries = request.state.proxy.tries.clone();
            let rate = Rate::new(rate(request));
            let trailers = trailers(request, framing);
            let body = StreamBody::new(answer, read_timeout, rate, tries, trailers);
            request.response.source = Some(Box::new(body));
            make_web(request);
            return;
        }
    };
    if framing == ResponseFraming::Tunnel {
        let stream = lease.stream().clone();
        let tunnel = Tunnel::new(stream, Box::new(lease), rest, read_timeout);
        request.response.tunnel = Some(tunnel);
        return;
    }
    let tries = request.state.proxy.tries.clone();
    let body = UpstreamBody::new(lease, framing, (rest, unwrap), kept, read_timeout, tries);
    let body = body.at_rate(rate(request));
    let body = body.with_trailers(trailers(request, framing));
    request.response.source = Some(Box::new(body));
}

/// Makes an answer of gRPC one of gRPC-Web, where its call was.
fn make_web(request: &mut Request) {
    let Some(web) = h2::web(request) else {
        return;
    };
    let response = &mut request.response;
    let Some(web_type) = web.web_type(response.content_type.text()) else {
        return;
    };
    response.content_type.set_text(&web_type);
    if let Some(source) = response.source.take() {
        response.content_length = None;
        response.expects_trailers = false;
        response.source = Some(web.body(source, request.state.proxy.trailers.clone()));
    }
}

/// Whether a range may be cut out of an answer that is whole, and whether the client's conditions are ours to
/// judge: those of an answer that is not kept were the upstream's.
fn allow_ranges(request: &mut Request) {
    let status = request.response.status;
    let is_forced =
        request.passing().force_ranges || request.state.proxy.protocol == Protocol::Memcached;
    request.response.is_final = !request.state.proxy.cache.keeps_answer();
    request.response.ranges_allowed =
        is_forced && status == 200 || request.state.proxy.cache.allows_ranges(status);
}

/// How fast the answer is read, in bytes a second; 0 for as fast as it comes.
fn rate(request: &Request) -> u64 {
    let Some(value) = &request.passing().limit_rate else {
        return 0;
    };
    let text = value.evaluate(request);
    let rate = std::str::from_utf8(&text).ok().and_then(size);
    if rate.is_none() && !text.is_empty() {
        let shown = Shown(&text);
        request.log(
            Level::Error,
            format_args!("invalid rate \"{shown}\" of reading upstream"),
        );
    }
    rate.unwrap_or(0)
}

/// Where lines behind the body go, if they are passed on.
fn trailers(request: &mut Request, framing: ResponseFraming) -> Option<Rc<RefCell<HeaderList>>> {
    // Of a body with a length they are expected where they always come.
    let may_follow =
        framing == ResponseFraming::Chunked || request.state.proxy.protocol == Protocol::Grpc;
    let is_passed = may_follow && h2::passes_trailers(request);
    let is_passed = is_passed && !request.current.is_subrequest;
    request.response.expects_trailers |= is_passed;
    is_passed.then(|| request.state.proxy.trailers.clone())
}

/// Whether the client has asked for another protocol.
fn may_switch(request: &Request) -> bool {
    let asks = request.state.proxy.protocol == Protocol::Tunnel
        || request.known(HeaderId::Upgrade).is_some();
    let may = !request.current.is_subrequest && asks;
    if !may {
        let message = format_args!("upstream switched protocols, which nobody had asked for");
        request.log(Level::Error, message);
    }
    may
}

/// Says that there is no value of the key.
fn log_not_found(request: &Request) {
    let key = request.settings().memcached.key.as_ref();
    let key = key.map(|key| key.evaluate(request)).unwrap_or_default();
    let shown = Shown(&key);
    request.log(
        Level::Info,
        format_args!("key: \"{shown}\" was not found by memcached"),
    );
}

/// Whether the peer leaves its connection open for another request.
fn may_be_kept(request: &Request, answered: &AnsweredHead) -> bool {
    let settings = request.settings();
    match request.state.proxy.protocol {
        Protocol::Http => {
            answered.head.keep_alive.is_on() && settings.proxy.version != HttpVersion::Http10
        }
        Protocol::FastCgi => settings.fastcgi.keep_conn,
        // They are kept for others whatever this one was.
        Protocol::Grpc => true,
        // Its applications close.
        Protocol::Uwsgi | Protocol::Scgi | Protocol::Tunnel => false,
        Protocol::Memcached => true,
    }
}

/// `X-Accel-Redirect`: where the request goes on instead.
fn accel_redirect(request: &Request, answered: &AnsweredHead) -> Option<Vec<u8>> {
    let span = answered.head.known.get(HeaderId::XAccelRedirect)?;
    let ignored = &request.passing().ignored;
    let is_ignored = ignored.iter().any(|name| name == "x-accel-redirect");
    (!is_ignored).then(|| span.of(&answered.bytes).to_vec())
}

/// Has the request go on elsewhere.
fn go_on_at(request: &mut Request, uri: Vec<u8>) -> Outcome {
    if let Some(name) = uri.strip_prefix(b"@") {
        return Outcome::Named(String::from_utf8_lossy(name).into_owned());
    }
    let (path, args) = split_args(request, uri);
    Outcome::Redirect(path, Some(args))
}

/// Whether a header stays here unless `proxy_pass_header` says otherwise.
fn is_hidden(id: HeaderId, name: &[u8], protocol: Protocol) -> bool {
    match id {
        HeaderId::Date
        | HeaderId::Server
        | HeaderId::XAccelExpires
        | HeaderId::XAccelRedirect
        | HeaderId::XAccelLimitRate
        | HeaderId::XAccelBuffering
        | HeaderId::XAccelCharset => true,
        // Of what speaks CGI's own heads. nginx passes an application's own `Date` and `Server`; each would be
        // there twice then.
        HeaderId::Status => protocol != Protocol::Http,
        HeaderId::Other => protocol == Protocol::Http && name.eq_ignore_ascii_case(b"x-pad"),
        _ => false,
    }
}

/// Whether a header is of the connection that it came on, and never passed.
pub(super) fn is_of_connection(id: HeaderId) -> bool {
    matches!(
        id,
        HeaderId::Connection
            | HeaderId::KeepAlive
            | HeaderId::ProxyConnection
            | HeaderId::TransferEncoding
            | HeaderId::Te
            | HeaderId::Trailer
            | HeaderId::Upgrade
            | HeaderId::ContentLength
    )
}

/// A body of which nobody knows the length, and that is not sent.
struct Nothing;

impl Source for Nothing {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        Poll::Ready(None)
    }
}

/// `X-Accel-Limit-Rate`: how fast the client gets the answer.
fn limit_rate(request: &mut Request, answered: &AnsweredHead) {
    let ignored = &request.passing().ignored;
    if let Some(span) = answered.head.known.get(HeaderId::XAccelLimitRate)
        && !ignored.iter().any(|name| name == "x-accel-limit-rate")
    {
        output::set_rate(request, span.of(&answered.bytes));
    }
}

/// Fills the response by the head that was noted last.
fn fill(request: &mut Request, named: &Named) {
    let tries = request.state.proxy.tries.clone();
    let answered = tries.answered().expect("its head is there");
    let site = request.site.share();
    let protocol = request.state.proxy.protocol;
    let level = &site.locations[request.current.location as usize].settings;
    let settings = protocol.settings(level);
    request.response.clear_content();
    request.response.status = answered.head.status;
    match answered.head.framing {
        ResponseFraming::Length(bytes) => request.response.set_length(bytes),
        ResponseFraming::None => {
            // What HEAD is told of the length holds for GET; where it is told nothing, neither is the client.
            let length = answered.head.known.get(HeaderId::ContentLength);
            let length = length.and_then(|span| std::str::from_utf8(span.of(&answered.bytes)).ok());
            match length.and_then(|text| text.parse().ok()) {
                Some(bytes) => request.response.set_length(bytes),
                None => request.response.source = Some(Box::new(Nothing)),
            }
        }
        _ => {}
    }
    let listed = answered.head.known.get(HeaderId::Connection);
    let listed = listed
        .map(|span| span.of(&answered.bytes))
        .unwrap_or_default();
    let is_tunnel = answered.head.framing == ResponseFraming::Tunnel;
    // Whoever allows ranges says so.
    let says_ranges = settings.force_ranges
        || request
            .state
            .proxy
            .cache
            .allows_ranges(answered.head.status);
    for header in &answered.head.headers {
        let (name, value) = (
            header.name.of(&answered.bytes),
            header.value.of(&answered.bytes),
        );
        let id = header.id;
        if is_tunnel && id == HeaderId::Upgrade {
            request.response.headers.push(name, value);
            continue;
        }
        let is_any = |known: &[String]| {
            let mut known = known.iter();
            known.any(|it| name.eq_ignore_ascii_case(it.as_bytes()))
        };
        let is_hidden = is_hidden(id, name, protocol) || is_any(&settings.hidden);
        if is_of_connection(id)
            || id == HeaderId::AcceptRanges && says_ranges
            || is_listed(listed, name)
            || is_hidden && !is_any(&settings.passed)
        {
            continue;
        }
        push(request, named, (id, name), value);
    }
}

fn push(request: &mut Request, named: &Named, (id, name): (HeaderId, &[u8]), value: &[u8]) {
    match id {
        HeaderId::ContentType => {
            // Of several lines the first holds.
            if request.response.content_type.is_empty() {
                request.response.content_type.set_text(value);
            }
        }
        HeaderId::LastModified => request.response.replace_last_modified(value),
        HeaderId::Location | HeaderId::Refresh => match redirected(request, named, value) {
            // What was made a path is made a URL, as a redirect of ours is.
            Some(value) if id == HeaderId::Location && value.starts_with(b"/") => {
                request.response.location = value;
                request.response.has_location = true;
            }
            Some(value) => request.response.headers.push(name, &value),
            None => request.response.headers.push(name, value),
        },
        HeaderId::SetCookie if request.state.proxy.protocol == Protocol::Http => {
            match proxy_cookie::rewritten(request, value) {
                Some(value) => request.response.headers.push(name, &value),
                None => request.response.headers.push(name, value),
            }
        }
        _ => request.response.headers.push(name, value),
    }
}

/// What `proxy_redirect` makes of a `Location`, if anything; in a `Refresh` the URL stands behind `url=`.
fn redirected(request: &mut Request, named: &Named, value: &[u8]) -> Option<Vec<u8>> {
    let at = memchr::memmem::find(value, b"url=").map_or(0, |at| at + 4);
    let (before, url) = value.split_at(at);
    let site = request.site.share();
    let location = &site.locations[request.current.location as usize];
    let replaced = match &location.settings.proxy.redirects {
        None => {
            // `default`: what proxy_pass leads to becomes the location's own name.
            let base = named.is_default_redirect.then(|| named.base(request));
            base.and_then(|base| url.strip_prefix(base.as_bytes()))
                .map(|rest| [location.name.as_bytes(), rest].concat())
        }
        Some(rules) => rules.iter().find_map(|rule| match rule {
            Redirect::Prefix(from, to) => {
                let rest = url.strip_prefix(from.evaluate(request).as_slice())?;
                Some([to.evaluate(request).as_slice(), rest].concat())
            }
            Redirect::Pattern(pattern, slots, to) => {
                // One that is given up leaves the URL as it is, and a line in the log.
                if !request.matches(pattern, slots, url).unwrap_or(false) {
                    return None;
                }
                let captures = request.state.core_variables.captures_mut();
                let (start, end) = captures.groups.first().copied().flatten()?;
                let made = to.evaluate(request);
                let (head, tail) = (&url[..start as usize], &url[end as usize..]);
                Some([head, &made, tail].concat())
            }
        }),
    };
    replaced.map(|url| [before, &url].concat())
}
