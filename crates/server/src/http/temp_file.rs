//! Files for what is too large for memory: bodies on their way in or out.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};

/// A folder for such files, and how they are spread over folders below it
/// (`client_body_temp_path` and its like).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TempPath {
    pub(crate) folder: PathBuf,
    /// How many digits, from the end of a file's number, name the folders at each level.
    pub(crate) levels: Vec<usize>,
}

/// A file that goes with its value, unless it is to stay.
#[derive(Debug)]
pub(crate) struct TempFile {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    /// Whether nobody takes it away when its value goes.
    pub(crate) stays: bool,
}

static NEXT: AtomicU64 = AtomicU64::new(0);

impl TempFile {
    /// Makes an empty file, readable and writable by this user alone. Its folder is made where it is
    /// not there.
    ///
    /// Errors: those of open(2) and mkdir(2).
    pub(crate) fn create(path: &TempPath) -> io::Result<Self> {
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let name = file_name(
                path,
                u64::from(std::process::id()) << 20 | (number & 0xf_ffff),
            );
            match open(&name) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let folder = name.parent().unwrap_or(&path.folder);
                    let mut builder = std::fs::DirBuilder::new();
                    builder.recursive(true).mode(0o700).create(folder)?;
                    return Ok(Self::of(open(&name)?, name));
                }
                opened => return Ok(Self::of(opened?, name)),
            }
        }
    }

    /// Makes an empty file without a name in the system's folder for such files (`TMPDIR`, else `/tmp`).
    /// While it is open, it can be reached by its place in `/proc`.
    ///
    /// Errors: those of open(2).
    pub(crate) fn without_name() -> io::Result<Self> {
        let folder = std::env::temp_dir();
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let fd = rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), fd.as_raw_fd());
        Ok(Self {
            file: File::from(fd),
            path: path.into(),
            stays: true,
        })
    }

    fn of(file: File, path: PathBuf) -> Self {
        Self {
            file,
            path,
            stays: false,
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.stays {
            // Somebody may have taken it away, which is as well.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path)
}

/// `folder/7/45/00000123457` for levels 1 and 2, as nginx names its files.
fn file_name(path: &TempPath, number: u64) -> PathBuf {
    let name = format!("{number:010}");
    let mut full = path.folder.clone();
    let mut end = name.len();
    for level in &path.levels {
        let begin = end.saturating_sub(*level);
        full.push(&name[begin..end]);
        end = begin;
    }
    full.push(name);
    full
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_spread_by_the_end_of_their_number_and_go_with_their_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = TempPath {
            folder: folder.path().join("body"),
            levels: vec![1, 2],
        };
        let name = file_name(&path, 123_457);
        assert_eq!(name, folder.path().join("body/7/45/0000123457"));
        let file = TempFile::create(&path).unwrap();
        let kept = file.path.clone();
        assert!(kept.is_file());
        drop(file);
        assert!(!kept.exists());
        let taken = TempPath {
            folder: "/dev/null/x".into(),
            levels: vec![],
        };
        assert!(TempFile::create(&taken).is_err());
    }
}
