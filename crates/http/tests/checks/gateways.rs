//! What must hold for any bytes of a FastCGI application and before any connection. The fuzz targets
//! and the tests over their corpus call the same functions.

use revolve_http::fastcgi::{FastCgiError, Read, Reader};
use revolve_http::proxy_protocol::{self, Addresses, ProxyProtocolError};

/// What an application answers: the first byte is the size of the pieces, the rest is what arrives.
pub(crate) fn fastcgi(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let whole = fastcgi_in_pieces(bytes, bytes.len().max(1));
    for step in [1, 1 + usize::from(*piece)] {
        assert_eq!(fastcgi_in_pieces(bytes, step), whole, "in pieces of {step}");
    }
    assert!(whole.output.len() + whole.errors.len() <= bytes.len());
}

/// What an application has said.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Said {
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
    /// Its status, and how many bytes it took.
    pub(crate) end: Option<Result<(u32, usize), FastCgiError>>,
}

pub(crate) fn fastcgi_in_pieces(bytes: &[u8], step: usize) -> Said {
    let mut reader = Reader::new();
    let mut said = Said::default();
    let mut at = 0;
    for piece in bytes.chunks(step) {
        let mut rest = piece;
        loop {
            let (out, start, consumed) = match reader.read(rest) {
                Ok(Read::Stdout { start, consumed }) => (&mut said.output, start, consumed),
                Ok(Read::Stderr { start, consumed }) => (&mut said.errors, start, consumed),
                Ok(Read::NeedMore { consumed }) => {
                    assert_eq!(consumed, rest.len());
                    at += consumed;
                    break;
                }
                Ok(Read::End {
                    app_status,
                    consumed,
                }) => {
                    assert!(reader.is_ended());
                    said.end = Some(Ok((app_status, at + consumed)));
                    return said;
                }
                Err(error) => {
                    assert_eq!(reader.read(b"x"), Err(error));
                    said.end = Some(Err(error));
                    return said;
                }
            };
            assert!(start < consumed);
            out.extend_from_slice(&rest[start..consumed]);
            at += consumed;
            rest = &rest[consumed..];
        }
    }
    said
}

/// What a connection begins with.
pub(crate) fn proxy_protocol(bytes: &[u8]) {
    let bytes_max = proxy_protocol::HEADER_BYTES_MAX;
    let whole = proxy_protocol::parse(bytes, bytes_max);
    for len in 0..bytes.len() {
        // Nothing is said too early, and what is said stays.
        match proxy_protocol::parse(&bytes[..len], bytes_max) {
            Ok(None) => {}
            other => {
                assert_eq!(other, whole, "of {len} bytes");
                break;
            }
        }
    }
    let header = match whole {
        Ok(Some(header)) => header,
        Ok(None) => {
            assert!(bytes.len() < bytes_max);
            return;
        }
        Err(_) => return,
    };
    assert!(header.header_bytes <= bytes.len().min(bytes_max));
    assert!(matches!(header.version, 1 | 2));
    let _ = header.ssl().map(|ssl| ssl.tlvs.count());
    // What was read is written so that it is read again. A checksum would be one of other bytes.
    let tlvs: Vec<_> = header.tlvs.collect();
    let tlvs = tlvs.into_iter();
    let tlvs = tlvs.filter(|&(kind, _)| kind != proxy_protocol::tlv::CRC32C);
    let tlvs: Vec<_> = tlvs.collect();
    let mut written = Vec::new();
    proxy_protocol::write_v2(&mut written, header.transport, &header.addresses, &tlvs)
        .expect("it was no longer");
    let again = proxy_protocol::parse(&written, usize::MAX);
    let again = again.expect("a header").expect("all of it");
    assert_eq!(again.header_bytes, written.len());
    assert_eq!(again.addresses, header.addresses);
    match header.addresses {
        // It has no additional values.
        Addresses::Local => {}
        Addresses::Unspecified => assert!(again.tlvs.eq(tlvs)),
        _ => {
            assert_eq!(again.transport, header.transport);
            assert!(again.tlvs.eq(tlvs));
        }
    }
    let mut line = Vec::new();
    proxy_protocol::write_v1(&mut line, &header.addresses);
    let read: Result<_, ProxyProtocolError> = proxy_protocol::parse(&line, bytes_max);
    let read = read.expect("a header").expect("all of it");
    if let Addresses::Ip { .. } = header.addresses {
        assert_eq!(read.addresses, header.addresses);
    } else {
        assert_eq!(read.addresses, Addresses::Unspecified);
    }
}
