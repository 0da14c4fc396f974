//! Large answers asked for in slices, so that each can be kept by itself.
//!
//! ```nginx
//! location / {
//!     slice             1m;
//!     proxy_cache       cache;
//!     proxy_cache_key   $uri$is_args$args$slice_range;
//!     proxy_set_header  Range $slice_range;
//!     proxy_cache_valid 200 206 1h;
//!     proxy_pass        http://localhost:8000;
//! }
//! ```
//!
//! Whoever asks `$slice_range` has the answer made of slices: the request itself gets the first that its client
//! needs, and each further one is a subrequest that begins when the one before has ended.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use revolve_conf::directive::Args;
use revolve_http::HeaderId;

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::body::{Broken, Outgoing, Piece, Source};
use crate::http::modules::{Module, RequestState, Settings};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::response::Window;
use crate::http::scope::{DirectiveRow, row, slot};
use crate::http::subrequest::{Options, Subrequest, stand_in, subrequest};
use crate::http::variables::Builtin;
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_slice_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    header_filters: &[(applies, filter)],
    ..Module::EMPTY
};

settings! {
    /// Answers in slices.
    pub struct SliceSettings / RawSlice {
        inherit {
            /// `slice`, bytes; default 0, none.
            bytes: u64 = 0,
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[row(
    HTTP | SERVER | LOCATION,
    "slice",
    Args::ONE,
    slot!(size slice.bytes),
)];

const VARIABLES: &[Builtin] = &[Builtin {
    name: "slice_range",
    get: slice_range,
}];

/// Which slice a request asks for.
#[derive(Default)]
pub(crate) struct SliceState {
    /// Its first byte, once somebody has asked; within a function that only reads the request.
    start: Cell<Option<u64>>,
    /// The tag of the answers so far, which all slices share; made for those alone that ask in slices.
    etag: OnceCell<Rc<RefCell<Vec<u8>>>>,
}

impl RequestState for SliceState {}

impl SliceState {
    fn etag(&self) -> &Rc<RefCell<Vec<u8>>> {
        self.etag.get_or_init(Rc::default)
    }
}

fn applies(settings: &Settings) -> bool {
    settings.slice.bytes > 0
}

/// Source: nginx's `ngx_http_slice_range_variable`.
fn slice_range(request: &Request, out: &mut Vec<u8>) -> bool {
    let bytes = request.settings().slice.bytes;
    let state = &request.state.slice;
    if bytes == 0 || request.current.completed {
        return false;
    }
    if state.start.get().is_none() {
        if request.current.is_subrequest || request.response.status != 0 {
            return false;
        }
        let first = first_wanted(request) / bytes * bytes;
        let fits = i64::try_from(first.saturating_add(bytes)).is_ok();
        state.start.set(Some(if fits { first } else { 0 }));
    }
    let start = state.start.get().unwrap_or_default();
    let range = format!("bytes={start}-{}", start.saturating_add(bytes) - 1);
    out.extend_from_slice(range.as_bytes());
    true
}

/// The first byte that the client wants, where it says so simply.
///
/// Source: nginx's `ngx_http_slice_get_start`.
fn first_wanted(request: &Request) -> u64 {
    let range = request.known(HeaderId::Range).unwrap_or_default();
    if request.known(HeaderId::IfRange).is_some()
        || range.len() < 7
        || !range[..6].eq_ignore_ascii_case(b"bytes=")
        || range.contains(&b',')
    {
        return 0;
    }
    let first = range[6..].trim_ascii_start();
    let digits = first
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = std::str::from_utf8(&first[..digits]).ok();
    let number = number.and_then(|text| text.parse::<u64>().ok());
    number
        .filter(|number| i64::try_from(*number).is_ok())
        .unwrap_or(0)
}

/// What an answer says it is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ContentRange {
    start: u64,
    /// One past the last byte.
    end: u64,
    /// Of the whole; `None` for `*`.
    whole: Option<u64>,
}

/// Source: nginx's `ngx_http_slice_parse_content_range`.
fn content_range(text: &[u8]) -> Option<ContentRange> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix("bytes ")?;
    let (range, whole) = text.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let number = |text: &str| {
        let text = text.trim_matches(' ');
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text
            .parse::<u64>()
            .ok()
            .filter(|it| i64::try_from(*it).is_ok());
        number.filter(|_| is_number)
    };
    let whole = match whole.trim_matches(' ') {
        "*" => None,
        whole => Some(number(whole)?),
    };
    Some(ContentRange {
        start: number(first)?,
        end: number(last)? + 1,
        whole,
    })
}

/// Header filter: makes of an answer that is a slice the beginning of the whole.
///
/// Source: nginx's `ngx_http_slice_header_filter`.
fn filter(request: &mut Request) -> Outcome {
    let Some(start) = request.state.slice.start.get() else {
        return Outcome::Next;
    };
    let is_main = !request.current.is_subrequest;
    let status = request.response.status;
    if status != 206 {
        request.state.slice.start.set(None);
        if is_main {
            return Outcome::Next;
        }
        return refuse(
            request,
            &format!("unexpected status code {status} in slice response"),
        );
    }
    match part(request, start) {
        Err(why) => refuse(request, &why),
        Ok((end, whole)) => {
            let response = &mut request.response;
            response.status = 200;
            response.headers.remove(b"Content-Range");
            response.headers.remove(b"Accept-Ranges");
            response.set_length(whole);
            if is_main {
                response.ranges_allowed = true;
                response.single_range = true;
                begin(request, start, end, whole);
            } else {
                // Of the slice by itself.
                request.response.set_length(end - start);
            }
            Outcome::Next
        }
    }
}

/// The answer is none that can be gone on with: as in nginx the connection is closed, since what its client
/// has of the whole may be more than a head.
fn refuse(request: &Request, why: &str) -> Outcome {
    request.log(Level::Error, format_args!("{why}"));
    Outcome::Finish(444)
}

/// Looks at what an answer says of itself: where it ends, and how long the whole is.
fn part(request: &Request, start: u64) -> Result<(u64, u64), String> {
    let response = &request.response;
    let mut known = request.state.slice.etag().borrow_mut();
    let etag = response.etag();
    if !known.is_empty() && *known != etag {
        return Err("etag mismatch in slice response".to_owned());
    }
    if !etag.is_empty() {
        known.clear();
        known.extend_from_slice(etag);
    }
    let range = response
        .headers
        .get(b"Content-Range")
        .and_then(content_range);
    let range = range.ok_or("invalid range in slice response")?;
    let whole = range.whole.ok_or("no complete length in slice response")?;
    let end = range
        .start
        .saturating_add(request.settings().slice.bytes)
        .min(whole);
    if range.start != start || range.end != end {
        return Err(format!(
            "unexpected range in slice response: {}-{}, expected: {start}-{end}",
            range.start, range.end
        ));
    }
    Ok((end, whole))
}

/// Has the body go on with the further slices.
fn begin(request: &mut Request, start: u64, end: u64, whole: u64) {
    let window = Rc::new(Window::new((0, whole)));
    let sliced = Sliced {
        parent: stand_in(request),
        etag: request.state.slice.etag().clone(),
        slice_bytes: request.settings().slice.bytes,
        part: Part::First(Box::new(Outgoing::new(request))),
        at: start,
        part_end: end,
        whole,
        window: window.clone(),
    };
    request.response.window = Some(window);
    request.response.source = Some(Box::new(sliced));
}

enum Part {
    First(Box<Outgoing>),
    Further(Subrequest),
}

/// A body made of slices.
struct Sliced {
    /// Stands in for the request itself, which goes its own way.
    parent: Box<Request>,
    etag: Rc<RefCell<Vec<u8>>>,
    slice_bytes: u64,
    part: Part,
    /// The place of the next byte in the whole, and the end of the slice that it is in.
    at: u64,
    part_end: u64,
    /// Bytes of the whole.
    whole: u64,
    /// What of it is sent.
    window: Rc<Window>,
}

impl Sliced {
    /// The part of a piece that is sent, if any is.
    fn cut(&mut self, piece: &Piece) -> Option<Piece> {
        let (start, end) = self.window.get();
        let (first, len) = (self.at, piece.len());
        self.at += len;
        let (from, to) = (start.max(first), end.min(self.at));
        (from < to).then(|| piece.slice(from - first, to - from))
    }

    /// Begins the next slice; false where there is none.
    fn go_on(&mut self) -> Result<bool, Broken> {
        if self.at != self.part_end {
            return Err(Broken::because("a slice ended too early, or too late"));
        }
        let (start, end) = self.window.get();
        let mut next = self.part_end;
        if next.saturating_add(self.slice_bytes) <= start {
            next = start / self.slice_bytes * self.slice_bytes;
        }
        if next >= end {
            return Ok(false);
        }
        let (path, args) = (self.parent.path.clone(), self.parent.args.clone());
        let options = Options {
            keeps_method: true,
            keeps_place: true,
            ..Options::default()
        };
        let child = subrequest(&self.parent, path, args, options);
        let mut child = child.map_err(|_| Broken { reason: None })?;
        child.state.slice.start.set(Some(next));
        child.state.slice.etag = OnceCell::from(self.etag.clone());
        self.part = Part::Further(Subrequest::begin(child));
        self.at = next;
        self.part_end = next.saturating_add(self.slice_bytes).min(self.whole);
        Ok(true)
    }

    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        match &mut self.part {
            Part::First(body) => body.poll_next(cx),
            Part::Further(part) => part.poll_next(cx),
        }
    }
}

impl Source for Sliced {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            match ready!(self.poll_part(cx)) {
                Some(Ok(piece)) => {
                    if let Some(piece) = self.cut(&piece) {
                        return Poll::Ready(Some(Ok(piece)));
                    }
                }
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => match self.go_on() {
                    Ok(true) => {}
                    Ok(false) => return Poll::Ready(None),
                    Err(broken) => return Poll::Ready(Some(Err(broken))),
                },
            }
        }
    }
}
