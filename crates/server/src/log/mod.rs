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
mod level;
mod lines;
mod losses;
mod output;
mod queue;
mod sink;
mod spool;
mod text;

use std::fmt;
use std::io::Write as _;
use std::rc::Rc;
use std::sync::Arc;

pub use by_path::PathLimits;
pub use destination::{Buffering, Destination, Place};
pub use file::OpenLogs;
pub use level::{ErrorTarget, Level};
pub use output::Output;
pub use outputs::{Outputs, say_on_stderr};
pub(crate) use revolve_conf::Shown;
pub use revolve_conf::error_text;
pub use text::errno_text;

use crate::clock::Clock;

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
