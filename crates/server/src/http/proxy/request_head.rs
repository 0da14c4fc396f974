//! The head of the request that is passed on.
//!
//! Source: nginx's `ngx_http_proxy_create_request`.

use revolve_http::h1::writer;
use revolve_http::{Framing, HeaderId, Method, Version};

use super::target::Resolved;
use crate::http::modules::core_variables::method_name;
use crate::http::modules::passing::Protocol;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;

/// How the body of the request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyForm {
    /// By its length, or there is none.
    Length,
    Chunked,
    /// In records of FastCGI.
    Records,
}

/// The method that the upstream is asked with.
pub(super) fn method(request: &Request) -> Method {
    if request.state.proxy.protocol != Protocol::Http {
        return request.head().method;
    }
    match &request.settings().proxy.method {
        Some(value) => match value.evaluate(request).as_slice() {
            b"HEAD" => Method::Head,
            _ => Method::Other,
        },
        None if request.state.proxy.cache.converts_head => Method::Get,
        None => request.current.method,
    }
}

/// The head, and how the body behind it is to be written.
pub(super) fn write(request: &Request, resolved: &Resolved) -> (Vec<u8>, BodyForm) {
    let settings = &request.settings().proxy;
    let mut out = Vec::with_capacity(512);
    let version = match settings.is_http_11 {
        true => Version::HTTP_11,
        false => Version::HTTP_10,
    };
    let own_method = settings
        .method
        .as_ref()
        .map(|value| value.evaluate(request));
    let method = match &own_method {
        Some(method) => method.as_slice(),
        None if request.state.proxy.cache.converts_head => b"GET",
        None => method_name(request),
    };
    writer::request_line(&mut out, method, &resolved.named.uri, version);
    let own_body = settings.body.as_ref().map(|value| value.evaluate(request));
    let mut is_set = Set::default();
    for (name, value) in settings.set_headers.iter() {
        let value = value.evaluate(request);
        is_set.note(name);
        if !value.is_empty() {
            writer::header(&mut out, name.as_bytes(), &value);
        }
    }
    if !is_set.has("host") {
        writer::header(&mut out, b"Host", resolved.named.host_header());
    }
    if !is_set.has("connection") && !settings.is_http_11 {
        writer::header(&mut out, b"Connection", b"close");
    }
    for (name, value) in request.state.proxy.cache.conditions() {
        if !is_set.has_bytes(name) {
            writer::header(&mut out, name, value);
        }
    }
    let form = write_length(request, own_body.as_deref(), &is_set, &mut out);
    if request.passing().pass_request_headers {
        write_passed(request, &is_set, &mut out);
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(own_body.as_deref().unwrap_or_default());
    (out, form)
}

/// The names that `proxy_set_header` sets, in lower case.
#[derive(Default)]
struct Set(Vec<String>);

impl Set {
    fn note(&mut self, name: &str) {
        self.0.push(name.to_ascii_lowercase());
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|known| known == name)
    }

    fn has_bytes(&self, name: &[u8]) -> bool {
        self.0
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    }
}

fn write_length(
    request: &Request,
    own_body: Option<&[u8]>,
    is_set: &Set,
    out: &mut Vec<u8>,
) -> BodyForm {
    let length = match (own_body, &request.body) {
        (Some(body), _) => Some(body.len() as u64),
        (None, _) if !request.passing().pass_request_body => None,
        (None, RequestBody::Kept(kept)) => Some(kept.whole().len),
        (None, RequestBody::H1(_) | RequestBody::Stream(_)) => match request.framing() {
            Framing::Length(length) => Some(length),
            Framing::Chunked => {
                writer::header(out, b"Transfer-Encoding", b"chunked");
                return BodyForm::Chunked;
            }
            Framing::None => None,
        },
        #[cfg(test)]
        (None, RequestBody::Toy(_)) => None,
        (None, RequestBody::None) => match request.framing() {
            Framing::Length(0) => Some(0),
            _ => None,
        },
    };
    if let Some(length) = length
        && !is_set.has("content-length")
    {
        writer::header(
            out,
            b"Content-Length",
            itoa::Buffer::new().format(length).as_bytes(),
        );
    }
    BodyForm::Length
}

/// The client's own header lines, but for those that are set, and those of its connection: the ones that
/// belong to it by their meaning, and the ones that `Connection` lists (RFC 9110, 7.6.1).
fn write_passed(request: &Request, is_set: &Set, out: &mut Vec<u8>) {
    let listed = request.known(HeaderId::Connection).unwrap_or_default();
    for header in &request.head().headers {
        let name = request.bytes(header.name);
        let is_left_out = request.state.proxy.cache.leaves_out(header.id);
        if is_left_out
            || is_of_connection(name)
            || is_set.has_bytes(name)
            || is_listed(listed, name)
        {
            continue;
        }
        writer::header(out, name, request.bytes(header.value));
    }
}

/// Names that are never passed as they came: those of the connection, and those that are written anew.
fn is_of_connection(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 9] = [
        b"host",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"te",
        b"upgrade",
        b"expect",
        b"content-length",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether `Connection` lists a header. Those that say what a message is are never taken away by it.
pub(super) fn is_listed(connection: &[u8], name: &[u8]) -> bool {
    const KEPT: [&[u8]; 6] = [
        b"host",
        b"content-length",
        b"content-type",
        b"content-encoding",
        b"authorization",
        b"cookie",
    ];
    let mut options = connection.split(|byte| *byte == b',');
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(name))
        && !KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}
