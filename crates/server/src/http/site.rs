//! A configuration in use by one loop: what a request holds on to from its beginning to its end.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::{Config, Http};
use crate::http::location::Location;
use crate::log::Logs;
use crate::zones::Zones;

/// One configuration and its open logs, on one loop.
///
/// A reload puts a new one beside it; requests under way keep theirs, and the last of them
/// frees it.
pub struct Site {
    /// The configuration.
    pub config: Arc<Config>,
    /// The logs that it names.
    pub logs: Rc<Logs>,
    /// The zones that it names, open.
    pub zones: Arc<Zones>,
    /// The locations of the configuration, within easy reach: every step of a request asks one.
    pub(crate) locations: Arc<[Location]>,
}

impl Site {
    pub(crate) fn new(config: Arc<Config>, logs: Rc<Logs>, zones: Arc<Zones>) -> Self {
        let http = config.http.as_ref();
        let locations = http.map_or_else(|| Arc::from([]), |http| Arc::clone(&http.locations));
        Self {
            config,
            logs,
            zones,
            locations,
        }
    }

    /// The `http` block.
    ///
    /// Panics where the configuration has none: such a configuration listens nowhere, so no
    /// request can ask.
    pub fn http(&self) -> &Http {
        self.config
            .http
            .as_ref()
            .expect("a request came in, so there is an http block")
    }
}
