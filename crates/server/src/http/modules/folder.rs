//! Looking into folders: what `autoindex` and `random_index` have in common.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::io::Errno;

use crate::file_cache::Found;
use crate::http::modules::core::{map_path, without_slash};
use crate::http::modules::disable_symlinks;
use crate::http::request::Request;
use crate::log::{Level, Shown, errno_text, error_text};

/// What is in a folder.
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) metadata: Metadata,
}

/// What is in the folder of the request's path, in no order; names that begin with a dot are left out.
///
/// Errors: the status to answer with; why is in the log.
///
/// Source: nginx's `ngx_http_autoindex_handler`.
pub(super) fn entries(request: &mut Request) -> Result<Vec<Entry>, u16> {
    let mut path = std::mem::take(&mut request.file_path);
    path.clear();
    map_path(request, &request.path, &mut path);
    let entries = read(request, without_slash(&path));
    request.file_path = path;
    entries
}

fn read(request: &Request, folder: &[u8]) -> Result<Vec<Entry>, u16> {
    let refused = match disable_symlinks::lookup(request, folder) {
        Found::Directory => None,
        Found::File(_) => Some(Errno::NOTDIR),
        Found::Missing(error) => Some(error),
    };
    let shown = Shown(folder);
    if let Some(error) = refused {
        let (level, status) = match error {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => (Level::Error, 404),
            Errno::ACCESS | Errno::XDEV => (Level::Error, 403),
            _ => (Level::Crit, 500),
        };
        let reason = errno_text(error);
        request.log(
            level,
            format_args!("opendir() \"{shown}\" failed ({reason})"),
        );
        return Err(status);
    }
    let path = Path::new(OsStr::from_bytes(folder));
    let listed = fs::read_dir(path).map_err(|error| {
        let (level, status): (Level, u16) = match error.kind() {
            std::io::ErrorKind::PermissionDenied => (Level::Error, 403),
            std::io::ErrorKind::NotFound => (Level::Error, 404),
            _ => (Level::Crit, 500),
        };
        let reason = error_text(&error);
        request.log(
            level,
            format_args!("opendir() \"{shown}\" failed ({reason})"),
        );
        status
    })?;
    let mut entries = Vec::new();
    for entry in listed {
        let entry = entry.map_err(|error| {
            let reason = error_text(&error);
            request.log(
                Level::Crit,
                format_args!("readdir() \"{shown}\" failed ({reason})"),
            );
            500u16
        })?;
        let name: OsString = entry.file_name();
        let name = name.into_vec();
        if name.first() == Some(&b'.') {
            continue;
        }
        if let Some(metadata) = look_at(request, &entry.path())? {
            entries.push(Entry { name, metadata });
        }
    }
    Ok(entries)
}

/// What is told of an entry; `None` where it is left out.
fn look_at(request: &Request, file: &Path) -> Result<Option<Metadata>, u16> {
    // A link that leads nowhere is shown as what it is.
    let metadata = fs::metadata(file).or_else(|error| match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::LOOP) => fs::symlink_metadata(file),
        _ => Err(error),
    });
    let error = match metadata {
        Ok(metadata) => return Ok(Some(metadata)),
        Err(error) => error,
    };
    // It has gone since.
    if error.kind() == std::io::ErrorKind::NotFound {
        return Ok(None);
    }
    let (shown, reason) = (Shown(file.as_os_str().as_bytes()), error_text(&error));
    request.log(
        Level::Crit,
        format_args!("stat() \"{shown}\" failed ({reason})"),
    );
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => Ok(None),
        _ => Err(500),
    }
}
