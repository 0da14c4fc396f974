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

impl Marks {
    /// When the path was marked, in seconds of the caller's clock.
    pub(super) fn marked_at(&self, path: &[u8]) -> Option<u32> {
        let (at, mark) = self.place(path);
        let slot = self.slots.get(at)?;
        (slot.mark == mark).then_some(slot.at_s)
    }

    /// Marks the path, and says when it was marked before. There is room for about so many; the marks of
    /// before are gone if that is another number.
    pub(super) fn mark(&mut self, path: &[u8], at_s: u32, room: usize) -> Option<u32> {
        let count = room.clamp(1, 1 << 20).next_power_of_two();
        if self.slots.len() != count {
            self.slots = vec![Slot::default(); count];
        }
        let (at, mark) = self.place(path);
        let before = std::mem::replace(&mut self.slots[at], Slot { mark, at_s });
        (before.mark == mark).then_some(before.at_s)
    }

    /// The slot of a path, and its mark, which is never 0.
    fn place(&self, path: &[u8]) -> (usize, u32) {
        let hash = self.hasher.hash_one(path);
        let last = self.slots.len().saturating_sub(1);
        (hash as usize & last, (hash >> 32) as u32 | 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_marked_last_is_known_and_what_was_long_ago_is_not() {
        let mut marks = Marks::default();
        let path = |number: usize| format!("/{number}").into_bytes();
        let known = |marks: &Marks| {
            let marked = (0..100).map(|number| marks.marked_at(&path(number)));
            marked.filter(|at_s| *at_s == Some(7)).count()
        };
        assert_eq!(known(&marks), 0);
        assert_eq!(marks.mark(b"/a", 6, 1000), None);
        assert_eq!(marks.mark(b"/a", 7, 1000), Some(6));
        for number in 0..100 {
            marks.mark(&path(number), 7, 1000);
        }
        assert!(known(&marks) > 80);
        for number in 1000..50_000 {
            marks.mark(&path(number), 8, 1000);
        }
        assert_eq!(known(&marks), 0);
    }
}
