//! Whole folders, copied and deleted. No link is followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use super::place::{folder_mode, make_folder};
use super::work::Report;

/// How deep folders may be nested: each is open while what is in it is looked at.
const DEPTH_MAX: usize = 100;

/// The names of temporary files.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A folder that is walked, with its path for the log.
pub(super) struct Folder<'a> {
    pub(super) fd: &'a OwnedFd,
    pub(super) path: &'a [u8],
}

/// Deletes all that is in a folder. What cannot be deleted is reported, and the rest is deleted.
///
/// Errors: something in it could not be looked at.
pub(super) fn delete_within(
    at: Folder<'_>,
    depth: usize,
    report: &mut Report,
) -> Result<(), Errno> {
    each(&at, depth, report, |name, kind, path, report| {
        if kind == FileType::Directory {
            let within = open_folder(at.fd, name)?;
            let folder = Folder { fd: &within, path };
            delete_within(folder, depth + 1, report)?;
            if let Err(error) = rustix::fs::unlinkat(at.fd, name, AtFlags::REMOVEDIR) {
                report.failed("rmdir()", path, error, 0);
            }
        } else if let Err(error) = rustix::fs::unlinkat(at.fd, name, AtFlags::empty()) {
            report.failed("unlink()", path, error, 0);
        }
        Ok(())
    })
}

/// Copies all that is in a folder into another; of links nothing. What cannot be copied is reported.
///
/// Errors: something in it could not be looked at.
pub(super) fn copy_within(
    from: Folder<'_>,
    to: &OwnedFd,
    depth: usize,
    report: &mut Report,
) -> Result<(), Errno> {
    each(
        &from,
        depth,
        report,
        |name, kind, path, report| match kind {
            FileType::Directory => {
                let within = open_folder(from.fd, name)?;
                let stat = rustix::fs::fstat(&within)?;
                if let Err(error) = make_folder(to, name, folder_mode(stat.st_mode & 0o777)) {
                    report.failed("mkdir()", path, error, 0);
                }
                let made = open_folder(to, name)?;
                let folder = Folder { fd: &within, path };
                copy_within(folder, &made, depth + 1, report)?;
                set_time(&made, &stat);
                Ok(())
            }
            FileType::RegularFile => {
                let copied = open_file(from.fd, name, true)
                    .and_then(|file| copy_file(&file, to, name, None, None));
                if let Err(error) = copied {
                    report.failed("copying", path, error, 0);
                }
                Ok(())
            }
            _ => Ok(()),
        },
    )
}

/// Calls `act` with what is in a folder.
fn each(
    at: &Folder<'_>,
    depth: usize,
    report: &mut Report,
    mut act: impl FnMut(&OsStr, FileType, &[u8], &mut Report) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let opened = match depth < DEPTH_MAX {
        true => Dir::read_from(at.fd),
        false => Err(Errno::LOOP),
    };
    let opened = opened.inspect_err(|error| report.failed_badly("opendir()", at.path, *error))?;
    for entry in opened {
        let entry = entry.inspect_err(|error| report.failed_badly("readdir()", at.path, *error))?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        let path = [at.path, b"/", name.as_bytes()].concat();
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(at.fd, name, AtFlags::SYMLINK_NOFOLLOW);
                stat.map(|stat| FileType::from_raw_mode(stat.st_mode))
            }
            kind => Ok(kind),
        };
        match kind {
            Ok(kind) => act(name, kind, &path, report)?,
            Err(error) => report.failed_badly("stat()", &path, error),
        }
    }
    Ok(())
}

/// Opens a folder to be walked.
pub(super) fn open_folder(at: &OwnedFd, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Opens a regular file.
///
/// Errors: as openat(2); `INVAL` for what is none.
pub(super) fn open_file(at: &OwnedFd, name: &OsStr, refuses_link: bool) -> Result<File, Errno> {
    // Without O_NONBLOCK the open of a pipe would wait for its writer.
    let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    flags.set(OFlags::NOFOLLOW, refuses_link);
    let file = rustix::fs::openat(at, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(File::from(file)),
        _ => Err(Errno::INVAL),
    }
}

/// Copies a file: into one beside its place, which is renamed then. Mode and time are those of the file,
/// unless others are given.
pub(super) fn copy_file(
    from: &File,
    to: &OwnedFd,
    name: &OsStr,
    mode: Option<u32>,
    modified_s: Option<i64>,
) -> Result<(), Errno> {
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let temporary = format!(".{}.{number}.tmp", std::process::id());
    let temporary = OsString::from_vec(temporary.into_bytes());
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(to, &temporary, flags, Mode::RUSR | Mode::WUSR)?;
    let copied = fill(from, File::from(file), mode, modified_s);
    let renamed = copied.and_then(|()| rustix::fs::renameat(to, &temporary, to, name));
    if renamed.is_err() {
        // What is wrong was found already.
        let _ = rustix::fs::unlinkat(to, &temporary, AtFlags::empty());
    }
    renamed
}

fn fill(from: &File, to: File, mode: Option<u32>, modified_s: Option<i64>) -> Result<(), Errno> {
    let stat = rustix::fs::fstat(from)?;
    let mut reader = from;
    io::Seek::rewind(&mut reader).map_err(|error| errno(&error))?;
    io::copy(&mut reader, &mut &to).map_err(|error| errno(&error))?;
    let mode = mode.unwrap_or(stat.st_mode & 0o777);
    rustix::fs::fchmod(&to, Mode::from_raw_mode(mode))?;
    match modified_s {
        Some(modified_s) => set_time_s(&to, modified_s),
        None => set_time(&to, &stat),
    }
    Ok(())
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Gives a copy the time of its original. That it may not be possible is no reason to lose the copy.
fn set_time(fd: impl AsFd, stat: &Stat) {
    set_time_s(fd, stat.st_mtime);
}

/// Says when something was changed last.
pub(super) fn set_time_s(fd: impl AsFd, modified_s: i64) {
    let time = Timespec {
        tv_sec: modified_s,
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    let _ = rustix::fs::futimens(fd, &times);
}
