//! Who is asked next: the ways to choose among the peers of a group.

use std::time::Instant;

use crate::upstream::peer::Peer;

/// How a group chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Balance {
    /// In turn, smoothly by weight.
    RoundRobin,
    /// Who has the fewest connections for its weight (`least_conn`).
    LeastConnections,
    /// By the client's address (`ip_hash`) or another key (`hash`).
    Hash,
}

/// The peers that were asked for one request already.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<usize>);

impl Tried {
    pub(crate) fn note(&mut self, place: usize) {
        self.0.push(place);
    }

    /// How many were asked.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    fn has(&self, place: usize) -> bool {
        self.0.contains(&place)
    }
}

/// After so many peers by hash that may not be asked, the turn decides. Source: nginx.
const REHASHES_MAX: usize = 20;

impl Balance {
    /// The place of the peer to be asked next; backups are asked where nobody else may be.
    pub(super) fn choose(self, peers: &[Peer], tried: &Tried, key: &[u8]) -> Option<usize> {
        let now = revolve_reactor::now();
        let among = |is_backup: bool| {
            let usable = |(place, peer): &(usize, &Peer)| {
                peer.spec.is_backup == is_backup && !tried.has(*place) && peer.is_available(now)
            };
            match self {
                Balance::LeastConnections => least_connections(peers, usable),
                Balance::Hash if !is_backup => {
                    by_hash(peers, tried, key, now).or_else(|| in_turn(peers, usable, now))
                }
                _ => in_turn(peers, usable, now),
            }
        };
        among(false).or_else(|| among(true))
    }
}

/// Smooth weighted round robin. Source: nginx's `ngx_http_upstream_get_peer`.
fn in_turn(
    peers: &[Peer],
    usable: impl Fn(&(usize, &Peer)) -> bool,
    now: Instant,
) -> Option<usize> {
    let mut best: Option<(usize, i64)> = None;
    let mut total = 0;
    for (place, peer) in peers.iter().enumerate().filter(usable) {
        let state = &peer.state;
        let weight = i64::from(peer.spec.weight - state.lost_weight.get().min(peer.spec.weight));
        state
            .current_weight
            .set(state.current_weight.get() + weight);
        total += weight;
        state
            .lost_weight
            .set(state.lost_weight.get().saturating_sub(1));
        let current = state.current_weight.get();
        if best.is_none_or(|(_, most)| current > most) {
            best = Some((place, current));
        }
    }
    let (place, current) = best?;
    let state = &peers[place].state;
    state.current_weight.set(current - total);
    note_chance(&peers[place], now);
    Some(place)
}

/// A peer that has failed is given a chance once in its `fail_timeout`.
fn note_chance(peer: &Peer, now: Instant) {
    let is_due = peer
        .state
        .checked_at
        .get()
        .is_some_and(|at| now.saturating_duration_since(at) > peer.spec.fail_timeout);
    if is_due {
        peer.state.checked_at.set(Some(now));
    }
}

/// Who has the fewest connections for its weight; of several the one whose turn it is.
fn least_connections(peers: &[Peer], usable: impl Fn(&(usize, &Peer)) -> bool) -> Option<usize> {
    let load = |peer: &Peer| {
        let connections = peer.state.connections.get() as u64;
        // Compared without fractions: connections of the one by the weight of the other.
        (connections, u64::from(peer.spec.weight.max(1)))
    };
    let least = peers
        .iter()
        .enumerate()
        .filter(&usable)
        .map(|(_, peer)| load(peer));
    let least = least.min_by(|a, b| (a.0 * b.1).cmp(&(b.0 * a.1)))?;
    let has_least = |it: &(usize, &Peer)| {
        let (connections, weight) = load(it.1);
        usable(it) && connections * least.1 == least.0 * weight
    };
    in_turn(peers, has_least, revolve_reactor::now())
}

/// The peer of a key: the same one, while it may be asked.
fn by_hash(peers: &[Peer], tried: &Tried, key: &[u8], now: Instant) -> Option<usize> {
    let primaries = || {
        peers
            .iter()
            .enumerate()
            .filter(|(_, it)| !it.spec.is_backup)
    };
    let total: u64 = primaries().map(|(_, it)| u64::from(it.spec.weight)).sum();
    let mut hash = 89_u64;
    for _ in 0..REHASHES_MAX {
        // nginx's hash of `ip_hash`.
        for byte in key {
            hash = (hash * 113 + u64::from(*byte)) % 6271;
        }
        let mut left = hash.checked_rem(total)?;
        let chosen = primaries().find(|(_, it)| {
            let weight = u64::from(it.spec.weight);
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        });
        if let Some((place, peer)) = chosen
            && !tried.has(place)
            && peer.is_available(now)
        {
            return Some(place);
        }
    }
    None
}
