//! Where the configuration wants lines to go.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::syslog::SyslogServer;
use super::text::shown_path;

/// A place for lines. Two logs at one place are one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file; the path `stderr` is standard error.
    File(PathBuf),
    /// A syslog server.
    Syslog(Arc<SyslogServer>),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => write!(f, "{}", shown_path(path)),
            Place::Syslog(server) => write!(f, "{}", server.address),
        }
    }
}

/// How long lines may be held back (`buffer=`, `flush=` and `gzip=` of `access_log`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffering {
    /// Lines are written when so many bytes are there.
    pub bytes: usize,
    /// Lines are written when the oldest is as old as this. Default: they wait for `bytes`.
    pub flush: Option<Duration>,
    /// The level, from 1 to 9, at which what is written is compressed. Default: it is not.
    pub gzip_level: Option<u8>,
}

/// A log of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Where its lines go.
    pub place: Place,
    /// How long they may be held back. Default: to the end of the loop's turn.
    pub buffering: Option<Buffering>,
}

impl Destination {
    /// The file that is to be opened, where it is one.
    pub fn path(&self) -> Option<&PathBuf> {
        match &self.place {
            Place::File(path) => Some(path),
            Place::Syslog(_) => None,
        }
    }
}
