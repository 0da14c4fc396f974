//! What lines of the logs have in common.

use std::io::Write as _;

use revolve_conf::{Shown, error_text};

use super::level::Level;
use crate::clock::Clock;

/// A path in a message.
pub(crate) fn shown_path(path: &std::path::Path) -> Shown<'_> {
    Shown(path.as_os_str().as_encoded_bytes())
}

/// `2026/11/22 11:00:00 [error] 1234#1234: `
pub(super) fn line_head(clock: &Clock, level: Level, out: &mut Vec<u8>) {
    clock.error_time(out);
    let pid = std::process::id();
    let thread = clock.thread_id();
    let _ = write!(out, " [{}] {pid}#{thread}: ", level.name());
}

/// Why the rest of a line or of a compressed block is lost that was begun in a file which is no more.
pub(super) fn cut_short() -> std::io::Error {
    std::io::Error::other("the file was closed before the rest could be written")
}

/// [`error_text`] of an error number.
pub fn errno_text(error: rustix::io::Errno) -> String {
    error_text(&std::io::Error::from(error))
}
