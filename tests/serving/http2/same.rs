//! What modules do, they do over either version.

use super::{site, site_with};
use crate::support::http2::{END_STREAM, Http2, get};
use crate::support::tls::{Clients, certificate};
use crate::support::{Client, Folder, Server, Upstream, ports, until};

const SITE: &str = "location /text { return 200 'text of $request_method $uri $args'; }
         location /moved { return 301 /text; }
         location /gone { return 410; }
         location /own { error_page 404 /text; }
         location /gz/ { alias html/; gzip on; gzip_types *; }
         location /hdr { add_header X-A $http_x_y; add_header X-B b always; return 200 h; }
         location /denied { deny all; }
         location /page { ssi on; default_type text/html; return 200 \"<!--#include virtual='/text' -->|\"; }
         location /around { add_before_body /text; add_after_body /text; default_type text/html; return 200 ' around '; }
         location /sub { sub_filter text TEXT; default_type text/html; return 200 'a text'; }
         location /gif { empty_gif; }
         location /cookie { return 200 $cookie_b,$http_cookie; }";

#[test]
fn answers_are_the_same_as_over_http_1() {
    let site = site(SITE);
    let mut http2 = Http2::connect(site.port);
    let paths = [
        "/",
        "/1k",
        "/big",
        "/100k.html",
        "/text?a=b",
        "/moved",
        "/gone",
        "/own/x",
        "/none",
        "/hdr",
        "/denied",
        "/page",
        "/around",
        "/sub",
        "/gif",
        "/a/../1k",
        "/%31k",
        "/gz/100k.html",
        "/cookie",
    ];
    let extra = [
        ("x-y", "1"),
        ("accept-encoding", "gzip"),
        ("cookie", "a=1"),
        ("cookie", "b=2"),
    ];
    for path in paths {
        let mut http1 = Client::connect(site.port);
        http1.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nX-Y: 1\r\nAccept-Encoding: gzip\r\nCookie: a=1; b=2\r\n\r\n"
        ));
        let old = http1.response();
        let stream = http2.begin(&[&get(path)[..], &extra].concat(), END_STREAM);
        let new = http2.answer(stream);
        assert_eq!(new.status(), old.status, "{path}");
        assert!(new.body == old.body, "{path}: {:.300}", new.text());
        for name in [
            "content-type",
            "content-length",
            "etag",
            "last-modified",
            "location",
            "x-a",
            "x-b",
            "content-encoding",
            "vary",
        ] {
            assert_eq!(new.header(name), old.header(name), "{path} {name}");
        }
        assert!(new.header("connection").is_none() && new.header("transfer-encoding").is_none());
    }
}

#[test]
fn ranges_conditions_and_methods() {
    let site = site("");
    let mut http2 = Http2::connect(site.port);
    let etag = http2.get("/1k").header("etag").unwrap().to_owned();
    let cases: [(&str, &str, &str, u16, usize); 5] = [
        ("GET", "range", "bytes=5-9", 206, 5),
        ("GET", "range", "bytes=5000-", 416, 197),
        ("GET", "if-none-match", &etag, 304, 0),
        ("HEAD", "x", "y", 200, 0),
        ("POST", "x", "y", 405, 157),
    ];
    for (method, name, value, status, len) in cases {
        let mut fields = get("/1k").to_vec();
        fields[0].1 = method;
        fields.push((name, value));
        let stream = http2.begin(&fields, END_STREAM);
        let answer = http2.answer(stream);
        assert_eq!(answer.status(), status, "{method} {name}");
        assert!(
            answer.body.len().abs_diff(len) <= 12,
            "{method} {name}: {}",
            answer.text()
        );
    }
}

#[test]
fn logs_say_what_nginx_says() {
    let site = site_with(
        "log_format two '$request|$status|$request_length|$bytes_sent|$body_bytes_sent|$server_protocol|$http2|$connection_requests|$request_completion|$scheme';",
        "access_log logs/two.log two; location /t { return 200 four; } location /up { return 204; }",
    );
    let mut client = Http2::connect(site.port);
    assert_eq!(client.get("/t?x").text(), "four");
    assert_eq!(client.post("/t", b"body").status(), 200);
    assert_eq!(client.get("/up").status(), 204);
    until("the lines are there", || {
        site.folder.read("logs/two.log").lines().count() == 3
    });
    let log = site.folder.read("logs/two.log");
    let lines: Vec<Vec<&str>> = log.lines().map(|line| line.split('|').collect()).collect();
    assert_eq!(lines[0][0], "GET /t?x HTTP/2.0");
    // The body alone is its bytes; what frames it is of the head.
    assert_eq!((lines[0][1], lines[0][4]), ("200", "4"));
    let sent: u64 = lines[0][3].parse().unwrap();
    assert!((60..120).contains(&sent), "{sent}");
    assert_eq!(&lines[0][5..], ["HTTP/2.0", "h2c", "1", "OK", "http"]);
    let lengths: Vec<u64> = lines.iter().map(|line| line[2].parse().unwrap()).collect();
    // A field more, two bytes of the path less, and perhaps the body, which nobody has waited for.
    assert!([17, 21].contains(&(lengths[1] - lengths[0])), "{log}");
    assert_eq!((lines[2][1], lines[2][4], lines[2][7]), ("204", "0", "3"));
}

#[test]
fn the_upstream_gets_one_cookie_a_host_and_the_body() {
    let upstream = Upstream::start(|mut asked, seen| {
        loop {
            let head = asked.head();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let len = length.map_or(0, |text| text.parse().unwrap());
            let body = asked.body(len);
            let _ = seen.send(format!("{head}{}", String::from_utf8_lossy(&body)));
            asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nKeep-Alive: 5\r\nConnection: keep-alive\r\nX-Up: 1\r\n\r\nok");
        }
    });
    let to = upstream.address;
    let site = site(&format!(
        "location / {{ proxy_pass http://{to}; proxy_set_header Host $host; }}
         location /stream {{ proxy_pass http://{to}; proxy_request_buffering off; proxy_set_header Host $http_host; }}"
    ));
    let mut client = Http2::connect(site.port);
    let fields = [
        (":method", "PUT"),
        (":scheme", "http"),
        (":path", "/a?b"),
        (":authority", "localhost:1"),
        ("cookie", "a=1"),
        ("x-k", "v"),
        ("cookie", "b=2"),
        ("te", "trailers"),
    ];
    // A body without a length has one once it was read.
    let stream = client.begin(&fields, 0);
    client.body(stream, b"12345");
    let answer = client.answer(stream);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("x-up"), Some("1"));
    assert!(answer.header("keep-alive").is_none() && answer.header("connection").is_none());
    assert_eq!(
        upstream.seen(),
        "PUT /a?b HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nx-k: v\r\ncookie: a=1; b=2\r\n\r\n12345"
    );
    // One that is passed on as it comes keeps its own.
    let answer = client.post("/stream", &[b'x'; 50_000]);
    assert_eq!(answer.status(), 200);
    let seen = upstream.seen();
    assert!(
        seen.starts_with(
            "POST /stream HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\nx"
        ),
        "{seen:.200}"
    );
    assert_eq!(seen.matches('x').count(), 50_000);
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let to = upstream.address;
    let site = site(&format!(
        "location / {{ proxy_pass http://{to}; client_max_body_size 1000; }}"
    ));
    let mut client = Http2::connect(site.port);
    assert_eq!(client.post("/", &[b'x'; 1000]).status(), 200);
    assert_eq!(client.post("/", &[b'x'; 1001]).status(), 413);
    let fields = [&[(":method", "POST")], &get("/")[1..]].concat();
    for (len, status) in [(1000, 200), (1001, 413)] {
        let stream = client.begin(&fields, 0);
        client.body(stream, &vec![b'x'; len]);
        assert_eq!(client.answer(stream).status(), status, "{len}");
    }
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn tls_agrees_on_it_where_it_is_on() {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let certificates = [
        certificate(&folder, "one", "one.test"),
        certificate(&folder, "two", "two.test"),
    ];
    let port = ports::free();
    let text = super::super::config(
        &folder,
        port,
        "",
        "server_name one.test; ssl_certificate one.crt; ssl_certificate_key one.key; http2 on;
         location /v { return 200 $http2,$scheme; }",
    )
    .replace(
        &format!("127.0.0.1:{port};"),
        &format!("127.0.0.1:{port} ssl;"),
    );
    let text = text.trim_end().strip_suffix('}').unwrap().to_owned();
    let text = format!(
        "{text} server {{ listen 127.0.0.1:{port} ssl; server_name two.test;
         ssl_certificate two.crt; ssl_certificate_key two.key; return 200 two; }} }}\n"
    );
    let _server = Server::start(&folder, &text, &[port]);
    let clients = Clients::trusting(&certificates).offering(&[b"h2", b"http/1.1"]);
    let wire = clients.connect(port, "one.test").unwrap();
    assert_eq!(wire.protocol(), Some(&b"h2"[..]));
    let mut client = Http2::over(wire.into_inner(), &[]);
    let mut fields = get("/v").to_vec();
    fields[3].1 = "one.test";
    let stream = client.begin(&fields, END_STREAM);
    assert_eq!(client.answer(stream).text(), "h2,https");
    // Another server of the port, and clients that do not offer it.
    let other = clients.connect(port, "two.test").unwrap();
    assert_eq!(other.protocol(), Some(&b"http/1.1"[..]));
    let old = Clients::trusting(&certificates).offering(&[b"http/1.1"]);
    assert_eq!(
        old.connect(port, "one.test").unwrap().protocol(),
        Some(&b"http/1.1"[..])
    );
    let none = Clients::trusting(&certificates);
    assert!(none.get(port, "one.test", "/v").ends_with("\r\n\r\n,https"));
}
