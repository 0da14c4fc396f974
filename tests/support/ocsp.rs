//! An authority that says whether it has revoked a certificate. Source: RFC 6960.

use std::sync::Arc;

use super::tls::Authority;
use super::upstream::Upstream;

/// An element of DER.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        len @ 0..=127 => out.push(len as u8),
        len @ 128..=255 => out.extend([0x81, len as u8]),
        len => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend(content);
    out
}

/// The content of an element, of which the length is known to be short.
fn inside(der: &[u8]) -> &[u8] {
    match der[1] {
        len @ 0..=127 => &der[2..2 + usize::from(len)],
        0x81 => &der[3..3 + usize::from(der[2])],
        _ => panic!("a longer request than any here"),
    }
}

/// The answer to a request: certificates with these serial numbers were revoked, others with a small one are
/// good, and those with a large one are not known.
fn answer(authority: &Authority, request: &[u8], revoked: &[u8]) -> Vec<u8> {
    // OCSPRequest, TBSRequest, requestList, Request.
    let id = (0..4).fold(request, |der, _| inside(der));
    let serial = *inside(id).last().expect("a serial number");
    let status: &[u8] = match serial {
        serial if revoked.contains(&serial) => {
            &element(0xa1, &[&element(24, &[b"20200101000000Z"])])
        }
        0..100 => &[0x80, 0],
        _ => &[0x82, 0],
    };
    let single = element(
        0x30,
        &[
            &element(0x30, &[inside(id)]),
            status,
            &element(24, &[b"20200101000000Z"]),
            &element(0xa0, &[&element(24, &[b"20900101000000Z"])]),
        ],
    );
    let data = element(
        0x30,
        &[
            &element(0xa2, &[&element(4, &[&[0; 20]])]),
            &element(24, &[b"20200101000000Z"]),
            &element(0x30, &[&single]),
        ],
    );
    let ecdsa_with_sha256 = element(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let signature = element(3, &[&[0], &authority.sign(&data)]);
    let basic = element(0x30, &[&data, &ecdsa_with_sha256, &signature]);
    let kind = [6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
    let bytes = element(0x30, &[&kind, &element(4, &[&basic])]);
    element(0x30, &[&[10, 1, 0], &element(0xa0, &[&bytes])])
}

/// Answers by HTTP; each serial number that was asked about is noted.
pub(crate) fn responder(authority: Authority, revoked: &'static [u8]) -> Upstream {
    let authority = Arc::new(authority);
    Upstream::start(move |mut asked, seen| {
        let head = asked.head();
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.and_then(|length| length.parse().ok());
        let request = asked.body(length.expect("a length"));
        let serial = request.last().expect("a serial number");
        let _ = seen.send(serial.to_string());
        let body = answer(&authority, &request, revoked);
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/ocsp-response\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        asked.say([head.as_bytes(), &body].concat());
    })
}
