//! The typed configuration: built once, shared by all loops, asked without comparing strings.

pub mod process;
pub mod regex;

pub(crate) mod known;
mod pcre;
pub(crate) mod scope;
pub(crate) mod setting;
pub(crate) mod surroundings;
pub(crate) mod syslog;
pub mod variable;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use revolve_conf::{Diagnostics, Files, Sources};
use revolve_http::h1::HeadLimits;

pub use crate::config::process::{Affinity, ProcessConfig, WorkerCount};
pub use crate::config::surroundings::{EnvVariable, Surroundings};
use crate::config::variable::Variables;
use crate::file_cache::Limits;
use crate::http::hosts::{ListenSpec, Port};
use crate::http::location::{Location, LocationId};
use crate::log::{Destination, ErrorTarget};
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

/// A whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The settings of the process.
    pub process: ProcessConfig,
    /// The `http` block, where there is one.
    pub http: Option<Http>,
    /// Folder of relative paths.
    pub prefix: PathBuf,
    /// Every log whose place is known; the configuration speaks of them by their place here.
    pub logs: Vec<Destination>,
    /// Where lines about the process go.
    pub process_log: Vec<ErrorTarget>,
    /// State that the workers share.
    pub zones: Vec<ZoneSpec>,
}

/// The `http` block.
#[derive(Debug)]
pub struct Http {
    /// A number of its own, to tell configurations apart.
    pub id: u64,
    /// The servers, in the order of the file.
    pub servers: Vec<Server>,
    /// The locations of all servers; each server's own level is one of them.
    pub locations: Arc<[Location]>,
    /// The sockets to listen on.
    pub ports: Vec<Port>,
    /// The variables.
    pub variables: Variables,
    /// The bounds of the file cache.
    pub file_limits: Limits,
    /// The folder outside of which no file is served.
    pub files_within: Option<PathBuf>,
}

/// One `server`.
#[derive(Debug)]
pub struct Server {
    /// The first of its names, as `$server_name` and logs show it.
    pub primary_name: String,
    /// Its own level, which holds where no location matches.
    pub location: LocationId,
    /// The limits that heads have here.
    pub(crate) head_limits: HeadLimits,
    /// Its named locations, without `@`.
    pub named: HashMap<String, LocationId>,
}

/// Reads and builds a configuration.
///
/// All errors are found at once; the configuration is there only if there is none. Warnings come
/// with it.
pub fn load(
    main: &Path,
    prefix: &Prefix,
    globals: Option<&str>,
    files: &mut dyn Files,
) -> (Option<Arc<Config>>, Sources, Diagnostics) {
    let (document, mut diagnostics) = revolve_conf::parse(main, globals, files);
    let hosts = files.host_names();
    let (config, hosts) = crate::http::build::build(&document, prefix, hosts, &mut diagnostics);
    files.keep_host_names(hosts);
    diagnostics.sort();
    let config = (!diagnostics.has_errors()).then(|| Arc::new(config));
    (config, document.sources, diagnostics)
}

impl Config {
    /// The settings of the process.
    pub fn process(&self) -> &ProcessConfig {
        &self.process
    }

    /// The sockets to listen on.
    pub fn listens(&self) -> impl Iterator<Item = &ListenSpec> {
        self.http
            .iter()
            .flat_map(|http| http.ports.iter().map(|port| &port.spec))
    }

    /// A zone.
    pub(crate) fn zone(&self, id: ZoneId) -> &ZoneSpec {
        id.of(&self.zones)
    }

    /// State that all processes share, in memory files.
    pub fn zones(&self) -> &[ZoneSpec] {
        &self.zones
    }

    /// Every log file that is to be opened; the one named `stderr` is standard error.
    pub fn log_paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.logs.iter().filter_map(Destination::path)
    }
}
