//! What fields become, and what are no fields of a request.

use super::*;

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

struct Made {
    result: Result<Option<Span>, RequestError>,
    head: Head,
    bytes: Vec<u8>,
}

impl Made {
    fn text(&self, span: Span) -> String {
        String::from_utf8_lossy(span.of(&self.bytes)).into_owned()
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.head.headers.iter();
        lines
            .map(|line| format!("{}: {}", self.text(line.name), self.text(line.value)))
            .collect()
    }
}

fn read(fields: &[(&[u8], &[u8])], is_last: bool) -> Made {
    let block = Frames::new().block(fields);
    let mut decoded = Fields::new(32 * 1024);
    let mut decoder = crate::hpack::Decoder::new(4096);
    decoder.decode(&block, &mut decoded).unwrap();
    let (mut head, mut bytes) = (Head::default(), b"old".to_vec());
    let limits = HeadLimits::default();
    let result = request::read(&mut decoded, is_last, &limits, &mut head, &mut bytes);
    Made {
        result,
        head,
        bytes,
    }
}

/// Fields of a GET, changed: `+name=value` adds one, `-name` takes it away, `name=value` has another value.
fn changed(change: &str) -> Pairs<'_> {
    let mut fields = GET.to_vec();
    for change in change.split(" & ") {
        if let Some(name) = change.strip_prefix('-') {
            fields.retain(|(known, _)| *known != name.as_bytes());
            continue;
        }
        let (name, value) = change.rsplit_once('=').unwrap();
        match name.strip_prefix('+') {
            Some(name) => fields.push((name.as_bytes(), value.as_bytes())),
            None => {
                for field in fields.iter_mut().filter(|it| it.0 == name.as_bytes()) {
                    field.1 = value.as_bytes();
                }
            }
        }
    }
    fields
}

#[test]
fn fields_become_the_head_that_http_1_would_have() {
    let fields: &[(&[u8], &[u8])] = &[
        (b":method", b"POST"),
        (b":path", b"/a/../b?x=1#f"),
        (b":scheme", b"https"),
        (b":authority", b"Example.org:8443"),
        (b"cookie", b"a=1"),
        (b"accept", b"*/*"),
        (b"cookie", b"b=2"),
        (b"x_y", b"ignored"),
        (b"content-length", b"7"),
    ];
    let made = read(fields, false);
    let head = &made.head;
    assert_eq!(made.result, Ok(None));
    assert_eq!(made.text(head.request_line), "POST /a/../b?x=1#f HTTP/2.0");
    assert_eq!(
        (head.method, made.text(head.method_span).as_str()),
        (Method::Post, "POST")
    );
    assert_eq!(
        (made.text(head.target.path).as_str(), head.target.complex),
        ("/a/../b", true)
    );
    assert_eq!(
        head.target.args.map(|args| made.text(args)).as_deref(),
        Some("x=1")
    );
    assert_eq!(made.text(head.target.raw), "/a/../b?x=1#f");
    assert_eq!(made.text(head.protocol), "HTTP/2.0");
    assert_eq!(
        head.host.map(|host| made.text(host)).as_deref(),
        Some("Example.org")
    );
    assert_eq!(head.framing, Framing::Length(7));
    let cookie = head
        .known
        .get(HeaderId::Cookie)
        .map(|cookie| made.text(cookie));
    assert_eq!(cookie.as_deref(), Some("a=1; b=2"));
    let lines = [
        "host: Example.org:8443",
        "accept: */*",
        "content-length: 7",
        "cookie: a=1; b=2",
    ];
    assert_eq!(made.lines(), lines);
    assert_eq!(head.ignored.len(), 1);
    assert_eq!(read(GET, true).head.framing, Framing::None);
    assert_eq!(read(GET, false).head.framing, Framing::Chunked);
}

#[test]
fn other_forms_of_a_request() {
    let made = read(&changed(":method=OPTIONS & :path=*"), true);
    assert_eq!(
        (made.result, made.head.target.form),
        (Ok(None), TargetForm::Asterisk)
    );
    let made = read(
        &changed(":method=CONNECT & :path=/chat & +:protocol=websocket"),
        false,
    );
    let protocol = made.result.unwrap().unwrap();
    assert_eq!(made.text(protocol), "websocket");
    assert_eq!(made.text(made.head.target.path), "/chat");
    assert_eq!(
        (made.head.method, made.head.framing),
        (Method::Get, Framing::None)
    );
    let upgrade = made.head.known.get(HeaderId::Upgrade);
    assert_eq!(
        upgrade.map(|it| made.text(it)).as_deref(),
        Some("websocket")
    );
    assert_eq!(
        made.lines()[1..],
        ["upgrade: websocket", "connection: upgrade"]
    );
    let made = read(&changed(":method=CONNECT & -:path & -:scheme"), false);
    assert_eq!(
        (made.result, made.head.method, made.head.framing),
        (Ok(None), Method::Connect, Framing::None)
    );
    assert!(read(&changed("+te=trailers"), true).result.is_ok());
    assert!(read(&changed("+host=x"), true).result.is_ok());
    let made = read(&changed("-:authority & +host=y"), true);
    assert_eq!(
        made.head.host.map(|host| made.text(host)).as_deref(),
        Some("y")
    );
}

const MALFORMED: &[&str] = &[
    "+:path=/",
    "+:status=200",
    "+:unknown=1",
    "+x=1 & -:path & +:path=/",
    "+connection=close",
    "+keep-alive=1",
    "+proxy-connection=close",
    "+transfer-encoding=chunked",
    "+upgrade=h2c",
    "+te=gzip",
    "+te=trailers, gzip",
    "+x=a\rb",
    "+x=a\nb",
    "+x=a\0b",
    "+x= a",
    "+x=a\t",
    "+x y=a",
    "+x:=a",
    "+\u{fc}=a",
    "+=a",
    "-:method",
    "-:scheme",
    "-:path",
    ":path=",
    ":scheme=",
    "+:protocol=websocket",
    ":method=CONNECT",
];

const REFUSED: &[(&str, HeadError)] = &[
    ("-:authority", HeadError::MissingHost),
    ("+host=y", HeadError::InvalidHost),
    ("+content-length=-1", HeadError::InvalidContentLength),
    (
        "+content-length=1 & +content-length=1",
        HeadError::DuplicateHeader,
    ),
    (":path=x", HeadError::InvalidRequest),
    (":path=/a b", HeadError::InvalidRequest),
    (":path=/\x7f", HeadError::InvalidRequest),
    (":path=*", HeadError::InvalidRequest),
    (":method=get", HeadError::InvalidMethod),
    (":method=TRACE", HeadError::TraceMethod),
    (":authority=user@x", HeadError::InvalidHost),
    (":authority=x y", HeadError::InvalidHost),
];

#[test]
fn what_is_no_request_is_malformed_or_refused() {
    for change in MALFORMED {
        let result = read(&changed(change), true).result;
        assert!(
            matches!(result, Err(RequestError::Malformed(_))),
            "{change:?} {result:?}"
        );
    }
    for (change, error) in REFUSED {
        let result = read(&changed(change), true).result;
        assert_eq!(result, Err(RequestError::Refused(*error)), "{change:?}");
    }
}

#[test]
fn a_head_has_its_limits() {
    let many = |count| [GET, &vec![(&b"x"[..], &b"y"[..]); count]].concat();
    let long = |len| [GET, &[(&b"x"[..], &vec![b'y'; len].leak()[..])]].concat();
    let path = |len: usize| {
        let path = format!("/{}", "y".repeat(len - 1));
        changed(format!(":path={path}").leak())
    };
    let head_bytes = "GET  HTTP/2.0".len();
    let cases = [
        (many(500), None),
        (many(1000), Some(HeadError::RequestTooLarge)),
        (long(8187), None),
        (long(8188), Some(HeadError::HeaderTooLarge)),
        (path(8192 - head_bytes), None),
        (path(8193 - head_bytes), Some(HeadError::UriTooLong)),
    ];
    for (fields, error) in cases {
        let result = read(&fields, true).result;
        assert_eq!(
            result.err(),
            error.map(RequestError::Refused),
            "{}",
            fields.len()
        );
    }
    let mut decoded = Fields::new(1 << 20);
    let block = Frames::new().block(&many(1001));
    crate::hpack::Decoder::new(4096)
        .decode(&block, &mut decoded)
        .unwrap();
    let (mut head, mut bytes) = (Head::default(), Vec::new());
    let limits = HeadLimits::default();
    let result = request::read(&mut decoded, true, &limits, &mut head, &mut bytes);
    assert_eq!(
        result,
        Err(RequestError::Refused(HeadError::TooManyHeaders))
    );
}
