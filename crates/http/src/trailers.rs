//! Trailers: header lines behind a body.

use crate::header::{HeaderId, HeaderSpan, bits};
use crate::span::Span;
use crate::token::is_token;

/// The header lines that followed a body (RFC 9110, section 6.5), as they were received.
///
/// They are never mixed into the head: what was decided by the head would be decided again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Trailers {
    /// The lines, each ended by a CR.
    bytes: Vec<u8>,
}

/// What frames a message, belongs to one connection, routes a request, says who sends it, or tells
/// how the content is to be understood: it must stand before the content (RFC 9110, section 6.5.1).
const BEFORE_CONTENT: u64 = bits(&[
    HeaderId::Authorization,
    HeaderId::CacheControl,
    HeaderId::Connection,
    HeaderId::ContentEncoding,
    HeaderId::ContentLength,
    HeaderId::ContentRange,
    HeaderId::ContentType,
    HeaderId::Cookie,
    HeaderId::Expect,
    HeaderId::Host,
    HeaderId::IfMatch,
    HeaderId::IfModifiedSince,
    HeaderId::IfNoneMatch,
    HeaderId::IfRange,
    HeaderId::IfUnmodifiedSince,
    HeaderId::KeepAlive,
    HeaderId::Location,
    HeaderId::Proxy,
    HeaderId::ProxyConnection,
    HeaderId::Range,
    HeaderId::SetCookie,
    HeaderId::Status,
    HeaderId::Te,
    HeaderId::Trailer,
    HeaderId::TransferEncoding,
    HeaderId::Upgrade,
    HeaderId::Vary,
    HeaderId::WwwAuthenticate,
    HeaderId::XAccelBuffering,
    HeaderId::XAccelCharset,
    HeaderId::XAccelExpires,
    HeaderId::XAccelLimitRate,
    HeaderId::XAccelRedirect,
    HeaderId::XForwardedFor,
    HeaderId::XForwardedProto,
    HeaderId::XRealIp,
]);

impl Trailers {
    /// Takes one byte more. The lines were checked: a name, a colon, a value without NUL, CR and LF.
    pub(crate) fn push(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Takes a line whose name and value were checked, of a version that has no lines.
    pub(crate) fn push_line(&mut self, name: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(name);
        self.bytes.push(b':');
        self.bytes.extend_from_slice(value);
        self.bytes.push(b'\r');
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes that the spans of [`lines`](Self::lines) point into.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The lines that may be passed on, in order. Left out is what has no token for a name, and what
    /// must not stand behind a content (RFC 9110, section 6.5.1), so that nobody frames, routes or
    /// authenticates by a line that was not there when that was decided.
    pub fn lines(&self) -> impl Iterator<Item = HeaderSpan> {
        let ends = memchr::memchr_iter(b'\r', &self.bytes);
        let mut start = 0;
        ends.filter_map(move |end| {
            let line = line(&self.bytes, start, end);
            start = end + 1;
            line
        })
    }
}

fn line(bytes: &[u8], start: usize, end: usize) -> Option<HeaderSpan> {
    let colon = start + memchr::memchr(b':', &bytes[start..end])?;
    let name = Span::new(start, colon);
    let id = HeaderId::of_name(name.of(bytes));
    let may_trail = id == HeaderId::Other || BEFORE_CONTENT & bits(&[id]) == 0;
    if !may_trail || !is_token(name.of(bytes)) {
        return None;
    }
    let value = Span::new(colon + 1, end).trimmed(bytes);
    Some(HeaderSpan { name, value, id })
}
