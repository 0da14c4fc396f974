//! Response heads, whatever version of the protocol they came by.

use crate::body::ResponseFraming;
use crate::head::KeepAlive;
use crate::header::{HeaderId, HeaderSpan, Known};
use crate::span::Span;
use crate::version::Version;

/// The head of a response that was received. Spans are offsets into the bytes that were shown to the
/// parser.
///
/// After an error it holds what had been read until then.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ResponseHead {
    /// The status, 100 to 999; 0 until it is known.
    pub status: u16,
    /// The reason phrase; empty where there is none.
    pub reason: Span,
    /// The version; HTTP/1.0 for a head without a status line.
    pub version: Version,
    /// The header lines in order. Every name is a token, no value holds CR, LF or NUL.
    pub headers: Vec<HeaderSpan>,
    /// The headers that matter, by name: the first line of each.
    pub known: Known,
    /// Where the body ends.
    pub framing: ResponseFraming,
    /// Whether the connection may carry another request once the body has ended.
    pub keep_alive: KeepAlive,
}

impl ResponseHead {
    /// Whether another head follows for the same request: 1xx but 101, which switches the protocol.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// For how many seconds the sender keeps an idle connection, by `Keep-Alive: timeout=5, max=100`
    /// (RFC 2068, section 19.7.1.1, and today's practice). `bytes` are those shown to the parser.
    #[must_use]
    pub fn keep_alive_timeout_s(&self, bytes: &[u8]) -> Option<u64> {
        let value = self.known.get(HeaderId::KeepAlive)?.of(bytes);
        let timeout = value.split(|&byte| byte == b',').find_map(|parameter| {
            let (name, seconds) = parameter.trim_ascii().split_at_checked(8)?;
            name.eq_ignore_ascii_case(b"timeout=").then_some(seconds)
        })?;
        std::str::from_utf8(timeout).ok()?.parse().ok()
    }

    /// Empties it, and keeps its memory.
    pub fn reset(&mut self) {
        self.headers.clear();
        self.known.reset();
        self.status = 0;
        self.reason = Span::default();
        self.version = Version::default();
        self.framing = ResponseFraming::None;
        self.keep_alive = KeepAlive::Off;
    }
}
