//! What the disk says of one path.

use std::cell::{Cell, OnceCell, RefCell};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use revolve_http::h1::lines::{ContentLength, LastModified};

/// What is at a path.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// A regular file.
    File(Rc<FileEntry>),
    /// A folder.
    Directory,
    /// Nothing that could be opened, and why. `EINVAL` stands for what is neither file nor
    /// folder.
    Missing(Errno),
}

impl Found {
    fn content(&self) -> Option<&Content> {
        match self {
            Found::File(entry) => Some(&entry.content),
            _ => None,
        }
    }

    pub(super) fn is_file(&self) -> bool {
        self.content().is_some()
    }

    /// Whether an open file still has the length that it was found with; what is in memory has.
    pub(super) fn has_its_length(&self) -> bool {
        match self {
            Found::File(entry) => match &entry.content {
                Content::Descriptor(file) => rustix::fs::fstat(file)
                    .is_ok_and(|stat| stat.st_size as u64 == entry.length.bytes),
                Content::Bytes(_) => true,
            },
            Found::Directory | Found::Missing(_) => true,
        }
    }

    pub(super) fn bytes_held(&self) -> u64 {
        match self.content() {
            Some(Content::Bytes(bytes)) => bytes.len() as u64,
            _ => 0,
        }
    }

    pub(super) fn holds_descriptor(&self) -> bool {
        matches!(self.content(), Some(Content::Descriptor(_)))
    }
}

/// Where the bytes of a file are.
#[derive(Debug)]
pub(crate) enum Content {
    /// In memory: it is small.
    Bytes(Bytes),
    /// In the file, which is open.
    Descriptor(Arc<File>),
}

/// A regular file, ready to be served.
#[derive(Debug)]
pub(crate) struct FileEntry {
    /// Its length.
    pub length: ContentLength,
    /// Last change.
    pub modified: LastModified,
    /// Its bytes.
    pub content: Content,
    /// The line of nginx's entity tag: `"mtime-size"`, both in hexadecimal.
    pub etag_line: Box<[u8]>,
    /// Other forms of its bytes, each by what it was made with.
    forms: RefCell<Vec<(u64, Form)>>,
    /// Where the bytes of all forms are counted; nothing where the file is not in the cache.
    form_bytes: OnceCell<Rc<Cell<u64>>>,
}

/// Another form of a file, compressed: its bytes, and how many they are.
pub(crate) type Form = (Bytes, ContentLength);

/// So many forms are kept of a file at most.
const FORMS_MAX: usize = 2;

impl FileEntry {
    fn new(stat: &Stat, content: Content) -> Self {
        let (size, modified_s) = (stat.st_size as u64, stat.st_mtime);
        let etag_line = format!("ETag: \"{modified_s:x}-{size:x}\"\r\n");
        Self {
            length: ContentLength::new(size),
            modified: LastModified::new(modified_s),
            content,
            etag_line: etag_line.into_bytes().into(),
            forms: RefCell::default(),
            form_bytes: OnceCell::new(),
        }
    }

    /// One whose parts are answered with, and of which nothing else is asked.
    pub(crate) fn of_parts(file: Arc<File>) -> Self {
        Self {
            length: ContentLength::new(0),
            modified: LastModified::new(0),
            content: Content::Descriptor(file),
            etag_line: Box::default(),
            forms: RefCell::default(),
            form_bytes: OnceCell::new(),
        }
    }

    /// The form that was made with `key`, if it is kept.
    #[inline]
    pub(crate) fn form(&self, key: u64) -> Option<Form> {
        let forms = self.forms.borrow();
        let mut forms = forms.iter();
        forms
            .find(|(with, _)| *with == key)
            .map(|(_, form)| form.clone())
    }

    /// Whether a form would be kept: the file is in the cache, and has not too many.
    pub(crate) fn may_keep_forms(&self) -> bool {
        self.form_bytes.get().is_some() && self.forms.borrow().len() < FORMS_MAX
    }

    /// Has the bytes of forms counted from now on.
    pub(super) fn count_forms(&self, form_bytes: &Rc<Cell<u64>>) {
        let _ = self.form_bytes.set(form_bytes.clone());
    }

    pub(super) fn add_form(&self, key: u64, form: Form) {
        if let Some(counted) = self.form_bytes.get() {
            counted.set(counted.get() + form.1.bytes);
            self.forms.borrow_mut().push((key, form));
        }
    }
}

impl Drop for FileEntry {
    fn drop(&mut self) {
        if let Some(counted) = self.form_bytes.get() {
            let own: u64 = self
                .forms
                .get_mut()
                .iter()
                .map(|(_, form)| form.1.bytes)
                .sum();
            counted.set(counted.get() - own);
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

/// Whether a file is mounted by itself (`mount --bind`, `docker -v ./a.html:/www/a.html`, a Kubernetes
/// `subPath`). It changes in a folder that is not the one of its path, and nothing is heard of it.
/// Linux tells since 5.8.
pub(super) fn is_mounted(path: &[u8]) -> bool {
    let path = OsStr::from_bytes(path);
    let answer = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE);
    answer.is_ok_and(|it| it.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// The answer of the disk, and whether it may be kept.
pub(super) struct Probe {
    pub found: Found,
    pub identity: Option<Identity>,
    pub cacheable: bool,
}

impl Probe {
    /// Opens a path. A regular file of at most `file_bytes_max` bytes is read. What does not lie in the
    /// folder `within` is [`Errno::XDEV`], as openat2(2) has it.
    pub(super) fn of(path: &[u8], file_bytes_max: u64, within: Option<&Path>) -> Self {
        Self::of_opened(open(path), file_bytes_max, within)
    }

    /// The same of what was opened, or not.
    pub(super) fn of_opened(
        opened: Result<File, Errno>,
        file_bytes_max: u64,
        within: Option<&Path>,
    ) -> Self {
        match opened.and_then(|file| look(file, file_bytes_max, within)) {
            Ok(probe) => probe,
            Err(error) => Self {
                found: Found::Missing(error),
                identity: None,
                cacheable: is_absence(error),
            },
        }
    }
}

fn open(path: &[u8]) -> Result<File, Errno> {
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(OsStr::from_bytes(path), flags, Mode::empty()).map(File::from)
}

fn look(mut file: File, file_bytes_max: u64, within: Option<&Path>) -> Result<Probe, Errno> {
    if let Some(folder) = within
        && !place(&file)?.starts_with(folder)
    {
        return Err(Errno::XDEV);
    }
    let stat = rustix::fs::fstat(&file)?;
    let identity = Some(Identity::from_stat(&stat));
    let mut is_still = true;
    let content = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            return Ok(Probe {
                found: Found::Directory,
                identity,
                cacheable: true,
            });
        }
        FileType::RegularFile if stat.st_size as u64 <= file_bytes_max => {
            match read_all(&mut file, stat.st_size as usize) {
                Some(bytes) => Content::Bytes(bytes),
                None => {
                    is_still = false;
                    Content::Descriptor(Arc::new(file))
                }
            }
        }
        FileType::RegularFile => Content::Descriptor(Arc::new(file)),
        _ => return Err(Errno::INVAL),
    };
    // What changes under our hands is served as it is, and not remembered. A file of several names
    // may be changed by one that is not watched.
    let cacheable = is_still && stat.st_nlink == 1;
    Ok(Probe {
        found: Found::File(Rc::new(FileEntry::new(&stat, content))),
        identity,
        cacheable,
    })
}

/// Where an open file lies, whatever links led to it: the kernel says so of the descriptor, so that nobody
/// can change it in between.
pub(crate) fn place(file: &impl AsFd) -> Result<PathBuf, Errno> {
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()))
        .map_err(|_| Errno::XDEV)
}

/// Reads all, where that is as much as was said. One byte more is asked for: where it does not come, the
/// file has ended, and no other call need find that out.
fn read_all(file: &mut File, size: usize) -> Option<Bytes> {
    let mut body = vec![0; size + 1];
    let mut filled = 0;
    while filled < size {
        match file.read(&mut body[filled..]) {
            Ok(0) => return None,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    body.truncate(size);
    (filled == size).then(|| Bytes::from(body))
}

/// Whether an error means that nothing is at the path, which a watch can tell the end of.
pub(super) fn is_absence(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NOTDIR)
}
