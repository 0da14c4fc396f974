//! Addresses and what is said of them: read as networks or ranges, and asked as what they come to, parts
//! of the line of all addresses, so that a look-up is one search.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};

use crate::net::cidr::{Network, mask_v4, mask_v6};

/// A value's place in the list of all; the first one is empty.
pub(super) type ValueId = u32;

/// All addresses, each with its value.
#[derive(Debug)]
pub(super) struct Addresses {
    v4: Line<u32>,
    /// `None`: they have the value of 255.255.255.255, as in nginx's ranges.
    v6: Option<Line<u128>>,
}

impl Addresses {
    /// The value of an address; of what is none, that of 255.255.255.255.
    pub(super) fn find(&self, address: Option<IpAddr>) -> ValueId {
        match (address, &self.v6) {
            (Some(IpAddr::V4(ip)), _) => self.v4.find(ip.into()),
            (Some(IpAddr::V6(ip)), Some(v6)) => v6.find(ip.into()),
            _ => self.v4.find(u32::MAX),
        }
    }
}

/// Where on a line of numbers which value begins. The first begins at 0.
#[derive(Debug)]
struct Line<N> {
    begins: Box<[N]>,
    values: Box<[ValueId]>,
}

impl<N: Ord + Copy + Default> Line<N> {
    fn new(parts: Vec<(N, ValueId)>) -> Self {
        let mut begins = vec![N::default()];
        let mut values = vec![0];
        for (begin, value) in parts {
            let last = values.len() - 1;
            if begins[last] == begin {
                values[last] = value;
            } else if values[last] != value {
                begins.push(begin);
                values.push(value);
            }
        }
        Self {
            begins: begins.into(),
            values: values.into(),
        }
    }

    fn find(&self, number: N) -> ValueId {
        let after = self.begins.partition_point(|begin| *begin <= number);
        self.values[after - 1]
    }
}

/// Networks as they are read.
#[derive(Default)]
pub(super) struct Networks {
    v4: Prefixes<u32>,
    v6: Prefixes<u128>,
}

/// Values by address and length of the prefix.
type Prefixes<N> = HashMap<(N, u8), ValueId, foldhash::fast::RandomState>;

impl Networks {
    /// Sets the value of a network. Where it had one, the answer is what nginx names as the old one: that
    /// of its first address.
    pub(super) fn insert(&mut self, network: Network, value: ValueId) -> Option<ValueId> {
        match network {
            Network::V4(address, bits) => {
                let shown = longest(&self.v4, address, 32, |bits| mask_v4(bits).unwrap_or(0));
                let old = self.v4.insert((address, bits), value);
                old.and(shown)
            }
            Network::V6(address, bits) => {
                let shown = longest(&self.v6, address, 128, |bits| mask_v6(bits).unwrap_or(0));
                let old = self.v6.insert((address, bits), value);
                old.and(shown)
            }
            Network::Unix => None,
        }
    }

    /// Forgets a network; false if it is not known.
    pub(super) fn remove(&mut self, network: Network) -> bool {
        match network {
            Network::V4(address, bits) => self.v4.remove(&(address, bits)).is_some(),
            Network::V6(address, bits) => self.v6.remove(&(address, bits)).is_some(),
            Network::Unix => false,
        }
    }

    pub(super) fn build(self) -> Addresses {
        let last_v4 = |address: u32, bits| address | !mask_v4(bits).unwrap_or(0);
        let last_v6 = |address: u128, bits| address | !mask_v6(bits).unwrap_or(0);
        Addresses {
            v4: flatten(self.v4, last_v4, |last| last.checked_add(1)),
            v6: Some(flatten(self.v6, last_v6, |last| last.checked_add(1))),
        }
    }
}

/// The value of the longest prefix that holds an address.
fn longest<N: std::hash::Hash + Eq + Copy + std::ops::BitAnd<Output = N>>(
    prefixes: &Prefixes<N>,
    address: N,
    bits_max: u8,
    mask: impl Fn(u8) -> N,
) -> Option<ValueId> {
    let mut lengths = (0..=bits_max).rev();
    lengths.find_map(|bits| prefixes.get(&(address & mask(bits), bits)).copied())
}

/// Networks into the parts of the line where each is the innermost.
fn flatten<N: Ord + Copy + Default>(
    prefixes: Prefixes<N>,
    last_of: impl Fn(N, u8) -> N,
    next: impl Fn(N) -> Option<N>,
) -> Line<N> {
    let mut prefixes: Vec<_> = prefixes.into_iter().collect();
    prefixes.sort_unstable_by_key(|(prefix, _)| *prefix);
    let mut parts = Vec::with_capacity(prefixes.len() * 2 + 1);
    // Those that hold the place at hand, from the outermost inwards, by their last address.
    let mut open: Vec<(N, ValueId)> = Vec::new();
    let close = |open: &mut Vec<(N, ValueId)>, parts: &mut Vec<(N, ValueId)>| {
        let (last, _) = open.pop()?;
        let outer = open.last().map_or(0, |(_, value)| *value);
        parts.push((next(last)?, outer));
        Some(())
    };
    for ((begin, bits), value) in prefixes {
        while open.last().is_some_and(|(last, _)| *last < begin) {
            let _ = close(&mut open, &mut parts);
        }
        parts.push((begin, value));
        open.push((last_of(begin, bits), value));
    }
    while !open.is_empty() {
        let _ = close(&mut open, &mut parts);
    }
    Line::new(parts)
}

/// Ranges as they are read: by their first address, the last one and the value. None crosses a border of
/// 65,536 addresses: nginx splits them there, and compares what it has split.
#[derive(Default)]
pub(super) struct Ranges {
    pub(super) default: Option<ValueId>,
    pieces: BTreeMap<u32, (u32, ValueId)>,
}

const BLOCK: u32 = 0xffff;

/// A range in pieces that cross no border.
fn pieces((from, to): (u32, u32)) -> impl Iterator<Item = (u32, u32)> {
    let blocks = from >> 16..=to >> 16;
    blocks.map(move |block| ((block << 16).max(from), (block << 16 | BLOCK).min(to)))
}

impl Ranges {
    /// Sets the value of a range; within one that is known it takes its place. The answer are the values
    /// of the same ranges before.
    ///
    /// Errors: the known range that it overlaps.
    ///
    /// Source: nginx's `ngx_http_geo_add_range`.
    pub(super) fn insert(
        &mut self,
        range: (u32, u32),
        value: ValueId,
    ) -> Result<Vec<ValueId>, (Ipv4Addr, Ipv4Addr)> {
        let mut old = Vec::new();
        for (from, to) in pieces(range) {
            let known = self.pieces.range(..=to).next_back();
            let Some((&begin, &(end, known))) = known.filter(|(_, (end, _))| *end >= from) else {
                self.pieces.insert(from, (to, value));
                continue;
            };
            if (begin, end) == (from, to) {
                old.push(known);
            } else if begin > from || end < to {
                return Err((begin.into(), end.into()));
            }
            if begin < from {
                self.pieces.insert(begin, (from - 1, known));
            }
            if end > to {
                self.pieces.insert(to + 1, (end, known));
            }
            self.pieces.insert(from, (to, value));
        }
        Ok(old)
    }

    /// Forgets a range; false if it, or a part of it, is not known as it is.
    pub(super) fn remove(&mut self, range: (u32, u32)) -> bool {
        let mut is_known = true;
        for (from, to) in pieces(range) {
            match self.pieces.get(&from) {
                Some((end, _)) if *end == to => {
                    self.pieces.remove(&from);
                }
                _ => is_known = false,
            }
        }
        is_known
    }

    pub(super) fn build(self) -> Addresses {
        let default = self.default.unwrap_or(0);
        let mut parts = vec![(0, default)];
        for (from, (to, value)) in self.pieces {
            // Where the piece before has set the default for what follows it, this one begins there.
            if parts.last().is_some_and(|(begin, _)| *begin == from) {
                parts.pop();
            }
            parts.push((from, value));
            if let Some(next) = to.checked_add(1) {
                parts.push((next, default));
            }
        }
        Addresses {
            v4: Line::new(parts),
            v6: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v4(text: &str) -> u32 {
        text.parse::<Ipv4Addr>().unwrap().into()
    }

    #[test]
    fn a_range_may_lie_within_another_and_not_beyond_it() {
        let mut ranges = Ranges::default();
        let range = |from: &str, to: &str| (v4(from), v4(to));
        assert_eq!(ranges.insert(range("1.2.3.0", "1.2.3.9"), 1), Ok(vec![]));
        assert_eq!(ranges.insert(range("1.2.3.4", "1.2.3.5"), 2), Ok(vec![]));
        assert_eq!(ranges.insert(range("1.2.3.0", "1.2.3.0"), 3), Ok(vec![]));
        assert_eq!(ranges.insert(range("1.2.3.4", "1.2.3.5"), 4), Ok(vec![2]));
        let overlapped = ranges.insert(range("1.2.3.5", "1.2.3.6"), 5);
        let parts = ("1.2.3.6".parse().unwrap(), "1.2.3.9".parse().unwrap());
        assert_eq!(overlapped, Err(parts));
        assert!(!ranges.remove(range("1.2.3.1", "1.2.3.9")));
        assert!(ranges.remove(range("1.2.3.1", "1.2.3.3")));
        let table = ranges.build();
        let find = |text: &str| table.find(Some(text.parse().unwrap()));
        let expected = [3, 0, 0, 0, 4, 4, 1, 1, 1, 1, 0];
        for (last, value) in expected.into_iter().enumerate() {
            assert_eq!(find(&format!("1.2.3.{last}")), value, "{last}");
        }
        assert_eq!(find("::1"), 0);
    }

    proptest! {
        /// What a line says is what the longest of the prefixes says.
        #[test]
        fn the_longest_prefix_is_met(
            prefixes in prop::collection::vec((any::<u32>(), 0..33_u8), 0..40),
            near in prop::collection::vec((any::<prop::sample::Index>(), -2..3_i64), 0..60),
        ) {
            let mut networks = Networks::default();
            let mut list = Vec::new();
            for (value, (address, bits)) in prefixes.iter().enumerate() {
                let address = address & mask_v4(*bits).unwrap();
                networks.insert(Network::V4(address, *bits), value as ValueId + 1);
                list.push((address, *bits));
            }
            let prefixes = networks.v4.clone();
            let table = networks.build();
            for (index, offset) in near {
                let Some((address, bits)) = (!list.is_empty()).then(|| *index.get(&list)) else { break };
                for edge in [address, address | !mask_v4(bits).unwrap()] {
                    let asked = (i64::from(edge) + offset) as u32;
                    let expected = longest(&prefixes, asked, 32, |bits| mask_v4(bits).unwrap());
                    let found = table.find(Some(Ipv4Addr::from(asked).into()));
                    prop_assert_eq!(found, expected.unwrap_or(0));
                }
            }
        }
    }
}
