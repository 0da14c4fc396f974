//! Sockets: what is to be bound, and how; networks; and whom names lead to.

pub(crate) mod cidr;
pub(crate) mod proxied;
pub(crate) mod resolver;

mod transport;

use revolve_conf::{Sources, Span};
use revolve_reactor::{Address, ListenOptions};

pub(crate) use self::transport::{Send as Sending, Transport};

/// A socket to be bound.
#[derive(Debug, Clone)]
pub struct ListenSpec {
    /// Its address.
    pub address: Address,
    /// Its options.
    pub options: ListenOptions,
    /// The first `listen` with this address.
    pub(crate) span: Span,
    /// Where that stands: `/etc/nginx/nginx.conf:12`.
    pub place: String,
}

impl ListenSpec {
    /// The same, with its place.
    pub(crate) fn placed(self, sources: &Sources) -> Self {
        Self {
            place: sources.place(self.span),
            ..self
        }
    }
}
