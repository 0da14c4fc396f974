//! A group of peers, on one loop.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::upstream::balance::{Balance, Tried};
use crate::upstream::peer::{Peer, PeerState, ServerSpec, shown};
use crate::upstream::pool::KeptLimits;

/// An `upstream` block, or a `proxy_pass` that names its server itself.
#[derive(Debug, Clone)]
pub(crate) struct GroupSpec {
    /// Its name, as errors and `$proxy_host` show it.
    pub(crate) name: String,
    pub(crate) servers: Vec<ServerSpec>,
    pub(crate) balance: Balance,
    pub(crate) kept: KeptLimits,
}

/// A group, on one loop.
pub(crate) struct Group {
    pub(crate) spec: GroupSpec,
    pub(crate) peers: Vec<Peer>,
}

impl Group {
    /// The peer to be asked next, and its place; nothing where nobody may be.
    pub(crate) fn choose(&self, tried: &mut Tried, key: &[u8]) -> Option<(usize, &Peer)> {
        let place = self.spec.balance.choose(&self.peers, tried, key)?;
        tried.note(place);
        Some((place, &self.peers[place]))
    }

    /// Whether there is but one peer: its failures then count for nothing, as nobody else is there.
    pub(crate) fn has_one_peer(&self) -> bool {
        self.peers.len() == 1
    }
}

/// The peers that a loop has known, by their group's name and their address.
#[derive(Default)]
pub(crate) struct Registry {
    known: RefCell<HashMap<(String, String), Rc<PeerState>>>,
}

impl Registry {
    /// A group on this loop; peers that are known already keep what is known of them.
    pub(crate) fn group(&self, spec: &GroupSpec) -> Rc<Group> {
        let mut known = self.known.borrow_mut();
        let mut peers = Vec::new();
        for server in &spec.servers {
            for address in &server.addresses {
                let key = (spec.name.clone(), shown(address));
                let state = known.entry(key).or_default().clone();
                peers.push(Peer::new(address.clone(), server.clone(), state));
            }
        }
        let spec = spec.clone();
        Rc::new(Group { spec, peers })
    }

    /// Forgets the peers that no group has any more.
    pub(crate) fn forget_unused(&self) {
        let mut known = self.known.borrow_mut();
        known.retain(|_, state| Rc::strong_count(state) > 1);
    }
}
