//! One log file: its lines of this turn, and the descriptor that they go to.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The name that stands for standard error in `error_log`.
pub const STDERR: &str = "stderr";

/// Memory that a buffer keeps between turns.
const BUFFER_BYTES_KEPT: usize = 64 * 1024;

/// How often a file that cannot be written is complained about.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Log files opened by who may: the master hands them to the workers.
#[derive(Debug, Clone, Default)]
pub struct OpenLogs {
    files: Vec<(PathBuf, Arc<File>)>,
}

impl OpenLogs {
    /// Files that somebody else opened.
    pub fn from_descriptors(files: Vec<(PathBuf, OwnedFd)>) -> Self {
        let files = files
            .into_iter()
            .map(|(path, fd)| (path, Arc::new(File::from(fd))))
            .collect();
        Self { files }
    }

    /// The open file of a path.
    pub fn get(&self, path: &Path) -> Option<Arc<File>> {
        self.files
            .iter()
            .find(|(known, _)| known == path)
            .map(|(_, file)| file.clone())
    }
}

/// Opens a log file for appending, creating it; `stderr` is standard error.
pub fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str() == STDERR {
        return Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?));
    }
    OpenOptions::new().append(true).create(true).open(path)
}

/// A log file of one loop.
pub struct LogFile {
    path: PathBuf,
    file: Option<Arc<File>>,
    buffer: Vec<u8>,
    complained_at: Option<Instant>,
}

impl LogFile {
    /// A log file; without a descriptor its lines are dropped.
    pub fn new(path: PathBuf, file: Option<Arc<File>>) -> Self {
        Self {
            path,
            file,
            buffer: Vec::new(),
            complained_at: None,
        }
    }

    /// The lines of this turn, to be appended to.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes the lines; the answer is a complaint to be logged elsewhere.
    pub(crate) fn flush(&mut self, now: Instant) -> Option<String> {
        if self.buffer.is_empty() {
            return None;
        }
        let result = match &self.file {
            Some(file) => (&**file).write_all(&self.buffer),
            None => Err(io::Error::other("the file is not open")),
        };
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        let error = result.err()?;
        let due = self
            .complained_at
            .is_none_or(|at| now - at >= COMPLAINT_INTERVAL);
        if !due {
            return None;
        }
        self.complained_at = Some(now);
        let reason = super::error_text(&error);
        let path = self.path.display();
        Some(format!(
            "write() to \"{path}\" failed ({reason}); its lines are dropped until it can be written"
        ))
    }

    pub(crate) fn replace(&mut self, opened: &OpenLogs) {
        if let Some(file) = opened.get(&self.path) {
            self.file = Some(file);
            self.complained_at = None;
        }
    }
}
