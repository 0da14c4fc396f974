//! `try_files`: the first file that is there, or a fallback.
//!
//! ```nginx
//! try_files $uri $uri/ /index.php?$args;
//! try_files $uri =404;
//! try_files $uri @backend;
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::file_cache::Found;
use crate::http::modules::Module;
use crate::http::modules::Settings;
use crate::http::modules::core::{Alias, append_root, without_slash};
use crate::http::modules::disable_symlinks;
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_try_files_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::PreContent, applies, handle)],
    ..Module::EMPTY
};

/// The names to try, and what to do when none is there.
#[derive(Debug)]
pub(crate) struct TryFiles {
    names: Vec<TryName>,
    fallback: Fallback,
}

#[derive(Debug)]
struct TryName {
    name: Value,
    /// Whether it ended with a slash: a folder is looked for.
    folder: bool,
}

#[derive(Debug)]
enum Fallback {
    Status(u16),
    Named(String),
    Path(Value),
}

settings! {
    /// The files to try.
    pub struct TryFilesSettings / RawTryFiles {
        inherit {}
        own {
            /// `try_files`; it holds for the very level that has it.
            try_files: Option<Arc<TryFiles>> = None,
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "try_files",
    contexts: SERVER | LOCATION,
    args: Args::TWO_MORE,
    set: try_files,
}];

fn try_files(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (last, names) = directive
        .args
        .split_last()
        .expect("the table asks for two arguments");
    let names = names
        .iter()
        .map(|word| {
            let (text, folder) = match word.text.strip_suffix('/') {
                Some(text) if !text.is_empty() => (text, true),
                _ => (word.text.as_str(), word.text == "/"),
            };
            let name = Value::compile(text, word, &mut scope.shared.registry)?;
            Ok(TryName { name, folder })
        })
        .collect::<Result<_, Diagnostic>>()?;
    let fallback = if let Some(code) = last.text.strip_prefix('=') {
        let status = code.parse().ok().filter(|status| *status <= 999);
        Fallback::Status(status.ok_or_else(|| {
            Diagnostic::new(last.span, format!("invalid code \"={code}\""))
                .label("expected a status like =404")
        })?)
    } else if let Some(name) = last.text.strip_prefix('@') {
        Fallback::Named(name.to_owned())
    } else {
        Fallback::Path(Value::of(last, &mut scope.shared.registry)?)
    };
    let value = Some(Arc::new(TryFiles { names, fallback }));
    set_once(
        &mut scope.level.settings.try_files.try_files,
        value,
        directive,
    )
}

/// Whether the level has anything to do with this.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.try_files.try_files.is_some()
}

/// Pre-content phase: sets the path to the first name that is there.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    let Some(try_files) = &request.settings().try_files.try_files else {
        return Outcome::Next;
    };
    let try_files = try_files.clone();
    let mut file = std::mem::take(&mut request.file_path);
    let mut uri = request.take_spare();
    let mut found = false;
    for TryName { name, folder } in &try_files.names {
        uri.clear();
        name.append(request, &mut uri);
        file.clear();
        let tried = below_alias(request, name, &uri);
        append_root(request, &mut file);
        let root_len = file.len();
        file.extend_from_slice(tried);
        let trimmed = without_slash(&file);
        let there = match disable_symlinks::lookup(request, trimmed) {
            // A file asked for with a slash behind its name is not there.
            Found::File(_) => !*folder && trimmed.len() == file.len(),
            Found::Directory => *folder,
            Found::Missing(_) => false,
        };
        if there {
            set_path(request, &file[root_len..], *folder);
            found = true;
            break;
        }
    }
    request.file_path = file;
    request.give_spare(uri);
    if found {
        return Outcome::Next;
    }
    match &try_files.fallback {
        Fallback::Status(status) => Outcome::Finish(*status),
        Fallback::Named(name) => Outcome::Named(name.clone()),
        Fallback::Path(value) => {
            let mut path = value.evaluate(request);
            path.drain(..doubled_bytes(request, value, &path));
            let (path, args) = split_args(request, path);
            Outcome::Redirect(path, Some(args))
        }
    }
}

/// What of a name is looked for below an alias: a name that a variable has made of the request's
/// path begins with what the alias replaces.
fn below_alias<'a>(request: &Request, name: &Value, uri: &'a [u8]) -> &'a [u8] {
    let Some(Alias::Prefix(replaced)) = request.settings().core.root.alias else {
        return uri;
    };
    match request.path.get(..replaced) {
        Some(prefix) if name.as_literal().is_none() => uri.strip_prefix(prefix).unwrap_or(uri),
        _ => uri,
    }
}

/// How much of a last word is left out: nginx cuts off the beginning that an alias stands for wherever
/// variables are in the word (its ticket 97), so that it is written twice, as in
/// `/app//app/index.php?$args`.
fn doubled_bytes(request: &Request, value: &Value, path: &[u8]) -> usize {
    let Some(Alias::Prefix(replaced)) = request.settings().core.root.alias else {
        return 0;
    };
    let prefix = request.path.get(..replaced).unwrap_or_default();
    let rest = path.strip_prefix(prefix).unwrap_or_default();
    let is_doubled = prefix.ends_with(b"/") && rest.starts_with(prefix);
    if is_doubled && value.as_literal().is_none() {
        replaced
    } else {
        0
    }
}

fn set_path(request: &mut Request, below_root: &[u8], folder: bool) {
    let kept = match request.settings().core.root.alias {
        None => 0,
        Some(Alias::Prefix(replaced)) => replaced,
        Some(Alias::Whole) if folder => return,
        Some(Alias::Whole) => {
            request.state.core.path_behind_alias = true;
            0
        }
    };
    request.path.truncate(kept);
    request.path.extend_from_slice(below_root);
}

/// Splits `path?args`, to which a request is to be redirected; the arguments are empty where there are
/// none. Where there is a `?`, `$args` has a value even if that is empty.
pub(crate) fn split_args(request: &mut Request, mut uri: Vec<u8>) -> (Vec<u8>, Vec<u8>) {
    let question = memchr::memchr(b'?', &uri);
    request.current.args_given = question.is_some();
    match question {
        Some(at) => {
            let args = uri[at + 1..].to_vec();
            uri.truncate(at);
            (uri, args)
        }
        None => (uri, Vec::new()),
    }
}
