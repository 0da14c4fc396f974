//! The block `server`.
//!
//! ```nginx
//! http {
//!     server { listen 80; server_name example.org; }
//! }
//! ```

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, SERVER, accept_number};
use crate::http::modules::Module;
use crate::http::modules::listen::Listen;
use crate::http::modules::referer;
use crate::http::modules::server_name::ServerName;
use crate::http::scope::{Block, DirectiveRow, LocationMatch, Scope};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

const DIRECTIVES: &[DirectiveRow] = &[
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

fn server(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let level = Block::new(SERVER, LocationMatch::Server, Some(directive.name.span));
    let mut level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    if level.listens.is_empty() {
        level.listens.push(Listen::implied(directive.name.span));
    }
    if level.server_names.is_empty() {
        level.server_names.push(ServerName::Exact(String::new()));
    }
    let names = std::mem::take(&mut level.server_names);
    referer::complete(&mut level, &names, &mut scope.shared.diagnostics);
    level.server_names = names;
    scope.level.children.push(level);
    Ok(())
}
