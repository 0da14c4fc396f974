//! Answers that are kept as files (`*_store`).

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use revolve_http::Method;

use super::Store;
use crate::http::body::{Broken, Piece, Source};
use crate::http::modules::core;
use crate::http::request::Request;
use crate::log::{Level, error_text};
use crate::runtime::loop_state::LoopState;

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A file that takes a body, and gets its name when the body is whole.
struct Storing {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    modified: Option<SystemTime>,
}

/// Where the answer at hand is to be kept, if it is.
fn path_of(request: &Request) -> Option<PathBuf> {
    let mut path = Vec::new();
    match &request.passing().store {
        Store::Off => return None,
        Store::ByPath => core::map_path(request, &request.path, &mut path),
        Store::At(value) => path = value.evaluate(request),
    }
    let is_kept = request.response.status == 200
        && request.current.method == Method::Get
        && !path.ends_with(b"/")
        && !path.contains(&0);
    let path = PathBuf::from(std::ffi::OsString::from_vec(path));
    is_kept.then(|| request.site.base.prefix.join(path))
}

/// Has the body of the answer be kept on its way, where it is to be. One that cannot be kept is passed on
/// all the same, and the log says why.
pub(crate) fn keep(request: &mut Request) {
    let Some(path) = path_of(request) else {
        return;
    };
    match Storing::begin(request, path) {
        Ok(storing) => match request.response.source.take() {
            None => finish(storing),
            Some(source) => {
                let storing = Some(storing);
                request.response.source = Some(Box::new(Stored { source, storing }));
            }
        },
        Err((path, error)) => {
            let (shown, reason) = (path.display(), error_text(&error));
            request.log(
                Level::Crit,
                format_args!("open() \"{shown}\" failed ({reason}), the answer is not stored"),
            );
        }
    }
}

impl Storing {
    fn begin(request: &Request, path: PathBuf) -> Result<Self, (PathBuf, io::Error)> {
        let mode = request.passing().store_mode;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{number}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        match open(&temporary, mode) {
            Ok(file) => Ok(Self {
                file,
                temporary,
                path,
                modified: request.response.last_modified.map(|it| {
                    let seconds = u64::try_from(it.unix_s).unwrap_or_default();
                    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
                }),
            }),
            Err(error) => Err((temporary, error)),
        }
    }

    fn finish(&self) -> io::Result<()> {
        if let Some(modified) = self.modified {
            self.file.set_modified(modified)?;
        }
        std::fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        // Where it got its name, there is nothing left of it here.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

fn finish(storing: Storing) {
    if let Err(error) = storing.finish() {
        tell("rename()", &storing.path, &error);
    }
}

/// Says that an answer is not kept, which its client need not know.
fn tell(what: &str, path: &Path, error: &io::Error) {
    if let Some(state) = LoopState::current() {
        let (shown, reason) = (path.display(), error_text(error));
        state.log(
            Level::Crit,
            format_args!("{what} \"{shown}\" failed ({reason}), an answer is not stored"),
        );
    }
}

/// Opens a new file, and makes the folders on its way.
fn open(path: &Path, mode: u32) -> io::Result<File> {
    let create = || {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode).open(path)
    };
    let file = match create() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path);
            // Whoever reads a file looks through its folder.
            let mode = mode | (mode & 0o444) >> 2;
            DirBuilder::new()
                .recursive(true)
                .mode(mode | 0o700)
                .create(folder)?;
            create()?
        }
        created => created?,
    };
    // Whatever the mask of the process says.
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    Ok(file)
}

/// A body that is written to a file on its way.
struct Stored {
    source: Box<dyn Source>,
    storing: Option<Storing>,
}

impl Source for Stored {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        let next = self.source.poll_next(cx);
        match &next {
            Poll::Ready(Some(Ok(Piece::Bytes(bytes)))) => {
                let written = self.storing.as_mut().map(|it| it.file.write_all(bytes));
                if let Some(Err(error)) = written
                    && let Some(storing) = self.storing.take()
                {
                    tell("write()", &storing.temporary, &error);
                }
            }
            Poll::Ready(None) => {
                if let Some(storing) = self.storing.take() {
                    finish(storing);
                }
            }
            Poll::Ready(Some(_)) => self.storing = None,
            Poll::Pending => {}
        }
        next
    }
}
