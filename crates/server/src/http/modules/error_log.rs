//! `error_log`: where errors are written, and from which severity on.
//!
//! ```nginx
//! error_log /var/log/revolve/error.log warn;
//! error_log stderr;
//! error_log syslog:server=unix:/dev/log,tag=web notice;
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::error_log;
use crate::config::scope::{HTTP, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope};
use crate::log::ErrorTarget;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_core_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// Where errors are written.
    pub struct ErrorLogSettings / RawErrorLog {
        inherit {
            /// `error_log`; a level that has one inherits none.
            targets: Arc<Vec<ErrorTarget>> = Arc::default(),
        }
        own {}
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "error_log",
    contexts: HTTP | SERVER | LOCATION,
    args: Args::ONE_MORE,
    set: error_log,
}];

fn error_log(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let targets = &mut scope.level.settings.error_log.targets;
    let targets = targets.get_or_insert_with(Arc::default);
    error_log::add(targets, &mut scope.shared, directive)
}
