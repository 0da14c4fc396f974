//! What the modules that limit connections and requests have in common.

use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::scope::invalid_value;
use crate::log::Level;

/// What became of a request at a limit: `$limit_conn_status` and `$limit_req_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitStatus {
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
pub(crate) fn log_level(word: &Word, directive: &Directive) -> Result<Level, Diagnostic> {
    match Level::named(&word.text) {
        Some(level @ (Level::Error | Level::Warn | Level::Notice | Level::Info)) => Ok(level),
        _ => Err(invalid_value(
            word,
            directive,
            "info, notice, warn or error",
        )),
    }
}
