//! What a client may send, and how long it may take.
//!
//! ```nginx
//! client_header_timeout 60s;
//! large_client_header_buffers 4 8k;
//! client_max_body_size 1m;
//! ```

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, value};
use revolve_http::Framing;
use revolve_http::h1::HeadLimits;

use crate::http::modules::{Module};
use crate::config::scope::{HTTP, LOCATION, SERVER, invalid_value, set_once};
use crate::config::setting::settings;
use crate::http::modules::Settings;
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::FindLocation, limits_body, body_size)],
    ..Module::EMPTY
};

settings! {
    /// What a client may send, and how long it may take.
    pub struct ClientSettings / RawClient {
        inherit {
            /// `client_header_timeout`, milliseconds, default 60 s: for the whole head.
            header_timeout_ms: u64 = 60_000,
            /// `client_body_timeout`, milliseconds, default 60 s: between two reads of a body that
            /// somebody wants, which nobody does yet.
            body_timeout_ms: u64 = 60_000,
            /// `client_header_buffer_size`, bytes, default 1k; the loop's pooled buffers serve.
            header_buffer_bytes: u64 = 1024,
            /// `large_client_header_buffers`, number and bytes, default 4 of 8k. A line fits in
            /// one buffer, a head in all: at most `number * size` bytes a connection.
            large_header_buffers: (usize, usize) = (4, 8192),
            /// `client_body_buffer_size`, bytes, default 16k.
            body_buffer_bytes: u64 = 16384,
            /// `client_max_body_size`, bytes, default 1m; 0 means no limit.
            body_bytes_max: u64 = 1 << 20,
            /// `ignore_invalid_headers`, default on.
            ignore_invalid_headers: bool = true,
            /// `underscores_in_headers`, default off.
            underscores_in_headers: bool = false,
            /// `merge_slashes`, default on.
            merge_slashes: bool = true,
        }
        own {}
    }
}

impl ClientSettings {
    /// The limits as the parser takes them.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        let (buffers, buffer_bytes) = self.large_header_buffers;
        HeadLimits {
            line_bytes_max: buffer_bytes,
            head_bytes_max: buffers * buffer_bytes,
            headers_max: 1000,
            underscores: self.underscores_in_headers,
            ignore_invalid: self.ignore_invalid_headers,
        }
    }
}

const TOP: u32 = HTTP | SERVER;
const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "client_header_timeout",
        contexts: TOP,
        args: Args::ONE,
        set: slot!(time_ms client.header_timeout_ms),
    },
    DirectiveRow {
        name: "client_body_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms client.body_timeout_ms),
    },
    DirectiveRow {
        name: "client_header_buffer_size",
        contexts: TOP,
        args: Args::ONE,
        set: slot!(size client.header_buffer_bytes),
    },
    DirectiveRow {
        name: "large_client_header_buffers",
        contexts: TOP,
        args: Args::TWO,
        set: large_header_buffers,
    },
    DirectiveRow {
        name: "client_body_buffer_size",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(size client.body_buffer_bytes),
    },
    DirectiveRow {
        name: "client_max_body_size",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(offset client.body_bytes_max),
    },
    DirectiveRow {
        name: "ignore_invalid_headers",
        contexts: TOP,
        args: Args::FLAG,
        set: slot!(flag client.ignore_invalid_headers),
    },
    DirectiveRow {
        name: "underscores_in_headers",
        contexts: TOP,
        args: Args::FLAG,
        set: slot!(flag client.underscores_in_headers),
    },
    DirectiveRow {
        name: "merge_slashes",
        contexts: TOP,
        args: Args::FLAG,
        set: slot!(flag client.merge_slashes),
    },
];

fn large_header_buffers(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let [number, bytes] = [&directive.args[0], &directive.args[1]];
    let wrong = |word, expected| invalid_value(word, directive, expected);
    let above_0 = |value: Option<u64>| value.filter(|value| *value > 0).map(|value| value as usize);
    let value = (
        above_0(value::number(&number.text)).ok_or_else(|| wrong(number, "at least one buffer"))?,
        above_0(value::size(&bytes.text)).ok_or_else(|| wrong(bytes, "a size like 8k"))?,
    );
    set_once(
        &mut scope.level.settings.client.large_header_buffers,
        value,
        directive,
    )
}

/// Whether the level has a `client_max_body_size`.
pub(crate) fn limits_body(settings: &Settings) -> bool {
    settings.client.body_bytes_max != 0
}

/// Once the location is known: a body that says it is too large is refused before it is read.
pub(crate) fn body_size(request: &mut Request) -> Outcome {
    if let Framing::Length(length) = request.framing()
        && !request.current.body_refused
        && length > request.settings().client.body_bytes_max
    {
        request.log(
            Level::Error,
            format_args!("client intended to send too large body: {length} bytes"),
        );
        request.refuse_continue();
        request.current.body_refused = true;
        return Outcome::Finish(413);
    }
    Outcome::Next
}
