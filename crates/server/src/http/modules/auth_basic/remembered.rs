//! Pairs of name and password that were right, and those that are being compared.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use revolve_reactor::local::Notify;

use crate::file_cache::FileEntry;

/// How long a pair is believed.
const BELIEVED: Duration = Duration::from_secs(60);

/// So many pairs are remembered by a loop at most.
const PAIRS_MAX: usize = 4096;

/// So many hashes may be computed for one client address at a time, or wait to be.
const ADDRESS_MAX: u32 = 16;

/// A pair and what the file has of its user, under keys of this loop's own: a number that nobody who
/// does not know all three can find another text for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(u64, u64);

/// A line of a client's.
struct Line {
    file: Weak<FileEntry>,
    until: Instant,
}

/// The memory of one loop. No password is kept in it.
#[derive(Default)]
pub(crate) struct Remembered {
    keys: (RandomState, RandomState),
    pairs: RefCell<HashMap<Key, Instant>>,
    /// What clients have sent that was right, under a key again, each with the file that said so: who is
    /// in here need not be looked for in the file.
    lines: RefCell<HashMap<u64, Line, foldhash::fast::RandomState>>,
    comparing: RefCell<HashSet<Key>>,
    by_address: RefCell<HashMap<Vec<u8>, u32>>,
    /// Told whenever a comparison has ended.
    ended: Notify,
}

impl Remembered {
    /// What a pair is remembered by: as the file's part of it changes, so does this.
    pub(super) fn key(&self, pair: &[u8], stored: &[u8]) -> Key {
        Key(
            self.keys.0.hash_one((pair, stored)),
            self.keys.1.hash_one((pair, stored)),
        )
    }

    /// Whether this pair was right a short while ago.
    pub(super) fn knows(&self, key: Key, now: Instant) -> bool {
        let pairs = self.pairs.borrow();
        let until = pairs.get(&key);
        until.is_some_and(|until| now < *until)
    }

    /// Whether a client's line was right a short while ago by a file that has not changed since.
    pub(super) fn knows_line(&self, line: &[u8], file: &Rc<FileEntry>, now: Instant) -> bool {
        let lines = self.lines.borrow();
        let known = lines.get(&self.line_key(line, file));
        known.is_some_and(|known| known.file.as_ptr() == Rc::as_ptr(file) && now < known.until)
    }

    /// Remembers a client's line that was right by a file.
    pub(super) fn remember_line(&self, line: &[u8], file: &Rc<FileEntry>, now: Instant) {
        let mut lines = self.lines.borrow_mut();
        if lines.len() >= PAIRS_MAX {
            lines.retain(|_, line| now < line.until && line.file.strong_count() > 0);
        }
        if lines.len() >= PAIRS_MAX {
            lines.clear();
        }
        let known = Line {
            file: Rc::downgrade(file),
            until: now + BELIEVED,
        };
        lines.insert(self.line_key(line, file), known);
    }

    fn line_key(&self, line: &[u8], file: &Rc<FileEntry>) -> u64 {
        self.keys.0.hash_one((line, Rc::as_ptr(file) as usize))
    }

    /// Remembers a pair that was right.
    pub(super) fn remember(&self, key: Key, now: Instant) {
        let mut pairs = self.pairs.borrow_mut();
        if pairs.len() >= PAIRS_MAX {
            pairs.retain(|_, until| now < *until);
        }
        if pairs.len() >= PAIRS_MAX {
            pairs.clear();
        }
        pairs.insert(key, now + BELIEVED);
    }

    /// Waits while the same pair is being compared: its answer is the answer for all who ask.
    pub(super) async fn settled(&self, key: Key) {
        loop {
            let ended = self.ended.notified();
            if !self.comparing.borrow().contains(&key) {
                return;
            }
            ended.await;
        }
    }

    /// Notes that a pair is being compared for a client; `None` where too many are for that address.
    pub(super) fn begin(&self, key: Key, address: Vec<u8>) -> Option<Comparing<'_>> {
        {
            let mut by_address = self.by_address.borrow_mut();
            let count = by_address.entry(address.clone()).or_default();
            if *count >= ADDRESS_MAX {
                return None;
            }
            *count += 1;
        }
        self.comparing.borrow_mut().insert(key);
        Some(Comparing {
            of: self,
            key,
            address,
        })
    }
}

/// A comparison under way. It ends when this is dropped, as it is when the client leaves.
pub(super) struct Comparing<'a> {
    of: &'a Remembered,
    key: Key,
    address: Vec<u8>,
}

impl Drop for Comparing<'_> {
    fn drop(&mut self) {
        self.of.comparing.borrow_mut().remove(&self.key);
        let mut by_address = self.of.by_address.borrow_mut();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
        drop(by_address);
        self.of.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_known_with_its_line_alone() {
        let remembered = Remembered::default();
        let key = remembered.key(b"me:secret", b"$1$x");
        let now = Instant::now();
        assert!(!remembered.knows(key, now));
        remembered.remember(key, now);
        assert!(remembered.knows(remembered.key(b"me:secret", b"$1$x"), now));
        assert!(!remembered.knows(key, now + BELIEVED));
        assert!(!remembered.knows(remembered.key(b"me:secret", b"$1$y"), now));
        assert!(!remembered.knows(remembered.key(b"me:secre", b"t$1$x"), now));
        for number in 0..2 * PAIRS_MAX {
            remembered.remember(remembered.key(&number.to_le_bytes(), b""), now);
        }
        assert!(remembered.pairs.borrow().len() <= PAIRS_MAX);
    }

    #[test]
    fn an_address_has_so_many_comparisons_at_a_time() {
        let remembered = Remembered::default();
        let begin = |number: u32| {
            let key = remembered.key(&number.to_le_bytes(), b"");
            remembered.begin(key, b"192.0.2.1".to_vec())
        };
        let mut under_way: Vec<_> = (0..ADDRESS_MAX).map(begin).collect();
        assert!(under_way.iter().all(Option::is_some));
        assert!(begin(ADDRESS_MAX).is_none());
        let other = remembered.begin(remembered.key(b"", b""), b"192.0.2.2".to_vec());
        assert!(other.is_some());
        under_way.pop();
        assert!(begin(ADDRESS_MAX).is_some());
        drop((under_way, other));
        assert!(remembered.by_address.borrow().is_empty());
        assert!(remembered.comparing.borrow().is_empty());
    }
}
