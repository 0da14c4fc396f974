//! What header lines mean to HTTP/1: how the body is framed, whether the connection stays open,
//! which hosts are hosts.

use super::error::HeadError;
use crate::body::Framing;
use crate::head::KeepAlive;
use crate::header::{HeaderId, HeaderSpan, Known, bits};
use crate::method::Method;
use crate::token::is_token_byte;
use crate::version::Version;

/// Whether the connection stays open; see [`KeepAlive`].
pub(super) fn keep_alive_of(known: &Known, version: Version) -> KeepAlive {
    let on = !known.says_close() && (known.says_keep_alive() || version > Version::HTTP_10);
    if on { KeepAlive::On } else { KeepAlive::Off }
}

/// Takes note of one line of a known header.
#[inline(always)]
pub(crate) fn note(known: &mut Known, bytes: &[u8], line: HeaderSpan) -> Result<(), HeadError> {
    if known.note(bytes, line) {
        return Ok(());
    }
    match line.id {
        HeaderId::Host => Err(HeadError::DuplicateHost),
        _ => Err(HeadError::DuplicateHeader),
    }
}

/// Checks what can only be checked when all lines are there, in nginx's order, and says how
/// the body is framed.
#[inline]
pub(crate) fn framing(
    known: &Known,
    bytes: &[u8],
    method: Method,
    version: Version,
) -> Result<Framing, HeadError> {
    const HOST: u64 = bits(&[HeaderId::Host]);
    const FRAMING: u64 = bits(&[HeaderId::ContentLength, HeaderId::TransferEncoding]);
    if version > Version::HTTP_10 && !known.has_any(HOST) {
        return Err(HeadError::MissingHost);
    }
    let length = match known.get(HeaderId::ContentLength) {
        Some(value) => {
            Some(content_length(value.of(bytes)).ok_or(HeadError::InvalidContentLength)?)
        }
        None => None,
    };
    match method {
        Method::Connect if version < Version::HTTP_11 => return Err(HeadError::ConnectMethod),
        Method::Trace => return Err(HeadError::TraceMethod),
        _ if !known.has_any(FRAMING) => return Ok(Framing::None),
        _ => {}
    }
    let Some(coding) = known.get(HeaderId::TransferEncoding) else {
        return Ok(length.map_or(Framing::None, Framing::Length));
    };
    if version < Version::HTTP_11 {
        return Err(HeadError::TransferEncodingInHttp10);
    }
    check_coding(coding.of(bytes))?;
    if length.is_some() {
        return Err(HeadError::ContentLengthAndTransferEncoding);
    }
    Ok(Framing::Chunked)
}

/// Digits and nothing else: no sign, no list, no space, and no more than `i64::MAX`.
pub(super) fn content_length(value: &[u8]) -> Option<u64> {
    let digits = value.iter().try_fold(0i64, |sum, &byte| {
        if !byte.is_ascii_digit() {
            return None;
        }
        sum.checked_mul(10)?.checked_add(i64::from(byte - b'0'))
    });
    let length = digits.filter(|_| !value.is_empty())?;
    Some(length as u64)
}

/// `chunked` alone is what can be read. A list that ends in it and holds other codings is well formed
/// (501, RFC 9112, section 6.1); where any other coding is the last, nobody can tell where the body
/// ends (400, section 6.3), as where `chunked` is applied twice or has parameters (section 7.1).
fn check_coding(value: &[u8]) -> Result<(), HeadError> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let mut codings = value.rsplit(|&byte| byte == b',').map(trim_spaces);
    let last = codings.next().unwrap_or_default();
    if !is_chunked(last) {
        return Err(HeadError::InvalidTransferEncoding);
    }
    for coding in codings {
        let (name, parameters) = match memchr::memchr(b';', coding) {
            Some(at) => (trim_spaces(&coding[..at]), &coding[at + 1..]),
            None => (coding, [].as_slice()),
        };
        let is_valid = !name.is_empty() && name.iter().copied().all(is_token_byte);
        let is_visible = parameters
            .iter()
            .all(|byte| matches!(byte, b'\t' | b' '..=b'~'));
        if !is_valid || !is_visible || is_chunked(name) {
            return Err(HeadError::InvalidTransferEncoding);
        }
    }
    Err(HeadError::UnknownTransferEncoding)
}

fn trim_spaces(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// Checks hosts, and remembers the last: it is most often the next, too.
#[derive(Clone, Debug, Default)]
pub(super) struct HostCheck {
    value: [u8; 32],
    value_len: usize,
    host_len: usize,
}

impl HostCheck {
    /// The same as [`validate_host`].
    #[inline]
    pub(super) fn len(&mut self, value: &[u8]) -> Option<usize> {
        if value == &self.value[..self.value_len] && !value.is_empty() {
            return Some(self.host_len);
        }
        let host_len = validate_host(value)?;
        if let Some(room) = self.value.get_mut(..value.len()) {
            room.copy_from_slice(value);
            self.value_len = value.len();
            self.host_len = host_len;
        }
        Some(host_len)
    }
}

/// Checks the value of a `Host` line and returns the length of its host, without port and without
/// the dot that may end it; `None` where it is no host.
///
/// This is nginx's `ngx_http_validate_host`, which follows RFC 3986 since 1.29.4: not empty, no empty
/// label but the last, of unreserved characters, `%` and the delimiters within a part; a port is a
/// number up to 65535, and brackets stand around an IPv6 literal and nowhere else. `[]` is refused.
pub(crate) fn validate_host(value: &[u8]) -> Option<usize> {
    let (mut host_end, dot_ends) = match value.first()? {
        b'[' => (literal_len(value)?, false),
        _ => name_len(value)?,
    };
    match value[host_end..].split_first() {
        None => {}
        Some((b':', port)) if is_port(port) => {}
        Some(_) => return None,
    }
    host_end -= usize::from(dot_ends);
    (host_end > 0).then_some(host_end)
}

/// Whether these are the digits of a port, or none at all.
pub(super) fn is_port(digits: &[u8]) -> bool {
    let number = digits.iter().try_fold(0_u16, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    });
    number.is_some()
}

/// The length of a host name, and whether a dot ends it.
fn name_len(value: &[u8]) -> Option<(usize, bool)> {
    let mut label_start = 0;
    for (at, &byte) in value.iter().enumerate() {
        match HOST_CLASS[byte as usize] {
            HOST_PLAIN => {}
            // A dot may begin a name, and end a label that is not empty.
            HOST_DOT if at == 0 || at > label_start => label_start = at + 1,
            HOST_COLON => return Some((at, at > 0 && at == label_start)),
            _ => return None,
        }
    }
    Some((value.len(), value.len() == label_start))
}

/// The length of an IPv6 (or later) literal, with its brackets.
fn literal_len(value: &[u8]) -> Option<usize> {
    let close = memchr::memchr(b']', value)?;
    let literal = &value[1..close];
    let valid = literal
        .iter()
        .all(|&byte| byte.is_ascii_alphanumeric() || b":.-_~!$&'()*+,;=".contains(&byte));
    let empty_label = literal.windows(2).any(|pair| pair == b"..");
    (valid && !empty_label && !literal.is_empty()).then_some(close + 1)
}

/// What a byte means in a host name.
const HOST_PLAIN: u8 = 0;
const HOST_DOT: u8 = 1;
const HOST_COLON: u8 = 2;
const HOST_FATAL: u8 = 3;

static HOST_CLASS: [u8; 256] = {
    let mut table = [HOST_PLAIN; 256];
    let mut byte = 0usize;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'.' => HOST_DOT,
            b':' => HOST_COLON,
            b'"' | b'#' | b'/' | b'<' | b'>' | b'?' | b'@' | b'['..=b'^' | b'`' | b'{'..=b'}' => {
                HOST_FATAL
            }
            b'!'..=b'~' => HOST_PLAIN,
            _ => HOST_FATAL,
        };
        byte += 1;
    }
    table
};
