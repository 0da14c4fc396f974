//! Messages to the person who typed the command.

use std::io::IsTerminal;

use crate::source::Loaded;
use crate::version::PROGRAM;

/// Prints what is wrong with a configuration, with colours where a terminal is.
pub(crate) fn print(loaded: &Loaded) {
    let color = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    eprint!(
        "{}",
        loaded.diagnostics.render(&loaded.sources, PROGRAM, color)
    );
}

/// Prints an error that no file is to blame for.
pub(crate) fn emerg(message: &str) {
    eprintln!("{PROGRAM}: [emerg] {message}");
}
