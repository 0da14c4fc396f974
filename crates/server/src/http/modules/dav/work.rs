//! What is done on the disk: on a thread that may wait, without the request.

use std::fs::File;
use std::path::PathBuf;

use rustix::fs::{AtFlags, Mode, Stat};
use rustix::io::Errno;

use super::place::{Bounds, Place, folder_mode, is_folder, make_folder};
use super::target::Depth;
use super::tree::{self, Folder};
use crate::log::{Level, Shown, errno_text};

/// How many lines one piece of work has for the log.
const LINES_MAX: usize = 100;

/// The file that holds a body.
pub(super) struct Body {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

/// What is to be done.
pub(super) enum Work {
    /// A body becomes a file.
    Put {
        path: Vec<u8>,
        body: Body,
        mode: u32,
        modified_s: Option<i64>,
        makes_folders: bool,
        bounds: Bounds,
    },
    /// A file or a folder with all that is in it is deleted.
    Delete {
        path: Vec<u8>,
        depth: Depth,
        bounds: Bounds,
    },
    /// A folder is made.
    MakeFolder {
        path: Vec<u8>,
        mode: u32,
        bounds: Bounds,
    },
    /// Something is copied or moved.
    Transfer(Transfer),
}

/// COPY and MOVE.
pub(super) struct Transfer {
    pub(super) moves: bool,
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
    /// The path of the request, for the log.
    pub(super) uri: String,
    /// The header, for the log.
    pub(super) destination: String,
    pub(super) overwrite: bool,
    pub(super) mode: u32,
    pub(super) bounds: Bounds,
}

/// What came of it.
pub(super) struct Done {
    pub(super) status: u16,
    pub(super) lines: Vec<(Level, String)>,
}

/// Lines for the log, as they come.
#[derive(Default)]
pub(super) struct Report {
    lines: Vec<(Level, String)>,
}

impl Report {
    fn say(&mut self, level: Level, line: String) {
        if self.lines.len() < LINES_MAX {
            self.lines.push((level, line));
        }
    }

    /// A call failed. The answer is the status that this comes to, which is `not_found` where nothing is
    /// there.
    ///
    /// Source: nginx's `ngx_http_dav_error`.
    pub(super) fn failed(&mut self, call: &str, path: &[u8], error: Errno, not_found: u16) -> u16 {
        let (level, status) = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => (Level::Error, not_found),
            Errno::ACCESS | Errno::PERM | Errno::LOOP => (Level::Error, 403),
            Errno::XDEV => (Level::Error, 403),
            Errno::EXIST => (Level::Error, 405),
            Errno::NOSPC => (Level::Crit, 507),
            _ => (Level::Crit, 500),
        };
        let (path, reason) = (Shown(path), errno_text(error));
        self.say(level, format!("{call} \"{path}\" failed ({reason})"));
        status
    }

    /// A call failed that nothing a client asks for makes fail.
    pub(super) fn failed_badly(&mut self, call: &str, path: &[u8], error: Errno) {
        let (path, reason) = (Shown(path), errno_text(error));
        self.say(Level::Crit, format!("{call} \"{path}\" failed ({reason})"));
    }

    fn could_not_create(&mut self, path: &[u8], error: Errno, status: u16) -> u16 {
        let (path, reason) = (Shown(path), errno_text(error));
        self.say(
            Level::Error,
            format!("\"{path}\" could not be created ({reason})"),
        );
        status
    }
}

impl Work {
    /// Does it, and waits for disks.
    pub(super) fn run(self) -> Done {
        let mut report = Report::default();
        let done = match self {
            Work::Put {
                path,
                body,
                mode,
                modified_s,
                makes_folders,
                bounds,
            } => {
                let folders = makes_folders.then(|| folder_mode(mode));
                put(
                    &path,
                    &body,
                    (mode, modified_s),
                    folders,
                    &bounds,
                    &mut report,
                )
            }
            Work::Delete {
                path,
                depth,
                bounds,
            } => delete(&path, depth, &bounds, &mut report),
            Work::MakeFolder { path, mode, bounds } => Place::of(&path, &bounds)
                .and_then(|place| make_folder(&place.folder, &place.name, folder_mode(mode)))
                .map(|()| 201)
                .map_err(|error| report.failed("mkdir()", without_slash(&path), error, 409)),
            Work::Transfer(transfer) => transfer.run(&mut report),
        };
        Done {
            status: done.unwrap_or_else(|status| status),
            lines: report.lines,
        }
    }
}

/// Source: nginx's `ngx_http_dav_put_handler` and `ngx_ext_rename_file`.
fn put(
    path: &[u8],
    body: &Body,
    (mode, modified_s): (u32, Option<i64>),
    folders: Option<u32>,
    bounds: &Bounds,
    report: &mut Report,
) -> Result<u16, u16> {
    let temporary = body.path.as_os_str().as_encoded_bytes();
    let place = match (Place::of(path, bounds), folders) {
        (Err(Errno::NOENT), Some(mode)) => Place::of_made(path, bounds, mode),
        (found, _) => found,
    };
    let place = place.map_err(|error| match error {
        Errno::LOOP | Errno::XDEV => report.failed("open()", path, error, 409),
        _ => not_renamed(temporary, path, error, report),
    })?;
    let found = place.look_behind(bounds);
    if found.as_ref().is_ok_and(is_folder) {
        return Err(report.could_not_create(path, Errno::ISDIR, 409));
    }
    rustix::fs::fchmod(&body.file, Mode::from_raw_mode(mode)).map_err(|error| {
        report.failed_badly("chmod()", temporary, error);
        500_u16
    })?;
    if let Some(modified_s) = modified_s {
        tree::set_time_s(&body.file, modified_s);
    }
    // A file without a name cannot be renamed.
    let is_named = !body.path.starts_with("/proc");
    let renamed = match is_named {
        true => rustix::fs::renameat(rustix::fs::CWD, &body.path, &place.folder, &place.name),
        false => Err(Errno::XDEV),
    };
    let put = match renamed {
        Err(Errno::XDEV) => {
            let (folder, name) = (&place.folder, &place.name);
            tree::copy_file(&body.file, folder, name, Some(mode), modified_s)
        }
        renamed => renamed,
    };
    put.map_err(|error| not_renamed(temporary, path, error, report))?;
    Ok(if found.is_ok() { 204 } else { 201 })
}

fn not_renamed(from: &[u8], to: &[u8], error: Errno, report: &mut Report) -> u16 {
    let (from, to, reason) = (Shown(from), Shown(to), errno_text(error));
    let line = format!("rename() \"{from}\" to \"{to}\" failed ({reason})");
    report.say(Level::Crit, line);
    500
}

/// Source: nginx's `ngx_http_dav_delete_handler`.
fn delete(path: &[u8], depth: Depth, bounds: &Bounds, report: &mut Report) -> Result<u16, u16> {
    let found = Place::of(path, bounds).and_then(|place| place.look().map(|stat| (place, stat)));
    let (place, stat) = found.map_err(|error| {
        let not_found = if error == Errno::NOTDIR { 409 } else { 404 };
        report.failed("lstat()", path, error, not_found)
    })?;
    let said = match is_folder(&stat) {
        true if !path.ends_with(b"/") => {
            let (path, reason) = (Shown(path), errno_text(Errno::ISDIR));
            report.say(Level::Error, format!("DELETE \"{path}\" failed ({reason})"));
            return Err(409);
        }
        true => match depth {
            Depth::Unsaid | Depth::Infinity => None,
            _ => Some("\"Depth\" header must be infinity"),
        },
        false => match depth {
            Depth::Unsaid | Depth::Zero | Depth::Infinity => None,
            _ => Some("\"Depth\" header must be 0 or infinity"),
        },
    };
    if let Some(said) = said {
        report.say(Level::Error, said.to_owned());
        return Err(400);
    }
    delete_at(&place, path, is_folder(&stat), report)?;
    Ok(204)
}

/// Source: nginx's `ngx_http_dav_delete_path`.
fn delete_at(place: &Place, path: &[u8], is_folder: bool, report: &mut Report) -> Result<(), u16> {
    let path = without_slash(path);
    if !is_folder {
        let deleted = rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::empty());
        return deleted.map_err(|error| report.failed("unlink()", path, error, 404));
    }
    let opened = tree::open_folder(&place.folder, &place.name);
    let opened = opened.map_err(|error| {
        report.failed_badly("opendir()", path, error);
        500_u16
    })?;
    let folder = Folder { fd: &opened, path };
    tree::delete_within(folder, 0, report).map_err(|_| 500_u16)?;
    let deleted = rustix::fs::unlinkat(&place.folder, &place.name, AtFlags::REMOVEDIR);
    deleted.map_err(|error| report.failed("rmdir()", path, error, 404))
}

fn without_slash(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

impl Transfer {
    /// Source: nginx's `ngx_http_dav_copy_move_handler`.
    fn run(self, report: &mut Report) -> Result<u16, u16> {
        let (from, to) = (merge_slashes(&self.from), merge_slashes(&self.to));
        let is_of_folder = to.ends_with(b"/");
        let to = without_slash(&to);
        self.check_apart(without_slash(&from), to, is_of_folder, report)?;
        let at = Place::of(to, &self.bounds);
        let found = at.as_ref().map_err(|error| *error).and_then(Place::look);
        let taken = match found {
            Err(Errno::NOENT) => None,
            Err(error) => return Err(report.failed("lstat()", to, error, 404)),
            Ok(stat) if is_folder(&stat) && !is_of_folder => {
                return Err(self.could_not(report, 409));
            }
            Ok(_) if !self.overwrite => {
                return Err(report.could_not_create(to, Errno::EXIST, 412));
            }
            Ok(stat) => Some(stat),
        };
        let source = Place::of(&from, &self.bounds);
        let source = source.and_then(|place| place.look().map(|stat| (place, stat)));
        let (source, stat) = source.map_err(|error| report.failed("lstat()", &from, error, 404))?;
        if taken.is_some_and(|taken| (taken.st_dev, taken.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Err(self.same_place(report));
        }
        if !is_folder(&stat) {
            return self.transfer_file(&source, &from, at, to, report);
        }
        if !from.ends_with(b"/") {
            report.say(Level::Error, format!("\"{}\" is collection", self.uri));
            return Err(400);
        }
        let at = at.map_err(|error| report.failed("mkdir()", to, error, 404))?;
        if let Some(taken) = taken {
            delete_at(&at, to, is_folder(&taken), report)?;
        }
        self.transfer_folder((&source, &stat), without_slash(&from), &at, to, report)
    }

    fn could_not(&self, report: &mut Report, status: u16) -> u16 {
        let Self {
            uri, destination, ..
        } = self;
        let done = if self.moves { "MOVEed" } else { "COPYed" };
        let line = format!("\"{uri}\" could not be {done} to collection \"{destination}\"");
        report.say(Level::Error, line);
        status
    }

    fn same_place(&self, report: &mut Report) -> u16 {
        let Self {
            uri, destination, ..
        } = self;
        let line = format!(
            "both URI \"{uri}\" and \"Destination\" URI \"{destination}\" point to the same location"
        );
        report.say(Level::Error, line);
        403
    }

    /// Nothing is copied onto itself, into itself, or onto what it lies in.
    fn check_apart(
        &self,
        from: &[u8],
        to: &[u8],
        is_of_folder: bool,
        report: &mut Report,
    ) -> Result<(), u16> {
        if from == to {
            return Err(self.same_place(report));
        }
        let lies_in = |inner: &[u8], outer: &[u8]| {
            inner
                .strip_prefix(outer)
                .is_some_and(|rest| rest.starts_with(b"/"))
        };
        match is_of_folder && (lies_in(to, from) || lies_in(from, to)) {
            true => Err(self.could_not(report, 403)),
            false => Ok(()),
        }
    }

    fn transfer_file(
        &self,
        source: &Place,
        from: &[u8],
        at: Result<Place, Errno>,
        to: &[u8],
        report: &mut Report,
    ) -> Result<u16, u16> {
        let at = match at {
            Err(Errno::NOENT) if self.moves => {
                let made = Place::of_made(to, &self.bounds, folder_mode(self.mode));
                made.map_err(|error| {
                    report.failed_badly("mkdir()", to, error);
                    500_u16
                })?
            }
            at => at.map_err(|error| {
                report.failed_badly("open()", to, error);
                500_u16
            })?,
        };
        if self.moves {
            let renamed = rustix::fs::renameat(&source.folder, &source.name, &at.folder, &at.name);
            match renamed {
                Ok(()) => return Ok(204),
                Err(Errno::XDEV) => {}
                Err(error) => return Err(not_renamed(from, to, error, report)),
            }
        }
        let refuses_link = self.bounds.refuses_links() || self.moves;
        let copied = tree::open_file(&source.folder, &source.name, refuses_link)
            .and_then(|file| self.bounds.check(&file).map(|()| file))
            .and_then(|file| tree::copy_file(&file, &at.folder, &at.name, None, None));
        copied.map_err(|error| match error {
            Errno::XDEV | Errno::LOOP => report.failed("open()", from, error, 404),
            _ => {
                report.failed_badly("copying", from, error);
                500
            }
        })?;
        if self.moves {
            delete_at(source, from, false, report)?;
        }
        Ok(204)
    }

    fn transfer_folder(
        &self,
        (source, stat): (&Place, &Stat),
        from: &[u8],
        at: &Place,
        to: &[u8],
        report: &mut Report,
    ) -> Result<u16, u16> {
        if self.moves
            && rustix::fs::renameat(&source.folder, &source.name, &at.folder, &at.name).is_ok()
        {
            return Ok(201);
        }
        make_folder(&at.folder, &at.name, stat.st_mode & 0o777)
            .map_err(|error| report.failed("mkdir()", to, error, 404))?;
        let mut open = |place: &Place, path: &[u8]| {
            tree::open_folder(&place.folder, &place.name).map_err(|error| {
                report.failed_badly("opendir()", path, error);
                500_u16
            })
        };
        let (fd, made) = (open(source, from)?, open(at, to)?);
        let folder = Folder {
            fd: &fd,
            path: from,
        };
        tree::copy_within(folder, &made, 0, report).map_err(|_| 500_u16)?;
        if self.moves {
            delete_at(source, from, true, report)?;
        }
        Ok(201)
    }
}

fn merge_slashes(path: &[u8]) -> Vec<u8> {
    let mut merged = path.to_vec();
    merged.dedup_by(|byte, before| *byte == b'/' && *before == b'/');
    merged
}
