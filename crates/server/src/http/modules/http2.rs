//! HTTP/2: where it is spoken, and what its clients may ask for at once.
//!
//! ```nginx
//! listen 443 ssl;
//! http2 on;
//! http2_max_concurrent_streams 128;
//! ```

use revolve_conf::directive::Args;
use revolve_conf::value::{number_of, size_of};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, checked_once, set_once};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::http::variables::{Builtin, text};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_v2_module",
    directives: DIRECTIVES,
    variables: &[Builtin {
        name: "http2",
        get: |r, out| match (r.head().version.major, r.connection.is_secure()) {
            (2, true) => text("h2", out),
            (2, false) => text("h2c", out),
            _ => text("", out),
        },
    }],
    ..Module::EMPTY
};

settings! {
    /// HTTP/2: where it is spoken, and what its clients may ask for at once.
    pub struct Http2Settings / RawHttp2 {
        inherit {
            /// `http2`, default off.
            enabled: bool = false,
            /// `http2_max_concurrent_streams`, default 128.
            streams_max: u32 = 128,
            /// `http2_body_preread_size`, bytes, default 64k: what of a body may come before somebody
            /// reads it.
            preread_bytes: u32 = 65536,
            /// `http2_chunk_size`, bytes, default 8k: what one frame carries at most.
            chunk_bytes: u64 = 8192,
        }
        own {}
    }
}

/// The largest window. Source: RFC 9113, 6.9.1.
const WINDOW_BYTES_MAX: u64 = 0x7fff_ffff;

/// The least pool of a request. Source: nginx's `NGX_MIN_POOL_SIZE`.
const POOL_BYTES_MIN: u64 = 112;

/// The least buffer to read into. Source: nginx's `NGX_HTTP_V2_STATE_BUFFER_SIZE`, twice.
const READ_BYTES_MIN: u64 = 32;

const TOP: u32 = HTTP | SERVER;
const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(TOP, "http2", Args::FLAG, slot!(flag http2.enabled)),
    row(TOP, "http2_max_concurrent_streams", Args::ONE, streams_max),
    row(TOP, "http2_body_preread_size", Args::ONE, preread),
    row(ANY, "http2_chunk_size", Args::ONE, chunk),
    row(HTTP, "http2_recv_buffer_size", Args::ONE, recv_buffer),
    row(TOP, "http2_pool_size", Args::ONE, pool),
    row(TOP, "http2_streams_index_size", Args::ONE, index),
    row(TOP, "http2_recv_timeout", Args::ONE, obsolete),
    row(TOP, "http2_idle_timeout", Args::ONE, obsolete),
    row(TOP, "http2_max_requests", Args::ONE, obsolete),
    row(TOP, "http2_max_field_size", Args::ONE, obsolete),
    row(TOP, "http2_max_header_size", Args::ONE, obsolete),
    row(TOP, "http2_max_concurrent_pushes", Args::ONE, obsolete),
    row(ANY, "http2_push", Args::ONE, obsolete),
    row(ANY, "http2_push_preload", Args::ONE, obsolete),
];

/// What stands in the place of each directive that nginx took away.
const SUCCESSORS: [(&str, &str); 5] = [
    ("http2_recv_timeout", "client_header_timeout"),
    ("http2_idle_timeout", "keepalive_timeout"),
    ("http2_max_requests", "keepalive_requests"),
    ("http2_max_field_size", "large_client_header_buffers"),
    ("http2_max_header_size", "large_client_header_buffers"),
];

/// Takes a directive that means nothing any more, with nginx's words.
fn obsolete(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = directive.name.text.as_str();
    let successor = SUCCESSORS.iter().find(|(old, _)| *old == name);
    let message = match successor {
        Some((_, new)) => {
            format!("the \"{name}\" directive is obsolete, use the \"{new}\" directive instead")
        }
        None => format!("the \"{name}\" directive is obsolete, ignored"),
    };
    let warning = Diagnostic::new(directive.name.span, message).label("it has no effect");
    scope.shared.diagnostics.push(warning.warn());
    Ok(())
}

fn streams_max(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let value = number_of(&directive.args[0], &directive.name.text)?;
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    set_once(
        &mut scope.level.settings.http2.streams_max,
        value,
        directive,
    )
}

fn preread(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let value = size_of(word, &directive.name.text)?;
    if value > WINDOW_BYTES_MAX {
        return Err(Diagnostic::new(
            word.span,
            "the maximum body preread buffer size is 2147483647",
        ));
    }
    let slot = &mut scope.level.settings.http2.preread_bytes;
    set_once(slot, value as u32, directive)
}

fn chunk(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let value = size_of(word, &directive.name.text)?;
    if value == 0 {
        return Err(Diagnostic::new(
            word.span,
            "the http2 chunk size cannot be zero",
        ));
    }
    set_once(
        &mut scope.level.settings.http2.chunk_bytes,
        value,
        directive,
    )
}

/// What tells nginx how large its memory is: ours is the loop's.
fn recv_buffer(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if size_of(word, &directive.name.text)? < READ_BYTES_MIN {
        let message = "\"http2_recv_buffer_size\" directive value is too small";
        return Err(Diagnostic::new(word.span, message));
    }
    checked_once(scope, directive)
}

fn pool(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if size_of(word, &directive.name.text)? < POOL_BYTES_MIN {
        let message = format!("the pool size must be no less than {POOL_BYTES_MIN}");
        return Err(Diagnostic::new(word.span, message));
    }
    checked_once(scope, directive)
}

fn index(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let value = number_of(word, &directive.name.text)?;
    if !value.is_power_of_two() {
        let message = "\"http2_streams_index_size\" directive must be a power of two";
        return Err(Diagnostic::new(word.span, message));
    }
    checked_once(scope, directive)
}
