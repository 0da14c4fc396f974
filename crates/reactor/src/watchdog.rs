//! A thread that tells when a loop stands still: a task has computed for long, or blocked.

use std::fmt;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::fork::Birthplace;
use crate::unwind::discard;

/// A turn that goes on for longer than it should.
#[derive(Clone, Debug)]
pub struct Stall {
    /// The number of the turn.
    pub turn: u64,
    /// The time that the turn has taken so far.
    pub lasted: Duration,
    /// The name of the loop's thread; empty if it has none.
    pub thread: String,
    /// Where the task was spawned that is running. `None` for what is no task: the future of
    /// `block_on`, a posted function, a hook.
    pub task: Option<&'static Location<'static>>,
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the loop of thread \"{}\" has been in turn {} for {} ms",
            self.thread,
            self.turn,
            self.lasted.as_millis()
        )?;
        match self.task {
            Some(origin) => write!(f, ", in the task that was spawned at {origin}"),
            None => write!(f, ", and not in a task"),
        }
    }
}

/// What a builder knows of the watchdog.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) limit: Duration,
    pub(crate) report: Arc<dyn Fn(&Stall) + Send + Sync>,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// What the loop tells of itself.
#[derive(Default)]
pub(crate) struct Watched {
    /// Twice the number of the turn, and one more while it is under way.
    progress: AtomicU64,
    task: Mutex<Option<&'static Location<'static>>>,
    ended: Mutex<bool>,
    end: Condvar,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    pub(crate) fn begin_turn(&self, turn: u64) {
        self.progress.store(turn << 1 | 1, Ordering::Release);
    }

    pub(crate) fn end_turn(&self, turn: u64) {
        self.progress.store(turn << 1, Ordering::Release);
    }

    /// The task that runs from now on, if it is one.
    pub(crate) fn set_task(&self, origin: Option<&'static Location<'static>>) {
        *lock(&self.task) = origin;
    }

    fn watch(&self, settings: &Settings, thread: &str) {
        let step = (settings.limit / 4).max(Duration::from_millis(1));
        let mut seen = self.progress.load(Ordering::Acquire);
        let mut since = Instant::now();
        let mut reported = false;
        let mut ended = lock(&self.ended);
        while !*ended {
            ended = match self.end.wait_timeout(ended, step) {
                Ok((ended, _)) => ended,
                Err(poisoned) => poisoned.into_inner().0,
            };
            let now = self.progress.load(Ordering::Acquire);
            if now != seen || now & 1 == 0 {
                (seen, since, reported) = (now, Instant::now(), false);
            } else if !reported && since.elapsed() >= settings.limit {
                reported = true;
                let stall = Stall {
                    turn: now >> 1,
                    lasted: since.elapsed(),
                    thread: thread.to_owned(),
                    task: *lock(&self.task),
                };
                drop(ended);
                // A report that panics does not end the watch.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (settings.report)(&stall))) {
                    discard(panic);
                }
                ended = lock(&self.ended);
            }
        }
    }
}

/// The thread that watches; it ends when this is dropped.
pub(crate) struct Watchdog {
    watched: Arc<Watched>,
    thread: Option<thread::JoinHandle<()>>,
    /// Threads do not come along with a fork(2).
    birthplace: Birthplace,
}

impl Watchdog {
    /// Starts to watch the loop of this thread.
    pub(crate) fn start(settings: Settings) -> std::io::Result<Watchdog> {
        let watched = Arc::new(Watched::default());
        let own = Arc::clone(&watched);
        let name = thread::current().name().unwrap_or_default().to_owned();
        let thread = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || own.watch(&settings, &name))?;
        Ok(Watchdog {
            watched,
            thread: Some(thread),
            birthplace: Birthplace::here(),
        })
    }

    pub(crate) fn watched(&self) -> Arc<Watched> {
        Arc::clone(&self.watched)
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *lock(&self.watched.ended) = true;
        self.watched.end.notify_all();
        match self.thread.take() {
            Some(thread) if self.birthplace.is_elsewhere() => std::mem::forget(thread),
            Some(thread) => drop(thread.join()),
            None => {}
        }
    }
}
