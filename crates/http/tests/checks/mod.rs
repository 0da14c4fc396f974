//! What must hold for any bytes. The fuzz targets and the tests over their corpus call the same
//! functions.

use revolve_http::h1::{
    BodyError, ChunkedDecoder, Decoded, HeadError, HeadLimits, HeadParser, Progress, ResponseError,
    ResponseLimits, ResponseParser, ResponseProgress, StatusLine,
};
use revolve_http::{
    Framing, Head, HeaderId, Method, ResponseFraming, ResponseHead, Span, Version, is_token,
    normalize_path,
};

/// A head: the first byte chooses the limits, the second the size of the pieces, the rest is what
/// arrives.
pub(crate) fn h1_head(data: &[u8]) {
    let [settings, piece, bytes @ ..] = data else {
        return;
    };
    let limits = HeadLimits {
        underscores: settings & 1 != 0,
        ignore_invalid: settings & 2 == 0,
        line_bytes_max: if settings & 4 != 0 { 64 } else { 8192 },
        head_bytes_max: if settings & 8 != 0 { 256 } else { 32768 },
        headers_max: if settings & 16 != 0 { 3 } else { 1000 },
    };
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    let whole = parser.parse(&mut head, bytes, &limits);
    for step in [1, 1 + usize::from(*piece)] {
        let (pieces, read) = parse_in_pieces(bytes, step, &limits);
        assert_eq!(whole, pieces, "in pieces of {step}");
        assert_eq!(head, read, "in pieces of {step}");
    }
    assert_eq!(
        parser.parse(&mut head, bytes, &limits),
        whole,
        "asked again"
    );
    if let Ok(Progress::Complete { head_bytes }) = whole {
        check_head(&bytes[..head_bytes], &head, &limits);
        compare_with_httparse(&bytes[..head_bytes], &head);
        parser.reset(&mut head);
        assert_eq!(
            parser.parse(&mut head, &bytes[..head_bytes], &limits),
            whole,
            "without what follows"
        );
    }
}

/// Shows the parser `step` bytes more each time, until it has an answer.
pub(crate) fn parse_in_pieces(
    bytes: &[u8],
    step: usize,
    limits: &HeadLimits,
) -> (Result<Progress, HeadError>, Head) {
    let mut parser = HeadParser::new();
    let mut head = Head::default();
    let mut len = step.min(bytes.len());
    loop {
        let parsed = parser.parse(&mut head, &bytes[..len], limits);
        if parsed != Ok(Progress::Partial) || len == bytes.len() {
            return (parsed, head);
        }
        len = (len + step).min(bytes.len());
    }
}

fn check_head(bytes: &[u8], head: &Head, limits: &HeadLimits) {
    assert!(bytes.len() <= limits.head_bytes_max);
    assert!(bytes.ends_with(b"\n"));
    assert!(head.headers.len() + head.ignored.len() <= limits.headers_max);
    assert!(head.request_line.len() < limits.line_bytes_max);
    let text = |span: Span| span.of(bytes);
    for &byte in text(head.target.raw) {
        assert!(byte > 0x20 && byte != 0x7f);
    }
    let mut lengths = 0;
    let mut codings = 0;
    for line in &head.headers {
        let (name, value) = (text(line.name), text(line.value));
        assert!(!name.is_empty() && name.iter().all(|&byte| byte > 0x20 && byte != 0x7f));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(!matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']));
        lengths += usize::from(name.eq_ignore_ascii_case(b"content-length"));
        codings += usize::from(name.eq_ignore_ascii_case(b"transfer-encoding"));
    }
    // One reading of where the request ends, or none.
    assert!(lengths + codings <= 1);
    match head.framing {
        Framing::None => assert_eq!(lengths + codings, 0),
        Framing::Length(length) => {
            let value = head
                .known
                .get(HeaderId::ContentLength)
                .expect("a length comes from a header");
            let digits = std::str::from_utf8(text(value)).expect("digits");
            assert_eq!(digits.parse(), Ok(length));
        }
        Framing::Chunked => {
            assert!(codings == 1 && head.version >= Version::HTTP_11);
        }
    }
    if head.version >= Version::HTTP_11 {
        let host = head.host.expect("a host");
        assert!(!host.is_empty() && !text(host).contains(&b'/'));
    }
}

/// Where `httparse` takes the head as well, it sees the same lines.
fn compare_with_httparse(bytes: &[u8], head: &Head) {
    let mut headers = vec![httparse::EMPTY_HEADER; 1024];
    let mut request = httparse::Request::new(&mut headers);
    if request.parse(bytes) != Ok(httparse::Status::Complete(bytes.len())) {
        return;
    }
    assert_eq!(
        request.method.map(str::as_bytes),
        Some(head.method_span.of(bytes))
    );
    assert_eq!(request.version.map(u16::from), Some(head.version.minor));
    let names = |name: &str| {
        head.headers
            .iter()
            .filter(|h| h.name.of(bytes) == name.as_bytes())
            .count()
    };
    assert_eq!(
        request.headers.len(),
        head.headers.len() + head.ignored.len()
    );
    for header in request
        .headers
        .iter()
        .filter(|header| names(header.name) > 0)
    {
        let seen = head.headers.iter().any(|line| {
            line.name.of(bytes) == header.name.as_bytes() && line.value.of(bytes) == header.value
        });
        assert!(seen, "{}: {:?}", header.name, header.value);
    }
}

/// A chunked body: the first byte is the size of the pieces, the rest is what arrives.
pub(crate) fn chunked(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let whole = decode_in_pieces(bytes, bytes.len().max(1));
    for step in [1, 1 + usize::from(*piece)] {
        assert_eq!(decode_in_pieces(bytes, step), whole, "in pieces of {step}");
    }
    if let (Ok(Some(end)), body, trailers) = whole {
        assert!(bytes[..end].ends_with(b"\r\n") && body.len() + 5 <= end);
        for (name, value) in &trailers {
            assert!(is_token(name) && !name.eq_ignore_ascii_case(b"content-length"));
            assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        }
    }
}

/// A header line taken apart.
pub(crate) type Line = (Vec<u8>, Vec<u8>);

/// Where the body ends, if it does, what is in it, and what of it may be passed on behind it.
pub(crate) fn decode_in_pieces(
    bytes: &[u8],
    step: usize,
) -> (Result<Option<usize>, BodyError>, Vec<u8>, Vec<Line>) {
    let mut decoder = ChunkedDecoder::with_trailers();
    let mut body = Vec::new();
    let mut at = 0;
    for piece in bytes.chunks(step) {
        let mut rest = piece;
        loop {
            match decoder.decode(rest) {
                Err(error) => return (Err(error), body, Vec::new()),
                Ok(Decoded::Done { consumed }) => {
                    let trailers = decoder.trailers().expect("they are kept");
                    let text = |span: Span| span.of(trailers.bytes()).to_vec();
                    let lines = trailers.lines();
                    let lines = lines.map(|line| (text(line.name), text(line.value)));
                    return (Ok(Some(at + consumed)), body, lines.collect());
                }
                Ok(Decoded::NeedMore { consumed }) => {
                    assert_eq!(consumed, rest.len());
                    at += consumed;
                    break;
                }
                Ok(Decoded::Data {
                    start,
                    end,
                    consumed,
                }) => {
                    assert!(start < end && end <= consumed);
                    body.extend_from_slice(&rest[start..end]);
                    at += consumed;
                    rest = &rest[consumed..];
                }
            }
        }
    }
    (Ok(None), body, Vec::new())
}

/// A path: the first byte chooses whether slashes are merged.
pub(crate) fn normalize(data: &[u8]) {
    let [settings, path @ ..] = data else { return };
    let merge_slashes = settings & 1 == 0;
    let mut out = b"what was there before".to_vec();
    let normalized = normalize_path(path, merge_slashes, &mut out);
    if merge_slashes {
        assert_eq!(normalized.is_ok().then_some(&out), resolve(path).as_ref());
    }
    if normalized.is_err() {
        return;
    }
    assert!(out.starts_with(b"/") && out.len() <= path.len().max(1));
    assert!(!out.contains(&0));
    let mut segments = out.split(|&byte| byte == b'/');
    assert!(segments.all(|segment| segment != b"." && segment != b".."));
    if !out.iter().any(|byte| b"%?#".contains(byte)) {
        let mut again = Vec::new();
        assert_eq!(normalize_path(&out, merge_slashes, &mut again), Ok(()));
        assert_eq!(out, again, "what is normal stays as it is");
    }
}

/// The same by other means: decode all, split, resolve.
fn resolve(path: &[u8]) -> Option<Vec<u8>> {
    let end = path
        .iter()
        .position(|byte| b"?#".contains(byte))
        .unwrap_or(path.len());
    let mut decoded = Vec::new();
    let mut bytes = path[..end].iter();
    while let Some(&byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = [*bytes.next()?, *bytes.next()?];
                let valid = digits.iter().all(u8::is_ascii_hexdigit);
                let text = std::str::from_utf8(&digits).ok().filter(|_| valid)?;
                u8::from_str_radix(text, 16).ok()?
            }
            other => other,
        });
    }
    if decoded.contains(&0) || !matches!(path.first(), None | Some(b'/' | b'?' | b'#')) {
        return None;
    }
    let mut segments: Vec<&[u8]> = Vec::new();
    let mut last: &[u8] = b"";
    for segment in decoded.split(|&byte| byte == b'/') {
        last = segment;
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop()?;
            }
            name => segments.push(name),
        }
    }
    let mut out = Vec::new();
    for segment in &segments {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    if matches!(last, b"" | b"." | b"..") {
        out.push(b'/');
    }
    Some(out)
}

/// The heads of a response: the first byte chooses the limits and the method, the second the size of
/// the pieces, the rest is what arrives.
pub(crate) fn h1_response(data: &[u8]) {
    let [settings, piece, bytes @ ..] = data else {
        return;
    };
    let limits = ResponseLimits {
        head_bytes_max: if settings & 1 != 0 { 128 } else { 32768 },
        headers_max: if settings & 2 != 0 { 3 } else { 1000 },
        interims_max: if settings & 4 != 0 { 1 } else { 16 },
        status_line: match settings >> 3 & 3 {
            0 | 1 => StatusLine::Required,
            2 => StatusLine::Optional,
            _ => StatusLine::Absent,
        },
    };
    let method = match settings >> 5 & 3 {
        0 => Method::Head,
        1 => Method::Connect,
        _ => Method::Get,
    };
    let whole = response_in_pieces(bytes, bytes.len().max(1), method, &limits);
    for step in [1, 1 + usize::from(*piece)] {
        let pieces = response_in_pieces(bytes, step, method, &limits);
        assert_eq!(pieces, whole, "in pieces of {step}");
    }
    let mut at = 0;
    for (progress, head) in whole {
        let head_bytes = match progress {
            Ok(ResponseProgress::Interim { head_bytes }) => {
                assert!(head.is_interim() && head.framing == ResponseFraming::None);
                head_bytes
            }
            Ok(ResponseProgress::Complete { head_bytes }) => head_bytes,
            Ok(ResponseProgress::Partial) | Err(_) => break,
        };
        check_response(&bytes[at..at + head_bytes], &head, &limits);
        at += head_bytes;
    }
}

/// What was read, head by head, in pieces of `step` bytes.
fn response_in_pieces(
    bytes: &[u8],
    step: usize,
    method: Method,
    limits: &ResponseLimits,
) -> Vec<(Result<ResponseProgress, ResponseError>, ResponseHead)> {
    let mut parser = ResponseParser::new(method);
    let mut head = ResponseHead::default();
    let mut seen = Vec::new();
    let (mut at, mut len) = (0, step.min(bytes.len()));
    loop {
        let read = parser.parse(&mut head, &bytes[at..len], limits);
        match read {
            Ok(ResponseProgress::Partial) if len < bytes.len() => {
                len = (len + step).min(bytes.len());
            }
            Ok(ResponseProgress::Interim { head_bytes }) => {
                at += head_bytes;
                seen.push((read, head.clone()));
            }
            _ => {
                seen.push((read, head));
                return seen;
            }
        }
    }
}

fn check_response(bytes: &[u8], head: &ResponseHead, limits: &ResponseLimits) {
    assert!(bytes.len() <= limits.head_bytes_max && bytes.ends_with(b"\n"));
    assert!((100..1000).contains(&head.status));
    assert!(head.headers.len() <= limits.headers_max);
    let text = |span: Span| span.of(bytes);
    let mut framing_lines = 0;
    for line in &head.headers {
        let (name, value) = (text(line.name), text(line.value));
        assert!(is_token(name) && line.id == HeaderId::of_name(name));
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        assert!(!matches!(value, [b' ' | b'\t', ..] | [.., b' ' | b'\t']));
        let frames = [HeaderId::ContentLength, HeaderId::TransferEncoding];
        framing_lines += usize::from(frames.contains(&line.id));
    }
    // One reading of where the response ends.
    assert!(framing_lines <= 1);
    if matches!(head.framing, ResponseFraming::UntilClose) {
        assert!(framing_lines == 0 && !head.keep_alive.is_on());
    }
    let mut headers = vec![httparse::EMPTY_HEADER; 1024];
    let mut theirs = httparse::Response::new(&mut headers);
    if theirs.parse(bytes) == Ok(httparse::Status::Complete(bytes.len())) {
        assert_eq!(theirs.code, Some(head.status));
        let lines = head.headers.iter();
        let ours = lines.map(|line| (text(line.name), text(line.value)));
        let theirs = theirs
            .headers
            .iter()
            .map(|line| (line.name.as_bytes(), line.value));
        assert!(ours.eq(theirs), "{}", bytes.escape_ascii());
    }
}
