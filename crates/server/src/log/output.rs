//! One log of one loop: lines that wait, and what they are written to.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::destination::{Buffering, Destination, Place};
use super::lines::Lines;
use super::losses::Losses;
use super::sink::Sink;
use super::syslog::SyslogSocket;
use super::{Clock, Level, error_text, gzip};

/// Memory that a log keeps between turns.
const BYTES_KEPT: usize = 64 * 1024;

/// What waits at most for a pipe or a syslog server that takes nothing for the moment.
const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// How soon a pipe or a syslog server that took nothing is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See the module. It belongs to its thread. What is left is written when it is dropped.
pub struct Output {
    place: Place,
    inner: RefCell<Inner>,
    /// Whether it is among those that are written at the turn's end.
    pub(super) is_in_turn: Cell<bool>,
    /// Whether it is among those that wait for a time.
    pub(super) is_waiting: Cell<bool>,
}

struct Inner {
    sink: Sink,
    lines: Lines,
    buffering: Option<Buffering>,
    /// What was compressed, and how much of it is written.
    block: Vec<u8>,
    block_written_bytes: usize,
    /// There is a line that is not to be held back.
    is_urgent: bool,
    /// When something is to be done about lines that wait.
    due_at: Option<Instant>,
    losses: Rc<RefCell<Losses>>,
    /// Whether somebody else says what was lost, for several logs together.
    shares_losses: bool,
}

impl Output {
    /// A log, and the open file where it is one; without it its lines are lost.
    pub fn new(destination: &Destination, file: Option<Arc<File>>) -> Self {
        let output = Self::sharing(destination, file, Rc::default());
        output.inner.borrow_mut().shares_losses = false;
        output
    }

    /// One of several logs whose losses are counted, and complained about, together.
    pub(super) fn sharing(
        destination: &Destination,
        file: Option<Arc<File>>,
        losses: Rc<RefCell<Losses>>,
    ) -> Self {
        let sink = match &destination.place {
            Place::File(_) => Sink::of(file),
            Place::Syslog(server) => Sink::Syslog(SyslogSocket::new(server.address.clone())),
        };
        Self {
            place: destination.place.clone(),
            inner: RefCell::new(Inner {
                sink,
                lines: Lines::default(),
                buffering: destination.buffering,
                block: Vec::new(),
                block_written_bytes: 0,
                is_urgent: false,
                due_at: None,
                losses,
                shares_losses: true,
            }),
            is_in_turn: Cell::new(false),
            is_waiting: Cell::new(false),
        }
    }

    /// Where its lines go.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Adds a line, without the line's end. One with a level is of an error log, and not held
    /// back.
    pub(super) fn append(
        &self,
        clock: &Clock,
        level: Option<Level>,
        now: Instant,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let inner = &mut *self.inner.borrow_mut();
        inner.lines.append(|out| match &self.place {
            Place::File(_) => {
                body(out);
                out.push(b'\n');
            }
            Place::Syslog(server) => {
                server.append_header(clock, level, out);
                body(out);
            }
        });
        inner.is_urgent |= level.is_some();
        if inner.due_at.is_none() {
            let flush = inner.buffering.and_then(|buffering| buffering.flush);
            inner.due_at = flush.map(|flush| now + flush);
        }
    }

    /// Writes a line of an error log at once; the answer is a complaint, if one is due.
    pub fn write_line(
        &self,
        clock: &Clock,
        level: Level,
        message: fmt::Arguments<'_>,
    ) -> Option<String> {
        let now = Instant::now();
        self.append(clock, Some(level), now, |out| {
            super::line_head(clock, level, out);
            let _ = out.write_fmt(message);
        });
        self.flush(now, true);
        self.complaint(now, false)
    }

    /// Whether lines are to be written at the turn's end.
    pub(super) fn is_due(&self) -> bool {
        let inner = self.inner.borrow();
        inner.is_urgent || inner.lines.len_bytes() > inner.held_bytes_max()
    }

    /// When it wants to be looked at again, if it does.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let inner = self.inner.borrow();
        let losses = match inner.shares_losses {
            true => None,
            false => inner.losses.borrow().due_at(now),
        };
        inner.due_at.into_iter().chain(losses).min()
    }

    /// Writes what is due, or `all` that there is. What cannot be written is counted as lost.
    pub(super) fn flush(&self, now: Instant, all: bool) {
        let inner = &mut *self.inner.borrow_mut();
        let is_late = inner.due_at.is_some_and(|at| at <= now);
        let held_bytes = if all || inner.is_urgent || is_late {
            0
        } else {
            inner.held_bytes_max()
        };
        inner.is_urgent = false;
        let result = inner.write(held_bytes);
        let is_full = matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        if let Err(error) = &result {
            let left_bytes_max = if is_full { WAITING_BYTES_MAX } else { 0 };
            let lost = inner.lines.shorten(left_bytes_max);
            inner.note_losses(&self.place, lost, error);
        }
        if let Sink::Syslog(socket) = &mut inner.sink {
            let lost = socket.take_lost();
            let error = rustix::io::Errno::CONNREFUSED.into();
            inner.note_losses(&self.place, lost, &error);
        }
        let flush = inner.buffering.and_then(|buffering| buffering.flush);
        inner.due_at = match flush {
            _ if is_full => Some(now + RETRY_PAUSE),
            Some(flush) if !inner.lines.is_empty() => Some(now + flush),
            _ => None,
        };
        let kept = inner.held_bytes_max().max(BYTES_KEPT);
        inner.lines.shrink(kept);
        inner.block.shrink_to(BYTES_KEPT);
    }

    /// What is to be complained about elsewhere; `is_last` if there will be no other time.
    pub(super) fn complaint(&self, now: Instant, is_last: bool) -> Option<String> {
        let inner = self.inner.borrow();
        if inner.shares_losses {
            return None;
        }
        inner.losses.borrow_mut().complaint(now, is_last)
    }

    /// Writes what there is, and takes another file and other buffering from now on.
    pub(super) fn configure(
        &self,
        now: Instant,
        file: Option<Arc<File>>,
        buffering: Option<Buffering>,
    ) {
        self.flush(now, true);
        let inner = &mut *self.inner.borrow_mut();
        inner.buffering = buffering;
        if let Some(file) = file {
            inner.sink = Sink::of(Some(file));
            // What is left of an old block belongs to the old file.
            inner.block.clear();
            inner.block_written_bytes = 0;
            inner.losses.borrow_mut().forgive();
        }
    }

    /// Writes what there is, and takes a newly opened file in place of the old one.
    pub(super) fn replace(&self, now: Instant, file: Arc<File>) {
        let buffering = self.inner.borrow().buffering;
        self.configure(now, Some(file), buffering);
    }

    /// Whether anything is left to be written.
    pub(super) fn has_lines(&self) -> bool {
        let inner = self.inner.borrow();
        !inner.lines.is_empty() || !inner.block.is_empty()
    }
}

impl Inner {
    /// How much may be held back.
    fn held_bytes_max(&self) -> usize {
        self.buffering.map_or(0, |buffering| buffering.bytes)
    }

    /// Writes until no more than `held_bytes` are left.
    fn write(&mut self, held_bytes: usize) -> io::Result<()> {
        loop {
            self.write_block()?;
            if self.lines.is_empty() || self.lines.len_bytes() <= held_bytes {
                return Ok(());
            }
            let bytes_max = self
                .buffering
                .map_or(usize::MAX, |buffering| buffering.bytes);
            match self.buffering.and_then(|buffering| buffering.gzip_level) {
                Some(level) => {
                    let chunk = self.lines.chunk(bytes_max);
                    let chunk_bytes = chunk.len();
                    gzip::compress(chunk, level, &mut self.block);
                    let result = self.write_block();
                    if result.is_err() && self.block_written_bytes == 0 {
                        self.block.clear();
                        return result;
                    }
                    // Of what was begun the rest follows, or the file could not be read.
                    self.lines.advance(chunk_bytes);
                    result?;
                }
                None => {
                    let bytes_max = bytes_max.min(self.sink.chunk_bytes_max());
                    let written_bytes = self.sink.write(self.lines.chunk(bytes_max))?;
                    self.lines.advance(written_bytes);
                }
            }
        }
    }

    fn write_block(&mut self) -> io::Result<()> {
        while self.block_written_bytes < self.block.len() {
            self.block_written_bytes += self.sink.write(&self.block[self.block_written_bytes..])?;
        }
        self.block.clear();
        self.block_written_bytes = 0;
        Ok(())
    }

    fn note_losses(&self, place: &Place, lines: u64, error: &io::Error) {
        if lines == 0 {
            return;
        }
        let (call, reason) = (self.sink.call(), error_text(error));
        let why = match place {
            Place::File(path) => {
                format!("{call} to \"{}\" failed ({reason})", path.display())
            }
            Place::Syslog(_) => {
                format!("{call} failed ({reason}) while logging to syslog, server: {place}")
            }
        };
        self.losses.borrow_mut().note(lines, why);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Whoever dropped it has been told of what failed before.
        let _ = self.inner.get_mut().write(0);
    }
}
