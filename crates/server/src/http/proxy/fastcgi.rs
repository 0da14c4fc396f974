//! FastCGI: how a request is written, and how the answer is taken out of its records.
//!
//! Source: nginx's `ngx_http_fastcgi_create_request`.

use std::cell::RefCell;
use std::rc::Rc;

use revolve_http::fastcgi::{self, FastCgiError, Params, Read, Reader};

use crate::http::request::Request;
use crate::log::{Level, Shown};

/// How much of a body one record holds: all of them are filled to a multiple of eight.
pub(super) const RECORD_BYTES: usize = 32 * 1024;
/// The record that ends a request's body.
pub(super) static LAST_RECORD: [u8; 8] = fastcgi::stdin_head(0);
/// What is kept of an application's standard error until it is logged.
const STDERR_BYTES_MAX: usize = 64 * 1024;

/// The head of a record of the body.
pub(super) fn record_head(len: usize) -> [u8; 8] {
    fastcgi::stdin_head(len.min(RECORD_BYTES) as u16)
}

/// All of a request before its body.
pub(super) fn write_head(request: &Request) -> Vec<u8> {
    let settings = &request.settings().fastcgi;
    let mut out = Vec::with_capacity(1024);
    fastcgi::begin(&mut out, settings.keep_conn);
    let mut params = Params::new(&mut out);
    for param in settings.params.iter() {
        let value = param.value.evaluate(request);
        if !(value.is_empty() && param.if_not_empty) {
            params.push(param.name.as_bytes(), &value);
        }
    }
    if request.passing().pass_request_headers {
        let is_set = |name: &[u8]| settings.params.iter().any(|it| it.name.as_bytes() == name);
        for (name, value) in headers(request) {
            if !is_set(&name) {
                params.push(&name, &value);
            }
        }
    }
    params.finish();
    out
}

/// The client's headers as CGI names them (RFC 3875, 4.1.18), those of one name joined.
///
/// `Proxy` is none of them: programs take `HTTP_PROXY` for a setting of theirs. Nor are names with anything
/// but letters, digits and dashes in them, which could be taken for others.
fn headers(request: &Request) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for header in &request.head().headers {
        let (name, value) = (request.bytes(header.name), request.bytes(header.value));
        let is_plain = name
            .iter()
            .all(|it| it.is_ascii_alphanumeric() || *it == b'-');
        if !is_plain || name.eq_ignore_ascii_case(b"proxy") {
            continue;
        }
        let mut cgi = b"HTTP_".to_vec();
        cgi.extend(name.iter().map(|byte| match byte {
            b'-' => b'_',
            other => other.to_ascii_uppercase(),
        }));
        match all.iter_mut().find(|(known, _)| *known == cgi) {
            Some((_, joined)) => {
                let joiner: &[u8] = if cgi == b"HTTP_COOKIE" { b"; " } else { b", " };
                joined.extend_from_slice(joiner);
                joined.extend_from_slice(value);
            }
            None => all.push((cgi, value.to_vec())),
        }
    }
    all
}

/// Takes an answer out of the records that it comes in.
pub(crate) struct Unwrap {
    reader: Reader,
    is_ended: bool,
    /// Whether something came behind the end.
    has_more: bool,
    stderr: Rc<RefCell<Vec<u8>>>,
}

impl Unwrap {
    /// `stderr` gets what the application writes to its standard error.
    pub(super) fn new(stderr: Rc<RefCell<Vec<u8>>>) -> Self {
        Self {
            reader: Reader::new(),
            is_ended: false,
            has_more: false,
            stderr,
        }
    }

    /// Whether the application has ended the request.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Whether it has, and no more than that: the connection may carry another request.
    pub(super) fn is_whole(&self) -> bool {
        self.is_ended && !self.has_more
    }

    /// Appends to `out` what is the answer's own in these bytes.
    pub(super) fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), FastCgiError> {
        loop {
            if self.is_ended {
                self.has_more |= !input.is_empty();
                return Ok(());
            }
            let consumed = match self.reader.read(input)? {
                Read::Stdout { start, consumed } => {
                    out.extend_from_slice(&input[start..consumed]);
                    consumed
                }
                Read::Stderr { start, consumed } => {
                    let mut stderr = self.stderr.borrow_mut();
                    let room = STDERR_BYTES_MAX.saturating_sub(stderr.len());
                    let said = &input[start..consumed];
                    stderr.extend_from_slice(&said[..said.len().min(room)]);
                    consumed
                }
                Read::End { consumed, .. } => {
                    self.is_ended = true;
                    consumed
                }
                Read::NeedMore { .. } => return Ok(()),
            };
            input = &input[consumed..];
        }
    }
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
