//! Memory mapped from a file, seen as atomic words. All unsafe code of the crate is here.
//!
//! Other processes write to this memory at any time, so a reference to anything but atomics would be
//! unsound. Atomic words are not: whatever is in them is a number. All other files are safe code over
//! a slice of them.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64};

use rustix::mm::{Advice, MapFlags, ProtFlags};

/// A shared mapping of a whole memory file, ended when dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread: any thread may unmap it.
unsafe impl Send for Mapping {}
// SAFETY: through a shared reference there are atomics alone.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `bytes` of `file`, readable, writable and shared.
    ///
    /// `bytes` is not 0, a multiple of 8, and at most the file's size. The file must be sealed
    /// against shrinking, or a later access may end the process (`SIGBUS`, mmap(2)).
    pub(crate) fn new(file: BorrowedFd<'_>, bytes: usize) -> io::Result<Self> {
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: with a null address the kernel chooses pages that are not mapped yet, so no
        // memory that Rust knows of is replaced.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), bytes, access, MapFlags::SHARED, file, 0)? };
        let mapping = Self {
            base: NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?,
            words: bytes / 8,
        };
        // SAFETY: the pages are those mapped above; not inheriting them changes nothing here.
        unsafe { rustix::mm::madvise(base, bytes, Advice::LinuxDontFork)? };
        Ok(mapping)
    }

    /// All of it.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: the pages stay mapped, readable and writable, as long as `self` lives; they begin
        // at a page, so every word is aligned; atomics may be written by others meanwhile, and any
        // bits are a valid number.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the pages were mapped by `new` and are unmapped once; no reference outlives `self`.
        // It fails for pages that are not mapped, which cannot be.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}

/// The first half of a word, for futex(2), which takes 32 bits. A word that is used so is used in no
/// other way.
pub(crate) fn futex_of(word: &AtomicU64) -> &AtomicU32 {
    // SAFETY: the half lies within the word and is aligned for it, lives as long, and is an atomic
    // again.
    unsafe { &*ptr::from_ref(word).cast::<AtomicU32>() }
}
