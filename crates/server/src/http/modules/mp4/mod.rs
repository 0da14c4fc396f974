//! Videos from a time on: `?start=` and `?end=` in seconds.
//!
//! ```nginx
//! location /video/ {
//!     mp4;
//!     mp4_buffer_size     1m;
//!     mp4_max_buffer_size 5m;
//!     mp4_start_key_frame on;
//! }
//! ```
//!
//! The file itself is not changed: its index (`moov`) is read, cut to the time asked for and sent before the
//! bytes of the samples that are left.

mod atoms;
mod cut;
mod movie;
mod tables;

use std::sync::Arc;

use bytes::Bytes;
use revolve_conf::directive::Args;
use revolve_http::Method;

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::thread_pool::{DEFAULT, DiskThreads};
use crate::file_cache::{Content, Found};
use crate::http::body::Piece;
use crate::http::modules::core::map_path;
use crate::http::modules::{Module, Settings, disable_symlinks, disk, static_files};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, row, slot};
use crate::log::{Level, Shown};

#[cfg(fuzzing)]
pub use movie::check as check_movie;
use movie::{Asked, Rewritten};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_mp4_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// Videos from a time on.
    pub struct Mp4Settings / RawMp4 {
        inherit {
            /// `mp4_buffer_size`, bytes, default 512k.
            buffer_bytes: u64 = 512 * 1024,
            /// `mp4_max_buffer_size`, bytes, default 10m: a larger index is refused.
            index_bytes_max: u64 = 10 * 1024 * 1024,
            /// `mp4_start_key_frame`, default off: what is sent begins with a picture that needs no other.
            start_key_frame: bool = false,
        }
        own {}
        handler {
            /// Whether the level answers with videos, and which threads read them where no `aio` names others.
            threads: Option<Arc<DiskThreads>> = None,
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(LOCATION, "mp4", Args::NONE, |scope, _| {
        let threads = scope.shared.thread_pools.get(DEFAULT);
        scope.level.settings.mp4.threads = Some(threads);
        Ok(())
    }),
    row(
        ANY,
        "mp4_buffer_size",
        Args::ONE,
        slot!(size mp4.buffer_bytes),
    ),
    row(
        ANY,
        "mp4_max_buffer_size",
        Args::ONE,
        slot!(size mp4.index_bytes_max),
    ),
    row(ANY, "mp4_start_key_frame", Args::FLAG, |scope, d| {
        let value = revolve_conf::value::flag_of(&d.args[0], &d.name.text)?;
        set_once(&mut scope.level.settings.mp4.start_key_frame, value, d)
    }),
];

fn applies(settings: &Settings) -> bool {
    settings.mp4.threads.is_some()
}

/// Content phase: answers with the file of the path, or with the part that is asked for.
///
/// Source: nginx's `ngx_http_mp4_handler`.
fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head) {
        return Outcome::Finish(405);
    }
    if request.path.ends_with(b"/") {
        return Outcome::Next;
    }
    let mut path = std::mem::take(&mut request.file_path);
    path.clear();
    map_path(request, &request.path, &mut path);
    let outcome = match disable_symlinks::lookup(request, &path) {
        Found::File(entry) => static_files::serve(request, entry),
        Found::Directory => Outcome::Next,
        Found::Missing(error) => Outcome::Finish(static_files::open_failed(request, &path, error)),
    };
    request.file_path = path;
    match outcome {
        Outcome::Respond if asked(request).is_some() => {
            Outcome::Await(|request| Box::pin(cut(request)))
        }
        outcome => outcome,
    }
}

/// The time that is asked for.
fn asked(request: &Request) -> Option<Asked> {
    let argument = |name: &[u8]| {
        let mut value = Vec::new();
        request.argument(name, &mut value).then_some(value)
    };
    let settings = &request.settings().mp4;
    let start = argument(b"start").and_then(|text| milliseconds(&text));
    let end = argument(b"end")
        .and_then(|text| milliseconds(&text))
        .filter(|end| *end > 0);
    let start_ms = start.or(end.map(|_| 0))?;
    Some(Asked {
        start_ms,
        length_ms: end.map_or(0, |end| end.saturating_sub(start_ms)),
        start_key_frame: settings.start_key_frame,
        index_bytes_max: settings.index_bytes_max.max(settings.buffer_bytes),
    })
}

/// Seconds with digits behind a dot, of which three count. `None` for what is no number.
///
/// Source: nginx's `ngx_http_mp4_atofp`.
fn milliseconds(text: &[u8]) -> Option<u64> {
    let (mut value, mut places, mut has_dot) = (0_u64, 3, false);
    for byte in text {
        match byte {
            b'.' if has_dot => return None,
            b'.' => has_dot = true,
            b'0'..=b'9' if places == 0 => {}
            b'0'..=b'9' => {
                value = value.checked_mul(10)?.checked_add(u64::from(byte - b'0'))?;
                places -= u32::from(has_dot);
            }
            _ => return None,
        }
    }
    let value = value.checked_mul(10_u64.pow(places))?;
    (!text.is_empty() && i64::try_from(value).is_ok()).then_some(value)
}

/// Leaves out of a file that is about to be sent what is not asked for.
async fn cut(request: &mut Request) -> Outcome {
    let (Some(asked), Some(Piece::File { file, .. })) =
        (asked(request), request.response.body.first())
    else {
        return rejected(request, "no mp4 trak atoms were found in \"@\"");
    };
    let (file, size) = (file.clone(), file.length.bytes);
    let content: Box<dyn atoms::ReadAt + Send> = match &file.content {
        Content::Bytes(bytes) => Box::new(bytes.clone()),
        Content::Descriptor(descriptor) => Box::new(Arc::clone(descriptor)),
    };
    let settings = request.settings();
    let threads = disk::threads(settings).or(settings.mp4.threads.as_ref());
    let threads = threads.expect("whoever answers with videos has threads");
    let work = move || movie::rewrite(content.as_ref(), size, &asked);
    let rewritten = disk::run(request, threads, work).await;
    request.response.single_range = true;
    match rewritten {
        None => Outcome::Finish(500),
        Some(Err(fault)) => rejected(request, &fault.0),
        Some(Ok(Rewritten::Whole)) => Outcome::Respond,
        Some(Ok(Rewritten::Part { head, samples })) => {
            let response = &mut request.response;
            let length = head.len() as u64 + (samples.end - samples.start);
            response.body.clear();
            response.body.push(Piece::Bytes(Bytes::from(head)));
            if samples.start < samples.end {
                response.body.push(Piece::File {
                    file,
                    start: samples.start,
                    len: samples.end - samples.start,
                });
            }
            response.set_length(length);
            // Another content has another tag.
            if let Some(modified) = response
                .last_modified
                .filter(|_| response.headers.get(b"ETag").is_some())
            {
                let tag = format!("\"{:x}-{length:x}\"", modified.unix_s);
                response.headers.replace(b"ETag", tag.as_bytes());
            }
            Outcome::Respond
        }
    }
}

/// The file is none that can be cut: says so, with its name for `@`.
fn rejected(request: &mut Request, why: &str) -> Outcome {
    let name = Shown(&request.file_path).to_string();
    request.log(
        Level::Error,
        format_args!("{}", why.replacen('@', &name, 1)),
    );
    request.response.headers.clear();
    Outcome::Finish(500)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_nginx_reads_them() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1", Some(1000)),
            ("1.5", Some(1500)),
            ("1.23456789", Some(1234)),
            (".5", Some(500)),
            ("5.", Some(5000)),
            ("", None),
            (".", Some(0)),
            ("1.2.3", None),
            ("-1", None),
            ("1e3", None),
            ("9223372036854775807", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(milliseconds(text.as_bytes()), expected, "{text}");
        }
    }
}
