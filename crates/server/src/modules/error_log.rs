//! `error_log`: where errors are written, and from which severity on.
//!
//! ```nginx
//! error_log /var/log/revolve/error.log warn;
//! error_log stderr;
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{DirectiveRow, HTTP, LOCATION, MAIN, SERVER, Scope, invalid_parameter};
use crate::config::setting::settings;
use crate::log::file::STDERR;
use crate::log::{ErrorTarget, Level};

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

pub(crate) const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "error_log",
    contexts: MAIN | HTTP | SERVER | LOCATION,
    args: Args::ONE_MORE,
    set: error_log,
}];

fn error_log(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let level = match directive.args.get(1) {
        None => Level::Error,
        Some(word) => Level::named(&word.text).ok_or_else(|| {
            Diagnostic::new(word.span, format!("invalid log level \"{}\"", word.text))
                .label("expected debug, info, notice, warn, error, crit, alert or emerg")
        })?,
    };
    if let Some(extra) = directive.args.get(2) {
        return Err(invalid_parameter(extra, "a file has one level"));
    }
    if word.text.starts_with("syslog:") || word.text.starts_with("memory:") {
        let kind = word.text.split(':').next().unwrap_or_default();
        return Err(
            Diagnostic::new(word.span, format!("\"{kind}:\" logs are not supported yet"))
                .label("expected a file, or stderr"),
        );
    }
    let path = match word.text.as_str() {
        STDERR => PathBuf::from(STDERR),
        name => scope.full_path(name),
    };
    let file = scope.log_index(path);
    let slot = &mut scope.level.settings.error_log.targets;
    let targets = slot.get_or_insert_with(Arc::default);
    let targets = Arc::get_mut(targets).expect("nobody shares a level's logs while it is read");
    targets.push(ErrorTarget { file, level });
    Ok(())
}
