//! Response heads: what is taken, what is refused, where bodies end, and the limits.

use revolve_http::h1::{
    ResponseError, ResponseLimits, ResponseParser, ResponseProgress, StatusLine,
};
use revolve_http::{HeaderId, KeepAlive, Method, ResponseFraming, ResponseHead, Version};

fn parse_as(
    method: Method,
    bytes: &[u8],
    limits: &ResponseLimits,
) -> Result<ResponseHead, ResponseError> {
    let mut head = ResponseHead::default();
    let mut parser = ResponseParser::new(method);
    match parser.parse(&mut head, bytes, limits)? {
        ResponseProgress::Complete { head_bytes } => assert_eq!(head_bytes, bytes.len()),
        other => panic!("{other:?} of {}", bytes.escape_ascii()),
    }
    Ok(head)
}

fn parse(text: &str) -> Result<ResponseHead, ResponseError> {
    parse_as(Method::Get, text.as_bytes(), &ResponseLimits::default())
}

fn with_lines(lines: &str) -> Result<ResponseHead, ResponseError> {
    parse(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n"))
}

#[test]
fn a_head_is_taken_apart() {
    let text = "HTTP/1.1 404 Not  found\r\nContent-Length: 5\r\nX_y:z\r\nempty:\r\n\
        Location: \t/a \r\nSet-Cookie: a=b\nset-cookie: c=d\r\nKeep-Alive: max=5, Timeout=7\r\n\r\n";
    let head = parse(text).expect("a head");
    let of = |span: revolve_http::Span| String::from_utf8_lossy(span.of(text.as_bytes()));
    assert_eq!((head.status, of(head.reason)), (404, "Not  found".into()));
    assert_eq!(head.version, Version::HTTP_11);
    assert_eq!(head.framing, ResponseFraming::Length(5));
    assert_eq!(head.keep_alive, KeepAlive::On);
    let lines = head.headers.iter();
    let lines: Vec<_> = lines
        .map(|l| format!("{}={}", of(l.name), of(l.value)))
        .collect();
    assert_eq!(
        lines,
        [
            "Content-Length=5",
            "X_y=z",
            "empty=",
            "Location=/a",
            "Set-Cookie=a=b",
            "set-cookie=c=d",
            "Keep-Alive=max=5, Timeout=7"
        ]
    );
    assert_eq!(
        head.known.get(HeaderId::Location).map(of),
        Some("/a".into())
    );
    assert_eq!(head.keep_alive_timeout_s(text.as_bytes()), Some(7));
}

#[test]
fn status_lines_are_taken_or_refused() {
    for (line, status) in [
        ("HTTP/1.1 200 OK", Some(200)),
        ("HTTP/1.0 200 ", Some(200)),
        ("HTTP/1.1 200", Some(200)),
        ("HTTP/1.9 999 x\ty\u{e4}", Some(999)),
        ("HTTP/1.1 099 x", None),
        ("HTTP/1.1 1000 x", None),
        ("HTTP/1.1 20 x", None),
        ("HTTP/1.1 200OK", None),
        ("HTTP/1.1  200 OK", None),
        ("HTTP/1.1 200 O\rK", None),
        ("HTTP/1.1 200 O\0K", None),
        ("HTTP/1.1\t200 OK", None),
        ("HTTP/1.10 200 OK", None),
        ("HTTP/1. 200 OK", None),
        ("HTTP/2.0 200 OK", None),
        ("http/1.1 200 OK", None),
        (" HTTP/1.1 200 OK", None),
        ("", None),
        ("ICY 200 OK", None),
        ("<html>", None),
    ] {
        let read = parse(&format!("{line}\r\n\r\n")).map(|head| head.status);
        assert_eq!(
            read,
            status.ok_or(ResponseError::InvalidStatusLine),
            "{line}"
        );
    }
}

#[test]
fn garbage_is_refused_before_its_line_ends() {
    let mut head = ResponseHead::default();
    let mut parser = ResponseParser::new(Method::Get);
    let read = parser.parse(&mut head, b"\x15\x03\x01", &ResponseLimits::default());
    assert_eq!(read, Err(ResponseError::InvalidStatusLine));
}

#[test]
fn a_response_that_two_readers_could_cut_differently_is_refused() {
    use ResponseError::*;
    for (lines, error) in [
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            DuplicateHeader,
        ),
        (
            "Content-Length: 5\r\ncontent-length: 6\r\n",
            DuplicateHeader,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            DuplicateHeader,
        ),
        ("Content-Length: 5, 5\r\n", InvalidContentLength),
        ("Content-Length: +5\r\n", InvalidContentLength),
        ("Content-Length: -1\r\n", InvalidContentLength),
        ("Content-Length: 0x5\r\n", InvalidContentLength),
        ("Content-Length:\r\n", InvalidContentLength),
        (
            "Content-Length: 9223372036854775808\r\n",
            InvalidContentLength,
        ),
        (
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            ContentLengthAndTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
            ContentLengthAndTransferEncoding,
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            UnknownTransferEncoding,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            UnknownTransferEncoding,
        ),
        ("Transfer-Encoding: identity\r\n", UnknownTransferEncoding),
        ("Transfer-Encoding:\r\n", UnknownTransferEncoding),
        ("Transfer-Encoding : chunked\r\n", InvalidHeaderLine),
        ("A: b\r\n c: d\r\n", InvalidHeaderLine),
        ("A: b\r\n\tc\r\n", InvalidHeaderLine),
        (" A: b\r\n", InvalidHeaderLine),
        ("A: b\rContent-Length: 5\r\n", InvalidHeaderLine),
        ("A: b\r\r\n", InvalidHeaderLine),
        ("A: b\0\r\n", InvalidHeaderLine),
        ("A\0: b\r\n", InvalidHeaderLine),
        ("A b: c\r\n", InvalidHeaderLine),
        ("A(: c\r\n", InvalidHeaderLine),
        ("\u{e4}: c\r\n", InvalidHeaderLine),
        (": c\r\n", InvalidHeaderLine),
        ("A\r\n", InvalidHeaderLine),
        ("\rContent-Length: 5\r\n", InvalidHeaderLine),
    ] {
        assert_eq!(with_lines(lines), Err(error), "{}", lines.escape_debug());
        let head = format!("HTTP/1.1 204 x\r\n{lines}\r\n");
        assert_eq!(parse(&head), Err(error), "{}", lines.escape_debug());
        let head = format!("HTTP/1.1 200 OK\r\n{lines}\r\n");
        let read = parse_as(Method::Head, head.as_bytes(), &ResponseLimits::default());
        assert_eq!(read, Err(error), "{}", lines.escape_debug());
    }
    assert_eq!(
        parse("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        Err(TransferEncodingInHttp10)
    );
}

#[test]
fn bodies_end_where_the_rfc_says() {
    use ResponseFraming::*;
    let chunked = "Transfer-Encoding: Chunked\r\n";
    let length = "Content-Length: 5\r\n";
    for (method, status, lines, framing, kept) in [
        (Method::Get, 200, "", UntilClose, false),
        (Method::Get, 200, length, Length(5), true),
        (Method::Get, 200, "Content-Length: 0\r\n", Length(0), true),
        (Method::Get, 200, chunked, Chunked, true),
        (
            Method::Get,
            200,
            "Content-Length: 5\r\nConnection: close\r\n",
            Length(5),
            false,
        ),
        (Method::Head, 200, length, None, true),
        (Method::Head, 200, chunked, None, true),
        (Method::Head, 200, "", None, true),
        (Method::Get, 304, length, None, true),
        (Method::Get, 304, chunked, None, true),
        (Method::Get, 204, "", None, true),
        (Method::Get, 204, "Content-Length: 0\r\n", None, true),
        (Method::Get, 204, length, None, false),
        (Method::Get, 204, chunked, None, false),
        (Method::Get, 205, "", UntilClose, false),
        (Method::Get, 101, "Upgrade: websocket\r\n", Tunnel, false),
        (Method::Connect, 200, length, Tunnel, false),
        (Method::Connect, 403, length, Length(5), true),
    ] {
        let text = format!("HTTP/1.1 {status} x\r\n{lines}\r\n");
        let head = parse_as(method, text.as_bytes(), &ResponseLimits::default()).expect(&text);
        assert_eq!(
            (head.framing, head.keep_alive.is_on()),
            (framing, kept),
            "{method:?} {text}"
        );
    }
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n";
    assert!(!parse(&format!("{old}\r\n")).expect(old).keep_alive.is_on());
    let kept = parse(&format!("{old}Connection: keep-alive\r\n\r\n")).expect(old);
    assert!(kept.keep_alive.is_on());
}

#[test]
fn interim_heads_come_before_the_final_one() {
    let limits = ResponseLimits {
        interims_max: 2,
        ..ResponseLimits::default()
    };
    let hint = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".as_slice();
    let last = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".as_slice();
    let (mut head, mut parser) = (ResponseHead::default(), ResponseParser::new(Method::Get));
    let mut bytes = [hint, b"HTTP/1.1 100\r\n\r\n", last].concat();
    for (status, len) in [(103, hint.len()), (100, 16)] {
        let read = parser.parse(&mut head, &bytes, &limits);
        assert_eq!(read, Ok(ResponseProgress::Interim { head_bytes: len }));
        assert!(head.is_interim() && head.status == status);
        bytes.drain(..len);
    }
    let whole = ResponseProgress::Complete {
        head_bytes: last.len(),
    };
    assert_eq!(parser.parse(&mut head, &bytes, &limits), Ok(whole));
    assert_eq!((head.status, head.headers.len()), (200, 1));
    assert_eq!(parser.parse(&mut head, &bytes, &limits), Ok(whole));

    parser.reset(&mut head, Method::Get);
    for _ in 0..2 {
        assert!(parser.parse(&mut head, hint, &limits).is_ok());
    }
    assert_eq!(
        parser.parse(&mut head, hint, &limits),
        Err(ResponseError::TooManyInterims)
    );
    for line in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
        let text = format!("HTTP/1.1 103 x\r\n{line}\r\n\r\n");
        assert_eq!(parse(&text), Err(ResponseError::BodyOfInterim));
    }
}

#[test]
fn the_head_and_its_lines_are_limited() {
    let text = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n";
    let limits = |head_bytes_max, headers_max| ResponseLimits {
        head_bytes_max,
        headers_max,
        ..ResponseLimits::default()
    };
    let read = |limits| parse_as(Method::Get, text.as_bytes(), &limits).map(|head| head.status);
    assert_eq!(read(limits(text.len(), 2)), Ok(200));
    assert_eq!(
        read(limits(text.len() - 1, 2)),
        Err(ResponseError::HeadTooLarge)
    );
    assert_eq!(
        read(limits(text.len(), 1)),
        Err(ResponseError::TooManyHeaders)
    );
}

#[test]
fn a_head_may_have_no_status_line() {
    let read = |status_line, text: &str| {
        let limits = ResponseLimits {
            status_line,
            ..ResponseLimits::default()
        };
        parse_as(Method::Get, text.as_bytes(), &limits).map(|head| (head.status, head.framing))
    };
    use ResponseFraming::*;
    for kind in [StatusLine::Absent, StatusLine::Optional] {
        for (text, expected) in [
            ("Content-Type: a/b\n\n", Ok((200, UntilClose))),
            ("\n", Ok((200, UntilClose))),
            (
                "Status: 404 Not Found\r\nContent-Length: 3\r\n\r\n",
                Ok((404, Length(3))),
            ),
            ("Location: /a\r\n\r\n", Ok((302, UntilClose))),
            ("H: a\r\n\r\n", Ok((200, UntilClose))),
            ("Location: /a\r\nStatus: 201\r\n\r\n", Ok((201, UntilClose))),
            ("Status: OK\r\n\r\n", Err(ResponseError::InvalidStatus)),
            ("Status: 100\r\n\r\n", Err(ResponseError::InvalidStatus)),
            ("Status: 2000\r\n\r\n", Err(ResponseError::InvalidStatus)),
            (
                "Transfer-Encoding: chunked\r\n\r\n",
                Err(ResponseError::TransferEncodingInHttp10),
            ),
        ] {
            assert_eq!(read(kind, text), expected, "{kind:?} {text}");
        }
    }
    let with_line = "HTTP/1.1 301 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(read(StatusLine::Optional, with_line), Ok((301, Chunked)));
    assert_eq!(
        read(StatusLine::Absent, with_line),
        Err(ResponseError::InvalidHeaderLine)
    );
}

#[test]
fn errors_show_the_line_that_they_are_about() {
    let bytes = b"HTTP/1.1 200 OK\r\nA: b\r\nC d: e\r\n\r\n";
    let (mut head, mut parser) = (ResponseHead::default(), ResponseParser::new(Method::Get));
    let read = parser.parse(&mut head, bytes, &ResponseLimits::default());
    assert_eq!(read, Err(ResponseError::InvalidHeaderLine));
    assert_eq!(parser.error_line().of(bytes), b"C d: e");
}
