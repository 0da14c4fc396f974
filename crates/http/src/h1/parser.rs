//! The parser of request heads: what it remembers between two calls.

use super::error::HeadError;
use super::headers::HostCheck;
use crate::span::Span;

/// Where the parser stands. Within a state, `at` is the next byte to read and `mark` the first
/// byte of the element being read.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum State {
    /// Line ends before the request line.
    #[default]
    Lead,
    Method,
    BeforeTarget,
    Scheme,
    Host,
    HostEnd,
    Port,
    Path,
    Query,
    Fragment,
    /// Spaces after the target, then the version.
    Protocol,
    AfterVersion,
    HeaderStart,
    HeaderName,
    BeforeValue,
    HeaderValue,
    Complete,
    Failed(HeadError),
}

/// Reads request heads, one after the other, from bytes in any fragmentation.
///
/// It is shown *all* bytes of the head received so far with each call, the same ones as before and
/// then more, and goes on where it stopped: every byte is read once. What it says does not depend
/// on how the bytes were cut, and what is wrong is said at the first byte that is wrong, as in
/// nginx. What it finds it writes into a [`Head`](crate::Head) of the caller's, the same one with each
/// call: an empty one for the first. After a head is complete, [`reset`](Self::reset) makes it ready for the next, which
/// begins at offset 0 again. The head
/// allocates only while the number of header lines exceeds any before.
///
/// Stricter than nginx 1.22 on purpose: the line ends skipped before a request are CRLF or LF, not
/// CR alone; one CR ends a header line, not two; a header line has a colon; tabs around a value are
/// trimmed (RFC 9110, section 5.5), so `Transfer-Encoding:<tab>chunked` is what it says; a host
/// that is no host is refused (see `Host` in [`Known`](crate::Known)). A bare LF ends a line, as in nginx.
///
/// A parser is a plain value: it may be used from any thread, one at a time.
#[derive(Clone, Debug, Default)]
pub struct HeadParser {
    pub(super) state: State,
    pub(super) at: usize,
    pub(super) mark: usize,
    pub(super) line_start: usize,
    /// The name of the header line being read.
    pub(super) name: Span,
    /// Whether that name holds a byte that makes it invalid, not an error.
    pub(super) name_invalid: bool,
    pub(super) host_check: HostCheck,
}

/// Reads the line end that begins at `at`: where the next line begins, `Some(Err)` where a CR is
/// not followed by LF or the byte is neither, `None` where more bytes are needed to tell.
pub(super) fn line_end(window: &[u8], at: usize) -> Option<Result<usize, ()>> {
    match (window.get(at)?, window.get(at + 1)) {
        (b'\n', _) => Some(Ok(at + 1)),
        (b'\r', Some(b'\n')) => Some(Ok(at + 2)),
        (b'\r', None) => None,
        _ => Some(Err(())),
    }
}
