//! A response as modules fill it, and its head as bytes.

use std::rc::Rc;

use revolve_http::h1::lines::{ContentLength, ContentType, LastModified};
use revolve_http::h1::writer;

use crate::file_cache::FileEntry;

/// A piece of a response's body.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    /// A part of a file, from memory or by the kernel.
    File {
        /// The file.
        file: Rc<FileEntry>,
        /// First byte.
        start: u64,
        /// Bytes.
        len: u64,
    },
    /// A range of [`Response::text`].
    Text {
        /// First byte.
        start: usize,
        /// One past the last byte.
        end: usize,
    },
}

impl Piece {
    /// Bytes in the piece.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Piece::Text { start, end } => (end - start) as u64,
            Piece::File { len, .. } => *len,
        }
    }

    /// The part of the piece that begins at `start` and is `len` bytes long.
    pub(crate) fn slice(&self, start: u64, len: u64) -> Piece {
        debug_assert!(start + len <= self.len());
        match self {
            Piece::Text { start: first, .. } => {
                let first = first + start as usize;
                Piece::Text {
                    start: first,
                    end: first + len as usize,
                }
            }
            Piece::File {
                file, start: first, ..
            } => Piece::File {
                file: file.clone(),
                start: first + start,
                len,
            },
        }
    }
}

/// Header lines in the order in which they were added, as they go out, in one piece of memory.
#[derive(Debug, Default)]
pub(crate) struct HeaderList {
    bytes: Vec<u8>,
    lines: Vec<Line>,
}

/// Where a line `Name: value CRLF` lies.
#[derive(Debug, Clone, Copy)]
struct Line {
    start: u32,
    name_end: u32,
    end: u32,
}

impl HeaderList {
    /// Adds a line. Line breaks and NUL in the value become spaces: what a variable holds must
    /// not end the line.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        writer::header(&mut self.bytes, name, value);
        self.note(start, name.len());
    }

    /// Adds a line that was made before, `Name: value CRLF`, by the length of its name.
    pub(crate) fn push_line(&mut self, line: &[u8], name_len: usize) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        self.note(start, name_len);
    }

    fn note(&mut self, start: usize, name_len: usize) {
        let (start, end) = (start as u32, self.bytes.len() as u32);
        self.lines.push(Line {
            start,
            name_end: start + name_len as u32,
            end,
        });
    }

    /// Name and value of each line.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| {
            let name = &self.bytes[line.start as usize..line.name_end as usize];
            (
                name,
                &self.bytes[line.name_end as usize + 2..line.end as usize - 2],
            )
        })
    }

    /// Drops every line of this name, in whatever case.
    pub(crate) fn remove(&mut self, name: &[u8]) {
        let Self { bytes, lines } = self;
        let mut removed = 0;
        lines.retain_mut(|line| {
            line.start -= removed;
            line.name_end -= removed;
            line.end -= removed;
            let own = &bytes[line.start as usize..line.name_end as usize];
            let is_kept = !own.eq_ignore_ascii_case(name);
            if !is_kept {
                bytes.drain(line.start as usize..line.end as usize);
                removed += line.end - line.start;
            }
            is_kept
        });
    }

    /// Puts this value where the first line of this name stands, or at the end; an empty value only
    /// drops the lines that there are.
    pub(crate) fn replace(&mut self, name: &[u8], value: &[u8]) {
        let mut replaced = Self::default();
        let mut done = value.is_empty();
        for (known, old) in self.iter() {
            if !known.eq_ignore_ascii_case(name) {
                replaced.push(known, old);
            } else if !done {
                replaced.push(name, value);
                done = true;
            }
        }
        if !done {
            replaced.push(name, value);
        }
        *self = replaced;
    }

    /// The first value of this name.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether there is no line.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Drops every line.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
    }
}

/// What a request is answered with.
#[derive(Debug, Default)]
pub(crate) struct Response {
    /// The status; 0 until somebody set one.
    pub status: u16,
    /// `Content-Type`; empty for none.
    pub content_type: ContentType,
    /// `Content-Length`; where nobody sets it, the bytes of the body.
    pub content_length: Option<ContentLength>,
    /// `Last-Modified`.
    pub last_modified: Option<LastModified>,
    /// Whether [`Response::headers`] holds `Last-Modified` as the configuration wants it to be; only
    /// the time of [`Response::last_modified`] counts then.
    last_modified_replaced: bool,
    /// `Location`; a path is made absolute when the head is written. What answers in a redirect's
    /// place keeps it, as in nginx.
    pub location: Vec<u8>,
    /// Whether there is a `Location`, which may be empty.
    pub has_location: bool,
    /// Whether `Location` was a path and has been made a URL; nginx writes such a line earlier.
    pub location_completed: bool,
    /// Whether the body is one whose ranges may be asked for.
    pub ranges_allowed: bool,
    /// All other header lines, `ETag` among them.
    pub headers: HeaderList,
    /// The body's pieces.
    pub body: Vec<Piece>,
    /// Memory of [`Piece::Text`].
    pub text: Vec<u8>,
    /// The status that an error handler gives whatever answers in its place; 0 for none.
    pub error_status: u16,
    /// Bytes of the head as sent, for the log.
    pub head_bytes: u64,
    /// Bytes of head and body as sent, for the log.
    pub sent_bytes: u64,
}

impl Response {
    /// Empties the response and keeps its memory.
    pub(crate) fn reset(&mut self) {
        self.status = 0;
        self.error_status = 0;
        self.head_bytes = 0;
        self.sent_bytes = 0;
        self.headers.clear();
        self.clear_content();
        self.location.clear();
        self.has_location = false;
        self.location_completed = false;
    }

    /// Drops what belongs to a content, so that another can take its place.
    pub(crate) fn clear_content(&mut self) {
        self.content_type.clear();
        self.content_length = None;
        self.clear_validators();
        self.body.clear();
        self.text.clear();
    }

    /// Drops `Last-Modified`, `ETag` and the permission to ask for ranges.
    pub(crate) fn clear_validators(&mut self) {
        self.last_modified = None;
        self.last_modified_replaced = false;
        self.ranges_allowed = false;
        self.clear_etag();
    }

    /// Another text for `Last-Modified`, which then stands among the other lines as in nginx; empty
    /// for none.
    pub(crate) fn replace_last_modified(&mut self, text: &[u8]) {
        self.last_modified = revolve_http::date::parse(text).map(LastModified::new);
        self.last_modified_replaced = true;
        self.headers.replace(b"Last-Modified", text);
    }

    /// `ETag`; empty for none.
    pub(crate) fn etag(&self) -> &[u8] {
        self.headers.get(b"ETag").unwrap_or_default()
    }

    /// Drops `ETag`.
    pub(crate) fn clear_etag(&mut self) {
        if !self.headers.is_empty() {
            self.headers.remove(b"ETag");
        }
    }

    /// Sets `Content-Length`.
    pub(crate) fn set_length(&mut self, bytes: u64) {
        self.content_length = Some(ContentLength::new(bytes));
    }

    /// Appends to [`Response::text`] and makes that the last piece of the body.
    pub(crate) fn push_text(&mut self, text: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(text);
        self.body.push(Piece::Text {
            start,
            end: self.text.len(),
        });
    }

    /// Bytes in the body.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body.iter().map(Piece::len).sum()
    }

    /// Appends the values of a header as sent, joined by ", "; false where there is none.
    ///
    /// `name` is in lower case with dashes. Source: nginx's `$sent_http_name`.
    pub(crate) fn header_joined(&self, name: &[u8], out: &mut Vec<u8>) -> bool {
        match name {
            b"content-type" if !self.content_type.is_empty() => {
                out.extend_from_slice(self.content_type.text());
                return true;
            }
            b"content-length" => {
                if let Some(length) = &self.content_length {
                    out.extend_from_slice(length.text());
                    return true;
                }
            }
            b"last-modified" => {
                if let Some(modified) = &self.last_modified
                    && !self.last_modified_replaced
                {
                    out.extend_from_slice(modified.text());
                    return true;
                }
            }
            b"location" if self.has_location => {
                out.extend_from_slice(&self.location);
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
pub(crate) struct HeadContext<'a> {
    /// The first line of a response that is 200, and the lines `Server` and `Date`, which are the same
    /// for a whole second.
    pub preamble: &'a [u8],
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
    if let Some(length) = &response.content_length {
        out.extend_from_slice(length.line());
    }
    if let Some(modified) = &response.last_modified
        && !response.last_modified_replaced
    {
        out.extend_from_slice(modified.line());
    }
    if response.location_completed {
        writer::header(out, b"Location", &response.location);
    }
    if context.keep_alive {
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
    if response.has_location && !response.location_completed {
        writer::header(out, b"Location", &response.location);
    }
    out.extend_from_slice(&response.headers.bytes);
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
    use super::*;

    #[test]
    fn the_head_has_nginx_s_order() {
        let mut response = Response {
            status: 200,
            content_length: Some(ContentLength::new(5)),
            ..Default::default()
        };
        response.content_type = ContentType::new(b"text/plain");
        response.last_modified = Some(LastModified::new(0));
        response.headers.push(b"ETag", b"\"x\"");
        response.headers.push(b"X-A", b"1");
        response.headers.push(b"x-a", b"2");
        let preamble = b"HTTP/1.1 200 OK\r\nServer: s\r\nDate: Thu, 01 Jan 1970 00:00:01 GMT\r\n";
        let context = HeadContext {
            preamble,
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
