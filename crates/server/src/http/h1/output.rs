//! What is on its way out: answers gather here until there is nothing more to read.

use std::io;
use std::time::Duration;

use revolve_reactor::{Buffer, Chunk, SendQueue};

use crate::http::request::Request;

/// Memory that is kept from one exchange to the next at most.
const MEMORY_KEPT_BYTES_MAX: usize = 16 * 1024;

/// What is on its way out.
pub(super) struct Output {
    queue: Option<SendQueue>,
    /// What was written last, and comes behind the queue.
    tail: Vec<u8>,
    pub(super) gathered_bytes: u64,
}

impl Output {
    /// Nothing yet, to be written to this memory.
    pub(super) fn over(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self {
            queue: None,
            tail: memory,
            gathered_bytes: 0,
        }
    }

    /// The memory, for the next.
    pub(super) fn into_memory(self) -> Vec<u8> {
        if self.tail.capacity() > MEMORY_KEPT_BYTES_MAX {
            return Vec::new();
        }
        self.tail
    }

    /// Copies bytes.
    #[inline]
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.gathered_bytes += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
    }

    /// Lets `append` write, and says how many bytes it has written.
    #[inline]
    pub(super) fn write_by(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> u64 {
        // In a variable of its own, which compilers keep in registers.
        let mut tail = std::mem::take(&mut self.tail);
        let before = tail.len();
        append(&mut tail);
        let written = (tail.len() - before) as u64;
        self.tail = tail;
        self.gathered_bytes += written;
        written
    }

    /// Takes a chunk as it is.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.gathered_bytes += chunk.len();
        self.push_tail();
        self.queue.get_or_insert_with(SendQueue::new).push(chunk);
    }

    /// Sends what the socket takes at once, where all lies in one piece: which is all of an answer
    /// of usual size, so that no queue is made for it, and nothing is waited for. True if nothing is
    /// left; on an error the answer is how many bytes were.
    pub(super) fn try_flush(&mut self, request: &Request) -> Result<bool, (io::Error, u64)> {
        if self.queue.is_some() {
            return Ok(false);
        }
        if self.tail.is_empty() {
            return Ok(true);
        }
        match request.connection.stream.try_send(&self.tail) {
            Ok(sent) if sent == self.tail.len() => {
                self.tail.clear();
                self.gathered_bytes = 0;
                Ok(true)
            }
            Ok(sent) => {
                drop(self.tail.drain(..sent));
                Ok(false)
            }
            Err(error) => Err((error, self.tail.len() as u64)),
        }
    }

    /// What waits goes into buffers that the loop may keep until they are sent.
    fn push_tail(&mut self) {
        let mut rest = self.tail.as_slice();
        while !rest.is_empty() {
            let mut buffer = Buffer::take();
            let taken = buffer.fill(rest);
            rest = &rest[taken..];
            self.queue
                .get_or_insert_with(SendQueue::new)
                .push(Chunk::Buffer(buffer));
        }
        self.tail.clear();
    }

    /// Sends all of it; on an error the answer is how many bytes were left.
    pub(super) async fn flush(&mut self, request: &Request) -> Result<(), (io::Error, u64)> {
        match self.try_flush(request)? {
            true => Ok(()),
            false => self.send_rest(request).await,
        }
    }

    /// Sends what [`try_flush`](Output::try_flush) has left.
    pub(super) async fn send_rest(&mut self, request: &Request) -> Result<(), (io::Error, u64)> {
        self.push_tail();
        let settings = &request.settings().output;
        let Some(mut queue) = self.queue.take() else {
            return Ok(());
        };
        queue.file_bytes_per_turn_max(settings.sendfile_chunk_bytes);
        queue.join_files(settings.tcp_nopush);
        let stall_max = Duration::from_millis(settings.send_timeout_ms);
        let (result, queue) = request
            .connection
            .stream
            .send(queue)
            .stall_max(stall_max)
            .await;
        let left = queue.bytes();
        self.gathered_bytes = 0;
        result.map_err(|error| (error, left))
    }
}
