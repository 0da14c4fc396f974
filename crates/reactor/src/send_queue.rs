//! What a connection sends: owned chunks in order, handed to the loop as one handle.
//!
//! The kernel may touch what is being sent until the operation ends, so that the chunks are
//! owned, never borrowed: the same code is sound on a readiness and on a completion driver.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::buffer::{Buffer, BufferPool};
use crate::event_loop;

/// nginx's default of `sendfile_max_chunk`: 2 MiB.
const FILE_BYTES_PER_TURN_MAX: u64 = 2 * 1024 * 1024;

/// Queues of a loop that are kept for use again, and the chunks that such a queue has room for.
const QUEUES_KEPT_MAX: usize = 256;
const CHUNKS_KEPT_MAX: usize = 64;

/// One owned piece of what is sent.
#[derive(Debug)]
pub enum Chunk {
    /// A pooled buffer.
    Buffer(Buffer),
    /// Shared bytes.
    Bytes(Bytes),
    /// Bytes of the program.
    Static(&'static [u8]),
    /// A range of a file, sent by the kernel (`sendfile(2)`). The file shrinking below the
    /// range meanwhile is an error of the send (`UnexpectedEof`).
    File {
        /// The open file.
        file: Arc<File>,
        /// Where the range begins.
        offset: u64,
        /// Bytes of the range.
        len: u64,
    },
}

impl Chunk {
    /// Bytes of the chunk.
    #[inline]
    pub fn len(&self) -> u64 {
        match self {
            Chunk::Buffer(buffer) => buffer.len() as u64,
            Chunk::Bytes(bytes) => bytes.len() as u64,
            Chunk::Static(bytes) => bytes.len() as u64,
            Chunk::File { len, .. } => *len,
        }
    }

    /// True if the chunk has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, unless they are in a file.
    #[inline]
    pub fn memory(&self) -> Option<&[u8]> {
        match self {
            Chunk::Buffer(buffer) => Some(buffer.as_slice()),
            Chunk::Bytes(bytes) => Some(bytes),
            Chunk::Static(bytes) => Some(bytes),
            Chunk::File { .. } => None,
        }
    }

    fn is_file(&self) -> bool {
        matches!(self, Chunk::File { .. })
    }

    /// Drops it. A buffer, which is what is sent most, goes back to the pool at hand.
    #[inline]
    pub(crate) fn release(self, pool: &BufferPool) {
        match self {
            Chunk::Buffer(buffer) => pool.take_back(buffer),
            other => drop(other),
        }
    }

    pub(crate) fn advance(&mut self, n: u64) {
        match self {
            Chunk::Buffer(buffer) => buffer.advance(n as usize),
            Chunk::Bytes(bytes) => bytes.advance(n as usize),
            Chunk::Static(bytes) => *bytes = &bytes[n as usize..],
            Chunk::File { offset, len, .. } => {
                *offset += n;
                *len -= n;
            }
        }
    }
}

impl From<Buffer> for Chunk {
    fn from(buffer: Buffer) -> Chunk {
        Chunk::Buffer(buffer)
    }
}

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Chunk {
        Chunk::Bytes(bytes)
    }
}

impl From<&'static [u8]> for Chunk {
    fn from(bytes: &'static [u8]) -> Chunk {
        Chunk::Static(bytes)
    }
}

#[derive(Debug)]
pub(crate) struct Parts {
    chunks: VecDeque<Chunk>,
    /// Chunks at the front that are sent, and not dropped yet: dropping shared bytes may run
    /// code of the user, which must not run while the loop is borrowed.
    sent: usize,
    bytes: u64,
    file_bytes_per_turn_max: u64,
    join_files: bool,
    /// Chunks of files among all.
    files: usize,
}

impl Parts {
    fn new() -> Box<Parts> {
        Box::new(Parts {
            chunks: VecDeque::new(),
            sent: 0,
            bytes: 0,
            file_bytes_per_turn_max: FILE_BYTES_PER_TURN_MAX,
            join_files: false,
            files: 0,
        })
    }

    /// Drops all chunks.
    fn clear(&mut self) {
        if !self.chunks.is_empty() {
            self.chunks.clear();
        }
        self.sent = 0;
        self.bytes = 0;
        self.files = 0;
    }

    /// Makes it as good as new.
    fn reset(&mut self) {
        self.clear();
        self.file_bytes_per_turn_max = FILE_BYTES_PER_TURN_MAX;
        self.join_files = false;
    }

    /// Takes out the chunk at the front.
    #[inline]
    fn pop(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        self.files -= usize::from(chunk.is_file());
        Some(chunk)
    }
}

/// Chunks waiting to be sent, in order; one pointer, out of the current loop's pool, so that
/// sending allocates nothing in the steady state. Loop-local.
#[derive(Debug)]
pub struct SendQueue {
    parts: Option<Box<Parts>>,
}

impl SendQueue {
    /// An empty queue out of the current loop's pool. May be called on any thread, but a
    /// queue made where there is no loop is allocated.
    pub fn new() -> SendQueue {
        let pooled = event_loop::try_with_core(|core| core.send_queues.take()).flatten();
        SendQueue {
            parts: Some(pooled.unwrap_or_else(Parts::new)),
        }
    }

    /// What stands in for a queue that is lent to the kernel: it has no bytes, and can hold none.
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) fn lent() -> SendQueue {
        SendQueue { parts: None }
    }

    #[inline]
    fn parts(&self) -> &Parts {
        self.parts
            .as_ref()
            .expect("a queue has its parts until it is dropped")
    }

    #[inline]
    fn parts_mut(&mut self) -> &mut Parts {
        self.parts
            .as_mut()
            .expect("a queue has its parts until it is dropped")
    }

    /// Adds a chunk at the end. Empty chunks are dropped; small ones are not merged.
    #[inline]
    pub fn push(&mut self, chunk: impl Into<Chunk>) {
        let chunk = chunk.into();
        let len = chunk.len();
        if len > 0 {
            let parts = self.parts_mut();
            parts.bytes += len;
            parts.files += usize::from(chunk.is_file());
            parts.chunks.push_back(chunk);
        }
    }

    /// Bytes left to send.
    #[inline]
    pub fn bytes(&self) -> u64 {
        self.parts.as_ref().map_or(0, |parts| parts.bytes)
    }

    /// True if nothing is left to send.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Chunks left to send, a partly sent one included.
    pub fn chunks(&self) -> usize {
        self.parts().chunks.len() - self.parts().sent
    }

    /// Drops all chunks.
    pub fn clear(&mut self) {
        self.parts_mut().clear();
    }

    /// Bytes of files that are sent in one turn of the loop, at most (nginx
    /// `sendfile_max_chunk`; default 2 MiB, 0 for the default), so that one fast reader does
    /// not keep the loop to itself.
    pub fn file_bytes_per_turn_max(&mut self, bytes_max: u64) {
        self.parts_mut().file_bytes_per_turn_max = if bytes_max == 0 {
            FILE_BYTES_PER_TURN_MAX
        } else {
            bytes_max
        };
    }

    /// Whether memory in front of a file waits for it, so that both share a segment
    /// (`MSG_MORE`; nginx `tcp_nopush`). Default: no. It saves a packet a response; for a file of
    /// many segments it costs the kernel more, because no page of the file begins a segment then.
    pub fn join_files(&mut self, join: bool) {
        self.parts_mut().join_files = join;
    }

    pub(crate) fn joins_files(&self) -> bool {
        self.parts().join_files
    }

    /// True if a file is among the chunks, those included that are sent and not dropped yet.
    #[inline]
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) fn has_files(&self) -> bool {
        self.parts().files > 0
    }

    pub(crate) fn file_budget(&self) -> u64 {
        self.parts().file_bytes_per_turn_max
    }

    /// The chunks that are not sent yet, for those who send them otherwise than as they are; see
    /// [`consume`](Self::consume).
    #[inline]
    pub fn unsent(&self) -> impl Iterator<Item = &Chunk> {
        let parts = self.parts();
        parts.chunks.range(parts.sent..)
    }

    /// The chunk at the front, if it is the only one.
    #[inline]
    pub(crate) fn only(&self) -> Option<&Chunk> {
        let parts = self.parts();
        if parts.chunks.len() == parts.sent + 1 {
            parts.chunks.back()
        } else {
            None
        }
    }

    /// Counts `n` bytes at the front as sent. Chunks sent whole stay until
    /// [`move_sent`](SendQueue::move_sent).
    #[inline]
    pub(crate) fn advance(&mut self, n: u64) {
        let parts = self.parts_mut();
        parts.bytes -= n;
        if parts.bytes == 0 {
            parts.sent = parts.chunks.len();
            return;
        }
        let mut left = n;
        while left > 0 {
            let chunk = &mut parts.chunks[parts.sent];
            let len = chunk.len();
            if left < len {
                chunk.advance(left);
                return;
            }
            left -= len;
            parts.sent += 1;
        }
    }

    /// Drops `n` bytes at the front (all, if there are fewer): they were sent otherwise.
    pub fn consume(&mut self, n: u64) {
        let n = n.min(self.bytes());
        if n > 0 {
            self.advance(n);
            self.drop_sent();
        }
    }

    /// Drops the chunks that were sent. Code of the user may run.
    #[inline]
    pub(crate) fn drop_sent(&mut self) {
        let parts = self.parts_mut();
        for _ in 0..std::mem::take(&mut parts.sent) {
            drop(parts.pop());
        }
    }

    /// Moves the chunks that were sent to where they are dropped when code of the user may run.
    #[inline]
    pub(crate) fn move_sent(&mut self, to: &mut Vec<Chunk>) {
        let parts = self.parts_mut();
        for _ in 0..std::mem::take(&mut parts.sent) {
            if let Some(chunk) = parts.pop() {
                to.push(chunk);
            }
        }
    }
}

impl Default for SendQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Into<Chunk>> From<C> for SendQueue {
    fn from(chunk: C) -> SendQueue {
        let mut queue = SendQueue::new();
        queue.push(chunk);
        queue
    }
}

impl Drop for SendQueue {
    fn drop(&mut self) {
        if let Some(mut parts) = self.parts.take() {
            // Dropping the chunks may run code of the user, which may ask for a queue.
            parts.reset();
            event_loop::try_with_core(|core| core.send_queues.put(parts));
        }
    }
}

/// The send queues of one loop that are not in use.
#[derive(Default)]
pub(crate) struct SendQueuePool {
    #[expect(clippy::vec_box, reason = "the box is the handle that is pooled")]
    free: RefCell<Vec<Box<Parts>>>,
}

impl SendQueuePool {
    /// A queue of one chunk.
    #[inline]
    pub(crate) fn queue_of(&self, chunk: Chunk) -> SendQueue {
        let mut queue = SendQueue {
            parts: Some(self.take().unwrap_or_else(Parts::new)),
        };
        queue.push(chunk);
        queue
    }

    /// Takes back a queue: as dropping it does, but for looking up the loop.
    #[inline]
    pub(crate) fn take_back(&self, mut queue: SendQueue) {
        if let Some(mut parts) = queue.parts.take() {
            parts.reset();
            self.put(parts);
        }
    }

    #[inline]
    fn take(&self) -> Option<Box<Parts>> {
        self.free.borrow_mut().pop()
    }

    #[inline]
    fn put(&self, parts: Box<Parts>) {
        let mut free = self.free.borrow_mut();
        if free.len() < QUEUES_KEPT_MAX && parts.chunks.capacity() <= CHUNKS_KEPT_MAX {
            free.push(parts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunks that are sent and were not taken out yet.
    fn sent(queue: &mut SendQueue) -> usize {
        let mut sent = Vec::new();
        queue.move_sent(&mut sent);
        sent.len()
    }

    #[test]
    fn advancing_crosses_chunks_and_stops_inside_one() {
        let mut queue = SendQueue::new();
        queue.push(&b"abc"[..]);
        queue.push(&b""[..]);
        queue.push(Bytes::from_static(b"defgh"));
        assert_eq!((queue.bytes(), queue.chunks()), (8, 2));
        queue.advance(4);
        assert_eq!((queue.bytes(), queue.chunks()), (4, 1));
        assert_eq!(queue.only().and_then(Chunk::memory), Some(&b"efgh"[..]));
        assert_eq!(sent(&mut queue), 1);
        queue.advance(4);
        assert!(queue.is_empty());
        assert_eq!(sent(&mut queue), 1);
        assert_eq!(queue.unsent().count(), 0);
    }

    #[test]
    fn a_file_range_moves_its_offset() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut queue = SendQueue::from(Chunk::File {
            file,
            offset: 10,
            len: 100,
        });
        queue.advance(30);
        let range = queue.unsent().next();
        assert!(
            matches!(
                range,
                Some(Chunk::File {
                    offset: 40,
                    len: 70,
                    ..
                })
            ),
            "{range:?}"
        );
        queue.push(&b"after it"[..]);
        queue.advance(70);
        assert!(queue.has_files());
        assert_eq!(sent(&mut queue), 1);
        assert!(!queue.has_files());
    }
}
