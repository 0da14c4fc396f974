//! From the fields of a header block to a request's head.

use super::error::StreamError;
use crate::body::Framing;
use crate::h1::{HeadError, HeadLimits, content_framing, note_line, validate_host};
use crate::head::{Head, KeepAlive};
use crate::header::{HeaderId, HeaderSpan};
use crate::hpack::{Field, Fields, NameKind};
use crate::method::Method;
use crate::span::Span;
use crate::target::{Target, TargetForm};
use crate::version::Version;

/// Why fields are no request that can be served.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum RequestError {
    /// They are not what a request may be made of: the stream is reset (RFC 9113, section 8.1.1).
    Malformed(StreamError),
    /// They are one that is answered by an error, as HTTP/1's would be.
    Refused(HeadError),
}

impl From<HeadError> for RequestError {
    fn from(error: HeadError) -> Self {
        Self::Refused(error)
    }
}

const fn malformed(reason: &'static str) -> RequestError {
    RequestError::Malformed(StreamError::protocol(reason))
}

/// The pseudo-headers of a request.
#[derive(Default)]
struct Pseudo {
    method: Option<Span>,
    scheme: Option<Span>,
    authority: Option<Span>,
    path: Option<Span>,
    protocol: Option<Span>,
}

/// Makes a head of the fields of a header block. Their bytes become `bytes`, which the spans of the head
/// point into; what was there before is dropped, and its memory kept. `is_last` says that no body
/// follows. The answer is the protocol that an extended CONNECT asks for (RFC 8441): the head is that of
/// the GET with `Upgrade` that it stands for, and what follows is no body.
///
/// `head` is an empty one. What it says is what HTTP/1's parser would have said of the same request:
/// `:authority` is its `Host`, the pieces of a cookie are one again, and a body without a length is
/// [`Framing::Chunked`].
///
/// # Errors
///
/// See [`RequestError`]; the head then holds what had been read.
pub fn read(
    fields: &mut Fields,
    is_last: bool,
    limits: &HeadLimits,
    head: &mut Head,
    bytes: &mut Vec<u8>,
) -> Result<Option<Span>, RequestError> {
    std::mem::swap(&mut fields.bytes, bytes);
    fields.bytes.clear();
    let mut pseudo = Pseudo::default();
    let mut cookies = 0;
    // What is answered by an error waits for what cannot be answered at all.
    let mut refusal = fields.are_too_large().then_some(HeadError::RequestTooLarge);
    for field in &fields.list {
        check_value(field.value.of(bytes))?;
        if let Some(place) = pseudo.place(field.looked_at.kind)? {
            if !head.headers.is_empty() || !head.ignored.is_empty() {
                return Err(malformed("sent a pseudo-header behind other fields"));
            }
            if place.replace(field.value).is_some() {
                return Err(malformed("sent a pseudo-header twice"));
            }
            continue;
        }
        cookies += usize::from(field.looked_at.id == HeaderId::Cookie);
        let taken = take_line(field, limits, head, bytes)?;
        refusal = refusal.or(taken.err());
    }
    if cookies > 1 {
        join_cookies(head, bytes);
    }
    let refused = finish(&pseudo, is_last, limits, head, bytes)?;
    if let Some(protocol) = pseudo.protocol {
        make_upgrade(protocol, head, bytes);
    }
    match refusal.or(refused) {
        Some(error) => Err(error.into()),
        None => Ok(pseudo.protocol),
    }
}

impl Pseudo {
    /// Where the value of a pseudo-header goes; `None` for a name that is none.
    fn place(&mut self, kind: NameKind) -> Result<Option<&mut Option<Span>>, RequestError> {
        Ok(Some(match kind {
            NameKind::Method => &mut self.method,
            NameKind::Scheme => &mut self.scheme,
            NameKind::Authority => &mut self.authority,
            NameKind::Path => &mut self.path,
            NameKind::Protocol => &mut self.protocol,
            NameKind::Status | NameKind::OtherPseudo => {
                return Err(malformed("sent a pseudo-header that no request has"));
            }
            NameKind::Invalid => return Err(malformed("sent a field with an invalid name")),
            NameKind::Plain | NameKind::Underscore | NameKind::Odd => return Ok(None),
        }))
    }
}

/// No value may end a line, or be another one to somebody who trims it (RFC 9113, section 8.2.1).
fn check_value(value: &[u8]) -> Result<(), RequestError> {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    if is_blank(value.first()) || is_blank(value.last()) {
        return Err(malformed(
            "sent a field whose value begins or ends with a space",
        ));
    }
    match memchr::memchr3(b'\n', b'\r', 0, value) {
        Some(_) => Err(malformed("sent a field with an invalid value")),
        None => Ok(()),
    }
}

/// Takes an ordinary field. What is answered by an error is the inner one.
fn take_line(
    field: &Field,
    limits: &HeadLimits,
    head: &mut Head,
    bytes: &[u8],
) -> Result<Result<(), HeadError>, RequestError> {
    let Field {
        name,
        value,
        looked_at,
    } = *field;
    match looked_at.id {
        HeaderId::Connection
        | HeaderId::ProxyConnection
        | HeaderId::KeepAlive
        | HeaderId::TransferEncoding
        | HeaderId::Upgrade => {
            return Err(malformed("sent a field that belongs to a connection"));
        }
        HeaderId::Te if value.of(bytes) != b"trailers" => {
            return Err(malformed("sent a field that belongs to a connection"));
        }
        _ => {}
    }
    if head.headers.len() + head.ignored.len() >= limits.headers_max {
        return Ok(Err(HeadError::TooManyHeaders));
    }
    let is_odd = match looked_at.kind {
        NameKind::Plain => false,
        NameKind::Underscore => !limits.underscores,
        _ => true,
    };
    if is_odd && limits.ignore_invalid {
        head.ignored.push(name);
        return Ok(Ok(()));
    }
    // As long as the line `name: value` would be.
    if name.len() + value.len() + 4 > limits.line_bytes_max {
        return Ok(Err(HeadError::HeaderTooLarge));
    }
    let line = HeaderSpan {
        name,
        value,
        id: looked_at.id,
    };
    head.headers.push(line);
    Ok(match line.id {
        HeaderId::Other => Ok(()),
        _ => note_line(&mut head.known, bytes, line),
    })
}

/// The pieces of a cookie become one (RFC 9113, section 8.2.3).
fn join_cookies(head: &mut Head, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    let mut first = None;
    head.headers.retain(|line| {
        if line.id != HeaderId::Cookie {
            return true;
        }
        if first.is_some() {
            bytes.extend_from_slice(b"; ");
        }
        bytes.extend_from_within(line.value.start as usize..line.value.end as usize);
        first.get_or_insert(line.name);
        false
    });
    if let Some(name) = first {
        let value = Span::new(start, bytes.len());
        let id = HeaderId::Cookie;
        head.known.replace(id, value);
        head.headers.push(HeaderSpan { name, value, id });
    }
}

/// Puts the request line together, and sees to what can be judged only when all fields are there.
fn finish(
    pseudo: &Pseudo,
    is_last: bool,
    limits: &HeadLimits,
    head: &mut Head,
    bytes: &mut Vec<u8>,
) -> Result<Option<HeadError>, RequestError> {
    let method = pseudo
        .method
        .ok_or(malformed("sent a request without \":method\""))?;
    let method_name = method.of(bytes);
    head.method = Method::of_name(method_name);
    let is_valid = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'_' | b'-');
    let is_method = !method_name.is_empty() && method_name.iter().all(is_valid);
    let is_connect = head.method == Method::Connect;
    let is_extended = pseudo.protocol.is_some();
    let has_all = pseudo.scheme.is_some() && pseudo.path.is_some();
    match (is_connect, is_extended) {
        (true, false) if pseudo.scheme.is_some() || pseudo.path.is_some() => {
            return Err(malformed("sent CONNECT with \":scheme\" or \":path\""));
        }
        (true, false) => {}
        (false, true) => return Err(malformed("sent \":protocol\" without CONNECT")),
        _ if !has_all || pseudo.scheme.is_some_and(|scheme| scheme.is_empty()) => {
            return Err(malformed("sent a request without \":scheme\" or \":path\""));
        }
        _ => {}
    }
    let path = pseudo.path.unwrap_or_default();
    if pseudo.path.is_some() && path.is_empty() {
        return Err(malformed("sent an empty \":path\""));
    }
    let start = bytes.len();
    let copied = |span: Span| span.start as usize..span.end as usize;
    bytes.extend_from_within(copied(method));
    bytes.push(b' ');
    let path_at = bytes.len();
    bytes.extend_from_within(copied(path));
    bytes.push(b' ');
    let protocol_at = bytes.len();
    bytes.extend_from_slice(b"HTTP/2.0");
    let end = bytes.len();
    head.method_span = Span::new(start, start + method.len());
    head.request_line = Span::new(start, end);
    head.protocol = Span::new(protocol_at, end);
    head.version = Version::HTTP_2;
    head.keep_alive = KeepAlive::On;
    let refused = if !is_method {
        Some(HeadError::InvalidMethod)
    } else if end - start > limits.line_bytes_max {
        Some(HeadError::UriTooLong)
    } else {
        take_target(head, bytes, Span::new(path_at, protocol_at - 1)).err()
    };
    let host = take_host(pseudo, head, bytes);
    let framed = frame(is_last, is_extended, head, bytes);
    Ok(refused.or(host.err()).or(framed.err()))
}

/// Makes it the request that would ask for this protocol in HTTP/1.
fn make_upgrade(protocol: Span, head: &mut Head, bytes: &mut Vec<u8>) {
    let mut append = |text: &[u8]| {
        let start = bytes.len();
        bytes.extend_from_slice(text);
        Span::new(start, bytes.len())
    };
    head.method = Method::Get;
    head.method_span = append(b"GET");
    let connection = (append(b"connection"), append(b"upgrade"));
    let lines = [
        (append(b"upgrade"), protocol, HeaderId::Upgrade),
        (connection.0, connection.1, HeaderId::Connection),
    ];
    for (name, value, id) in lines {
        head.headers.push(HeaderSpan { name, value, id });
        head.known.replace(id, value);
    }
}

fn frame(is_last: bool, is_extended: bool, head: &mut Head, bytes: &[u8]) -> Result<(), HeadError> {
    let method = match is_extended {
        // It stands for the GET that asks for another protocol.
        true => Method::Get,
        false => head.method,
    };
    head.framing = content_framing(&head.known, bytes, method, head.version)?;
    // What follows a CONNECT belongs to the tunnel.
    let is_tunnel = is_extended || head.method == Method::Connect;
    if head.framing == Framing::None && !is_last && !is_tunnel {
        head.framing = Framing::Chunked;
    }
    if let Some(expect) = head.known.get(HeaderId::Expect) {
        head.expect_continue = expect.of(bytes).eq_ignore_ascii_case(b"100-continue");
    }
    Ok(())
}

/// `:authority` is the `Host`; where both are there they are one (RFC 9113, section 8.3.1).
fn take_host(pseudo: &Pseudo, head: &mut Head, bytes: &mut Vec<u8>) -> Result<(), HeadError> {
    let line = head.known.get(HeaderId::Host);
    let authority = pseudo.authority.filter(|authority| !authority.is_empty());
    let value = match (authority, line) {
        (None, None) => return Ok(()),
        (None, Some(host)) => host,
        (Some(authority), Some(host)) => {
            if !authority.of(bytes).eq_ignore_ascii_case(host.of(bytes)) {
                return Err(HeadError::InvalidHost);
            }
            host
        }
        (Some(authority), None) => {
            let name_at = bytes.len();
            bytes.extend_from_slice(b"host");
            let line = HeaderSpan {
                name: Span::new(name_at, bytes.len()),
                value: authority,
                id: HeaderId::Host,
            };
            head.headers.insert(0, line);
            note_line(&mut head.known, bytes, line)?;
            authority
        }
    };
    let len = validate_host(value.of(bytes)).ok_or(HeadError::InvalidHost)?;
    let start = value.start as usize;
    head.host = Some(Span::new(start, start + len));
    Ok(())
}

/// Takes a path as an origin form's, or `*`.
fn take_target(head: &mut Head, bytes: &[u8], raw: Span) -> Result<(), HeadError> {
    let text = raw.of(bytes);
    if text == b"*" && head.method == Method::Options {
        head.target = Target {
            form: TargetForm::Asterisk,
            raw,
            path: raw,
            complex: true,
            ..Target::default()
        };
        return Ok(());
    }
    if text.is_empty() && head.method == Method::Connect {
        head.target.form = TargetForm::Authority;
        return Ok(());
    }
    head.target = Target::origin(text, raw.start as usize).ok_or(HeadError::InvalidRequest)?;
    Ok(())
}
