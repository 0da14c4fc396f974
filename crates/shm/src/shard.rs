//! One shard of a table: a hash index, a list by use, a list of free slots, and the slots.
//!
//! The slots alone are the truth, and the undo copy: a slot whose stamp is not 0 holds a record, and
//! the stamps give the order of use. Chains, lists and counts can be lost at any moment and built
//! again from that, which is what [`Shard::repair`] does after the death of an owner. So an operation
//! must take care of three things only: a stamp is set when its slot is complete, cleared before the
//! slot is written again, and the old value is in the undo copy while a new one is being written.
//!
//! All functions are called with the shard's lock held. Lists link slots by number from 1; 0 ends
//! them.

use crate::lock::Lock;
use crate::words::{
    LINE_WORDS, Word, commit, equal, load, read, store, whole_lines, words_of, write,
};

const AT_OWNER: usize = 0;
const AT_SLEEPERS: usize = 1;
/// The highest stamp given.
const AT_TICK: usize = 2;
const AT_LIVE: usize = 3;
const AT_FREE: usize = 4;
const AT_NEWEST: usize = 5;
const AT_OLDEST: usize = 6;
/// The slot that the undo copy is of, 0 if there is none.
const AT_UNDO_SLOT: usize = 7;
const AT_EVICTIONS: usize = 8;
const AT_REPAIRS: usize = 9;
/// Slots from here on were never used: the free list holds those below.
const AT_FRESH: usize = 10;
const AT_UNDO: usize = LINE_WORDS;

const SLOT_HASH: usize = 0;
const SLOT_STAMP: usize = 1;
/// The next in the chain of a bucket, or in the free list.
const SLOT_NEXT: usize = 2;
const SLOT_NEWER: usize = 3;
const SLOT_OLDER: usize = 4;
const SLOT_KEY: usize = 5;

/// Where everything lies in a shard, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) key_bytes: usize,
    pub(crate) value_bytes: usize,
    pub(crate) slots: usize,
    buckets: usize,
    buckets_at: usize,
    slots_at: usize,
    slot_words: usize,
    pub(crate) shard_words: usize,
}

impl Geometry {
    /// `None` if that is more than memory can be.
    pub(crate) fn new(key_bytes: usize, value_bytes: usize, slots: usize) -> Option<Self> {
        let slot_words = SLOT_KEY + words_of(key_bytes) + words_of(value_bytes);
        let buckets = slots.checked_next_power_of_two()?;
        let buckets_at = AT_UNDO + whole_lines(words_of(value_bytes));
        let slots_at = buckets_at.checked_add(buckets)?;
        let shard_words = slots.checked_mul(slot_words)?.checked_add(slots_at)?;
        Some(Self {
            key_bytes,
            value_bytes,
            slots,
            buckets,
            buckets_at,
            slots_at,
            slot_words,
            shard_words: shard_words.checked_next_multiple_of(LINE_WORDS)?,
        })
    }
}

/// A number that cannot be was found: the shard must be repaired.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

/// What became of an insertion.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The record has its slot.
    Taken,
    /// There is none, and nothing may go.
    Full,
}

#[derive(Clone, Copy)]
pub(crate) struct Shard<'a> {
    words: &'a [Word],
    geometry: &'a Geometry,
}

impl<'a> Shard<'a> {
    /// `words` are those of one shard.
    #[inline]
    pub(crate) fn new(words: &'a [Word], geometry: &'a Geometry) -> Self {
        Self { words, geometry }
    }

    #[inline]
    pub(crate) fn lock(self) -> Lock<'a> {
        Lock::new(&self.words[AT_OWNER], &self.words[AT_SLEEPERS])
    }

    pub(crate) fn live(self) -> u64 {
        load(&self.words[AT_LIVE]).min(self.geometry.slots as u64)
    }

    pub(crate) fn evictions(self) -> u64 {
        load(&self.words[AT_EVICTIONS])
    }

    pub(crate) fn repairs(self) -> u64 {
        load(&self.words[AT_REPAIRS])
    }

    #[inline]
    fn slot(self, number: u64) -> Result<&'a [Word], Broken> {
        let at = number.wrapping_sub(1);
        if at >= self.geometry.slots as u64 {
            return Err(Broken);
        }
        let begin = self.geometry.slots_at + at as usize * self.geometry.slot_words;
        self.words
            .get(begin..begin + self.geometry.slot_words)
            .ok_or(Broken)
    }

    #[inline]
    fn bucket(self, hash: u64) -> &'a Word {
        &self.words[self.geometry.buckets_at + (hash as usize & (self.geometry.buckets - 1))]
    }

    #[inline]
    fn key(self, slot: &'a [Word]) -> &'a [Word] {
        &slot[SLOT_KEY..SLOT_KEY + words_of(self.geometry.key_bytes)]
    }

    #[inline]
    fn value(self, slot: &'a [Word]) -> &'a [Word] {
        &slot[SLOT_KEY + words_of(self.geometry.key_bytes)..]
    }

    /// The slot of a key.
    #[inline]
    pub(crate) fn find(self, hash: u64, key: &[u8]) -> Result<Option<u64>, Broken> {
        let mut number = load(self.bucket(hash));
        let mut steps = 0;
        while number != 0 {
            let slot = self.slot(number)?;
            if load(&slot[SLOT_HASH]) == hash && equal(self.key(slot), key) {
                return Ok(Some(number));
            }
            number = load(&slot[SLOT_NEXT]);
            steps += 1;
            if steps > self.geometry.slots {
                return Err(Broken);
            }
        }
        Ok(None)
    }

    #[inline]
    pub(crate) fn read_value(self, number: u64, value: &mut [u8]) -> Result<(), Broken> {
        read(self.value(self.slot(number)?), value);
        Ok(())
    }

    pub(crate) fn read_key(self, number: u64, key: &mut [u8]) -> Result<(), Broken> {
        read(self.key(self.slot(number)?), key);
        Ok(())
    }

    /// The most recently used slot, or 0; from there [`Shard::older`] leads through all.
    pub(crate) fn newest(self) -> u64 {
        load(&self.words[AT_NEWEST])
    }

    pub(crate) fn older(self, number: u64) -> Result<u64, Broken> {
        Ok(load(&self.slot(number)?[SLOT_OLDER]))
    }

    /// Makes a slot the most recently used.
    #[inline]
    pub(crate) fn touch(self, number: u64) -> Result<(), Broken> {
        if load(&self.words[AT_NEWEST]) == number {
            return Ok(());
        }
        let slot = self.slot(number)?;
        store(&slot[SLOT_STAMP], self.next_stamp());
        self.unlink_use(slot)?;
        self.link_newest(number, slot)
    }

    /// Writes a value over that of a slot. Dying within leaves either.
    #[inline]
    pub(crate) fn overwrite(self, number: u64, value: &[u8]) -> Result<(), Broken> {
        let words = self.value(self.slot(number)?);
        if equal(words, value) {
            return Ok(());
        }
        for (undo, word) in self.words[AT_UNDO..].iter().zip(words) {
            store(undo, load(word));
        }
        commit(&self.words[AT_UNDO_SLOT], number);
        write(words, value);
        commit(&self.words[AT_UNDO_SLOT], 0);
        Ok(())
    }

    /// Puts a record whose key is not there into a free slot, or into that of the least recently
    /// used record if `evict`; `evicted` is shown that slot first.
    pub(crate) fn insert(
        self,
        (hash, key, value): (u64, &[u8], &[u8]),
        evict: bool,
        evicted: impl FnOnce(u64) -> Result<(), Broken>,
    ) -> Result<Place, Broken> {
        let (free, fresh) = (load(&self.words[AT_FREE]), load(&self.words[AT_FRESH]));
        if free == 0 && fresh >= self.geometry.slots as u64 {
            if !evict {
                return Ok(Place::Full);
            }
            let oldest = load(&self.words[AT_OLDEST]);
            evicted(oldest)?;
            self.remove(oldest)?;
            let evictions = &self.words[AT_EVICTIONS];
            store(evictions, load(evictions).wrapping_add(1));
        }
        let number = self.take_free()?;
        let slot = self.slot(number)?;
        store(&slot[SLOT_HASH], hash);
        write(self.key(slot), key);
        write(self.value(slot), value);
        commit(&slot[SLOT_STAMP], self.next_stamp());
        self.link_chain(number, slot, hash);
        self.link_newest(number, slot)?;
        self.add_live(1);
        Ok(Place::Taken)
    }

    fn take_free(self) -> Result<u64, Broken> {
        let free = load(&self.words[AT_FREE]);
        if free != 0 {
            let slot = self.slot(free)?;
            if load(&slot[SLOT_STAMP]) != 0 {
                return Err(Broken);
            }
            store(&self.words[AT_FREE], load(&slot[SLOT_NEXT]));
            return Ok(free);
        }
        let number = load(&self.words[AT_FRESH]).wrapping_add(1);
        if load(&self.slot(number)?[SLOT_STAMP]) != 0 {
            return Err(Broken);
        }
        store(&self.words[AT_FRESH], number);
        Ok(number)
    }

    /// Takes a record out.
    pub(crate) fn remove(self, number: u64) -> Result<(), Broken> {
        let slot = self.slot(number)?;
        if load(&slot[SLOT_STAMP]) == 0 {
            return Err(Broken);
        }
        commit(&slot[SLOT_STAMP], 0);
        self.unlink_chain(number, slot)?;
        self.unlink_use(slot)?;
        store(&slot[SLOT_NEXT], load(&self.words[AT_FREE]));
        store(&self.words[AT_FREE], number);
        self.add_live(u64::MAX);
        Ok(())
    }

    #[inline]
    fn next_stamp(self) -> u64 {
        let stamp = load(&self.words[AT_TICK]).wrapping_add(1).max(1);
        store(&self.words[AT_TICK], stamp);
        stamp
    }

    fn add_live(self, count: u64) {
        let live = &self.words[AT_LIVE];
        store(live, load(live).wrapping_add(count));
    }

    fn link_chain(self, number: u64, slot: &[Word], hash: u64) {
        let bucket = self.bucket(hash);
        store(&slot[SLOT_NEXT], load(bucket));
        store(bucket, number);
    }

    fn unlink_chain(self, number: u64, slot: &[Word]) -> Result<(), Broken> {
        let mut link = self.bucket(load(&slot[SLOT_HASH]));
        for _ in 0..self.geometry.slots {
            let next = load(link);
            if next == number {
                store(link, load(&slot[SLOT_NEXT]));
                return Ok(());
            }
            link = &self.slot(next)?[SLOT_NEXT];
        }
        Err(Broken)
    }

    #[inline]
    fn link_newest(self, number: u64, slot: &[Word]) -> Result<(), Broken> {
        let newest = load(&self.words[AT_NEWEST]);
        store(&slot[SLOT_NEWER], 0);
        store(&slot[SLOT_OLDER], newest);
        match newest {
            0 => store(&self.words[AT_OLDEST], number),
            _ => store(&self.slot(newest)?[SLOT_NEWER], number),
        }
        store(&self.words[AT_NEWEST], number);
        Ok(())
    }

    #[inline]
    fn unlink_use(self, slot: &[Word]) -> Result<(), Broken> {
        let (newer, older) = (load(&slot[SLOT_NEWER]), load(&slot[SLOT_OLDER]));
        match newer {
            0 => store(&self.words[AT_NEWEST], older),
            _ => store(&self.slot(newer)?[SLOT_OLDER], older),
        }
        match older {
            0 => store(&self.words[AT_OLDEST], newer),
            _ => store(&self.slot(older)?[SLOT_NEWER], newer),
        }
        Ok(())
    }

    /// Builds everything again from the stamps. `hash_of` hashes a key's bytes. Dying within is
    /// repaired by doing it again.
    #[cold]
    pub(crate) fn repair(self, hash_of: impl Fn(&[u8]) -> u64) {
        self.undo();
        let mut records = self.records(hash_of);
        records.sort_unstable();
        for at in 0..self.geometry.buckets {
            store(&self.words[self.geometry.buckets_at + at], 0);
        }
        for at in [AT_FREE, AT_NEWEST, AT_OLDEST, AT_LIVE, AT_TICK] {
            store(&self.words[at], 0);
        }
        store(&self.words[AT_FRESH], self.geometry.slots as u64);
        let mut key = vec![0; self.geometry.key_bytes];
        for (_, number) in records {
            let Ok(slot) = self.slot(number) else {
                continue;
            };
            read(self.key(slot), &mut key);
            let hash = load(&slot[SLOT_HASH]);
            // No death leaves a key twice; where memory was overwritten, the more recent stays.
            if let Ok(Some(double)) = self.find(hash, &key) {
                let _ = self.remove(double);
            }
            // In order from 1 up, so that no stamp passes another at any moment.
            store(&slot[SLOT_STAMP], self.next_stamp());
            self.link_chain(number, slot, hash);
            let _ = self.link_newest(number, slot);
            self.add_live(1);
        }
        store(&self.words[AT_FREE], 0);
        for number in (1..=self.geometry.slots as u64).rev() {
            let Ok(slot) = self.slot(number) else {
                continue;
            };
            if load(&slot[SLOT_STAMP]) == 0 {
                store(&slot[SLOT_NEXT], load(&self.words[AT_FREE]));
                store(&self.words[AT_FREE], number);
            }
        }
        let repairs = &self.words[AT_REPAIRS];
        store(repairs, load(repairs).wrapping_add(1));
    }

    fn undo(self) {
        if let Ok(slot) = self.slot(load(&self.words[AT_UNDO_SLOT])) {
            for (word, undo) in self.value(slot).iter().zip(&self.words[AT_UNDO..]) {
                store(word, load(undo));
            }
        }
        commit(&self.words[AT_UNDO_SLOT], 0);
    }

    /// The stamp and slot of each record. What does not match its hash is freed.
    fn records(self, hash_of: impl Fn(&[u8]) -> u64) -> Vec<(u64, u64)> {
        let mut records = Vec::new();
        let mut key = vec![0; self.geometry.key_bytes];
        for number in 1..=self.geometry.slots as u64 {
            let Ok(slot) = self.slot(number) else {
                continue;
            };
            let stamp = load(&slot[SLOT_STAMP]);
            if stamp == 0 {
                continue;
            }
            read(self.key(slot), &mut key);
            if load(&slot[SLOT_HASH]) == hash_of(&key) {
                records.push((stamp, number));
            } else {
                commit(&slot[SLOT_STAMP], 0);
            }
        }
        records
    }

    /// Whether chains, lists, stamps and counts agree.
    pub(crate) fn is_sound(self, hash_of: impl Fn(&[u8]) -> u64) -> Result<bool, Broken> {
        let mut key = vec![0; self.geometry.key_bytes];
        let (mut live, mut newer, mut number) = (0, 0, self.newest());
        let mut stamp_newer = u64::MAX;
        while number != 0 {
            let slot = self.slot(number)?;
            let stamp = load(&slot[SLOT_STAMP]);
            read(self.key(slot), &mut key);
            let hash = load(&slot[SLOT_HASH]);
            let sound = stamp != 0
                && stamp < stamp_newer
                && load(&slot[SLOT_NEWER]) == newer
                && hash == hash_of(&key)
                && self.find(hash, &key)? == Some(number);
            live += 1;
            if !sound || live > self.geometry.slots as u64 {
                return Ok(false);
            }
            (stamp_newer, newer) = (stamp, number);
            number = load(&slot[SLOT_OLDER]);
        }
        let (mut free, mut number) = (0, load(&self.words[AT_FREE]));
        while number != 0 && free <= self.geometry.slots as u64 {
            let slot = self.slot(number)?;
            if load(&slot[SLOT_STAMP]) != 0 {
                return Ok(false);
            }
            free += 1;
            number = load(&slot[SLOT_NEXT]);
        }
        let fresh = (self.geometry.slots as u64).saturating_sub(load(&self.words[AT_FRESH]));
        Ok(load(&self.words[AT_OLDEST]) == newer
            && live == load(&self.words[AT_LIVE])
            && live + free + fresh == self.geometry.slots as u64
            && load(&self.words[AT_UNDO_SLOT]) == 0)
    }
}
