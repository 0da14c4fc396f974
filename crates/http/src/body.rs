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
