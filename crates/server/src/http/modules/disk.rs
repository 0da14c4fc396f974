//! How nginx reads files from the disk, and where it would keep what it passes on.
//!
//! ```nginx
//! aio            threads;
//! directio       4m;
//! output_buffers 2 32k;
//! ```
//!
//! Here a file goes out by `sendfile` or from memory, and never through buffers of the process, so
//! these directives are checked and have nothing to set. `scgi_temp_path` and `uwsgi_temp_path` stand
//! in many files that pass nothing on by these protocols, because packages write them.

use revolve_conf::directive::Args;
use revolve_conf::value::{number_of, offset, offset_of, size_of};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, checked_once};
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const DIRECTIVES: &[DirectiveRow] = &[
    row("aio", Args::ONE, aio),
    row("aio_write", Args::FLAG, checked_once),
    row("directio", Args::ONE, directio),
    row("directio_alignment", Args::ONE, |scope, d| {
        offset_of(&d.args[0], &d.name.text)?;
        checked_once(scope, d)
    }),
    row("read_ahead", Args::ONE, |scope, d| {
        size_of(&d.args[0], &d.name.text)?;
        checked_once(scope, d)
    }),
    row("output_buffers", Args::TWO, output_buffers),
    row("scgi_temp_path", Args::range(1, 4), checked_once),
    row("uwsgi_temp_path", Args::range(1, 4), checked_once),
];

const fn row(
    name: &'static str,
    args: Args,
    set: fn(&mut Scope, &Directive) -> Result<(), Diagnostic>,
) -> DirectiveRow {
    DirectiveRow {
        name,
        contexts: HTTP | SERVER | LOCATION,
        args,
        set,
    }
}

fn aio(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let is_known = matches!(&*word.text, "on" | "off" | "threads")
        || word.text.strip_prefix("threads=").is_some_and(|pool| !pool.is_empty());
    if !is_known {
        return Err(invalid(directive, "on, off, threads or threads=POOL"));
    }
    checked_once(scope, directive)
}

fn directio(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let text = &directive.args[0].text;
    if text != "off" && offset(text).is_none() {
        return Err(invalid(directive, "off, or a size like 512k or 4m"));
    }
    checked_once(scope, directive)
}

fn output_buffers(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    number_of(&directive.args[0], &directive.name.text)?;
    size_of(&directive.args[1], &directive.name.text)?;
    checked_once(scope, directive)
}

fn invalid(directive: &Directive, expected: &str) -> Diagnostic {
    let message = format!("\"{}\" directive invalid value", directive.name.text);
    Diagnostic::new(directive.args[0].span, message).label(format!("expected {expected}"))
}
