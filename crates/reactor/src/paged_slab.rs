//! A slab that grows page by page.
//!
//! One array that doubles would copy what thousands of connections own, in one turn of the
//! loop, and leave the old array behind. Here what is stored never moves, and memory grows with
//! what is stored.

use std::ops::{Index, IndexMut};

/// Entries a page: a power of two, so that a key splits by shift and mask.
const PAGE: usize = 128;

/// Values by small keys, which are given again after they were removed.
pub(crate) struct PagedSlab<T> {
    pages: Vec<Box<[Entry<T>; PAGE]>>,
    /// The first key of the list of free ones; `pages.len() * PAGE` when a page is due.
    vacant: usize,
    len: usize,
}

enum Entry<T> {
    /// The next free key.
    Vacant(usize),
    Occupied(T),
}

impl<T> Default for PagedSlab<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> PagedSlab<T> {
    pub(crate) const fn new() -> Self {
        PagedSlab {
            pages: Vec::new(),
            vacant: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The key that the next insertion gives.
    #[inline]
    pub(crate) fn vacant_key(&self) -> usize {
        self.vacant
    }

    pub(crate) fn insert(&mut self, value: T) -> usize {
        let key = self.vacant;
        if key == self.pages.len() * PAGE {
            let first = key + 1;
            let page = std::array::from_fn(|at| Entry::Vacant(first + at));
            self.pages.push(Box::new(page));
        }
        let entry = &mut self.pages[key / PAGE][key % PAGE];
        match std::mem::replace(entry, Entry::Occupied(value)) {
            Entry::Vacant(next) => self.vacant = next,
            Entry::Occupied(_) => unreachable!("the list of free keys names a free one"),
        }
        self.len += 1;
        key
    }

    /// Takes a value out.
    ///
    /// # Panics
    ///
    /// If there is none at the key.
    pub(crate) fn remove(&mut self, key: usize) -> T {
        let entry = &mut self.pages[key / PAGE][key % PAGE];
        match std::mem::replace(entry, Entry::Vacant(self.vacant)) {
            Entry::Occupied(value) => {
                self.vacant = key;
                self.len -= 1;
                value
            }
            Entry::Vacant(next) => {
                *entry = Entry::Vacant(next);
                panic!("nothing is stored at key {key}");
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, key: usize) -> Option<&T> {
        match &self.pages.get(key / PAGE)?[key % PAGE] {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        match &mut self.pages.get_mut(key / PAGE)?[key % PAGE] {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let entries = self.pages.iter_mut().flat_map(|page| page.iter_mut());
        entries.filter_map(|entry| match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }

    /// Takes everything out.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        let slab = std::mem::take(self);
        let entries = slab.pages.into_iter().flat_map(|page| *page);
        entries.filter_map(|entry| match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }
}

impl<T> Index<usize> for PagedSlab<T> {
    type Output = T;

    #[inline]
    fn index(&self, key: usize) -> &T {
        self.get(key)
            .expect("a key is used while its value is stored")
    }
}

impl<T> IndexMut<usize> for PagedSlab<T> {
    #[inline]
    fn index_mut(&mut self, key: usize) -> &mut T {
        self.get_mut(key)
            .expect("a key is used while its value is stored")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_stores_what_a_map_stores(steps in prop::collection::vec(any::<(bool, usize)>(), 1..800)) {
            let mut slab = PagedSlab::new();
            let mut model: HashMap<usize, usize> = HashMap::new();
            for (insert, pick) in steps {
                if insert || model.is_empty() {
                    let next = slab.vacant_key();
                    prop_assert_eq!(slab.insert(pick), next);
                    prop_assert_eq!(model.insert(next, pick), None);
                } else {
                    let mut keys: Vec<usize> = model.keys().copied().collect();
                    keys.sort_unstable();
                    let key = keys[pick % keys.len()];
                    prop_assert_eq!(Some(slab.remove(key)), model.remove(&key));
                    prop_assert_eq!(slab.get(key), None);
                }
                prop_assert_eq!(slab.len(), model.len());
            }
            for (key, value) in &model {
                prop_assert_eq!(&slab[*key], value);
            }
            let mut left: Vec<usize> = slab.drain().collect();
            let mut wanted: Vec<usize> = model.into_values().collect();
            left.sort_unstable();
            wanted.sort_unstable();
            prop_assert_eq!(left, wanted);
            prop_assert!(slab.is_empty());
        }
    }
}
