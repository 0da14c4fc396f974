//! A web server of modules: listeners, connections, requests, phases, filters, logs.
//!
//! A request is one walk (see `http::phase`): its head is read, its server and location are found,
//! handlers are asked phase by phase, the response passes the header filters and goes out, and a
//! line is written. Everything here runs on one event loop and shares nothing with another but
//! the immutable [`Config`].

#![forbid(unsafe_code)]

mod acme;
mod app;
mod clock;
mod config;
mod file_cache;
mod http;
pub mod log;
mod net;
mod runtime;
#[cfg(test)]
mod simulated;
mod tls;
mod upstream;
mod version;
mod zones;

pub use acme::NamedCertificate;
pub use app::{Config, Worker, directives, load};
pub use clock::Clock;
pub use config::regex;
pub use config::{Affinity, Base, EnvVariable, Prefix, ProcessConfig, Surroundings, WorkerCount};
#[cfg(fuzzing)]
pub use http::cache::record::check as check_record;
#[cfg(fuzzing)]
pub use http::filter_checks::check_filters;
pub use http::modules;
#[cfg(fuzzing)]
pub use http::modules::auth_basic::check_users;
#[cfg(fuzzing)]
pub use http::modules::mp4::check_movie;
#[cfg(fuzzing)]
pub use http::testing::check_script;
pub use net::{ListenSpec, SocketId, SocketKind};
pub use revolve_tls::Facts as CertificateFacts;
pub use runtime::report;
pub use runtime::worker::Descriptors;
pub use runtime::{LastingTask, Peers, spawn_lasting};
pub use upstream::Order;
pub use upstream::report as upstreams;
pub use version::{SERVER_NAME, SERVER_VERSION};
pub use zones::{ZoneKind, ZoneLabel, ZoneSpec, ZoneState, Zones};
