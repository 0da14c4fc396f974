//! How a configuration is read: scopes, settings, rows, values; and what it says of the process.
//!
//! No block of an application is known here by name.

pub(crate) mod error_log;
pub(crate) mod known;
mod load_module;
mod pcre;
pub(crate) mod process;
pub mod regex;
pub(crate) mod scope;
pub(crate) mod setting;
pub(crate) mod surroundings;
pub(crate) mod syslog;
pub(crate) mod thread_pool;
pub(crate) mod variable;

use std::path::PathBuf;

pub use crate::config::process::{Affinity, ProcessConfig, WorkerCount};
pub use crate::config::surroundings::{EnvVariable, Surroundings};
use crate::file_cache::Limits;
use crate::log::{Destination, ErrorTarget};
use crate::net::{ListenSpec, SocketId};
use crate::zones::{ZoneId, ZoneSpec};

/// Where the configuration's relative names lead, and what it has when it does not say.
#[derive(Debug, Clone)]
pub struct Prefix {
    /// Folder of relative paths (`-p`).
    pub prefix: PathBuf,
    /// `error_log` where the file has none (`-e`); `stderr` is standard error.
    pub error_log: PathBuf,
    /// `access_log` where the `http` block has none; `None` for no log.
    pub access_log: Option<PathBuf>,
}

/// What a configuration says whatever is served by it.
#[derive(Debug)]
pub struct Base {
    /// The settings of the process.
    pub process: ProcessConfig,
    /// Folder of relative paths.
    pub prefix: PathBuf,
    /// Every log whose place is known; the configuration speaks of them by their place here.
    pub logs: Vec<Destination>,
    /// Where lines about the process go.
    pub process_log: Vec<ErrorTarget>,
    /// State that the workers share.
    pub zones: Vec<ZoneSpec>,
    pub(crate) listens: Vec<ListenSpec>,
    pub(crate) file_limits: Limits,
    /// The folder outside of which no file is served.
    pub(crate) files_within: Option<PathBuf>,
}

impl Base {
    /// The sockets to listen on.
    pub fn listens(&self) -> impl Iterator<Item = &ListenSpec> {
        self.listens.iter()
    }

    /// Whether a socket is one of those.
    pub(crate) fn listens_on(&self, socket: &SocketId) -> bool {
        self.listens.iter().any(|spec| spec.id == *socket)
    }

    /// A zone.
    pub(crate) fn zone(&self, id: ZoneId) -> &ZoneSpec {
        id.of(&self.zones)
    }
}
