//! The blocks `http` and `server`.
//!
//! ```nginx
//! http {
//!     server { listen 80; server_name example.org; }
//! }
//! ```

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{
    DirectiveRow, HTTP, Level, LocationMatch, MAIN, SERVER, Scope, accept_number,
};
use crate::http::modules::listen::Listen;
use crate::http::modules::server_name::ServerName;

pub(crate) const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "http",
        contexts: MAIN,
        args: Args::BLOCK,
        set: http,
    },
    DirectiveRow {
        name: "server",
        contexts: HTTP,
        args: Args::BLOCK,
        set: server,
    },
    DirectiveRow {
        name: "variables_hash_max_size",
        contexts: HTTP,
        args: Args::ONE,
        set: accept_number,
    },
    DirectiveRow {
        name: "variables_hash_bucket_size",
        contexts: HTTP,
        args: Args::ONE,
        set: accept_number,
    },
];

fn http(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.http.is_some() {
        return Err(duplicate(directive));
    }
    let level = Level::new(HTTP, LocationMatch::Server, Some(directive.span));
    let level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    scope.http = Some(level);
    Ok(())
}

fn server(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let level = Level::new(SERVER, LocationMatch::Server, Some(directive.name.span));
    let mut level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    if level.listens.is_empty() {
        level.listens.push(Listen::implied(directive.name.span));
    }
    if level.server_names.is_empty() {
        level.server_names.push(ServerName::Exact(String::new()));
    }
    scope.level.children.push(level);
    Ok(())
}
