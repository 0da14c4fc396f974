//! What the disk says of one path.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::response::LastModified;

/// What is at a path.
#[derive(Debug, Clone)]
pub enum Found {
    /// A regular file.
    File(Rc<FileEntry>),
    /// A folder.
    Directory,
    /// Nothing that could be opened, and why. `EINVAL` stands for what is neither file nor
    /// folder.
    Missing(Errno),
}

impl Found {
    pub(super) fn bytes_held(&self) -> u64 {
        match self {
            Found::File(entry) => entry.body.as_ref().map_or(0, |body| body.len() as u64),
            _ => 0,
        }
    }

    pub(super) fn holds_descriptor(&self) -> bool {
        matches!(self, Found::File(entry) if entry.file.is_some())
    }
}

/// A regular file, ready to be served.
#[derive(Debug)]
pub struct FileEntry {
    /// Bytes.
    pub size: u64,
    /// Last change.
    pub modified: LastModified,
    /// The contents, where they are small.
    pub body: Option<Bytes>,
    /// The open file, where they are not.
    pub file: Option<Arc<File>>,
    etag: [u8; 40],
    etag_len: u8,
}

impl FileEntry {
    /// nginx's entity tag: `"mtime-size"`, both in hexadecimal.
    pub fn etag(&self) -> &[u8] {
        &self.etag[..usize::from(self.etag_len)]
    }

    fn new(stat: &Stat, body: Option<Bytes>, file: Option<File>) -> Self {
        use std::io::Write as _;
        let (size, modified_s) = (stat.st_size as u64, stat.st_mtime);
        let mut etag = [0; 40];
        let mut rest = &mut etag[..];
        write!(rest, "\"{modified_s:x}-{size:x}\"").expect("two 64-bit numbers fit");
        let left = rest.len();
        let etag_len = (etag.len() - left) as u8;
        let modified = LastModified::new(modified_s);
        Self {
            size,
            modified,
            body,
            file: file.map(Arc::new),
            etag,
            etag_len,
        }
    }
}

/// What tells whether a path still leads to the same, unchanged thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    /// Asks the disk; `None` where nothing is there.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        rustix::fs::stat(OsStr::from_bytes(path))
            .ok()
            .map(|stat| Self::from_stat(&stat))
    }

    #[allow(
        clippy::unnecessary_cast,
        reason = "the fields' types differ between architectures"
    )]
    fn from_stat(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            size: stat.st_size as i64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        }
    }
}

/// The answer of the disk, and whether it may be kept.
pub(super) struct Probe {
    pub found: Found,
    pub identity: Option<Identity>,
    pub cacheable: bool,
}

impl Probe {
    /// Opens a path. A regular file of at most `file_bytes_max` bytes is read.
    pub(super) fn of(path: &[u8], file_bytes_max: u64) -> Self {
        match open(path, file_bytes_max) {
            Ok(probe) => probe,
            Err(error) => Self {
                found: Found::Missing(error),
                identity: None,
                cacheable: super::is_absence(error),
            },
        }
    }
}

fn open(path: &[u8], file_bytes_max: u64) -> Result<Probe, Errno> {
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::open(
        OsStr::from_bytes(path),
        flags,
        Mode::empty(),
    )?);
    let stat = rustix::fs::fstat(&file)?;
    let identity = Some(Identity::from_stat(&stat));
    let found = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            return Ok(Probe {
                found: Found::Directory,
                identity,
                cacheable: true,
            });
        }
        FileType::RegularFile if stat.st_size as u64 <= file_bytes_max => {
            match read_all(&mut file, stat.st_size as usize) {
                Some(body) => FileEntry::new(&stat, Some(body), None),
                // It changes under our hands: serve what is there, remember nothing.
                None => {
                    let found = Found::File(Rc::new(FileEntry::new(&stat, None, Some(file))));
                    return Ok(Probe {
                        found,
                        identity,
                        cacheable: false,
                    });
                }
            }
        }
        FileType::RegularFile => FileEntry::new(&stat, None, Some(file)),
        _ => return Err(Errno::INVAL),
    };
    // A file of several names may be changed by one that is not watched.
    let cacheable = stat.st_nlink == 1;
    Ok(Probe {
        found: Found::File(Rc::new(found)),
        identity,
        cacheable,
    })
}

fn read_all(file: &mut File, size: usize) -> Option<Bytes> {
    let mut body = Vec::with_capacity(size + 1);
    file.take(size as u64 + 1).read_to_end(&mut body).ok()?;
    (body.len() == size).then(|| Bytes::from(body))
}
