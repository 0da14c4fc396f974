//! The variables of the request, the connection and the process.
//!
//! Source: nginx's "Embedded Variables" of `ngx_http_core_module` and `ngx_http_log_module`.

use std::io::Write as _;

use revolve_http::{Framing, HeaderId};
use revolve_reactor::{Address, TcpInfo};

use crate::http::modules::Module;
use crate::http::modules::auth_basic::Credentials;
use crate::http::modules::core::{append_root, is_alias_lost, map_path};
use crate::http::modules::keepalive::keeps;
use crate::http::modules::realip::append_port;
use crate::http::request::Request;
use crate::http::request_body::RequestBody;
pub(crate) use crate::http::variables::VariableState;
use crate::http::variables::{Builtin, number, seconds, some, text, three_digits};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    variables: VARIABLES,
    ..Module::EMPTY
};

/// The variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "args",
        get: args,
    },
    Builtin {
        name: "query_string",
        get: args,
    },
    Builtin {
        name: "is_args",
        get: |r, out| text(if r.args.is_empty() { "" } else { "?" }, out),
    },
    Builtin {
        name: "is_request_port",
        get: |r, out| text(if request_port(r).is_some() { ":" } else { "" }, out),
    },
    Builtin {
        name: "request_port",
        get: |r, out| request_port(r).is_some_and(|port| number(port.into(), out)),
    },
    Builtin {
        name: "binary_remote_addr",
        get: binary_remote_addr,
    },
    Builtin {
        name: "body_bytes_sent",
        get: |r, out| {
            number(
                r.response.sent_bytes.saturating_sub(r.response.head_bytes),
                out,
            )
        },
    },
    Builtin {
        name: "bytes_sent",
        get: |r, out| number(r.response.sent_bytes, out),
    },
    Builtin {
        name: "connection",
        get: |r, out| number(r.connection.number, out),
    },
    Builtin {
        name: "connection_requests",
        get: |r, out| number(r.current.sequence, out),
    },
    Builtin {
        name: "connection_time",
        get: |r, out| seconds(r.connection.age_ms(), out),
    },
    Builtin {
        name: "content_length",
        get: content_length,
    },
    Builtin {
        name: "content_type",
        get: |r, out| r.header_joined(b"content-type", out),
    },
    Builtin {
        name: "document_root",
        get: document_root,
    },
    Builtin {
        name: "document_uri",
        get: |r, out| !r.path.is_empty() && some(&r.path, out),
    },
    Builtin {
        name: "uri",
        get: |r, out| !r.path.is_empty() && some(&r.path, out),
    },
    Builtin {
        name: "host",
        get: host,
    },
    Builtin {
        name: "hostname",
        get: |r, out| some(r.site.logs.clock().host_name(), out),
    },
    Builtin {
        name: "http_cookie",
        get: |r, out| r.known_joined(HeaderId::Cookie, out),
    },
    Builtin {
        name: "http_host",
        get: |r, out| r.known_joined(HeaderId::Host, out),
    },
    Builtin {
        name: "http_referer",
        get: |r, out| r.known_joined(HeaderId::Referer, out),
    },
    Builtin {
        name: "http_user_agent",
        get: |r, out| r.known_joined(HeaderId::UserAgent, out),
    },
    Builtin {
        name: "http_via",
        get: |r, out| r.known_joined(HeaderId::Via, out),
    },
    Builtin {
        name: "http_x_forwarded_for",
        get: |r, out| r.known_joined(HeaderId::XForwardedFor, out),
    },
    Builtin {
        name: "http3",
        get: |_, _| false,
    },
    Builtin {
        name: "https",
        get: |r, out| text(if r.connection.is_secure() { "on" } else { "" }, out),
    },
    Builtin {
        name: "msec",
        get: |r, out| seconds(r.site.logs.clock().unix_ms(), out),
    },
    Builtin {
        name: "nginx_version",
        get: |_, out| text(env!("CARGO_PKG_VERSION"), out),
    },
    Builtin {
        name: "pid",
        get: |_, out| number(u64::from(std::process::id()), out),
    },
    Builtin {
        name: "pipe",
        get: |r, out| text(if r.connection.pipelined() { "p" } else { "." }, out),
    },
    Builtin {
        name: "realpath_root",
        get: realpath_root,
    },
    Builtin {
        name: "remote_addr",
        get: |r, out| {
            r.append_client(out);
            true
        },
    },
    Builtin {
        name: "remote_port",
        get: |r, out| {
            append_port(r.client(), out);
            true
        },
    },
    Builtin {
        name: "remote_user",
        get: remote_user,
    },
    Builtin {
        name: "request",
        get: |r, out| some(request_line(r), out),
    },
    Builtin {
        name: "request_body",
        get: |r, out| match &r.body {
            RequestBody::Kept(kept) if kept.whole().file.is_none() && kept.whole().len > 0 => {
                some(&kept.whole().memory, out)
            }
            _ => false,
        },
    },
    Builtin {
        name: "request_body_file",
        get: |r, out| match &r.body {
            RequestBody::Kept(kept) => match &kept.whole().file {
                Some(file) => some(file.path.as_os_str().as_encoded_bytes(), out),
                None => false,
            },
            _ => false,
        },
    },
    Builtin {
        name: "request_completion",
        get: |r, out| text(if r.current.completed { "OK" } else { "" }, out),
    },
    Builtin {
        name: "request_filename",
        get: |r, out| {
            let has_file = !is_alias_lost(r);
            if has_file {
                map_path(r, &r.path, out);
            }
            has_file
        },
    },
    Builtin {
        name: "request_id",
        get: request_id,
    },
    Builtin {
        name: "request_length",
        get: |r, out| number(r.current.length, out),
    },
    Builtin {
        name: "request_method",
        get: |r, out| r.current.head_done && some(main_method_name(r), out),
    },
    Builtin {
        name: "request_time",
        get: |r, out| {
            seconds(
                revolve_reactor::now()
                    .saturating_duration_since(r.started_at)
                    .as_millis() as u64,
                out,
            )
        },
    },
    Builtin {
        name: "request_uri",
        get: |r, out| r.head().request_line_done() && some(r.bytes(r.head().target.raw), out),
    },
    Builtin {
        name: "scheme",
        get: |r, out| {
            text(
                if r.connection.is_secure() {
                    "https"
                } else {
                    "http"
                },
                out,
            )
        },
    },
    Builtin {
        name: "sent_http_cache_control",
        get: |r, out| r.response.header_joined(b"cache-control", out),
    },
    Builtin {
        name: "sent_http_content_length",
        get: |r, out| r.response.header_joined(b"content-length", out),
    },
    Builtin {
        name: "sent_http_content_type",
        get: |r, out| r.response.header_joined(b"content-type", out),
    },
    Builtin {
        name: "sent_http_last_modified",
        get: |r, out| r.response.header_joined(b"last-modified", out),
    },
    Builtin {
        name: "sent_http_link",
        get: |r, out| r.response.header_joined(b"link", out),
    },
    Builtin {
        name: "sent_http_location",
        get: |r, out| r.response.header_joined(b"location", out),
    },
    Builtin {
        name: "sent_http_transfer_encoding",
        get: |r, out| r.response.header_joined(b"transfer-encoding", out),
    },
    Builtin {
        name: "sent_http_connection",
        get: |r, out| text(if keeps(r) { "keep-alive" } else { "close" }, out),
    },
    Builtin {
        name: "sent_http_keep_alive",
        get: |r, out| match r.settings().keepalive.header_s.filter(|_| keeps(r)) {
            Some(seconds) => write!(out, "timeout={seconds}").is_ok(),
            None => false,
        },
    },
    Builtin {
        name: "server_addr",
        get: |r, out| {
            local(r, out, |address| match address {
                Address::Inet(address) => address.ip().to_string(),
                unix => unix.to_string(),
            })
        },
    },
    Builtin {
        name: "server_name",
        get: |r, out| text(&r.server().primary_name, out),
    },
    Builtin {
        name: "server_port",
        get: |r, out| {
            local(r, out, |address| match address {
                Address::Inet(address) => address.port().to_string(),
                Address::Unix(_) => String::new(),
            })
        },
    },
    Builtin {
        name: "server_protocol",
        get: |r, out| {
            let protocol = r.head().protocol;
            r.current.head_done && !protocol.is_empty() && some(r.bytes(protocol), out)
        },
    },
    Builtin {
        name: "status",
        get: status,
    },
    Builtin {
        name: "tcpinfo_rtt",
        get: |r, out| tcp_info(r, out, |info| info.rtt_us),
    },
    Builtin {
        name: "tcpinfo_rttvar",
        get: |r, out| tcp_info(r, out, |info| info.rttvar_us),
    },
    Builtin {
        name: "tcpinfo_snd_cwnd",
        get: |r, out| tcp_info(r, out, |info| info.snd_cwnd),
    },
    Builtin {
        name: "tcpinfo_rcv_space",
        get: |r, out| tcp_info(r, out, |info| info.rcv_space),
    },
    Builtin {
        name: "time_iso8601",
        get: |r, out| {
            r.site.logs.clock().iso8601_time(out);
            true
        },
    },
    Builtin {
        name: "time_local",
        get: |r, out| {
            r.site.logs.clock().access_time(out);
            true
        },
    },
];

/// Nothing where there are none, which logs show as `-`.
fn args(request: &Request, out: &mut Vec<u8>) -> bool {
    (request.current.args_given || !request.args.is_empty()) && some(&request.args, out)
}

fn local(request: &Request, out: &mut Vec<u8>, form: impl Fn(&Address) -> String) -> bool {
    match request.connection.local() {
        Some(address) => text(&form(address), out),
        None => false,
    }
}

fn binary_remote_addr(request: &Request, out: &mut Vec<u8>) -> bool {
    match request.client() {
        Address::Inet(address) => match address.ip() {
            std::net::IpAddr::V4(ip) => some(&ip.octets(), out),
            std::net::IpAddr::V6(ip) => some(&ip.octets(), out),
        },
        Address::Unix(_) => text("unix:", out),
    }
}

fn content_length(request: &Request, out: &mut Vec<u8>) -> bool {
    match request.framing() {
        Framing::Length(length) => number(length, out),
        // What has come in chunks is counted once it is all there.
        _ => match &request.body {
            RequestBody::Kept(kept) => number(kept.whole().len, out),
            _ => false,
        },
    }
}

fn document_root(request: &Request, out: &mut Vec<u8>) -> bool {
    append_root(request, out);
    true
}

fn realpath_root(request: &Request, out: &mut Vec<u8>) -> bool {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut root = Vec::new();
    append_root(request, &mut root);
    match std::fs::canonicalize(std::ffi::OsStr::from_bytes(&root)) {
        Ok(path) => some(&path.into_os_string().into_vec(), out),
        Err(_) => false,
    }
}

/// The host of the request line or the `Host` header, else the server's name.
fn host(request: &Request, out: &mut Vec<u8>) -> bool {
    request.append_host(out) || text(&request.server().primary_name, out)
}

/// The name of the `Authorization: Basic` line.
fn remote_user(request: &Request, out: &mut Vec<u8>) -> bool {
    let credentials = Credentials::of(request);
    credentials.is_some_and(|credentials| some(credentials.user(), out))
}

/// The method that the request has by now.
pub(crate) fn method_name(request: &Request) -> &[u8] {
    use revolve_http::Method;
    // An internal redirect to an error page makes any method GET.
    if request.current.method == Method::Get && request.head().method != Method::Get {
        return b"GET";
    }
    request.bytes(request.head().method_span)
}

/// The name of the method that the client has asked with, also in what is asked for on its behalf.
fn main_method_name(request: &Request) -> &[u8] {
    use revolve_http::Method;
    if !request.current.is_subrequest {
        return method_name(request);
    }
    match request.current.main_method {
        Method::Get => b"GET",
        _ => request.bytes(request.head().method_span),
    }
}

/// 32 hexadecimal digits, the same for one request however often it is asked.
fn request_id(request: &Request, out: &mut Vec<u8>) -> bool {
    let state = &request.state.core_variables;
    let id = state.request_id(|| request.http_loop.next_request_id());
    write!(out, "{:032x}", u128::from_be_bytes(id)).is_ok()
}

/// The port that the client asked for: of the request line where that names a host, else of `Host`.
fn request_port(request: &Request) -> Option<u16> {
    if !request.current.head_done {
        return None;
    }
    let head = request.head();
    let port = match head.target.host {
        Some(_) => request.bytes(head.target.port?),
        None => {
            let host = request.known(HeaderId::Host)?;
            &host[memchr::memrchr(b':', host)? + 1..]
        }
    };
    // What follows the last colon of an IPv6 address without a port is no number.
    std::str::from_utf8(port).ok()?.parse().ok()
}

/// The request line; of a request whose head was not sound, what came of it.
fn request_line(request: &Request) -> &[u8] {
    if request.current.head_done {
        return request.bytes(request.head().request_line);
    }
    let bytes = request.head_bytes();
    let start = bytes
        .iter()
        .position(|byte| !matches!(byte, b'\r' | b'\n'))
        .unwrap_or(bytes.len());
    let line = &bytes[start..];
    let end = line
        .iter()
        .position(|byte| matches!(byte, b'\r' | b'\n'))
        .unwrap_or(line.len());
    &line[..end]
}

fn status(request: &Request, out: &mut Vec<u8>) -> bool {
    // What answers in an error's place has the error's status from the beginning.
    let status = match request.response.error_status {
        0 => request.response.status,
        error_status => error_status,
    };
    three_digits(status, out)
}

fn tcp_info(request: &Request, out: &mut Vec<u8>, field: fn(&TcpInfo) -> u32) -> bool {
    match request.connection.stream.tcp_info() {
        Some(info) => number(u64::from(field(&info)), out),
        None => false,
    }
}
