//! Pooled receive buffers.
//!
//! The loop takes a buffer when it is about to receive and not before, so that an idle
//! connection owns none. A buffer goes back to the pool of its thread's loop when dropped.

use std::cell::{Cell, RefCell};
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::event_loop;

/// Bytes of a buffer unless a loop is told otherwise: more than the 16 KiB that many protocols send at
/// most at once (a record of TLS and its frame among them), because a receive that fills its buffer
/// leaves open whether there is more, and costs another one.
pub(crate) const LARGE_BYTES: usize = 16 * 1024 + 512;
/// What is received in so few bytes moves into a buffer of this size: thousands of connections
/// that become ready in one turn then share the cache lines of one large buffer, and hold what
/// they received in a few kilobytes each.
const SMALL_BYTES: usize = 2048;
/// Small buffers that are kept for use again: 1 MiB.
const SMALL_KEPT_MAX: usize = 512;

/// Bytes received, or room for bytes to be sent, out of the current loop's pool.
///
/// The bytes in use lie between a front that [`advance`](Buffer::advance) moves and an end
/// that [`fill`](Buffer::fill) moves. Loop-local: it cannot leave its thread.
pub struct Buffer {
    bytes: Box<[u8]>,
    start: u32,
    end: u32,
    local: PhantomData<*const ()>,
}

impl Buffer {
    /// An empty buffer out of the current loop's pool.
    ///
    /// # Panics
    ///
    /// If no event loop was built on this thread.
    pub fn take() -> Buffer {
        event_loop::with_core(|core| core.buffers.take())
    }

    /// An empty buffer out of the current loop's pool that holds so many bytes, or as many as a buffer
    /// can: a small one where that is enough. For what is kept for a while.
    ///
    /// # Panics
    ///
    /// If no event loop was built on this thread.
    pub fn with_room(bytes: usize) -> Buffer {
        event_loop::with_core(|core| match core.buffers.is_few(bytes) {
            true => core.buffers.take_small(),
            false => core.buffers.take(),
        })
    }

    fn over(bytes: Box<[u8]>) -> Buffer {
        Buffer {
            bytes,
            start: 0,
            end: 0,
            local: PhantomData,
        }
    }

    /// Bytes in use.
    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// True if no bytes are in use. What a receive gives at the end of the stream.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The bytes in use.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.end as usize]
    }

    /// The bytes in use, to be changed in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start as usize..self.end as usize]
    }

    /// Bytes that the buffer can hold in all: `buffer_bytes` of the loop, or fewer where few were
    /// received.
    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that can still be added at the end.
    pub fn spare_len(&self) -> usize {
        self.bytes.len() - self.end as usize
    }

    /// The room after the bytes in use; [`extend`](Buffer::extend) says how much was written.
    pub fn spare_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end as usize..]
    }

    /// Counts `n` bytes written to [`spare_mut`](Buffer::spare_mut) as in use (at most
    /// [`spare_len`](Buffer::spare_len)).
    pub fn extend(&mut self, n: usize) {
        self.end += n.min(self.spare_len()) as u32;
    }

    /// Drops `n` bytes from the front (all, if there are fewer).
    pub fn advance(&mut self, n: usize) {
        self.start += n.min(self.len()) as u32;
    }

    /// Keeps the first `n` bytes (all, if there are fewer).
    pub fn truncate(&mut self, n: usize) {
        self.end = self.start + n.min(self.len()) as u32;
    }

    /// Adds bytes at the end, and says how many there was room for.
    pub fn fill(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.spare_len());
        let end = self.end as usize;
        self.bytes[end..end + n].copy_from_slice(&bytes[..n]);
        self.end += n as u32;
        n
    }

    /// Forgets all bytes.
    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

impl Default for Buffer {
    /// A buffer without memory: it holds nothing, and nothing can be put into it.
    fn default() -> Self {
        Buffer::over(Box::default())
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.len(), self.capacity())
    }
}

impl io::Write for Buffer {
    /// Takes what there is room for; 0 when the buffer is full.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.fill(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() {
            event_loop::try_with_core(|core| core.buffers.put(bytes));
        }
    }
}

/// The buffers of one loop that are not in use.
pub(crate) struct BufferPool {
    free: RefCell<Vec<Box<[u8]>>>,
    /// What the last receive took and did not need: empty where it did.
    receiving: Cell<Box<[u8]>>,
    free_small: RefCell<Vec<Box<[u8]>>>,
    buffer_bytes: usize,
    kept_max: usize,
}

impl BufferPool {
    pub(crate) fn new(buffer_bytes: usize, kept_max: usize) -> BufferPool {
        BufferPool {
            free: RefCell::default(),
            receiving: Cell::default(),
            free_small: RefCell::default(),
            buffer_bytes,
            kept_max,
        }
    }

    #[inline]
    pub(crate) fn take(&self) -> Buffer {
        Buffer::over(take_from(&self.free, self.buffer_bytes))
    }

    /// A buffer for few bytes.
    #[inline]
    pub(crate) fn take_small(&self) -> Buffer {
        if self.buffer_bytes <= SMALL_BYTES {
            return self.take();
        }
        Buffer::over(take_from(&self.free_small, SMALL_BYTES))
    }

    /// A buffer for a receive, which [`fit`](BufferPool::fit) may take back at once.
    #[inline]
    pub(crate) fn take_to_receive(&self) -> Buffer {
        let bytes = self.receiving.take();
        if bytes.is_empty() {
            return self.take();
        }
        Buffer::over(bytes)
    }

    /// Moves few bytes into a small buffer, so that the large one is free for the next receive.
    #[inline]
    pub(crate) fn fit(&self, mut buffer: Buffer) -> Buffer {
        if !self.is_few(buffer.len()) {
            return buffer;
        }
        let small = self.copy_few(&buffer);
        let mut free = std::mem::take(&mut buffer.bytes);
        if free.len() == self.buffer_bytes {
            free = self.receiving.replace(free);
        }
        if !free.is_empty() {
            self.put(free);
        }
        small
    }

    /// Bytes of one buffer.
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes
    }

    /// The memory of a buffer, for a kernel that fills it by itself.
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) fn take_bytes(&self) -> Box<[u8]> {
        take_from(&self.free, self.buffer_bytes)
    }

    /// A buffer over memory that the kernel has filled so far.
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) fn adopt(&self, bytes: Box<[u8]>, filled: usize) -> Buffer {
        let mut buffer = Buffer::over(bytes);
        buffer.extend(filled);
        buffer
    }

    /// True if so many bytes are copied into a small buffer rather than handed on.
    #[inline]
    pub(crate) fn is_few(&self, len: usize) -> bool {
        len <= SMALL_BYTES && self.buffer_bytes > SMALL_BYTES
    }

    /// A small buffer with a copy of few bytes.
    #[inline]
    pub(crate) fn copy_few(&self, bytes: &[u8]) -> Buffer {
        let mut small = self.take_small();
        small.fill(bytes);
        small
    }

    /// Takes back a buffer of this pool, or of another one: as dropping it does, but for looking up the loop.
    #[inline]
    pub(crate) fn take_back(&self, mut buffer: Buffer) {
        self.put(std::mem::take(&mut buffer.bytes));
        // What is left of it is no memory.
        std::mem::forget(buffer);
    }

    /// Buffers of a loop that this thread had before may differ in size: they are freed.
    #[inline(always)]
    fn put(&self, bytes: Box<[u8]>) {
        if bytes.len() == SMALL_BYTES && self.buffer_bytes != SMALL_BYTES {
            keep(&self.free_small, SMALL_KEPT_MAX, bytes);
        } else if bytes.len() == self.buffer_bytes {
            keep(&self.free, self.kept_max, bytes);
        }
    }

    #[cfg(test)]
    fn free_count(&self) -> usize {
        self.free.borrow().len()
    }
}

#[inline(always)]
fn keep(free: &RefCell<Vec<Box<[u8]>>>, kept_max: usize, bytes: Box<[u8]>) {
    let mut free = free.borrow_mut();
    if free.len() < kept_max {
        free.push(bytes);
    }
}

#[inline]
fn take_from(free: &RefCell<Vec<Box<[u8]>>>, len: usize) -> Box<[u8]> {
    let bytes = free.borrow_mut().pop();
    bytes.unwrap_or_else(|| vec![0; len].into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use crate::EventLoop;

    use super::*;

    #[test]
    fn a_buffer_fills_to_its_capacity_and_says_so() {
        let _loop = EventLoop::builder().buffer_bytes(8).build().unwrap();
        let mut buffer = Buffer::take();
        assert_eq!(buffer.fill(b"abcde"), 5);
        buffer.advance(2);
        assert_eq!((buffer.as_slice(), buffer.spare_len()), (&b"cde"[..], 3));
        assert_eq!(buffer.fill(b"fghij"), 3);
        assert_eq!(buffer.write(b"x").unwrap(), 0);
        assert_eq!(&buffer[..], b"cdefgh");
        buffer.truncate(4);
        buffer.advance(100);
        assert!(buffer.is_empty());
        buffer.clear();
        assert_eq!(buffer.spare_len(), 8);
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_was_told_to() {
        let _loop = EventLoop::builder().buffers_kept_max(2).build().unwrap();
        let taken: Vec<Buffer> = (0..5).map(|_| Buffer::take()).collect();
        drop(taken);
        assert_eq!(event_loop::with_core(|core| core.buffers.free_count()), 2);
    }

    #[test]
    fn few_bytes_move_into_a_small_buffer() {
        let _loop = EventLoop::new().unwrap();
        event_loop::with_core(|core| {
            let mut few = core.buffers.take();
            few.fill(b"few");
            let few = core.buffers.fit(few);
            assert_eq!((few.as_slice(), few.capacity()), (&b"few"[..], SMALL_BYTES));
            assert_eq!(core.buffers.free_count(), 0);
            let next = core.buffers.take_to_receive();
            assert!(next.capacity() > SMALL_BYTES);
            assert_eq!(core.buffers.free_count(), 0, "it was kept at hand");
            let mut many = core.buffers.take();
            many.fill(&[7; SMALL_BYTES + 1]);
            assert!(core.buffers.fit(many).capacity() > SMALL_BYTES);
        });
    }

    #[test]
    fn room_for_few_bytes_is_a_small_buffer() {
        let _loop = EventLoop::new().unwrap();
        assert_eq!(Buffer::with_room(SMALL_BYTES).capacity(), SMALL_BYTES);
        assert_eq!(Buffer::with_room(SMALL_BYTES + 1).capacity(), LARGE_BYTES);
        assert_eq!(Buffer::with_room(usize::MAX).capacity(), LARGE_BYTES);
    }

    #[test]
    fn a_buffer_of_a_former_loop_is_freed() {
        let first = EventLoop::builder().buffer_bytes(8).build().unwrap();
        let old = Buffer::take();
        drop(first);
        let _second = EventLoop::builder().buffer_bytes(16).build().unwrap();
        drop(old);
        assert_eq!(Buffer::take().capacity(), 16);
    }
}
