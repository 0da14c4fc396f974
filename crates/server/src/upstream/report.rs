//! What is told of groups to whoever operates the server, and what that one says of their peers.

use std::rc::Rc;

use crate::upstream::budget::Budget;
pub use crate::upstream::budget::BudgetReport;
use crate::upstream::clock::now_ms;
use crate::upstream::group::Group;
use crate::upstream::peer::Order;

/// A group of servers.
#[derive(Clone, Debug)]
pub struct UpstreamReport {
    /// Its name.
    pub name: String,
    /// Requests of one loop that wait for a server (`queue`).
    pub queued: u64,
    /// What there is of its budget for repetitions, where it has one.
    pub budget: Option<BudgetReport>,
    /// Its peers.
    pub peers: Vec<PeerReport>,
}

/// One address of a server.
#[derive(Clone, Debug)]
pub struct PeerReport {
    /// The server as the configuration writes it.
    pub server: String,
    /// Its address.
    pub address: String,
    /// `up`, `draining`, `down`, `unavail`, `unhealthy` or `checking`, in the words of NGINX Plus.
    pub state: &'static str,
    /// Its weight, as the configuration or an operator says.
    pub weight: u32,
    /// Whether it is asked only where no other may be.
    pub is_backup: bool,
    /// Connections in use, over all workers.
    pub connections: u64,
    /// Connections of one loop that are kept for later.
    pub idle: u64,
    /// Requests that it was asked, by all workers.
    pub requests: u64,
    /// Those of them that have failed.
    pub failures: u64,
}

/// What an operator says of a server of a group.
#[derive(Clone, Debug)]
pub struct UpstreamOrder {
    /// The group's name.
    pub group: String,
    /// The server, as the configuration writes it, or an address of it.
    pub server: String,
    /// What is to become of it.
    pub change: Order,
}

impl Group {
    /// What is to be told of it.
    pub(crate) fn report(&self) -> UpstreamReport {
        let now = now_ms();
        let peers = self.peers.iter().map(|peer| {
            let (requests, failures) = peer.counts();
            PeerReport {
                server: peer.spec.name.clone(),
                address: peer.shown.to_string(),
                state: peer.state(now).name(),
                weight: peer.weight(),
                is_backup: peer.spec.is_backup,
                connections: peer.connections(),
                idle: (peer.state.pool.len() + peer.state.carriers.idle()) as u64,
                requests,
                failures,
            }
        });
        UpstreamReport {
            name: self.spec.name.clone(),
            queued: self.waiting.get(),
            budget: self.budget.as_ref().map(Budget::report),
            peers: peers.collect(),
        }
    }
}

impl UpstreamOrder {
    /// Obeys it; the answer is how many peers of the group it was said of.
    pub(crate) fn apply(&self, groups: &[Rc<Group>]) -> usize {
        let groups = groups.iter().filter(|group| group.spec.name == self.group);
        let peers = groups.flat_map(|group| &group.peers);
        let meant = peers
            .filter(|peer| [peer.spec.name.as_str(), &peer.shown].contains(&self.server.as_str()));
        meant.map(|peer| peer.obey(self.change)).count()
    }
}
