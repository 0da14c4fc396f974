//! How the body of a message is delimited.

/// How a request's body is delimited (RFC 9112, section 6).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum Framing {
    /// No body: neither `Content-Length` nor `Transfer-Encoding`.
    #[default]
    None,
    /// As many bytes as `Content-Length` says, which may be 0. At most `i64::MAX`, as in nginx.
    Length(u64),
    /// `Transfer-Encoding: chunked`: read it with [`ChunkedDecoder`](crate::h1::ChunkedDecoder).
    Chunked,
}

/// Where the body of a response ends (RFC 9112, section 6.3).
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum ResponseFraming {
    /// No body: an answer to HEAD, 204, 304, an interim response.
    #[default]
    None,
    /// As many bytes as `Content-Length` says, which may be 0. At most `i64::MAX`.
    Length(u64),
    /// `Transfer-Encoding: chunked`: read it with [`ChunkedDecoder`](crate::h1::ChunkedDecoder).
    Chunked,
    /// All that comes until the sender closes, or ends its stream.
    UntilClose,
    /// What follows is no HTTP: 101, or a CONNECT that succeeded.
    Tunnel,
}
