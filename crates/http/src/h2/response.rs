//! From the fields of a header block to a response's head.

use std::fmt;

use super::error::StreamError;
use crate::body::ResponseFraming;
use crate::h1::{self, ResponseLimits, ResponseParser, ResponseProgress, writer};
use crate::head::KeepAlive;
use crate::header::HeaderId;
use crate::hpack::{Field, Fields, NameKind};
use crate::method::Method;
use crate::response_head::ResponseHead;
use crate::version::Version;

/// Why fields are no response.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum ResponseError {
    /// They are not what a response may be made of (RFC 9113, section 8.1.1).
    Malformed(StreamError),
    /// They are a head that HTTP/1 would not have taken either.
    Head(h1::ResponseError),
}

impl fmt::Display for ResponseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(error) => f.write_str(error.reason),
            Self::Head(error) => write!(f, "sent {error}"),
        }
    }
}

impl std::error::Error for ResponseError {}

const fn malformed(reason: &'static str) -> ResponseError {
    ResponseError::Malformed(StreamError::protocol(reason))
}

/// Makes a head of the fields of a response to a request with this method. `bytes` becomes the head as
/// HTTP/1.1 would have sent it, which the spans of the head point into, so that whoever keeps it need not
/// know by which version it came. `is_last` says that no body follows.
///
/// A body of an unknown length is [`ResponseFraming::Chunked`]: its end is told, and there may be trailers.
///
/// # Errors
///
/// See [`ResponseError`]; the head then holds what had been read.
pub fn read(
    fields: &Fields,
    method: Method,
    is_last: bool,
    head_bytes_max: usize,
    head: &mut ResponseHead,
    bytes: &mut Vec<u8>,
) -> Result<(), ResponseError> {
    bytes.clear();
    let (status, rest) = status(fields)?;
    if fields.are_too_large() {
        return Err(ResponseError::Head(h1::ResponseError::HeadTooLarge));
    }
    bytes.extend_from_slice(b"HTTP/1.1 ");
    bytes.extend_from_slice(status);
    bytes.extend_from_slice(b" \r\n");
    for field in rest {
        let (name, value) = (field.name.of(&fields.bytes), field.value.of(&fields.bytes));
        check(field, value)?;
        writer::header(bytes, name, value);
    }
    bytes.extend_from_slice(b"\r\n");
    let limits = ResponseLimits {
        head_bytes_max,
        ..ResponseLimits::default()
    };
    match ResponseParser::new(method).parse(head, bytes, &limits) {
        Ok(ResponseProgress::Complete { .. } | ResponseProgress::Interim { .. }) => {}
        // It ends with an empty line.
        Ok(ResponseProgress::Partial) => return Err(malformed("sent invalid header")),
        Err(error) => return Err(ResponseError::Head(error)),
    }
    head.version = Version::HTTP_2;
    head.keep_alive = KeepAlive::On;
    head.framing = match head.framing {
        ResponseFraming::None => ResponseFraming::None,
        ResponseFraming::Length(bytes) if is_last && bytes > 0 => {
            return Err(malformed("sent a smaller body than its content-length"));
        }
        ResponseFraming::Length(bytes) => ResponseFraming::Length(bytes),
        _ if is_last => ResponseFraming::Length(0),
        _ => ResponseFraming::Chunked,
    };
    Ok(())
}

/// The status, and the fields behind it.
fn status(fields: &Fields) -> Result<(&[u8], &[Field]), ResponseError> {
    let (first, rest) = match fields.list.split_first() {
        Some((first, rest)) if first.looked_at.kind == NameKind::Status => (first, rest),
        _ => return Err(malformed("sent no :status header")),
    };
    let status = first.value.of(&fields.bytes);
    match status {
        b"101" => Err(malformed("sent the status 101, which HTTP/2 does not have")),
        [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9'] => Ok((status, rest)),
        _ => Err(malformed("sent invalid :status")),
    }
}

/// Sees to it that a field is one that may stand in a message.
fn check(field: &Field, value: &[u8]) -> Result<(), ResponseError> {
    match field.looked_at.kind {
        NameKind::Plain | NameKind::Underscore | NameKind::Odd => {}
        NameKind::Status => return Err(malformed("sent duplicate :status header")),
        NameKind::Invalid => return Err(malformed("sent a field with an invalid name")),
        _ => return Err(malformed("sent a pseudo-header that no response has")),
    }
    if memchr::memchr3(b'\n', b'\r', 0, value).is_some() {
        return Err(malformed("sent a field with an invalid value"));
    }
    match field.looked_at.id {
        HeaderId::Connection
        | HeaderId::ProxyConnection
        | HeaderId::KeepAlive
        | HeaderId::TransferEncoding
        | HeaderId::Upgrade => Err(malformed("sent a field that belongs to a connection")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hpack::{Decoder, Encoder};

    fn fields(lines: &[(&'static str, &str)]) -> Fields {
        let (mut encoder, mut block) = (Encoder::new(), Vec::new());
        for (name, value) in lines {
            match name.starts_with(':') {
                true => encoder.pseudo(name.as_bytes(), value.as_bytes(), &mut block),
                false => encoder.field(name.as_bytes(), value.as_bytes(), &mut block),
            }
        }
        let mut fields = Fields::new(4096);
        Decoder::new(4096).decode(&block, &mut fields).unwrap();
        fields
    }

    fn read_of(
        lines: &[(&'static str, &str)],
        is_last: bool,
    ) -> Result<(ResponseHead, String), ResponseError> {
        let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
        let fields = fields(lines);
        read(&fields, Method::Get, is_last, 4096, &mut head, &mut bytes)?;
        Ok((head, String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn a_head_is_what_http_1_would_have_sent() {
        let lines = [(":status", "200"), ("x-a", "1"), ("content-length", "3")];
        let (head, bytes) = read_of(&lines, false).unwrap();
        assert_eq!(
            bytes,
            "HTTP/1.1 200 \r\nx-a: 1\r\ncontent-length: 3\r\n\r\n"
        );
        assert_eq!(
            (head.status, head.framing),
            (200, ResponseFraming::Length(3))
        );
        assert_eq!(head.headers.len(), 2);
        for (is_last, framing) in [
            (true, ResponseFraming::Length(0)),
            (false, ResponseFraming::Chunked),
        ] {
            assert_eq!(
                read_of(&[(":status", "500")], is_last).unwrap().0.framing,
                framing
            );
        }
        let (head, _) = read_of(&[(":status", "103"), ("link", "</a>")], false).unwrap();
        assert!(head.is_interim());
        let (head, _) = read_of(&[(":status", "304"), ("content-length", "9")], true).unwrap();
        assert_eq!(head.framing, ResponseFraming::None);
    }

    #[test]
    fn what_no_response_may_have_is_refused() {
        let status = (":status", "200");
        for (lines, why) in [
            (&[("x-a", "1")][..], "sent no :status header"),
            (&[], "sent no :status header"),
            (&[("x-a", "1"), status], "sent no :status header"),
            (&[status, status], "sent duplicate :status header"),
            (&[(":status", "20")], "sent invalid :status"),
            (&[(":status", "2000")], "sent invalid :status"),
            (&[(":status", "000")], "sent invalid :status"),
            (
                &[(":status", "101")],
                "sent the status 101, which HTTP/2 does not have",
            ),
            (
                &[status, (":path", "/")],
                "sent a pseudo-header that no response has",
            ),
            (&[status, ("a b", "1")], "sent a field with an invalid name"),
            (
                &[status, ("a", "1\r\nb: 2")],
                "sent a field with an invalid value",
            ),
            (
                &[status, ("connection", "close")],
                "sent a field that belongs to a connection",
            ),
            (
                &[status, ("transfer-encoding", "chunked")],
                "sent a field that belongs to a connection",
            ),
            (
                &[status, ("content-length", "x")],
                "sent invalid \"Content-Length\" header",
            ),
            (
                &[status, ("content-length", "1"), ("content-length", "2")],
                "sent duplicate header line",
            ),
        ] {
            let error = read_of(lines, false).expect_err(why);
            assert_eq!(error.to_string(), why, "{lines:?}");
        }
        let long = "a".repeat(5000);
        let error = read_of(&[status, ("x", &long)], false).expect_err("too long");
        assert_eq!(error.to_string(), "sent too big header");
        let error = read_of(&[status, ("content-length", "1")], true).expect_err("no body");
        assert_eq!(
            error.to_string(),
            "sent a smaller body than its content-length"
        );
    }
}
