//! What a worker's loops do beside requests: accept, deal, drain, hand over, report.

pub(crate) mod accepting;
pub mod connection;
mod heirs;
pub(crate) mod peers;
pub mod report;
pub(crate) mod room;
pub mod worker;

pub use self::peers::Peers;
