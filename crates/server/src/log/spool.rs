//! Lines on their way into a sink, and what was begun of them.

use std::io;

use super::destination::Buffering;
use super::gzip;
use super::lines::Lines;
use super::sink::Sink;

/// Memory that is kept for the next lines.
pub(crate) const BYTES_KEPT: usize = 64 * 1024;

/// See the module.
pub(crate) struct Spool {
    pub(crate) sink: Sink,
    pub(crate) lines: Lines,
    /// What was compressed, and how much of it is written.
    block: Vec<u8>,
    block_written_bytes: usize,
    block_lines: u64,
}

impl Spool {
    /// No lines yet.
    pub(crate) fn new(sink: Sink) -> Spool {
        Spool {
            sink,
            lines: Lines::default(),
            block: Vec::new(),
            block_written_bytes: 0,
            block_lines: 0,
        }
    }

    /// Whether nothing is left to be written.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.block.is_empty()
    }

    /// Writes until no more than `held_bytes` are left.
    ///
    /// Errors: as [`Sink::write`].
    pub(crate) fn write(
        &mut self,
        held_bytes: usize,
        buffering: Option<Buffering>,
    ) -> io::Result<()> {
        let bytes_max = buffering.map_or(usize::MAX, |buffering| buffering.bytes);
        let gzip_level = buffering.and_then(|buffering| buffering.gzip_level);
        loop {
            self.write_block()?;
            if self.lines.is_empty() || self.lines.len_bytes() <= held_bytes {
                return Ok(());
            }
            if let Sink::Queue(queue) = &self.sink {
                queue.take(&mut self.lines, bytes_max, buffering)?;
                continue;
            }
            match gzip_level {
                Some(level) => self.compress(bytes_max, level)?,
                None => {
                    let bytes_max = bytes_max.min(self.sink.chunk_bytes_max());
                    let written_bytes = self.sink.write(self.lines.chunk(bytes_max))?;
                    self.lines.advance(written_bytes);
                }
            }
        }
    }

    fn compress(&mut self, bytes_max: usize, level: u8) -> io::Result<()> {
        let chunk = self.lines.chunk(bytes_max);
        let chunk_bytes = chunk.len();
        self.block_lines = self.lines.count_in(chunk_bytes);
        gzip::compress(chunk, level, &mut self.block);
        let result = self.write_block();
        if result.is_err() && self.block_written_bytes == 0 {
            self.block.clear();
            return result;
        }
        // Of what was begun the rest follows, or the file could not be read.
        self.lines.advance(chunk_bytes);
        result
    }

    fn write_block(&mut self) -> io::Result<()> {
        while self.block_written_bytes < self.block.len() {
            self.block_written_bytes += self.sink.write(&self.block[self.block_written_bytes..])?;
        }
        self.block.clear();
        self.block_written_bytes = 0;
        Ok(())
    }

    /// Gives up what was begun and cannot be ended in the file that it was begun in; the lines that
    /// are lost by it.
    pub(crate) fn give_up_begun(&mut self) -> u64 {
        let mut lost = 0;
        if !self.block.is_empty() {
            lost += self.block_lines;
            self.block.clear();
            self.block_written_bytes = 0;
        }
        if self.lines.is_cut() {
            lost += 1;
            let rest_bytes = self.lines.chunk(0).len();
            self.lines.advance(rest_bytes);
        }
        lost
    }

    /// Gives memory back that more than usual took.
    pub(crate) fn shrink(&mut self, held_bytes_max: usize) {
        self.lines.shrink(held_bytes_max.max(BYTES_KEPT));
        self.block.shrink_to(BYTES_KEPT);
    }
}
