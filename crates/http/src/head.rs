//! Request heads, whatever version of the protocol they came by.

use crate::body::Framing;
use crate::header::{HeaderSpan, Known};
use crate::method::Method;
use crate::span::Span;
use crate::target::Target;
use crate::version::Version;

/// Whether the client wants the connection to stay open after the response.
///
/// As in nginx: a `Connection` line that contains `close` turns it off, one that contains
/// `keep-alive` turns it on, otherwise it is on from HTTP/1.1 onwards. Where one line says `close`
/// and another `keep-alive`, `close` wins, whatever their order (RFC 9112, section 9.3); nginx
/// lets the later line win.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum KeepAlive {
    /// Close after the response.
    #[default]
    Off,
    /// Another request may follow.
    On,
}

impl KeepAlive {
    /// Whether another request may follow.
    #[must_use]
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

/// A request head. Spans are offsets into the bytes that were shown to the parser.
///
/// After an error it holds what had been read until then.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// The method's name.
    pub method_span: Span,
    /// The request target.
    pub target: Target,
    /// The version.
    pub version: Version,
    /// The version as sent, with spaces that follow it: `$server_protocol`; empty for HTTP/0.9.
    pub protocol: Span,
    /// The request line without its line end: `$request`. Empty until the line is complete.
    pub request_line: Span,
    /// The header lines in order.
    pub headers: Vec<HeaderSpan>,
    /// The header lines left out for their names, without line ends; nginx logs each at level info
    /// as `client sent invalid header line: "..."`.
    pub ignored: Vec<Span>,
    /// The headers that matter, by name.
    pub known: Known,
    /// How the body is delimited.
    pub framing: Framing,
    /// Whether the connection stays open.
    pub keep_alive: KeepAlive,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// The host that the request is for, validated, without port and without the dot that may end
    /// it, in the client's letters. That of an absolute form goes before the `Host` line.
    pub host: Option<Span>,
}

impl Head {
    /// Whether a request line has been read to its end.
    #[must_use]
    pub fn request_line_done(&self) -> bool {
        !self.request_line.is_empty()
    }

    /// Empties it, and keeps its memory.
    pub fn reset(&mut self) {
        self.headers.clear();
        self.ignored.clear();
        self.known.reset();
        self.method = Method::Other;
        self.method_span = Span::default();
        self.target = Target::default();
        self.version = Version::default();
        self.protocol = Span::default();
        self.request_line = Span::default();
        self.framing = Framing::None;
        self.keep_alive = KeepAlive::Off;
        self.expect_continue = false;
        self.host = None;
    }
}
