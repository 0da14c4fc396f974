//! Messages to the person who typed the command.

use std::io::IsTerminal;

use crate::source::Loaded;
use crate::version::PROGRAM;

/// Prints what is wrong with a configuration, with colours where a terminal is.
pub(crate) fn print(loaded: &Loaded) {
    let diagnostics = &loaded.diagnostics;
    eprint!(
        "{}",
        diagnostics.render(&loaded.sources, PROGRAM, has_color())
    );
}

/// Whether standard error is a terminal that shows colours.
pub(crate) fn has_color() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// Prints an error that no file is to blame for.
pub(crate) fn emerg(message: &str) {
    eprintln!("{PROGRAM}: [emerg] {message}");
}
