//! How nginx holds memory for connections and requests, and how little it sends at a time.
//!
//! ```nginx
//! connection_pool_size 512;
//! request_pool_size    4k;
//! postpone_output      1460;
//! ```
//!
//! Memory is taken from pools of the loop here and used again, and what a turn makes leaves at its end,
//! gathered: these directives are checked and have nothing to set.

use revolve_conf::directive::Args;
use revolve_conf::value::size;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, checked_once, checked_size, invalid_value};
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope, row};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const TOP: u32 = HTTP | SERVER;
const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(TOP, "connection_pool_size", Args::ONE, pool_size),
    row(TOP, "request_pool_size", Args::ONE, pool_size),
    row(ANY, "postpone_output", Args::ONE, checked_size),
    row(ANY, "send_lowat", Args::ONE, checked_size),
    row(ANY, "ssi_ignore_recycled_buffers", Args::FLAG, checked_once),
];

/// Source: nginx's `ngx_http_core_pool_size`.
fn pool_size(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let is_fit = size(&word.text).is_some_and(|size| size >= 64 && size.is_multiple_of(16));
    if !is_fit {
        return Err(invalid_value(
            word,
            directive,
            "64 bytes at least, a multiple of 16",
        ));
    }
    checked_once(scope, directive)
}
