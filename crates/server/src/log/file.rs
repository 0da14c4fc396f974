//! Opening log files so that no write to them can block.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The name that stands for standard error in `error_log` and `access_log`.
pub const STDERR: &str = "stderr";

/// The rights to a file that is created, less the umask, as nginx's.
const MODE: u32 = 0o644;

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

/// Whether a path is one of the streams that the process was started with: those are taken as
/// they are, since there may be nothing that could be opened anew.
pub fn is_standard_stream(path: &Path) -> bool {
    [STDERR, "/dev/stderr", "/dev/stdout"]
        .iter()
        .any(|name| path.as_os_str() == *name)
}

/// Opens a log for appending, creating a file where nothing is; `stderr` is standard error.
///
/// A pipe is opened at both ends, so that there is always a reader: lines wait in it while the
/// real one starts again, and opening it does not wait for one (fifo(7)). Nothing that is opened
/// here blocks who writes to it, but a disk that does.
///
/// # Errors
///
/// Those of open(2).
pub fn open(path: &Path) -> io::Result<File> {
    if path.as_os_str() == "/dev/stdout" {
        return standard_stream(io::stdout().as_fd());
    }
    if is_standard_stream(path) {
        return standard_stream(io::stderr().as_fd());
    }
    match options().open(path) {
        Ok(file) if is_pipe(&file) => options().read(true).open(path).or(Ok(file)),
        Ok(file) => waiting_for_its_disk(file),
        // Nobody reads from the pipe yet.
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            options().read(true).open(path)
        }
        Err(error) => Err(error),
    }
}

/// A regular file takes every write, though some file systems say that they would have to wait where they are
/// told that nobody does.
fn waiting_for_its_disk(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        let flags = rustix::fs::fcntl_getfl(&file)?;
        rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK)?;
    }
    Ok(file)
}

fn options() -> OpenOptions {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options
        .append(true)
        .create(true)
        .mode(MODE)
        .custom_flags(flags.bits().cast_signed());
    options
}

fn is_pipe(file: &File) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.file_type().is_fifo())
}

/// A log on a standard stream. A pipe and a terminal are opened anew, because those who share the
/// process's own would be surprised if it did not block any more.
///
/// # Errors
///
/// Those of dup(2) and fstat(2).
pub fn standard_stream(stream: impl AsFd) -> io::Result<File> {
    let shared = File::from(stream.as_fd().try_clone_to_owned()?);
    let kind = shared.metadata()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return Ok(shared);
    }
    let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
    let mut options = options();
    Ok(options.create(false).open(path).unwrap_or(shared))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use rustix::fs::{CWD, FileType, Mode};

    use super::*;

    fn pipe() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
        (folder, path)
    }

    #[test]
    fn a_pipe_without_a_reader_is_opened_and_keeps_lines_for_the_next() {
        let (_folder, path) = pipe();
        let mut log = open(&path).unwrap();
        log.write_all(b"early\n").unwrap();
        let mut reader = File::open(&path).unwrap();
        let mut line = [0; 6];
        reader.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"early\n");
        drop(reader);
        log.write_all(b"while nobody reads\n").unwrap();
    }

    #[test]
    fn a_pipe_that_is_full_does_not_block() {
        let (_folder, path) = pipe();
        let mut log = open(&path).unwrap();
        let error = loop {
            if let Err(error) = log.write_all(&[b'x'; 4096]) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_is_created_and_appended_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for text in ["one\n", "two\n"] {
            open(&path).unwrap().write_all(text.as_bytes()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        let error = open(&folder.path().join("no/log")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
