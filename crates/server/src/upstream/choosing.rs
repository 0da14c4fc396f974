//! Who is asked next.

use crate::upstream::balance::{Balance, Better, Time, Tried};
use crate::upstream::clock::now_ms;
use crate::upstream::group::Group;
use crate::upstream::peer::Peer;

/// After so many peers by hash or by chance that may not be asked, the turn decides. Source: nginx.
const AGAIN_MAX: u32 = 20;

impl Group {
    /// The place of the peer to be asked next; backups are asked where nobody else may be.
    pub(super) fn choose_free(&self, tried: &Tried, key: &[u8]) -> Option<usize> {
        let now = now_ms();
        let is_free = |place: usize, peer: &Peer| !tried.has(place) && peer.is_available(now);
        let primaries = |it: &(usize, &Peer)| !it.1.spec.is_backup && is_free(it.0, it.1);
        let chosen = match self.spec.balance {
            Balance::RoundRobin => None,
            Balance::LeastConnections => self.least(primaries, now, connections),
            Balance::LeastTime(time) => self.least(primaries, now, |peer| times(peer, time)),
            Balance::IpHash => self.by_ip_hash(key, is_free),
            Balance::Hash => self.by_hash(key, is_free),
            Balance::Consistent => self.by_ring(key, now, is_free),
            Balance::Random(better) => self.by_chance(better, primaries),
        };
        chosen
            .or_else(|| self.in_turn(primaries, now))
            .or_else(|| {
                let backups = |it: &(usize, &Peer)| it.1.spec.is_backup && is_free(it.0, it.1);
                self.in_turn(backups, now)
            })
            .or_else(|| {
                // Before a request goes without an answer, those are asked that have failed others lately.
                let resort = |it: &(usize, &Peer)| !tried.has(it.0) && it.1.is_last_resort(now);
                (tried.count() > 0).then(|| self.in_turn(resort, now))?
            })
            .inspect(|place| self.peers[*place].note_chance(now))
    }

    /// Smooth weighted round robin. Source: nginx's `ngx_http_upstream_get_peer`.
    pub(super) fn in_turn(
        &self,
        usable: impl Fn(&(usize, &Peer)) -> bool,
        now: u64,
    ) -> Option<usize> {
        let mut best: Option<(usize, i64)> = None;
        let mut total = 0;
        for (place, peer) in self.peers.iter().enumerate().filter(usable) {
            let state = &peer.state;
            let lost = i64::from(state.lost_weight.get()) * 1000;
            let weight = (peer.fine_weight(now) - lost).max(0);
            let current = state.current_weight.get() + weight;
            state.current_weight.set(current);
            total += weight;
            state
                .lost_weight
                .set(state.lost_weight.get().saturating_sub(1));
            if best.is_none_or(|(_, most)| current > most) {
                best = Some((place, current));
            }
        }
        let (place, current) = best?;
        self.peers[place].state.current_weight.set(current - total);
        Some(place)
    }

    /// Who has the least load for its weight; of several the one whose turn it is.
    fn least(
        &self,
        usable: impl Fn(&(usize, &Peer)) -> bool,
        now: u64,
        load: impl Fn(&Peer) -> u128,
    ) -> Option<usize> {
        let usable: Vec<(usize, u128, u128)> = self
            .peers
            .iter()
            .enumerate()
            .filter(usable)
            .map(|(place, peer)| (place, load(peer), peer.fine_weight(now) as u128))
            .collect();
        // Compared without fractions: the load of the one by the weight of the other.
        let is_less =
            |a: &(usize, u128, u128), b: &(usize, u128, u128)| (a.1 * b.2).cmp(&(b.1 * a.2));
        let least = usable.iter().min_by(|a, b| is_less(a, b))?;
        let has_least = |place: usize| {
            let found = usable.iter().find(|it| it.0 == place);
            found.is_some_and(|it| is_less(it, least).is_eq())
        };
        self.in_turn(|it| has_least(it.0), now)
    }

    /// The peer of an address: the same one, while it may be asked.
    ///
    /// Source: nginx's `ngx_http_upstream_get_ip_hash_peer`.
    fn by_ip_hash(&self, key: &[u8], is_free: impl Fn(usize, &Peer) -> bool) -> Option<usize> {
        let mut hash = 89_u64;
        (0..AGAIN_MAX).find_map(|_| {
            for byte in key {
                hash = (hash * 113 + u64::from(*byte)) % 6271;
            }
            let (place, peer) = self.at_weight(hash)?;
            is_free(place, peer).then_some(place)
        })
    }

    /// The peer of a key. Source: nginx's `ngx_http_upstream_get_hash_peer`.
    fn by_hash(&self, key: &[u8], is_free: impl Fn(usize, &Peer) -> bool) -> Option<usize> {
        let mut sum = 0_u64;
        (0..AGAIN_MAX).find_map(|again| {
            let mut hasher = crc32fast::Hasher::new();
            if again > 0 {
                hasher.update(itoa::Buffer::new().format(again).as_bytes());
            }
            hasher.update(key);
            sum += u64::from(hasher.finalize() >> 16 & 0x7fff);
            let (place, peer) = self.at_weight(sum)?;
            is_free(place, peer).then_some(place)
        })
    }

    /// The primary that a number falls to, where each has as many numbers as its weight.
    fn at_weight(&self, number: u64) -> Option<(usize, &Peer)> {
        let primaries = || {
            let all = self.peers.iter().enumerate();
            all.filter(|(_, peer)| !peer.spec.is_backup)
        };
        let total: u64 = primaries().map(|(_, peer)| u64::from(peer.weight())).sum();
        let mut left = number.checked_rem(total)?;
        primaries().find(|(_, peer)| {
            let weight = u64::from(peer.weight());
            let is_it = left < weight;
            left = left.saturating_sub(weight);
            is_it
        })
    }

    /// The peer whose point on the ring comes next. Several addresses of one server take turns.
    ///
    /// Source: nginx's `ngx_http_upstream_get_chash_peer`.
    fn by_ring(
        &self,
        key: &[u8],
        now: u64,
        is_free: impl Fn(usize, &Peer) -> bool,
    ) -> Option<usize> {
        let ring = self.ring();
        let first = ring.at(crc32fast::hash(key));
        (0..ring.len().min(AGAIN_MAX as usize)).find_map(|step| {
            let server = ring.server(first + step);
            self.in_turn(
                |it| !it.1.spec.is_backup && it.1.spec.name == server && is_free(it.0, it.1),
                now,
            )
        })
    }

    /// Source: nginx's `ngx_http_upstream_get_random_peer`.
    fn by_chance(
        &self,
        better: Option<Better>,
        usable: impl Fn(&(usize, &Peer)) -> bool,
    ) -> Option<usize> {
        let draw = || {
            (0..AGAIN_MAX).find_map(|_| {
                let drawn = self.at_weight(self.dice())?;
                usable(&drawn).then_some(drawn)
            })
        };
        let first = draw()?;
        let Some(better) = better else {
            return Some(first.0);
        };
        let second = (0..AGAIN_MAX).find_map(|_| draw().filter(|it| it.0 != first.0));
        let Some(second) = second else {
            return Some(first.0);
        };
        let load = |peer: &Peer| match better {
            Better::Connections => connections(peer),
            Better::Time(time) => times(peer, time),
        };
        let weight = |peer: &Peer| u128::from(peer.weight().max(1));
        let is_worse = load(first.1) * weight(second.1) > load(second.1) * weight(first.1);
        Some(if is_worse { second.0 } else { first.0 })
    }
}

fn connections(peer: &Peer) -> u128 {
    u128::from(peer.connections())
}

fn times(peer: &Peer, time: Time) -> u128 {
    let under_way = match time.inflight {
        true => connections(peer),
        false => 0,
    };
    // One that nobody knows is asked first.
    u128::from(peer.average_us(time.of_heads)) * (under_way + 1)
}
