//! Opening a path on whose way no symbolic link may lie, or none of somebody else's.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

/// Which links are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// All.
    All,
    /// Those whose owner is not the owner of what they lead to.
    OfOthers,
}

/// Opens a path to be read. Its first `trusted_bytes` are not looked at: where they end in the middle of
/// a name, all of it is.
///
/// Each name is opened below the one before it, so that nobody can put a link in its place in between.
///
/// # Errors
///
/// `LOOP` where a link is refused, `NOTDIR` where it would lead to a folder on the way; else as openat(2).
pub(crate) fn open(path: &[u8], refused: Refused, trusted_bytes: usize) -> Result<File, Errno> {
    let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let ends_name = matches!(path.get(trusted_bytes), None | Some(b'/'))
        || path[..trusted_bytes].ends_with(b"/");
    let trusted_bytes = match ends_name {
        true => trusted_bytes,
        false => 0,
    };
    let (trusted, rest) = path.split_at(trusted_bytes);
    let begin: &[u8] = match (trusted, rest.first()) {
        ([], Some(b'/')) => b"/",
        ([], _) => b".",
        (trusted, _) => trusted,
    };
    let names: Vec<&[u8]> = rest
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
        .collect();
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    let file_flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Some((last, folders)) = names.split_last() else {
        let opened = rustix::fs::open(OsStr::from_bytes(begin), file_flags, Mode::empty())?;
        return Ok(File::from(opened));
    };
    let mut at = rustix::fs::open(OsStr::from_bytes(begin), folder_flags, Mode::empty())?;
    for name in folders {
        at = step(&at, name, folder_flags, refused)?;
    }
    step(&at, last, file_flags, refused).map(File::from)
}

/// Opens one name below a folder.
fn step(folder: &OwnedFd, name: &[u8], flags: OFlags, refused: Refused) -> Result<OwnedFd, Errno> {
    let name = OsStr::from_bytes(name);
    match refused {
        Refused::All => rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty()),
        Refused::OfOthers => {
            let opened = rustix::fs::openat(folder, name, flags, Mode::empty())?;
            let link = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_link = FileType::from_raw_mode(link.st_mode) == FileType::Symlink;
            match is_link && link.st_uid != rustix::fs::fstat(&opened)?.st_uid {
                true => Err(Errno::LOOP),
                false => Ok(opened),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_refused_wherever_they_lie() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("its path");
        std::fs::create_dir_all(root.join("a/b")).expect("folders");
        std::fs::write(root.join("a/b/file"), "x").expect("a file");
        symlink("a", root.join("link")).expect("a link");
        symlink("b/file", root.join("a/last")).expect("a link");
        let open = |path: &str, refused, trusted: &str| {
            let path = root.join(path).into_os_string().into_encoded_bytes();
            let trusted = match trusted {
                "" => 0,
                trusted => root.join(trusted).as_os_str().len(),
            };
            open(&path, refused, trusted).map(|_| ())
        };
        for (path, trusted, expected) in [
            ("a/b/file", "", Ok(())),
            ("a/b", "", Ok(())),
            ("a/last", "", Err(Errno::LOOP)),
            ("link/b/file", "", Err(Errno::NOTDIR)),
            ("link/b", "", Err(Errno::NOTDIR)),
            ("link", "", Err(Errno::LOOP)),
            ("link/b/file", "link", Ok(())),
            ("link/b/file", "lin", Err(Errno::NOTDIR)),
            ("link/last", "link", Err(Errno::LOOP)),
            ("link/last", "link/last", Ok(())),
            ("a/none", "", Err(Errno::NOENT)),
            ("a/b/file/x", "", Err(Errno::NOTDIR)),
        ] {
            assert_eq!(
                open(path, Refused::All, trusted),
                expected,
                "{path} {trusted}"
            );
        }
        // They are all ours.
        for path in ["link/b/file", "link/last", "a/last"] {
            assert_eq!(open(path, Refused::OfOthers, ""), Ok(()), "{path}");
        }
    }
}
