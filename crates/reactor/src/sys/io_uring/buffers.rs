//! The buffers that the kernel receives into: a ring of them, provided by the loop's pool.
//!
//! The kernel takes a buffer when bytes are there and not before, so that an idle connection owns
//! none. What was taken is put back at once: the same buffer where few bytes came, which are
//! copied, and another one of the pool where many came.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::{NonNull, slice_from_raw_parts_mut};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

use crate::buffer::{Buffer, BufferPool};

/// Buffers in the ring, a power of two. One enter of the kernel completes few receives more than
/// twenty, and all buffers are back before the next.
pub(super) const BUFFERS: u16 = 64;

/// The name of the ring of buffers among those of one io_uring.
pub(super) const GROUP: u16 = 0;

/// What the kernel asks a ring's memory to be aligned to.
const PAGE_BYTES: usize = 4096;

/// A ring of provided buffers (io_uring_register_buf_ring(3)).
pub(super) struct ProvidedBuffers {
    entries: NonNull<BufRingEntry>,
    tail: u16,
    /// The buffer of each identifier, owned; empty until there is a pool to take them from.
    slots: Vec<NonNull<u8>>,
    buffer_bytes: usize,
}

fn layout() -> Layout {
    let bytes = usize::from(BUFFERS) * size_of::<BufRingEntry>();
    Layout::from_size_align(bytes, PAGE_BYTES).expect("the ring of buffers is a few pages")
}

impl ProvidedBuffers {
    /// Registers a ring that is empty yet.
    pub(super) fn register(ring: &IoUring) -> io::Result<ProvidedBuffers> {
        // SAFETY: the layout is not of size 0.
        let memory = unsafe { alloc_zeroed(layout()) };
        let Some(entries) = NonNull::new(memory.cast::<BufRingEntry>()) else {
            handle_alloc_error(layout())
        };
        let buffers = ProvidedBuffers {
            entries,
            tail: 0,
            slots: Vec::new(),
            buffer_bytes: 0,
        };
        let address = entries.as_ptr() as u64;
        // SAFETY: the memory is zeroed, aligned to a page, as long as the number of entries says,
        // and freed only after the ring of buffers was unregistered (`Ring`'s drop).
        unsafe {
            let submitter = ring.submitter();
            submitter.register_buf_ring_with_flags(address, BUFFERS, GROUP, 0)?;
        }
        Ok(buffers)
    }

    /// True once the ring has its buffers.
    pub(super) fn is_filled(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Gives the ring its buffers, each lent for `bytes_max` at most.
    pub(super) fn fill(&mut self, pool: &BufferPool, bytes_max: usize) {
        self.buffer_bytes = pool.buffer_bytes();
        for id in 0..BUFFERS {
            self.slots.push(into_raw(pool.take_bytes()));
            self.provide(id, bytes_max);
        }
    }

    fn provide(&mut self, id: u16, bytes_max: usize) {
        let len = self.buffer_bytes.min(bytes_max) as u32;
        let at = usize::from(self.tail & (BUFFERS - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `at` is within the ring; the kernel reads an entry only after the tail has passed
        // it, and has read it before the buffer of that entry came back to be provided again.
        let entry = unsafe { &mut *self.entries.as_ptr().add(at) };
        entry.set_addr(self.slots[usize::from(id)].as_ptr() as u64);
        entry.set_len(len);
        entry.set_bid(id);
        // SAFETY: the tail lies in the first entry, in a field that the setters leave alone, is
        // aligned, and is touched by atomic operations only.
        let tail = unsafe { &*BufRingEntry::tail(self.entries.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }

    /// Takes what the kernel received into a buffer, and provides one in its place.
    pub(super) fn take(
        &mut self,
        id: u16,
        received: usize,
        pool: &BufferPool,
        bytes_max: usize,
    ) -> Buffer {
        let bytes = self.slots[usize::from(id)];
        assert!(
            received <= self.buffer_bytes,
            "the kernel keeps to the length of a buffer"
        );
        let buffer = if pool.is_few(received) {
            // SAFETY: the kernel has given the buffer back, filled to `received`, and it was
            // initialized when it was allocated.
            pool.copy_few(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), received) })
        } else {
            self.slots[usize::from(id)] = into_raw(pool.take_bytes());
            // SAFETY: the kernel has given the buffer back, and the slot has another one, so that
            // this is the only owner; it was a box of that length.
            pool.adopt(unsafe { from_raw(bytes, self.buffer_bytes) }, received)
        };
        self.provide(id, bytes_max);
        buffer
    }
}

fn into_raw(bytes: Box<[u8]>) -> NonNull<u8> {
    // SAFETY: a box is never null.
    unsafe { NonNull::new_unchecked(Box::into_raw(bytes).cast::<u8>()) }
}

/// # Safety
///
/// `bytes` came from [`into_raw`] of a box of `len` bytes, and nobody else owns it.
unsafe fn from_raw(bytes: NonNull<u8>, len: usize) -> Box<[u8]> {
    // SAFETY: as the caller promises.
    unsafe { Box::from_raw(slice_from_raw_parts_mut(bytes.as_ptr(), len)) }
}

impl Drop for ProvidedBuffers {
    /// The owner sees to it that nothing is in flight any more and the ring is unregistered.
    fn drop(&mut self) {
        for bytes in self.slots.drain(..) {
            // SAFETY: each slot owns a box of `buffer_bytes`, which the kernel does not touch any
            // more.
            drop(unsafe { from_raw(bytes, self.buffer_bytes) });
        }
        // SAFETY: allocated in `register` with the same layout.
        unsafe { dealloc(self.entries.as_ptr().cast(), layout()) };
    }
}
