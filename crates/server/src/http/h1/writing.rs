//! The head of a response as HTTP/1 writes it.

use revolve_http::h1::writer;

use crate::http::response::Response;

/// What the head of a response needs besides the response itself.
#[derive(Debug)]
pub(crate) struct HeadContext<'a> {
    /// The first line of a response that is 200, and the lines `Server` and `Date`, which are the same
    /// for a whole second.
    pub preamble: &'a [u8],
    /// Whether the body goes out in chunks.
    pub is_chunked: bool,
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Seconds for the `Keep-Alive` line (`keepalive_timeout`'s second argument).
    pub keep_alive_header_s: Option<u64>,
}

/// How a preamble begins.
const OK_LINE: &str = "HTTP/1.1 200 OK\r\n";

/// Writes the status line and the header lines in nginx's order.
pub(crate) fn write_head(response: &Response, context: &HeadContext<'_>, out: &mut Vec<u8>) {
    out.reserve(512);
    if response.status == 200 {
        out.extend_from_slice(context.preamble);
    } else {
        writer::status_line(out, response.status);
        out.extend_from_slice(&context.preamble[OK_LINE.len()..]);
    }
    out.extend_from_slice(response.content_type.line());
    if let Some(length) = &response.content_length
        && !context.is_chunked
    {
        out.extend_from_slice(length.line());
    }
    if let Some(modified) = &response.last_modified
        && !response.last_modified_is_replaced()
    {
        out.extend_from_slice(modified.line());
    }
    if response.location_completed {
        writer::header(out, b"Location", &response.location);
    }
    if response.status == 101 {
        out.extend_from_slice(b"Connection: upgrade\r\n");
    } else if context.is_chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if response.status == 101 {
        // The connection goes on as another protocol's.
    } else if context.keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
        if let Some(seconds) = context.keep_alive_header_s {
            line(
                out,
                b"Keep-Alive: timeout=",
                itoa::Buffer::new().format(seconds).as_bytes(),
            );
        }
    } else {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    if response.varies_by_encoding {
        out.extend_from_slice(b"Vary: Accept-Encoding\r\n");
    }
    if response.has_location && !response.location_completed {
        let (before, behind) = response.headers.split_at(response.location_place);
        out.extend_from_slice(before);
        writer::header(out, b"Location", &response.location);
        out.extend_from_slice(behind);
    } else {
        out.extend_from_slice(response.headers.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// A line whose value is known to hold no line break. The name's length is known to the compiler,
/// which copies it in a few instructions.
#[inline]
fn line<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use revolve_http::h1::lines::{ContentLength, ContentType, LastModified};

    use super::*;

    #[test]
    fn the_head_has_nginx_s_order() {
        let mut response = Response::default();
        response.status = 200;
        response.content_length = Some(ContentLength::new(5));
        response.content_type = ContentType::new(b"text/plain");
        response.last_modified = Some(LastModified::new(0));
        response.headers.push(b"ETag", b"\"x\"");
        response.headers.push(b"X-A", b"1");
        response.headers.push(b"x-a", b"2");
        let preamble = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\n";
        let context = HeadContext {
            preamble,
            is_chunked: false,
            keep_alive: true,
            keep_alive_header_s: Some(9),
        };
        let mut out = Vec::new();
        write_head(&response, &context, &mut out);
        let expected = "HTTP/1.1 200 OK\r\nServer: s\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
            Content-Type: text/plain\r\nContent-Length: 5\r\n\
            Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n\
            Keep-Alive: timeout=9\r\nETag: \"x\"\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        let mut joined = Vec::new();
        assert!(response.header_joined(b"x-a", &mut joined));
        assert_eq!(joined, b"1, 2");
        response.headers.push(b"X-B", b"3");
        response.headers.remove(b"X-A");
        assert_eq!(response.etag(), b"\"x\"");
        assert_eq!(response.headers.get(b"x-b"), Some(&b"3"[..]));
        out.clear();
        write_head(&response, &context, &mut out);
        assert!(out.ends_with(b"Keep-Alive: timeout=9\r\nETag: \"x\"\r\nX-B: 3\r\n\r\n"));
        response.clear_etag();
        assert_eq!(response.etag(), b"");
        assert!(!response.header_joined(b"x-a", &mut joined));
    }
}
