//! 64-bit numbers by index.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicU64;

use crate::error::ZoneError;
use crate::words::LINE_WORDS;
use crate::zone::{Kind, Zone};

/// How far apart the elements of an [`AtomicArray`] lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// 8 bytes: for elements that are read often, or changed by few.
    #[default]
    Packed = 1,
    /// 128 bytes, so that processes that change different elements do not slow each other down.
    CacheLine = LINE_WORDS as isize,
}

/// Atomic numbers in a memory file, all 0 at first.
///
/// Any thread of any process that has opened it may use any element.
///
/// ```
/// use std::sync::atomic::Ordering;
/// use revolve_shm::{AtomicArray, Spacing};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let peers = AtomicArray::create("upstream", 3, Spacing::Packed, 1)?;
/// let failures = peers.get(2).ok_or("no such peer")?;
/// failures.fetch_add(1, Ordering::Relaxed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct AtomicArray {
    zone: Zone,
    length: usize,
    spacing: usize,
}

impl AtomicArray {
    /// Makes an array of `length` elements, at least 1. `schema` is the caller's number for their
    /// meaning: others open it with that.
    pub fn create(
        name: &str,
        length: usize,
        spacing: Spacing,
        schema: u64,
    ) -> Result<Self, ZoneError> {
        if length == 0 {
            return Err(ZoneError::Options("an array has at least one element"));
        }
        let fields = [length as u64, spacing as u64, 0, 0, 0, 0];
        let words = length.checked_mul(spacing as usize);
        let zone = Zone::create(name, Kind::Array, schema, fields, words)?;
        let spacing = spacing as usize;
        Ok(Self {
            zone,
            length,
            spacing,
        })
    }

    /// Opens the array behind a descriptor that came from [`AtomicArray::descriptor`] in any process.
    pub fn open(file: OwnedFd, schema: u64) -> Result<Self, ZoneError> {
        let zone = Zone::open(file, Kind::Array, schema)?;
        let [length, spacing, ..] = zone.fields().map(|field| field as usize);
        let possible = length != 0 && [1, LINE_WORDS].contains(&spacing);
        if !possible || length.checked_mul(spacing) != Some(zone.body().len()) {
            return Err(ZoneError::Damaged);
        }
        Ok(Self {
            zone,
            length,
            spacing,
        })
    }

    /// The memory file, to be sent to another process (`SCM_RIGHTS`) or cloned. It is closed on exec.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.zone.descriptor()
    }

    /// The element at `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&AtomicU64> {
        if index >= self.length {
            return None;
        }
        self.zone.body().get(index * self.spacing)
    }

    /// All elements in order.
    pub fn iter(&self) -> impl Iterator<Item = &AtomicU64> {
        self.zone.body().iter().step_by(self.spacing)
    }

    /// How many elements there are; never 0.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.length
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn elements_are_apart_as_asked() {
        for (spacing, bytes) in [(Spacing::Packed, 8), (Spacing::CacheLine, 128)] {
            let array = AtomicArray::create("test", 5, spacing, 1).unwrap();
            let at = |index| std::ptr::from_ref(array.get(index).unwrap()) as usize;
            assert_eq!(at(0) % 128, 0);
            assert_eq!(at(4) - at(0), 4 * bytes);
            assert!(array.get(5).is_none());
            assert_eq!((array.iter().count(), array.len()), (5, 5));
        }
    }

    #[test]
    fn opened_again_it_is_the_same() {
        let array = AtomicArray::create("test", 7, Spacing::CacheLine, 1).unwrap();
        let file = || array.descriptor().try_clone_to_owned().unwrap();
        let again = AtomicArray::open(file(), 1).unwrap();
        again.get(6).unwrap().store(3, Ordering::Relaxed);
        let values: Vec<u64> = array
            .iter()
            .map(|element| element.load(Ordering::Relaxed))
            .collect();
        assert_eq!(values, [0, 0, 0, 0, 0, 0, 3]);
        assert!(AtomicArray::open(file(), 2).is_err());
        assert!(AtomicArray::create("test", 0, Spacing::Packed, 1).is_err());
        assert!(AtomicArray::create("test", usize::MAX / 2, Spacing::CacheLine, 1).is_err());
    }
}
