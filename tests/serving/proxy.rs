//! Requests passed on: what the upstream gets, what the client gets, and what happens when it goes wrong.

use std::net::TcpListener;

use super::Site;
use crate::support::{Client, Upstream, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn site(server: &str) -> Site {
    Site::start("", server)
}

#[test]
fn the_upstream_gets_what_nginx_sends() {
    let upstream = Upstream::answering(OK);
    let to = upstream.address;
    let site = site(&format!(
        "location / {{ proxy_pass http://{to}; }}
         location /a/ {{ proxy_pass http://{to}/b/; proxy_set_header X-Real $remote_addr;
                         proxy_set_header Host $host; proxy_set_header X-Not ''; }}
         location /old {{ proxy_pass http://{to}; proxy_http_version 1.0; }}
         location /vars {{ proxy_pass http://{to}/v?u=$uri; }}"
    ));
    let mut client = Client::connect(site.port);
    client.send(
        "GET /x%2Fy//z?q=1 HTTP/1.1\r\nHost: h.example\r\nConnection: keep-alive, X-Hop\r\n\
         X-Hop: 1\r\nTE: trailers\r\nX-Kept: 2\r\nKeep-Alive: 5\r\nUpgrade: x\r\n\r\n",
    );
    assert_eq!(client.response().text(), "ok");
    assert_eq!(
        upstream.seen(),
        format!("GET /x%2Fy//z?q=1 HTTP/1.1\r\nHost: {to}\r\nX-Kept: 2\r\n\r\n")
    );
    client.send("GET /a/c%20d?e HTTP/1.1\r\nHost: h.example\r\nX-Not: 1\r\nX-Real: forged\r\n\r\n");
    client.response();
    assert_eq!(
        upstream.seen(),
        "GET /b/c%20d?e HTTP/1.1\r\nX-Real: 127.0.0.1\r\nHost: h.example\r\n\r\n"
    );
    client.send("GET /old HTTP/1.1\r\nHost: h\r\n\r\n");
    client.response();
    let head = format!("GET /old HTTP/1.0\r\nHost: {to}\r\nConnection: close\r\n\r\n");
    assert_eq!(upstream.seen(), head);
    client.send("GET /vars HTTP/1.1\r\nHost: h\r\n\r\n");
    client.response();
    assert!(upstream.seen().starts_with("GET /v?u=/vars HTTP/1.1\r\n"));
}

#[test]
fn bodies_are_passed_whole_or_as_they_come() {
    let upstream = Upstream::start(|mut asked, seen| {
        let head = asked.head();
        let length = head
            .lines()
            .find_map(|it| it.strip_prefix("Content-Length: "));
        let noted = match length.and_then(|it| it.parse().ok()) {
            Some(len) => format!(
                "{len} {}",
                asked.body(len).iter().filter(|it| **it == b'x').count()
            ),
            None => {
                let body = String::from_utf8_lossy(&asked.body(13)).into_owned();
                format!("chunked {body:?}")
            }
        };
        let _ = seen.send(noted);
        // It is not kept: a POST is not sent again over a connection that ended meanwhile.
        asked.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let to = upstream.address;
    let site = site(&format!(
        "client_body_buffer_size 1k; client_max_body_size 100k;
         location / {{ proxy_pass http://{to}; }}
         location /stream {{ proxy_pass http://{to}; proxy_request_buffering off; }}"
    ));
    let large = "x".repeat(50_000);
    for path in ["/", "/stream"] {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n{large}"
        ));
        assert_eq!(client.response().text(), "ok");
        assert_eq!(upstream.seen(), "50000 50000");
    }
    // A chunked body gets its length where it is buffered, and stays chunked where it is not.
    let chunked = "Transfer-Encoding: chunked\r\n\r\n3\r\nxxx\r\n0\r\n\r\n";
    let mut client = Client::connect(site.port);
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{chunked}"));
    assert_eq!(client.response().text(), "ok");
    assert_eq!(upstream.seen(), "3 3");
    let mut client = Client::connect(site.port);
    client.send(format!("POST /stream HTTP/1.1\r\nHost: h\r\n{chunked}"));
    assert_eq!(client.response().text(), "ok");
    assert_eq!(upstream.seen(), "chunked \"3\\r\\nxxx\\r\\n0\\r\\n\\r\\n\"");
    // One that grows too large is refused, whatever its form.
    let mut client = Client::connect(site.port);
    let chunk = format!("1a000\r\n{}\r\n", "x".repeat(0x1a000));
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    ));
    assert_eq!(client.response().status, 413);
}

#[test]
fn answers_come_with_their_headers_and_in_any_framing() {
    for (answer, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            "hello",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", ""),
    ] {
        let upstream = Upstream::answering(answer);
        let site = site(&format!(
            "location / {{ proxy_pass http://{}; }}",
            upstream.address
        ));
        let mut client = Client::connect(site.port);
        for _ in 0..2 {
            assert_eq!(client.get("/").text(), body, "{answer:?}");
        }
    }
    let upstream = Upstream::answering(
        "HTTP/1.1 201 Made\r\nServer: theirs\r\nDate: x\r\nX-Accel-Buffering: no\r\nX-Hop: 1\r\n\
         Connection: X-Hop\r\nX-Kept: a\r\nX-Kept: b\r\nX-Gone: c\r\nContent-Type: text/x\r\n\
         Location: http://localhost/up/there\r\nContent-Length: 0\r\n\r\n",
    );
    let site = site(&format!(
        "location /here/ {{ proxy_pass http://{}/up/; proxy_hide_header X-Gone;
         proxy_redirect http://localhost/up/ /here/; add_header X-Status $upstream_status;
         add_header X-Theirs $upstream_http_x_gone; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    let answer = client.get("/here/a");
    assert_eq!(answer.status, 201);
    assert!(
        answer
            .header("Server")
            .is_some_and(|it| it.starts_with("revolve"))
    );
    let there = format!("http://localhost:{}/here/there", site.port);
    for (name, value) in [
        ("X-Kept", Some("a")),
        ("X-Hop", None),
        ("X-Gone", None),
        ("X-Accel-Buffering", None),
        ("Content-Type", Some("text/x")),
        ("Location", Some(there.as_str())),
        ("X-Status", Some("201")),
        ("X-Theirs", Some("c")),
    ] {
        assert_eq!(answer.header(name), value, "{name}");
    }
}

/// A port where nobody listens.
fn dead() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[test]
fn another_peer_is_asked_where_one_fails() {
    let upstream = Upstream::answering(OK);
    let (to, dead) = (upstream.address, dead());
    let refusing = Upstream::answering("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let http = format!(
        "upstream app {{ server 127.0.0.1:{dead}; server {to}; }}
         upstream refusing {{ server {}; server {to} backup; }}",
        refusing.address
    );
    let site = Site::start(
        &http,
        &format!(
            "location / {{ proxy_pass http://app; }}
             location /refused {{ proxy_pass http://refusing; proxy_next_upstream http_503; }}
             location /dead {{ proxy_pass http://127.0.0.1:{dead}; error_page 502 =200 /page; }}
             location /page {{ return 200 page; }}"
        ),
    );
    let mut client = Client::connect(site.port);
    for _ in 0..4 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(client.get("/refused").text(), "ok");
    assert_eq!(client.get("/dead").text(), "page");
    let errors = site.folder.read("logs/error.log");
    assert!(
        errors.contains("connect() failed (111: Connection refused) while connecting to upstream")
    );
    assert!(errors.contains(&format!("upstream: \"http://127.0.0.1:{dead}/\"")));
}

#[test]
fn what_upstreams_do_wrong_has_its_status_and_its_line() {
    let close_at_once = Upstream::start(|mut asked, _| drop(asked.head()));
    let garbage = Upstream::answering("SMTP ready\r\n\r\n");
    let two_lengths =
        Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
    let silent = Upstream::start(|mut asked, _| {
        asked.head();
        asked.wait_closed();
    });
    for (upstream, status, line) in [
        (
            &close_at_once,
            502,
            "upstream prematurely closed connection while reading response header",
        ),
        (
            &garbage,
            502,
            "upstream sent invalid status line while reading response header",
        ),
        (
            &two_lengths,
            502,
            "upstream sent duplicate header line while reading response header",
        ),
        (
            &silent,
            504,
            "upstream timed out (110: Connection timed out) while reading response header",
        ),
    ] {
        let site = site(&format!(
            "location / {{ proxy_pass http://{}; proxy_read_timeout 300ms; }}",
            upstream.address
        ));
        assert_eq!(Client::connect(site.port).get("/").status, status, "{line}");
        until("the line is there", || {
            site.folder.read("logs/error.log").contains(line)
        });
    }
}

#[test]
fn an_answer_that_is_cut_short_is_not_taken_for_whole() {
    let upstream = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    });
    let site = site(&format!(
        "location / {{ proxy_pass http://{}; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let (bytes, _) = client.rest(std::time::Duration::from_secs(5));
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("abc") && !text.ends_with("0\r\n\r\n"),
        "{text}"
    );
    let line = "upstream prematurely closed connection while reading upstream";
    until("the line is there", || {
        site.folder.read("logs/error.log").contains(line)
    });
}

#[test]
fn an_answer_before_the_body_was_sent_gets_through() {
    let upstream = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 401 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
        asked.wait_closed();
    });
    let site = site(&format!(
        "client_max_body_size 0; location / {{ proxy_pass http://{}; proxy_request_buffering off; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx");
    assert_eq!(client.response().status, 401);
}

#[test]
fn websockets_are_passed_both_ways() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhi");
        let said = asked.body(4);
        asked.say(said);
        asked.wait_closed();
    });
    let site = site(&format!(
        "location / {{ proxy_pass http://{}; proxy_set_header Upgrade $http_upgrade;
         proxy_set_header Connection upgrade; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    client.send("GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n");
    let head = client.response();
    assert_eq!(head.status, 101);
    assert_eq!(head.header("Upgrade"), Some("websocket"));
    assert_eq!(head.header("Connection"), Some("upgrade"));
    assert!(upstream.seen().contains("Connection: upgrade\r\n"));
    assert_eq!(client.take(2).unwrap(), b"hi");
    client.send("ping");
    assert_eq!(client.take(4).unwrap(), b"ping");
}

#[test]
fn a_head_is_told_no_length_that_nobody_knows() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let site = site(&format!(
        "location / {{ proxy_pass http://{}; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    for _ in 0..2 {
        client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
        let head = client.read_head();
        assert_eq!(head.status, 200);
        for name in ["Content-Length", "Transfer-Encoding"] {
            assert_eq!(head.header(name), None);
        }
    }
}

#[test]
fn kept_connections_are_used_again_and_replaced_when_they_were_closed() {
    // Each connection answers once, says that it stays, and closes.
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.say(OK);
    });
    let site = site(&format!(
        "location / {{ proxy_pass http://{}; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let errors = site.folder.read("logs/error.log");
    assert!(!errors.contains("upstream"), "{errors}");
}

#[test]
fn x_accel_redirect_leads_to_a_file() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nX-Accel-Redirect: /inside/index.html\r\nContent-Length: 4\r\n\r\nnope",
    );
    let site = site(&format!(
        "location / {{ proxy_pass http://{}; }}
         location /inside/ {{ internal; alias html/; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/").text(), "home\n");
    assert_eq!(client.get("/inside/index.html").status, 404);
}

#[test]
fn a_client_that_leaves_ends_the_request_upstream() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.wait_closed();
        let _ = seen.send("closed".into());
    });
    let site = site(&format!(
        "location / {{ proxy_pass http://{}; }}",
        upstream.address
    ));
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    upstream.seen();
    drop(client);
    assert_eq!(upstream.seen(), "closed");
    until("the line is there", || {
        site.folder.read("logs/access.log").contains("499 GET /")
    });
    assert!(upstream.is_quiet());
}
