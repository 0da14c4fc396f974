//! How grave a line of the error log is, and from what on it is written where.

/// Severity of an error log line, nginx's names and order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The server cannot run.
    Emerg,
    /// Something must be done at once.
    Alert,
    /// Something is broken.
    Crit,
    /// A request failed.
    Error,
    /// Something is odd.
    Warn,
    /// Worth knowing.
    Notice,
    /// What clients do.
    Info,
    /// How the server works.
    Debug,
}

impl Level {
    /// All levels by name.
    pub const NAMES: [(&'static str, Level); 8] = [
        ("emerg", Level::Emerg),
        ("alert", Level::Alert),
        ("crit", Level::Crit),
        ("error", Level::Error),
        ("warn", Level::Warn),
        ("notice", Level::Notice),
        ("info", Level::Info),
        ("debug", Level::Debug),
    ];

    /// The level of a name.
    pub fn named(name: &str) -> Option<Level> {
        Self::NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, level)| *level)
    }

    /// The name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// Where error lines of a place in the configuration go, and from which severity on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorTarget {
    /// Index of the log in [`Base::logs`](crate::Base::logs).
    pub file: usize,
    /// The least severe level that is written.
    pub level: Level,
}
