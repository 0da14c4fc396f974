//! Response heads, as a client reads them (RFC 9112, sections 4 to 6).

use std::fmt;

use super::head::whole_line;
use super::headers;
use crate::body::ResponseFraming;
use crate::head::KeepAlive;
use crate::header::{HeaderId, HeaderSpan, bits};
use crate::method::Method;
use crate::response_head::ResponseHead;
use crate::span::Span;
use crate::token::is_token;
use crate::version::Version;

/// Whether a head begins with a status line.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum StatusLine {
    /// It does, as everything does that speaks HTTP.
    #[default]
    Required,
    /// It may, as of what speaks uwsgi or SCGI; else it is read as one that does not.
    Optional,
    /// It does not (RFC 3875, section 6): `Status` says it, else it is 302 where there is a
    /// `Location`, and 200 otherwise.
    Absent,
}

/// What a response head may cost, and how it begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResponseLimits {
    /// The longest head, with its empty line.
    pub head_bytes_max: usize,
    /// The most header lines.
    pub headers_max: usize,
    /// The most interim responses before the final one.
    pub interims_max: usize,
    /// Whether there is a status line.
    pub status_line: StatusLine,
}

impl Default for ResponseLimits {
    /// Heads of 32 KiB, 1000 headers, 16 interim responses, a status line.
    fn default() -> Self {
        Self {
            head_bytes_max: 32 * 1024,
            headers_max: 1000,
            interims_max: 16,
            status_line: StatusLine::Required,
        }
    }
}

/// How far a response head has been read.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ResponseProgress {
    /// All bytes have been read and the head has not ended.
    Partial,
    /// The head of an interim response (1xx but 101) has ended. The next call reads the head after
    /// it, and is shown the bytes from there on.
    Interim {
        /// How many bytes it took, with its empty line.
        head_bytes: usize,
    },
    /// The head of the final response has ended.
    Complete {
        /// How many bytes it took, with its empty line.
        head_bytes: usize,
    },
}

/// Why a response cannot be used. Nothing behind it can be found on its connection.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ResponseError {
    /// The first line is no status line of HTTP/1.
    InvalidStatusLine,
    /// The status is none, or none that may stand there.
    InvalidStatus,
    /// A header line is malformed: no token before the colon, a folded line, a bare CR, a NUL.
    InvalidHeaderLine,
    /// The head is longer than it may be.
    HeadTooLarge,
    /// More header lines than there may be.
    TooManyHeaders,
    /// More interim responses than there may be.
    TooManyInterims,
    /// A second `Content-Length` or `Transfer-Encoding`.
    DuplicateHeader,
    /// `Content-Length` is not a number of at most `i64::MAX`.
    InvalidContentLength,
    /// `Transfer-Encoding` in HTTP/1.0, or in a head without a status line.
    TransferEncodingInHttp10,
    /// `Transfer-Encoding` is not exactly `chunked`.
    UnknownTransferEncoding,
    /// `Content-Length` and `Transfer-Encoding` together.
    ContentLengthAndTransferEncoding,
    /// An interim response that announces a body.
    BodyOfInterim,
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InvalidStatusLine => "invalid status line",
            Self::InvalidStatus => "invalid status",
            Self::InvalidHeaderLine => "invalid header line",
            Self::HeadTooLarge => "too big header",
            Self::TooManyHeaders => "too many header lines",
            Self::TooManyInterims => "too many interim responses",
            Self::DuplicateHeader => "duplicate header line",
            Self::InvalidContentLength => "invalid \"Content-Length\" header",
            Self::TransferEncodingInHttp10 => "HTTP/1.0 response with \"Transfer-Encoding\" header",
            Self::UnknownTransferEncoding => "unknown \"Transfer-Encoding\"",
            Self::ContentLengthAndTransferEncoding => {
                "\"Content-Length\" and \"Transfer-Encoding\" headers at the same time"
            }
            Self::BodyOfInterim => "interim response with a body",
        })
    }
}

impl std::error::Error for ResponseError {}

#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    StatusLine,
    Headers,
    Interim,
    Complete,
    Failed(ResponseError),
}

/// Reads the heads of the responses to one request: interim ones, then the final one.
///
/// It is shown *all* bytes of the head received so far with each call, and what it says does not
/// depend on how they were cut. What it finds it writes into a [`ResponseHead`] of the caller's, the
/// same one with each call. [`reset`](Self::reset) makes it ready for the next request.
///
/// **Nobody can cut a response in two.** Whatever two readers could cut at different places is an
/// error, in any combination with a status or method that has no body: a repeated or malformed
/// `Content-Length`, `Transfer-Encoding` beside it, repeated, in HTTP/1.0 or of another kind than
/// `chunked`, a folded line, a CR without its LF, a NUL, a name that is no token. Stricter than nginx
/// on purpose: what has no status line is no response of HTTP/0.9 but an error, one space separates
/// the parts of a status line, and 1xx has no body. Where a 204 announces one, as some servers do, it
/// has none and the connection is not used again. A bare LF ends a line, as in nginx.
///
/// A parser is a plain value: it may be used from any thread, one at a time.
#[derive(Clone, Debug)]
pub struct ResponseParser {
    state: State,
    /// The method of the request.
    method: Method,
    /// Where the line begins that is read next.
    at: usize,
    /// How far its end has been looked for.
    seen: usize,
    /// The line read last, without its end.
    line: Span,
    interims: usize,
    has_status_line: bool,
}

impl ResponseParser {
    /// A parser before the first byte of the response to a request of this method, which decides
    /// with the status whether there is a body.
    #[must_use]
    pub fn new(method: Method) -> Self {
        Self {
            state: State::StatusLine,
            method,
            at: 0,
            seen: 0,
            line: Span::default(),
            interims: 0,
            has_status_line: false,
        }
    }

    /// Forgets what was read, empties `head`, and keeps its memory for the response to the next
    /// request.
    pub fn reset(&mut self, head: &mut ResponseHead, method: Method) {
        *self = Self::new(method);
        head.reset();
    }

    /// After an error, the line that it is about, without its end.
    #[must_use]
    pub fn error_line(&self) -> Span {
        self.line
    }

    /// Reads on in `bytes`, all bytes of the head received so far and possibly more, and notes in
    /// `head` what is there.
    ///
    /// # Errors
    ///
    /// See [`ResponseError`]. Later calls return the same error, until [`reset`](Self::reset).
    pub fn parse(
        &mut self,
        head: &mut ResponseHead,
        bytes: &[u8],
        limits: &ResponseLimits,
    ) -> Result<ResponseProgress, ResponseError> {
        if self.state == State::Interim {
            (self.state, self.at, self.seen) = (State::StatusLine, 0, 0);
            self.line = Span::default();
            head.reset();
        }
        let parsed = self.advance(head, bytes, limits);
        if let Err(error) = parsed {
            self.state = State::Failed(error);
        }
        parsed
    }

    fn advance(
        &mut self,
        head: &mut ResponseHead,
        bytes: &[u8],
        limits: &ResponseLimits,
    ) -> Result<ResponseProgress, ResponseError> {
        // Spans are of 32 bits. No byte past this offset is looked at, so that a limit is hit at the
        // same byte in whatever pieces it arrives.
        let max = limits.head_bytes_max.min(u32::MAX as usize);
        let window = &bytes[..bytes.len().min(max)];
        let ended = match self.state {
            State::Failed(error) => return Err(error),
            State::Complete => true,
            _ => self.status_line(head, window, limits)? && self.headers(head, window, limits)?,
        };
        let head_bytes = self.at;
        match self.state {
            State::Interim => Ok(ResponseProgress::Interim { head_bytes }),
            _ if ended => Ok(ResponseProgress::Complete { head_bytes }),
            _ if window.len() == max => Err(ResponseError::HeadTooLarge),
            _ => Ok(ResponseProgress::Partial),
        }
    }

    /// The next line, without its end; `None` where it has not ended.
    fn next_line(&mut self, window: &[u8]) -> Option<Span> {
        let from = self.seen.max(self.at);
        let Some(len) = memchr::memchr(b'\n', &window[from..]) else {
            self.seen = window.len();
            return None;
        };
        let start = self.at;
        let lf = from + len;
        self.at = lf + 1;
        let end = lf - usize::from(lf > start && window[lf - 1] == b'\r');
        self.line = Span::new(start, end);
        Some(self.line)
    }

    /// Reads the status line, if there is one; false where more bytes are needed.
    fn status_line(
        &mut self,
        head: &mut ResponseHead,
        window: &[u8],
        limits: &ResponseLimits,
    ) -> Result<bool, ResponseError> {
        if self.state == State::Headers {
            return Ok(true);
        }
        let len = window.len().min(STATUS_LINE_START.len());
        let looks_like_one = window[..len] == STATUS_LINE_START[..len];
        match limits.status_line {
            // What is garbage is found before its first line ends, which it may never do.
            StatusLine::Required if !looks_like_one => {
                self.line = Span::new(0, len);
                return Err(ResponseError::InvalidStatusLine);
            }
            StatusLine::Optional | StatusLine::Required if looks_like_one => {
                let Some(line) = self.next_line(window) else {
                    return Ok(false);
                };
                read_status_line(head, line, window).ok_or(ResponseError::InvalidStatusLine)?;
                self.has_status_line = true;
            }
            _ => {
                head.version = Version::HTTP_10;
                self.has_status_line = false;
            }
        }
        self.state = State::Headers;
        Ok(true)
    }

    /// Reads header lines; true where the head has ended.
    fn headers(
        &mut self,
        head: &mut ResponseHead,
        window: &[u8],
        limits: &ResponseLimits,
    ) -> Result<bool, ResponseError> {
        loop {
            // Most lines are ordinary, and are taken without looking at each of their bytes.
            let rest = &window[self.at..];
            if !matches!(rest.first(), None | Some(b'\r' | b'\n'))
                && let Some(line) = whole_line(rest)
            {
                let header = line.at(self.at);
                self.line = Span::new(self.at, header.value.end as usize);
                self.at = window.len() - line.rest.len();
                push(head, window, limits, header)?;
                continue;
            }
            let Some(line) = self.next_line(window) else {
                return Ok(false);
            };
            if line.is_empty() {
                self.finish(head, window, limits)?;
                return Ok(true);
            }
            let header = read_line(line, window).ok_or(ResponseError::InvalidHeaderLine)?;
            push(head, window, limits, header)?;
        }
    }

    fn finish(
        &mut self,
        head: &mut ResponseHead,
        bytes: &[u8],
        limits: &ResponseLimits,
    ) -> Result<(), ResponseError> {
        if !self.has_status_line {
            head.status = status_by_lines(head, bytes)?;
        }
        let body = announced_body(head, bytes)?;
        if head.is_interim() {
            if !matches!(
                body,
                ResponseFraming::UntilClose | ResponseFraming::Length(0)
            ) {
                return Err(ResponseError::BodyOfInterim);
            }
            self.interims += 1;
            if self.interims > limits.interims_max {
                return Err(ResponseError::TooManyInterims);
            }
            self.state = State::Interim;
            return Ok(());
        }
        head.framing = match head.status {
            101 => ResponseFraming::Tunnel,
            200..300 if self.method == Method::Connect => ResponseFraming::Tunnel,
            204 | 304 => ResponseFraming::None,
            _ if self.method == Method::Head => ResponseFraming::None,
            _ => body,
        };
        let confused = head.status == 204
            && !matches!(
                body,
                ResponseFraming::UntilClose | ResponseFraming::Length(0)
            );
        head.keep_alive = match head.framing {
            ResponseFraming::UntilClose | ResponseFraming::Tunnel => KeepAlive::Off,
            _ if confused => KeepAlive::Off,
            _ => headers::keep_alive_of(&head.known, head.version),
        };
        self.state = State::Complete;
        Ok(())
    }
}

const STATUS_LINE_START: &[u8] = b"HTTP/1.";

/// `HTTP/1.1 200 OK`, where the phrase may be missing with its space.
fn read_status_line(head: &mut ResponseHead, line: Span, window: &[u8]) -> Option<()> {
    let text = line.of(window);
    let [minor @ b'0'..=b'9', b' ', rest @ ..] = text.strip_prefix(STATUS_LINE_START)? else {
        return None;
    };
    head.version = Version {
        major: 1,
        minor: u16::from(minor - b'0'),
    };
    head.status = status(rest)?;
    let is_text = |&byte: &u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    if !rest.iter().all(is_text) {
        return None;
    }
    let reason_bytes = rest.len().saturating_sub("200 ".len());
    let end = line.end as usize;
    head.reason = Span::new(end - reason_bytes, end);
    Some(())
}

/// Three digits of at least 100, and nothing or a space behind them.
fn status(text: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = text else {
        return None;
    };
    let digit = |byte: &u8| u16::from(byte - b'0');
    matches!(rest, [] | [b' ', ..]).then(|| digit(a) * 100 + digit(b) * 10 + digit(c))
}

/// The status of a head without a status line (RFC 3875, section 6.3.3). It says no 1xx.
fn status_by_lines(head: &ResponseHead, bytes: &[u8]) -> Result<u16, ResponseError> {
    match head.known.get(HeaderId::Status) {
        Some(value) => status(value.of(bytes))
            .filter(|&status| status >= 200)
            .ok_or(ResponseError::InvalidStatus),
        None if head.known.get(HeaderId::Location).is_some() => Ok(302),
        None => Ok(200),
    }
}

/// A header line in all its forms.
fn read_line(line: Span, window: &[u8]) -> Option<HeaderSpan> {
    let text = line.of(window);
    if memchr::memchr2(b'\r', 0, text).is_some() {
        return None;
    }
    let start = line.start as usize;
    let colon = start + memchr::memchr(b':', text)?;
    let name = Span::new(start, colon);
    let id = HeaderId::of_name(name.of(window));
    let value = Span::new(colon + 1, line.end as usize).trimmed(window);
    is_token(name.of(window)).then_some(HeaderSpan { name, value, id })
}

/// Headers of which a second line could cut the body elsewhere. Of others the first line counts, as
/// in nginx.
const UNIQUE: u64 = bits(&[HeaderId::ContentLength, HeaderId::TransferEncoding]);

fn push(
    head: &mut ResponseHead,
    bytes: &[u8],
    limits: &ResponseLimits,
    line: HeaderSpan,
) -> Result<(), ResponseError> {
    if head.headers.len() >= limits.headers_max {
        return Err(ResponseError::TooManyHeaders);
    }
    head.headers.push(line);
    if line.id != HeaderId::Other && !head.known.note_of(UNIQUE, bytes, line) {
        return Err(ResponseError::DuplicateHeader);
    }
    Ok(())
}

/// The body that the header lines announce, whether or not the status and the method allow for one.
fn announced_body(head: &ResponseHead, bytes: &[u8]) -> Result<ResponseFraming, ResponseError> {
    let length = match head.known.get(HeaderId::ContentLength) {
        None => None,
        Some(value) => Some(
            headers::content_length(value.of(bytes)).ok_or(ResponseError::InvalidContentLength)?,
        ),
    };
    let Some(coding) = head.known.get(HeaderId::TransferEncoding) else {
        return Ok(length.map_or(ResponseFraming::UntilClose, ResponseFraming::Length));
    };
    if head.version < Version::HTTP_11 {
        return Err(ResponseError::TransferEncodingInHttp10);
    }
    if !coding.of(bytes).eq_ignore_ascii_case(b"chunked") {
        return Err(ResponseError::UnknownTransferEncoding);
    }
    if length.is_some() {
        return Err(ResponseError::ContentLengthAndTransferEncoding);
    }
    Ok(ResponseFraming::Chunked)
}
