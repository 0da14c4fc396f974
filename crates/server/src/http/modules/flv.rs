//! Flash video from a point on: `?start=` says at which byte.
//!
//! ```nginx
//! location ~ \.flv$ { flv; }
//! ```

use bytes::Bytes;
use revolve_conf::directive::Args;
use revolve_http::Method;

use crate::config::scope::LOCATION;
use crate::config::setting::settings;
use crate::file_cache::Found;
use crate::http::body::Piece;
use crate::http::modules::core::map_path;
use crate::http::modules::{Module, Settings, disable_symlinks, static_files};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, row};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_flv_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// `flv`.
    pub struct FlvSettings / RawFlv {
        inherit {}
        own {}
        handler {
            /// Whether the level answers with videos.
            enabled: bool = false,
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[row(LOCATION, "flv", Args::NONE, |scope, _| {
    scope.level.settings.flv.enabled = Some(true);
    Ok(())
})];

/// How a file begins that has sound and pictures, with the length of the tag before the first.
const BEGINNING: &[u8; 13] = b"FLV\x01\x05\0\0\0\x09\0\0\0\0";

fn applies(settings: &Settings) -> bool {
    settings.flv.enabled
}

/// Content phase: answers with the file of the path, or with its end.
///
/// Source: nginx's `ngx_http_flv_handler`.
fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head) {
        return Outcome::Finish(405);
    }
    if request.path.ends_with(b"/") {
        return Outcome::Next;
    }
    let mut file = std::mem::take(&mut request.file_path);
    file.clear();
    map_path(request, &request.path, &mut file);
    let outcome = match disable_symlinks::lookup(request, &file) {
        Found::File(entry) => static_files::serve(request, entry),
        Found::Directory => Outcome::Next,
        Found::Missing(error) => Outcome::Finish(static_files::open_failed(request, &file, error)),
    };
    request.file_path = file;
    if matches!(outcome, Outcome::Respond) {
        begin_later(request);
    }
    outcome
}

/// Leaves out what the client does not want, if it says so.
fn begin_later(request: &mut Request) {
    let mut start = Vec::new();
    request.argument(b"start", &mut start);
    let start = std::str::from_utf8(&start).ok();
    let Some(skipped) = start.and_then(|start| start.parse::<u64>().ok()) else {
        return;
    };
    let response = &mut request.response;
    let Some(Piece::File { start, len, .. }) = response.body.first_mut() else {
        return;
    };
    if skipped == 0 || skipped >= *len {
        return;
    }
    (*start, *len) = (skipped, *len - skipped);
    let bytes = *len + BEGINNING.len() as u64;
    response
        .body
        .insert(0, Piece::Bytes(Bytes::from_static(BEGINNING)));
    response.set_length(bytes);
    // Another content has another tag.
    if let Some(modified) = response
        .last_modified
        .filter(|_| response.headers.get(b"ETag").is_some())
    {
        let tag = format!("\"{:x}-{bytes:x}\"", modified.unix_s);
        response.headers.replace(b"ETag", tag.as_bytes());
    }
}
