//! Sockets: what is to be bound, and how; and networks.

pub(crate) mod cidr;

use revolve_reactor::{Address, ListenOptions};

/// A socket to be bound.
#[derive(Debug, Clone)]
pub struct ListenSpec {
    /// Its address.
    pub address: Address,
    /// Its options.
    pub options: ListenOptions,
}
