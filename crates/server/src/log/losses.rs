//! Lines that could not be written: counted, and said once a minute.

use std::time::{Duration, Instant};

/// How often a log that loses lines is complained about.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// The losses of one log since it was complained about last.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    lines: u64,
    reason: String,
    said_at: Option<Instant>,
}

impl Losses {
    /// Counts lost lines; `reason` is why, in the words of a log. The answer is whether they are the
    /// first that there is something to say of.
    pub(crate) fn note(&mut self, lines: u64, reason: String) -> bool {
        let is_first = self.lines == 0 && lines > 0;
        if lines > 0 {
            self.lines += lines;
            self.reason = reason;
        }
        is_first
    }

    /// When it is to be said that lines were lost; nothing if none were.
    pub(crate) fn due_at(&self, now: Instant) -> Option<Instant> {
        let next = self.said_at.map_or(now, |at| at + COMPLAINT_INTERVAL);
        (self.lines > 0).then_some(next)
    }

    /// The complaint, if one is due; with `is_last`, if there is anything to complain about.
    pub(crate) fn complaint(&mut self, now: Instant, is_last: bool) -> Option<String> {
        let due_at = self.due_at(now)?;
        if due_at > now && !is_last {
            return None;
        }
        self.said_at = Some(now);
        let lines = std::mem::take(&mut self.lines);
        let (noun, verb) = if lines == 1 {
            ("line", "is")
        } else {
            ("lines", "are")
        };
        Some(format!("{}, {lines} {noun} {verb} lost", self.reason))
    }

    /// Forgets when it complained, for a log that was opened anew.
    pub(crate) fn forgive(&mut self) {
        self.said_at = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_said_at_once_and_then_once_a_minute() {
        let mut losses = Losses::default();
        let start = Instant::now();
        assert_eq!(losses.complaint(start, true), None);
        losses.note(1, "it failed".into());
        let said = losses.complaint(start, false);
        assert_eq!(said.as_deref(), Some("it failed, 1 line is lost"));
        losses.note(2, "it failed".into());
        losses.note(3, "it failed again".into());
        let almost = start + COMPLAINT_INTERVAL - Duration::from_millis(1);
        assert_eq!(losses.complaint(almost, false), None);
        let due = start + COMPLAINT_INTERVAL;
        assert_eq!(losses.due_at(almost), Some(due));
        let said = losses.complaint(due, false);
        assert_eq!(said.as_deref(), Some("it failed again, 5 lines are lost"));
        losses.note(1, "it failed".into());
        assert!(losses.complaint(due, true).is_some());
    }
}
