//! Files: the content of last resort.
//!
//! What is served is a regular file below `root`; a folder without a slash is redirected to the
//! one with it. Small files come from the coherent cache, large ones go out by `sendfile(2)`.

use std::rc::Rc;

use rustix::io::Errno;

use revolve_http::Method;

use crate::file_cache::{FileEntry, Found};
use crate::http::body::Piece;
use crate::http::modules::core::map_path;
use crate::http::modules::disable_symlinks;
use crate::http::modules::types;
use crate::http::modules::{ALWAYS, Module};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::log::{Level, Shown, errno_text};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_static_module",
    handlers: &[(Phase::Content, ALWAYS, handle)],
    ..Module::EMPTY
};

/// Content phase: answers with the file of the path.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    if !matches!(
        request.current.method,
        Method::Get | Method::Head | Method::Post
    ) {
        return Outcome::Finish(405);
    }
    if request.path.ends_with(b"/") {
        return Outcome::Next;
    }
    let mut file = std::mem::take(&mut request.file_path);
    file.clear();
    map_path(request, &request.path, &mut file);
    let found = disable_symlinks::lookup(request, &file);
    request.state.core.root_seen =
        !matches!(found, Found::Missing(_)) && !request.current.error_page_used;
    let outcome = match found {
        Found::File(entry) => serve(request, entry),
        Found::Directory => redirect_to_folder(request),
        Found::Missing(error) => Outcome::Finish(open_failed(request, &file, error)),
    };
    request.file_path = file;
    outcome
}

/// Answers with a file, of the type that the path has.
pub(crate) fn serve(request: &mut Request, file: Rc<FileEntry>) -> Outcome {
    if request.current.method == Method::Post {
        return Outcome::Finish(405);
    }
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    types::set_content_type(request);
    let etag = request.settings().not_modified.etag;
    let response = &mut request.response;
    response.status = 200;
    response.content_length = Some(file.length);
    response.last_modified = Some(file.modified);
    response.ranges_allowed = true;
    if etag {
        response.headers.push_line(&file.etag_line, b"ETag".len());
    }
    let len = file.length.bytes;
    if len > 0 {
        let start = 0;
        response.body.push(Piece::File { file, start, len });
    }
    Outcome::Respond
}

/// A folder asked for without its slash: 301 to the one with it.
fn redirect_to_folder(request: &mut Request) -> Outcome {
    let mut location = std::mem::take(&mut request.response.location);
    location.clear();
    escape_path(&request.path, &mut location);
    location.push(b'/');
    if !request.args.is_empty() {
        location.push(b'?');
        location.extend_from_slice(&request.args);
    }
    request.response.location = location;
    request.response.has_location = true;
    Outcome::Finish(301)
}

/// What nginx's `NGX_ESCAPE_URI` escapes.
pub(crate) fn is_escaped_in_uri(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | b'"' | b'#' | b'%' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | 0x7f..)
}

/// Escapes what may not stand in a URI's path, as nginx's `NGX_ESCAPE_URI` does.
pub(crate) fn escape_path(path: &[u8], out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in path {
        if is_escaped_in_uri(*byte) {
            out.extend_from_slice(&[
                b'%',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]);
        } else {
            out.push(*byte);
        }
    }
}

/// Logs why a file cannot be opened, and says which status that is.
pub(crate) fn open_failed(request: &Request, file: &[u8], error: Errno) -> u16 {
    let (level, status) = match error {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => (Level::Error, 404),
        Errno::ACCESS | Errno::PERM | Errno::LOOP | Errno::XDEV => (Level::Error, 403),
        // Neither file nor folder: a device, a socket, a pipe.
        Errno::INVAL => (Level::Crit, 404),
        _ => (Level::Crit, 500),
    };
    if status != 404 || request.settings().core.log_not_found {
        let shown = Shown(file);
        match error {
            Errno::INVAL => {
                request.log(level, format_args!("\"{shown}\" is not a regular file"));
            }
            Errno::XDEV => request.log(
                level,
                format_args!("\"{shown}\" leads out of the folder that is served"),
            ),
            _ => {
                let reason = errno_text(error);
                request.log(level, format_args!("open() \"{shown}\" failed ({reason})"));
            }
        }
    }
    status
}
