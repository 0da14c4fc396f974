//! What stands behind a web server, and what a proxy before it says.

#[path = "checks/gateways.rs"]
mod checks;

use std::net::SocketAddr;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use revolve_http::fastcgi::{self, FastCgiError, Params};
use revolve_http::memcached::{self, MemcachedError, ResponseLine, ValueReader};
use revolve_http::proxy_protocol::{
    self, Addresses, HEADER_BYTES_MAX, ProxyProtocolError, Transport, tlv,
};
use revolve_http::{scgi, uwsgi};

/// A record as an application sends it.
fn record(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
    let [high, low] = (content.len() as u16).to_be_bytes();
    let head = [1, kind, 0, 1, high, low, padding, 0];
    [head.as_slice(), content, &vec![0xee; usize::from(padding)]].concat()
}

const END: &[u8] = &[0, 0, 0, 7, 0, 0, 0, 0];

#[test]
fn fastcgi_requests_begin_as_the_specification_says() {
    let mut out = Vec::new();
    fastcgi::begin(&mut out, true);
    assert_eq!(out, [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]);
    out.clear();
    let mut params = Params::new(&mut out);
    params.push(b"A", b"bc");
    params.finish();
    let expected = b"\x01\x04\0\x01\0\x05\x03\0\x01\x02Abc\0\0\0\x01\x04\0\x01\0\0\0\0";
    assert_eq!(out, expected);
    out.clear();
    Params::new(&mut out).finish();
    assert_eq!(out, b"\x01\x04\0\x01\0\0\0\0");
    assert_eq!(fastcgi::stdin_head(0x1234), [1, 5, 0, 1, 0x12, 0x34, 0, 0]);
}

/// Reads parameters as an application does.
fn params_of(mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut stream = Vec::new();
    loop {
        let [1, 4, 0, 1, high, low, padding, 0, rest @ ..] = bytes else {
            panic!("no parameters: {}", bytes.escape_ascii());
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        stream.extend_from_slice(&rest[..len]);
        bytes = &rest[len + usize::from(*padding)..];
        if len == 0 {
            break;
        }
    }
    assert!(bytes.is_empty());
    let mut rest = stream.as_slice();
    let mut pairs = Vec::new();
    while !rest.is_empty() {
        let mut len = || match *rest {
            [len @ 0..=127, ..] => {
                rest = &rest[1..];
                usize::from(len)
            }
            _ => {
                let len = u32::from_be_bytes(*rest.first_chunk().expect("four bytes"));
                rest = &rest[4..];
                (len & !(1 << 31)) as usize
            }
        };
        let (name, value) = (len(), len());
        pairs.push((rest[..name].to_vec(), rest[name..name + value].to_vec()));
        rest = &rest[name + value..];
    }
    pairs
}

#[test]
fn fastcgi_answers_are_taken_apart() {
    let bytes = [
        record(7, b"oops", 4),
        record(6, b"Status: 200\n\n", 0),
        record(6, b"hello", 3),
        record(6, b"", 0),
        record(3, END, 1),
    ]
    .concat();
    let all = [bytes.as_slice(), b"more"].concat();
    for step in 1..=all.len() {
        let said = checks::fastcgi_in_pieces(&all, step);
        assert_eq!(said.output, b"Status: 200\n\nhello");
        assert_eq!(said.errors, b"oops");
        assert_eq!(said.end, Some(Ok((7, bytes.len()))));
    }
    assert_eq!(checks::fastcgi_in_pieces(&bytes[..60], 9).end, None);
}

#[test]
fn what_no_fastcgi_application_sends_is_refused() {
    use FastCgiError::*;
    for (bytes, error) in [
        (b"HTTP/1.1 200 OK".to_vec(), UnsupportedVersion(b'H')),
        (record(1, b"", 0), UnexpectedRecord(1)),
        (record(11, b"", 0), UnexpectedRecord(11)),
        (b"\x01\x06\0\x02\0\0\0\0".to_vec(), UnexpectedRequestId(2)),
        (record(3, b"", 0), InvalidEnd),
        (record(3, &[0; 9], 0), InvalidEnd),
        (record(3, &[0, 0, 0, 0, 2, 0, 0, 0], 0), Refused(2)),
        (
            [record(6, b"", 0), record(6, b"x", 0)].concat(),
            UnexpectedRecord(6),
        ),
    ] {
        assert_eq!(checks::fastcgi_in_pieces(&bytes, 3).end, Some(Err(error)));
    }
}

#[test]
fn scgi_heads_are_those_of_the_specification() {
    let mut out = b"before".to_vec();
    let params: [(&[u8], &[u8]); 5] = [
        (b"REQUEST_METHOD", b"POST"),
        (b"CONTENT_LENGTH", b"1"),
        (b"REQUEST_URI", b"/deepthought"),
        (b"", b"x"),
        (b"SCGI", b"2"),
    ];
    scgi::request_head(&mut out, 27, params);
    let expected = b"before70:CONTENT_LENGTH\x0027\0SCGI\x001\0REQUEST_METHOD\0POST\0\
        REQUEST_URI\0/deepthought\0,";
    assert_eq!(
        out.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    out.clear();
    scgi::request_head(&mut out, 0, [(b"A".as_slice(), b"b\0SCGI\0".as_slice())]);
    assert_eq!(
        out,
        b"34:CONTENT_LENGTH\x000\0SCGI\x001\0A\0b SCGI \0,".as_slice()
    );
}

#[test]
fn uwsgi_heads_are_those_of_the_protocol() {
    let mut out = b"before".to_vec();
    let pair = |name: &'static [u8], value: &'static [u8]| (name, value);
    uwsgi::request_head(&mut out, 5, 1, [pair(b"AB", b"c"), pair(b"", b"")]).expect("it fits");
    assert_eq!(out, b"before\x05\x0b\0\x01\x02\0AB\x01\0c\0\0\0\0");
    let value = vec![b'x'; uwsgi::PARAMS_BYTES_MAX - 5];
    let mut out = b"before".to_vec();
    assert!(uwsgi::request_head(&mut out, 0, 0, [(b"A".as_slice(), value.as_slice())]).is_ok());
    let mut out = b"before".to_vec();
    let params = [(b"AB".as_slice(), value.as_slice())];
    assert_eq!(
        uwsgi::request_head(&mut out, 0, 0, params),
        Err(uwsgi::TooLarge)
    );
    assert_eq!(out, b"before");
}

#[test]
fn memcached_keys_hold_no_commands() {
    let mut out = Vec::new();
    memcached::escaped_key(&mut out, b"/a b%\r\nset x\xff").expect("a key");
    assert_eq!(out, b"/a%20b%25%0D%0Aset%20x\xff");
    for (len, ok) in [
        (0, false),
        (1, true),
        (250, true),
        (251, false),
        (1000, false),
    ] {
        let mut out = b"before".to_vec();
        let key = vec![b'a'; len];
        assert_eq!(memcached::escaped_key(&mut out, &key).is_ok(), ok, "{len}");
        assert_eq!(out.len(), 6 + if ok { len } else { 0 });
    }
    let mut out = Vec::new();
    memcached::get(&mut out, b"/a");
    assert_eq!(out, b"get /a\r\n");
}

#[test]
fn memcached_lines_are_taken_or_refused() {
    use MemcachedError::*;
    let found = |flags, length, consumed| {
        Ok(Some(ResponseLine::Found {
            flags,
            length,
            consumed,
        }))
    };
    for (text, expected) in [
        ("VALUE /a 2 5\r\nhello", found(2, 5, 14)),
        ("VALUE /a 4294967295 0\r\n", found(u32::MAX, 0, 23)),
        ("END\r\n", Ok(Some(ResponseLine::NotFound { consumed: 5 }))),
        ("VALUE /a 2 5\r", Ok(None)),
        ("", Ok(None)),
        ("VALUE /b 2 5\r\n", Err(OtherKey)),
        ("VALUE \r\n", Err(OtherKey)),
        ("VALUE /a x 5\r\n", Err(InvalidFlags)),
        ("VALUE /a 4294967296 5\r\n", Err(InvalidFlags)),
        ("VALUE /a\r\n", Err(InvalidFlags)),
        ("VALUE /a 1 -5\r\n", Err(InvalidLength)),
        ("VALUE /a 1 9223372036854775808\r\n", Err(InvalidLength)),
        ("VALUE /a 1 5 6\r\n", Err(InvalidLength)),
        ("VALUE /a 1 5\n", Err(UnexpectedLine)),
        ("ERROR\r\n", Err(UnexpectedLine)),
        ("SERVER_ERROR out of memory\r\n", Err(UnexpectedLine)),
    ] {
        let read = memcached::response_line(text.as_bytes(), b"/a");
        assert_eq!(read, expected, "{}", text.escape_debug());
        for len in 0..text.len() {
            let part = memcached::response_line(&text.as_bytes()[..len], b"/a");
            assert!(
                part == Ok(None) || part == read,
                "{len} of {}",
                text.escape_debug()
            );
        }
    }
    let long = |len| memcached::response_line(&vec![b'x'; len], b"/a");
    assert_eq!(long(memcached::LINE_BYTES_MAX - 1), Ok(None));
    assert_eq!(long(memcached::LINE_BYTES_MAX), Err(UnexpectedLine));
}

#[test]
fn memcached_values_end_as_they_must() {
    let read = |bytes: &[u8], step: usize| {
        let mut reader = ValueReader::new(5);
        let (mut value, mut at) = (Vec::new(), 0);
        for piece in bytes.chunks(step) {
            let read = reader.read(piece)?;
            value.extend_from_slice(&piece[..read.data_end]);
            at += read.consumed;
            if read.done {
                return Ok(Some((value, at)));
            }
        }
        Ok::<_, MemcachedError>(None)
    };
    for step in 1..20 {
        let whole = read(b"hello\r\nEND\r\nmore", step);
        assert_eq!(whole, Ok(Some((b"hello".to_vec(), 12))));
        assert_eq!(read(b"hello\r\nEND\r", step), Ok(None));
        assert_eq!(
            read(b"hello!\r\nEND\r\n", step),
            Err(MemcachedError::InvalidTrailer)
        );
        assert_eq!(
            read(b"hello\r\nVALUE", step),
            Err(MemcachedError::InvalidTrailer)
        );
    }
    let mut reader = ValueReader::new(0);
    assert!(reader.read(b"x").is_err() && reader.read(b"\r\nEND\r\n").is_err());
}

fn ip(source: &str, destination: &str) -> Addresses<'static> {
    let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
    Addresses::Ip {
        source: address(source),
        destination: address(destination),
    }
}

#[test]
fn proxy_protocol_lines_are_taken_or_refused() {
    use ProxyProtocolError::*;
    let v4 = ip("192.0.2.1:56324", "198.51.100.1:443");
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", Ok(v4)),
        (
            "PROXY TCP6 2001:db8::1 ::1 0 65535\r\n",
            Ok(ip("[2001:db8::1]:0", "[::1]:65535")),
        ),
        ("PROXY UNKNOWN\r\n", Ok(Addresses::Unspecified)),
        (
            "PROXY UNKNOWN ffff::1 \u{e4} 1 2\r\n",
            Ok(Addresses::Unspecified),
        ),
        ("PROXY UNKNOWNS\r\n", Err(InvalidLine)),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
            Err(InvalidLine),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 65536\r\n",
            Err(InvalidLine),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
            Err(InvalidLine),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 +5 443\r\n",
            Err(InvalidLine),
        ),
        (
            "PROXY TCP4 192.0.2.01 198.51.100.1 5 443\r\n",
            Err(InvalidLine),
        ),
        ("PROXY TCP4 192.0.2.1 198.51.100.1 5\r\n", Err(InvalidLine)),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.1 5 6 7\r\n",
            Err(InvalidLine),
        ),
        (
            "PROXY TCP4 192.0.2.1  198.51.100.1 5 6\r\n",
            Err(InvalidLine),
        ),
        ("PROXY TCP4 ::1 ::1 5 6\r\n", Err(InvalidLine)),
        ("PROXY TCP6 ::1 127.0.0.1 5 6\r\n", Err(InvalidLine)),
        (
            "PROXY UDP4 192.0.2.1 198.51.100.1 5 6\r\n",
            Err(InvalidLine),
        ),
        ("PROXY\r\n", Err(NoHeader)),
        ("proxy UNKNOWN\r\n", Err(NoHeader)),
        ("GET / HTTP/1.1\r\n", Err(NoHeader)),
    ] {
        let read = proxy_protocol::parse(line.as_bytes(), HEADER_BYTES_MAX);
        let read = read.map(|header| header.expect("all of it").addresses);
        assert_eq!(read, expected, "{}", line.escape_debug());
        checks::proxy_protocol(line.as_bytes());
    }
    let line = |len: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(len - 16)).into_bytes();
    assert!(matches!(
        proxy_protocol::parse(&line(107), HEADER_BYTES_MAX),
        Ok(Some(_))
    ));
    assert_eq!(
        proxy_protocol::parse(&line(108), HEADER_BYTES_MAX),
        Err(TooLarge)
    );
}

/// A header of version 2 whose rest is given.
fn v2(version_command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let len = (rest.len() as u16).to_be_bytes();
    let fixed = [version_command, family, len[0], len[1]];
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &fixed, rest].concat()
}

const V4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 0x04, 0x01, 0xbb];

#[test]
fn proxy_protocol_headers_are_taken_or_refused() {
    use ProxyProtocolError::*;
    let bytes = v2(
        0x21,
        0x11,
        &[V4, b"\x01\0\x02h2\x20\0\x0a\x07\0\0\0\0\x21\0\x02v1"].concat(),
    );
    let header = proxy_protocol::parse(&bytes, HEADER_BYTES_MAX);
    let header = header.expect("a header").expect("all of it");
    assert_eq!(header.addresses, ip("192.0.2.1:56324", "198.51.100.1:443"));
    assert_eq!((header.version, header.transport), (2, Transport::Stream));
    assert_eq!(header.tlvs.get(tlv::ALPN), Some(b"h2".as_slice()));
    assert_eq!(header.tlvs.get(tlv::AUTHORITY), None);
    let ssl = header.ssl().expect("about TLS");
    assert_eq!((ssl.client, ssl.verify), (7, 0));
    assert_eq!(ssl.tlvs.get(tlv::SSL_VERSION), Some(b"v1".as_slice()));

    let local = v2(0x20, 0x11, b"whatever");
    let read = proxy_protocol::parse(&local, HEADER_BYTES_MAX);
    assert_eq!(
        read.map(|h| h.map(|h| h.addresses)),
        Ok(Some(Addresses::Local))
    );
    for (bytes, error) in [
        (v2(0x11, 0x11, V4), UnknownVersion),
        (v2(0x22, 0x11, V4), UnknownKind),
        (v2(0x21, 0x13, V4), UnknownKind),
        (v2(0x21, 0x41, V4), UnknownKind),
        (v2(0x21, 0x11, &V4[..11]), InvalidLength),
        (v2(0x21, 0x21, V4), InvalidLength),
        (v2(0x21, 0x31, &[0; 215]), InvalidLength),
        (v2(0x21, 0x11, &[V4, b"\x01"].concat()), InvalidLength),
        (
            v2(0x21, 0x11, &[V4, b"\x01\0\x03h2"].concat()),
            InvalidLength,
        ),
        (
            v2(0x21, 0x11, &[V4, b"\x03\0\x02h2"].concat()),
            InvalidLength,
        ),
        (
            v2(0x21, 0x11, &[V4, b"\x03\0\x04\0\0\0\0"].concat()),
            InvalidChecksum,
        ),
        (v2(0x21, 0x00, &[0; 4081]), TooLarge),
    ] {
        assert_eq!(proxy_protocol::parse(&bytes, HEADER_BYTES_MAX), Err(error));
        checks::proxy_protocol(&bytes);
    }
    assert!(proxy_protocol::parse(&v2(0x20, 0x00, &[0; 4080]), HEADER_BYTES_MAX).is_ok());
}

#[test]
fn a_right_checksum_is_taken() {
    // Summed up bit by bit in another way: most significant bit first.
    let sum = |bytes: &[u8]| {
        let mut sum = !0u32;
        for byte in bytes {
            sum ^= u32::from(byte.reverse_bits()) << 24;
            for _ in 0..8 {
                sum = sum << 1 ^ if sum >> 31 == 1 { 0x1edc_6f41 } else { 0 };
            }
        }
        !sum.reverse_bits()
    };
    assert_eq!(sum(b"123456789"), 0xe306_9283);
    let mut bytes = v2(0x21, 0x11, &[V4, b"\x03\0\x04\0\0\0\0\x04\0\x01x"].concat());
    let at = 16 + V4.len() + 3;
    let right = sum(&bytes).to_be_bytes();
    bytes[at..at + 4].copy_from_slice(&right);
    let read = proxy_protocol::parse(&bytes, HEADER_BYTES_MAX);
    assert!(matches!(read, Ok(Some(_))), "{read:?}");
    bytes[at + 5] ^= 1;
    assert!(proxy_protocol::parse(&bytes, HEADER_BYTES_MAX).is_err());
}

#[test]
fn what_has_two_families_is_written_as_one() {
    let mixed = ip("192.0.2.1:1", "[::1]:2");
    let mut line = Vec::new();
    proxy_protocol::write_v1(&mut line, &mixed);
    assert_eq!(line, b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n");
    let mut out = b"before".to_vec();
    let path = [b'x'; 109];
    let unix = Addresses::Unix {
        source: &path,
        destination: b"",
    };
    let written = proxy_protocol::write_v2(&mut out, Transport::Stream, &unix, &[]);
    assert_eq!(written, Err(ProxyProtocolError::InvalidLength));
    assert_eq!(out, b"before");
}

proptest! {
    #[test]
    fn fastcgi_params_come_out_as_they_went_in(
        pairs in vec((vec(any::<u8>(), 0..200), vec(any::<u8>(), 0..300)), 0..5),
        long in 0usize..140_000,
    ) {
        let mut pairs = pairs;
        pairs.push((b"LONG".to_vec(), vec![b'x'; long]));
        let mut out = Vec::new();
        let mut params = Params::new(&mut out);
        for (name, value) in &pairs {
            params.push(name, value);
        }
        params.finish();
        prop_assert_eq!(out.len() % 8, 0);
        prop_assert_eq!(params_of(&out), pairs);
    }

    #[test]
    fn fastcgi_answers(
        piece in 0u8..40,
        records in vec((2u8..9, vec(any::<u8>(), 0..20), 0u8..9), 0..8),
        tail in vec(any::<u8>(), 0..20),
    ) {
        let records = records.iter();
        let records = records.map(|(kind, content, padding)| record(*kind, content, *padding));
        let records: Vec<_> = records.collect();
        for end in [record(3, END, 2), Vec::new()] {
            checks::fastcgi(&[&[piece], records.concat().as_slice(), &end, &tail].concat());
        }
    }

    #[test]
    fn proxy_protocol_headers(
        command in 0x1fu8..0x23,
        family in any::<u8>(),
        rest in vec(any::<u8>(), 0..60),
        tail in vec(any::<u8>(), 0..10),
    ) {
        checks::proxy_protocol(&[v2(command, family & 0x33, &rest), tail].concat());
    }

    #[test]
    fn proxy_protocol_headers_with_values(
        values in vec((0u8..0x31, vec(any::<u8>(), 0..20)), 0..6),
    ) {
        let values: Vec<_> = values.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
        let mut out = Vec::new();
        let addresses = ip("[2001:db8::1]:1", "[::1]:2");
        let written = proxy_protocol::write_v2(&mut out, Transport::Datagram, &addresses, &values);
        prop_assert_eq!(written, Ok(()));
        checks::proxy_protocol(&out);
        if values.iter().all(|&(kind, _)| kind != tlv::CRC32C) {
            let header = proxy_protocol::parse(&out, HEADER_BYTES_MAX);
            let header = header.expect("a header").expect("all of it");
            prop_assert!(header.tlvs.eq(values));
        }
    }

    #[test]
    fn proxy_protocol_lines(line in "(PROXY )?(TCP4|TCP6|UNKNOWN)?[ :.0-9a-f]{0,60}\r?\n?") {
        checks::proxy_protocol(line.as_bytes());
    }
}

/// Runs each file of a fuzz target's corpus through `check`.
fn corpus(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("a file");
        check(&bytes);
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn corpus_of_fastcgi() {
    corpus("fastcgi", checks::fastcgi);
}

#[test]
fn corpus_of_proxy_protocol() {
    corpus("proxy_protocol", checks::proxy_protocol);
}
