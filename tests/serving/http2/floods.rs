//! Who asks for more than it may is sent away, with one line in the log; who does not is not.

use super::site;
use crate::support::http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PRIORITY, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, block, frame, get,
};
use crate::support::until;

const CALM: u32 = 11;

/// A client that does something, and what the log says of it.
type Flood = (&'static str, fn(&mut Http2));

const FLOODS: &[Flood] = &[
    ("reset too many streams", |client| {
        for _ in 0..140 {
            let stream = client.begin(&post(), 0);
            client.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        }
    }),
    // The server is made to reset them.
    ("reset too many streams", |client| {
        for _ in 0..140 {
            let stream = client.begin(&post(), 0);
            client.frame(WINDOW_UPDATE, 0, stream, &0u32.to_be_bytes());
        }
    }),
    ("reset too many streams", |client| {
        for _ in 0..140 {
            client.begin(
                &[&get("/")[..], &[("connection", "close")]].concat(),
                END_STREAM,
            );
        }
    }),
    ("sent too many empty frames", |client| {
        let stream = client.begin(&post(), 0);
        client.send(&frame(DATA, 0, stream, &[]).repeat(101));
    }),
    ("sent a header block that is far too large", |client| {
        client.frame(HEADERS, END_STREAM, 1, &block(&get("/")));
        client.send(&frame(CONTINUATION, 0, 1, &block(&[("a", "b")])).repeat(64));
    }),
    ("sent a header block that is far too large", |client| {
        client.frame(HEADERS, END_STREAM, 1, &block(&get("/")));
        let large = block(&[("a", &"b".repeat(16_000))]);
        client.send(&frame(CONTINUATION, 0, 1, &large).repeat(5));
    }),
    // A bomb: one field of 4,000 bytes, said again by one byte each.
    ("sent a header block that is far too large", |client| {
        let mut bomb = block(&get("/"));
        bomb.extend_from_slice(&[0x40, 1, b'a', 0x7f, 0xa1, 0x1e]);
        bomb.extend_from_slice(&[b'x'; 4000]);
        bomb.extend_from_slice(&[0xbe; 10_000]);
        client.frame(HEADERS, END_STREAM | END_HEADERS, 1, &bomb);
    }),
    ("sent too many frames that carry nothing", |client| {
        client.send(&frame(PRIORITY, 0, 1, &[0; 5]).repeat(620_000));
    }),
    ("sent too many frames that carry nothing", |client| {
        client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(660_000));
    }),
];

fn post() -> Vec<(&'static str, &'static str)> {
    [&[(":method", "POST")], &get("/up")[1..]].concat()
}

#[test]
fn floods_are_sent_away_and_logged_once() {
    let site = site("location /up { client_body_timeout 60s; proxy_pass http://127.0.0.1:1; }");
    for (place, (reason, flood)) in FLOODS.iter().enumerate() {
        let mut client = Http2::connect(site.port);
        flood(&mut client);
        assert_eq!(client.sent_away(), CALM, "{place}: {reason}");
        until("it is logged", || {
            site.folder.read("logs/error.log").contains(reason)
        });
    }
    let count = || {
        let log = site.folder.read("logs/error.log");
        log.matches("ENHANCE_YOUR_CALM").count()
    };
    until("all are logged", || count() >= FLOODS.len());
    let log = site.folder.read("logs/error.log");
    let lines = log
        .lines()
        .filter(|line| line.contains("ENHANCE_YOUR_CALM"));
    assert_eq!(lines.clone().count(), FLOODS.len(), "one line each");
    assert!(
        lines
            .clone()
            .all(|line| line.contains("[warn]") && line.contains("client: 127.0.0.1"))
    );
    // Others are served as before.
    assert_eq!(Http2::connect(site.port).get("/").text(), "home\n");
}

/// Whoever asks for answers and reads none is not read any further, and closed when nothing moves.
#[test]
fn who_reads_no_answers_is_closed() {
    let site = site("send_timeout 1s;");
    for flood in [frame(PING, 0, 0, &[1; 8]), frame(SETTINGS, 0, 0, &[])] {
        let mut client = Http2::connect(site.port);
        client.send(&flood.repeat(2_000_000));
        while !client.is_closed {
            let _ = client.read();
        }
    }
    assert_eq!(Http2::connect(site.port).get("/").text(), "home\n");
}

#[test]
fn honest_clients_are_no_flood() {
    let site = site("location /up { return 200 ok; }");
    let mut client = Http2::connect(site.port);
    // Ten thousand requests, of which each tenth is given up.
    for at in 0..10_000 {
        let stream = client.ask("/");
        if at % 10 == 0 {
            client.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
        } else {
            assert_eq!(client.answer(stream).text(), "home\n");
        }
    }
    // Pings that are waited for.
    for at in 1..3000 {
        client.frame(PING, 0, 0, &[0; 8]);
        while client.pongs < at {
            client.read().unwrap();
        }
    }
    assert_eq!(client.get("/").status(), 200);
}

/// An honest stream of small messages, as gRPC has them.
#[test]
fn ten_thousand_small_messages_are_no_flood() {
    let upstream = crate::support::Upstream::start(|mut asked, seen| {
        asked.head();
        let mut got = 0;
        while got < 50_000 {
            // Each is a chunk of its own, or several are one.
            let line = chunk_head(&mut asked);
            asked.body(line + 2);
            got += line;
        }
        let _ = seen.send(got.to_string());
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let to = upstream.address;
    let site = site(&format!(
        "location /up {{ proxy_pass http://{to}; proxy_request_buffering off; }}"
    ));
    let mut client = Http2::connect(site.port);
    let stream = client.begin(&post(), 0);
    for _ in 0..10_000 {
        client.frame(DATA, 0, stream, b"tiny!");
    }
    client.frame(DATA, END_STREAM, stream, &[]);
    assert_eq!(client.answer(stream).text(), "ok");
    assert_eq!(upstream.seen(), "50000");
}

fn chunk_head(asked: &mut crate::support::upstream::Asked) -> usize {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend(asked.body(1));
    }
    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
    usize::from_str_radix(&text, 16).expect("a length")
}

#[test]
fn streams_beyond_the_limit_are_refused_and_may_be_sent_again() {
    let upstream = crate::support::Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.wait_closed();
    });
    let to = upstream.address;
    let site = site(&format!(
        "http2_max_concurrent_streams 2; location /p {{ proxy_pass http://{to}; }}"
    ));
    let mut client = Http2::connect(site.port);
    client.ask("/p");
    let second = client.ask("/p");
    upstream.seen();
    upstream.seen();
    let third = client.ask("/");
    assert_eq!(client.answer(third).reset, Some(7));
    client.frame(RST_STREAM, 0, second, &8u32.to_be_bytes());
    assert_eq!(client.get("/").text(), "home\n");
}
