//! The logs of one loop: lines are gathered while a turn runs and written once at its end.

pub mod clock;
pub mod file;

use std::cell::RefCell;
use std::fmt;
use std::io::Write as _;
use std::rc::Rc;

pub use clock::Clock;
pub use file::{LogFile, OpenLogs};

use crate::request::Request;

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
    /// Index of the file in [`Config::log_paths`](crate::config::Config::log_paths).
    pub file: usize,
    /// The least severe level that is written.
    pub level: Level,
}

/// The logs of one configuration on one loop.
pub struct Logs {
    files: RefCell<Vec<LogFile>>,
    clock: Rc<Clock>,
    process_targets: Vec<ErrorTarget>,
}

impl Logs {
    /// Logs over open files, which lie in the order of the configuration's list.
    pub fn new(files: Vec<LogFile>, process_targets: Vec<ErrorTarget>, clock: Rc<Clock>) -> Self {
        Self {
            files: RefCell::new(files),
            clock,
            process_targets,
        }
    }

    /// The loop's clock.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Whether any of the targets takes lines of this level.
    pub fn wants(&self, targets: &[ErrorTarget], level: Level) -> bool {
        targets.iter().any(|target| level <= target.level)
    }

    /// Writes a line about a request.
    pub fn error(&self, request: &Request, level: Level, message: fmt::Arguments<'_>) {
        let targets = &request.settings().error_log.targets;
        self.write(targets, level, |out| {
            let _ = write!(out, "*{} {message}", request.connection.number);
            describe(request, out);
        });
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

    fn write(&self, targets: &[ErrorTarget], level: Level, body: impl Fn(&mut Vec<u8>)) {
        let mut files = self.files.borrow_mut();
        for target in targets.iter().filter(|target| level <= target.level) {
            let Some(file) = files.get_mut(target.file) else {
                continue;
            };
            let out = file.buffer();
            line_head(&self.clock, level, out);
            let start = out.len();
            body(out);
            escape_controls(out, start);
            out.push(b'\n');
        }
    }

    /// Lets `body` append a line to a file.
    pub fn append(&self, file: usize, body: impl FnOnce(&mut Vec<u8>)) {
        if let Some(file) = self.files.borrow_mut().get_mut(file) {
            body(file.buffer());
        }
    }

    /// Writes what has gathered: one `write(2)` a file. A file that cannot be written loses its
    /// lines, never blocks a request, and is complained about once a minute.
    pub fn flush(&self) {
        let mut files = self.files.borrow_mut();
        let mut complaints = Vec::new();
        for file in files.iter_mut() {
            if let Some(complaint) = file.flush(revolve_reactor::now()) {
                complaints.push(complaint);
            }
        }
        for complaint in complaints {
            for target in &self.process_targets {
                if let Some(file) = files.get_mut(target.file) {
                    let out = file.buffer();
                    line_head(&self.clock, Level::Alert, out);
                    out.extend_from_slice(complaint.as_bytes());
                    out.push(b'\n');
                    let _ = file.flush(revolve_reactor::now());
                }
            }
        }
    }

    /// Takes newly opened files in place of the old ones, after writing what had gathered.
    pub fn replace(&self, opened: &OpenLogs) {
        self.flush();
        for file in self.files.borrow_mut().iter_mut() {
            file.replace(opened);
        }
    }
}

/// A path or a header may hold line ends: nobody forges a line with them, or paints a terminal.
fn escape_controls(line: &mut Vec<u8>, start: usize) {
    let is_control = |byte: &u8| *byte < b' ' || *byte == 0x7f;
    if !line[start..].iter().any(is_control) {
        return;
    }
    for byte in line.split_off(start) {
        if is_control(&byte) {
            let _ = write!(line, "\\x{byte:02X}");
        } else {
            line.push(byte);
        }
    }
}

/// `2026/11/22 11:00:00 [error] 1234#1234: `
fn line_head(clock: &Clock, level: Level, out: &mut Vec<u8>) {
    clock.error_time(out);
    let pid = std::process::id();
    let thread = clock.thread_id();
    let _ = write!(out, " [{}] {pid}#{thread}: ", level.name());
}

/// A line for the error log outside of any loop (the master, start-up).
pub fn format_line(level: Level, message: fmt::Arguments<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    line_head(&Clock::without_loop(), level, &mut out);
    let _ = writeln!(out, "{message}");
    out
}

/// `, client: …, server: …, request: "…", host: "…", referrer: "…"`
fn describe(request: &Request, out: &mut Vec<u8>) {
    out.extend_from_slice(b", client: ");
    request.connection.append_peer(out);
    out.extend_from_slice(b", server: ");
    out.extend_from_slice(request.server().primary_name.as_bytes());
    if !request.parser.line_started() {
        return;
    }
    let quoted = |label: &[u8], value: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(label);
        crate::modules::access_log::escape_default(value, out);
        out.push(b'"');
    };
    // Of a head that is not complete, what has come of it.
    let line = request.parser.request_line_or_start(&request.head_bytes);
    quoted(b", request: \"", request.bytes(line), out);
    if let Some(host) = request.known(request.head().known.host) {
        quoted(b", host: \"", host, out);
    }
    if let Some(referer) = request.known(request.head().known.referer) {
        quoted(b", referrer: \"", referer, out);
    }
}

/// nginx's form of a system error: `2: No such file or directory`.
pub fn errno_text(error: rustix::io::Errno) -> String {
    error_text(&std::io::Error::from(error))
}

/// The same for an I/O error.
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(code) => {
            let words = text.split(" (os error").next().unwrap_or(&text);
            format!("{code}: {words}")
        }
        None => text,
    }
}
