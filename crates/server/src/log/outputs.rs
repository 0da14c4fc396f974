//! All logs of one loop, whichever configuration names them: they are written at the turn's end,
//! or when their time has come.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write as _;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use revolve_conf::ShownLine;
use revolve_reactor::{now, sleep_until, spawn};

use super::by_path::{PathLimits, PathLogs};
use super::destination::{Destination, Place};
use super::file::{self, OpenLogs, STDERR};
use super::level::{ErrorTarget, Level};
use super::output::{END_PATIENCE, END_PAUSE, Output};
use super::queue::Account;
use super::sink::Sink;
use super::text::line_head;
use crate::clock::Clock;

thread_local! {
    static HERE: RefCell<Weak<Outputs>> = const { RefCell::new(Weak::new()) };
}

/// Says on this thread's loop what was lost, as a thread that writes has found.
fn complain_here() {
    if let Some(outputs) = HERE.with_borrow(Weak::upgrade) {
        outputs.say_losses();
    }
}

/// See the module.
pub struct Outputs {
    clock: Rc<Clock>,
    known: RefCell<Vec<Weak<Output>>>,
    by_path: RefCell<PathLogs>,
    /// Those to be written at the turn's end, and the memory of that list.
    in_turn: RefCell<Vec<Rc<Output>>>,
    /// Those that want to be looked at at a time of their own.
    waiting: RefCell<Vec<Rc<Output>>>,
    /// When the timer fires, and how often it was set.
    timer_at: Cell<Option<Instant>>,
    timer_count: Cell<u64>,
    /// Where it is said that another log cannot be written.
    complaints: RefCell<Vec<(Rc<Output>, Level)>>,
    me: Weak<Outputs>,
}

impl Outputs {
    /// The logs of the calling thread's loop: none yet.
    pub fn new(clock: Rc<Clock>) -> Rc<Self> {
        let outputs = Rc::new_cyclic(|me| Self {
            clock,
            known: RefCell::default(),
            by_path: RefCell::new(PathLogs::new(Account::new(Some((
                revolve_reactor::current(),
                complain_here,
            ))))),
            in_turn: RefCell::default(),
            waiting: RefCell::default(),
            timer_at: Cell::new(None),
            timer_count: Cell::new(0),
            complaints: RefCell::default(),
            me: me.clone(),
        });
        HERE.set(Rc::downgrade(&outputs));
        outputs
    }

    /// The loop's clock.
    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The logs of a configuration, in its order. Those of before that are among them go on;
    /// the others hold nothing back from now on.
    pub(super) fn configure(
        &self,
        destinations: &[Destination],
        opened: &OpenLogs,
        process_targets: &[ErrorTarget],
    ) -> Vec<Rc<Output>> {
        let now = now();
        self.flush_all();
        let live: Vec<Rc<Output>> = self.live().collect();
        let outputs: Vec<Rc<Output>> = destinations
            .iter()
            .map(|destination| {
                let file = destination.path().and_then(|path| {
                    let is_stderr = path.as_os_str() == STDERR;
                    let open_here = || file::open(path).ok().map(Arc::new);
                    opened
                        .get(path)
                        .or_else(|| is_stderr.then(open_here).flatten())
                });
                let known = live
                    .iter()
                    .find(|known| *known.place() == destination.place);
                match known {
                    Some(output) => {
                        output.configure(now, file, destination.buffering);
                        output.clone()
                    }
                    None => Rc::new(Output::of_loop(destination, file, complain_here)),
                }
            })
            .collect();
        for output in &live {
            if !outputs.iter().any(|kept| Rc::ptr_eq(kept, output)) {
                output.configure(now, None, None);
            }
        }
        *self.known.borrow_mut() = outputs.iter().chain(&live).map(Rc::downgrade).collect();
        self.by_path.borrow_mut().close();
        let complaints = process_targets
            .iter()
            .filter_map(|target| Some((outputs.get(target.file)?.clone(), target.level)));
        *self.complaints.borrow_mut() = complaints.collect();
        outputs
    }

    fn live(&self) -> impl Iterator<Item = Rc<Output>> {
        let known = self.known.borrow();
        let mut live: Vec<Rc<Output>> = Vec::with_capacity(known.len());
        for output in known.iter().filter_map(Weak::upgrade) {
            if !live.iter().any(|seen| Rc::ptr_eq(seen, &output)) {
                live.push(output);
            }
        }
        live.into_iter()
    }

    /// Adds a line to a log; see [`Output::append`].
    pub(super) fn append(
        &self,
        output: &Rc<Output>,
        level: Option<Level>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        if output.append(&self.clock, level, now(), body) {
            self.appended(output);
        }
    }

    /// Adds a line to the log of a path.
    pub(super) fn append_by_path(
        &self,
        path: &[u8],
        limits: Option<&Arc<PathLimits>>,
        body: impl FnOnce(&mut Vec<u8>),
    ) {
        let now = now();
        let output = self.by_path.borrow_mut().get(path, limits, now);
        self.append(&output, None, body);
        if let Some(limits) = limits {
            self.wake_at(now + limits.inactive);
        }
    }

    /// Counts a line of a log with variables in its path that could not be written.
    pub(super) fn lose(&self, reason: String) {
        self.by_path.borrow_mut().note_loss(reason);
        self.complain_by_path(false);
    }

    fn appended(&self, output: &Rc<Output>) {
        if output.is_due() {
            if !output.is_in_turn.replace(true) {
                self.in_turn.borrow_mut().push(output.clone());
            }
        } else {
            self.wait(output);
        }
    }

    /// Has an output looked at when it wants to be.
    fn wait(&self, output: &Rc<Output>) {
        if let Some(at) = output.next_at(now()) {
            if !output.is_waiting.replace(true) {
                self.waiting.borrow_mut().push(output.clone());
            }
            self.wake_at(at);
        }
    }

    /// Writes what has gathered in the turn: one `write(2)` a file.
    pub(crate) fn end_turn(&self) {
        // A second time for what is to be said about the first.
        for _ in 0..2 {
            if self.in_turn.borrow().is_empty() {
                return;
            }
            self.write_turn();
        }
    }

    fn write_turn(&self) {
        let mut written = std::mem::take(&mut *self.in_turn.borrow_mut());
        for output in &written {
            output.is_in_turn.set(false);
            self.flush(output, false);
        }
        written.clear();
        let mut in_turn = self.in_turn.borrow_mut();
        if in_turn.is_empty() {
            *in_turn = written;
        }
        drop(in_turn);
        self.by_path.borrow_mut().end_turn();
        self.complain_by_path(false);
    }

    fn flush(&self, output: &Rc<Output>, all: bool) {
        output.flush(now(), all);
        self.say(output);
    }

    /// Says what was lost of a log's lines, now or when it is time.
    fn say(&self, output: &Rc<Output>) {
        let now = now();
        if let Some(complaint) = output.complaint(now, false) {
            self.complain(Some(output), &complaint);
        }
        self.wait(output);
    }

    /// Writes all that there is.
    pub(super) fn flush_all(&self) {
        self.end_turn();
        for output in self.live() {
            self.flush(&output, true);
        }
        // What there is to say about it.
        self.end_turn();
    }

    fn say_losses(&self) {
        for output in self.live() {
            self.say(&output);
        }
        self.complain_by_path(false);
    }

    /// Writes all that there is before the process ends, waiting for a moment for those who do
    /// not take it, and says what is lost.
    pub(crate) fn finish(&self) {
        let end = Instant::now() + END_PATIENCE;
        self.flush_all();
        let has_lines = || {
            let by_path = self.by_path.borrow().waiting_lines() > 0;
            by_path || self.live().any(|output| output.has_lines())
        };
        while has_lines() && Instant::now() < end {
            std::thread::sleep(END_PAUSE);
            self.flush_all();
        }
        let now = Instant::now();
        for output in self.live() {
            output.give_up();
            if let Some(complaint) = output.complaint(now, true) {
                self.complain(Some(&output), &complaint);
            }
        }
        self.by_path.borrow().give_up();
        self.complain_by_path(true);
        self.end_turn();
    }

    /// Takes newly opened files in place of the old ones, after writing what had gathered.
    pub(crate) fn replace(&self, opened: &OpenLogs) {
        self.flush_all();
        for output in self.live() {
            if let Place::File(path) = output.place()
                && let Some(file) = opened.get(path)
            {
                output.replace(now(), file);
            }
        }
        self.by_path.borrow_mut().close();
    }

    fn complain_by_path(&self, is_last: bool) {
        let now = Instant::now();
        let complaint = self.by_path.borrow().complaint(now, is_last);
        if let Some(complaint) = complaint {
            self.complain(None, &complaint);
        }
        let next_at = self.by_path.borrow().complaint_at(now);
        if let Some(at) = next_at {
            self.wake_at(at);
        }
    }

    /// Says in the error log that a log cannot be written; where that is the very one, on
    /// standard error.
    fn complain(&self, about: Option<&Rc<Output>>, complaint: &str) {
        let level = Level::Alert;
        let complaints = self.complaints.borrow();
        let mut is_said = false;
        for (output, level_max) in complaints.iter() {
            if level <= *level_max && about.is_none_or(|about| !Rc::ptr_eq(about, output)) {
                self.append(output, Some(level), |out| {
                    error_line(&self.clock, level, out, |out| {
                        out.extend_from_slice(complaint.as_bytes());
                    });
                });
                is_said = true;
            }
        }
        if !is_said {
            say_on_stderr(&self.clock, level, format_args!("{complaint}"));
        }
    }

    /// Has the timer fire at `at`, if it would not before.
    fn wake_at(&self, at: Instant) {
        if self.timer_at.get().is_some_and(|known| known <= at) {
            return;
        }
        self.timer_at.set(Some(at));
        let count = self.timer_count.get() + 1;
        self.timer_count.set(count);
        let me = self.me.clone();
        spawn(async move {
            let mut next = Some(at);
            while let Some(at) = next {
                sleep_until(at).await;
                let Some(outputs) = me.upgrade() else { return };
                if outputs.timer_count.get() != count {
                    return;
                }
                next = outputs.tend();
            }
        });
    }

    /// Does what is due now; the answer is when there is more to do.
    fn tend(&self) -> Option<Instant> {
        let time = now();
        // Nobody sets another timer meanwhile.
        self.timer_at.set(Some(time));
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        for output in waiting {
            output.is_waiting.set(false);
            if output.next_at(time).is_some_and(|at| at <= time) {
                self.flush(&output, false);
            }
            self.wait(&output);
        }
        self.by_path.borrow_mut().expire(time);
        self.complain_by_path(false);
        self.end_turn();
        let waiting = self.waiting.borrow();
        let next = waiting.iter().filter_map(|output| output.next_at(time));
        let next = next.chain(self.by_path.borrow().next_at(time)).min();
        self.timer_at.set(next);
        next
    }
}

/// Appends a line of an error log, without its end.
pub(super) fn error_line(
    clock: &Clock,
    level: Level,
    out: &mut Vec<u8>,
    body: impl FnOnce(&mut Vec<u8>),
) {
    line_head(clock, level, out);
    let start = out.len();
    body(out);
    ShownLine::in_place(out, start);
}

/// Says something where no log can be written, if standard error takes it at once.
pub fn say_on_stderr(clock: &Clock, level: Level, message: fmt::Arguments<'_>) {
    let Ok(file) = file::open(STDERR.as_ref()) else {
        return;
    };
    let mut sink = Sink::of(Some(Arc::new(file)));
    let mut line = Vec::new();
    error_line(clock, level, &mut line, |out| {
        let _ = out.write_fmt(message);
    });
    line.push(b'\n');
    // There is nobody left to tell.
    let _ = sink.write(&line);
}

#[cfg(test)]
mod tests {
    use revolve_reactor::EventLoop;

    use super::*;

    #[test]
    fn a_variable_may_complain_in_the_log_whose_line_it_is_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.block_on(async {
            let outputs = Outputs::new(Rc::new(Clock::of_loop()));
            let opened = file::open(&path).unwrap();
            let opened = OpenLogs::from_descriptors(vec![(path.clone(), opened.into())]);
            let destination = Destination {
                place: Place::File(path.clone()),
                buffering: None,
            };
            let logs = outputs.configure(&[destination], &opened, &[]);
            outputs.append(&logs[0], None, |out| {
                outputs.append(&logs[0], Some(Level::Error), |out| {
                    out.extend_from_slice(b"second");
                });
                out.extend_from_slice(b"first");
            });
            outputs.finish();
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "first\nsecond\n");
    }
}
