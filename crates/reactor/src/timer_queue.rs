//! Deadlines of one loop: a min-heap with lazy deletion.
//!
//! A connection's deadline moves with every request, and hardly ever passes. So moving a
//! deadline later only stores it: the heap keeps the old entry, which is pushed again when
//! it comes up too early. A timer has at most one entry that counts; entries that were
//! overtaken by an earlier deadline are dropped when they come up, or all at once when they
//! are more than half of the heap.
//!
//! Time is a count of millisecond ticks that the caller gives: this file knows no clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::paged_slab::PagedSlab;

/// The deadline of a timer that is not armed.
pub const NEVER_MS: u64 = u64::MAX;

/// Overtaken entries that are tolerated before a sweep is considered.
const STALE_MIN: usize = 64;

/// Names a timer of one [`TimerQueue`]. A key that outlives its timer is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    index: u32,
    generation: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at_ms: u64,
    generation: u32,
    index: u32,
}

struct Timer<T> {
    deadline_ms: u64,
    /// When the entry that counts comes up; `NEVER_MS` if there is none.
    queued_ms: u64,
    generation: u32,
    owner: T,
}

/// A queue of timers, each with an owner of type `T`.
pub struct TimerQueue<T> {
    heap: BinaryHeap<Reverse<Entry>>,
    timers: PagedSlab<Timer<T>>,
    stale: usize,
    next_generation: u32,
}

impl<T> Default for TimerQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TimerQueue<T> {
    /// An empty queue.
    pub const fn new() -> Self {
        TimerQueue {
            heap: BinaryHeap::new(),
            timers: PagedSlab::new(),
            stale: 0,
            next_generation: 0,
        }
    }

    /// Adds a timer that is due at `deadline_ms` ([`NEVER_MS`]: not armed yet).
    pub fn insert(&mut self, owner: T, deadline_ms: u64) -> TimerKey {
        self.next_generation = self.next_generation.wrapping_add(1);
        let generation = self.next_generation;
        let timer = Timer {
            deadline_ms: NEVER_MS,
            queued_ms: NEVER_MS,
            generation,
            owner,
        };
        let index = u32::try_from(self.timers.insert(timer)).expect("fewer than 2^32 timers");
        let key = TimerKey { index, generation };
        self.set(key, deadline_ms);
        key
    }

    /// Moves a timer's deadline; [`NEVER_MS`] disarms it. Touches the heap only if the new
    /// deadline comes before the entry that is already there.
    #[inline]
    pub fn set(&mut self, key: TimerKey, deadline_ms: u64) {
        let Some(timer) = live(&mut self.timers, key.index, key.generation) else {
            return;
        };
        timer.deadline_ms = deadline_ms;
        if deadline_ms < timer.queued_ms {
            self.stale += usize::from(timer.queued_ms != NEVER_MS);
            timer.queued_ms = deadline_ms;
            self.push(key, deadline_ms);
        }
    }

    /// Removes a timer and gives its owner back; `None` if it was removed before.
    pub fn remove(&mut self, key: TimerKey) -> Option<T> {
        live(&mut self.timers, key.index, key.generation)?;
        let timer = self.timers.remove(key.index as usize);
        if timer.queued_ms != NEVER_MS {
            self.stale += 1;
            self.sweep();
        }
        Some(timer.owner)
    }

    /// The owner of a timer.
    pub fn owner_mut(&mut self, key: TimerKey) -> Option<&mut T> {
        live(&mut self.timers, key.index, key.generation).map(|timer| &mut timer.owner)
    }

    /// When to look again: no timer is due before this. It may be early (a deadline that
    /// moved later, or was disarmed), never late.
    #[inline]
    pub fn next_ms(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at_ms)
    }

    /// The next timer that is due at `now_ms`, disarmed; `None` when no more are due.
    pub fn expire(&mut self, now_ms: u64) -> Option<TimerKey> {
        while let Some(&Reverse(entry)) = self.heap.peek() {
            if entry.at_ms > now_ms {
                return None;
            }
            self.heap.pop();
            let timer = live(&mut self.timers, entry.index, entry.generation);
            let Some(timer) = timer.filter(|timer| timer.queued_ms == entry.at_ms) else {
                self.stale = self.stale.saturating_sub(1);
                continue;
            };
            let key = TimerKey {
                index: entry.index,
                generation: entry.generation,
            };
            timer.queued_ms = NEVER_MS;
            if timer.deadline_ms <= now_ms {
                timer.deadline_ms = NEVER_MS;
                return Some(key);
            }
            let deadline_ms = timer.deadline_ms;
            self.set(key, deadline_ms);
        }
        None
    }

    /// Timers in the queue, armed or not.
    pub fn len(&self) -> usize {
        self.timers.len()
    }

    /// True if there are no timers.
    pub fn is_empty(&self) -> bool {
        self.timers.is_empty()
    }

    /// Entries in the heap: at most one for each timer and as many overtaken ones again,
    /// or 64.
    pub fn heap_len(&self) -> usize {
        self.heap.len()
    }

    /// Takes every timer out, and gives the owners.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.heap.clear();
        self.stale = 0;
        self.timers.drain().map(|timer| timer.owner)
    }

    fn push(&mut self, key: TimerKey, at_ms: u64) {
        let entry = Entry {
            at_ms,
            generation: key.generation,
            index: key.index,
        };
        self.heap.push(Reverse(entry));
        self.sweep();
    }

    fn sweep(&mut self) {
        if self.stale > STALE_MIN && self.stale * 2 > self.heap.len() {
            let timers = &mut self.timers;
            self.heap.retain(|Reverse(entry)| {
                live(timers, entry.index, entry.generation)
                    .is_some_and(|timer| timer.queued_ms == entry.at_ms)
            });
            self.stale = 0;
        }
    }
}

#[inline]
fn live<T>(timers: &mut PagedSlab<Timer<T>>, index: u32, generation: u32) -> Option<&mut Timer<T>> {
    timers
        .get_mut(index as usize)
        .filter(|timer| timer.generation == generation)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn moving_later_leaves_the_heap_alone() {
        let mut queue = TimerQueue::new();
        let key = queue.insert("a", 10);
        for later_ms in 11..1000 {
            queue.set(key, later_ms);
        }
        assert_eq!(queue.heap_len(), 1);
        assert_eq!(queue.next_ms(), Some(10));
        assert_eq!(queue.expire(998), None);
        assert_eq!(queue.next_ms(), Some(999));
        assert_eq!(queue.expire(999), Some(key));
        assert_eq!(queue.expire(5000), None);
    }

    #[test]
    fn overtaken_entries_are_swept() {
        let mut queue = TimerQueue::new();
        let key = queue.insert((), 1_000_000);
        for earlier_ms in (0..100_000).rev() {
            queue.set(key, earlier_ms);
        }
        assert!(
            queue.heap_len() <= 2 * STALE_MIN + 2,
            "{} entries",
            queue.heap_len()
        );
        assert_eq!(queue.expire(0), Some(key));
    }

    #[test]
    fn a_removed_timer_never_fires_even_if_its_place_is_taken() {
        let mut queue = TimerQueue::new();
        let first = queue.insert(1, 5);
        assert_eq!(queue.remove(first), Some(1));
        let second = queue.insert(2, 7);
        assert_eq!(queue.expire(6), None);
        assert_eq!(queue.remove(first), None);
        assert_eq!(queue.expire(7), Some(second));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64),
        Set(usize, u64),
        Disarm(usize),
        Remove(usize),
        Advance(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..200u64).prop_map(Step::Insert),
            (any::<usize>(), 0..400u64).prop_map(|(which, at)| Step::Set(which, at)),
            any::<usize>().prop_map(Step::Disarm),
            any::<usize>().prop_map(Step::Remove),
            (0..40u64).prop_map(Step::Advance),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_list_searched_from_end_to_end(
            steps in prop::collection::vec(step(), 1..300)
        ) {
            let mut queue = TimerQueue::new();
            let mut model: Vec<(TimerKey, u64, u32)> = Vec::new();
            let mut now_ms = 0;
            let mut owner = 0;
            for step in steps {
                match step {
                    Step::Insert(after_ms) => {
                        owner += 1;
                        let at_ms = now_ms + after_ms;
                        model.push((queue.insert(owner, at_ms), at_ms, owner));
                    }
                    Step::Set(which, after_ms) if !model.is_empty() => {
                        let slot = which % model.len();
                        model[slot].1 = now_ms + after_ms;
                        queue.set(model[slot].0, now_ms + after_ms);
                    }
                    Step::Disarm(which) if !model.is_empty() => {
                        let slot = which % model.len();
                        model[slot].1 = NEVER_MS;
                        queue.set(model[slot].0, NEVER_MS);
                    }
                    Step::Remove(which) if !model.is_empty() => {
                        let (key, _, owner) = model.swap_remove(which % model.len());
                        prop_assert_eq!(queue.remove(key), Some(owner));
                    }
                    Step::Advance(by_ms) => {
                        now_ms += by_ms;
                        let earliest = model.iter().map(|timer| timer.1).min();
                        if let Some(earliest) = earliest.filter(|&at_ms| at_ms != NEVER_MS) {
                            prop_assert!(queue.next_ms().is_some_and(|at_ms| at_ms <= earliest));
                        }
                        let mut fired = Vec::new();
                        while let Some(key) = queue.expire(now_ms) {
                            fired.push(*queue.owner_mut(key).expect("a due timer is live"));
                        }
                        let mut expected = Vec::new();
                        for timer in model.iter_mut().filter(|timer| timer.1 <= now_ms) {
                            timer.1 = NEVER_MS;
                            expected.push(timer.2);
                        }
                        fired.sort_unstable();
                        expected.sort_unstable();
                        prop_assert_eq!(fired, expected);
                    }
                    _ => {}
                }
                prop_assert_eq!(queue.len(), model.len());
            }
        }
    }
}
