//! Bytes in and out of atomic words, and the order in which a dead process's writes are seen.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The unit of a zone.
pub(crate) type Word = AtomicU64;

/// Words of a cache line, twice: processors fetch lines in pairs.
pub(crate) const LINE_WORDS: usize = 16;

/// How many words hold `bytes`.
pub(crate) const fn words_of(bytes: usize) -> usize {
    bytes.div_ceil(8)
}

/// `words` rounded up to whole lines.
pub(crate) const fn whole_lines(words: usize) -> usize {
    words.next_multiple_of(LINE_WORDS)
}

#[inline]
pub(crate) fn load(word: &Word) -> u64 {
    word.load(Ordering::Relaxed)
}

#[inline]
pub(crate) fn store(word: &Word, value: u64) {
    #[cfg(test)]
    crash::step();
    word.store(value, Ordering::Relaxed);
}

/// A store that stands between what was stored before it and what is stored after it: whoever
/// repairs after our death at any instruction sees nothing of the latter without the former.
#[inline]
pub(crate) fn commit(word: &Word, value: u64) {
    fence(Ordering::Release);
    store(word, value);
    fence(Ordering::Release);
}

/// Stores `bytes`, the last word filled with zeros.
#[inline]
pub(crate) fn write(words: &[Word], bytes: &[u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks(8)) {
        store(word, word_of(chunk));
    }
}

/// Loads as many bytes as there are in `bytes`.
#[inline]
pub(crate) fn read(words: &[Word], bytes: &mut [u8]) {
    for (word, chunk) in words.iter().zip(bytes.chunks_mut(8)) {
        let loaded = load(word).to_ne_bytes();
        chunk.copy_from_slice(&loaded[..chunk.len()]);
    }
}

/// Whether the words hold exactly `bytes`.
#[inline]
pub(crate) fn equal(words: &[Word], bytes: &[u8]) -> bool {
    let mut chunks = words.iter().zip(bytes.chunks(8));
    chunks.all(|(word, chunk)| load(word) == word_of(chunk))
}

#[inline]
fn word_of(chunk: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..chunk.len()].copy_from_slice(chunk);
    u64::from_ne_bytes(bytes)
}

/// Death at a chosen store, for tests: it unwinds, and the lock stays held.
#[cfg(test)]
pub(crate) mod crash {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

    thread_local! {
        static STORES_LEFT: Cell<Option<u64>> = const { Cell::new(None) };
        static DEAD: Cell<bool> = const { Cell::new(false) };
    }

    struct Death;

    pub(crate) fn step() {
        match STORES_LEFT.get() {
            Some(0) => {
                DEAD.set(true);
                STORES_LEFT.set(None);
                resume_unwind(Box::new(Death));
            }
            Some(left) => STORES_LEFT.set(Some(left - 1)),
            None => {}
        }
    }

    pub(crate) fn is_dead() -> bool {
        DEAD.get()
    }

    /// Runs `f` and dies in place of its store number `stores`, from 0. Whether it died.
    pub(crate) fn dies_after<R>(stores: u64, f: impl FnOnce() -> R) -> Result<R, ()> {
        STORES_LEFT.set(Some(stores));
        let result = catch_unwind(AssertUnwindSafe(f));
        STORES_LEFT.set(None);
        DEAD.set(false);
        result.map_err(|cause| {
            if !cause.is::<Death>() {
                resume_unwind(cause);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_as_they_went_in() {
        for length in 0..40 {
            let bytes: Vec<u8> = (0..length).map(|at| at * 5 + 1).collect();
            let words: Vec<Word> = (0..words_of(bytes.len()))
                .map(|_| Word::new(u64::MAX))
                .collect();
            write(&words, &bytes);
            let mut back = vec![0; bytes.len()];
            read(&words, &mut back);
            assert_eq!(back, bytes);
            assert!(equal(&words, &bytes));
            if let Some(last) = back.last_mut() {
                *last ^= 0x80;
                assert!(!equal(&words, &back));
            }
        }
    }
}
