//! One log of one loop: lines that wait, and what they are written to.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::destination::{Buffering, Destination, Place};
use super::level::Level;
use super::queue::{Account, Queue, WAITING_BYTES_MAX};
use super::sink::Sink;
use super::spool::Spool;
use super::syslog::SyslogSocket;
use super::text::{cut_short, line_head, shown_path};
use crate::clock::Clock;
use revolve_conf::error_text;

/// How soon a disk, a pipe or a syslog server that took nothing is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// How long a process that ends waits for a disk, a pipe or a syslog server that takes nothing. It is
/// killed a second after TERM.
pub(super) const END_PATIENCE: Duration = Duration::from_millis(400);
pub(super) const END_PAUSE: Duration = Duration::from_millis(1);

/// See the module. It belongs to its thread. What is left is written when it is dropped.
pub struct Output {
    place: Place,
    inner: RefCell<Inner>,
    /// Lines that came while another was being made: what a variable of that had to say.
    late: RefCell<Vec<Vec<u8>>>,
    /// Whether it is among those that are written at the turn's end.
    pub(super) is_in_turn: Cell<bool>,
    /// Whether it is among those that wait for a time.
    pub(super) is_waiting: Cell<bool>,
}

struct Inner {
    spool: Spool,
    buffering: Option<Buffering>,
    /// There is a line that is not to be held back.
    is_urgent: bool,
    /// When something is to be done about lines that wait.
    due_at: Option<Instant>,
    account: Arc<Account>,
    /// Whether a file is written to by a thread.
    is_queued: bool,
    /// Whether somebody else says what was lost, for several logs together.
    shares_losses: bool,
}

/// What is written to by who has the lines.
fn direct(place: &Place, file: Option<Arc<File>>) -> Sink {
    match place {
        Place::File(_) => Sink::of(file),
        Place::Syslog(server) => Sink::Syslog(SyslogSocket::new(server.address.clone())),
    }
}

/// The same, but that files have their threads.
fn queued(place: &Place, file: Option<Arc<File>>, account: &Arc<Account>) -> Sink {
    let is_file = |file: &Arc<File>| file.metadata().is_ok_and(|it| it.is_file());
    if let (Place::File(path), Some(file)) = (place, file.as_ref().filter(|file| is_file(file)))
        && let Some(queue) = Queue::of(file.clone(), path.clone(), account.clone())
    {
        return Sink::Queue(queue);
    }
    direct(place, file)
}

impl Output {
    /// A log, and the open file where it is one; without it its lines are lost. Writing to it waits
    /// for the file's disk.
    pub fn new(destination: &Destination, file: Option<Arc<File>>) -> Self {
        let (place, buffering) = (destination.place.clone(), destination.buffering);
        let sink = direct(&place, file);
        Self::over(place, buffering, sink, Account::new(None))
    }

    /// A log of a loop, which waits for nothing. `complain` runs on the loop when lines are lost that
    /// were on their way.
    pub(super) fn of_loop(
        destination: &Destination,
        file: Option<Arc<File>>,
        complain: fn(),
    ) -> Self {
        let (place, buffering) = (destination.place.clone(), destination.buffering);
        let account = Account::new(Some((revolve_reactor::current(), complain)));
        let sink = queued(&place, file, &account);
        let output = Self::over(place, buffering, sink, account);
        output.inner.borrow_mut().is_queued = true;
        output
    }

    /// One of several logs whose losses are counted, and complained about, together. Its file is
    /// opened when there is something to write.
    pub(super) fn of_path(path: PathBuf, account: &Arc<Account>) -> Self {
        let sink = Sink::Queue(Queue::of_path(path.clone(), account.clone()));
        let output = Self::over(Place::File(path), None, sink, account.clone());
        output.inner.borrow_mut().shares_losses = true;
        output
    }

    fn over(place: Place, buffering: Option<Buffering>, sink: Sink, account: Arc<Account>) -> Self {
        Self {
            place,
            inner: RefCell::new(Inner {
                spool: Spool::new(sink),
                buffering,
                is_urgent: false,
                due_at: None,
                account,
                is_queued: false,
                shares_losses: false,
            }),
            late: RefCell::default(),
            is_in_turn: Cell::new(false),
            is_waiting: Cell::new(false),
        }
    }

    /// Has its file written to by a thread from now on. Whoever ends the process calls
    /// [`finish`](Output::finish) first.
    pub fn queue_writes(&self) {
        self.flush(Instant::now(), true);
        let inner = &mut *self.inner.borrow_mut();
        inner.is_queued = true;
        if let Sink::File(file) = &inner.spool.sink {
            inner.spool.sink = queued(&self.place, Some(file.clone()), &inner.account);
        }
    }

    /// Waits for a moment until all is written, and gives the rest up; the answer is a complaint, if
    /// one is due.
    pub fn finish(&self) -> Option<String> {
        let begin = Instant::now();
        self.flush(begin, true);
        while self.has_lines() && begin.elapsed() < END_PATIENCE {
            std::thread::sleep(END_PAUSE);
            self.flush(Instant::now(), true);
        }
        self.give_up();
        self.complaint(Instant::now(), true)
    }

    /// Where its lines go.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Adds a line, without the line's end. One with a level is of an error log, and not held
    /// back. False where it has to wait until another line, which is being made, is complete.
    pub(super) fn append(
        &self,
        clock: &Clock,
        level: Option<Level>,
        now: Instant,
        body: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let write = |out: &mut Vec<u8>| match &self.place {
            Place::File(_) => {
                body(out);
                out.push(b'\n');
            }
            Place::Syslog(server) => {
                server.append_header(clock, level, out);
                body(out);
            }
        };
        let Ok(mut inner) = self.inner.try_borrow_mut() else {
            let mut line = Vec::new();
            write(&mut line);
            self.late.borrow_mut().push(line);
            return false;
        };
        let inner = &mut *inner;
        inner.spool.lines.append(write);
        for line in self.late.borrow_mut().drain(..) {
            inner.spool.lines.append(|out| out.extend_from_slice(&line));
            inner.is_urgent = true;
        }
        inner.is_urgent |= level.is_some();
        if inner.due_at.is_none() {
            let flush = inner.buffering.and_then(|buffering| buffering.flush);
            inner.due_at = flush.map(|flush| now + flush);
        }
        true
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
            line_head(clock, level, out);
            let _ = out.write_fmt(message);
        });
        self.flush(now, true);
        self.complaint(now, false)
    }

    /// Whether lines are to be written at the turn's end.
    pub(super) fn is_due(&self) -> bool {
        let inner = self.inner.borrow();
        inner.is_urgent || inner.spool.lines.len_bytes() > inner.held_bytes_max()
    }

    /// When it wants to be looked at again, if it does.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let inner = self.inner.borrow();
        let losses = match inner.shares_losses {
            true => None,
            false => inner.account.losses().due_at(now),
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
        let bytes_before = inner.spool.lines.len_bytes();
        let result = inner.spool.write(held_bytes, inner.buffering);
        let is_full = matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        if let Err(error) = &result {
            let left_bytes_max = if is_full { WAITING_BYTES_MAX } else { 0 };
            let lost = inner.spool.lines.shorten(left_bytes_max);
            inner.note_losses(&self.place, lost, error);
        }
        if let Sink::Syslog(socket) = &mut inner.spool.sink {
            let lost = socket.take_lost();
            let error = rustix::io::Errno::CONNREFUSED.into();
            inner.note_losses(&self.place, lost, &error);
        }
        let flush = inner.buffering.and_then(|buffering| buffering.flush);
        inner.due_at = match flush {
            _ if is_full => Some(now + RETRY_PAUSE),
            None => None,
            Some(_) if inner.spool.lines.is_empty() => None,
            Some(_) if inner.spool.lines.len_bytes() == bytes_before => inner.due_at,
            Some(flush) => Some(now + flush),
        };
        let held_bytes_max = inner.held_bytes_max();
        inner.spool.shrink(held_bytes_max);
    }

    /// What is to be complained about elsewhere; `is_last` if there will be no other time.
    pub(super) fn complaint(&self, now: Instant, is_last: bool) -> Option<String> {
        let inner = self.inner.borrow();
        if inner.shares_losses {
            return None;
        }
        inner.account.losses().complaint(now, is_last)
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
            let lost = inner.spool.give_up_begun();
            inner.note_losses(&self.place, lost, &cut_short());
            inner.spool.sink = match inner.is_queued {
                true => queued(&self.place, Some(file), &inner.account),
                false => Sink::of(Some(file)),
            };
            inner.account.losses().forgive();
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
        !inner.spool.is_empty() || inner.account.waiting_lines() > 0
    }

    /// Counts as lost what is left, before the process ends.
    pub(super) fn give_up(&self) {
        let inner = &mut *self.inner.borrow_mut();
        let lost = inner.spool.lines.shorten(0) + inner.account.waiting_lines();
        inner.note_losses(&self.place, lost, &rustix::io::Errno::AGAIN.into());
    }

    /// Has it looked whether the file of a path is still the one of its name.
    pub(super) fn doubt(&self) {
        if let Sink::Queue(queue) = &self.inner.borrow().spool.sink {
            queue.doubt();
        }
    }
}

impl Inner {
    /// How much may be held back.
    fn held_bytes_max(&self) -> usize {
        self.buffering.map_or(0, |buffering| buffering.bytes)
    }

    fn note_losses(&self, place: &Place, lines: u64, error: &io::Error) {
        if lines == 0 {
            return;
        }
        let (call, reason) = (self.spool.sink.call(), error_text(error));
        let why = match place {
            Place::File(path) => {
                format!("{call} to \"{}\" failed ({reason})", shown_path(path))
            }
            Place::Syslog(_) => {
                format!("{call} failed ({reason}) while logging to syslog, server: {place}")
            }
        };
        self.account.losses().note(lines, why);
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Whoever dropped it has been told of what failed before, but of several logs together.
        let (place, inner) = (&self.place, self.inner.get_mut());
        let buffering = inner.buffering;
        if let Err(error) = inner.spool.write(0, buffering) {
            let lost = inner.spool.lines.shorten(0);
            inner.note_losses(place, lost, &error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::path::Path;

    use super::super::file;
    use super::*;

    fn output(path: &Path, gzip_level: Option<u8>) -> Output {
        let destination = Destination {
            place: Place::File(path.to_owned()),
            buffering: gzip_level.map(|level| Buffering {
                bytes: 16,
                flush: Some(Duration::from_secs(5)),
                gzip_level: Some(level),
            }),
        };
        Output::new(&destination, Some(Arc::new(file::open(path).unwrap())))
    }

    fn add(output: &Output, text: &str, now: Instant) {
        let clock = Clock::without_loop();
        output.append(&clock, None, now, |out| {
            out.extend_from_slice(text.as_bytes())
        });
    }

    #[test]
    fn lines_are_held_back_until_they_are_many_or_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (output, start) = (output(&path, Some(1)), Instant::now());
        let written = || {
            let mut text = String::new();
            let bytes = fs::read(&path).unwrap();
            if !bytes.is_empty() {
                let mut decoder = flate2::read::MultiGzDecoder::new(bytes.as_slice());
                decoder.read_to_string(&mut text).unwrap();
            }
            text
        };
        for line in ["aaaa", "bbbb", "cccc"] {
            add(&output, line, start);
            output.flush(start, false);
        }
        assert_eq!(written(), "");
        assert!(!output.is_due());
        add(&output, "dddd", start);
        assert!(output.is_due());
        output.flush(start, false);
        assert_eq!(written(), "aaaa\nbbbb\ncccc\n");
        let late = output.next_at(start).unwrap();
        assert_eq!(late, start + Duration::from_secs(5));
        output.flush(late - Duration::from_millis(1), false);
        assert_eq!(written(), "aaaa\nbbbb\ncccc\n");
        output.flush(late, false);
        assert_eq!(written(), "aaaa\nbbbb\ncccc\ndddd\n");
        add(&output, "eeee", start);
        drop(output);
        assert!(written().ends_with("eeee\n"));
    }

    #[test]
    fn a_line_that_comes_while_another_is_made_follows_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (output, now) = (output(&path, None), Instant::now());
        output.append(&Clock::without_loop(), None, now, |out| {
            out.extend_from_slice(b"first ");
            add(&output, "second", now);
            out.extend_from_slice(b"line");
        });
        output.flush(now, false);
        assert_eq!(fs::read_to_string(&path).unwrap(), "first line\nsecond\n");
    }

    #[test]
    fn a_full_device_loses_lines_and_another_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for gzip_level in [None, Some(6)] {
            let (output, now) = (output(Path::new("/dev/full"), gzip_level), Instant::now());
            for _ in 0..5 {
                add(&output, "lost in space", now);
            }
            output.flush(now, true);
            let said = output.complaint(now, false).unwrap();
            assert!(said.ends_with(" failed (28: No space left on device), 5 lines are lost"));
            let file = Arc::new(file::open(&path).unwrap());
            output.configure(now, Some(file), None);
            add(&output, "kept", now);
            output.flush(now, true);
            assert_eq!(output.complaint(now, true), None);
            assert_eq!(fs::read_to_string(&path).unwrap(), "kept\n");
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn a_line_that_was_begun_is_ended_in_the_same_file_or_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let (output, now) = (output(&path, None), Instant::now());
        let long = "x".repeat(100_000);
        for line in [&long, &long, "short"] {
            add(&output, line, now);
        }
        output.flush(now, true);
        assert!(output.next_at(now).is_some(), "it is tried again");
        let mut reader = file::open(&path).unwrap();
        let mut read = vec![0; 100_001];
        let mut filled = 0;
        while filled < read.len() {
            filled += reader.read(&mut read[filled..]).unwrap_or(0);
            output.flush(now, true);
        }
        assert_eq!(read, format!("{long}\n").as_bytes());
        // The second is begun now, and shall go on in another file.
        let other = folder.path().join("log");
        output.replace(now, Arc::new(file::open(&other).unwrap()));
        output.flush(now, true);
        assert_eq!(fs::read_to_string(&other).unwrap(), "short\n");
        let said = output.complaint(now, true).unwrap();
        assert!(said.ends_with(", 1 line is lost"), "{said}");
    }
}
