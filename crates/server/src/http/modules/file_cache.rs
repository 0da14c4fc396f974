//! The bounds of the coherent file cache, and nginx's `open_file_cache`.
//!
//! ```nginx
//! file_cache entries=10000 bytes=64m file_bytes=64k descriptors=256;   # Revolve's own
//! file_cache off;
//! files_within /srv/www;                    # Revolve's own: no symbolic link leads elsewhere
//! ```
//!
//! nginx's `open_file_cache` trades coherence for speed: what it answers may be as old as
//! `open_file_cache_valid`. Revolve's cache is always on and never stale, so those directives
//! are checked and have nothing left to set.

use std::path::PathBuf;

use revolve_conf::directive::Args;
use revolve_conf::value::time_s_of;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{
    HTTP, LOCATION, SERVER, accept_number, checked_once, invalid_parameter, set_once,
};
use crate::config::setting::settings;
use crate::file_cache::Limits;
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// The bounds of the file cache.
    pub struct FileCacheSettings / RawFileCache {
        inherit {
            /// `file_cache`, for each event loop.
            limits: Limits = Limits::default(),
            /// `files_within`: where all that is served lies; `None` for anywhere.
            within: Option<PathBuf> = None,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "file_cache",
        contexts: HTTP,
        args: Args::ONE_MORE,
        set: file_cache,
    },
    DirectiveRow {
        name: "files_within",
        contexts: HTTP,
        args: Args::ONE,
        set: files_within,
    },
    DirectiveRow {
        name: "open_file_cache",
        contexts: ANY,
        args: Args::ONE_OR_TWO,
        set: open_file_cache,
    },
    DirectiveRow {
        name: "open_file_cache_valid",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, d| {
            time_s_of(&d.args[0], &d.name.text)?;
            checked_once(scope, d)
        },
    },
    DirectiveRow {
        name: "open_file_cache_min_uses",
        contexts: ANY,
        args: Args::ONE,
        set: accept_number,
    },
    DirectiveRow {
        name: "open_file_cache_errors",
        contexts: ANY,
        args: Args::FLAG,
        set: checked_once,
    },
    DirectiveRow {
        name: "open_file_cache_events",
        contexts: ANY,
        args: Args::FLAG,
        set: checked_once,
    },
];

fn file_cache(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut limits = Limits::default();
    for word in &directive.args {
        let wrong = || {
            invalid_parameter(
                word,
                "expected off, entries=, bytes=, file_bytes= or descriptors= with a size",
            )
        };
        if word.text == "off" && directive.args.len() == 1 {
            limits.entries_max = 0;
            continue;
        }
        let (name, value) = word.text.split_once('=').ok_or_else(wrong)?;
        let value = revolve_conf::value::size(value).ok_or_else(wrong)?;
        match name {
            "entries" => limits.entries_max = value as usize,
            "bytes" => limits.bytes_max = value,
            "file_bytes" => limits.file_bytes_max = value,
            "descriptors" => limits.descriptors_max = value as usize,
            _ => return Err(wrong()),
        }
    }
    set_once(
        &mut scope.level.settings.file_cache.limits,
        limits,
        directive,
    )
}

fn files_within(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let folder = scope.shared.full_path(&directive.args[0].text);
    set_once(
        &mut scope.level.settings.file_cache.within,
        Some(folder),
        directive,
    )
}

fn open_file_cache(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut max_given = false;
    for word in &directive.args {
        let wrong = || {
            let message = format!("invalid \"open_file_cache\" parameter \"{}\"", word.text);
            Diagnostic::new(word.span, message).label("expected off, max=N or inactive=time")
        };
        match word.text.split_once('=') {
            None if word.text == "off" => max_given = true,
            Some(("max", value)) => {
                max_given = revolve_conf::value::number(value).is_some_and(|max| max > 0);
                if !max_given {
                    return Err(wrong());
                }
            }
            Some(("inactive", value)) if revolve_conf::value::time_s(value).is_some() => {}
            _ => return Err(wrong()),
        }
    }
    if !max_given {
        return Err(Diagnostic::new(
            directive.span,
            "\"open_file_cache\" must have the \"max\" parameter",
        )
        .label("expected max=N"));
    }
    checked_once(scope, directive)
}
