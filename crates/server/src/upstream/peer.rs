//! A peer: one address of a server behind us, and what a loop knows of it.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use revolve_reactor::Address;

use crate::upstream::pool::Pool;

/// A `server` of a group.
#[derive(Debug, Clone)]
pub(crate) struct ServerSpec {
    /// Where its name leads; nowhere while that is not known.
    pub(crate) addresses: Vec<Address>,
    /// Its name and port, where that is to be asked for again.
    pub(crate) host: Option<(String, u16)>,
    /// `weight=`, default 1.
    pub(crate) weight: u32,
    /// `max_conns=`; 0 for no limit.
    pub(crate) connections_max: usize,
    /// `max_fails=`, default 1; 0 counts none.
    pub(crate) fails_max: u32,
    /// `fail_timeout=`, default 10 s.
    pub(crate) fail_timeout: Duration,
    /// `backup`: asked where no other may be.
    pub(crate) is_backup: bool,
    /// `down`: never asked.
    pub(crate) is_down: bool,
}

impl ServerSpec {
    /// A server with nginx's defaults.
    pub(crate) fn new(addresses: Vec<Address>) -> Self {
        Self {
            addresses,
            host: None,
            weight: 1,
            connections_max: 0,
            fails_max: 1,
            fail_timeout: Duration::from_secs(10),
            is_backup: false,
            is_down: false,
        }
    }
}

/// What a loop knows of a peer. It outlives a reload.
#[derive(Default)]
pub(crate) struct PeerState {
    /// Smooth weighted round robin's own count.
    pub(super) current_weight: Cell<i64>,
    /// What failures take off its weight.
    pub(super) lost_weight: Cell<u32>,
    pub(super) fails: Cell<u32>,
    /// When it failed last.
    pub(super) failed_at: Cell<Option<Instant>>,
    /// When it was last given a chance after failures.
    pub(super) checked_at: Cell<Option<Instant>>,
    /// Connections that are in use.
    pub(super) connections: Cell<usize>,
    pub(crate) pool: Pool,
}

/// One address of a server.
pub(crate) struct Peer {
    pub(crate) address: Address,
    /// The address, as logs and `$upstream_addr` show it.
    pub(crate) shown: String,
    pub(crate) spec: ServerSpec,
    pub(crate) state: Rc<PeerState>,
}

impl Peer {
    pub(super) fn new(address: Address, spec: ServerSpec, state: Rc<PeerState>) -> Self {
        Self {
            shown: shown(&address),
            address,
            spec,
            state,
        }
    }

    /// A connection is in use from now on, until the answer is dropped.
    pub(crate) fn begin(&self) -> InUse {
        let state = self.state.clone();
        state.connections.set(state.connections.get() + 1);
        InUse(state)
    }

    /// It has failed. The answer is whether it is left alone for a while now.
    ///
    /// Source: nginx's `ngx_http_upstream_free_round_robin_peer`.
    pub(crate) fn note_failure(&self, is_only: bool) -> bool {
        if is_only || self.spec.fails_max == 0 {
            return false;
        }
        let state = &self.state;
        let now = revolve_reactor::now();
        state.fails.set(state.fails.get() + 1);
        state.failed_at.set(Some(now));
        state.checked_at.set(Some(now));
        let lost = (self.spec.weight / self.spec.fails_max).max(1);
        let lost = state.lost_weight.get().saturating_add(lost);
        state.lost_weight.set(lost.min(self.spec.weight));
        state.fails.get() >= self.spec.fails_max
    }

    /// It has answered.
    pub(crate) fn note_success(&self) {
        let state = &self.state;
        if state.failed_at.get() < state.checked_at.get() {
            state.fails.set(0);
        }
    }

    /// Whether it may be asked now.
    pub(super) fn is_available(&self, now: Instant) -> bool {
        let (spec, state) = (&self.spec, &self.state);
        let is_left_alone = spec.fails_max > 0
            && state.fails.get() >= spec.fails_max
            && state
                .checked_at
                .get()
                .is_some_and(|at| now.saturating_duration_since(at) <= spec.fail_timeout);
        let is_full = spec.connections_max > 0 && state.connections.get() >= spec.connections_max;
        !spec.is_down && !is_left_alone && !is_full
    }
}

/// Counts a connection in use, until it is dropped.
pub(crate) struct InUse(Rc<PeerState>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.connections.set(self.0.connections.get() - 1);
    }
}

/// An address as logs and `$upstream_addr` show it.
pub(super) fn shown(address: &Address) -> String {
    match address {
        Address::Inet(address) => address.to_string(),
        unix => {
            let text = unix.to_string();
            match text.starts_with("unix:") {
                true => text,
                false => format!("unix:{text}"),
            }
        }
    }
}
