//! Messages to the person who typed the command.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::OnceLock;

use revolve_conf::ShownLine;

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

/// Prints a warning that no file is to blame for.
pub(crate) fn warn(message: &str) {
    eprintln!("{PROGRAM}: [warn] {}", ShownLine(message.as_bytes()));
}

/// Prints an error that no file is to blame for.
pub(crate) fn emerg(message: &str) {
    eprintln!("{PROGRAM}: [emerg] {}", ShownLine(message.as_bytes()));
}

/// Prints what could not be opened, where it is asked for, and what to do.
pub(crate) fn not_opened(message: &str, advice: Option<&str>) {
    emerg(message);
    eprint!("{}", advice.unwrap_or_default());
}

/// Where standard error leads once a new binary serves; until then its descriptor 2 leads to the
/// old master, which says in its log what it reads there.
static STDERR: OnceLock<OwnedFd> = OnceLock::new();

/// Sets what [`stderr`] gives; the first time counts.
pub(crate) fn set_stderr(fd: OwnedFd) {
    let _ = STDERR.set(fd);
}

/// Another descriptor of the standard error that this process serves with.
pub(crate) fn stderr() -> io::Result<OwnedFd> {
    match STDERR.get() {
        Some(fd) => fd.try_clone(),
        None => io::stderr().as_fd().try_clone_to_owned(),
    }
}

/// Makes descriptor 2 what [`stderr`] gives.
pub(crate) fn restore_stderr() -> io::Result<()> {
    match STDERR.get() {
        Some(fd) => Ok(rustix::stdio::dup2_stderr(fd)?),
        None => Ok(()),
    }
}
