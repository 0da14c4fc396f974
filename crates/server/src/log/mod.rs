//! The logs of one loop: lines are gathered while a turn runs and written once at its end.
//!
//! A [`Destination`] is what the configuration says of a log; an [`Output`] is that log on one
//! loop, open; [`Outputs`] are all of a loop, and outlive each configuration; [`Logs`] are those
//! of one configuration among them. Nothing here blocks a loop: files are written by threads, what a
//! disk, a pipe or a syslog server does not take at once waits, within bounds, and what cannot be
//! written is lost, counted, and said once a minute.

pub mod destination;
pub mod file;
pub mod outputs;
pub mod syslog;

mod by_path;
pub(crate) mod escape;
mod gzip;
mod lines;
mod losses;
mod output;
mod queue;
mod sink;
mod spool;

use std::fmt;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;

pub use by_path::PathLimits;
pub use destination::{Buffering, Destination, Place};
pub use file::OpenLogs;
pub use output::Output;
pub use outputs::{Outputs, say_on_stderr};
pub(crate) use revolve_conf::Shown;
pub use revolve_conf::error_text;

use crate::clock::Clock;

/// Severity of an error log line, nginx's names and order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot run.
    Emerg,
    /// Something must be done at once.
    Alert,
    /// Something is broken.
    Crit,
    /// A request failed.
    Error,
    /// Something is odd.
    Warn,
    /// Worth knowing.
    Notice,
    /// What clients do.
    Info,
    /// How the server works.
    Debug,
}

impl Level {
    /// All levels by name.
    pub const NAMES: [(&'static str, Level); 8] = [
        ("emerg", Level::Emerg),
        ("alert", Level::Alert),
        ("crit", Level::Crit),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("notice", Level::Notice),
        ("info", Level::Info),
        ("debug", Level::Debug),
    ];

    /// The level of a name.
    pub fn named(name: &str) -> Option<Level> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// Where error lines of a place in the configuration go, and from which severity on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorTarget {
    /// Index of the log in [`Base::logs`](crate::Base::logs).
    pub file: usize,
    /// The least severe level that is written.
    pub level: Level,
}

/// The logs of one configuration on one loop.
pub struct Logs {
    /// In the order of the configuration's list.
    logs: Vec<Rc<Output>>,
    outputs: Rc<Outputs>,
    process_targets: Vec<ErrorTarget>,
}

impl Logs {
    /// The logs that a configuration lists, among those of the loop.
    pub fn new(
        outputs: Rc<Outputs>,
        destinations: &[Destination],
        opened: &OpenLogs,
        process_targets: Vec<ErrorTarget>,
    ) -> Self {
        let logs = outputs.configure(destinations, opened, &process_targets);
        Self {
            logs,
            outputs,
            process_targets,
        }
    }

    /// The loop's clock.
    pub fn clock(&self) -> &Clock {
        self.outputs.clock()
    }

    /// Whether any of the targets takes lines of this level.
    pub fn wants(&self, targets: &[ErrorTarget], level: Level) -> bool {
        targets.iter().any(|target| level <= target.level)
    }

    /// Writes a line about a connection that has no request yet.
    pub fn connection(
        &self,
        targets: &[ErrorTarget],
        level: Level,
        number: u64,
        message: fmt::Arguments<'_>,
    ) {
        self.write(targets, level, |out| {
            let _ = write!(out, "*{number} {message}");
        });
    }

    /// Writes a line about the process, to the error log of the top of the file.
    pub fn process(&self, level: Level, message: fmt::Arguments<'_>) {
        self.write(&self.process_targets, level, |out| {
            let _ = write!(out, "{message}");
        });
    }

    /// Lets `body` write a line to each of the targets that take its level.
    pub(crate) fn write(&self, targets: &[ErrorTarget], level: Level, body: impl Fn(&mut Vec<u8>)) {
        for target in targets.iter().filter(|target| level <= target.level) {
            if let Some(output) = self.logs.get(target.file) {
                self.outputs.append(output, Some(level), |out| {
                    outputs::error_line(self.clock(), level, out, &body);
                });
            }
        }
    }

    /// Lets `body` append a line, without its end, to a log.
    pub fn append(&self, log: usize, body: impl FnOnce(&mut Vec<u8>)) {
        if let Some(output) = self.logs.get(log) {
            self.outputs.append(output, None, body);
        }
    }

    /// Lets `body` append a line to the file of a path, which is opened for it unless `limits`
    /// keep it open.
    pub fn append_by_path(
        &self,
        path: &[u8],
        limits: Option<&Arc<PathLimits>>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        self.outputs.append_by_path(path, limits, body);
    }

    /// Counts a line that could not be written to the file of a path, because of `reason`.
    pub fn lose(&self, reason: String) {
        self.outputs.lose(reason);
    }
}

/// A path in a message.
pub(crate) fn shown_path(path: &std::path::Path) -> Shown<'_> {
    Shown(path.as_os_str().as_encoded_bytes())
}

/// `2026/11/22 11:00:00 [error] 1234#1234: `
fn line_head(clock: &Clock, level: Level, out: &mut Vec<u8>) {
    clock.error_time(out);
    let pid = std::process::id();
    let thread = clock.thread_id();
    let _ = write!(out, " [{}] {pid}#{thread}: ", level.name());
}

/// Why the rest of a line or of a compressed block is lost that was begun in a file which is no more.
fn cut_short() -> std::io::Error {
    std::io::Error::other("the file was closed before the rest could be written")
}

/// [`error_text`] of an error number.
pub fn errno_text(error: rustix::io::Errno) -> String {
    error_text(&std::io::Error::from(error))
}
