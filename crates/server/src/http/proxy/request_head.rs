//! The head of the request that is passed on.
//!
//! Source: nginx's `ngx_http_proxy_create_request`.

use std::borrow::Cow;

use revolve_http::h1::writer;
use revolve_http::{Framing, HeaderId, Method, Version};

use super::h2;
use super::target::Resolved;
use crate::http::modules::core_variables::method_name;
use crate::http::modules::passing::Protocol;
use crate::http::modules::proxy::HttpVersion;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::http::response::HeaderList;

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

/// The head as HTTP/1 has it, and how the body behind it is to be written.
pub(super) fn write(request: &Request, resolved: &Resolved) -> (Vec<u8>, BodyForm) {
    let settings = &request.settings().proxy;
    let mut out = Vec::with_capacity(512);
    let version = match settings.version {
        HttpVersion::Http10 => Version::HTTP_10,
        _ => Version::HTTP_11,
    };
    let method = method_text(request);
    writer::request_line(&mut out, &method, &resolved.named.uri, version);
    let own_body = own_body(request);
    let own = own_body.as_deref();
    let (_, form) = lines(request, resolved, own, &mut |name, value| {
        writer::header(&mut out, name, value);
    });
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(own.unwrap_or_default());
    (out, form)
}

/// A head as HTTP/2 has it.
pub(super) struct Fields {
    pub(super) method: Vec<u8>,
    pub(super) scheme: &'static str,
    pub(super) authority: Vec<u8>,
    pub(super) path: Vec<u8>,
    pub(super) lines: HeaderList,
}

/// The head as HTTP/2 has it, and the body that takes the place of the client's.
pub(super) fn fields(request: &Request, resolved: &Resolved) -> (Fields, Option<Vec<u8>>) {
    let own_body = own_body(request);
    let mut authority = Vec::new();
    let mut list = HeaderList::default();
    let web = h2::web(request);
    let is_text = web.as_ref().is_some_and(|web| web.is_text);
    let (is_set, _) = lines(
        request,
        resolved,
        own_body.as_deref(),
        &mut |name, value| {
            if let Some(web) = &web
                && name.eq_ignore_ascii_case(b"content-type")
            {
                return list.push(name, &web.own_type());
            }
            if is_text && name.eq_ignore_ascii_case(b"content-length") {
                return;
            }
            let is_te = name.eq_ignore_ascii_case(b"te");
            if name.eq_ignore_ascii_case(b"host") {
                authority = value.to_vec();
            } else if !is_of_connection_alone(name) || is_te && value == b"trailers" {
                list.push(name, value);
            }
        },
    );
    let accepts = request.known(HeaderId::Te).unwrap_or_default();
    let mut accepts = accepts.split(|byte| *byte == b',');
    let takes = accepts.any(|it| it.trim_ascii().eq_ignore_ascii_case(b"trailers"));
    if !is_set.has("te") && (takes || web.is_some()) {
        list.push(b"te", b"trailers");
    }
    if authority.is_empty() {
        authority = resolved.named.host_header().to_vec();
    }
    let fields = Fields {
        method: method_text(request).into_owned(),
        scheme: match resolved.named.is_secure {
            true => "https",
            false => "http",
        },
        authority,
        path: resolved.named.uri.clone(),
        lines: list,
    };
    (fields, own_body)
}

/// What no message over HTTP/2 may have (RFC 9113, section 8.2.2).
fn is_of_connection_alone(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 6] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    ];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The method's name.
fn method_text(request: &Request) -> Cow<'_, [u8]> {
    let is_http = request.state.proxy.protocol == Protocol::Http;
    match &request.settings().proxy.method {
        Some(value) if is_http => Cow::Owned(value.evaluate(request)),
        _ if request.state.proxy.cache.converts_head => Cow::Borrowed(b"GET"),
        _ => Cow::Borrowed(method_name(request)),
    }
}

/// `proxy_set_body`.
fn own_body(request: &Request) -> Option<Vec<u8>> {
    let own_body = request.settings().proxy.body.as_ref();
    let own_body = own_body.filter(|_| request.state.proxy.protocol == Protocol::Http);
    own_body.map(|value| value.evaluate(request))
}

/// Writes the header lines; the answer is which were set, and how the body is to be written.
fn lines(
    request: &Request,
    resolved: &Resolved,
    own_body: Option<&[u8]>,
    out: &mut dyn FnMut(&[u8], &[u8]),
) -> (Set, BodyForm) {
    let settings = request.settings();
    let mut is_set = Set::default();
    for (name, value) in request.state.proxy.protocol.set_headers(settings) {
        let value = value.evaluate(request);
        is_set.note(name);
        if !value.is_empty() {
            out(name.as_bytes(), &value);
        }
    }
    if !is_set.has("host") {
        out(b"Host", resolved.named.host_header());
    }
    if !is_set.has("connection") && settings.proxy.version == HttpVersion::Http10 {
        out(b"Connection", b"close");
    }
    for (name, value) in request.state.proxy.cache.conditions() {
        if !is_set.has_bytes(name) {
            out(name, value);
        }
    }
    let form = write_length(request, own_body, &is_set, out);
    if request.passing().pass_request_headers {
        write_passed(request, &is_set, out);
    }
    (is_set, form)
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
    out: &mut dyn FnMut(&[u8], &[u8]),
) -> BodyForm {
    let length = match (own_body, &request.body) {
        (Some(body), _) => Some(body.len() as u64),
        (None, _) if !request.passing().pass_request_body => None,
        (None, RequestBody::Kept(kept)) => Some(kept.whole().len),
        (None, RequestBody::H1(_) | RequestBody::Stream(_)) => match request.framing() {
            Framing::Length(length) => Some(length),
            Framing::Chunked => {
                out(b"Transfer-Encoding", b"chunked");
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
        let mut digits = itoa::Buffer::new();
        out(b"Content-Length", digits.format(length).as_bytes());
    }
    BodyForm::Length
}

/// The client's own header lines, but for those that are set, and those of its connection: the ones that
/// belong to it by their meaning, and the ones that `Connection` lists (RFC 9110, 7.6.1).
fn write_passed(request: &Request, is_set: &Set, out: &mut dyn FnMut(&[u8], &[u8])) {
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
        out(name, request.bytes(header.value));
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
