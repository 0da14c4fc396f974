//! The dynamic table (RFC 7541, section 2.3.2 and 4).

use std::collections::VecDeque;

use super::name::Name;

/// What an entry counts beside its bytes. Source: RFC 7541, section 4.1.
pub(super) const ENTRY_OVERHEAD: usize = 32;

struct Entry {
    /// Where its name begins, counted over all bytes that there ever were.
    start: u64,
    name_len: u32,
    value_len: u32,
    name: Name,
}

impl Entry {
    fn len(&self) -> usize {
        self.name_len as usize + self.value_len as usize
    }
}

/// Fields that were said before, the newest first. It owns no memory before the first.
#[derive(Default)]
pub(super) struct Table {
    /// The bytes of all entries, the oldest first, behind those of entries that are gone.
    bytes: Vec<u8>,
    /// How many bytes have been dropped in front of `bytes`.
    dropped: u64,
    entries: VecDeque<Entry>,
    size: usize,
    size_max: usize,
    /// How many entries there ever were.
    inserted: u64,
}

impl Table {
    pub(super) fn new(size_max: usize) -> Self {
        Self {
            size_max,
            ..Self::default()
        }
    }

    pub(super) fn size_max(&self) -> usize {
        self.size_max
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many entries there ever were: as long as this stays, so does everything.
    pub(super) fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Becomes larger or smaller.
    pub(super) fn resize(&mut self, size_max: usize) {
        self.size_max = size_max;
        self.evict(0);
        if self.entries.is_empty() {
            self.bytes = Vec::new();
            self.dropped = 0;
        }
    }

    /// The entry of an index from 0, the newest.
    pub(super) fn get(&self, index: usize) -> Option<(&[u8], &[u8], Name)> {
        let place = self.entries.len().checked_sub(index + 1)?;
        let entry = &self.entries[place];
        let start = (entry.start - self.dropped) as usize;
        let (name, value) =
            self.bytes[start..start + entry.len()].split_at(entry.name_len as usize);
        Some((name, value, entry.name))
    }

    /// Adds an entry; one that is larger than the table leaves it empty. The answer is whether it is there.
    pub(super) fn insert(&mut self, name: &[u8], value: &[u8], looked_at: Name) -> bool {
        let len = name.len() + value.len();
        let size = len + ENTRY_OVERHEAD;
        self.evict(size);
        if size > self.size_max {
            return false;
        }
        self.make_room(len);
        self.entries.push_back(Entry {
            start: self.dropped + self.bytes.len() as u64,
            name_len: name.len() as u32,
            value_len: value.len() as u32,
            name: looked_at,
        });
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(value);
        self.size += size;
        self.inserted += 1;
        true
    }

    /// Drops the oldest entries until there is room for one of this size.
    fn evict(&mut self, size: usize) {
        while self.size > self.size_max.saturating_sub(size) {
            let Some(entry) = self.entries.pop_front() else {
                return;
            };
            self.size -= entry.len() + ENTRY_OVERHEAD;
        }
    }

    /// Drops the bytes of entries that are gone, once they are as many as those that are there may be.
    fn make_room(&mut self, len: usize) {
        if self.bytes.len() + len <= 2 * self.size_max {
            return;
        }
        let first = self.entries.front().map(|entry| entry.start);
        let gone = match first {
            Some(first) => (first - self.dropped) as usize,
            None => self.bytes.len(),
        };
        self.bytes.drain(..gone);
        self.dropped += gone as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_make_way_and_memory_stays_bounded() {
        let mut table = Table::new(100);
        let name = Name::of(b"name");
        for round in 0..1000u32 {
            let value = round.to_string();
            assert!(table.insert(b"name", value.as_bytes(), name));
            assert!(table.size <= 100 && table.bytes.len() <= 200);
            assert_eq!(table.get(0), Some((&b"name"[..], value.as_bytes(), name)));
            assert!(table.get(table.len()).is_none());
        }
        assert_eq!(table.len(), 2);
        assert_eq!(table.get(1).unwrap().1, b"998");
        assert!(!table.insert(b"large", &[b'x'; 64], name));
        assert_eq!((table.len(), table.size), (0, 0));
        table.insert(b"a", b"b", name);
        table.resize(10);
        assert!(table.get(0).is_none() && table.bytes.capacity() == 0);
    }
}
