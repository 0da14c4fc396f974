//! The request line: method, target, version.
//!
//! Each function here reads one element on from where the parser stands, and returns false when
//! the window ends before the element does.

use super::error::HeadError;
use super::headers::{is_port, validate_host};
use super::parser::{HeadParser, State, line_end};
use super::scan;
use crate::head::Head;
use crate::method::Method;
use crate::span::Span;
use crate::target::TargetForm;
use crate::version::Version;

/// A request line that is all there and has nothing unusual about it, as offsets from its first
/// byte.
struct WholeLine {
    method: Method,
    method_end: usize,
    path_end: usize,
    target_end: usize,
    version: Version,
}

/// The length of ` HTTP/1.1\r\n`.
const VERSION_BYTES: usize = 11;

/// Reads a line such as `GET /path?args HTTP/1.1` with its CRLF. Any other line is `None`, and is
/// read element by element with the same result or the error that it deserves.
fn whole_line(rest: &[u8]) -> Option<WholeLine> {
    let (method, method_end) = if rest.starts_with(b"GET ") {
        (Method::Get, 3)
    } else if rest.starts_with(b"HEAD ") {
        (Method::Head, 4)
    } else if rest.starts_with(b"POST ") {
        (Method::Post, 4)
    } else {
        return None;
    };
    let target = &rest[method_end + 1..];
    let scan::Target {
        len,
        special,
        question,
    } = scan::find_target_end(target)?;
    let after = target[len..].first_chunk::<VERSION_BYTES>()?;
    let version = if after == b" HTTP/1.1\r\n" {
        Version::HTTP_11
    } else if after == b" HTTP/1.0\r\n" {
        Version::HTTP_10
    } else {
        return None;
    };
    if special || target[0] != b'/' {
        return None;
    }
    let question = if question {
        memchr::memchr(b'?', &target[..len])
    } else {
        None
    };
    let path_len = question.unwrap_or(len);
    let start = method_end + 1;
    let (path_end, target_end) = (start + path_len, start + len);
    Some(WholeLine {
        method,
        method_end,
        path_end,
        target_end,
        version,
    })
}

/// Reads a request line at the parser's first byte that is all there and has nothing unusual about it;
/// false, and nothing read, where it is another.
#[inline]
pub(super) fn read_whole(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> bool {
    let line = whole_line(window);
    if let Some(line) = &line {
        line.note(parser, head);
    }
    line.is_some()
}

impl WholeLine {
    fn note(&self, parser: &mut HeadParser, head: &mut Head) {
        let span = Span::new;
        let target_start = self.method_end + 1;
        let end = self.target_end + VERSION_BYTES;
        head.method = self.method;
        head.method_span = span(0, self.method_end);
        head.target.path = span(target_start, self.path_end);
        head.target.raw = span(target_start, self.target_end);
        if self.path_end < self.target_end {
            head.target.args = Some(span(self.path_end + 1, self.target_end));
        }
        head.version = self.version;
        head.protocol = span(self.target_end + 1, end - 2);
        head.request_line = span(0, end - 2);
        parser.at = end;
        parser.line_start = parser.at;
        parser.state = State::HeaderStart;
    }
}

/// Reads on by one element.
pub(super) fn read(
    parser: &mut HeadParser,
    head: &mut Head,
    window: &[u8],
) -> Result<bool, HeadError> {
    match parser.state {
        State::Lead => lead(parser, window),
        State::Method => method(parser, head, window),
        State::BeforeTarget => before_target(parser, head, window),
        State::Scheme => scheme(parser, head, window),
        State::Host => host(parser, window),
        State::HostEnd => host_end(parser, head, window),
        State::Port => port(parser, head, window),
        State::Path => path(parser, head, window),
        State::Query => query(parser, head, window),
        State::Fragment => fragment(parser, head, window),
        State::Protocol => protocol(parser, head, window),
        _ => after_version(parser, head, window),
    }
}

/// Skips line ends before the request line: some clients send one after a body (RFC 9112,
/// section 2.2).
fn lead(parser: &mut HeadParser, window: &[u8]) -> Result<bool, HeadError> {
    while let Some(b'\r' | b'\n') = window.get(parser.at) {
        let Some(next) = line_end(window, parser.at) else {
            return Ok(false);
        };
        parser.at = next.map_err(|()| HeadError::InvalidRequest)?;
        parser.line_start = parser.at;
    }
    if parser.at == window.len() {
        return Ok(false);
    }
    parser.line_start = parser.at;
    parser.state = State::Method;
    Ok(true)
}

fn method(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    let start = parser.line_start;
    while let Some(&byte) = window.get(parser.at) {
        if !matches!(byte, b'A'..=b'Z' | b'_' | b'-') {
            if byte != b' ' || parser.at == start {
                return Err(HeadError::InvalidMethod);
            }
            let span = Span::new(start, parser.at);
            head.method = Method::of_name(span.of(window));
            head.method_span = span;
            parser.at += 1;
            parser.state = State::BeforeTarget;
            return Ok(true);
        }
        parser.at += 1;
    }
    Ok(false)
}

fn before_target(
    parser: &mut HeadParser,
    head: &mut Head,
    window: &[u8],
) -> Result<bool, HeadError> {
    while let Some(b' ') = window.get(parser.at) {
        parser.at += 1;
    }
    let Some(&byte) = window.get(parser.at) else {
        return Ok(false);
    };
    parser.mark = parser.at;
    let target = &mut head.target;
    let method = head.method;
    parser.state = match byte {
        _ if method == Method::Connect => {
            target.form = TargetForm::Authority;
            State::Host
        }
        b'/' => State::Path,
        b'*' if method == Method::Options => {
            match window.get(parser.at + 1) {
                None => return Ok(false),
                Some(b' ') => {}
                Some(_) => return Err(HeadError::InvalidRequest),
            }
            target.form = TargetForm::Asterisk;
            target.complex = true;
            target.path = Span::new(parser.at, parser.at + 1);
            target.raw = target.path;
            parser.at += 1;
            State::Protocol
        }
        b'a'..=b'z' | b'A'..=b'Z' => {
            target.form = TargetForm::Absolute;
            State::Scheme
        }
        _ => return Err(HeadError::InvalidRequest),
    };
    Ok(true)
}

/// `http://`, up to the host.
fn scheme(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    while let Some(&byte) = window.get(parser.at) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'-' | b'.' => parser.at += 1,
            _ => break,
        }
    }
    // At most three bytes that were seen before are looked at again here.
    let rest = &window[parser.at..];
    let delimiter = b"://";
    let len = rest.len().min(delimiter.len());
    if rest[..len] != delimiter[..len] {
        return Err(HeadError::InvalidRequest);
    }
    if len < delimiter.len() {
        return Ok(false);
    }
    head.target.scheme = Some(Span::new(parser.mark, parser.at));
    parser.at += len;
    parser.mark = parser.at;
    parser.state = State::Host;
    Ok(true)
}

/// A host name, or an IPv6 literal up to its closing bracket.
fn host(parser: &mut HeadParser, window: &[u8]) -> Result<bool, HeadError> {
    let literal = window.get(parser.mark) == Some(&b'[');
    while let Some(&byte) = window.get(parser.at) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' => {}
            b'[' if literal && parser.at == parser.mark => {}
            b']' if literal => {
                parser.at += 1;
                parser.state = State::HostEnd;
                return Ok(true);
            }
            b':' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' if literal => {}
            b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' if literal => {}
            _ if literal => return Err(HeadError::InvalidRequest),
            _ => {
                parser.state = State::HostEnd;
                return Ok(true);
            }
        }
        parser.at += 1;
    }
    Ok(false)
}

/// What follows a host: a port, or the end of the authority.
fn host_end(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    let Some(&byte) = window.get(parser.at) else {
        return Ok(false);
    };
    let span = Span::new(parser.mark, parser.at);
    head.target.host = Some(span);
    if byte == b':' {
        parser.at += 1;
        parser.mark = parser.at;
        parser.state = State::Port;
    } else if head.method == Method::Connect {
        return Err(HeadError::InvalidRequest);
    } else {
        authority_end(parser, head, byte)?;
    }
    match validate_host(span.of(window)) {
        Some(len) => {
            let start = span.start as usize;
            head.host = Some(Span::new(start, start + len));
            Ok(true)
        }
        None => Err(HeadError::InvalidHostInRequestLine),
    }
}

fn port(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    while let Some(b'0'..=b'9') = window.get(parser.at) {
        parser.at += 1;
    }
    let Some(&byte) = window.get(parser.at) else {
        return Ok(false);
    };
    let span = Span::new(parser.mark, parser.at);
    if !is_port(span.of(window)) {
        return Err(HeadError::InvalidHostInRequestLine);
    }
    head.target.port = Some(span);
    if head.method != Method::Connect {
        authority_end(parser, head, byte)?;
    } else if byte == b' ' {
        head.target.raw = Span::new(parser.mark, parser.mark);
        parser.state = State::Protocol;
    } else {
        return Err(HeadError::InvalidRequest);
    }
    Ok(true)
}

/// What follows the authority of an absolute form.
fn authority_end(parser: &mut HeadParser, head: &mut Head, byte: u8) -> Result<(), HeadError> {
    let target = &mut head.target;
    parser.mark = parser.at;
    parser.state = match byte {
        b'/' => State::Path,
        b'?' => {
            target.complex = true;
            State::Path
        }
        b' ' => {
            // No path is the path "/": that of "://" stands for it, so that it has a span.
            let slash = target.scheme.map_or(0, |scheme| scheme.end as usize + 1);
            target.path = Span::new(slash, slash + 1);
            target.raw = target.path;
            State::Protocol
        }
        _ => return Err(HeadError::InvalidRequest),
    };
    Ok(())
}

/// What a byte means in a path.
const PATH_PLAIN: u8 = 0;
const PATH_SPECIAL: u8 = 1;
const PATH_END: u8 = 2;
const PATH_FATAL: u8 = 3;

static PATH_CLASS: [u8; 256] = {
    let mut table = [PATH_PLAIN; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'/' | b'.' | b'%' => PATH_SPECIAL,
            b' ' | b'\r' | b'\n' | b'?' | b'#' => PATH_END,
            0..=0x1f | 0x7f => PATH_FATAL,
            _ => PATH_PLAIN,
        };
        byte += 1;
    }
    table
};

fn path(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    let start = parser.mark;
    let mut at = parser.at;
    let byte = loop {
        let Some(&byte) = window.get(at) else {
            parser.at = at;
            return Ok(false);
        };
        match PATH_CLASS[byte as usize] {
            PATH_PLAIN => {}
            // A slash or dot after a slash, or any escape, asks for normalization.
            PATH_SPECIAL => {
                let after_slash = at > start && window[at - 1] == b'/';
                head.target.complex |= after_slash || byte == b'%';
            }
            PATH_END => break byte,
            _ => {
                parser.at = at;
                return Err(HeadError::InvalidRequest);
            }
        }
        at += 1;
    };
    parser.at = at;
    let target = &mut head.target;
    target.path = Span::new(start, at);
    match byte {
        b'?' => {
            parser.at += 1;
            target.args = Some(Span::new(parser.at, parser.at));
            parser.state = State::Query;
        }
        b'#' => {
            target.complex = true;
            parser.state = State::Fragment;
        }
        _ => target_end(parser, head),
    }
    Ok(true)
}

fn query(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    let Some(byte) = scan_to(parser, window, true)? else {
        return Ok(false);
    };
    let end = parser.at as u32;
    let target = &mut head.target;
    if let Some(args) = &mut target.args {
        args.end = end;
    }
    if byte == b'#' {
        target.complex = true;
        parser.state = State::Fragment;
    } else {
        target_end(parser, head);
    }
    Ok(true)
}

fn fragment(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    match scan_to(parser, window, false)? {
        Some(_) => target_end(parser, head),
        None => return Ok(false),
    }
    Ok(true)
}

/// Finds the end of a query or fragment.
fn scan_to(
    parser: &mut HeadParser,
    window: &[u8],
    stop_at_fragment: bool,
) -> Result<Option<u8>, HeadError> {
    while let Some(&byte) = window.get(parser.at) {
        match PATH_CLASS[byte as usize] {
            PATH_END if byte == b'?' || (byte == b'#' && !stop_at_fragment) => {}
            PATH_END => return Ok(Some(byte)),
            PATH_FATAL => return Err(HeadError::InvalidRequest),
            _ => {}
        }
        parser.at += 1;
    }
    Ok(None)
}

fn target_end(parser: &mut HeadParser, head: &mut Head) {
    head.target.raw = Span::new(parser.mark, parser.at);
    parser.state = State::Protocol;
}

/// Spaces, then the version or the end of an HTTP/0.9 request.
fn protocol(parser: &mut HeadParser, head: &mut Head, window: &[u8]) -> Result<bool, HeadError> {
    while let Some(b' ') = window.get(parser.at) {
        parser.at += 1;
    }
    match window.get(parser.at) {
        None => Ok(false),
        Some(b'\r' | b'\n') => {
            head.version = Version::HTTP_09;
            line_done(parser, head, window, parser.at)
        }
        Some(_) => match version(&window[parser.at..])? {
            None => Ok(false),
            Some((version, len)) => {
                parser.mark = parser.at;
                parser.at += len;
                head.version = version;
                parser.state = State::AfterVersion;
                Ok(true)
            }
        },
    }
}

/// Reads `HTTP/1.minor` and returns it with its length once the byte after it is there. The text
/// is short, so that it may be read again with each fragment.
fn version(text: &[u8]) -> Result<Option<(Version, usize)>, HeadError> {
    let prefix = b"HTTP/";
    let len = text.len().min(prefix.len());
    if text[..len] != prefix[..len] {
        return Err(HeadError::InvalidRequest);
    }
    match text.get(5) {
        None => return Ok(None),
        Some(b'1') => {}
        Some(b'2'..=b'9') => return Err(HeadError::InvalidVersion),
        Some(_) => return Err(HeadError::InvalidRequest),
    }
    match text.get(6) {
        None => return Ok(None),
        Some(b'.') => {}
        Some(b'0'..=b'9') => return Err(HeadError::InvalidVersion),
        Some(_) => return Err(HeadError::InvalidRequest),
    }
    let mut minor = 0u16;
    let mut at = 7;
    while let Some(byte @ b'0'..=b'9') = text.get(at) {
        if minor > 99 {
            return Err(HeadError::InvalidRequest);
        }
        minor = minor * 10 + u16::from(byte - b'0');
        at += 1;
    }
    match text.get(at) {
        None => Ok(None),
        Some(b' ' | b'\r' | b'\n') if at > 7 => Ok(Some((Version { major: 1, minor }, at))),
        Some(_) => Err(HeadError::InvalidRequest),
    }
}

fn after_version(
    parser: &mut HeadParser,
    head: &mut Head,
    window: &[u8],
) -> Result<bool, HeadError> {
    while let Some(b' ') = window.get(parser.at) {
        parser.at += 1;
    }
    line_done(parser, head, window, parser.mark)
}

/// The line end, and what can be said once the line is whole. The version, as sent, begins at
/// `protocol_start`.
fn line_done(
    parser: &mut HeadParser,
    head: &mut Head,
    window: &[u8],
    protocol_start: usize,
) -> Result<bool, HeadError> {
    let Some(next) = line_end(window, parser.at) else {
        return Ok(false);
    };
    let next = next.map_err(|()| HeadError::InvalidRequest)?;
    head.request_line = Span::new(parser.line_start, parser.at);
    head.protocol = Span::new(protocol_start, parser.at);
    parser.at = next;
    parser.line_start = next;
    parser.state = State::HeaderStart;
    if head.version == Version::HTTP_09 {
        if head.method != Method::Get {
            return Err(HeadError::InvalidMethodHttp09);
        }
        parser.finish(head, window)?;
    }
    Ok(true)
}
