//! Counters that many processes raise and any reads, without locks.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{NoFreeSlot, ZoneError};
use crate::identity;
use crate::words::{LINE_WORDS, Word, whole_lines};
use crate::zone::{Kind, Zone};

/// How many slots, from the first on, were ever claimed: those behind them need not be looked at.
/// The slots begin on the next line.
const AT_USED: usize = 0;
const AT_SLOTS: usize = LINE_WORDS;
/// The owner stands before a slot's counters.
const AT_COUNTERS: usize = 1;
const SLOTS_MAX: usize = 1 << 16;
const COUNTERS_MAX: usize = 1 << 16;

/// Rows of counters, one row (slot) for each worker, each on cache lines of its own: raising a counter
/// takes no other core's line.
///
/// Any thread of any process that has opened them may call any function. A sum over slots is not of
/// one moment.
///
/// ```
/// use std::sync::Arc;
/// use revolve_shm::Counters;
///
/// const REQUESTS: usize = 0;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let counters = Arc::new(Counters::create("stub_status", 1, 4, 1)?);
/// let mine = counters.claim()?;
/// mine.add(REQUESTS, 1);
/// assert_eq!(counters.sum(REQUESTS), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Counters {
    zone: Zone,
    counters: usize,
    slots: usize,
}

impl Counters {
    /// Makes `slots` rows of `counters` counters, all 0; from 1 to 65,536 of each. A slot takes 8 bytes
    /// for itself and each counter, rounded up to 128; slots that were never claimed take no memory.
    ///
    /// `schema` is the caller's number for the meaning of the counters: others open them with it.
    pub fn create(
        name: &str,
        counters: usize,
        slots: usize,
        schema: u64,
    ) -> Result<Self, ZoneError> {
        if !(1..=SLOTS_MAX).contains(&slots) || !(1..=COUNTERS_MAX).contains(&counters) {
            let what = "the numbers of counters and of slots must be from 1 to 65536";
            return Err(ZoneError::Options(what));
        }
        let fields = [counters as u64, slots as u64, 0, 0, 0, 0];
        let body_words = slot_words(counters)
            .checked_mul(slots)
            .and_then(|words| words.checked_add(AT_SLOTS));
        let zone = Zone::create(name, Kind::Counters, schema, fields, body_words)?;
        Ok(Self {
            zone,
            counters,
            slots,
        })
    }

    /// Opens the counters behind a descriptor that came from [`Counters::descriptor`] in any process.
    pub fn open(file: OwnedFd, schema: u64) -> Result<Self, ZoneError> {
        let zone = Zone::open(file, Kind::Counters, schema)?;
        let [counters, slots, ..] = zone.fields().map(|field| field as usize);
        let possible = (1..=SLOTS_MAX).contains(&slots) && (1..=COUNTERS_MAX).contains(&counters);
        if !possible || zone.body().len() != AT_SLOTS + slot_words(counters) * slots {
            return Err(ZoneError::Damaged);
        }
        Ok(Self {
            zone,
            counters,
            slots,
        })
    }

    /// The memory file, to be sent to another process (`SCM_RIGHTS`) or cloned. It is closed on exec.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.zone.descriptor()
    }

    /// Counters in a slot.
    pub fn counters(&self) -> usize {
        self.counters
    }

    /// How many slots there are.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// Slots, from the first on, that were ever claimed.
    pub fn used(&self) -> usize {
        let used = self.zone.body()[AT_USED].load(Ordering::Acquire);
        self.slots.min(used as usize)
    }

    /// Takes a slot that is free, or whose owner has died, for this process.
    ///
    /// Its counters stay as they were, so that sums never fall; a gauge that a dead owner left
    /// is for the new one to [`set`](CounterSlot::set). May read `/proc`: not for the hot path.
    pub fn claim(self: &Arc<Self>) -> Result<CounterSlot, NoFreeSlot> {
        (0..self.slots)
            .find_map(|slot| self.claim_slot(slot, true))
            .ok_or(NoFreeSlot)
    }

    /// Takes a slot whose owner has died, if there is one: to settle what it left behind, and to give
    /// the slot back by dropping it. May read `/proc`.
    pub fn claim_dead(self: &Arc<Self>) -> Option<CounterSlot> {
        (0..self.used()).find_map(|slot| self.claim_slot(slot, false))
    }

    fn claim_slot(self: &Arc<Self>, slot: usize, may_be_free: bool) -> Option<CounterSlot> {
        let owner = &self.words(slot)[0];
        let was = owner.load(Ordering::Acquire);
        let is_free = was == 0;
        if is_free && !may_be_free || !is_free && identity::is_alive(was) {
            return None;
        }
        // Before the slot has its owner: nobody who looks for owners stops short of it.
        self.zone.body()[AT_USED].fetch_max(slot as u64 + 1, Ordering::AcqRel);
        owner
            .compare_exchange(was, identity::own(), Ordering::AcqRel, Ordering::Relaxed)
            .ok()?;
        Some(CounterSlot {
            counters: Arc::clone(self),
            slot,
            is_from_dead: !is_free,
        })
    }

    /// Whether a slot belongs to a process, which may have died meanwhile. Reads memory alone.
    ///
    /// # Panics
    ///
    /// If `slot` is not below [`Counters::slots`].
    pub fn is_claimed(&self, slot: usize) -> bool {
        self.words(slot)[0].load(Ordering::Acquire) != 0
    }

    /// Raises a counter of any slot, also of another process's. One atomic addition.
    ///
    /// # Panics
    ///
    /// If `slot` or `counter` is out of range.
    pub fn add_to(&self, slot: usize, counter: usize, count: u64) {
        self.counter(slot, counter)
            .fetch_add(count, Ordering::Relaxed);
    }

    /// Sets a counter of any slot, also of another process's. One atomic store.
    ///
    /// # Panics
    ///
    /// If `slot` or `counter` is out of range.
    pub fn set_at(&self, slot: usize, counter: usize, value: u64) {
        self.counter(slot, counter).store(value, Ordering::Relaxed);
    }

    /// The sum of one counter over all slots, those of dead owners too; it wraps around at 2^64.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    pub fn sum(&self, counter: usize) -> u64 {
        let values = (0..self.used()).map(|slot| self.value(slot, counter));
        values.fold(0, u64::wrapping_add)
    }

    /// The sum of one counter over the slots whose owners live: for gauges, such as open connections.
    /// Reads `/proc` once for each slot in use.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    pub fn sum_alive(&self, counter: usize) -> u64 {
        let alive = (0..self.used()).filter(|slot| {
            let owner = self.words(*slot)[0].load(Ordering::Acquire);
            owner != 0 && identity::is_alive(owner)
        });
        let values = alive.map(|slot| self.value(slot, counter));
        values.fold(0, u64::wrapping_add)
    }

    /// One counter of one slot.
    ///
    /// # Panics
    ///
    /// If `slot` or `counter` is out of range.
    pub fn value(&self, slot: usize, counter: usize) -> u64 {
        self.counter(slot, counter).load(Ordering::Relaxed)
    }

    #[inline]
    fn words(&self, slot: usize) -> &[Word] {
        let words = slot_words(self.counters);
        &self.zone.body()[AT_SLOTS + slot * words..][..words]
    }

    #[inline]
    fn counter(&self, slot: usize, counter: usize) -> &Word {
        assert!(
            counter < self.counters,
            "counter {counter} of {}",
            self.counters
        );
        &self.words(slot)[AT_COUNTERS + counter]
    }
}

fn slot_words(counters: usize) -> usize {
    whole_lines(AT_COUNTERS + counters)
}

/// One process's own row of [`Counters`], given back when dropped. Any thread of it may count.
#[derive(Debug)]
pub struct CounterSlot {
    counters: Arc<Counters>,
    slot: usize,
    is_from_dead: bool,
}

impl CounterSlot {
    /// Its number, from 0.
    pub fn number(&self) -> usize {
        self.slot
    }

    /// The counters that it is one row of.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Whether the owner before has died with it, so that its gauges are still to be settled.
    pub fn is_from_dead(&self) -> bool {
        self.is_from_dead
    }

    /// Raises a counter. One atomic addition; it wraps around at 2^64.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    #[inline]
    pub fn add(&self, counter: usize, count: u64) {
        let counter = self.counters.counter(self.slot, counter);
        counter.fetch_add(count, Ordering::Relaxed);
    }

    /// Raises a counter of a row that one thread alone writes, which takes no locked instruction:
    /// what another thread adds meanwhile would be lost.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    #[inline]
    pub fn add_alone(&self, counter: usize, count: u64) {
        let counter = self.counters.counter(self.slot, counter);
        let before = counter.load(Ordering::Relaxed);
        counter.store(before.wrapping_add(count), Ordering::Relaxed);
    }

    /// Lowers a gauge.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    #[inline]
    pub fn sub(&self, counter: usize, count: u64) {
        let counter = self.counters.counter(self.slot, counter);
        counter.fetch_sub(count, Ordering::Relaxed);
    }

    /// Sets a gauge.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    pub fn set(&self, counter: usize, value: u64) {
        let counter = self.counters.counter(self.slot, counter);
        counter.store(value, Ordering::Relaxed);
    }

    /// The counter as it is.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    pub fn value(&self, counter: usize) -> u64 {
        self.counters.value(self.slot, counter)
    }
}

impl Drop for CounterSlot {
    fn drop(&mut self) {
        self.counters.words(self.slot)[0].store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(counters: usize, slots: usize) -> Arc<Counters> {
        Arc::new(Counters::create("test", counters, slots, 5).unwrap())
    }

    #[test]
    fn slots_lie_on_lines_of_their_own() {
        for count in [1, 14, 15, 16, 40] {
            let counters = counters(count, 3);
            let at = |slot| counters.words(slot).as_ptr() as usize;
            assert_eq!(at(0) % 128, 0);
            assert_eq!((at(1) - at(0)) % 128, 0);
            assert!(at(1) - at(0) >= (1 + count) * 8);
            assert!(at(1) - at(0) < (1 + count) * 8 + 128);
        }
    }

    #[test]
    fn sums_are_over_all_slots_and_survive_their_owners() {
        let counters = counters(2, 3);
        let (first, second) = (counters.claim().unwrap(), counters.claim().unwrap());
        assert_eq!((first.number(), second.number()), (0, 1));
        first.add(0, 5);
        second.add(0, 7);
        second.add(1, 1);
        second.sub(1, 1);
        assert_eq!((counters.sum(0), counters.sum(1)), (12, 0));
        drop(first);
        assert_eq!((counters.sum(0), counters.sum_alive(0)), (12, 7));
        let third = counters.claim().unwrap();
        assert_eq!((third.number(), third.value(0)), (0, 5));
        third.set(0, 1);
        assert_eq!(counters.sum_alive(0), 8);
    }

    #[test]
    fn a_dead_owners_slot_is_taken_and_a_live_ones_is_not() {
        let counters = counters(1, 1);
        let slot = counters.claim().unwrap();
        assert_eq!(counters.claim().unwrap_err(), NoFreeSlot);
        slot.add(0, 3);
        counters.words(0)[0].store(identity::tests::dead(), Ordering::Relaxed);
        assert_eq!((counters.sum(0), counters.sum_alive(0)), (3, 0));
        let next = counters.claim().unwrap();
        assert_eq!((next.value(0), next.is_from_dead()), (3, true));
        // The dead one's own handle would free what is the next one's: not while anybody looks.
        drop((next, slot));
    }

    #[test]
    fn what_the_dead_left_can_be_settled() {
        let counters = counters(2, 100);
        assert!(counters.claim_dead().is_none());
        let slots = [(); 3].map(|()| counters.claim().unwrap());
        assert_eq!(counters.used(), 3);
        slots[1].add(0, 3);
        slots[1].add(1, 9);
        assert!(counters.claim_dead().is_none());
        counters.words(1)[0].store(identity::tests::dead(), Ordering::Relaxed);
        assert!(counters.is_claimed(1));
        let left = counters.claim_dead().unwrap();
        assert_eq!((left.number(), left.is_from_dead()), (1, true));
        left.set(1, 0);
        drop(left);
        assert!(!counters.is_claimed(1) && counters.claim_dead().is_none());
        assert_eq!((counters.sum(0), counters.sum(1)), (3, 0));
        let again = counters.claim().unwrap();
        assert_eq!((again.number(), again.is_from_dead()), (1, false));
        counters.add_to(2, 1, 4);
        assert_eq!((slots[2].value(1), counters.used()), (4, 3));
        // The dead one's own handle would free what is the next one's: not while anybody looks.
        drop((again, slots));
    }

    #[test]
    fn opened_again_they_are_the_same() {
        let counters = counters(3, 2);
        let file = || counters.descriptor().try_clone_to_owned().unwrap();
        let again = Arc::new(Counters::open(file(), 5).unwrap());
        assert_eq!((again.counters(), again.slots()), (3, 2));
        again.claim().unwrap().add(2, 9);
        assert_eq!(counters.sum(2), 9);
        assert!(matches!(
            Counters::open(file(), 6),
            Err(ZoneError::Layout { what: "schema", .. })
        ));
        for (counters, slots) in [(0, 1), (1, 0), (65_537, 1), (1, 65_537)] {
            assert!(Counters::create("test", counters, slots, 0).is_err());
        }
    }

    #[test]
    #[should_panic(expected = "counter 15 of 15")]
    fn a_neighbours_counter_is_out_of_range() {
        counters(15, 2).value(0, 15);
    }
}
