//! Files that are reached through symbolic links, or not.
//!
//! ```nginx
//! disable_symlinks on;                                # none on the whole way
//! disable_symlinks if_not_owner from=$document_root;  # none of somebody else's below the root
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LOCATION, SERVER, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::file_cache::{Found, Refused};
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// Which links are refused, and on which part of the way.
#[derive(Debug)]
pub(crate) struct Guard {
    refused: Refused,
    /// What a path begins with that is not looked at.
    from: Option<Value>,
}

settings! {
    /// Files that are reached through symbolic links, or not.
    pub struct SymlinkSettings / RawSymlinks {
        inherit {
            /// `disable_symlinks`, default off.
            guard: Option<Arc<Guard>> = None,
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[row(
    HTTP | SERVER | LOCATION,
    "disable_symlinks",
    Args::ONE_OR_TWO,
    set,
)];

fn set(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (mut refused, mut from) = (None, None);
    for word in &directive.args {
        match word.text.as_str() {
            "off" => refused = Some(None),
            "on" => refused = Some(Some(Refused::All)),
            "if_not_owner" => refused = Some(Some(Refused::OfOthers)),
            text => match text.strip_prefix("from=") {
                Some(path) => {
                    let mut word = word.clone();
                    word.text = path.to_owned();
                    from = Some(Value::of(&word, &mut scope.shared.registry)?);
                }
                None => {
                    let expected = "expected on, off, if_not_owner or from=";
                    return Err(invalid_parameter(word, expected));
                }
            },
        }
    }
    let Some(refused) = refused else {
        let message =
            "\"disable_symlinks\" must have \"off\", \"on\" or \"if_not_owner\" parameter";
        return Err(Diagnostic::new(directive.span, message).label("expected one of them"));
    };
    if refused.is_none() && from.is_some() {
        let message = "\"disable_symlinks off\" takes no \"from\" parameter";
        return Err(Diagnostic::new(directive.span, message)
            .label("expected nothing beside off, which looks at no part of a path"));
    }
    let guard = refused.map(|refused| Arc::new(Guard { refused, from }));
    set_once(&mut scope.level.settings.symlinks.guard, guard, directive)
}

/// What is at a path, by the links that may lie on its way here.
#[inline]
pub(crate) fn lookup(request: &Request, path: &[u8]) -> Found {
    match &request.settings().symlinks.guard {
        None => request.connection.state.files.lookup(path),
        Some(guard) => lookup_guarded(request, guard, path),
    }
}

/// Which links are refused on the way of paths, and what of a path is not looked at.
pub(crate) fn guard(request: &Request) -> Option<(Refused, Vec<u8>)> {
    let guard = request.settings().symlinks.guard.as_ref()?;
    let from = guard.from.as_ref().map(|from| from.evaluate(request));
    Some((guard.refused, from.unwrap_or_default()))
}

#[cold]
fn lookup_guarded(request: &Request, guard: &Guard, path: &[u8]) -> Found {
    let from = guard.from.as_ref().map(|from| from.evaluate(request));
    let trusted_bytes = from
        .filter(|from| path.starts_with(from))
        .map_or(0, |from| from.len());
    let files = &request.connection.state.files;
    files.lookup_without_links(path, guard.refused, trusted_bytes)
}
