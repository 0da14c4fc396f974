//! What must hold for any bytes, in any fragmentation: for bytes made at random out of what heads,
//! bodies and paths are made of, and for the corpus that fuzzing has found.

mod checks;
#[path = "checks/http2.rs"]
mod http2;

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use revolve_http::h1::{HeadLimits, HeadParser, Progress, writer};
use revolve_http::{Head, Span, Version};

/// Text put together from pieces that mean something, so that random tests get somewhere.
fn pieces(of: &'static [&'static str], count: usize) -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => select(of).prop_map(|text| text.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..4),
    ];
    vec(piece, 0..count).prop_map(|pieces| pieces.concat())
}

const HEAD: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "CONNECT ",
    "TRACE ",
    "FOO_-",
    " ",
    "/",
    "/index.html",
    "*",
    "http://",
    "a.b",
    "[::1]",
    ":80",
    "?a=b",
    "#f",
    "%2e",
    "/../",
    "//",
    " HTTP/1.1",
    "\r\n",
    " HTTP/1.0",
    "HTTP/2.0",
    " HTTP/1.1\r\n",
    "Host: a\r\n",
    "Host: a.b:80\r\n",
    "\r\n\r\n",
    "\n",
    "Content-Length: 5\r\n",
    "Content-Length",
    "Transfer-Encoding: chunked\r\n",
    ": ",
    "\t",
    "\r",
    "Connection: close\r\n",
    "connection: keep-alive\r\n",
    "Cookie: a=b; c=d\r\n",
    "X_Y: z\r\n",
    "Expect: 100-continue\r\n",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n",
    "a@b: c\r\n",
    "If-None-Match: \"6745c9f0-1c3a\"\r\n",
    "Upgrade-Insecure-Requests: 1\r\n",
    " x\r\n",
];

const RESPONSE: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 204\r\n",
    "HTTP/1.1 103 Early Hints\r\n",
    "HTTP/1.1 ",
    "HTTP/",
    "101",
    "304 ",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "Content-Length: 5\r\n",
    "content-length: 0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Status: 404 x\r\n",
    "Location: /a\r\n",
    "Set-Cookie: a=b\n",
    "X_Y:  z \r\n",
    "a@b: c\r\n",
    "Empty:\r\n",
];

const BODY: &[&str] = &[
    "0",
    "1",
    "5",
    "a",
    "F",
    "00",
    "\r\n",
    "\r\n\r\n",
    ";",
    ";x=\"y\"",
    " ",
    "hello",
    "0\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "Name: value\r\n",
    ":",
    "\n",
    "\r",
    "ffffffffffffffff",
];

const PATH: &[&str] = &[
    "/", "//", "/.", "/..", "/...", ".", "a", "b.c", "%2e", "%2F", "%25", "%00", "%", "%4", "%3f",
    "?", "#", "+", "\\",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn heads(settings in 0u8..32, piece in 0u8..40, bytes in pieces(HEAD, 24)) {
        checks::h1_head(&[&[settings, piece], bytes.as_slice()].concat());
    }

    #[test]
    fn heads_that_begin_well(settings in 0u8..32, piece in 0u8..40, rest in pieces(HEAD, 12)) {
        let start = b"GET /docs/?q=1 HTTP/1.1\r\nHost: example.com\r\n";
        checks::h1_head(&[&[settings, piece], start.as_slice(), &rest, b"\r\n\r\n"].concat());
    }

    #[test]
    fn valid_heads_are_read_as_httparse_reads_them(
        method in "[A-Z]{1,9}",
        target in "/[!-\"$-~]{0,40}",
        lines in vec(("[A-Za-z0-9-]{1,40}", "([!-~]([ -~]{0,40}[!-~])?)?", "[ \t]{0,2}"), 0..12),
    ) {
        // Names that mean something are for other tests.
        let lines = lines.iter().map(|(name, value, space)| format!("X-{name}:{space}{value}\r\n"));
        let lines: String = lines.collect();
        let bytes = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut theirs = httparse::Request::new(&mut headers);
        prop_assert_eq!(
            theirs.parse(bytes.as_bytes()),
            Ok(httparse::Status::Complete(bytes.len()))
        );
        let mut ours = Head::default();
        let progress = HeadParser::new().parse(&mut ours, bytes.as_bytes(), &HeadLimits::default());
        prop_assume!(!matches!(method.as_str(), "CONNECT" | "TRACE"));
        prop_assert_eq!(progress, Ok(Progress::Complete { head_bytes: bytes.len() }));
        let text = |span: Span| span.of(bytes.as_bytes());
        prop_assert_eq!(theirs.method, Some(method.as_str()));
        prop_assert_eq!(text(ours.target.raw), target.as_bytes());
        let seen = ours.headers.iter().map(|line| (text(line.name), text(line.value)));
        let expected = theirs.headers.iter().map(|line| (line.name.as_bytes(), line.value));
        prop_assert!(seen.eq(expected));
    }

    #[test]
    fn responses(settings in any::<u8>(), piece in 0u8..40, bytes in pieces(RESPONSE, 16)) {
        checks::h1_response(&[&[settings, piece], bytes.as_slice()].concat());
    }

    #[test]
    fn responses_that_begin_well(settings in any::<u8>(), piece in 0u8..40, rest in pieces(RESPONSE, 8)) {
        let start = b"HTTP/1.1 103 x\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nServer: x\r\n";
        checks::h1_response(&[&[settings, piece], start.as_slice(), &rest, b"\r\n\r\n"].concat());
    }

    #[test]
    fn requests_are_read_as_they_were_written(
        method in "[A-Z]{1,8}",
        target in "/\\PC{0,30}",
        values in vec(vec(any::<u8>(), 0..20), 0..5),
    ) {
        prop_assume!(!matches!(method.as_str(), "CONNECT" | "TRACE"));
        let mut sent = Vec::new();
        writer::request_line(&mut sent, method.as_bytes(), target.as_bytes(), Version::HTTP_11);
        writer::header(&mut sent, b"Host", b"a");
        for value in &values {
            writer::header(&mut sent, b"X-Value", value);
        }
        sent.extend_from_slice(b"\r\n");
        let mut head = Head::default();
        let read = HeadParser::new().parse(&mut head, &sent, &HeadLimits::default());
        prop_assert_eq!(read, Ok(Progress::Complete { head_bytes: sent.len() }));
        prop_assert_eq!(head.method_span.of(&sent), method.as_bytes());
        prop_assert_eq!(head.headers.len(), 1 + values.len());
    }

    #[test]
    fn chunked_bodies(piece in 0u8..40, bytes in pieces(BODY, 16)) {
        checks::chunked(&[&[piece], bytes.as_slice()].concat());
    }

    #[test]
    fn chunked_bodies_come_out_as_they_went_in(
        chunks in vec(vec(any::<u8>(), 1..300), 0..8),
        step in 1usize..50,
    ) {
        let mut sent = Vec::new();
        for chunk in &chunks {
            let mut buffer = [0; 18];
            let head = writer::chunk_head(chunk.len() as u64, &mut buffer);
            sent.extend_from_slice(head);
            sent.extend_from_slice(chunk);
            sent.extend_from_slice(b"\r\n");
        }
        sent.extend_from_slice(writer::LAST_CHUNK);
        let end = sent.len();
        sent.extend_from_slice(b"GET / HTTP/1.1\r\n");
        let (decoded, body, trailers) = checks::decode_in_pieces(&sent, step);
        prop_assert_eq!(decoded, Ok(Some(end)));
        prop_assert_eq!(body, chunks.concat());
        prop_assert!(trailers.is_empty());
    }

    #[test]
    fn paths(settings in 0u8..2, bytes in pieces(PATH, 12)) {
        checks::normalize(&[&[settings], bytes.as_slice()].concat());
    }

    #[test]
    fn paths_from_the_root(settings in 0u8..2, bytes in pieces(PATH, 12)) {
        checks::normalize(&[&[settings, b'/'], bytes.as_slice()].concat());
    }
}

/// Runs each file of a fuzz target's corpus through `check`.
fn corpus(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        check(&bytes);
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn corpus_of_heads() {
    corpus("h1_head", checks::h1_head);
}

#[test]
fn corpus_of_responses() {
    corpus("h1_response", checks::h1_response);
}

#[test]
fn corpus_of_chunked_bodies() {
    corpus("chunked", checks::chunked);
}

#[test]
fn corpus_of_paths() {
    corpus("normalize_path", checks::normalize);
}

#[test]
fn corpus_of_http2_peers() {
    corpus("h2", http2::h2);
}

proptest! {
    #[test]
    fn http2_peers_say_anything(
        piece in any::<u8>(),
        frames in proptest::collection::vec((0u8..18, any::<u8>(), 0u8..6, proptest::collection::vec(any::<u8>(), 0..20)), 0..12),
    ) {
        let mut data = vec![piece, 0, 0, 0, 4, 0, 0, 0, 0, 0];
        for (kind, flags, stream, payload) in frames {
            data.extend_from_slice(&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream]);
            data.extend_from_slice(&payload);
        }
        http2::h2(&data);
    }
}
