//! HTTP/1.1, and the older versions, from the server's side (RFC 9110, RFC 9112).
//!
//! * [`HeadParser`] reads a request head;
//! * [`normalize_path`] turns the path that a request asks for into the one that is looked up;
//! * [`ChunkedDecoder`] takes a chunked body apart;
//! * [`writer`] writes response heads and chunks.
//!
//! **Request smuggling is closed by construction.** Two readers of one connection must never
//! disagree on where a request ends, so all that is ambiguous is refused, and the connection is
//! closed: a repeated or malformed `Content-Length`, `Transfer-Encoding` beside it, repeated, in
//! HTTP/1.0 or of another kind than `chunked`, folded lines, a CR without its LF, NUL, spaces
//! before a colon, chunk lines that do not end in CRLF. No setting turns these off.

mod body;
mod error;
mod head;
mod headers;
pub mod lines;
mod request_line;
mod scan;
mod target;
pub mod writer;

pub use body::{
    BodyError, CHUNK_LINE_BYTES_MAX, ChunkedDecoder, Decoded, EXTENSION_BYTES_MAX,
    TRAILER_BYTES_MAX,
};
pub use error::HeadError;
pub use head::{Head, HeadLimits, HeadParser, Method, Progress, Version};
pub use headers::{Framing, HeaderId, HeaderSpan, KeepAlive, Known};
pub use target::{Target, TargetError, TargetForm, normalize_path};

/// A range of bytes within the head that was parsed, as offsets from its first byte.
///
/// The empty span stands for what is absent as well as for what is empty; where the two differ,
/// there is an `Option` around it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// The offset of the first byte.
    pub start: u32,
    /// The offset past the last byte; never below `start`.
    pub end: u32,
}

impl Span {
    /// A span of two offsets. Heads are far below 4 GiB: [`HeadParser`] reads no further.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end && u32::try_from(end).is_ok());
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// The bytes that the span stands for.
    ///
    /// # Panics
    ///
    /// When `bytes` is not the head that the span came from and is shorter.
    #[must_use]
    pub fn of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.start as usize..self.end as usize]
    }

    /// How many bytes the span has.
    #[must_use]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether the span has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }
}
