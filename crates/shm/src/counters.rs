//! Counters that many processes raise and any reads, without locks.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::error::{NoFreeSlot, ZoneError};
use crate::identity;
use crate::words::{Word, whole_lines};
use crate::zone::{Kind, Zone};

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
    /// for itself and each counter, rounded up to 128.
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
        let body_words = slot_words(counters).checked_mul(slots);
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
        if !possible || zone.body().len() != slot_words(counters) * slots {
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

    /// Takes a slot that is free, or whose owner has died, for this process.
    ///
    /// Its counters stay as they were, so that sums never fall; a gauge that a dead owner left
    /// is for the new one to [`set`](CounterSlot::set). May read `/proc`: not for the hot path.
    pub fn claim(self: &Arc<Self>) -> Result<CounterSlot, NoFreeSlot> {
        for slot in 0..self.slots {
            let owner = &self.words(slot)[0];
            let was = owner.load(Ordering::Acquire);
            if was != 0 && identity::is_alive(was) {
                continue;
            }
            let taken =
                owner.compare_exchange(was, identity::own(), Ordering::AcqRel, Ordering::Relaxed);
            if taken.is_ok() {
                let counters = Arc::clone(self);
                return Ok(CounterSlot { counters, slot });
            }
        }
        Err(NoFreeSlot)
    }

    /// The sum of one counter over all slots, those of dead owners too; it wraps around at 2^64.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    pub fn sum(&self, counter: usize) -> u64 {
        let values = (0..self.slots).map(|slot| self.value(slot, counter));
        values.fold(0, u64::wrapping_add)
    }

    /// The sum of one counter over the slots whose owners live: for gauges, such as open connections.
    /// Reads `/proc` once for each slot in use.
    ///
    /// # Panics
    ///
    /// If `counter` is not below [`Counters::counters`].
    pub fn sum_alive(&self, counter: usize) -> u64 {
        let alive = (0..self.slots).filter(|slot| {
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
        &self.zone.body()[slot * words..(slot + 1) * words]
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
}

impl CounterSlot {
    /// Its number, from 0.
    pub fn number(&self) -> usize {
        self.slot
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
        assert_eq!(next.value(0), 3);
        std::mem::forget(slot);
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
