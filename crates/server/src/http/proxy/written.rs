//! A request as it is sent to a peer, whatever is spoken: made once for all tries.

use std::borrow::Cow;
use std::rc::Rc;

use bytes::Bytes;
use revolve_http::fastcgi::Params;
use revolve_http::{Framing, fastcgi, memcached, scgi, uwsgi};

use super::h2::{self, Replay};
use super::request_head::{self, BodyForm, Fields};
use super::target::Resolved;
use crate::http::modules::passing::Protocol;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
use crate::log::{Level, Shown};

/// What goes out before the body, and how the body is to be written.
pub(super) struct Written {
    pub(super) head: Bytes,
    pub(super) form: BodyForm,
    /// Whether the request's own body follows.
    pub(super) has_body: bool,
    /// What memcached is asked for; empty for all others.
    pub(super) key: Bytes,
    /// The head, where HTTP/2 is spoken.
    pub(super) fields: Option<Fields>,
    /// What goes out over HTTP/2 in the place of the request's own body.
    pub(super) own_body: Option<Bytes>,
    /// What has been sent of a body that comes while it is sent.
    pub(super) replay: Rc<Replay>,
}

impl Written {
    /// Errors: the status to answer with; why is in the log.
    pub(super) fn of(request: &Request, resolved: &Resolved) -> Result<Self, u16> {
        let mut key = Bytes::new();
        let mut has_body = request.passing().pass_request_body;
        let (mut fields, mut own_body) = (None, None);
        let (head, form) = match request.state.proxy.protocol {
            _ if h2::is_spoken(request) => {
                let (all, own) = request_head::fields(request, resolved);
                has_body &= own.is_none();
                (fields, own_body) = (Some(all), own.map(Bytes::from));
                (Vec::new(), BodyForm::Length)
            }
            Protocol::Http | Protocol::Grpc => {
                has_body &= request.settings().proxy.body.is_none();
                request_head::write(request, resolved)
            }
            Protocol::FastCgi => (write_fastcgi(request), BodyForm::Records),
            Protocol::Scgi => (write_scgi(request), BodyForm::Length),
            Protocol::Uwsgi => (write_uwsgi(request)?, BodyForm::Length),
            Protocol::Tunnel => {
                has_body = false;
                (Vec::new(), BodyForm::Length)
            }
            Protocol::Memcached => {
                has_body = false;
                key = memcached_key(request)?;
                (write_memcached(&key), BodyForm::Length)
            }
        };
        Ok(Self {
            head: Bytes::from(head),
            form,
            has_body,
            key,
            fields,
            own_body,
            replay: Rc::default(),
        })
    }
}

/// Source: nginx's `ngx_http_fastcgi_create_request`.
fn write_fastcgi(request: &Request) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    fastcgi::begin(&mut out, request.settings().fastcgi.keep_conn);
    let mut written = Params::new(&mut out);
    for (name, value) in params(request) {
        written.push(&name, &value);
    }
    written.finish();
    out
}

/// Source: nginx's `ngx_http_scgi_create_request`.
fn write_scgi(request: &Request) -> Vec<u8> {
    let length = match (&request.body, request.framing()) {
        _ if !request.passing().pass_request_body => 0,
        (RequestBody::Kept(kept), _) => kept.whole().len,
        (_, Framing::Length(length)) => length,
        _ => 0,
    };
    let params = params(request);
    let mut out = Vec::with_capacity(1024);
    let pairs = params
        .iter()
        .map(|(name, value)| (&**name, value.as_slice()));
    scgi::request_head(&mut out, length, pairs);
    out
}

/// Source: nginx's `ngx_http_uwsgi_create_request`.
fn write_uwsgi(request: &Request) -> Result<Vec<u8>, u16> {
    let settings = &request.settings().uwsgi;
    let params = params(request);
    let mut out = Vec::with_capacity(1024);
    let pairs = params
        .iter()
        .map(|(name, value)| (&**name, value.as_slice()));
    let written = uwsgi::request_head(&mut out, settings.modifier1, settings.modifier2, pairs);
    if let Err(error) = written {
        request.log(Level::Alert, format_args!("{error}"));
        return Err(500);
    }
    out.extend_from_slice(settings.string.as_bytes());
    Ok(out)
}

/// The key of a request, as it is sent. Errors: the status to answer with; why is in the log.
fn memcached_key(request: &Request) -> Result<Bytes, u16> {
    let key = request.settings().memcached.key.as_ref();
    let key = key.map(|key| key.evaluate(request)).unwrap_or_default();
    if key.is_empty() {
        let message = format_args!("the \"$memcached_key\" variable is not set");
        request.log(Level::Error, message);
        return Err(500);
    }
    let mut escaped = Vec::with_capacity(key.len());
    match memcached::escaped_key(&mut escaped, &key) {
        Ok(()) => Ok(Bytes::from(escaped)),
        Err(error) => {
            let shown = Shown(&key);
            request.log(
                Level::Error,
                format_args!("{error} \"{shown}\": expected 1 to 250 bytes"),
            );
            Err(500)
        }
    }
}

/// All of a request.
fn write_memcached(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 8);
    memcached::get(&mut out, key);
    out
}

/// A name and its value.
type Param<'a> = (Cow<'a, [u8]>, Vec<u8>);

/// The parameters of the configuration, then the client's headers that it does not set.
fn params(request: &Request) -> Vec<Param<'_>> {
    let settings = request.state.proxy.protocol.params(request.settings());
    let mut all = Vec::with_capacity(settings.len() + request.head().headers.len());
    for param in settings {
        let value = param.value.evaluate(request);
        if !(value.is_empty() && param.if_not_empty) {
            all.push((Cow::Borrowed(param.name.as_bytes()), value));
        }
    }
    if request.passing().pass_request_headers {
        let is_set = |name: &[u8]| settings.iter().any(|it| it.name.as_bytes() == name);
        let conditions = request.state.proxy.cache.conditions();
        let conditions = conditions.map(|(name, value)| (cgi_name(name), value.to_vec()));
        let headers = headers(request).into_iter().chain(conditions);
        let headers = headers.filter(|(name, _)| !is_set(name));
        all.extend(headers.map(|(name, value)| (Cow::Owned(name), value)));
    }
    all
}

/// The client's headers as CGI names them (RFC 3875, 4.1.18), those of one name joined.
///
/// `Proxy` is none of them: programs take `HTTP_PROXY` for a setting of theirs. Nor are names with anything
/// but letters, digits and dashes in them, which could be taken for others.
fn headers(request: &Request) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for header in &request.head().headers {
        let (name, value) = (request.bytes(header.name), request.bytes(header.value));
        let is_plain = name
            .iter()
            .all(|it| it.is_ascii_alphanumeric() || *it == b'-');
        let is_left_out = request.state.proxy.cache.leaves_out(header.id);
        if !is_plain || is_left_out || name.eq_ignore_ascii_case(b"proxy") {
            continue;
        }
        let cgi = cgi_name(name);
        match all.iter_mut().find(|(known, _)| *known == cgi) {
            Some((_, joined)) => {
                let joiner: &[u8] = if cgi == b"HTTP_COOKIE" { b"; " } else { b", " };
                joined.extend_from_slice(joiner);
                joined.extend_from_slice(value);
            }
            None => all.push((cgi, value.to_vec())),
        }
    }
    all
}

fn cgi_name(name: &[u8]) -> Vec<u8> {
    let mut cgi = b"HTTP_".to_vec();
    cgi.extend(name.iter().map(|byte| match byte {
        b'-' => b'_',
        other => other.to_ascii_uppercase(),
    }));
    cgi
}
