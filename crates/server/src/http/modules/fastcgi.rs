//! `fastcgi_pass`: requests answered by a FastCGI application, such as PHP's.
//!
//! ```nginx
//! location ~ [^/]\.php(/|$) {
//!     fastcgi_split_path_info ^(.+?\.php)(/.*)$;
//!     fastcgi_pass unix:/run/php/php-fpm.sock;
//!     fastcgi_index index.php;
//!     include fastcgi.conf;
//!     fastcgi_param PATH_INFO $fastcgi_path_info;
//! }
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::regex::{Groups, Pattern};
use crate::config::scope::{
    HTTP, IF_LOCATION, LIMIT_EXCEPT, LOCATION, SERVER, checked_once, set_once,
};
use crate::config::setting::settings;
use crate::http::modules::cgi;
pub(crate) use crate::http::modules::cgi::{CgiSettings, RawCgi};
use crate::http::modules::passing::{self, Protocol};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy;
use crate::http::proxy::log_stderr;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::http::variables::Builtin;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_fastcgi_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[
        (Phase::Content, applies, handle),
        (Phase::Log, applies, log),
    ],
    ..Module::EMPTY
};

settings! {
    /// How FastCGI is spoken.
    pub struct FastCgiSettings / RawFastCgi {
        inherit {
            /// `fastcgi_index`.
            index: String = String::new(),
            /// `fastcgi_split_path_info`.
            split_path: Option<Pattern> = None,
            /// `fastcgi_catch_stderr`: what an application may not write to its standard error.
            caught: Arc<Vec<String>> = Arc::default(),
            /// `fastcgi_keep_conn`, default off.
            keep_conn: bool = false,
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = passing::rows!(
    "fastcgi",
    fastcgi_passing,
    [
        DirectiveRow {
            name: "fastcgi_pass",
            contexts: LOCATION | IF_LOCATION | LIMIT_EXCEPT,
            args: Args::ONE,
            set: |scope, d| {
                let pass = cgi::pass(scope, (Protocol::FastCgi, &d.args[0].text), &d.args[0])?;
                set_once(&mut scope.level.settings.fastcgi_cgi.pass, pass, d)
            },
        },
        DirectiveRow {
            name: "fastcgi_param",
            contexts: ANY,
            args: Args::TWO_OR_THREE,
            set: |scope, d| {
                let params = &mut scope.level.settings.fastcgi_cgi.params;
                cgi::add_param(params, &mut scope.shared.registry, d)
            },
        },
        DirectiveRow {
            name: "fastcgi_index",
            contexts: ANY,
            args: Args::ONE,
            set: |scope, d| {
                let index = d.args[0].text.clone();
                set_once(&mut scope.level.settings.fastcgi.index, index, d)
            },
        },
        DirectiveRow {
            name: "fastcgi_split_path_info",
            contexts: ANY,
            args: Args::ONE,
            set: split_path_info,
        },
        // As on every system but FreeBSD.
        row(ANY, "fastcgi_send_lowat", Args::ONE, checked_once),
        row(ANY, "fastcgi_catch_stderr", Args::ONE, |scope, d| {
            let texts = &mut scope.level.settings.fastcgi.caught;
            let texts = texts.get_or_insert_with(Arc::default);
            let text = d.args[0].text.clone();
            Arc::get_mut(texts)
                .expect("nobody shares a level's texts while it is read")
                .push(text);
            Ok(())
        }),
        DirectiveRow {
            name: "fastcgi_keep_conn",
            contexts: ANY,
            args: Args::FLAG,
            set: slot!(flag fastcgi.keep_conn),
        },
    ]
);

fn split_path_info(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let mut pattern = scope.shared.patterns.compile(word, &word.text, false)?;
    if pattern.names().len() != 3 {
        let message = format!("pattern \"{}\" must have 2 captures", word.text);
        let label = "expected a group for the script's name and one for what follows it";
        return Err(Diagnostic::new(word.span, message).label(label));
    }
    pattern.note_numbers(true);
    set_once(
        &mut scope.level.settings.fastcgi.split_path,
        Some(pattern),
        directive,
    )
}

/// The module's variables.
const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "fastcgi_script_name",
        get: |request, out| {
            let (script, _) = split(request);
            out.extend_from_slice(script);
            if script.ends_with(b"/") {
                out.extend_from_slice(request.settings().fastcgi.index.as_bytes());
            }
            true
        },
    },
    Builtin {
        name: "fastcgi_path_info",
        get: |request, out| {
            out.extend_from_slice(split(request).1);
            true
        },
    },
];

/// The name of the script in a path, and what follows it.
fn split(request: &Request) -> (&[u8], &[u8]) {
    let path = request.path.as_slice();
    let mut groups = Groups::new();
    let pattern = request.settings().fastcgi.split_path.as_ref();
    let is_met = pattern.is_some_and(|it| matches!(it.captures(path, &mut groups), Ok(true)));
    if !is_met {
        return (path, b"");
    }
    let group = |index: usize| match groups.get(index).copied().flatten() {
        Some((from, to)) => &path[from as usize..to as usize],
        None => b"",
    };
    (group(1), group(2))
}

/// Whether the level passes requests on.
fn applies(settings: &Settings) -> bool {
    settings.fastcgi_cgi.pass.is_some()
}

/// Content phase: has the application answer.
fn handle(_: &mut Request) -> Outcome {
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::FastCgi)))
}

/// Log phase: what the application has said since its head.
fn log(request: &mut Request) -> Outcome {
    log_stderr(request, "while reading upstream");
    Outcome::Next
}
