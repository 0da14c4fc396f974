//! `index`: the file that stands for a folder.
//!
//! ```nginx
//! index index.$geo.html index.html /fallback.html;
//! ```

use rustix::io::Errno;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::file_cache::Found;
use crate::http::modules::core::{map_path, without_slash};
use crate::http::modules::disable_symlinks;
use crate::http::modules::static_files::open_failed;
use crate::http::modules::{ALWAYS, Module};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::log::{Level, Shown, errno_text};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_index_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, ALWAYS, handle)],
    ..Module::EMPTY
};

settings! {
    /// The files that stand for a folder.
    pub struct IndexSettings / RawIndex {
        inherit {
            /// `index`, default `index.html`; tried in order.
            names: Vec<Value> = vec![Value::literal("index.html")],
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "index",
    contexts: HTTP | SERVER | LOCATION,
    args: Args::ONE_MORE,
    set: index,
}];

fn index(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    for (place, word) in directive.args.iter().enumerate() {
        if word.text.starts_with('/') && place + 1 < directive.args.len() {
            let message = "only the last index in \"index\" directive should be absolute";
            let warning = Diagnostic::new(word.span, message).label("those after it are not tried");
            scope.shared.diagnostics.push(warning.warn());
        }
        if word.text.is_empty() {
            let message = "index \"\" in \"index\" directive is invalid";
            return Err(Diagnostic::new(word.span, message).label("expected the name of a file"));
        }
        let value = Value::of(word, &mut scope.shared.registry)?;
        scope
            .level
            .settings
            .index
            .names
            .get_or_insert_with(Vec::new)
            .push(value);
    }
    Ok(())
}

/// Content phase: a path that ends with a slash becomes that of the first index file there is.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    if request.path.ends_with(b"/") && modules_may_answer(request) {
        return of_folder(request);
    }
    Outcome::Next
}

fn of_folder(request: &mut Request) -> Outcome {
    let site = request.site.share();
    let names = &site.locations[request.current.location as usize]
        .settings
        .index
        .names;
    let mut file = std::mem::take(&mut request.file_path);
    let mut outcome = Outcome::Next;
    let mut folder_checked = false;
    for name in names {
        let evaluated;
        let name = match name.as_literal() {
            Some(literal) => literal,
            None => {
                evaluated = name.evaluate(request);
                &evaluated
            }
        };
        if name.starts_with(b"/") {
            let mut path = request.take_spare();
            path.extend_from_slice(name);
            outcome = Outcome::Redirect(path, None);
            break;
        }
        file.clear();
        map_path(request, &request.path, &mut file);
        let folder_len = file.len();
        file.extend_from_slice(name);
        match disable_symlinks::lookup(request, &file) {
            Found::File(_) | Found::Directory => {
                let mut path = request.take_spare();
                path.extend_from_slice(&request.path);
                path.extend_from_slice(name);
                outcome = Outcome::Redirect(path, None);
                break;
            }
            Found::Missing(error) => {
                let status = match status_without(request, &file, error) {
                    None if !folder_checked => {
                        folder_checked = true;
                        folder_status(request, &file, folder_len)
                    }
                    status => status,
                };
                if let Some(status) = status {
                    outcome = Outcome::Finish(status);
                    break;
                }
            }
        }
    }
    request.file_path = file;
    outcome
}

pub(crate) fn modules_may_answer(request: &Request) -> bool {
    use revolve_http::Method;
    matches!(
        request.current.method,
        Method::Get | Method::Head | Method::Post
    )
}

/// What an index file that cannot be opened is answered with; `None` where the next one is tried.
///
/// Source: nginx's `ngx_http_index_handler`.
fn status_without(request: &Request, file: &[u8], error: Errno) -> Option<u16> {
    match error {
        Errno::NOENT => None,
        Errno::LOOP => Some(403),
        Errno::NOTDIR | Errno::NAMETOOLONG => Some(not_there(request, file, error)),
        Errno::ACCESS => {
            let (shown, reason) = (Shown(file), errno_text(error));
            request.log(
                Level::Error,
                format_args!("\"{shown}\" is forbidden ({reason})"),
            );
            Some(403)
        }
        _ => Some(open_failed(request, file, error)),
    }
}

/// A folder that is not there at all is told apart from one without an index file; `file` begins
/// with its name.
///
/// Source: nginx's `ngx_http_index_test_dir`.
fn folder_status(request: &Request, file: &[u8], folder_len: usize) -> Option<u16> {
    let folder = without_slash(&file[..folder_len]);
    match disable_symlinks::lookup(request, folder) {
        Found::Directory | Found::Missing(Errno::ACCESS) => None,
        Found::File(_) => {
            let shown = Shown(folder);
            request.log(Level::Alert, format_args!("\"{shown}\" is not a directory"));
            Some(500)
        }
        Found::Missing(error @ Errno::NOENT) => Some(not_there(request, file, error)),
        Found::Missing(error) => Some(open_failed(request, folder, error)),
    }
}

fn not_there(request: &Request, file: &[u8], error: Errno) -> u16 {
    if request.settings().core.log_not_found {
        let (shown, reason) = (Shown(file), errno_text(error));
        request.log(
            Level::Error,
            format_args!("\"{shown}\" is not found ({reason})"),
        );
    }
    404
}
