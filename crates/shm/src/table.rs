//! Records by key, bounded, for many processes.

use std::hash::Hasher;
use std::marker::PhantomData;
use std::mem::size_of;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

use bytemuck::Pod;
use siphasher::sip::SipHasher13;
use siphasher::sip128::SipHasher13 as SipHasher13_128;

use crate::error::{TableError, ZoneError};
use crate::lock::Held;
use crate::shard::{Broken, Geometry, Place, Shard};
use crate::words::Word;
use crate::zone::{Kind, Zone, same};

const SHARDS_MAX: usize = 4096;
/// Slots are numbered in 32 bits' worth, which is more than anyone keeps.
const ENTRIES_MAX: usize = u32::MAX as usize;
const LOCK_WAIT_MAX_DEFAULT: Duration = Duration::from_millis(100);

/// What an insertion does when the shard of its key is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The least recently used record of the shard goes. Right for caches and rates.
    #[default]
    Evict = 0,
    /// The insertion fails with [`TableError::Full`]. Right where a lost record would lie, as in a
    /// count of open connections.
    Refuse = 1,
}

/// What a table is to be.
#[derive(Clone, Debug)]
pub struct TableOptions {
    name: String,
    entries_max: usize,
    shards: usize,
    schema: u64,
    when_full: WhenFull,
}

impl TableOptions {
    /// Options with a name, which is seen in `/proc/PID/maps` and means nothing else.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            entries_max: 1024,
            shards: 16,
            schema: 0,
            when_full: WhenFull::Evict,
        }
    }

    /// Records that the table can hold: default 1,024, from 1 to 2^32 - 1, rounded up to a multiple of
    /// the shards. Memory is used as records come, at most [`TableOptions::memory_bytes`], and not
    /// given back before the zone ends.
    pub fn entries_max(mut self, entries: usize) -> Self {
        self.entries_max = entries;
        self
    }

    /// Parts with a lock of their own: default 16, from 1 to 4,096. Each holds the same
    /// share of the entries, and is full when its share is used up, so leave room: keys spread
    /// evenly, not exactly. With one shard, the least recently used record of the whole table goes.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// A number of the caller's own for the meaning of keys and values: default 0. Opening a table
    /// with another one is refused, so raise it when a field changes its meaning.
    pub fn schema(mut self, schema: u64) -> Self {
        self.schema = schema;
        self
    }

    /// What happens when a shard is full: default [`WhenFull::Evict`].
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Bytes of address space that a table of these options takes, and of memory once it is full;
    /// `None` if these options cannot be. A record takes 40 bytes and its key and value, each rounded
    /// up to 8; the index takes 8 to 16 bytes more for it.
    pub fn memory_bytes<K: Pod, V: Pod>(&self) -> Option<usize> {
        let geometry = self.geometry::<K, V>().ok()?;
        let body = geometry.shard_words.checked_mul(self.shards)?;
        body.checked_add(crate::zone::HEADER_WORDS)?.checked_mul(8)
    }

    fn geometry<K: Pod, V: Pod>(&self) -> Result<Geometry, ZoneError> {
        if !(1..=SHARDS_MAX).contains(&self.shards) {
            let what = "the number of shards must be from 1 to 4096";
            return Err(ZoneError::Options(what));
        }
        if self.entries_max == 0 || self.entries_max > ENTRIES_MAX {
            let what = "the number of entries must be from 1 to 4294967295";
            return Err(ZoneError::Options(what));
        }
        let slots = self.entries_max.div_ceil(self.shards);
        Geometry::new(size_of::<K>(), size_of::<V>(), slots)
            .ok_or(ZoneError::Options("larger than memory can be"))
    }
}

/// What [`Table::insert`] has displaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inserted<K, V> {
    /// The value that the key had.
    pub replaced: Option<V>,
    /// The record that had to go because the shard was full.
    pub evicted: Option<(K, V)>,
}

/// Figures of a table. They are read without locks, so they may be of slightly different moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStats {
    /// Records held.
    pub entries: u64,
    /// Records that the table can hold.
    pub entries_max: u64,
    /// Records displaced since the table was made.
    pub evictions: u64,
    /// Shards repaired since, because a process died in one.
    pub repairs: u64,
    /// Bytes of the zone.
    pub memory_bytes: u64,
}

/// Records by key in a memory file: fixed-size, bounded, sharded.
///
/// Any thread of any process that has opened the table may call any function. Each takes the lock of
/// one shard at a time: no system call where nobody else is in that shard, and at most the wait of
/// [`Table::set_lock_wait_max`] where somebody is stopped in it. A lookup moves its record to the front
/// of the order of use, which touches two records more. Closures run with the lock
/// held: they are short, and touch no shared table, or they get [`TableError::Busy`].
#[derive(Debug)]
pub struct Table<K, V> {
    zone: Zone,
    geometry: Geometry,
    shards: usize,
    when_full: WhenFull,
    hasher: SipHasher13,
    lock_wait_max: Duration,
    records: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    /// Makes an empty table in a memory file of its own.
    pub fn create(options: &TableOptions) -> Result<Self, ZoneError> {
        let geometry = options.geometry::<K, V>()?;
        let body_words = geometry.shard_words.checked_mul(options.shards);
        let fields = [
            geometry.key_bytes as u64,
            geometry.value_bytes as u64,
            geometry.slots as u64,
            options.shards as u64,
            options.when_full as u64,
            0,
        ];
        let zone = Zone::create(
            &options.name,
            Kind::Table,
            options.schema,
            fields,
            body_words,
        )?;
        Ok(Self::over(
            zone,
            geometry,
            options.shards,
            options.when_full,
        ))
    }

    /// Opens the table behind a descriptor that came from [`Table::descriptor`] in any process.
    ///
    /// A zone of another kind, version, schema, or with keys or values of another size is refused.
    pub fn open(file: OwnedFd, schema: u64) -> Result<Self, ZoneError> {
        let zone = Zone::open(file, Kind::Table, schema)?;
        let [key_bytes, value_bytes, slots, shards, when_full, _] = zone.fields();
        same("key bytes", key_bytes, size_of::<K>() as u64)?;
        same("value bytes", value_bytes, size_of::<V>() as u64)?;
        let (slots, shards) = (slots as usize, shards as usize);
        if slots == 0 || shards == 0 {
            return Err(ZoneError::Damaged);
        }
        let geometry = Geometry::new(size_of::<K>(), size_of::<V>(), slots);
        let geometry = geometry.ok_or(ZoneError::Damaged)?;
        let body_words = geometry.shard_words.checked_mul(shards);
        let body_words = body_words.ok_or(ZoneError::Damaged)?;
        same("body words", zone.body().len() as u64, body_words as u64)?;
        let when_full = match when_full {
            0 => WhenFull::Evict,
            1 => WhenFull::Refuse,
            _ => return Err(ZoneError::Damaged),
        };
        Ok(Self::over(zone, geometry, shards, when_full))
    }

    fn over(zone: Zone, geometry: Geometry, shards: usize, when_full: WhenFull) -> Self {
        let (key_0, key_1) = zone.hash_keys();
        Self {
            zone,
            geometry,
            shards,
            when_full,
            // Keyed at random for each zone: clients choose keys, and must not choose their chain.
            hasher: SipHasher13::new_with_keys(key_0, key_1),
            lock_wait_max: LOCK_WAIT_MAX_DEFAULT,
            records: PhantomData,
        }
    }

    /// The memory file, to be sent to another process (`SCM_RIGHTS`) or cloned. It is closed on exec.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.zone.descriptor()
    }

    /// A hash of any bytes with this zone's own random key, the same in every process: to make a key of
    /// fixed size out of one of any, where nobody outside can choose two that collide.
    pub fn keyed_hash(&self, bytes: &[u8]) -> u128 {
        let (key_0, key_1) = self.zone.hash_keys();
        SipHasher13_128::new_with_keys(key_0, key_1)
            .hash(bytes)
            .as_u128()
    }

    /// How long an operation of this handle waits for a lock whose owner lives: default 100 ms. A dead
    /// owner's lock is had after about a millisecond.
    pub fn set_lock_wait_max(&mut self, wait: Duration) {
        self.lock_wait_max = wait;
    }

    /// The value of a key, which becomes the most recently used of its shard.
    #[inline]
    pub fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        self.in_shard(key, |shard, hash, key| {
            let Some(slot) = shard.find(hash, key)? else {
                return Ok(None);
            };
            shard.touch(slot)?;
            value_of(shard, slot).map(Some)
        })
    }

    /// The value of a key, whose place in the order of use stays.
    pub fn peek(&self, key: &K) -> Result<Option<V>, TableError> {
        self.in_shard(key, |shard, hash, key| {
            let slot = shard.find(hash, key)?;
            slot.map(|slot| value_of(shard, slot)).transpose()
        })
    }

    /// Sets the value of a key, which becomes the most recently used of its shard.
    pub fn insert(&self, key: &K, value: &V) -> Result<Inserted<K, V>, TableError> {
        let (index, _) = self.place_of(key);
        let inserted = self.in_shard(key, |shard, hash, key| {
            self.insert_in(shard, (hash, key), value)
        })?;
        inserted.ok_or(TableError::Full { shard: index })
    }

    /// Takes a key out; its value, if it was there.
    pub fn remove(&self, key: &K) -> Result<Option<V>, TableError> {
        self.in_shard(key, |shard, hash, key| {
            let Some(slot) = shard.find(hash, key)? else {
                return Ok(None);
            };
            let value = value_of(shard, slot)?;
            shard.remove(slot)?;
            Ok(Some(value))
        })
    }

    /// Reads, changes, adds or removes the record of a key in one step.
    ///
    /// `change` sees the value, or `None`; what it leaves there is what the table holds then. The
    /// record becomes the most recently used of its shard. If `change` panics, nothing has changed.
    /// Where an addition finds no room, `change` has run for nothing, and [`TableError::Full`] says
    /// so.
    ///
    /// ```
    /// # use revolve_shm::{Table, TableOptions, WhenFull};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let options = TableOptions::new("open").when_full(WhenFull::Refuse);
    /// # let open: Table<u32, u64> = Table::create(&options)?;
    /// // At most 100 connections from one address.
    /// let admitted = open.modify(&0x7f000001, |count| {
    ///     let count = count.get_or_insert(0);
    ///     let admitted = *count < 100;
    ///     *count += u64::from(admitted);
    ///     admitted
    /// })?;
    /// # assert!(admitted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn modify<R>(
        &self,
        key: &K,
        change: impl FnOnce(&mut Option<V>) -> R,
    ) -> Result<R, TableError> {
        let (index, _) = self.place_of(key);
        let mut change = Some(change);
        let mut decided: Option<(Option<V>, R)> = None;
        let done = self.in_shard(key, |shard, hash, key| {
            let slot = shard.find(hash, key)?;
            let mut value = slot.map(|slot| value_of::<V>(shard, slot)).transpose()?;
            // Run once, also if what comes after finds the shard broken and is done again.
            if let Some(change) = change.take() {
                let result = change(&mut value);
                decided = Some((value, result));
            }
            let after = decided.as_ref().and_then(|(value, _)| value.as_ref());
            match (slot, after) {
                (None, None) => Ok(true),
                (Some(slot), None) => shard.remove(slot).map(|()| true),
                (Some(slot), Some(value)) => {
                    shard.overwrite(slot, bytemuck::bytes_of(value))?;
                    shard.touch(slot).map(|()| true)
                }
                (None, Some(value)) => {
                    let inserted = self.insert_in(shard, (hash, key), value)?;
                    Ok(inserted.is_some())
                }
            }
        })?;
        match decided {
            Some((_, result)) if done => Ok(result),
            _ => Err(TableError::Full { shard: index }),
        }
    }

    /// Shows every record to `keep`, which may change its value, and takes out those for which it
    /// says no. The order of use stays.
    ///
    /// One shard after the other is locked, each for as long as its records take: other processes wait
    /// meanwhile. What comes and goes in shards that are not locked may be seen or not. An error leaves
    /// the shards before it done.
    pub fn retain(&self, mut keep: impl FnMut(&K, &mut V) -> bool) -> Result<(), TableError> {
        (0..self.shards).try_for_each(|index| {
            self.locked(index, |shard| {
                let mut slot = shard.newest();
                for _ in 0..self.geometry.slots {
                    if slot == 0 {
                        break;
                    }
                    let older = shard.older(slot)?;
                    let key = key_of::<K>(shard, slot)?;
                    let mut value = value_of::<V>(shard, slot)?;
                    if keep(&key, &mut value) {
                        shard.overwrite(slot, bytemuck::bytes_of(&value))?;
                    } else {
                        shard.remove(slot)?;
                    }
                    slot = older;
                }
                Ok(())
            })
        })
    }

    /// All records, shard by shard, in each the most recently used first. For status pages, and for
    /// taking records over into a larger table.
    pub fn records(&self) -> Result<Vec<(K, V)>, TableError> {
        let mut records = Vec::new();
        self.retain(|key, value| {
            records.push((*key, *value));
            true
        })?;
        Ok(records)
    }

    /// Takes every record out.
    pub fn clear(&self) -> Result<(), TableError> {
        self.retain(|_, _| false)
    }

    /// Figures for a status page.
    pub fn stats(&self) -> TableStats {
        let mut stats = TableStats {
            entries_max: (self.geometry.slots * self.shards) as u64,
            memory_bytes: self.zone.bytes() as u64,
            ..TableStats::default()
        };
        for index in 0..self.shards {
            let shard = self.shard(index);
            stats.entries += shard.live();
            stats.evictions = stats.evictions.wrapping_add(shard.evictions());
            stats.repairs = stats.repairs.wrapping_add(shard.repairs());
        }
        stats
    }

    /// Whether the indexes, lists and counts of every shard agree with its records. A shard whose last
    /// owner died is repaired first. For tests and for a doubt; it reads the whole table.
    pub fn is_sound(&self) -> Result<bool, TableError> {
        for index in 0..self.shards {
            let held = self.lock(index)?;
            let sound = self.shard(index).is_sound(|key| self.hash_of(key));
            drop(held);
            if sound != Ok(true) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `None` if there is no room.
    fn insert_in(
        &self,
        shard: Shard<'_>,
        (hash, key): (u64, &[u8]),
        value: &V,
    ) -> Result<Option<Inserted<K, V>>, Broken> {
        let bytes = bytemuck::bytes_of(value);
        let mut inserted = Inserted {
            replaced: None,
            evicted: None,
        };
        if let Some(slot) = shard.find(hash, key)? {
            inserted.replaced = Some(value_of(shard, slot)?);
            shard.overwrite(slot, bytes)?;
            shard.touch(slot)?;
            return Ok(Some(inserted));
        }
        let evict = self.when_full == WhenFull::Evict;
        let place = shard.insert((hash, key, bytes), evict, |slot| {
            inserted.evicted = Some((key_of(shard, slot)?, value_of(shard, slot)?));
            Ok(())
        })?;
        Ok((place == Place::Taken).then_some(inserted))
    }

    #[inline]
    fn hash_of(&self, key: &[u8]) -> u64 {
        let mut hasher = self.hasher;
        hasher.write(key);
        hasher.finish()
    }

    /// The shard of a key, by the high bits of its hash: the low ones choose the bucket.
    #[inline]
    fn place_of(&self, key: &K) -> (usize, u64) {
        let hash = self.hash_of(bytemuck::bytes_of(key));
        let shard = (u128::from(hash) * self.shards as u128) >> 64;
        (shard as usize, hash)
    }

    #[inline]
    fn shard(&self, index: usize) -> Shard<'_> {
        let words: &[Word] = self.zone.body();
        let begin = index * self.geometry.shard_words;
        Shard::new(
            &words[begin..begin + self.geometry.shard_words],
            &self.geometry,
        )
    }

    /// Runs `f` with the key's shard locked.
    #[inline]
    fn in_shard<R>(
        &self,
        key: &K,
        mut f: impl FnMut(Shard<'_>, u64, &[u8]) -> Result<R, Broken>,
    ) -> Result<R, TableError> {
        let (index, hash) = self.place_of(key);
        let key = bytemuck::bytes_of(key);
        self.locked(index, |shard| f(shard, hash, key))
    }

    /// Runs `f` with a shard locked, and again after a repair if it found the shard broken.
    #[inline]
    fn locked<R>(
        &self,
        index: usize,
        mut f: impl FnMut(Shard<'_>) -> Result<R, Broken>,
    ) -> Result<R, TableError> {
        let held = self.lock(index)?;
        let shard = self.shard(index);
        let result = f(shard).or_else(|Broken| {
            shard.repair(|key| self.hash_of(key));
            f(shard)
        });
        drop(held);
        result.map_err(|Broken| TableError::Damaged { shard: index })
    }

    #[inline]
    fn lock(&self, index: usize) -> Result<Held<'_>, TableError> {
        let shard = self.shard(index);
        let held = shard
            .lock()
            .acquire(self.lock_wait_max)
            .map_err(|waited| TableError::Busy {
                shard: index,
                waited,
            })?;
        if held.from_dead {
            shard.repair(|key| self.hash_of(key));
        }
        Ok(held)
    }
}

#[inline]
fn value_of<V: Pod>(shard: Shard<'_>, slot: u64) -> Result<V, Broken> {
    let mut value = V::zeroed();
    shard.read_value(slot, bytemuck::bytes_of_mut(&mut value))?;
    Ok(value)
}

fn key_of<K: Pod>(shard: Shard<'_>, slot: u64) -> Result<K, Broken> {
    let mut key = K::zeroed();
    shard.read_key(slot, bytemuck::bytes_of_mut(&mut key))?;
    Ok(key)
}

#[cfg(test)]
mod tests;
