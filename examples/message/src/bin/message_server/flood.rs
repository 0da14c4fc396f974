//! Who says too much: refused, warned, and then kicked.

use std::time::{Duration, Instant};

/// Windows with a flood after which a client is kicked, if they follow each other closely.
const STRIKES_MAX: u32 = 3;
/// Windows without a flood that let one strike be forgotten.
const FORGIVEN_AFTER: u32 = 10;
/// So many times what is allowed in one window is no mistake any more.
const GROSS: u32 = 10;

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Fine,
    /// The first too many of a window: refused, and the client is warned.
    Warn,
    Refuse,
    Kick,
}

/// Counts the messages of one connection, window by window.
pub(crate) struct FloodGuard {
    messages_max: u32,
    window: Duration,
    begun: Instant,
    messages: u32,
    strikes: u32,
    calm: u32,
}

impl FloodGuard {
    pub(crate) fn new(messages_max: u32, window: Duration, now: Instant) -> FloodGuard {
        FloodGuard {
            messages_max,
            window,
            begun: now,
            messages: 0,
            strikes: 0,
            calm: 0,
        }
    }

    /// Counts a message that has come in.
    pub(crate) fn note(&mut self, now: Instant) -> Verdict {
        let since = now.saturating_duration_since(self.begun);
        if since >= self.window {
            self.begin_window(now, since);
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages <= self.messages_max {
            return Verdict::Fine;
        }
        if self.messages > self.messages_max.saturating_mul(GROSS) {
            return Verdict::Kick;
        }
        if self.messages > self.messages_max + 1 {
            return Verdict::Refuse;
        }
        self.strikes += 1;
        self.calm = 0;
        if self.strikes >= STRIKES_MAX {
            Verdict::Kick
        } else {
            Verdict::Warn
        }
    }

    fn begin_window(&mut self, now: Instant, since: Duration) {
        let windows = since.as_nanos() / self.window.as_nanos().max(1);
        let windows = u32::try_from(windows).unwrap_or(u32::MAX);
        let calm = windows - u32::from(self.messages > self.messages_max);
        self.calm = self.calm.saturating_add(calm);
        self.strikes = self.strikes.saturating_sub(self.calm / FORGIVEN_AFTER);
        self.calm %= FORGIVEN_AFTER;
        self.begun = now;
        self.messages = 0;
    }
}
