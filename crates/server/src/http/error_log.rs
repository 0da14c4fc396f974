//! What a line of the error log says of the request that it is about.

use std::io::Write as _;

use revolve_http::HeaderId;

use crate::http::request::Request;
use crate::log::{Level, Shown};

/// Writes a line to the error log of the place where a request stands.
pub(crate) fn write(request: &Request, level: Level, message: std::fmt::Arguments<'_>) {
    let targets = &request.settings().error_log.targets;
    request.site.logs.write(targets, level, |out| {
        let _ = write!(out, "*{} {message}", request.connection.number);
        describe(request, out);
    });
}

/// `, client: …, server: …, request: "…", host: "…", referrer: "…"`
fn describe(request: &Request, out: &mut Vec<u8>) {
    out.extend_from_slice(b", client: ");
    request.append_client(out);
    out.extend_from_slice(b", server: ");
    out.extend_from_slice(request.server().primary_name.as_bytes());
    if !request.current.head_done && !request.parser.line_started() {
        return;
    }
    let quoted = |label: &[u8], value: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(label);
        let _ = write!(out, "{}\"", Shown(value));
    };
    // Of a head that is not complete, what has come of it.
    let line = request
        .parser
        .request_line_or_start(request.head(), request.head_bytes());
    quoted(b", request: \"", request.bytes(line), out);
    if request.current.is_subrequest {
        quoted(b", subrequest: \"", &request.path, out);
    }
    if let Some((named, address)) = &request.state.proxy.asked {
        let upstream = named.shown(request, address);
        quoted(b", upstream: \"", upstream.as_bytes(), out);
    }
    if let Some(host) = request.known(HeaderId::Host) {
        quoted(b", host: \"", host, out);
    }
    if let Some(referer) = request.known(HeaderId::Referer) {
        quoted(b", referrer: \"", referer, out);
    }
}
