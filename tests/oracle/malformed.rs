//! Requests that no client should send.

use super::pair::compare;
use super::request::{Case, raw};

/// A request for `/exact` with these header lines (each with its line end), whose connection may
/// stay.
fn lines(lines: &str) -> Case {
    raw(format!("GET /exact HTTP/1.1\r\n{lines}\r\n"))
}

/// Request lines, good and bad.
const FIRST_LINES: &[&str] = &[
    "GET / HTTP/1.1",
    "GET / HTTP/1.0",
    "GET / HTTP/2.0",
    "GET / HTTP/1.2",
    "GET / HTTP/1.9",
    "GET / HTTP/1.10",
    "GET / HTTP/1.",
    "GET / HTTP/1",
    "GET / HTTP/",
    "GET / HTTP",
    "GET / H",
    "GET / HTTP/0.9",
    "GET / HTTP/0.1",
    "GET / HTTP/3.0",
    "GET / HTTP/10.1",
    "GET / HTTP/1.x",
    "GET / http/1.1",
    "GET / FTP/1.1",
    "GET / HTTP/1.1 ",
    "GET / HTTP/1.1  ",
    "GET / HTTP/1.1 x",
    "GET / HTTP /1.1",
    "GET / HTTP/1 .1",
    "GET  / HTTP/1.1",
    "GET   /  HTTP/1.1",
    "GET /  HTTP/1.1",
    " GET / HTTP/1.1",
    "GET /a b HTTP/1.1",
    "GET /a b c HTTP/1.1",
    "GET /exact",
    "GET",
    "GET ",
    "GET /",
    "GET / ",
    "/",
    "",
    " ",
    "G",
    "GET / HTTP/1.1\t",
    "GET\t/ HTTP/1.1",
    "GET / \tHTTP/1.1",
    "GET exact HTTP/1.1",
    "GET ?x HTTP/1.1",
    "GET #x HTTP/1.1",
    "GET . HTTP/1.1",
    "GET http://second.example/pre HTTP/1.1",
    "GET http://second.example:80 HTTP/1.1",
    "GET http://second.example HTTP/1.1",
    "GET http://second.example?x HTTP/1.1",
    "GET http://second.example:80?x HTTP/1.1",
    "GET http:// HTTP/1.1",
    "GET http:/// HTTP/1.1",
    "GET http:/x HTTP/1.1",
    "GET http: HTTP/1.1",
    "GET https://second.example/ HTTP/1.1",
    "GET ftp://second.example/ HTTP/1.1",
    "GET HTTP://SECOND.example/ HTTP/1.1",
    "GET h2-x+y.z://second.example/ HTTP/1.1",
    "GET http://second.example:x/ HTTP/1.1",
    "GET http://second.example:/ HTTP/1.1",
    "GET http://second.example:99999/ HTTP/1.1",
    "GET http://[::1]/ HTTP/1.1",
    "GET http://[::1]:80/ HTTP/1.1",
    "GET http://[::1/ HTTP/1.1",
    "GET http://[]/ HTTP/1.1",
    "GET http://a b/ HTTP/1.1",
    "GET http://a%41/ HTTP/1.1",
    "GET http://a_b/ HTTP/1.1",
    "GET example.com:80 HTTP/1.1",
    "GET a HTTP/1.1",
    "OPTIONS * HTTP/1.1",
    "OPTIONS *x HTTP/1.1",
    "GET /\u{1} HTTP/1.1",
    "GET /\u{7f} HTTP/1.1",
    "GET /\t HTTP/1.1",
    "G\u{0}T / HTTP/1.1",
    "GET /\u{0} HTTP/1.1",
    "GET /?\u{0} HTTP/1.1",
    "GET / HTTP/1.1\u{0}",
    "\u{0}",
    "GÉT / HTTP/1.1",
    "PRI * HTTP/2.0",
    "get / HTTP/1.1",
    "Get / HTTP/1.1",
    "GET, / HTTP/1.1",
    "G:T / HTTP/1.1",
];

/// Request lines, with what follows them.
fn first_lines() -> Vec<Case> {
    let closing = "Host: a\r\nConnection: close\r\n\r\n";
    let mut cases = Vec::new();
    for line in FIRST_LINES {
        cases.push(raw(format!("{line}\r\n{closing}")));
        cases.push(raw(format!("{line}\n{closing}")));
    }
    for line in [
        "GET /exact\r\n",
        "GET /small.txt\r\n",
        "GET /\n",
        "GET /nope\r\n",
        "GET /a\r\n",
        "GET /r302\r\n",
        "POST /exact\r\n",
        "HEAD /\r\n",
        "GET / \r\n",
    ] {
        cases.push(raw(line));
    }
    cases
}

#[test]
fn request_lines_are_judged_as_by_nginx() {
    let mut cases = first_lines();
    cases.extend([
        raw(b"GET /\x80\xff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        raw(b"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"),
        raw("\r\n\r\nGET /exact HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        raw("\n\nGET /exact HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        raw("\rGET /exact HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
        raw("GET / HTTP/1.1\rHost: a\r\n\r\n"),
        raw(format!(
            "{} / HTTP/1.1\r\nHost: a\r\n\r\n",
            "A".repeat(9000)
        )),
        raw("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        // Cut before the end: they are closed when their time is over.
        raw("GET / HTTP/1.1"),
        raw("GET / HTTP/1.1\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\n\r"),
        raw("G"),
        raw("\r\n"),
        raw(""),
    ]);
    compare(cases);
}

#[test]
fn header_lines_are_judged_as_by_nginx() {
    let mut cases: Vec<Case> = [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host : a\r\n",
        "Host\t: a\r\n",
        "Host: a\r\n folded\r\n",
        "Host: a\r\n\tfolded\r\n",
        " Host: a\r\n",
        "\tHost: a\r\n",
        "Host: a\r\nX: a\0b\r\n",
        "Host: a\r\nX\0: a\r\n",
        "Host: a\r\nX: a\rb\r\n",
        "Host: a\r\nX: a\r\r\n",
        "Host: a\r\nX: a\r\n\r",
        "Host: a\r\n: novalue\r\n",
        "Host: a\r\nNoColon\r\nConnection: close\r\n",
        "Host: a\r\nA@B: x\r\nConnection: close\r\n",
        "Host: a\r\nA B: x\r\nConnection: close\r\n",
        "Host: a\r\nA_B: x\r\nConnection: close\r\n",
        "Host: a\r\nÄ: x\r\nConnection: close\r\n",
        "Host: a\r\nX:\r\nConnection: close\r\n",
        "Host: a\r\nX:y\r\nConnection: close\r\n",
        "Host: a\r\nX:   y  \r\nConnection:close\r\n",
        "Host: a\r\nX:\ty\t\r\nConnection:\tclose\r\n",
        "Host: a\r\nX: \u{1}\r\nConnection: close\r\n",
        "Host: a\r\nX: \u{7f}\r\nConnection: close\r\n",
        "Host: a\r\nX: ü\r\nConnection: close\r\n",
        "HOST: a\r\nCONNECTION: CLOSE\r\n",
        "host: a\r\nconnection: close\r\n",
        "Host: a\nConnection: close\n",
        "Host: a\r\nConnection: close\n",
        "Host: x.dot.example\r\nA_B: x\r\nConnection: close\r\n",
        "Host: x.dot.example\r\nA@B: x\r\nConnection: close\r\n",
        "Host: x.dot.example\r\nA B: x\r\nConnection: close\r\n",
        "Host: a\r\nConnection: close\r\nConnection: keep-alive\r\n",
        "Host: a\r\nUser-Agent: a\r\nUser-Agent: b\r\nConnection: close\r\n",
        "Host: a\r\nIf-None-Match: a\r\nIf-None-Match: b\r\nConnection: close\r\n",
        "Host: a\r\nContent-Type: a\r\nContent-Type: b\r\nConnection: close\r\n",
        "Host: a\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\nConnection: close\r\n",
        "Host: a\r\nIf-Modified-Since: a\r\nIf-Modified-Since: b\r\nConnection: close\r\n",
        "Host: a\r\nExpect: a\r\nExpect: b\r\nConnection: close\r\n",
        "Host: a\r\nAuthorization: a\r\nAuthorization: b\r\nConnection: close\r\n",
        "Host: a\r\nReferer: a\r\nReferer: b\r\nConnection: close\r\n",
        "Host: a\r\nUpgrade: a\r\nUpgrade: b\r\nConnection: close\r\n",
        "Host: a\r\nKeep-Alive: 5\r\nKeep-Alive: 6\r\nConnection: close\r\n",
    ]
    .map(lines)
    .to_vec();
    cases.push(raw("GET / HTTP/1.1\nHost: a\nConnection: close\n\n"));
    cases.extend(refused_by_the_server_of_the_host());
    compare(cases);
}

/// Heads that are wrong after the line that names the server.
fn refused_by_the_server_of_the_host() -> Vec<Case> {
    let long = "a".repeat(9000);
    let wrong = [
        "X: a\0b".to_owned(),
        "Host: redirect.example".to_owned(),
        "Transfer-Encoding: gzip".to_owned(),
        "Content-Length: x".to_owned(),
        "If-Match: a\r\nIf-Match: b".to_owned(),
        format!("X: {long}"),
    ];
    let each = |wrong: &String| {
        ["redirect.example", "bare.example", "second.example"].map(|host| {
            lines(&format!(
                "Host: {host}\r\nX-A: a\r\nUser-Agent: MSIE 6.0\r\n{wrong}\r\n"
            ))
        })
    };
    wrong.iter().flat_map(each).collect()
}

/// Lines that say where a body ends.
const FRAMINGS: &[&str] = &[
    "Content-Length: 1\r\nContent-Length: 1\r\n",
    "Content-Length: 1\r\nContent-Length: 2\r\n",
    "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n",
    "Transfer-Encoding: gzip\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: \r\n",
    "Transfer-Encoding: Chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunked \r\n",
    "Transfer-Encoding: chunked;q=1\r\n",
    "Transfer-Encoding:\tchunked\r\n",
    "Transfer_Encoding: chunked\r\n",
    "Content-Length: -1\r\n",
    "Content-Length: +1\r\n",
    "Content-Length: 1 2\r\n",
    "Content-Length: 1,1\r\n",
    "Content-Length: 0x1\r\n",
    "Content-Length: \r\n",
    "Content-Length: abc\r\n",
    "Content-Length: 1a\r\n",
    "Content-Length: 99999999999999999999\r\n",
    "Content-Length: 9223372036854775807\r\n",
    "Content-Length: 9223372036854775808\r\n",
    "Content-Length: 2000000\r\n",
    "Content-Length: 00000000000000000001\r\n",
    "Content-Length: 1.0\r\n",
    "Content_Length: 1\r\n",
];

#[test]
fn framing_is_judged_as_by_nginx() {
    let mut cases = Vec::new();
    for head in FRAMINGS {
        for method in ["GET", "POST"] {
            for version in ["1.0", "1.1"] {
                let first = format!("{method} /exact HTTP/{version}\r\nHost: a\r\n{head}");
                cases.push(raw(format!(
                    "{first}Connection: close\r\n\r\n1\r\na\r\n0\r\n\r\n"
                )));
            }
        }
    }
    for body in [
        "zz\r\n",
        "\r\n",
        "5",
        "5\r\nhell",
        "5\r\nhello6\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "ffffffffffffffff\r\na",
        "fffffffffffffffff\r\na",
        "-1\r\n",
        "+1\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1 \r\na\r\n0\r\n\r\n",
        "1\na\n0\n\n",
        "1;\r\na\r\n0\r\n\r\n",
        "1;a=\r\na\r\n0\r\n\r\n",
        "1;a b\r\na\r\n0\r\n\r\n",
        "1;a=\"b c\";d\r\na\r\n0\r\n\r\n",
        "1\r\na\r\n0\r\nX: y\r\n\r\n",
        "1\r\na\r\n0\r\nX y\r\n\r\n",
        "1;a=\"b\r\n\"\r\na\r\n0\r\n\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "1\r\na\r\n0\r\n",
        "1\r\na\r\n",
        "2000000\r\na",
        "1\ra\r\n0\r\n\r\n",
    ] {
        let head = "POST /exact HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        cases.push(raw(format!("{head}{body}")));
        if matches!(body.as_bytes()[0], b'z' | b'f' | b'-') {
            for target in ["/nope", "/a", "/r404", "/r301", "/small.txt", "/ep/none"] {
                cases.push(raw(format!("{head}{body}").replace("/exact", target)));
            }
        }
    }
    compare(cases);
}

#[test]
fn hosts_are_judged_as_by_nginx() {
    let hosts = [
        "a@b",
        "a/b",
        "a..b",
        "",
        "a b",
        "a:b",
        "a:80:80",
        "[::1",
        "[::1]",
        "[::1]x",
        "[::1]:80",
        "::1",
        ".",
        "..",
        "a.",
        "a..",
        ".a",
        "a\\b",
        "a?b",
        "a#b",
        "a%41",
        "a,b",
        "a;b",
        "ä",
        "a\u{1}",
        "a\"",
        "<a>",
        "a(b)",
        "a'b",
        "*",
        "~x",
        "_",
        "-a-",
        "a:",
        ":80",
        "[]",
        "[a]",
        "a]",
        "a[b]",
        "$host",
        "a:0",
        "a:65536",
        "a:-1",
        "A.B",
        "xn--bcher-kva.example",
        "1.2.3.4",
        "1.2.3.4.",
    ];
    let each = |host| lines(&format!("Host: {host}\r\nConnection: close\r\n"));
    let mut cases: Vec<Case> = hosts.map(each).to_vec();
    cases.extend(hosts.map(|host| {
        raw(format!(
            "GET http://{host}/exact HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ))
    }));
    compare(cases);
}

/// Header lines, so many and so long.
fn many(count: usize, each: usize) -> String {
    let line = |at| format!("X{at}: {}\r\n", "a".repeat(each));
    (0..count).map(line).collect()
}

/// Large heads for the server that takes larger ones than the default server.
fn heads_for_a_server_of_larger_ones() -> Vec<Case> {
    let sizes = [
        (1, 9000),
        (2, 16_000),
        (7, 10_000),
        (14, 10_000),
        (1, 17_000),
    ];
    let each = |(count, each)| {
        let many = many(count, each);
        let known = |host| format!("Host: {host}\r\nA_B: c\r\n{many}Connection: close\r\n");
        let late = format!("{many}Host: large.example\r\nConnection: close\r\n");
        [known("large.example"), known("first.example"), late].map(|text| lines(&text))
    };
    sizes.into_iter().flat_map(each).collect()
}

#[test]
fn sizes_are_limited_as_by_nginx() {
    let long = |count: usize| "a".repeat(count);
    let mut cases = Vec::new();
    for size in [
        500, 990, 1010, 1024, 1100, 4000, 8000, 8150, 8192, 8200, 9000, 40_000,
    ] {
        cases.push(raw(format!(
            "GET /{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            long(size)
        )));
        cases.push(raw(format!(
            "GET /?{} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            long(size)
        )));
        cases.push(raw(format!(
            "{} / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            "A".repeat(size)
        )));
        cases.push(lines(&format!(
            "Host: x\r\nX: {}\r\nConnection: close\r\n",
            long(size)
        )));
        cases.push(lines(&format!(
            "Host: x\r\n{}: x\r\nConnection: close\r\n",
            long(size)
        )));
        cases.push(lines(&format!(
            "Host: {}\r\nConnection: close\r\n",
            long(size)
        )));
        cases.push(lines(&format!(
            "Host: x\r\nCookie: {}\r\nConnection: close\r\n",
            long(size)
        )));
    }
    for (count, each) in [
        (3, 7000),
        (4, 7000),
        (5, 7000),
        (7, 4000),
        (8, 4000),
        (12, 4000),
        (100, 10),
        (1000, 10),
        (1500, 20),
    ] {
        cases.push(lines(&format!(
            "Host: x\r\n{}Connection: close\r\n",
            many(count, each)
        )));
    }
    cases.extend(heads_for_a_server_of_larger_ones());
    cases.push(raw(
        "POST /small.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc",
    ));
    compare(cases);
}
