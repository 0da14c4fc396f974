//! HTTP: requests and responses, and the way from one to the other.

pub(crate) mod base64;
pub(crate) mod body;
mod build;
pub(crate) mod cache;
mod error_log;
pub(crate) mod filter;
#[cfg(any(test, fuzzing))]
pub(crate) mod filter_checks;
pub(crate) mod h1;
pub(crate) mod h2;
mod header_list;
pub(crate) mod hosts;
mod http_loop;
pub(crate) mod location;
pub mod modules;
mod names;
pub(crate) mod phase;
pub(crate) mod proxy;
pub(crate) mod request;
pub(crate) mod request_body;
pub(crate) mod response;
pub(crate) mod scope;
pub(crate) mod serve;
pub(crate) mod sink;
pub(crate) mod site;
mod source;
pub(crate) mod subrequest;
pub(crate) mod temp_file;
#[cfg(any(test, fuzzing))]
pub(crate) mod testing;
#[cfg(test)]
pub(crate) mod toy;
pub(crate) mod tunnel;
pub(crate) mod variables;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use revolve_http::h1::HeadLimits;

use self::hosts::Port;
pub(crate) use self::http_loop::HttpLoop;
use self::location::{Location, LocationId};
use self::modules::cache::CachePath;
use self::modules::health_check::GroupCheck;
use self::modules::ssl::ServerTls;
use self::modules::upstream::Upstream;
use self::variables::Variables;
use crate::acme::Acme;
use crate::file_cache::Limits;
use crate::net::ListenSpec;
use crate::net::resolver::ResolverSpec;

/// The `http` block.
#[derive(Debug)]
pub struct Http {
    /// A number of its own, to tell configurations apart.
    pub(crate) id: u64,
    /// The servers, in the order of the file.
    pub(crate) servers: Vec<Server>,
    /// The locations of all servers; each server's own level is one of them.
    pub(crate) locations: Arc<[Location]>,
    /// The sockets to listen on.
    pub(crate) ports: Vec<Port>,
    /// The groups that requests are passed to.
    pub(crate) upstreams: Vec<Upstream>,
    /// The caches of what they answer.
    pub(crate) caches: Vec<CachePath>,
    /// The health checks of groups.
    pub(crate) checks: Vec<GroupCheck>,
    /// Whom their names are asked of: what the block itself says.
    pub(crate) names: Names,
    /// The certificates that are ordered.
    pub(crate) acme: Option<Arc<Acme>>,
    /// The variables.
    pub(crate) variables: Variables,
    /// The bounds of the file cache.
    pub(crate) file_limits: Limits,
    /// The folder outside of which no file is served.
    pub(crate) files_within: Option<PathBuf>,
}

impl Http {
    /// The sockets to listen on.
    pub(crate) fn listens(&self) -> impl Iterator<Item = &ListenSpec> {
        self.ports.iter().map(|port| &port.spec)
    }
}

/// Whom the names of groups are asked of.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) spec: Arc<ResolverSpec>,
    pub(crate) timeout_ms: u64,
}

/// One `server`.
#[derive(Debug)]
pub(crate) struct Server {
    /// The first of its names, as `$server_name` and logs show it.
    pub(crate) primary_name: String,
    /// Its own level, which holds where no location matches.
    pub(crate) location: LocationId,
    /// The limits that heads have here.
    pub(crate) head_limits: HeadLimits,
    /// Whether it makes tunnels anywhere (`tunnel_pass`): else CONNECT is refused.
    pub(crate) allows_connect: bool,
    /// Its named locations, without `@`.
    pub(crate) named: HashMap<String, LocationId>,
    /// What it agrees to, where it has a certificate or refuses handshakes.
    pub(crate) tls: Option<ServerTls>,
}
