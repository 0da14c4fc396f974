//! What the modules that limit connections and requests have in common.

use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::scope::choice;
use crate::config::setting::settings;
use crate::http::phase::Outcome;
use crate::log::Level;

/// What became of a request at a limit: `$limit_conn_status` and `$limit_req_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum LimitStatus {
    /// No limit looked at it.
    #[default]
    Unset,
    /// It was within the limits.
    Passed,
    /// It had to wait.
    Delayed,
    /// It was refused.
    Rejected,
    /// It would have had to wait.
    DelayedDryRun,
    /// It would have been refused.
    RejectedDryRun,
}

impl LimitStatus {
    /// Appends what the variables show; false where no limit looked at the request.
    pub(crate) fn append(self, out: &mut Vec<u8>) -> bool {
        let text: &[u8] = match self {
            LimitStatus::Unset => return false,
            LimitStatus::Passed => b"PASSED",
            LimitStatus::Delayed => b"DELAYED",
            LimitStatus::Rejected => b"REJECTED",
            LimitStatus::DelayedDryRun => b"DELAYED_DRY_RUN",
            LimitStatus::RejectedDryRun => b"REJECTED_DRY_RUN",
        };
        out.extend_from_slice(text);
        true
    }
}

settings! {
    /// What a limit does with what it refuses; each kind of limit has its own.
    pub struct RefusalSettings / RawRefusals {
        inherit {
            /// `limit_conn_status` and `limit_req_status`, default 503.
            status: u16 = 503,
            /// `limit_conn_log_level` and `limit_req_log_level`, default error. Delays are logged one
            /// below.
            log_level: Level = Level::Error,
            /// `limit_conn_dry_run` and `limit_req_dry_run`, default off.
            dry_run: bool = false,
        }
        own {}
    }
}

impl RefusalSettings {
    /// What becomes of a request that is to be refused, and what the variables say of it.
    pub(crate) fn refuse(&self) -> (LimitStatus, Outcome) {
        if self.dry_run {
            (LimitStatus::RejectedDryRun, Outcome::Next)
        } else {
            (LimitStatus::Rejected, Outcome::Finish(self.status))
        }
    }
}

/// A limit's directive table: its own rows, and those that every kind of limit has, into the
/// [`RawRefusals`] of that name.
macro_rules! rows {
    ($limit:ident, $refusals:ident, [$($row:expr),* $(,)?]) => {
        &[
            $($row,)*
            DirectiveRow {
                name: concat!(stringify!($limit), "_status"),
                contexts: HTTP | SERVER | LOCATION,
                args: Args::ONE,
                set: |scope, directive| {
                    let status = limits::status(&directive.args[0], directive)?;
                    set_once(&mut scope.level.settings.$refusals.status, status, directive)
                },
            },
            DirectiveRow {
                name: concat!(stringify!($limit), "_log_level"),
                contexts: HTTP | SERVER | LOCATION,
                args: Args::ONE,
                set: |scope, directive| {
                    let level = limits::log_level(&directive.args[0])?;
                    set_once(&mut scope.level.settings.$refusals.log_level, level, directive)
                },
            },
            DirectiveRow {
                name: concat!(stringify!($limit), "_dry_run"),
                contexts: HTTP | SERVER | LOCATION,
                args: Args::FLAG,
                set: slot!(flag $refusals.dry_run),
            },
        ]
    };
}
pub(crate) use rows;

/// The status of refusals.
pub(crate) fn status(word: &Word, directive: &Directive) -> Result<u16, Diagnostic> {
    let status = revolve_conf::value::number_of(word, &directive.name.text)?;
    match u16::try_from(status) {
        Ok(status @ 400..=599) => Ok(status),
        _ => Err(
            Diagnostic::new(word.span, "value must be between 400 and 599")
                .label("expected the status of an error"),
        ),
    }
}

/// The level at which refusals are logged.
pub(crate) fn log_level(word: &Word) -> Result<Level, Diagnostic> {
    let choices = [
        ("info", Level::Info),
        ("notice", Level::Notice),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ];
    choice(word, choices)
}
