//! Paths that something is known of, in little memory: what was asked for before, what cannot be cached.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;

/// The paths that were marked last, and when, in eight bytes each: by a part of their hashes, so that now
/// and then a path seems to be marked that was not. A mark gives way to a later one.
#[derive(Default)]
pub(super) struct Marks {
    slots: Vec<Slot>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    /// 0 for nobody.
    mark: u32,
    at_s: u32,
}

/// Where a path's mark would be.
#[derive(Clone, Copy)]
pub(super) struct Place {
    slot: usize,
    mark: u32,
}

impl Marks {
    /// Takes about so many marks; those of before are gone if that is another number.
    pub(super) fn reserve(&mut self, count: usize) {
        let count = count.clamp(1, 1 << 20).next_power_of_two();
        if self.slots.len() != count {
            self.slots = vec![Slot::default(); count];
        }
    }

    /// Where the mark of a path is; `None` as long as nothing was reserved.
    pub(super) fn place(&self, path: &[u8]) -> Option<Place> {
        let last = self.slots.len().checked_sub(1)?;
        let hash = self.hasher.hash_one(path);
        Some(Place {
            slot: hash as usize & last,
            mark: (hash >> 32) as u32 | 1,
        })
    }

    /// When the path was marked, in seconds of the caller's clock.
    pub(super) fn marked_at(&self, place: Place) -> Option<u32> {
        let slot = self.slots[place.slot];
        (slot.mark == place.mark).then_some(slot.at_s)
    }

    /// Marks the path.
    pub(super) fn set(&mut self, place: Place, at_s: u32) {
        let mark = place.mark;
        self.slots[place.slot] = Slot { mark, at_s };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_last_is_known_and_what_was_long_ago_is_not() {
        let mut marks = Marks::default();
        assert!(marks.place(b"/").is_none());
        marks.reserve(1000);
        let place = |marks: &Marks, number: usize| {
            let path = format!("/{number}").into_bytes();
            marks.place(&path).expect("there are slots")
        };
        let known = |marks: &Marks| {
            let places = (0..100).map(|number| place(marks, number));
            places.filter(|it| marks.marked_at(*it) == Some(7)).count()
        };
        assert_eq!(known(&marks), 0);
        (0..100).for_each(|number| marks.set(place(&marks, number), 7));
        assert!(known(&marks) > 80);
        marks.reserve(1000);
        assert!(known(&marks) > 80);
        (1000..50_000).for_each(|number| marks.set(place(&marks, number), 8));
        assert_eq!(known(&marks), 0);
    }
}
