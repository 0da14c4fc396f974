//! Bodies that nobody asked for, and `Expect`.

use super::{Site, config};
use crate::support::wait::PATIENCE;
use crate::support::{Client, End, Folder, Server, ports};

#[test]
fn the_body_of_a_request_is_read_past_to_the_next_one() {
    let site = Site::start("client_max_body_size 0;", "location /ok { return 200 ok; }");
    let mut client = Client::connect(site.port);
    for size in [0usize, 1, 10, 5000, 100_000, 3_000_000] {
        client.send(format!(
            "POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        ));
        // It looks like a request, and is none.
        let body = "GET /forged HTTP/1.1\r\nHost: x\r\n\r\n".repeat(size / 30 + 1);
        client.send(&body[..size]);
        assert_eq!(client.response().text(), "ok", "{size}");
        assert_eq!(client.get("/").text(), "home\n", "{size}");
    }
    let mut chunks =
        String::from("POST /ok HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for size in 1..300 {
        chunks.push_str(&format!("{size:x}\r\n{}\r\n", "G".repeat(size)));
    }
    chunks.push_str("0\r\n\r\n");
    client.send(chunks);
    assert_eq!(client.response().text(), "ok");
    assert_eq!(client.get("/").text(), "home\n");
    assert_eq!(site.folder.count("logs/access.log", "forged"), 0);
}

#[test]
fn whoever_expects_100_continue_gets_it_once_and_then_the_answer() {
    let site = Site::start("", "location /ok { return 200 ok; }");
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        client.send(
            "POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.response().status, 100);
        client.send("hello");
        assert_eq!(client.response().text(), "ok");
    }
    assert_eq!(client.get("/").status, 200);
}

#[test]
fn whoever_waits_with_a_body_that_is_read_is_told_on_every_driver() {
    let lines = "location /ok { return 200 ok; }
        location /read { proxy_pass http://127.0.0.1:$server_port/ok; }
        location /stream { proxy_pass http://127.0.0.1:$server_port/ok; proxy_request_buffering off; }";
    for driver in ["epoll", "io_uring", "poll"] {
        let folder = Folder::new();
        let port = ports::free();
        let used = format!("events {{ use {driver};");
        let config = config(&folder, port, "", lines).replace("events {", &used);
        let _server = Server::start(&folder, &config, &[port]);
        let mut client = Client::connect(port);
        for path in ["/read", "/stream", "/read"] {
            client.send(format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
            ));
            assert_eq!(client.response().status, 100, "{driver} {path}");
            client.send("hello");
            assert_eq!(client.response().text(), "ok", "{driver} {path}");
        }
    }
}

#[test]
fn whoever_is_refused_hears_why_although_it_still_sends() {
    let site = Site::start("client_max_body_size 1k; lingering_timeout 500ms;", "");
    for _ in 0..10 {
        let mut client = Client::connect(site.port);
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n");
        // The server lingers: what is sent after the refusal is no reason to reset.
        client.send(vec![b'x'; 4_000_000]);
        assert_eq!(client.response().status, 413);
        let (_, end) = client.rest(PATIENCE);
        assert_eq!(end, End::Closed, "not reset");
    }
}

#[test]
fn without_lingering_a_refused_client_is_cut_off() {
    let site = Site::start("client_max_body_size 1k; lingering_close off;", "");
    let mut client = Client::connect(site.port);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000\r\n\r\n");
    let response = client.response();
    assert_eq!(response.status, 413);
    let (_, end) = client.rest(PATIENCE);
    assert_ne!(end, End::Open);
}

#[test]
fn a_body_is_read_before_all_else_where_that_is_wanted() {
    let site = Site::start(
        "map $request_body $kind { default other; ~tools tools; \"\" none; }",
        "client_body_early_read $http_x_early $arg_early; client_max_body_size 20;
         set $seen $kind; location / { return 200 \"$seen|$request_body\"; }",
    );
    let mut client = Client::connect(site.port);
    let mut ask = |target: &str, lines: &str, body: &str| {
        let len = body.len();
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\n{lines}Content-Length: {len}\r\n\r\n{body}"
        ));
        client.response()
    };
    assert_eq!(
        ask("/", "X-Early: 1\r\n", "tools/call").text(),
        "tools|tools/call"
    );
    assert_eq!(ask("/?early=yes", "", "x").text(), "other|x");
    for lines in ["", "X-Early: 0\r\n"] {
        assert_eq!(ask("/", lines, "tools/call").text(), "none|", "{lines}");
    }
    assert_eq!(ask("/", "X-Early: 1\r\n", "").text(), "none|");
    let refused = ask("/", "X-Early: 1\r\n", "a body of more than 20 bytes");
    assert_eq!(refused.status, 413);
}
