//! What a worker's loops do beside requests: accept, deal, drain, hand off, report.
//!
//! Nothing here knows what is served: that is handed in from above ([`loop_state::Applications`]).

pub(crate) mod accepting;
pub(crate) mod capacity;
pub(crate) mod connection;
mod dealing;
mod draining;
mod handoff;
mod lasting;
pub(crate) mod loop_state;
pub mod report;
pub(crate) mod worker;

pub use self::dealing::Peers;
pub use self::lasting::{LastingTask, spawn_lasting};
