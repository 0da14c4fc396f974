//! What a client may send, and how long it may take.
//!
//! ```nginx
//! client_header_timeout 60s;
//! large_client_header_buffers 4 8k;
//! client_max_body_size 1m;
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, value};
use revolve_http::Framing;
use revolve_http::h1::HeadLimits;

use crate::config::scope::{
    HTTP, LOCATION, SERVER, checked_once, checked_size, choice, invalid_value, set_once,
};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::Settings;
use crate::http::modules::{Module, cache};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::request_body::{self, RequestBody};
use crate::http::scope::{DirectiveRow, Scope, slot};
use crate::http::temp_file::{TempFile, TempPath};
use crate::log::Level;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    handlers: &[
        (Phase::PostRead, reads_early, read_early),
        (Phase::FindLocation, limits_body, body_size),
    ],
    ..Module::EMPTY
};

settings! {
    /// What a client may send, and how long it may take.
    pub struct ClientSettings / RawClient {
        inherit {
            /// `client_header_timeout`, milliseconds, default 60 s: for the whole head.
            header_timeout_ms: u64 = 60_000,
            /// `client_body_timeout`, milliseconds, default 60 s: between two reads of a body that
            /// somebody wants, which nobody does yet.
            body_timeout_ms: u64 = 60_000,
            /// `large_client_header_buffers`, number and bytes, default 4 of 8k. A line fits in
            /// one buffer, a head in all: at most `number * size` bytes a connection.
            large_header_buffers: (usize, usize) = (4, 8192),
            /// `client_body_buffer_size`, bytes, default 16k.
            body_buffer_bytes: u64 = 16384,
            /// `client_max_body_size`, bytes, default 1m; 0 means no limit.
            body_bytes_max: u64 = 1 << 20,
            /// `client_body_temp_path`; without one, files have no name and lie in `TMPDIR`.
            body_temp_path: Option<Arc<TempPath>> = None,
            /// `client_body_in_file_only`, default off.
            body_in_file_only: InFileOnly = InFileOnly::Off,
            /// `client_body_early_read`: where one of these is neither empty nor 0, the body is read before
            /// anything else is done.
            body_early_read: Arc<Vec<Value>> = Arc::default(),
            /// `ignore_invalid_headers`, default on.
            ignore_invalid_headers: bool = true,
            /// `max_headers`, header lines of a request, default 1000.
            headers_max: u64 = 1000,
            /// `underscores_in_headers`, default off.
            underscores_in_headers: bool = false,
            /// `merge_slashes`, default on.
            merge_slashes: bool = true,
        }
        own {}
    }
}

/// `client_body_in_file_only`: whether bodies lie in files whatever their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InFileOnly {
    /// Large ones alone.
    Off,
    /// All, and the files stay.
    On,
    /// All, and the files go with their requests.
    Clean,
}

impl ClientSettings {
    /// A file for a body that is too large for memory.
    ///
    /// Errors: where it should have been, and why it cannot.
    pub(crate) fn new_body_file(&self, prefix: &Path) -> Result<TempFile, (PathBuf, io::Error)> {
        let stays = self.body_in_file_only == InFileOnly::On;
        let path = match &self.body_temp_path {
            Some(path) => TempPath::clone(path),
            None if stays => TempPath {
                folder: prefix.join("client_body_temp"),
                levels: Vec::new(),
            },
            None => {
                let file = TempFile::without_name();
                return file.map_err(|error| (std::env::temp_dir(), error));
            }
        };
        let file = TempFile::create(&path).map(|mut file| {
            file.stays = stays;
            file
        });
        file.map_err(|error| (path.folder, error))
    }

    /// The limits as the parser takes them.
    pub(crate) fn head_limits(&self) -> HeadLimits {
        let (buffers, buffer_bytes) = self.large_header_buffers;
        HeadLimits {
            line_bytes_max: buffer_bytes,
            head_bytes_max: buffers * buffer_bytes,
            headers_max: usize::try_from(self.headers_max).unwrap_or(usize::MAX),
            underscores: self.underscores_in_headers,
            ignore_invalid: self.ignore_invalid_headers,
        }
    }
}

const TOP: u32 = HTTP | SERVER;
const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "client_header_timeout",
        contexts: TOP,
        args: Args::ONE,
        set: slot!(time_ms client.header_timeout_ms),
    },
    DirectiveRow {
        name: "client_body_timeout",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(time_ms client.body_timeout_ms),
    },
    DirectiveRow {
        name: "client_header_buffer_size",
        contexts: TOP,
        args: Args::ONE,
        // The loop's pooled buffers take what comes, small ones first.
        set: checked_size,
    },
    DirectiveRow {
        name: "large_client_header_buffers",
        contexts: TOP,
        args: Args::TWO,
        set: large_header_buffers,
    },
    DirectiveRow {
        name: "client_body_buffer_size",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(size client.body_buffer_bytes),
    },
    DirectiveRow {
        name: "client_body_temp_path",
        contexts: ANY,
        args: Args::range(1, 4),
        set: |scope, d| {
            let path = Some(Arc::new(temp_path(scope, d)?));
            set_once(&mut scope.level.settings.client.body_temp_path, path, d)
        },
    },
    DirectiveRow {
        name: "client_body_in_file_only",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, d| {
            let choices = [
                ("off", InFileOnly::Off),
                ("on", InFileOnly::On),
                ("clean", InFileOnly::Clean),
            ];
            let value = choice(&d.args[0], choices)?;
            set_once(&mut scope.level.settings.client.body_in_file_only, value, d)
        },
    },
    DirectiveRow {
        name: "client_body_early_read",
        contexts: TOP,
        args: Args::ONE_MORE,
        set: |scope, d| {
            let values = cache::values(&mut scope.shared, d)?;
            set_once(&mut scope.level.settings.client.body_early_read, values, d)
        },
    },
    DirectiveRow {
        name: "client_body_in_single_buffer",
        contexts: ANY,
        args: Args::FLAG,
        set: checked_once,
    },
    DirectiveRow {
        name: "client_max_body_size",
        contexts: ANY,
        args: Args::ONE,
        set: slot!(offset client.body_bytes_max),
    },
    DirectiveRow {
        name: "max_headers",
        contexts: TOP,
        args: Args::ONE,
        set: slot!(number client.headers_max),
    },
    DirectiveRow {
        name: "ignore_invalid_headers",
        contexts: TOP,
        args: Args::FLAG,
        set: slot!(flag client.ignore_invalid_headers),
    },
    DirectiveRow {
        name: "underscores_in_headers",
        contexts: TOP,
        args: Args::FLAG,
        set: slot!(flag client.underscores_in_headers),
    },
    DirectiveRow {
        name: "merge_slashes",
        contexts: TOP,
        args: Args::FLAG,
        set: slot!(flag client.merge_slashes),
    },
];

/// Reads `PATH [LEVEL [LEVEL [LEVEL]]]`.
pub(crate) fn temp_path(scope: &Scope, directive: &Directive) -> Result<TempPath, Diagnostic> {
    let (folder, levels) = directive
        .args
        .split_first()
        .expect("the table asks for one argument");
    let level = |word: &revolve_conf::Word| {
        let level = value::number(&word.text).filter(|level| (1..=3).contains(level));
        level.map(|level| level as usize).ok_or_else(|| {
            let message = format!("invalid value \"{}\"", word.text);
            Diagnostic::new(word.span, message).label("expected a number of digits from 1 to 3")
        })
    };
    Ok(TempPath {
        folder: scope.shared.full_path(&folder.text),
        levels: levels.iter().map(level).collect::<Result<_, _>>()?,
    })
}

fn large_header_buffers(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let [number, bytes] = [&directive.args[0], &directive.args[1]];
    let wrong = |word, expected| invalid_value(word, directive, expected);
    let above_0 = |value: Option<u64>| value.filter(|value| *value > 0).map(|value| value as usize);
    let value = (
        above_0(value::number(&number.text)).ok_or_else(|| wrong(number, "at least one buffer"))?,
        above_0(value::size(&bytes.text)).ok_or_else(|| wrong(bytes, "a size like 8k"))?,
    );
    set_once(
        &mut scope.level.settings.client.large_header_buffers,
        value,
        directive,
    )
}

/// Whether the level may want bodies before anything else is done.
fn reads_early(settings: &Settings) -> bool {
    !settings.client.body_early_read.is_empty()
}

/// Once the head is read: has the body be read first, where `client_body_early_read` says so, so that
/// everything else may ask for it (`$request_body`).
///
/// Source: nginx's `ngx_http_read_early_body`.
fn read_early(request: &mut Request) -> Outcome {
    if matches!(request.body, RequestBody::None)
        || !cache::holds(&request.settings().client.body_early_read, request)
    {
        return Outcome::Next;
    }
    if let refused @ Outcome::Finish(_) = body_size(request) {
        return refused;
    }
    Outcome::Await(|request| {
        Box::pin(async {
            match request_body::read_whole(request).await {
                Ok(()) => Outcome::Next,
                Err(status) => Outcome::Finish(status),
            }
        })
    })
}

/// Whether the level has a `client_max_body_size`.
pub(crate) fn limits_body(settings: &Settings) -> bool {
    settings.client.body_bytes_max != 0
}

/// Once the location is known: a body that says it is too large is refused before it is read.
pub(crate) fn body_size(request: &mut Request) -> Outcome {
    if let Framing::Length(length) = request.framing()
        && !request.current.body_refused
        && length > request.settings().client.body_bytes_max
    {
        request.log(
            Level::Error,
            format_args!("client intended to send too large body: {length} bytes"),
        );
        request.refuse_continue();
        request.current.body_refused = true;
        return Outcome::Finish(413);
    }
    Outcome::Next
}
