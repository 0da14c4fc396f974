//! Sockets: what is to be bound, and how; networks; and whom names lead to.

pub(crate) mod cidr;
pub(crate) mod proxied;
pub(crate) mod resolver;

mod socket_id;
mod transport;

use revolve_conf::{Sources, Span};
use revolve_reactor::ListenOptions;

pub use self::socket_id::{SocketId, SocketKind};
pub(crate) use self::transport::{Send as Sending, Transport};

/// A socket to be bound.
#[derive(Debug, Clone)]
pub struct ListenSpec {
    /// Which one it is.
    pub id: SocketId,
    /// Its options.
    pub options: ListenOptions,
    /// The first `listen` that names it.
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
