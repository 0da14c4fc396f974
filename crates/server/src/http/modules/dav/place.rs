//! Where something lies: the folder that holds it, open, and its name there. What is done is done below that
//! folder, so that nobody can put a link in its place in between.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::file_cache::{self, Refused};

/// Which ways through folders are refused.
#[derive(Debug, Clone)]
pub(super) struct Bounds {
    /// `disable_symlinks`: which links, and the path in front that is not looked at.
    links: Option<(Refused, Vec<u8>)>,
    /// `files_within`.
    within: Option<PathBuf>,
}

impl Bounds {
    pub(super) fn new(links: Option<(Refused, Vec<u8>)>, within: Option<PathBuf>) -> Self {
        Self { links, within }
    }

    /// Whether a link itself is not followed.
    pub(super) fn refuses_links(&self) -> bool {
        self.links.is_some()
    }

    /// Errors: `XDEV` for what lies elsewhere.
    pub(super) fn check(&self, opened: impl AsFd) -> Result<(), Errno> {
        match &self.within {
            Some(folder) if !file_cache::place(&opened.as_fd())?.starts_with(folder) => {
                Err(Errno::XDEV)
            }
            _ => Ok(()),
        }
    }

    /// Opens a folder.
    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let links = self.links.as_ref().map(|(refused, from)| {
            let trusted = if path.starts_with(from) {
                from.len()
            } else {
                0
            };
            (*refused, trusted)
        });
        let opened = match links {
            Some((refused, trusted)) if trusted < path.len() => {
                // A link on the way is no folder.
                let opened = file_cache::open_without_links(path, refused, trusted);
                OwnedFd::from(opened.map_err(|error| match error {
                    Errno::NOTDIR => Errno::LOOP,
                    other => other,
                })?)
            }
            _ => rustix::fs::open(OsStr::from_bytes(path), flags, Mode::empty())?,
        };
        self.check(&opened)?;
        Ok(opened)
    }

    /// The same; what is not there of it is made with this mode.
    fn open_or_make(&self, path: &[u8], mode: u32) -> Result<OwnedFd, Errno> {
        let mut lacking = Vec::new();
        let mut there = path;
        let mut at = loop {
            match self.open(there) {
                Err(Errno::NOENT) => {
                    let (folder, name) = split(there).ok_or(Errno::NOENT)?;
                    lacking.push(name);
                    there = folder;
                }
                opened => break opened?,
            }
        };
        for name in lacking.into_iter().rev() {
            let name = OsStr::from_bytes(name);
            match make_folder(&at, name, mode) {
                Err(Errno::EXIST) => {}
                made => made?,
            }
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            at = rustix::fs::openat(&at, name, flags, Mode::empty())?;
        }
        Ok(at)
    }
}

/// Makes a folder with this mode, whatever the mask of the process says.
pub(super) fn make_folder(at: &OwnedFd, name: &OsStr, mode: u32) -> Result<(), Errno> {
    let mode = Mode::from_raw_mode(mode & 0o777);
    rustix::fs::mkdirat(at, name, mode)?;
    rustix::fs::chmodat(at, name, mode, AtFlags::empty())
}

/// The mode of the folder of files of this mode: whoever reads a file looks through its folder.
pub(super) fn folder_mode(mode: u32) -> u32 {
    mode | (mode & 0o444) >> 2
}

/// A path as a folder and a name in it; `None` of what has no name.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|byte| *byte != b'/')? + 1;
    let path = &path[..end];
    match memchr::memrchr(b'/', path) {
        None => Some((b".", path)),
        Some(at) => {
            let name = &path[at + 1..];
            let folder = &path[..at];
            let end = folder.iter().rposition(|byte| *byte != b'/');
            Some((end.map_or(&b"/"[..], |end| &folder[..=end]), name))
        }
    }
}

/// Something in a folder.
pub(super) struct Place {
    pub(super) folder: OwnedFd,
    pub(super) name: OsString,
    /// The path ended with a slash: only a folder is meant.
    is_of_folder: bool,
}

impl Place {
    /// Errors: as open(2) of its folder; of a link that is refused, or what lies elsewhere, `LOOP` and
    /// `XDEV`.
    pub(super) fn of(path: &[u8], bounds: &Bounds) -> Result<Self, Errno> {
        Self::by(path, |folder| bounds.open(folder))
    }

    /// The same; the folders on its way are made with this mode.
    pub(super) fn of_made(path: &[u8], bounds: &Bounds, mode: u32) -> Result<Self, Errno> {
        Self::by(path, |folder| bounds.open_or_make(folder, mode))
    }

    fn by(path: &[u8], open: impl FnOnce(&[u8]) -> Result<OwnedFd, Errno>) -> Result<Self, Errno> {
        let (folder, name) = split(path).ok_or(Errno::BUSY)?;
        Ok(Self {
            folder: open(folder)?,
            name: OsStr::from_bytes(name).to_owned(),
            is_of_folder: path.ends_with(b"/"),
        })
    }

    /// What is there; a link is a link.
    pub(super) fn look(&self) -> Result<Stat, Errno> {
        let stat = rustix::fs::statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        match self.is_of_folder && !is_folder(&stat) {
            true => Err(Errno::NOTDIR),
            false => Ok(stat),
        }
    }

    /// What is there; a link is what it leads to, unless links are refused.
    pub(super) fn look_behind(&self, bounds: &Bounds) -> Result<Stat, Errno> {
        let flags = match bounds.refuses_links() {
            true => AtFlags::SYMLINK_NOFOLLOW,
            false => AtFlags::empty(),
        };
        rustix::fs::statat(&self.folder, &self.name, flags)
    }
}

pub(super) fn is_folder(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_folder_and_a_name() {
        for (path, expected) in [
            ("/a/b", Some(("/a", "b"))),
            ("/a//b//", Some(("/a", "b"))),
            ("/a", Some(("/", "a"))),
            ("a", Some((".", "a"))),
            ("/", None),
            ("", None),
        ] {
            let expected = expected.map(|(folder, name)| (folder.as_bytes(), name.as_bytes()));
            assert_eq!(split(path.as_bytes()), expected);
        }
        assert_eq!(folder_mode(0o640), 0o750);
    }

    #[test]
    fn what_leads_out_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        std::fs::create_dir_all(root.join("in/a")).unwrap();
        std::fs::create_dir(root.join("out")).unwrap();
        std::os::unix::fs::symlink("../out", root.join("in/link")).unwrap();
        let path = |name: &str| root.join(name).into_os_string().into_encoded_bytes();
        let free = Bounds::new(None, None);
        let bound = Bounds::new(None, Some(root.join("in")));
        let strict = Bounds::new(Some((Refused::All, path("in"))), None);
        for (name, bounds, expected) in [
            ("in/a/x", &bound, None),
            ("in/link/x", &free, None),
            ("in/link/x", &bound, Some(Errno::XDEV)),
            ("in/link/x", &strict, Some(Errno::LOOP)),
            ("in/link/deep/x", &strict, Some(Errno::LOOP)),
            ("in/none/x", &bound, Some(Errno::NOENT)),
            ("out/x", &bound, Some(Errno::XDEV)),
        ] {
            let found = Place::of(&path(name), bounds).err();
            assert_eq!(found, expected, "{name}");
        }
        assert!(Place::of_made(&path("in/b/c/d"), &bound, 0o700).is_ok());
        assert!(root.join("in/b/c").is_dir());
        assert!(Place::of_made(&path("in/link/b/c"), &bound, 0o700).is_err());
        assert!(!root.join("out/b").exists());
    }
}
