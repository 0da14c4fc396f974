//! A connection to a peer while a request has it.

use std::rc::Rc;
use std::time::Duration;

use crate::net::Transport;
use crate::upstream::peer::{InUse, PeerState};
use crate::upstream::pool::{Connection, KeptLimits};

/// A connection in use, and where it goes when its answer has been read to the end.
pub(crate) struct Lease {
    connection: Connection,
    state: Rc<PeerState>,
    limits: KeptLimits,
    _in_use: Rc<InUse>,
}

impl Lease {
    pub(super) fn new(
        connection: Connection,
        state: Rc<PeerState>,
        limits: KeptLimits,
        in_use: Rc<InUse>,
    ) -> Self {
        Self {
            connection,
            state,
            limits,
            _in_use: in_use,
        }
    }

    /// Whether the connection was used before.
    pub(super) fn is_reused(&self) -> bool {
        self.connection.is_reused()
    }

    pub(super) fn stream(&self) -> &Rc<Transport> {
        &self.connection.stream
    }

    /// Keeps the connection for the next request; `idle_max` where the peer has said how long.
    pub(super) fn give_back(self, idle_max: Option<Duration>) {
        let idle_max = idle_max.unwrap_or(self.limits.idle_max);
        self.state.pool.put(self.connection, &self.limits, idle_max);
    }
}
