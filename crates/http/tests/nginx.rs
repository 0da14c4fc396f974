//! The status of each request, compared with what nginx 1.22.1 answered to the same bytes.

use revolve_http::h1::{HeadError, HeadLimits, HeadParser, Progress};
use revolve_http::{Framing, Head, HeaderId, KeepAlive, TargetForm, Version, normalize_path};

/// The status with which a request is refused, or 200.
fn status(bytes: &[u8]) -> u16 {
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    match parser.parse(&mut head, bytes, &HeadLimits::default()) {
        Ok(Progress::Complete { .. }) => {
            let target = head.target;
            let path = normalize_path(target.path.of(bytes), true, &mut Vec::new());
            if target.complex {
                path.map_or_else(|error| error.status(), |()| 200)
            } else {
                200
            }
        }
        Ok(Progress::Partial) => 0,
        // What a client sees of nginx's 494.
        Err(error) if error.status() == 494 => 400,
        Err(error) => error.status(),
    }
}

fn parsed(bytes: &[u8]) -> Head {
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    let progress = parser.parse(&mut head, bytes, &HeadLimits::default());
    assert!(
        matches!(progress, Ok(Progress::Complete { .. })),
        "{progress:?}"
    );
    head
}

fn refused(bytes: &[u8]) -> HeadError {
    HeadParser::new()
        .parse(&mut Head::default(), bytes, &HeadLimits::default())
        .expect_err("an error")
}

fn with_line(line: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: a\r\n", line, b"\r\n\r\n"].concat()
}

fn check(rows: &[(&[u8], u16)], request: impl Fn(&[u8]) -> Vec<u8>) {
    for (row, expected) in rows {
        assert_eq!(status(&request(row)), *expected, "{}", row.escape_ascii());
    }
}

#[test]
fn request_lines_are_answered_as_nginx_does() {
    check(
        &[
            (b"GET /\r\n", 200),
            (b"GET /  \r\n", 200),
            (b"POST /\r\n", 400),
            (b"GET / HTTP/0.9\r\n\r\n", 400),
            (b"GET / HTTP/2.0\r\n\r\n", 505),
            (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 200),
            (b"GET / HTTP/1.999\r\nHost: a\r\n\r\n", 200),
            (b"GET / HTTP/1.1000\r\nHost: a\r\n\r\n", 400),
            (b"GET / HTTP/1.01\r\nHost: a\r\n\r\n", 200),
            (b"GET / HTTP/01.1\r\n\r\n", 400),
            (b"GET / HTTP/1.\r\n\r\n", 400),
            (b"GET / http/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\rHost: a\r\n\r\n", 400),
            (b"GET / HTTP/1.1\nHost: a\n\n", 200),
            (b"GET  /  HTTP/1.1  \r\nHost: a\r\n\r\n", 200),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"get / HTTP/1.1\r\n", 400),
            (b"\x16\x03\x01", 400),
            (b"FOO_-A / HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            // Where there are no tunnels the server answers it with 405.
            (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 200),
            (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
            (b"TRACE / HTTP/1.1\r\n\r\n", 400),
            (b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET x HTTP/1.0\r\n\r\n", 400),
            (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
            (b"GET /\r HTTP/1.0\r\n\r\n", 400),
            (b"GET /\x01 HTTP/1.0\r\n\r\n", 400),
            (b"GET /\x7f HTTP/1.0\r\n\r\n", 400),
            (b"GET /\t HTTP/1.0\r\n\r\n", 400),
            (b"GET /?\t HTTP/1.0\r\n\r\n", 400),
            (b"GET /\x80\xff HTTP/1.0\r\n\r\n", 200),
            (b"\r\n\nGET / HTTP/1.0\r\n\r\n", 200),
        ],
        <[u8]>::to_vec,
    );
}

#[test]
fn targets_are_answered_as_nginx_does() {
    check(
        &[
            (b"http://b", 200),
            (b"http://b?x=1", 200),
            (b"http://b:80/p?x=1#f", 200),
            (b"http://[::1]:8/", 200),
            (b"ftp+x://b./", 200),
            (b"http:///p", 400),
            (b"http://u@b/", 400),
            (b"http://a_b/", 400),
            (b"http://b:x/", 400),
            (b"http:/b", 400),
            (b"/a?x#y", 200),
            (b"/a%23b%3fc", 200),
            (b"/a/%2e%2e/b", 200),
            (b"/%25%32%65", 200),
            (b"/%00", 400),
            (b"/../", 400),
            (b"/a/../..", 400),
            (b"/%2e%2e/", 400),
            (b"/%2", 400),
        ],
        |target| [b"GET ", target, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat(),
    );
}

#[test]
fn header_lines_are_answered_as_nginx_does() {
    check(
        &[
            (b"Foo:", 200),
            (b"Foo:x", 200),
            (b"Foo: a\x01b\x7f\xff", 200),
            (b"F@o: a", 200),
            (b"a_b: x", 200),
            (b"\x80oo: x", 200),
            (b"Foo: b\rar", 400),
            (b"Foo : x", 400),
            (b" Foo: x", 400),
            (b"Foo: x\r\n y", 400),
            (b"Foo\tx: y", 400),
            (b": y", 400),
            (b"Foo: \x00", 400),
            (b"Fo\x00: a", 400),
            (b"F\x7f: x", 400),
            (b"Host: a", 400),
            (b"Expect: foo", 200),
            (b"Content-Length: 0005", 200),
            (b"Content-Length: 9223372036854775807", 200),
            (b"Content-Length: 9223372036854775808", 400),
            (b"Content-Length: +5", 400),
            (b"Content-Length: -1", 400),
            (b"Content-Length: 5, 5", 400),
            (b"Content-Length: 1 2", 400),
            (b"Content-Length: 0x5", 400),
            (b"Content-Length: ", 400),
            (b"Content-Length: 5\r\nContent-Length: 5", 400),
            (b"Transfer-Encoding: CHUNKED", 200),
            (b"Transfer-Encoding: gzip, chunked", 501),
            (
                b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
                400,
            ),
            (b"Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
            (b"Content-Length: x\r\nTransfer-Encoding: chunked", 400),
        ],
        with_line,
    );
    let http10 = b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(refused(http10), HeadError::TransferEncodingInHttp10);
}

/// nginx answers 501 to all of them.
#[test]
fn a_coding_that_is_not_chunked_at_its_end_is_a_bad_request() {
    check(
        &[
            (b"Transfer-Encoding: gzip, chunked", 501),
            (b"Transfer-Encoding: gzip;q=1 ,\t chunked", 501),
            (b"Transfer-Encoding: a,b,c,CHUNKED", 501),
            (
                b"Content-Length: 5\r\nTransfer-Encoding: gzip, chunked",
                501,
            ),
            (b"Transfer-Encoding: ", 400),
            (b"Transfer-Encoding: ,", 400),
            (b"Transfer-Encoding: ,chunked", 400),
            (b"Transfer-Encoding: chunked,", 400),
            (b"Transfer-Encoding: gzip", 400),
            (b"Transfer-Encoding: identity", 400),
            (b"Transfer-Encoding: xchunked", 400),
            (b"Transfer-Encoding: chunked;q=1", 400),
            (b"Transfer-Encoding: chunked, gzip", 400),
            (b"Transfer-Encoding: chunked, chunked", 400),
            (b"Transfer-Encoding: chunked;q=1, chunked", 400),
            (b"Transfer-Encoding: g zip, chunked", 400),
            (b"Transfer-Encoding: g\x01zip, chunked", 400),
            (b"Transfer-Encoding: gzip;\x7f, chunked", 400),
            (b"Transfer-Encoding: \xe9, chunked", 400),
            (b"Transfer-Encoding: \"gzip\", chunked", 400),
            (b"Transfer-Encoding: \x0bchunked", 400),
            (b"Content-Length: 5\r\nTransfer-Encoding: gzip", 400),
        ],
        with_line,
    );
}

#[test]
fn a_method_that_is_too_long_is_no_long_target() {
    let method = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "A".repeat(9000));
    assert_eq!(refused(method.as_bytes()), HeadError::InvalidMethod);
    let spaces = format!("GET{}/ HTTP/1.1\r\nHost: a\r\n\r\n", " ".repeat(9000));
    assert_eq!(refused(spaces.as_bytes()), HeadError::InvalidRequest);
    let limits = HeadLimits {
        head_bytes_max: 100,
        ..HeadLimits::default()
    };
    let parsed = HeadParser::new().parse(
        &mut revolve_http::Head::default(),
        method.as_bytes(),
        &limits,
    );
    assert_eq!(parsed, Err(HeadError::InvalidMethod));
}

#[test]
fn hosts_are_answered_as_nginx_does() {
    check(
        &[
            (b"", 400),
            (b".", 400),
            (b"..", 400),
            (b"a..b", 400),
            (b"a..", 400),
            (b"a/b", 400),
            (b"a b", 400),
            (b"a\tb", 400),
            (b":80", 400),
            (b"[a..b]", 400),
            (b"a.", 200),
            (b".a", 200),
            (b"a:80", 200),
            (b"a:", 200),
            (b"[::1]", 200),
            (b"[::1]:80", 200),
            (b"a_b", 200),
            (b"A.B", 200),
            (b"a\xff", 400),
            (b"a\"", 400),
            (b"a<b", 400),
            (b"a{b", 400),
            (b"a:65535", 200),
            (b"a:65536", 400),
            (b"a:00080", 200),
            (b"a~!$&'()*+,;=b", 200),
            (b"a%41", 200),
        ],
        |host| [b"GET / HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat(),
    );
}

/// nginx 1.22 answers 200 to each of these (405 or 400 where the row says so).
#[test]
fn what_is_refused_on_purpose_though_nginx_takes_it() {
    check(
        &[
            (b"\rGET / HTTP/1.0\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nFoo: bar\r\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nFoo\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a:x\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a:80:90\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: [::1\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: [::1]x\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: []\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a[b]\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: u@h\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a?b\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a#b\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a\\b\r\n\r\n", 400),
            (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        ],
        <[u8]>::to_vec,
    );
}

#[test]
fn headers_that_stand_once_are_those_of_nginx() {
    let once = [
        "If-Modified-Since",
        "If-Unmodified-Since",
        "If-Match",
        "If-None-Match",
        "Content-Length",
        "Content-Range",
        "If-Range",
        "Expect",
        "Authorization",
    ];
    let repeatable = [
        "Connection",
        "User-Agent",
        "Referer",
        "Content-Type",
        "Range",
        "TE",
        "Upgrade",
        "Via",
        "Accept-Encoding",
        "Keep-Alive",
        "X-Forwarded-For",
        "X-Real-IP",
        "Cookie",
        "Depth",
        "Foo",
    ];
    for (names, expected) in [(once.as_slice(), 400), (&repeatable, 200)] {
        for name in names {
            let lines = format!("{name}: 5\r\n{}: 5", name.to_lowercase());
            assert_eq!(status(&with_line(lines.as_bytes())), expected, "{name}");
        }
    }
}

#[test]
fn limits_are_hit_at_nginx_s_byte() {
    let request_line =
        |len: usize| format!("GET /{} HTTP/1.0\r\n\r\n", "a".repeat(len - 16)).into_bytes();
    assert_eq!(status(&request_line(8192)), 200);
    assert_eq!(status(&request_line(8193)), 414);
    let header_line =
        |len: usize| format!("GET / HTTP/1.0\r\nX: {}\r\n\r\n", "a".repeat(len - 5)).into_bytes();
    assert_eq!(status(&header_line(8192)), 200);
    assert_eq!(status(&header_line(8193)), 400);
    assert_eq!(refused(&header_line(8193)), HeadError::HeaderTooLarge);
    assert_eq!(refused(&header_line(8193)).status(), 494);
}

#[test]
fn the_head_and_its_lines_are_limited_together() {
    let head = |lines: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "X: 1234\r\n".repeat(lines));
    let limits = |head_bytes_max, headers_max| HeadLimits {
        head_bytes_max,
        headers_max,
        ..HeadLimits::default()
    };
    let ask = |bytes: &str, limits: &HeadLimits| {
        HeadParser::new().parse(&mut Head::default(), bytes.as_bytes(), limits)
    };
    let ten = head(10);
    let complete = Ok(Progress::Complete {
        head_bytes: ten.len(),
    });
    assert_eq!(ask(&ten, &limits(ten.len(), 10)), complete);
    assert_eq!(
        ask(&ten, &limits(ten.len() - 1, 10)),
        Err(HeadError::RequestTooLarge)
    );
    assert_eq!(
        ask(&ten, &limits(ten.len(), 9)),
        Err(HeadError::TooManyHeaders)
    );
    assert_eq!(
        ask(&ten[..ten.len() - 1], &limits(ten.len(), 10)),
        Ok(Progress::Partial)
    );
}

#[test]
fn targets_are_taken_apart_as_nginx_does() {
    // The columns are $uri, $args, $request_uri and $host.
    let rows: &[(&str, [&str; 4])] = &[
        ("/", ["/", "", "/", "a"]),
        ("/v?x=1", ["/v", "x=1", "/v?x=1", "a"]),
        ("/?", ["/", "", "/?", "a"]),
        ("http://b", ["/", "", "/", "b"]),
        ("http://b?x=1", ["/", "x=1", "?x=1", "b"]),
        ("http://b:80/p?x=1#f", ["/p", "x=1", "/p?x=1#f", "b"]),
        ("http://[::1]:8/", ["/", "", "/", "[::1]"]),
        ("ftp+x://b./", ["/", "", "/", "b"]),
        ("/a?x#y", ["/a", "x", "/a?x#y", "a"]),
        ("/a#b?c", ["/a", "", "/a#b?c", "a"]),
        ("/a%23b%3fc", ["/a#b?c", "", "/a%23b%3fc", "a"]),
        ("/a/%2e%2e/b", ["/b", "", "/a/%2e%2e/b", "a"]),
        ("/a%2fb%2F..%2fc", ["/a/c", "", "/a%2fb%2F..%2fc", "a"]),
        ("/%25%32%65", ["/%2e", "", "/%25%32%65", "a"]),
    ];
    for (target, expected) in rows {
        let bytes = format!("GET {target} HTTP/1.1\r\nHost: a:80\r\n\r\n").into_bytes();
        let head = parsed(&bytes);
        let raw_path = head.target.path.of(&bytes);
        let mut path = Vec::new();
        normalize_path(raw_path, true, &mut path).expect("a path");
        assert_eq!(
            head.target.complex,
            path != raw_path || target.contains('#'),
            "{target}"
        );
        let args = head.target.args.unwrap_or_default().of(&bytes);
        let host = head.host.unwrap_or_default().of(&bytes);
        let seen = [path.as_slice(), args, head.target.raw.of(&bytes), host];
        assert_eq!(
            seen.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
            *expected
        );
    }
}

#[test]
fn the_parts_of_a_target_are_given_apart() {
    let bytes = b"GET https://b.c:80/p?x HTTP/1.1\r\nHost: a\r\n\r\n";
    let target = parsed(bytes).target;
    let parts = [target.scheme, target.host, target.port].map(|part| part.map(|s| s.of(bytes)));
    assert_eq!(target.form, TargetForm::Absolute);
    assert_eq!(
        parts,
        [Some(b"https".as_slice()), Some(b"b.c"), Some(b"80")]
    );
    let asterisk = parsed(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").target;
    assert_eq!(
        (asterisk.form, asterisk.complex),
        (TargetForm::Asterisk, true)
    );
}

#[test]
fn keep_alive_is_that_of_nginx() {
    let rows: &[(&str, &str, KeepAlive)] = &[
        ("1.1", "", KeepAlive::On),
        ("1.2", "", KeepAlive::On),
        ("1.0", "", KeepAlive::Off),
        ("1.1", "Connection: close\r\n", KeepAlive::Off),
        ("1.1", "Connection: CLOSE, te\r\n", KeepAlive::Off),
        ("1.0", "Connection: keep-alive\r\n", KeepAlive::On),
        ("1.0", "Connection: TE, Keep-Alive\r\n", KeepAlive::On),
        ("1.0", "Connection: close, keep-alive\r\n", KeepAlive::Off),
        ("1.1", "Connection: upgrade\r\n", KeepAlive::On),
        // The later line wins in nginx, the careful one here.
        (
            "1.1",
            "Connection: close\r\nConnection: keep-alive\r\n",
            KeepAlive::Off,
        ),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            KeepAlive::Off,
        ),
    ];
    for (version, lines, expected) in rows {
        let head = parsed(format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n").as_bytes());
        assert_eq!(head.keep_alive, *expected, "{version} {lines}");
    }
    assert_eq!(parsed(b"GET /\r\n").keep_alive, KeepAlive::Off);
}

#[test]
fn the_body_is_framed_and_waited_for() {
    let post = |version: &str, lines: &str| {
        parsed(format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n").as_bytes())
    };
    assert_eq!(post("1.1", "").framing, Framing::None);
    assert_eq!(
        post("1.1", "content-length: 0\r\n").framing,
        Framing::Length(0)
    );
    assert_eq!(
        post("1.1", "Content-Length:  17 \r\n").framing,
        Framing::Length(17)
    );
    assert_eq!(
        post("1.1", "Content-Length:\t17\t\r\n").framing,
        Framing::Length(17)
    );
    assert_eq!(
        post("1.1", "transfer-encoding: Chunked\r\n").framing,
        Framing::Chunked
    );
    assert!(post("1.1", "Expect: 100-Continue\r\n").expect_continue);
    assert!(!post("1.1", "Expect: 100-continue, x\r\n").expect_continue);
    assert!(!post("1.0", "Expect: 100-continue\r\n").expect_continue);
}

#[test]
fn names_with_invalid_bytes_are_left_out_or_taken() {
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\na_b: x\r\nF@o: y\r\n\r\n";
    let read = |limits: &HeadLimits| {
        let mut parser = HeadParser::new();
        let mut head = Head::default();
        assert!(parser.parse(&mut head, bytes, limits).is_ok());
        let text = |span: &revolve_http::Span| span.of(bytes).escape_ascii().to_string();
        let names: Vec<_> = head.headers.iter().map(|line| text(&line.name)).collect();
        let ignored: Vec<_> = head.ignored.iter().map(text).collect();
        (names, ignored)
    };
    let limits = HeadLimits::default();
    let (names, ignored) = read(&limits);
    assert_eq!(names, ["Host"]);
    assert_eq!(ignored, ["a_b: x", "F@o: y"]);
    let (names, ignored) = read(&HeadLimits {
        underscores: true,
        ..limits.clone()
    });
    assert_eq!(names, ["Host", "a_b"]);
    assert_eq!(ignored, ["F@o: y"]);
    let (names, ignored) = read(&HeadLimits {
        ignore_invalid: false,
        ..limits
    });
    assert_eq!(names, ["Host", "a_b", "F@o"]);
    assert!(ignored.is_empty());
}

#[test]
fn a_parser_says_where_it_stands() {
    let limits = HeadLimits::default();
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    let bytes = b"\r\n\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\n";
    for (len, started, line_done) in [(0, false, false), (4, false, false), (5, true, false)] {
        assert_eq!(
            parser.parse(&mut head, &bytes[..len], &limits),
            Ok(Progress::Partial)
        );
        assert_eq!(parser.line_started(), started);
        assert_eq!(head.request_line_done(), line_done);
    }
    assert_eq!(
        parser.parse(&mut head, &bytes[..23], &limits),
        Ok(Progress::Partial)
    );
    assert!(head.request_line_done());
    assert_eq!(
        parser.parse(&mut head, bytes, &limits),
        Ok(Progress::Complete { head_bytes: 32 })
    );
    assert_eq!(head.request_line.of(bytes), b"GET /a HTTP/1.1");
    assert_eq!(head.protocol.of(bytes), b"HTTP/1.1");
    parser.reset(&mut head);
    assert!(!parser.line_started() && !head.request_line_done());
    assert_eq!(
        parser.parse(&mut head, &bytes[32..], &limits),
        Ok(Progress::Partial)
    );
    assert_eq!(head.target.path.of(&bytes[32..]), b"/b");
}

#[test]
fn errors_show_the_line_that_they_are_about() {
    let limits = HeadLimits::default();
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    let bytes = b"GET / HTTP/1.1\r\nHost: a\r\nFoo : x\r\n\r\n";
    assert_eq!(
        parser.parse(&mut head, bytes, &limits),
        Err(HeadError::InvalidHeaderLine)
    );
    assert_eq!(parser.error_line().of(bytes), b"Foo");
    assert_eq!(
        parser.request_line_or_start(&head, bytes).of(bytes),
        b"GET / HTTP/1.1"
    );
    assert_eq!(
        parser.parse(&mut head, bytes, &limits),
        Err(HeadError::InvalidHeaderLine)
    );
    parser.reset(&mut head);
    let bytes = b"\nGET /a b HTTP/1.1\r\n";
    assert_eq!(
        parser.parse(&mut head, bytes, &limits),
        Err(HeadError::InvalidRequest)
    );
    assert_eq!(
        parser.request_line_or_start(&head, bytes).of(bytes),
        b"GET /a b HTTP/1.1"
    );
    let twice = with_line(b"If-Match: x\r\nIf-Match: y");
    parser.reset(&mut head);
    assert_eq!(
        parser.parse(&mut head, &twice, &limits),
        Err(HeadError::DuplicateHeader)
    );
    assert_eq!(parser.error_line().of(&twice), b"If-Match: y");
}

/// The parser remembers the host of the request before.
#[test]
fn hosts_of_requests_in_a_row_do_not_mix() {
    let long = "a".repeat(40);
    let hosts = [
        "a.example",
        "a.example",
        "a.exampl",
        "a.example:80",
        "a.example:",
        "a.example.",
        "[::1]",
        "[::1]:80",
        &long,
        &long,
        "",
        "a..example",
        "a.example",
        "a.example:8x",
        "a.example/",
    ];
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    for host in hosts {
        let bytes = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        parser.reset(&mut head);
        let read = parser.parse(&mut head, bytes.as_bytes(), &HeadLimits::default());
        let mut alone = Head::default();
        assert_eq!(
            read,
            HeadParser::new().parse(&mut alone, bytes.as_bytes(), &HeadLimits::default())
        );
        assert_eq!(head, alone, "{host}");
    }
}

#[test]
fn known_headers_are_at_hand() {
    let bytes = b"GET / HTTP/1.1\r\nhOST: a\r\nUser-Agent: x y\r\nCookie: a=1\r\ncookie: b=2\r\n\
        X-Forwarded-For: 1.2.3.4\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\nUser\ragent: z\r\n\r\n";
    // A CR is a hyphen with one bit changed: not a header that is known, but an error.
    assert_eq!(refused(bytes), HeadError::InvalidHeaderLine);
    let end = bytes.len() - b"User\ragent: z\r\n\r\n".len();
    let bytes = [&bytes[..end], b"\r\n"].concat();
    let head = parsed(&bytes);
    let text = |span: revolve_http::Span| span.of(&bytes);
    let first = |id| head.known.get(id).map(text);
    assert_eq!(first(HeaderId::UserAgent), Some(b"x y".as_slice()));
    assert_eq!(first(HeaderId::Range), Some(b"bytes=0-1".as_slice()));
    assert_eq!(first(HeaderId::Cookie), Some(b"a=1".as_slice()));
    assert_eq!(first(HeaderId::Referer), None);
    assert_eq!(first(HeaderId::Other), None);
    let cookies = head.headers.iter();
    let cookies = cookies.filter(|header| header.id == HeaderId::Cookie);
    let cookies: Vec<_> = cookies.map(|header| text(header.value)).collect();
    assert_eq!(cookies, [b"a=1", b"b=2"]);
    assert_eq!(head.version, Version::HTTP_11);
}
