//! HTTP/1.1, and the older versions (RFC 9110, RFC 9112).
//!
//! * [`HeadParser`] reads a request head into a [`Head`](crate::Head);
//! * [`ResponseParser`] reads the head of an upstream's response into a
//!   [`ResponseHead`](crate::ResponseHead);
//! * [`ChunkedDecoder`] takes a chunked body apart;
//! * [`writer`] writes heads of requests and responses, and chunks.
//!
//! **Request smuggling is closed by construction**, and so is the splitting of responses. Two readers of one connection must never
//! disagree on where a request ends, so all that is ambiguous is refused, and the connection is
//! closed: a repeated or malformed `Content-Length`, `Transfer-Encoding` beside it, repeated, in
//! HTTP/1.0 or of another kind than `chunked`, folded lines, a CR without its LF, NUL, spaces
//! before a colon, chunk lines that do not end in CRLF. No setting turns these off.

mod body;
mod error;
mod head;
mod headers;
pub mod lines;
mod parser;
mod request_line;
mod response;
mod scan;
pub mod writer;

pub use body::{
    BodyError, CHUNK_LINE_BYTES_MAX, ChunkedDecoder, Decoded, EXTENSION_BYTES_MAX,
    TRAILER_BYTES_MAX,
};
pub use error::HeadError;
pub use head::{HeadLimits, Progress};
pub(crate) use headers::{framing as content_framing, note as note_line, validate_host};
pub use parser::HeadParser;
pub use response::{ResponseError, ResponseLimits, ResponseParser, ResponseProgress, StatusLine};
