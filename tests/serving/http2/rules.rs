//! What a request may be made of: nothing that HTTP/1 could not say gets past the door.

use super::site;
use crate::support::http2::{DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PREFACE, block, get};
use crate::support::{Client, Upstream, until};

const PROTOCOL_ERROR: u32 = 1;

#[test]
fn what_is_no_request_reaches_nobody() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let to = upstream.address;
    let site = site(&format!("location / {{ proxy_pass http://{to}; }}"));
    let with = |name: &'static str, value: &'static str| [&get("/")[..], &[(name, value)]].concat();
    let malformed = [
        with("connection", "close"),
        with("transfer-encoding", "chunked"),
        with("upgrade", "h2c"),
        with("keep-alive", "1"),
        with("te", "gzip"),
        with("X-Upper", "1"),
        with("x", "a\r\nb: c"),
        with("x", "a\0b"),
        with("x\r\ny", "a"),
        with("x:y", "a"),
        with("", "a"),
        with(":path", "/2"),
        with(":other", "1"),
        [&[("x", "y")], &get("/")[..]].concat(),
        get("/")[1..].to_vec(),
        get("")[..].to_vec(),
    ];
    let mut client = Http2::connect(site.port);
    for fields in &malformed {
        let stream = client.begin(fields, END_STREAM);
        let answer = client.answer(stream);
        assert_eq!(
            (answer.reset, answer.heads.len()),
            (Some(PROTOCOL_ERROR), 0),
            "{fields:?}"
        );
    }
    let refused = [
        (with("host", "other"), 400),
        (get("x").to_vec(), 400),
        (get("/a b").to_vec(), 400),
        (get("/\u{1}").to_vec(), 400),
        (get("/")[..3].to_vec(), 400),
        (with("content-length", "x"), 400),
        (with("x", &"y".repeat(9000).leak()[..]), 400),
        ([&[(":method", "TRACE")], &get("/")[1..]].concat(), 405),
        (vec![(":method", "CONNECT"), (":authority", "x:1")], 405),
        ([&get("/")[..], &[("a", "b"); 1200]].concat(), 400),
    ];
    for (fields, status) in &refused {
        let stream = client.begin(fields, END_STREAM);
        assert_eq!(client.answer(stream).status(), *status, "{fields:.120?}");
    }
    assert!(upstream.is_quiet());
    assert_eq!(client.get("/").text(), "ok");
    upstream.seen();
}

#[test]
fn bodies_are_as_long_as_they_say() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let to = upstream.address;
    let site = site(&format!("location / {{ proxy_pass http://{to}; }}"));
    let mut client = Http2::connect(site.port);
    let fields = [
        &[(":method", "POST")],
        &get("/")[1..],
        &[("content-length", "4")],
    ]
    .concat();
    for body in [&b"123"[..], b"12345"] {
        let stream = client.begin(&fields, 0);
        client.frame(DATA, END_STREAM, stream, body);
        assert_eq!(client.answer(stream).reset, Some(PROTOCOL_ERROR));
    }
    let stream = client.begin(&fields, END_STREAM);
    assert_eq!(client.answer(stream).reset, Some(PROTOCOL_ERROR));
    assert!(upstream.is_quiet());
    let stream = client.begin(&fields, 0);
    client.frame(DATA, 0, stream, b"12");
    client.frame(DATA, END_STREAM, stream, b"34");
    assert_eq!(client.answer(stream).text(), "ok");
}

#[test]
fn what_breaks_a_rule_of_frames_ends_the_connection_and_says_why() {
    let site = site("");
    let cases: [(u8, u8, u32, &[u8], u32); 5] = [
        (DATA, 0, 0, b"x", 1),
        (6, 0, 0, &[0; 7], 6),
        (HEADERS, END_HEADERS, 1, &[0x80], 9),
        (8, 0, 0, &[0x7f, 0xff, 0xff, 0xff], 3),
        (5, END_HEADERS, 1, &[0, 0, 0, 2], 1),
    ];
    for (kind, flags, stream, payload, code) in cases {
        let mut client = Http2::connect(site.port);
        assert_eq!(client.get("/").status(), 200);
        client.frame(kind, flags, stream + u32::from(stream > 0) * 2, payload);
        assert_eq!(client.sent_away(), code, "{kind}");
    }
    until("they are logged", || {
        let log = site.folder.read("logs/error.log");
        log.matches("while processing HTTP/2 connection").count() == cases.len()
    });
}

#[test]
fn prior_knowledge_needs_the_directive_and_may_come_in_pieces() {
    let on = site("");
    let whole = [PREFACE, &crate::support::http2::frame(4, 0, 0, &[])].concat();
    for cut in [1, 3, 14, 23, 24, 30] {
        let mut client = Client::connect(on.port);
        client.send(&whole[..cut]);
        std::thread::sleep(std::time::Duration::from_millis(20));
        client.send(&whole[cut..]);
        let settings = client.take(9).expect("settings");
        assert_eq!(settings[3], 4, "cut at {cut}");
    }
    // What only begins so is HTTP/1.
    let mut client = Client::connect(on.port);
    client.send("PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().status, 405);
    let mut client = Client::connect(on.port);
    client.send("PRI");
    std::thread::sleep(std::time::Duration::from_millis(20));
    client.send(" /x HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(client.response().status, 405);
    let off = super::super::Site::start("", "");
    let mut client = Client::connect(off.port);
    client.send(&whole);
    let (answer, _) = client.rest(std::time::Duration::from_secs(3));
    assert!(
        answer.starts_with(b"HTTP/1.1 400") || answer.starts_with(b"HTTP/1.1 505"),
        "{answer:?}"
    );
}

/// A head in as many frames as it may have.
#[test]
fn heads_may_come_in_pieces() {
    let site = site("");
    let mut client = Http2::connect(site.port);
    let fields = [&get("/1k")[..], &[("x", "y"); 20]].concat();
    let bytes = block(&fields);
    let pieces: Vec<&[u8]> = bytes.chunks(bytes.len().div_ceil(60)).collect();
    client.frame(HEADERS, END_STREAM, 1, pieces[0]);
    for (at, piece) in pieces.iter().enumerate().skip(1) {
        let flags = if at + 1 == pieces.len() {
            END_HEADERS
        } else {
            0
        };
        client.frame(9, flags, 1, piece);
    }
    assert_eq!(client.answer(1).body.len(), 1024);
}

/// However many pieces it comes in, and however many pings come before.
#[test]
fn a_head_has_its_time() {
    let site = site("client_header_timeout 1s;");
    let mut client = Http2::connect(site.port);
    assert_eq!(client.get("/").status(), 200);
    client.frame(HEADERS, END_STREAM, 3, &block(&get("/")));
    let began_at = std::time::Instant::now();
    while began_at.elapsed() < std::time::Duration::from_millis(1500) {
        client.frame(9, 0, 3, &[0x82]);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(client.sent_away(), 0);
    assert!(began_at.elapsed() < std::time::Duration::from_secs(5));
    until("it is logged", || {
        let log = site.folder.read("logs/error.log");
        log.contains(
            "client timed out (110: Connection timed out) while processing HTTP/2 connection",
        )
    });
}
