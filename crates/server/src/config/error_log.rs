//! `error_log`: where errors are written, and from which severity on.
//!
//! ```nginx
//! error_log /var/log/revolve/error.log warn;
//! error_log stderr;
//! error_log syslog:server=unix:/dev/log,tag=web notice;
//! ```

use std::sync::Arc;

use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::scope::Shared;
use crate::config::syslog;
use crate::log::file::STDERR;
use crate::log::{ErrorTarget, Level, Place};

/// Adds what an `error_log` says to those of its level.
pub(crate) fn add(
    targets: &mut Arc<Vec<ErrorTarget>>,
    shared: &mut Shared,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let place = place(shared, word)?;
    let level = level(&directive.args[1..])?;
    let file = shared.log_index(place);
    let targets = Arc::get_mut(targets).expect("nobody shares a level's logs while it is read");
    targets.push(ErrorTarget { file, level });
    Ok(())
}

fn place(shared: &Shared, word: &Word) -> Result<Place, Diagnostic> {
    if word.text.starts_with("memory:") {
        let message = "\"memory:\" logs are not supported";
        return Err(Diagnostic::new(word.span, message)
            .label("expected a file, stderr or syslog:")
            .help("a file in memory does the same: `error_log /dev/shm/revolve.log debug;`"));
    }
    if let Some(parameters) = word.text.strip_prefix("syslog:") {
        return Ok(Place::Syslog(Arc::new(syslog::server(word, parameters)?)));
    }
    Ok(Place::File(match word.text.as_str() {
        STDERR => STDERR.into(),
        name => shared.full_path(name),
    }))
}

/// Kinds of debugging lines that nginx can be asked for one by one; here they are all or none.
const DEBUG_KINDS: [&str; 7] = [
    "debug_core",
    "debug_alloc",
    "debug_mutex",
    "debug_event",
    "debug_http",
    "debug_mail",
    "debug_stream",
];

/// The words behind the place: one level, or none; or kinds of debugging lines.
fn level(words: &[Word]) -> Result<Level, Diagnostic> {
    let mut found = None;
    for word in words {
        if DEBUG_KINDS.contains(&word.text.as_str()) && found.is_none_or(|it| it == Level::Debug) {
            found = Some(Level::Debug);
            continue;
        }
        let level = Level::named(&word.text).ok_or_else(|| {
            Diagnostic::new(word.span, format!("invalid log level \"{}\"", word.text))
                .label("expected debug, info, notice, warn, error, crit, alert or emerg")
        })?;
        if found.replace(level).is_some() {
            let message = format!("duplicate log level \"{}\"", word.text);
            return Err(Diagnostic::new(word.span, message).label("a log has one level"));
        }
    }
    Ok(found.unwrap_or(Level::Error))
}
