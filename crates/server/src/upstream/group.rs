//! A group of peers, on one loop.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;

use md5::{Digest, Md5};
use revolve_reactor::local::Notify;

use crate::upstream::balance::{Balance, Tried};
use crate::upstream::budget::{Budget, RetryBudget};
use crate::upstream::clock::now_ms;
use crate::upstream::peer::{Health, Peer, PeerState, ServerSpec, shown};
use crate::upstream::pool::KeptLimits;
use crate::upstream::ring::Ring;
use crate::upstream::zone::{Home, Leadership, Row};
use crate::zones::ZoneId;

/// An `upstream` block, or a `proxy_pass` that names its server itself.
#[derive(Debug, Clone)]
pub(crate) struct GroupSpec {
    /// Its name, as errors and `$proxy_host` show it.
    pub(crate) name: String,
    pub(crate) servers: Vec<ServerSpec>,
    pub(crate) balance: Balance,
    pub(crate) kept: KeptLimits,
    /// Where all workers keep what they know of it; nowhere for one that a request has made.
    pub(crate) zone: Option<ZoneId>,
    /// Whether health checks are made of it.
    pub(crate) is_checked: bool,
    /// Whether health checks have to find its peers well before they are asked.
    pub(crate) must_be_healthy: bool,
    /// `proxy_retry_budget`: how many tries may be repetitions.
    pub(crate) retry_budget: Option<RetryBudget>,
}

impl GroupSpec {
    /// One with nginx's defaults, and no servers yet.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            servers: Vec::new(),
            balance: Balance::RoundRobin,
            kept: KeptLimits::default(),
            zone: None,
            is_checked: false,
            must_be_healthy: false,
            retry_budget: None,
        }
    }
}

/// A group, on one loop.
pub(crate) struct Group {
    pub(crate) spec: GroupSpec,
    pub(crate) peers: Vec<Peer>,
    ring: OnceCell<Ring>,
    dice: Cell<u64>,
    pub(crate) budget: Option<Budget>,
    /// Tells whoever waits that a connection has ended.
    pub(crate) freed: Rc<Notify>,
    /// How many wait for one.
    pub(crate) waiting: Rc<Cell<u64>>,
}

impl Group {
    /// The peer to be asked next, and its place; nothing where nobody may be. `bound` says whether the
    /// client is bound to a peer.
    pub(crate) fn choose(
        &self,
        tried: &mut Tried,
        key: &[u8],
        bound: impl Fn(&Peer) -> bool,
    ) -> Option<(usize, &Peer)> {
        let place = match self.bound(tried, bound) {
            Some(place) => place,
            None => self.choose_free(tried, key)?,
        };
        tried.note(place);
        Some((place, &self.peers[place]))
    }

    fn bound(&self, tried: &Tried, bound: impl Fn(&Peer) -> bool) -> Option<usize> {
        if tried.count() > 0 {
            return None;
        }
        let now = now_ms();
        self.peers
            .iter()
            .position(|peer| bound(peer) && peer.serves_bound(now))
    }

    /// A peer has failed. The answer is whether it is left alone for a while now: never more than half
    /// of a group are for such failures, and the only one never is.
    pub(crate) fn note_failure(&self, place: usize) -> bool {
        let now = now_ms();
        let peer = &self.peers[place];
        let of_its_kind = || {
            let all = self.peers.iter().enumerate();
            all.filter(|(_, it)| it.spec.is_backup == peer.spec.is_backup)
        };
        let away = of_its_kind().filter(|(at, it)| *at != place && it.is_left_alone(now));
        let is_alone = self.peers.len() == 1;
        let may_leave = !is_alone && (away.count() + 1) * 2 <= of_its_kind().count().max(2);
        peer.note_failure(may_leave)
    }

    /// Whether a peer may be asked at some time that may not be now.
    pub(crate) fn is_worth_waiting(&self, tried: &Tried) -> bool {
        self.peers.len() > tried.count()
    }

    pub(super) fn ring(&self) -> &Ring {
        self.ring.get_or_init(|| {
            let mut servers: Vec<(String, u32)> = Vec::new();
            for peer in self.peers.iter().filter(|it| !it.spec.is_backup) {
                let name = &peer.spec.name;
                match servers.iter_mut().find(|(known, _)| known == name) {
                    Some((_, weight)) => *weight += peer.spec.weight,
                    None => servers.push((name.clone(), peer.spec.weight)),
                }
            }
            Ring::new(servers.into_iter())
        })
    }

    /// A number by chance from 0 to 1.
    pub(crate) fn chance(&self) -> f64 {
        (self.dice() >> 21) as f64 / f64::from(u32::MAX)
    }

    /// A number by chance (xorshift).
    pub(super) fn dice(&self) -> u64 {
        let mut x = self.dice.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.dice.set(x);
        x >> 11
    }
}

/// What stays of a group, whatever its peers are.
#[derive(Default)]
struct Waiting {
    freed: Rc<Notify>,
    count: Rc<Cell<u64>>,
}

/// The peers that a loop has known, by their group's name and their address.
#[derive(Default)]
pub(crate) struct Registry {
    known: RefCell<HashMap<(String, String), Rc<PeerState>>>,
    waiting: RefCell<HashMap<String, Waiting>>,
    home: RefCell<Option<Home>>,
}

impl Registry {
    /// Where all workers keep what they know, from now on.
    pub(crate) fn set_home(&self, home: Home) {
        *self.home.borrow_mut() = Some(home);
    }

    /// A group on this loop; peers that are known already keep what is known of them.
    pub(crate) fn group(&self, spec: &GroupSpec) -> Rc<Group> {
        let mut waiting = self.waiting.borrow_mut();
        let waiting = waiting.entry(spec.name.clone()).or_default();
        let mut peers = Vec::new();
        for server in &spec.servers {
            for address in &server.addresses {
                peers.push((address.clone(), server.clone()));
            }
            for place in &server.places {
                let mut server = server.clone();
                server.weight = place.weight;
                server.is_backup |= place.is_backup;
                peers.push((place.address.clone(), server));
            }
        }
        let peers = peers.into_iter().map(|(address, server)| {
            let state = self.state(spec, &shown(&address));
            let freed = waiting.freed.clone();
            let peer = Peer::new(address, server, state, spec.must_be_healthy, freed);
            if !spec.is_checked {
                // What checks have found that are made no more.
                peer.set_health(Health::Unknown);
            }
            peer
        });
        Rc::new(Group {
            peers: peers.collect(),
            spec: spec.clone(),
            budget: self.budget(spec),
            ring: OnceCell::new(),
            dice: Cell::new(RandomState::new().hash_one(0) | 1),
            freed: waiting.freed.clone(),
            waiting: waiting.count.clone(),
        })
    }

    fn budget(&self, spec: &GroupSpec) -> Option<Budget> {
        let rule = spec.retry_budget?;
        let home = self.home.borrow();
        let home = home.as_ref().zip(spec.zone);
        let name = Md5::digest(format!("{}\0\0retries", spec.name));
        let name = u128::from_le_bytes(name.into());
        let row = home.and_then(|(home, zone)| Row::shared(home, zone, name));
        Some(Budget::new(rule, row.unwrap_or_else(Row::own)))
    }

    fn state(&self, spec: &GroupSpec, address: &str) -> Rc<PeerState> {
        let key = (spec.name.clone(), address.to_owned());
        let mut known = self.known.borrow_mut();
        let state = known.entry(key).or_default().clone();
        if let (Some(home), Some(zone)) = (&*self.home.borrow(), spec.zone) {
            let name = Md5::digest(format!("{}\0{address}", spec.name));
            let row = Row::shared(home, zone, u128::from_le_bytes(name.into()));
            if let Some(row) = row {
                *state.row.borrow_mut() = Rc::new(row);
            }
        }
        state
    }

    /// What one loop of all workers is to do for a group.
    pub(crate) fn leadership(&self, spec: &GroupSpec, patience_ms: u64) -> Option<Leadership> {
        let home = self.home.borrow();
        let name = Md5::digest(format!("{}\0", spec.name));
        let name = u128::from_le_bytes(name.into());
        Leadership::new(home.as_ref()?, spec.zone?, name, patience_ms)
    }

    /// Forgets the peers that no group has any more.
    pub(crate) fn forget_unused(&self) {
        let mut known = self.known.borrow_mut();
        known.retain(|_, state| Rc::strong_count(state) > 1);
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|_, it| Rc::strong_count(&it.freed) > 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::peer::{Order, State};

    fn group(names: &[&str], change: impl Fn(&mut ServerSpec)) -> Rc<Group> {
        let mut spec = GroupSpec::new("test");
        spec.servers = names
            .iter()
            .map(|name| {
                let address = revolve_reactor::Address::Unix(name.into());
                let mut server = ServerSpec::new(name, vec![address]);
                change(&mut server);
                server
            })
            .collect();
        Registry::default().group(&spec)
    }

    fn on_loop(test: impl FnOnce() + 'static) {
        let event_loop = revolve_reactor::EventLoop::new();
        event_loop.unwrap().block_on(async { test() });
    }

    fn turns(group: &Group, count: usize) -> Vec<usize> {
        let turn = |_| {
            let mut tried = Tried::default();
            group.choose(&mut tried, b"", |_| false).unwrap().0
        };
        (0..count).map(turn).collect()
    }

    #[test]
    fn failures_take_out_no_more_than_half() {
        on_loop(|| {
            let three = group(&["/a", "/b", "/c"], |_| {});
            assert!(three.note_failure(0));
            assert!(!three.note_failure(1) && !three.note_failure(2));
            let states: Vec<State> = three.peers.iter().map(|it| it.state(now_ms())).collect();
            assert_eq!(states, [State::Unavailable, State::Up, State::Up]);
            let two = group(&["/a", "/b"], |_| {});
            assert!(two.note_failure(1) && !two.note_failure(0));
            assert!(!group(&["/a"], |_| {}).note_failure(0));
            let often = group(&["/a", "/b"], |server| server.fails_max = 2);
            assert!(!often.note_failure(0) && often.note_failure(0));
        });
    }

    #[test]
    fn a_request_that_nobody_has_answered_asks_those_that_have_failed_others() {
        on_loop(|| {
            let three = group(&["/a", "/b", "/c"], |_| {});
            three.note_failure(0);
            let mut tried = Tried::default();
            let mut next = || {
                three
                    .choose(&mut tried, b"", |_| false)
                    .map(|(place, _)| place)
            };
            assert_eq!(
                [next(), next(), next(), next()],
                [Some(1), Some(2), Some(0), None]
            );
            // Who has asked nobody yet is told at once that nobody is there.
            let two = group(&["/a", "/b"], |_| {});
            two.peers[0].obey(Order::Down);
            two.peers[1].note_failure(true);
            assert!(two.choose(&mut Tried::default(), b"", |_| false).is_none());
        });
    }

    #[test]
    fn one_that_is_back_gets_its_share_slowly() {
        on_loop(|| {
            let group = group(&["/a", "/b"], |server| {
                server.slow_start = Duration::from_secs(3600);
            });
            assert_eq!(turns(&group, 4), [0, 1, 0, 1]);
            group.peers[0].obey(Order::Down);
            assert_eq!(turns(&group, 3), [1, 1, 1]);
            group.peers[0].obey(Order::Up);
            let first = turns(&group, 50).iter().filter(|it| **it == 0).count();
            assert!(first <= 1, "{first} of 50 so early");
            group.peers[1].obey(Order::Drain);
            assert_eq!(turns(&group, 2), [0, 0]);
        });
    }

    #[test]
    fn an_operators_weight_holds() {
        on_loop(|| {
            let group = group(&["/a", "/b"], |_| {});
            group.peers[1].obey(Order::Weight(3));
            let second = turns(&group, 40).iter().filter(|it| **it == 1).count();
            assert_eq!(second, 30);
        });
    }
}
