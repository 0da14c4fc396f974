//! A request: what was asked, where it stands, and its response.
//!
//! Requests are pooled by the loop: their memory is kept from one to the next, so that a steady
//! state allocates nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use revolve_http::h1::HeadParser;
use revolve_http::{Framing, Head, HeaderId, HeaderSpan, Method, Span, Version};

use crate::http::error_log;
use crate::http::location::{Location, LocationId, ServerId};
use crate::http::modules::{Settings, State, core};
use crate::http::request_body::{Expectation, RequestBody};
use crate::http::response::Response;
use crate::http::site::Site;
use crate::http::variables::Variables;
use crate::http::{Http, HttpLoop, Server};
use crate::log::Level;
use crate::runtime::connection::Connection;

/// Internal redirects that one request may take, as in nginx.
pub(crate) const REDIRECTS_MAX: u8 = 10;

/// How deep subrequests may be nested, as in nginx.
pub(crate) const DEPTH_MAX: u8 = 51;

/// A shared part of a request while it is under way; nothing while its memory lies in the pool,
/// so that the pool keeps no connection open.
pub(crate) struct Attached<T>(Option<Rc<T>>);

impl<T> Attached<T> {
    pub(crate) fn of(shared: Rc<T>) -> Self {
        Self(Some(shared))
    }

    /// Another holder of the same thing.
    pub(crate) fn share(&self) -> Rc<T> {
        self.0.clone().expect("a request in the pool is not asked")
    }
}

impl<T> std::ops::Deref for Attached<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0
            .as_deref()
            .expect("a request in the pool is not asked")
    }
}

/// What is forgotten when the next request begins.
#[derive(Default)]
pub(crate) struct Current {
    /// Whether the head is complete and sound, so that its parts may be asked for.
    pub(crate) head_done: bool,
    /// The server that answers.
    pub(crate) server: ServerId,
    /// Whether its host decides which server that is.
    pub(crate) hosts_differ: bool,
    /// The location that answers.
    pub(crate) location: LocationId,
    /// Whether that location was found; before, it is the server's own level.
    pub(crate) is_located: bool,
    /// The handler of the location that is asked next.
    pub(crate) step: usize,
    /// The status of an access handler that refused, where others may still give leave; 0 for none.
    pub(crate) access_refused: u16,
    /// Whether its refusal has waited for `auth_delay`.
    pub(crate) refusal_delayed: bool,
    /// The method; internal redirects to error pages make it GET.
    pub(crate) method: Method,
    /// Whether an internal redirect has set the arguments, if only to nothing.
    pub(crate) args_given: bool,
    /// Whether the request was redirected internally.
    pub(crate) internal: bool,
    /// Whether the path is another than the client has sent.
    pub(crate) uri_changed: bool,
    /// Internal redirects left.
    pub(crate) redirects_left: u8,
    /// Whether an error page was chosen already, so that a second one is not.
    pub(crate) error_page_used: bool,
    /// Whether the response has passed the filters once, so that none may refuse it any more.
    pub(crate) filters_refused: bool,
    /// Whether the connection must not outlive this request.
    pub(crate) must_close: bool,
    /// Whether the client is told to send its body.
    pub(crate) expectation: Expectation,
    /// What a request asks the server for by itself, on the way to an answer.
    pub(crate) is_subrequest: bool,
    /// Of a subrequest: whether it begins with the content, in the location of the request that it is for.
    pub(crate) keeps_place: bool,
    /// Of a subrequest: the method of the request that its client has sent.
    pub(crate) main_method: Method,
    /// Whether nobody wants the body of the subrequest's answer.
    pub(crate) header_only: bool,
    /// How deep subrequests may still be nested.
    pub(crate) depth_left: u8,
    /// Whether its body was too large: whoever answers leaves it aside.
    pub(crate) body_refused: bool,
    /// Its number on its connection, from 1.
    pub(crate) sequence: u64,
    /// Bytes of head and body that were read.
    pub(crate) length: u64,
    /// Whether it came to its end (`$request_completion`).
    pub(crate) completed: bool,
}

/// A head and its bytes.
#[derive(Default)]
pub(crate) struct RequestHead {
    /// What spans of the head point into.
    pub(crate) bytes: Vec<u8>,
    pub(crate) head: Head,
    /// How many subrequests have begun with it.
    pub(crate) subrequests: Cell<u32>,
}

/// One request, from its first byte to its line in the log.
pub(crate) struct Request {
    /// The connection that it came on.
    pub(crate) connection: Attached<Connection>,
    /// HTTP on the loop that serves it.
    pub(crate) http_loop: Attached<HttpLoop>,
    /// The configuration that it began with.
    pub(crate) site: Attached<Site>,
    /// Its head, which its subrequests share.
    pub(crate) shared_head: Rc<RequestHead>,
    pub(crate) parser: HeadParser,
    pub(crate) current: Current,
    /// When its first byte was read.
    pub(crate) started_at: Instant,
    /// The path, decoded and without dot segments (`$uri`).
    pub(crate) path: Vec<u8>,
    /// What stands after `?` (`$args`).
    pub(crate) args: Vec<u8>,
    /// The body that its client sends.
    pub(crate) body: RequestBody,
    /// The answer.
    pub(crate) response: Response,
    /// Scratch memory for paths of files.
    pub(crate) file_path: Vec<u8>,
    /// Memory that answers are written to.
    pub(crate) output_memory: Vec<u8>,
    /// Memory for the next path or URI that takes the place of another.
    pub(crate) spare: Vec<u8>,
    /// What the modules keep of it.
    pub(crate) state: State,
}

impl Request {
    /// A request on a connection, nothing of it read yet.
    pub(crate) fn new(connection: Rc<Connection>, http_loop: Rc<HttpLoop>) -> Self {
        let mut request = Self {
            connection: Attached(Some(connection)),
            http_loop: Attached(Some(http_loop)),
            site: Attached(None),
            shared_head: Rc::default(),
            parser: HeadParser::new(),
            current: Current::default(),
            started_at: revolve_reactor::now(),
            path: Vec::new(),
            args: Vec::new(),
            body: RequestBody::None,
            response: Response::default(),
            file_path: Vec::new(),
            output_memory: Vec::new(),
            spare: Vec::new(),
            state: State::default(),
        };
        request.begin();
        request
    }

    /// Makes this memory a new request of a connection, which may be another than before.
    #[inline]
    pub(crate) fn reuse(&mut self, connection: Rc<Connection>, http_loop: Rc<HttpLoop>) {
        self.connection = Attached(Some(connection));
        self.http_loop = Attached(Some(http_loop));
        self.begin();
    }

    /// Forgets what it was, and lets go of what it shares, before its memory goes into the pool.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.forget();
        self.connection = Attached(None);
        self.http_loop = Attached(None);
        self.site = Attached(None);
    }

    /// Empty memory for a path or URI; what it replaces is given to [`Request::give_spare`].
    pub(crate) fn take_spare(&mut self) -> Vec<u8> {
        let mut spare = std::mem::take(&mut self.spare);
        spare.clear();
        spare
    }

    /// Keeps memory for [`Request::take_spare`].
    pub(crate) fn give_spare(&mut self, spare: Vec<u8>) {
        self.spare = spare;
    }

    /// Makes this memory the next request of the same connection.
    pub(crate) fn begin_next(&mut self) {
        self.forget();
        self.begin();
    }

    /// Empties what is not set anew when the next request begins.
    fn forget(&mut self) {
        self.path.clear();
        self.args.clear();
        self.body = RequestBody::None;
        self.response.reset();
        self.state.reset();
    }

    /// Begins a request in memory that holds nothing of another.
    fn begin(&mut self) {
        self.site = Attached(Some(self.http_loop.site()));
        self.reset_head();
        let hosts = self.site.http.hosts_at(&self.connection);
        let first = self.connection.named_server(self.site.http.id);
        let first = first.unwrap_or(hosts.default);
        self.current = Current {
            server: first,
            hosts_differ: !hosts.is_single(),
            location: self.site.http.servers[first as usize].location,
            redirects_left: REDIRECTS_MAX,
            depth_left: DEPTH_MAX,
            method: Method::Get,
            sequence: self.connection.next_sequence(),
            ..Current::default()
        };
        self.started_at = revolve_reactor::now();
    }

    /// The `http` block that it is served by.
    pub(crate) fn http(&self) -> &Http {
        &self.site.http
    }

    /// The server that answers.
    pub(crate) fn server(&self) -> &Server {
        &self.http().servers[self.current.server as usize]
    }

    /// The location that answers.
    pub(crate) fn location(&self) -> &Location {
        &self.site.locations[self.current.location as usize]
    }

    /// The settings that hold here.
    pub(crate) fn settings(&self) -> &Settings {
        &self.location().settings
    }

    /// What the response says of who answers (`Server`).
    pub(crate) fn signature(&self) -> &'static str {
        core::signature(self.settings().core.server_tokens)
    }

    /// The settings of the server, which hold before a location is found.
    pub(crate) fn server_settings(&self) -> &Settings {
        &self.site.locations[self.server().location as usize].settings
    }

    /// The variables of the configuration.
    pub(crate) fn variables(&self) -> &Variables {
        &self.http().variables
    }

    /// The head as parsed; meaningful once it is done.
    #[inline]
    pub(crate) fn head(&self) -> &Head {
        &self.shared_head.head
    }

    /// The bytes of the head.
    #[inline]
    pub(crate) fn head_bytes(&self) -> &[u8] {
        &self.shared_head.bytes
    }

    /// The head while it is being read, when nobody shares it yet.
    #[inline]
    pub(crate) fn head_mut(&mut self) -> (&mut HeadParser, &mut RequestHead) {
        let head = Rc::get_mut(&mut self.shared_head);
        (
            &mut self.parser,
            head.expect("a head is shared when it was read"),
        )
    }

    /// Forgets the head, and keeps its memory unless a subrequest goes on with it.
    fn reset_head(&mut self) {
        if Rc::get_mut(&mut self.shared_head).is_none() {
            self.shared_head = Rc::default();
        }
        let (parser, head) = self.head_mut();
        head.bytes.clear();
        head.subrequests.set(0);
        parser.reset(&mut head.head);
    }

    /// The bytes of a part of the head.
    pub(crate) fn bytes(&self, span: Span) -> &[u8] {
        span.of(&self.shared_head.bytes)
    }

    /// The value of a known request header, the first line's where there are several.
    pub(crate) fn known(&self, id: HeaderId) -> Option<&[u8]> {
        self.head().known.get(id).map(|span| self.bytes(span))
    }

    /// The HTTP version that was asked in; 1.0 until it is known.
    pub(crate) fn version(&self) -> Version {
        if self.current.head_done {
            self.head().version
        } else {
            Version::HTTP_10
        }
    }

    /// Whether the answer goes without a body (HEAD).
    pub(crate) fn is_head(&self) -> bool {
        match self.current.is_subrequest {
            true => self.current.header_only,
            false => self.head().method == Method::Head,
        }
    }

    /// How the body is delimited.
    pub(crate) fn framing(&self) -> Framing {
        if self.current.head_done {
            self.head().framing
        } else {
            Framing::None
        }
    }

    /// Appends the host that was asked for, in lower case, without port and final dot; false
    /// where there is none.
    pub(crate) fn append_host(&self, out: &mut Vec<u8>) -> bool {
        self.current.head_done && self.append_host_so_far(out)
    }

    /// [`Request::append_host`], also of a head that is not complete.
    pub(crate) fn append_host_so_far(&self, out: &mut Vec<u8>) -> bool {
        let Some(host) = self.head().host.map(|span| self.bytes(span)) else {
            return false;
        };
        let host = host.strip_suffix(b".").unwrap_or(host);
        let start = out.len();
        out.extend_from_slice(host);
        out[start..].make_ascii_lowercase();
        !host.is_empty()
    }

    /// Appends the values of a request header, joined by ", " (cookies by "; "); false where it has no
    /// line.
    pub(crate) fn header_joined(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        self.join_values(name == b"cookie", out, |header| {
            let known = self.bytes(header.name);
            known.len() == name.len() && same_header_name(known, name)
        })
    }

    /// The same for a known header, whose name need not be compared.
    pub(crate) fn known_joined(&self, id: HeaderId, out: &mut Vec<u8>) -> bool {
        let is_cookie = id == HeaderId::Cookie;
        self.known(id).is_some() && self.join_values(is_cookie, out, |header| header.id == id)
    }

    #[inline]
    fn join_values(
        &self,
        are_cookies: bool,
        out: &mut Vec<u8>,
        is_wanted: impl Fn(&HeaderSpan) -> bool,
    ) -> bool {
        if !self.current.head_done {
            return false;
        }
        let joiner: &[u8] = if are_cookies { b"; " } else { b", " };
        let mut found = false;
        for header in self.head().headers.iter().filter(|it| is_wanted(it)) {
            if found {
                out.extend_from_slice(joiner);
            }
            out.extend_from_slice(self.bytes(header.value));
            found = true;
        }
        found
    }

    /// Appends the value of a cookie.
    pub(crate) fn cookie(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        let found = self.cookie_and_line(name);
        out.extend_from_slice(found.map_or(b"", |(value, _)| value));
        found.is_some()
    }

    /// The value of a cookie, and the line that has it.
    pub(crate) fn cookie_and_line(&self, name: &[u8]) -> Option<(&[u8], &[u8])> {
        if !self.current.head_done {
            return None;
        }
        let mut lines = self.head().headers.iter();
        lines.find_map(|header| {
            let line = (header.id == HeaderId::Cookie).then(|| self.bytes(header.value))?;
            Some((cookie_in(line, name)?, line))
        })
    }

    /// Appends the value of an argument of the query, as it was written.
    pub(crate) fn argument(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        for pair in self.args.split(|byte| *byte == b'&') {
            let Some(at) = memchr::memchr(b'=', pair) else {
                continue;
            };
            if pair[..at].eq_ignore_ascii_case(name) {
                out.extend_from_slice(&pair[at + 1..]);
                return true;
            }
        }
        false
    }

    /// Writes a line to the error log of the place where the request stands.
    pub(crate) fn log(&self, level: Level, message: std::fmt::Arguments<'_>) {
        if self
            .site
            .logs
            .wants(&self.settings().error_log.targets, level)
        {
            error_log::write(self, level, message);
        }
    }
}

/// Compares a header's name with one in lower case with dashes, taking `_` for `-` as nginx's
/// variables do.
fn same_header_name(known: &[u8], wanted: &[u8]) -> bool {
    known.iter().zip(wanted).all(|(known, wanted)| {
        let known = known.to_ascii_lowercase();
        known == *wanted || (known == b'_' && *wanted == b'-')
    })
}

/// The value of a cookie in a `Cookie` line, whose pairs are between `;`.
/// Source: nginx's `ngx_http_parse_multi_header_lines`.
fn cookie_in<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        if rest.len() > name.len() && rest[..name.len()].eq_ignore_ascii_case(name) {
            let after = rest[name.len()..].trim_ascii_start();
            if let Some(value) = after.strip_prefix(b"=") {
                let value = value.trim_ascii_start();
                return value.split(|byte| *byte == b';').next();
            }
        }
        let next = memchr::memchr(b';', rest)?;
        rest = &rest[next + 1..];
    }
}
