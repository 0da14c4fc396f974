//! Chunked bodies: what is taken, what is refused, and the limits.

use revolve_http::h1::{
    BodyError, CHUNK_LINE_BYTES_MAX, ChunkedDecoder, Decoded, EXTENSION_BYTES_MAX,
    TRAILER_BYTES_MAX,
};

/// Where the body ends, or `None` where it does not; and what is in it.
fn decode_body(bytes: &[u8]) -> Result<(Option<usize>, Vec<u8>), BodyError> {
    let mut decoder = ChunkedDecoder::new();
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        match decoder.decode(&bytes[at..])? {
            Decoded::Data {
                start,
                end,
                consumed,
            } => {
                body.extend_from_slice(&bytes[at + start..at + end]);
                at += consumed;
            }
            Decoded::NeedMore { .. } => return Ok((None, body)),
            Decoded::Done { consumed } => return Ok((Some(at + consumed), body)),
        }
    }
}

fn decode(bytes: &[u8]) -> Result<Option<usize>, BodyError> {
    decode_body(bytes).map(|(end, _)| end)
}

#[test]
fn bodies_are_taken_apart() {
    let bytes =
        b"5\r\nhello\r\n1;a=\"b c\"\r\n,\r\n006\r\n world\r\n0\r\nName: value\r\nB:\r\n\r\nGET";
    assert_eq!(
        decode_body(bytes),
        Ok((Some(bytes.len() - 3), b"hello, world".to_vec()))
    );
    assert_eq!(decode(b"0\r\n\r\n"), Ok(Some(5)));
    assert_eq!(decode(b"1 ;x\r\na\r\n0\r\n\r\n"), Ok(Some(14)));
    assert_eq!(decode(b"5\r\nhel"), Ok(None));
    assert_eq!(decode(b"7fffffffffffffff\r\na"), Ok(None));
}

#[test]
fn what_is_ambiguous_is_refused() {
    for (bytes, error) in [
        (b"\r\n".as_slice(), BodyError::InvalidChunkSize),
        (b";x\r\n", BodyError::InvalidChunkSize),
        (b" 5\r\n", BodyError::InvalidChunkSize),
        (b"+5\r\n", BodyError::InvalidChunkSize),
        (b"-5\r\n", BodyError::InvalidChunkSize),
        (b"0x5\r\n", BodyError::InvalidChunkSize),
        (b"5 \r\n", BodyError::InvalidChunkSize),
        (b"5 5\r\n", BodyError::InvalidChunkSize),
        (b"5\n", BodyError::InvalidChunkSize),
        (b"5g\r\n", BodyError::InvalidChunkSize),
        (b"5\rx", BodyError::InvalidExtension),
        (b"5;a\nhello", BodyError::InvalidExtension),
        (b"5;a\rb", BodyError::InvalidExtension),
        (b"5;a\0", BodyError::InvalidExtension),
        (b"8000000000000000\r\n", BodyError::ChunkTooLarge),
        (b"fffffffffffffffff\r\n", BodyError::ChunkTooLarge),
        (b"1\r\nab", BodyError::MissingCrlf),
        (b"1\r\na\n", BodyError::MissingCrlf),
        (b"1\r\na\ra", BodyError::MissingCrlf),
        (b"0\r\n\n", BodyError::InvalidTrailer),
        (b"0\r\n\r\r", BodyError::InvalidTrailer),
        (b"0\r\n a: b\r\n", BodyError::InvalidTrailer),
        (b"0\r\na : b\r\n", BodyError::InvalidTrailer),
        (b"0\r\n: b\r\n", BodyError::InvalidTrailer),
        (b"0\r\na\r\n", BodyError::InvalidTrailer),
        (b"0\r\na: b\n", BodyError::InvalidTrailer),
        (b"0\r\na: b\rc", BodyError::InvalidTrailer),
        (b"0\r\na: \0", BodyError::InvalidTrailer),
        (b"0\r\na: b\r\n c\r\n", BodyError::InvalidTrailer),
    ] {
        assert_eq!(decode(bytes), Err(error), "{}", bytes.escape_ascii());
        // Whoever reads knows who sent it.
        assert!(!error.to_string().contains("client"));
    }
}

#[test]
fn extensions_have_the_form_of_the_rfc() {
    for line in [
        "1;a",
        "1;a;b",
        "1 ; a = b",
        "1;a=b;c=\"d\"",
        "1;a=\"\"",
        "1;a=\"x\\\"y;z\u{e9}\t\";b",
        "1\t;\ta\t=\t!#$%&'*+-.^_`|~",
        "1;a=b ;c",
    ] {
        let body = format!("{line}\r\na\r\n0\r\n\r\n");
        assert_eq!(decode(body.as_bytes()), Ok(Some(body.len())), "{line}");
    }
    for line in [
        "1;",
        "1;;",
        "1; ",
        "1;;a",
        "1;a;",
        "1;=b",
        "1;a=",
        "1;a=;b",
        "1;a b",
        "1;a=b c",
        "1;a ",
        "1;a=b ",
        "1;a=b=c",
        "1;\"a\"",
        "1;a=\"b",
        "1;a=\"b\"c",
        "1;a=b\"c\"",
        "1;a=\"b\\",
        "1;a=\"\u{1}\"",
        "1;a=\"\u{7f}\"",
        "1;a\u{e9}",
        "1;a=\u{e9}",
        "1;(a)",
        "1;a=\"\\\u{1}\"",
        "0;",
        "0;=",
        "1 ;",
    ] {
        let body = format!("{line}\r\na\r\n0\r\n\r\n");
        assert_eq!(
            decode(body.as_bytes()),
            Err(BodyError::InvalidExtension),
            "{line}"
        );
    }
}

#[test]
fn a_chunk_line_is_limited() {
    let line = |len: usize| format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(len - 4)).into_bytes();
    assert!(matches!(decode(&line(CHUNK_LINE_BYTES_MAX)), Ok(Some(_))));
    assert_eq!(
        decode(&line(CHUNK_LINE_BYTES_MAX + 1)),
        Err(BodyError::ExtensionTooLong)
    );
}

#[test]
fn the_extensions_of_a_body_are_limited() {
    let chunk = format!("1;{}\r\na\r\n", "x".repeat(1023));
    let chunks = EXTENSION_BYTES_MAX / 1024;
    let body = |rest: &str| chunk.repeat(chunks) + rest + "0\r\n\r\n";
    // The semicolons are not counted, so that as many bytes are left over.
    let left = format!("1;{}\r\na\r\n", "x".repeat(chunks));
    assert!(matches!(decode(body(&left).as_bytes()), Ok(Some(_))));
    let over = format!("1;{}\r\na\r\n", "x".repeat(chunks + 1));
    assert_eq!(
        decode(body(&over).as_bytes()),
        Err(BodyError::ExtensionTooLong)
    );
}

#[test]
fn trailers_are_limited() {
    // The LFs are not counted, the CR of the empty line is.
    let body = |len: usize| format!("0\r\nA: {}\r\n\r\n", "x".repeat(len - 5)).into_bytes();
    assert!(matches!(decode(&body(TRAILER_BYTES_MAX)), Ok(Some(_))));
    assert_eq!(
        decode(&body(TRAILER_BYTES_MAX + 1)),
        Err(BodyError::TrailerTooLarge)
    );
}

#[test]
fn a_chunk_announces_its_size() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(
        decoder.decode(b"1f4\r\n"),
        Ok(Decoded::NeedMore { consumed: 5 })
    );
    assert_eq!(decoder.chunk_remaining_bytes(), 500);
    let data = Decoded::Data {
        start: 0,
        end: 100,
        consumed: 100,
    };
    assert_eq!(decoder.decode(&[b'x'; 100]), Ok(data));
    assert_eq!(decoder.chunk_remaining_bytes(), 400);
    assert!(!decoder.is_done());
}

#[test]
fn an_end_stays_an_end() {
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(
        decoder.decode(b"0\r\n\r\nGET"),
        Ok(Decoded::Done { consumed: 5 })
    );
    assert!(decoder.is_done());
    assert_eq!(decoder.decode(b"GET"), Ok(Decoded::Done { consumed: 0 }));
    let mut decoder = ChunkedDecoder::new();
    assert_eq!(decoder.decode(b"x"), Err(BodyError::InvalidChunkSize));
    assert_eq!(decoder.decode(b"5"), Err(BodyError::InvalidChunkSize));
    assert_eq!(decoder.decode(b""), Err(BodyError::InvalidChunkSize));
}

/// The lines of the trailers behind an empty body, and how much of it was read.
fn trailers(lines: &str, step: usize) -> Option<Vec<String>> {
    let sent = format!("0\r\n{lines}\r\nGET");
    let mut decoder = ChunkedDecoder::with_trailers();
    for piece in sent.as_bytes().chunks(step) {
        assert_eq!(decoder.trailers().is_some(), decoder.is_done());
        decoder.decode(piece).expect("a sound body");
    }
    let trailers = decoder.trailers()?;
    let text = |span: revolve_http::Span| String::from_utf8_lossy(span.of(trailers.bytes()));
    let lines = trailers
        .lines()
        .map(|line| format!("{}={}", text(line.name), text(line.value)));
    Some(lines.collect())
}

#[test]
fn trailers_are_handed_over_where_they_are_asked_for() {
    for step in 1..40 {
        let sent = "A: b\r\nServer-Timing:\t total;dur=1 \t\r\nempty:\r\nx:  \r\nA:c: d\r\n";
        assert_eq!(
            trailers(sent, step).expect("trailers"),
            ["A=b", "Server-Timing=total;dur=1", "empty=", "x=", "A=c: d"]
        );
        assert_eq!(trailers("", step), Some(Vec::new()));
    }
    let mut dropping = ChunkedDecoder::new();
    assert!(dropping.decode(b"0\r\na: b\r\n\r\n").is_ok());
    assert!(dropping.is_done() && dropping.trailers().is_none());
}

#[test]
fn trailers_decide_nothing_that_the_head_decided() {
    let sent = "Content-Length: 5\r\ntransfer-encoding: chunked\r\nHost: b\r\nSet-Cookie: a\r\n\
        Authorization: x\r\nX-Accel-Redirect: /secret\r\nContent-Type: text/html\r\n\
        b(d: x\r\nETag: \"1\"\r\nContent-MD5: x\r\n";
    assert_eq!(
        trailers(sent, 7).expect("trailers"),
        ["ETag=\"1\"", "Content-MD5=x"]
    );
}
