//! How nginx reads files from the disk.
//!
//! ```nginx
//! aio            threads;
//! directio       4m;
//! output_buffers 2 32k;
//! ```
//!
//! Here a file goes out by `sendfile` or from memory, and never through buffers of the process, so
//! these directives are checked and have nothing to set.

use revolve_conf::directive::Args;
use revolve_conf::value::{offset, offset_of, size_of};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, checked_once, invalid_value};
use crate::http::modules::Module;
use crate::http::modules::gzip::buffers;
use crate::http::scope::{DirectiveRow, row, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(ANY, "aio", Args::ONE, aio),
    row(ANY, "aio_write", Args::FLAG, checked_once),
    row(ANY, "directio", Args::ONE, directio),
    row(ANY, "directio_alignment", Args::ONE, |scope, d| {
        offset_of(&d.args[0], &d.name.text)?;
        checked_once(scope, d)
    }),
    row(ANY, "read_ahead", Args::ONE, |scope, d| {
        size_of(&d.args[0], &d.name.text)?;
        checked_once(scope, d)
    }),
    row(ANY, "output_buffers", Args::TWO, |scope, d| {
        buffers(d)?;
        checked_once(scope, d)
    }),
];

fn aio(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let is_known = matches!(&*word.text, "on" | "off" | "threads")
        || word.text.strip_prefix("threads=").is_some_and(|pool| !pool.is_empty());
    if !is_known {
        return Err(invalid_value(word, directive, "on, off, threads or threads=POOL"));
    }
    checked_once(scope, directive)
}

fn directio(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if word.text != "off" && offset(&word.text).is_none() {
        return Err(invalid_value(word, directive, "off, or a size like 512k or 4m"));
    }
    checked_once(scope, directive)
}
