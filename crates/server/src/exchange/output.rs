//! What is on its way out: answers gather here until there is nothing more to read.

use std::io;
use std::time::Duration;

use revolve_reactor::{Buffer, Chunk, SendQueue};

use crate::request::Request;

/// What is on its way out.
pub(super) struct Output {
    queue: Option<SendQueue>,
    tail: Option<Buffer>,
    pub(super) gathered_bytes: u64,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            queue: None,
            tail: None,
            gathered_bytes: 0,
        }
    }

    /// Copies bytes.
    pub(super) fn write(&mut self, mut bytes: &[u8]) {
        self.gathered_bytes += bytes.len() as u64;
        while !bytes.is_empty() {
            let tail = self.tail.get_or_insert_with(Buffer::take);
            let taken = tail.fill(bytes);
            bytes = &bytes[taken..];
            if tail.spare_len() == 0 {
                self.push_tail();
            }
        }
    }

    /// Takes a chunk as it is.
    pub(super) fn push(&mut self, chunk: Chunk) {
        self.gathered_bytes += chunk.len();
        self.push_tail();
        self.queue.get_or_insert_with(SendQueue::new).push(chunk);
    }

    fn push_tail(&mut self) {
        if let Some(tail) = self.tail.take()
            && !tail.is_empty()
        {
            self.queue
                .get_or_insert_with(SendQueue::new)
                .push(Chunk::Buffer(tail));
        }
    }

    /// Sends all of it; on an error the answer is how many bytes were left.
    pub(super) async fn flush(&mut self, request: &Request) -> Result<(), (io::Error, u64)> {
        self.push_tail();
        let settings = &request.settings().output;
        let Some(mut queue) = self.queue.take() else {
            return Ok(());
        };
        queue.file_bytes_per_turn_max(settings.sendfile_chunk_bytes);
        queue.join_files(settings.tcp_nopush);
        let stall_max = Duration::from_millis(settings.send_timeout_ms);
        let (result, mut queue) = request
            .connection
            .stream
            .send(queue)
            .stall_max(stall_max)
            .await;
        let left = queue.bytes();
        if left > 0 {
            queue.clear();
        }
        self.queue = Some(queue);
        self.gathered_bytes = 0;
        result.map_err(|error| (error, left))
    }
}
