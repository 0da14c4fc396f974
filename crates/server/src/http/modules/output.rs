//! How a response goes out.
//!
//! ```nginx
//! sendfile on;
//! sendfile_max_chunk 2m;
//! send_timeout 60s;
//! ```

use revolve_conf::directive::Args;

use crate::http::modules::{Module};
use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::scope::{DirectiveRow, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// How a response goes out.
    pub struct OutputSettings / RawOutput {
        inherit {
            /// `sendfile`, default off as in nginx. Large files go out by `sendfile(2)` whatever
            /// is said here: the other way would only copy more.
            sendfile: bool = false,
            /// `sendfile_max_chunk`, bytes a turn, default 2m.
            sendfile_chunk_bytes: u64 = 2 << 20,
            /// `tcp_nopush`, default off: head and file share packets (`MSG_MORE`).
            tcp_nopush: bool = false,
            /// `tcp_nodelay`, default on.
            tcp_nodelay: bool = true,
            /// `send_timeout`, milliseconds, default 60 s: between two successful writes.
            send_timeout_ms: u64 = 60_000,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "sendfile",
        contexts: ANY,
        args: Args::FLAG,
        set: slot!(flag output.sendfile),
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
        set: slot!(flag output.tcp_nodelay),
    },
    DirectiveRow {
        name: "send_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms output.send_timeout_ms),
    },
];
