//! What the error log says of a request whose head is refused, in nginx's words.

use revolve_http::h1::HeadError;
use revolve_http::{HeaderId, HeaderSpan, Span};

use super::head::HeadRead;
use crate::http::request::Request;
use crate::log::{Level, Shown};

/// Bytes of an offending line that are shown. Source: nginx's `NGX_MAX_ERROR_STR - 300`.
const SHOWN_BYTES_MAX: usize = 1748;

/// Logs why a head is refused.
pub(crate) fn log(request: &Request, error: HeadError) {
    let message = error.message();
    let place = place_of(error, request);
    match shown(request, error) {
        Some(shown) => request.log(Level::Info, format_args!("{message}: {shown}{place}")),
        None => request.log(Level::Info, format_args!("{message}{place}")),
    }
}

/// What was being read when a client went away, or when its head was refused.
pub(crate) fn while_reading(request: &Request) -> &'static str {
    if request.head().request_line_done() {
        " while reading client request headers"
    } else {
        while_reading_line(request)
    }
}

/// What was being read when the request line was found to be wrong.
pub(super) fn while_reading_line(request: &Request) -> &'static str {
    match request.connection.pipelined() {
        true => " while reading client pipelined request line",
        false => " while reading client request line",
    }
}

/// Refuses a request that came in the clear where TLS is spoken; 497 is nginx's own, and error pages may be
/// written for it.
pub(super) fn plain_to_tls(request: &Request) -> HeadRead {
    request.log(
        Level::Info,
        format_args!(
            "client sent plain HTTP request to HTTPS port while reading client request headers"
        ),
    );
    HeadRead::Refused(497)
}

fn place_of(error: HeadError, request: &Request) -> &'static str {
    match error {
        // Found when the line was complete already.
        HeadError::InvalidMethodHttp09 => while_reading_line(request),
        _ => while_reading(request),
    }
}

/// The words that nginx quotes. What it does not quote is in the request line, which every
/// message ends with.
fn shown(request: &Request, error: HeadError) -> Option<String> {
    let line = request.parser.error_line();
    match error {
        HeadError::InvalidHeaderLine => {
            let byte = request.head_bytes().get(line.end as usize);
            let byte = byte.map_or(String::new(), |byte| format!("\\x{byte:02x}"));
            Some(format!("\"{}{byte}...\"", escaped(request, line)))
        }
        HeadError::HeaderTooLarge => Some(format!("\"{}...\"", escaped(request, line))),
        HeadError::DuplicateHost | HeadError::DuplicateHeader => {
            let headers = &request.head().headers;
            let repeated = headers.last()?;
            let name = request.bytes(repeated.name);
            let first = headers
                .iter()
                .find(|header| request.bytes(header.name).eq_ignore_ascii_case(name))?;
            let line = |header: &HeaderSpan| {
                let (name, value) = (
                    escaped(request, header.name),
                    escaped(request, header.value),
                );
                format!("\"{name}: {value}\"")
            };
            Some(format!(
                "{}, previous value: {}",
                line(repeated),
                line(first)
            ))
        }
        HeadError::UnknownTransferEncoding | HeadError::InvalidTransferEncoding => {
            let coding = request.head().known.get(HeaderId::TransferEncoding)?;
            Some(format!("\"{}\"", escaped(request, coding)))
        }
        _ => None,
    }
}

fn escaped(request: &Request, span: Span) -> String {
    let bytes = request.bytes(span);
    Shown(&bytes[..bytes.len().min(SHOWN_BYTES_MAX)]).to_string()
}
