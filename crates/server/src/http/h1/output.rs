//! What is on its way out of a connection: answers gather here until there is nothing more to read.

use std::time::Duration;

use revolve_http::Version;
use revolve_http::h1::writer;
use revolve_reactor::{Buffer, Chunk, SendQueue};

use super::input::CONTINUE;
use super::writing::{HeadContext, write_head};
use crate::file_cache::{Content, FileEntry};
use crate::http::body::Piece;
use crate::http::modules::{headers, keepalive};
use crate::http::request::Request;
use crate::http::request_body::{Expectation, RequestBody};
use crate::http::response::Response;
use crate::http::sink::Lost;

/// Memory that is kept from one exchange to the next at most.
const MEMORY_KEPT_BYTES_MAX: usize = 16 * 1024;

/// Pieces up to this size are copied beside the head, so that one plain `send` takes both.
const COPY_BYTES_MAX: u64 = 4096;

/// What a body that is made while it is sent may gather before it goes out.
const STREAM_BYTES_MAX: u64 = 64 * 1024;

/// What is on its way out.
pub(crate) struct Output {
    queue: Option<SendQueue>,
    /// What was written last, and comes behind the queue.
    tail: Vec<u8>,
    pub(super) gathered_bytes: u64,
    /// Whether the body at hand goes out in chunks.
    is_chunked: bool,
}

impl Output {
    /// Nothing yet, to be written to this memory.
    pub(super) fn over(mut memory: Vec<u8>) -> Self {
        memory.clear();
        Self {
            queue: None,
            tail: memory,
            gathered_bytes: 0,
            is_chunked: false,
        }
    }

    /// The memory, for the next.
    pub(super) fn into_memory(self) -> Vec<u8> {
        if self.tail.capacity() > MEMORY_KEPT_BYTES_MAX {
            return Vec::new();
        }
        self.tail
    }

    /// Writes the head of an answer, and decides how its body is delimited and whether the connection
    /// outlives it.
    pub(crate) fn head(&mut self, request: &mut Request) {
        if request.current.expectation == Expectation::Due && request.head().expect_continue {
            self.write(CONTINUE);
            request.response.sent_bytes += CONTINUE.len() as u64;
        }
        if let RequestBody::H1(input) = &request.body {
            let input = input.clone();
            // What is wrong with it is in the log, and closes the connection.
            let _ = input.drain_buffered(request);
        }
        let version = request.version();
        let has_length = request.response.content_length.is_some();
        let is_tunnel = request.response.tunnel.is_some();
        let has_body =
            !matches!(request.response.status, 101 | 204 | 304) && !is_tunnel && !request.is_head();
        self.is_chunked = (!has_length || request.response.expects_trailers)
            && has_body
            && version >= Version::HTTP_11
            && request.settings().output.chunked_transfer_encoding;
        let ends_by_closing = !has_length && has_body && !self.is_chunked;
        let keep_alive = !ends_by_closing && !is_tunnel && keepalive::keeps(request);
        request.response.keep_alive = Some(keep_alive);
        if version < Version::HTTP_10 {
            return;
        }
        let settings = request.settings();
        let keep_alive_header_s = settings.keepalive.header_s;
        let clock = request.site.logs.clock();
        let preambles = &request.http_loop.preambles;
        let is_chunked = self.is_chunked;
        let head_bytes = preambles.with(clock, settings.core.server_tokens, |preamble| {
            let context = HeadContext {
                preamble,
                is_chunked,
                keep_alive,
                keep_alive_header_s,
            };
            self.write_by(|out| write_head(&request.response, &context, out))
        });
        request.response.head_bytes = head_bytes;
        request.response.sent_bytes += head_bytes;
    }

    /// Writes a body that lies ready.
    pub(crate) fn pieces(&mut self, request: &mut Request) {
        let response = &mut request.response;
        let before = self.gathered_bytes;
        for piece in &response.body {
            self.begin_chunk(piece.len());
            match piece {
                Piece::Text { start, end } => self.write(&response.text[*start..*end]),
                Piece::Bytes(bytes) if piece.len() <= COPY_BYTES_MAX => self.write(bytes),
                Piece::Bytes(bytes) => self.push_chunk(Chunk::Bytes(bytes.clone())),
                Piece::Buffer(buffer) => self.write(buffer),
                Piece::File { file, start, len } => self.write_file(file, *start, *len),
            }
            self.end_chunk(piece.len());
        }
        response.sent_bytes += self.gathered_bytes - before;
        response.body.clear();
    }

    /// What stands before a piece of a body that goes out in chunks. An empty one would end the body.
    #[inline]
    fn begin_chunk(&mut self, len: u64) {
        if self.is_chunked && len > 0 {
            let mut memory = [0; 18];
            self.write(writer::chunk_head(len, &mut memory));
        }
    }

    #[inline]
    fn end_chunk(&mut self, len: u64) {
        if self.is_chunked && len > 0 {
            self.write(b"\r\n");
        }
    }

    /// Writes a piece of a body that is made while it is sent.
    pub(crate) fn push(&mut self, response: &mut Response, piece: Piece) {
        let len = piece.len();
        if len == 0 {
            return;
        }
        let before = self.gathered_bytes;
        self.begin_chunk(len);
        match piece {
            Piece::Bytes(bytes) if len <= COPY_BYTES_MAX => self.write(&bytes),
            Piece::Bytes(bytes) => self.push_chunk(Chunk::Bytes(bytes)),
            Piece::Buffer(buffer) if len <= COPY_BYTES_MAX => self.write(&buffer),
            Piece::Buffer(buffer) => self.push_chunk(Chunk::Buffer(buffer)),
            Piece::File { file, start, len } => self.write_file(&file, start, len),
            Piece::Text { .. } => unreachable!("a body that is streamed has no text"),
        }
        self.end_chunk(len);
        response.sent_bytes += self.gathered_bytes - before;
    }

    /// Ends the body.
    #[inline]
    pub(crate) fn end(&mut self, request: &mut Request) {
        if std::mem::take(&mut self.is_chunked) {
            if request.response.expects_trailers {
                headers::fill_trailers(request);
            }
            let before = self.gathered_bytes;
            self.write(b"0\r\n");
            let trailers = &request.response.trailers;
            for (name, value) in trailers.iter() {
                let written = self.write_by(|out| writer::header(out, name, value));
                debug_assert!(written > 0);
            }
            self.write(b"\r\n");
            request.response.sent_bytes += self.gathered_bytes - before;
        }
    }

    /// Whether more may be written before what is there has left.
    pub(crate) fn has_room(&self) -> bool {
        self.gathered_bytes < STREAM_BYTES_MAX
    }

    /// Copies bytes.
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.gathered_bytes += bytes.len() as u64;
        self.tail.extend_from_slice(bytes);
    }

    /// Lets `append` write, and says how many bytes it has written.
    #[inline]
    fn write_by(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> u64 {
        // In a variable of its own, which compilers keep in registers.
        let mut tail = std::mem::take(&mut self.tail);
        let before = tail.len();
        append(&mut tail);
        let written = (tail.len() - before) as u64;
        self.tail = tail;
        self.gathered_bytes += written;
        written
    }

    fn write_file(&mut self, file: &FileEntry, start: u64, len: u64) {
        match &file.content {
            Content::Bytes(bytes) => {
                let part = start as usize..(start + len) as usize;
                if len <= COPY_BYTES_MAX {
                    self.write(&bytes[part]);
                } else {
                    self.push_chunk(Chunk::Bytes(bytes.slice(part)));
                }
            }
            Content::Descriptor(file) => self.push_chunk(Chunk::File {
                file: file.clone(),
                offset: start,
                len,
            }),
        }
    }

    /// Takes a chunk as it is.
    fn push_chunk(&mut self, chunk: Chunk) {
        self.gathered_bytes += chunk.len();
        self.push_tail();
        self.queue.get_or_insert_with(SendQueue::new).push(chunk);
    }

    /// Sends what the socket takes at once, where all lies in one piece: which is all of an answer
    /// of usual size, so that no queue is made for it, and nothing is waited for. True if nothing is
    /// left; on an error the answer is how many bytes were.
    pub(super) fn try_flush(&mut self, request: &Request) -> Result<bool, Lost> {
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
                Ok(!request.connection.stream.has_unsent())
            }
            Ok(sent) => {
                drop(self.tail.drain(..sent));
                Ok(false)
            }
            Err(error) => Err(Lost {
                error,
                left_bytes: self.tail.len() as u64,
            }),
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
    pub(crate) async fn flush(&mut self, request: &Request) -> Result<(), Lost> {
        match self.try_flush(request)? {
            true => Ok(()),
            false => self.send_rest(request).await,
        }
    }

    /// Sends what [`try_flush`](Output::try_flush) has left.
    pub(super) async fn send_rest(&mut self, request: &Request) -> Result<(), Lost> {
        self.push_tail();
        if let RequestBody::H1(input) = &request.body {
            input.told().await;
        }
        let settings = &request.settings().output;
        let mut queue = match self.queue.take() {
            Some(queue) => queue,
            None if request.connection.stream.has_unsent() => SendQueue::new(),
            None => return Ok(()),
        };
        queue.file_bytes_per_turn_max(settings.sendfile_chunk_bytes);
        queue.join_files(settings.tcp_nopush);
        let stall_max = Duration::from_millis(settings.send_timeout_ms);
        let stream = &request.connection.stream;
        let (result, queue) = stream.send(queue, stall_max).await;
        let left_bytes = queue.bytes();
        self.gathered_bytes = 0;
        result.map_err(|error| Lost { error, left_bytes })
    }
}
