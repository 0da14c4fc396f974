//! A web server of modules: listeners, connections, requests, phases, filters, logs.
//!
//! A request is one walk (see [`phase`]): its head is read, its server and location are found,
//! handlers are asked phase by phase, the response passes the header filters and goes out, and a
//! line is written. Everything here runs on one event loop and shares nothing with another but
//! the immutable [`Config`].

#![forbid(unsafe_code)]

pub mod config;
pub mod connection;
pub mod file_cache;
pub mod log;
pub mod modules;
pub mod phase;
pub mod report;
pub mod request;
pub mod response;
pub mod site;
pub mod variable;
pub mod worker;
pub mod zones;

mod body;
mod exchange;
mod listener;
mod peers;
mod room;

pub use config::{Config, ListenSpec, Prefix, ProcessConfig, load};
pub use peers::Peers;
pub use worker::{Descriptors, Worker};
pub use zones::{ZoneLabel, Zones};

/// The server's name, as `Server` shows it with `server_tokens off`.
pub const SERVER_NAME: &str = "revolve";

/// The server's name and version.
pub const SERVER_VERSION: &str = concat!("revolve/", env!("CARGO_PKG_VERSION"));
