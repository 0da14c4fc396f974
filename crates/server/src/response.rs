//! A response as modules fill it, and its head as bytes.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use revolve_http::h1::writer;

/// A piece of a response's body.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Shared bytes: a cached file, text of the configuration.
    Bytes(Bytes),
    /// Bytes of the program.
    Static(&'static [u8]),
    /// A range of [`Response::text`].
    Text {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
    /// A part of a file, which the kernel copies.
    File {
        /// The open file.
        file: Arc<File>,
        /// First byte.
        offset: u64,
        /// Bytes.
        len: u64,
    },
}

impl Piece {
    /// Bytes in the piece.
    pub fn len(&self) -> u64 {
        match self {
            Piece::Bytes(bytes) => bytes.len() as u64,
            Piece::Static(bytes) => bytes.len() as u64,
            Piece::Text { start, end } => (end - start) as u64,
            Piece::File { len, .. } => *len,
        }
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The part of the piece that begins at `start` and is `len` bytes long.
    pub fn slice(&self, start: u64, len: u64) -> Piece {
        debug_assert!(start + len <= self.len());
        match self {
            Piece::Bytes(bytes) => {
                Piece::Bytes(bytes.slice(start as usize..(start + len) as usize))
            }
            Piece::Static(bytes) => Piece::Static(&bytes[start as usize..(start + len) as usize]),
            Piece::Text { start: first, .. } => {
                let first = first + start as usize;
                Piece::Text {
                    start: first,
                    end: first + len as usize,
                }
            }
            Piece::File { file, offset, .. } => Piece::File {
                file: file.clone(),
                offset: offset + start,
                len,
            },
        }
    }
}

/// Header lines in the order in which they were added, in one piece of memory.
#[derive(Debug, Default)]
pub struct HeaderList {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    name_end: u32,
    value_end: u32,
}

impl HeaderList {
    /// Adds a line.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.push_parts(name, &[value]);
    }

    /// Adds a line whose value lies in parts.
    pub fn push_parts(&mut self, name: &[u8], parts: &[&[u8]]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(name);
        let name_end = self.bytes.len() as u32;
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        self.lines.push(Line {
            start,
            name_end,
            value_end: self.bytes.len() as u32,
        });
    }

    /// Name and value of each line.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| {
            let name = &self.bytes[line.start as usize..line.name_end as usize];
            (
                name,
                &self.bytes[line.name_end as usize..line.value_end as usize],
            )
        })
    }

    /// Drops every line of this name, in whatever case.
    pub fn remove(&mut self, name: &[u8]) {
        let Self { bytes, lines } = self;
        lines.retain(|line| {
            !bytes[line.start as usize..line.name_end as usize].eq_ignore_ascii_case(name)
        });
    }

    /// The first value of this name.
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Drops every line.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }
}

/// What a request is answered with.
#[derive(Debug, Default)]
pub struct Response {
    /// The status; 0 until somebody set one.
    pub status: u16,
    /// `Content-Type`; empty for none.
    pub content_type: Vec<u8>,
    /// `Content-Length`; without it the body is sent in chunks.
    pub content_length: Option<u64>,
    /// `Last-Modified`, seconds of Unix time.
    pub last_modified_s: Option<i64>,
    /// `Location`; a path is made absolute when the head is written.
    pub location: Vec<u8>,
    /// Whether `Location` was a path and has been made a URL; nginx writes such a line earlier.
    pub location_completed: bool,
    /// `ETag`, also among `headers`.
    pub etag: Vec<u8>,
    /// Whether the body is one whose ranges may be asked for.
    pub ranges_allowed: bool,
    /// All other header lines.
    pub headers: HeaderList,
    /// The body's pieces.
    pub body: Vec<Piece>,
    /// Memory of [`Piece::Text`].
    pub text: Vec<u8>,
    /// Whether the body goes out in chunks.
    pub chunked: bool,
    /// The status that an error handler gives whatever answers in its place; 0 for none.
    pub error_status: u16,
    /// Bytes of the head as sent, for the log.
    pub head_bytes: u64,
    /// Bytes of head and body as sent, for the log.
    pub sent_bytes: u64,
}

impl Response {
    /// Empties the response and keeps its memory.
    pub fn reset(&mut self) {
        self.status = 0;
        self.error_status = 0;
        self.head_bytes = 0;
        self.sent_bytes = 0;
        self.clear_content();
        self.location.clear();
        self.location_completed = false;
        self.headers.clear();
    }

    /// Drops what belongs to a content, so that another can take its place.
    pub fn clear_content(&mut self) {
        self.content_type.clear();
        self.content_length = None;
        self.clear_validators();
        self.body.clear();
        self.text.clear();
        self.chunked = false;
    }

    /// Drops `Last-Modified`, `ETag` and the permission to ask for ranges.
    pub fn clear_validators(&mut self) {
        self.last_modified_s = None;
        self.ranges_allowed = false;
        self.clear_etag();
    }

    /// Drops `ETag`.
    pub fn clear_etag(&mut self) {
        if !self.etag.is_empty() {
            self.etag.clear();
            self.headers.remove(b"ETag");
        }
    }

    /// Appends to [`Response::text`] and makes that the last piece of the body.
    pub fn push_text(&mut self, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.body.push(Piece::Text {
            start,
            end: self.text.len(),
        });
    }

    /// Bytes in the body.
    pub fn body_bytes(&self) -> u64 {
        self.body.iter().map(Piece::len).sum()
    }

    /// Appends the values of a header as sent, joined by ", "; false where there is none.
    ///
    /// `name` is in lower case with dashes. Source: nginx's `$sent_http_name`.
    pub fn header_joined(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        match name {
            b"content-type" if !self.content_type.is_empty() => {
                out.extend_from_slice(&self.content_type);
                return true;
            }
            b"content-length" => {
                if let Some(length) = self.content_length {
                    out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                    return true;
                }
            }
            b"last-modified" => {
                if let Some(seconds) = self.last_modified_s {
                    let mut date = [0; 29];
                    revolve_http::date::format_imf(seconds, &mut date);
                    out.extend_from_slice(&date);
                    return true;
                }
            }
            b"location" if !self.location.is_empty() => {
                out.extend_from_slice(&self.location);
                return true;
            }
            b"transfer-encoding" if self.chunked => {
                out.extend_from_slice(b"chunked");
                return true;
            }
            _ => {}
        }
        let mut found = false;
        for (known, value) in self.headers.iter() {
            if known.eq_ignore_ascii_case(name) {
                if found {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(value);
                found = true;
            }
        }
        found
    }
}

/// What the head of a response needs besides the response itself.
#[derive(Debug)]
pub struct HeadContext<'a> {
    /// The value of `Server`; nginx has no way to leave it out, nor have we.
    pub server: &'a [u8],
    /// The value of `Date`.
    pub date: &'a [u8; 29],
    /// Whether the connection stays open.
    pub keep_alive: bool,
    /// Seconds for the `Keep-Alive` line (`keepalive_timeout`'s second argument).
    pub keep_alive_header_s: Option<u64>,
}

/// Writes the status line and the header lines in nginx's order.
pub fn write_head(response: &Response, context: &HeadContext<'_>, out: &mut Vec<u8>) {
    writer::status_line(out, response.status);
    writer::header(out, b"Server", context.server);
    writer::header(out, b"Date", context.date);
    if !response.content_type.is_empty() {
        writer::header(out, b"Content-Type", &response.content_type);
    }
    if let Some(length) = response.content_length {
        let mut digits = itoa::Buffer::new();
        writer::header(out, b"Content-Length", digits.format(length).as_bytes());
    }
    if let Some(seconds) = response.last_modified_s
        && matches!(response.status, 200 | 206 | 304)
    {
        let mut date = [0; 29];
        revolve_http::date::format_imf(seconds, &mut date);
        writer::header(out, b"Last-Modified", &date);
    }
    if response.location_completed {
        writer::header(out, b"Location", &response.location);
    }
    if response.chunked {
        writer::header(out, b"Transfer-Encoding", b"chunked");
    }
    if context.keep_alive {
        writer::header(out, b"Connection", b"keep-alive");
        if let Some(seconds) = context.keep_alive_header_s {
            out.extend_from_slice(b"Keep-Alive: timeout=");
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    } else {
        writer::header(out, b"Connection", b"close");
    }
    if !response.location.is_empty() && !response.location_completed {
        writer::header(out, b"Location", &response.location);
    }
    for (name, value) in response.headers.iter() {
        writer::header(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_has_nginx_s_order() {
        let mut response = Response {
            status: 200,
            content_length: Some(5),
            ..Default::default()
        };
        response.content_type.extend_from_slice(b"text/plain");
        response.last_modified_s = Some(0);
        response.headers.push(b"ETag", b"\"x\"");
        response.headers.push(b"X-A", b"1");
        response.headers.push(b"x-a", b"2");
        let date = b"Thu, 01 Jan 1970 00:00:01 GMT";
        let context = HeadContext {
            server: b"s",
            date,
            keep_alive: true,
            keep_alive_header_s: Some(9),
        };
        let mut out = Vec::new();
        write_head(&response, &context, &mut out);
        let expected = "HTTP/1.1 200 OK\r\nServer: s\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\n\
            Content-Type: text/plain\r\nContent-Length: 5\r\n\
            Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: keep-alive\r\n\
            Keep-Alive: timeout=9\r\nETag: \"x\"\r\nX-A: 1\r\nx-a: 2\r\n\r\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let mut joined = Vec::new();
        assert!(response.header_joined(b"x-a", &mut joined));
        assert_eq!(joined, b"1, 2");
        response.headers.remove(b"X-A");
        assert!(!response.header_joined(b"x-a", &mut joined));
    }
}
