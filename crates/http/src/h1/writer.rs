//! Writing heads of requests and responses, and chunked bodies.
//!
//! These functions append to a buffer of the caller's and never look back at it: the order of
//! header lines is the order of the calls.

use crate::status;
use crate::version::Version;

/// What ends a chunked body that has no trailers.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What begins the end of a chunked body with trailers: their [`header`] lines follow, then an empty
/// line.
pub const LAST_CHUNK_HEAD: &[u8] = b"0\r\n";

/// Appends a request line, `GET /path HTTP/1.1\r\n`: HTTP/1.0 for that version, HTTP/1.1 for any above.
///
/// A space or a control character would end the target early and let whoever supplied it write a
/// version, headers, or a request of their own; each is written percent-encoded (RFC 3986, section
/// 2.1). So are those of a method, which should be a token.
pub fn request_line(out: &mut Vec<u8>, method: &[u8], target: &[u8], version: Version) {
    out.reserve(method.len() + target.len() + 12);
    word(out, method);
    out.push(b' ');
    word(out, if target.is_empty() { b"/" } else { target });
    out.extend_from_slice(match version > Version::HTTP_10 {
        true => b" HTTP/1.1\r\n",
        false => b" HTTP/1.0\r\n",
    });
}

/// Appends bytes that neither a space nor a control character may be among.
fn word(out: &mut Vec<u8>, word: &[u8]) {
    let mut rest = word;
    let splits = |&byte: &u8| byte <= b' ' || byte == 0x7f;
    while let Some(at) = rest.iter().position(splits) {
        let byte = rest[at];
        out.extend_from_slice(&rest[..at]);
        let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
        out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// Appends the status line, `HTTP/1.1 200 OK\r\n`.
///
/// Like nginx, a server answers `HTTP/1.1` whatever the version of the request, and a code that
/// has no phrase ends in a space: `HTTP/1.1 299 \r\n`. Codes below 100 are written with leading
/// zeros.
pub fn status_line(out: &mut Vec<u8>, status: u16) {
    out.extend_from_slice(b"HTTP/1.1 ");
    if status < 100 {
        out.extend_from_slice(if status < 10 { b"00" } else { b"0" });
    }
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    if let Some(reason) = status::reason(status) {
        out.extend_from_slice(reason.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends one header line, `name: value\r\n`.
///
/// A CR, LF or NUL in the value would end the line early and let whoever supplied it write
/// headers of their own; each is written as a space (RFC 9110, section 5.5). The name is the
/// caller's and must be a token.
pub fn header(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    if memchr::memchr3(b'\r', b'\n', 0, value).is_none() {
        out.extend_from_slice(value);
    } else {
        out.extend(value.iter().map(|&byte| match byte {
            b'\r' | b'\n' | 0 => b' ',
            other => other,
        }));
    }
    out.extend_from_slice(b"\r\n");
}

/// The line that begins a chunk of `len_bytes` bytes, `1f4\r\n`; after the chunk's bytes comes
/// another CRLF.
///
/// A chunk of no bytes would end the body: write [`LAST_CHUNK`] for that, and no empty chunks.
pub fn chunk_head(len_bytes: u64, buffer: &mut [u8; 18]) -> &[u8] {
    debug_assert!(len_bytes > 0, "an empty chunk ends the body");
    let mut rest = len_bytes;
    let mut start = 16;
    buffer[16..].copy_from_slice(b"\r\n");
    loop {
        start -= 1;
        buffer[start] = b"0123456789abcdef"[(rest & 15) as usize];
        rest >>= 4;
        if rest == 0 {
            return &buffer[start..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_those_of_nginx() {
        for (status, line) in [
            (200, "HTTP/1.1 200 OK\r\n"),
            (302, "HTTP/1.1 302 Moved Temporarily\r\n"),
            (299, "HTTP/1.1 299 \r\n"),
            (7, "HTTP/1.1 007 \r\n"),
            (42, "HTTP/1.1 042 \r\n"),
        ] {
            let mut out = Vec::new();
            status_line(&mut out, status);
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
    }

    #[test]
    fn request_lines_are_of_three_words() {
        for (method, target, version, line) in [
            ("GET", "/a?b", Version::HTTP_11, "GET /a?b HTTP/1.1\r\n"),
            ("PURGE", "*", Version::HTTP_10, "PURGE * HTTP/1.0\r\n"),
            (
                "GET",
                "",
                Version { major: 1, minor: 2 },
                "GET / HTTP/1.1\r\n",
            ),
            (
                "G\nT",
                "/a b\r\nX: y\0\x7f",
                Version::HTTP_11,
                "G%0AT /a%20b%0D%0AX:%20y%00%7F HTTP/1.1\r\n",
            ),
        ] {
            let mut out = Vec::new();
            request_line(&mut out, method.as_bytes(), target.as_bytes(), version);
            assert_eq!(String::from_utf8(out).unwrap(), line);
        }
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut out = Vec::new();
        header(&mut out, b"Location", b"/a\r\nSet-Cookie: b\0");
        assert_eq!(out, b"Location: /a  Set-Cookie: b \r\n");
    }

    #[test]
    fn chunk_heads_are_hexadecimal() {
        let mut buffer = [0; 18];
        assert_eq!(chunk_head(1, &mut buffer), b"1\r\n");
        assert_eq!(chunk_head(0x1f4, &mut buffer), b"1f4\r\n");
        assert_eq!(chunk_head(u64::MAX, &mut buffer), b"ffffffffffffffff\r\n");
    }
}
