//! Byte ranges: RFC 9110 section 14, with nginx's rules.
//!
//! ```nginx
//! max_ranges 10;               # more than these, and the whole is sent; 0 turns ranges off
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use revolve_conf::directive::Args;
use revolve_http::HeaderId;

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::body::{Broken, Piece};
use crate::http::filter::{BodyFilter, Input};
use crate::http::modules::{ALWAYS, Module};
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::response::Response;
use crate::http::scope::{DirectiveRow, slot};
use revolve_http::h1::lines::ContentType;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_range_filter_module",
    directives: DIRECTIVES,
    header_filters: &[(ALWAYS, filter)],
    ..Module::EMPTY
};

settings! {
    /// Byte ranges.
    pub struct RangeSettings / RawRange {
        inherit {
            /// `max_ranges`, default no limit.
            ranges_max: u64 = u64::MAX,
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "max_ranges",
    contexts: HTTP | SERVER | LOCATION,
    args: Args::ONE,
    set: slot!(number range.ranges_max),
}];

/// What a `Range` line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// First byte and one past the last of each part; never empty.
    Parts(Vec<(u64, u64)>),
    /// The line is to be ignored: the whole goes out.
    Whole,
    /// Nothing of it lies in the content.
    NotSatisfiable,
}

/// Header filter: cuts the body to the ranges asked for.
pub(crate) fn filter(request: &mut Request) -> Outcome {
    let response = &request.response;
    if !response.ranges_allowed || request.current.is_subrequest {
        return Outcome::Next;
    }
    let ranges_max = request.settings().range.ranges_max;
    let Some(length) = response.content_length.map(|length| length.bytes) else {
        return Outcome::Next;
    };
    if response.status != 200
        || !request.current.head_done
        || request.version() < revolve_http::Version::HTTP_10
        || ranges_max == 0
    {
        return Outcome::Next;
    }
    // Of a body that is made while it is sent, one range can be cut out.
    let is_made = response.source.is_some();
    let ranges_max = match response.single_range {
        true => 1,
        false => ranges_max,
    };
    match asked(request, length, ranges_max) {
        Asked::Parts(parts) if is_made && parts.len() > 1 => Outcome::Next,
        Asked::Whole => {
            let headers = &mut request.response.headers;
            headers.push_line(b"Accept-Ranges: bytes\r\n", b"Accept-Ranges".len());
            Outcome::Next
        }
        Asked::Parts(parts) => {
            let response = &mut request.response;
            response.status = 206;
            match parts.as_slice() {
                [(start, end)] => single(response, *start, *end, length),
                parts => multiple(request, parts, length),
            }
            Outcome::Next
        }
        Asked::NotSatisfiable => {
            let range = format!("bytes */{length}");
            let headers = &mut request.response.headers;
            headers.clear();
            headers.push(b"Content-Range", range.as_bytes());
            Outcome::Finish(416)
        }
    }
}

fn asked(request: &Request, length: u64, ranges_max: u64) -> Asked {
    let Some(value) = request.known(HeaderId::Range) else {
        return Asked::Whole;
    };
    if value.len() < 7 || !value[..6].eq_ignore_ascii_case(b"bytes=") {
        return Asked::Whole;
    }
    if let Some(condition) = request.known(HeaderId::IfRange)
        && !if_range_holds(&request.response, condition)
    {
        return Asked::Whole;
    }
    parse(&value[6..], length, ranges_max)
}

fn if_range_holds(response: &Response, condition: &[u8]) -> bool {
    if condition.len() >= 2 && condition.ends_with(b"\"") {
        return response.etag() == condition;
    }
    response
        .last_modified
        .is_some_and(|modified| revolve_http::date::parse(condition) == Some(modified.unix_s))
}

/// Parses what follows `bytes=`; a part that overlaps the others too much makes the whole go out.
///
/// Source: nginx's `ngx_http_range_parse`.
fn parse(text: &[u8], length: u64, mut ranges_left: u64) -> Asked {
    let mut parts = Vec::new();
    let mut total: u64 = 0;
    for part in text.split(|byte| *byte == b',') {
        let part = trim_spaces(part);
        let Some(at) = memchr::memchr(b'-', part) else {
            return Asked::NotSatisfiable;
        };
        let (first, last) = (trim_spaces(&part[..at]), trim_spaces(&part[at + 1..]));
        let (start, end) = match (first, last) {
            (b"", last) => match number(last) {
                Some(suffix) => (length.saturating_sub(suffix), length),
                None => return Asked::NotSatisfiable,
            },
            (first, b"") => match number(first) {
                Some(start) => (start, length),
                None => return Asked::NotSatisfiable,
            },
            (first, last) => match (number(first), number(last)) {
                (Some(start), Some(last)) => (start, last.saturating_add(1).min(length)),
                _ => return Asked::NotSatisfiable,
            },
        };
        if start < end {
            total = match total.checked_add(end - start) {
                Some(total) => total,
                None => return Asked::NotSatisfiable,
            };
            if ranges_left == 0 {
                return Asked::Whole;
            }
            ranges_left -= 1;
            parts.push((start, end));
        } else if start == 0 {
            return Asked::Whole;
        }
    }
    if parts.is_empty() {
        return Asked::NotSatisfiable;
    }
    if total > length {
        return Asked::Whole;
    }
    Asked::Parts(parts)
}

fn trim_spaces(text: &[u8]) -> &[u8] {
    let start = text
        .iter()
        .position(|byte| *byte != b' ')
        .unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|byte| *byte != b' ')
        .map_or(start, |at| at + 1);
    &text[start..end]
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value
            .checked_mul(10)?
            .checked_add(digit)
            .filter(|value| i64::try_from(*value).is_ok())
    })
}

fn single(response: &mut Response, start: u64, end: u64, length: u64) {
    let range = format!("bytes {start}-{}/{length}", end - 1);
    response.headers.push(b"Content-Range", range.as_bytes());
    response.set_length(end - start);
    if let Some(window) = &response.window {
        return window.set((start, end));
    }
    if response.source.is_some() {
        let left = end - start;
        response.filters.push(Box::new(Cut {
            skipped: start,
            left,
        }));
        return;
    }
    let whole = std::mem::take(&mut response.body);
    cut(&whole, start, end, &mut response.body);
}

/// Cuts a range out of a body that is made while it is sent.
struct Cut {
    /// Bytes that come before it.
    skipped: u64,
    left: u64,
}

impl BodyFilter for Cut {
    fn filter(&mut self, input: Input, out: &mut VecDeque<Bytes>) -> Result<(), Broken> {
        let Input::Bytes(mut bytes) = input else {
            return Ok(());
        };
        let skipped = self.skipped.min(bytes.len() as u64);
        self.skipped -= skipped;
        let _ = bytes.split_to(skipped as usize);
        bytes.truncate(self.left.min(bytes.len() as u64) as usize);
        self.left -= bytes.len() as u64;
        if !bytes.is_empty() {
            out.push_back(bytes);
        }
        Ok(())
    }
}

/// `multipart/byteranges`; each part carries the type of the whole.
fn multiple(request: &mut Request, parts: &[(u64, u64)], length: u64) {
    let boundary = format!("{:020}", request.http_loop.next_boundary());
    let response = &mut request.response;
    let whole = std::mem::take(&mut response.body);
    let content_type = std::mem::take(&mut response.content_type);
    for (start, end) in parts {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if !content_type.is_empty() {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(content_type.text());
            head.extend_from_slice(b"\r\n");
        }
        let range = format!("Content-Range: bytes {start}-{}/{length}\r\n\r\n", end - 1);
        head.extend_from_slice(range.as_bytes());
        response.push_text(&head);
        cut(&whole, *start, *end, &mut response.body);
    }
    response.push_text(format!("\r\n--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/byteranges; boundary={boundary}");
    response.content_type = ContentType::new(content_type.as_bytes());
    response.set_length(response.body_bytes());
}

/// Appends the part of the pieces that lies between two positions.
fn cut(pieces: &[Piece], start: u64, end: u64, out: &mut Vec<Piece>) {
    let mut at = 0;
    for piece in pieces {
        let piece_end = at + piece.len();
        let (from, to) = (start.max(at), end.min(piece_end));
        if from < to {
            out.push(piece.slice(from - at, to - from));
        }
        at = piece_end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_as_nginx_reads_them() {
        let all = u64::MAX;
        assert_eq!(parse(b"0-0", 10, all), Asked::Parts(vec![(0, 1)]));
        assert_eq!(parse(b"-3", 10, all), Asked::Parts(vec![(7, 10)]));
        assert_eq!(parse(b"-30", 10, all), Asked::Parts(vec![(0, 10)]));
        assert_eq!(parse(b"4-", 10, all), Asked::Parts(vec![(4, 10)]));
        assert_eq!(
            parse(b" 1 - 2 , 4 -5", 10, all),
            Asked::Parts(vec![(1, 3), (4, 6)])
        );
        assert_eq!(parse(b"9-100", 10, all), Asked::Parts(vec![(9, 10)]));
        assert_eq!(parse(b"10-", 10, all), Asked::NotSatisfiable);
        assert_eq!(parse(b"-0", 10, all), Asked::NotSatisfiable);
        assert_eq!(parse(b"a-1", 10, all), Asked::NotSatisfiable);
        assert_eq!(parse(b"1", 10, all), Asked::NotSatisfiable);
        assert_eq!(parse(b"0-9,0-9", 10, all), Asked::Whole);
        assert_eq!(parse(b"0-1,2-3,4-5", 10, 2), Asked::Whole);
        assert_eq!(parse(b"0-", 0, all), Asked::Whole);
        assert_eq!(
            parse(b"99999999999999999999-", 10, all),
            Asked::NotSatisfiable
        );
    }

    #[test]
    fn cutting_crosses_pieces() {
        let memory = b"abcdefgh";
        let pieces = [(0, 4), (4, 8)].map(|(start, end)| Piece::Text { start, end });
        let mut out = Vec::new();
        cut(&pieces, 2, 6, &mut out);
        let text: Vec<u8> = out
            .iter()
            .flat_map(|piece| match piece {
                Piece::Text { start, end } => memory[*start..*end].to_vec(),
                Piece::File { .. } | Piece::Bytes(_) | Piece::Buffer(_) => vec![],
            })
            .collect();
        assert_eq!(text, b"cdef");
    }
}
