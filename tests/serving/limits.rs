//! Keep-alive, its limits, and the limits of heads and bodies.

use std::time::{Duration, Instant};

use super::Site;
use crate::support::{Client, End};

#[test]
fn an_idle_connection_is_closed_after_keepalive_timeout() {
    let site = Site::start("keepalive_timeout 2s;", "");
    let mut client = Client::connect(site.port);
    let start = Instant::now();
    for _ in 0..5 {
        // Each request begins the time anew.
        assert_eq!(client.get("/").status, 200);
        crate::support::wait::stays(Duration::from_millis(500), || true);
    }
    assert!(start.elapsed() > Duration::from_millis(2400));
    let waited = client.closed();
    assert!(waited < Duration::from_secs(20), "{waited:?}");
}

#[test]
fn a_connection_serves_keepalive_requests_and_no_more() {
    let site = Site::start("", "keepalive_requests 5;");
    let mut client = Client::connect(site.port);
    for number in 1..=5 {
        let response = client.get("/");
        let expected = if number < 5 { "keep-alive" } else { "close" };
        assert_eq!(
            response.header("connection"),
            Some(expected),
            "request {number}"
        );
    }
    client.closed();
    // The same in one write: what comes after the fifth is not answered.
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(8));
    for _ in 0..5 {
        assert_eq!(client.response().status, 200);
    }
    let (rest, end) = client.rest(Duration::from_secs(8));
    assert_eq!(rest, b"");
    assert_ne!(end, End::Open);
}

#[test]
fn a_connection_is_closed_after_keepalive_time() {
    let site = Site::start("keepalive_time 2s;", "");
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/").header("connection"), Some("keep-alive"));
    crate::support::wait::stays(Duration::from_millis(2100), || true);
    assert_eq!(client.get("/").header("connection"), Some("close"));
    client.closed();
}

#[test]
fn a_body_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let site = Site::start(
        "client_max_body_size 1000;",
        "location / { return 200 ok; }",
    );
    for (length, status) in [(999, 200), (1000, 200), (1001, 413)] {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.send(vec![b'x'; length]);
        assert_eq!(client.response().status, status, "{length}");
    }
}

#[test]
fn a_head_of_the_limit_is_taken_and_one_byte_more_is_not() {
    let site = Site::start(
        "client_header_buffer_size 512; large_client_header_buffers 2 1k;",
        "location / { return 200 ok; }",
    );
    let ask = |request: String| {
        let mut client = Client::connect(site.port);
        client.send(request);
        client.response().status
    };
    // A line is as long as a buffer: the request line with its line end, a header line too.
    for (length, status) in [(1000, 200), (1024, 200), (1025, 414), (3000, 414)] {
        let rest = " HTTP/1.1\r\n".len() + "GET /".len();
        let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(length - rest));
        assert_eq!(
            ask(format!("{line}Host: x\r\n\r\n")),
            status,
            "a request line of {length}"
        );
    }
    for (length, status) in [(1000, 200), (1024, 200), (1026, 400)] {
        let line = format!("X: {}\r\n", "a".repeat(length - "X: \r\n".len()));
        assert_eq!(
            ask(format!("GET / HTTP/1.1\r\nHost: x\r\n{line}\r\n")),
            status,
            "a line of {length}"
        );
    }
}
