//! How a response goes out.
//!
//! ```nginx
//! sendfile on;
//! sendfile_max_chunk 2m;
//! send_timeout 60s;
//! ```

use std::io::Write as _;
use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, value};

use crate::config::scope::{HTTP, IF_LOCATION, LOCATION, SERVER};
use crate::config::scope::{checked_once, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::{Module, RequestState};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::http::variables::Builtin;
use crate::log::{Level, Shown};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    ..Module::EMPTY
};

settings! {
    /// How a response goes out.
    pub struct OutputSettings / RawOutput {
        inherit {
            /// `sendfile_max_chunk`, bytes a turn, default 2m.
            sendfile_chunk_bytes: u64 = 2 << 20,
            /// `tcp_nopush`, default off: head and file share packets (`MSG_MORE`).
            tcp_nopush: bool = false,
            /// `chunked_transfer_encoding`, default on.
            chunked_transfer_encoding: bool = true,
            /// `limit_rate`, bytes a second; a variable may say it. Default 0: no limit.
            limit_rate: Option<Arc<Value>> = None,
            /// `limit_rate_after`, bytes that leave before the limit holds. Default 0.
            limit_rate_after: Option<Arc<Value>> = None,
            /// `send_timeout`, milliseconds, default 60 s: between two successful writes.
            send_timeout_ms: u64 = 60_000,
        }
        own {}
    }
}

/// What is kept of a request.
#[derive(Default)]
pub(crate) struct OutputState {
    /// What `set $limit_rate` has said, bytes a second.
    rate: Option<u64>,
}

impl RequestState for OutputState {}

const VARIABLES: &[Builtin] = &[Builtin {
    name: "limit_rate",
    get: |request, out| write!(out, "{}", rate(request).0).is_ok(),
}];

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "sendfile",
        contexts: ANY | IF_LOCATION,
        args: Args::FLAG,
        // Large files go out by `sendfile(2)` whatever is said: the other way would only copy more.
        set: checked_once,
    },
    DirectiveRow {
        name: "sendfile_max_chunk",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(size output.sendfile_chunk_bytes),
    },
    DirectiveRow {
        name: "tcp_nopush",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag output.tcp_nopush),
    },
    DirectiveRow {
        name: "tcp_nodelay",
        contexts: ANY,
        args: Args::FLAG,
        // What a turn makes leaves in one write: there is nothing that Nagle's algorithm could gather.
        set: checked_once,
    },
    DirectiveRow {
        name: "chunked_transfer_encoding",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag output.chunked_transfer_encoding),
    },
    DirectiveRow {
        name: "limit_rate",
        contexts: ANY | IF_LOCATION,
        args: Args::ONE,
        set: |scope, d| {
            let value = size_value(scope, d)?;
            set_once(&mut scope.level.settings.output.limit_rate, Some(value), d)
        },
    },
    DirectiveRow {
        name: "limit_rate_after",
        contexts: ANY | IF_LOCATION,
        args: Args::ONE,
        set: |scope, d| {
            let value = size_value(scope, d)?;
            set_once(
                &mut scope.level.settings.output.limit_rate_after,
                Some(value),
                d,
            )
        },
    },
    DirectiveRow {
        name: "send_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms output.send_timeout_ms),
    },
];

/// A size, or text with variables that will be one.
fn size_value(scope: &mut Scope, directive: &Directive) -> Result<Arc<Value>, Diagnostic> {
    let word = &directive.args[0];
    let compiled = Value::of(word, &mut scope.shared.registry)?;
    if compiled.as_literal().is_some() {
        value::size_of(word, &directive.name.text)?;
    }
    Ok(Arc::new(compiled))
}

/// Whether the body may leave only so fast.
pub(crate) fn is_paced(request: &Request) -> bool {
    let is_set = request.settings().output.limit_rate.is_some();
    (is_set || request.state.output.rate.is_some()) && rate(request).0 != 0
}

/// How fast the body may leave, in bytes a second, 0 for as fast as it can; and how many bytes leave
/// before that holds.
pub(crate) fn rate(request: &Request) -> (u64, u64) {
    let settings = &request.settings().output;
    let bytes = |setting: &Option<Arc<Value>>| {
        let text = setting.as_ref()?.evaluate(request);
        value::size(std::str::from_utf8(&text).ok()?)
    };
    let rate = request
        .state
        .output
        .rate
        .or_else(|| bytes(&settings.limit_rate));
    (
        rate.unwrap_or(0),
        bytes(&settings.limit_rate_after).unwrap_or(0),
    )
}

/// `set $limit_rate`: how fast the body of this request may leave.
pub(crate) fn set_rate(request: &mut Request, text: &[u8]) {
    match std::str::from_utf8(text).ok().and_then(value::size) {
        Some(rate) => request.state.output.rate = Some(rate),
        None => {
            let shown = Shown(text);
            request.log(
                Level::Error,
                format_args!("invalid $limit_rate \"{shown}\""),
            );
        }
    }
}

/// The largest piece of a body that leaves at once.
pub(crate) fn piece_bytes_max(request: &Request) -> u64 {
    match is_paced(request) {
        // Eight a second, so that it flows.
        true => (rate(request).0 / 8).clamp(512, 64 * 1024),
        false => u64::MAX,
    }
}
