//! Files are written by threads. The kernel offers no way to write to a file without waiting for its
//! disk, and a disk may stand still: a file system that is frozen for a snapshot, a network that is gone.
//!
//! A loop hands its lines over at the turn's end and goes on. What a disk does not take waits in
//! memory, and past [`WAITING_BYTES_MAX`] the loop is told that it is full. There is one thread for each
//! disk and not one for each log, because it is disks that hang. It begins with a line and ends when there
//! was none for a while: the system calls of a process with one thread are cheaper, because the kernel
//! counts no reference to the file that they name.

use std::any::Any;
use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use revolve_reactor::LoopHandle;
use rustix::io::Errno;

use super::destination::Buffering;
use super::file;
use super::lines::Lines;
use super::losses::Losses;
use super::sink::Sink;
use super::spool::{BYTES_KEPT, Spool};
use super::text::{cut_short, shown_path};
use revolve_conf::error_text;

/// What waits at most for a disk, a pipe or a syslog server that takes nothing for the moment.
pub(crate) const WAITING_BYTES_MAX: usize = 1024 * 1024;

/// Between two rounds of writing. A busy loop would wake the thread in every turn, which costs both of
/// them more than the write does: so what comes meanwhile is gathered, and the first line after a
/// quiet time is written at once.
const PAUSE: Duration = Duration::from_millis(1);

/// How long a thread waits for another line before it ends.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// Gzip is the most that such a thread does.
const STACK_BYTES: usize = 512 * 1024;

/// A panic of a thread leaves numbers and whole lines behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one log, or all that requests name, have waiting for a disk, and what was lost of it.
pub(crate) struct Account {
    waiting_bytes: AtomicUsize,
    waiting_lines: AtomicU64,
    losses: Mutex<Losses>,
    /// The loop whose lines these are, and what it does when some of them are lost.
    owner: Option<(LoopHandle, fn())>,
}

impl Account {
    /// An account of nothing; `owner` hears of losses, on its loop.
    pub(crate) fn new(owner: Option<(LoopHandle, fn())>) -> Arc<Account> {
        Arc::new(Account {
            waiting_bytes: AtomicUsize::new(0),
            waiting_lines: AtomicU64::new(0),
            losses: Mutex::default(),
            owner,
        })
    }

    /// What was lost.
    pub(crate) fn losses(&self) -> MutexGuard<'_, Losses> {
        lock(&self.losses)
    }

    /// Lines that were handed over, and are not known to be written.
    pub(crate) fn waiting_lines(&self) -> u64 {
        self.waiting_lines.load(Ordering::Acquire)
    }

    fn is_full(&self) -> bool {
        self.waiting_bytes.load(Ordering::Relaxed) >= WAITING_BYTES_MAX
    }

    fn add(&self, bytes: usize, lines: u64) {
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.waiting_lines.fetch_add(lines, Ordering::Relaxed);
    }

    fn remove(&self, bytes: usize, lines: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
        // After the write: whoever reads 0 finds the lines in the file.
        self.waiting_lines.fetch_sub(lines, Ordering::Release);
    }

    /// Counts lost lines, on any thread. The owner hears of the first; it knows when to say more.
    fn lose(&self, lines: u64, reason: String) {
        let is_first = self.losses().note(lines, reason);
        if let Some((owner, complain)) = &self.owner
            && is_first
        {
            owner.run_in_loop(*complain);
        }
    }
}

/// The lines that wait for one file.
pub(crate) struct Queue {
    disk: Arc<Disk>,
    path: PathBuf,
    account: Arc<Account>,
    /// Whether the thread opens the file by its path.
    opens: bool,
    inbox: Mutex<Inbox>,
    /// The thread's own, which is locked for as long as a write takes.
    spool: Mutex<Written>,
}

#[derive(Default)]
struct Inbox {
    lines: Lines,
    buffering: Option<Buffering>,
    /// Whether the thread will look here anyway.
    is_listed: bool,
    /// Whether the file may not be the one of its name any more.
    is_doubtful: bool,
}

struct Written {
    spool: Spool,
    /// Which file it is, where the thread has opened it.
    identity: Option<(u64, u64)>,
}

impl Queue {
    /// The queue of an open file; `None` where its disk is not to be known.
    pub(crate) fn of(file: Arc<File>, path: PathBuf, account: Arc<Account>) -> Option<Arc<Queue>> {
        let device = file.metadata().ok()?.dev();
        let sink = Sink::File(file);
        Some(Queue::new(Some(device), sink, path, account, false))
    }

    /// The queue of a path whose file is opened with the first line, by the thread.
    pub(crate) fn of_path(path: PathBuf, account: Arc<Account>) -> Arc<Queue> {
        Queue::new(None, Sink::Closed, path, account, true)
    }

    fn new(
        device: Option<u64>,
        sink: Sink,
        path: PathBuf,
        account: Arc<Account>,
        opens: bool,
    ) -> Arc<Queue> {
        Arc::new(Queue {
            disk: Disk::of(device),
            path,
            account,
            opens,
            inbox: Mutex::default(),
            spool: Mutex::new(Written {
                spool: Spool::new(sink),
                identity: None,
            }),
        })
    }

    /// Takes lines, `bytes_max` of them or one.
    ///
    /// Errors: `WouldBlock` if too many wait.
    pub(crate) fn take(
        self: &Arc<Queue>,
        lines: &mut Lines,
        bytes_max: usize,
        buffering: Option<Buffering>,
    ) -> io::Result<()> {
        if self.account.is_full() {
            return Err(Errno::AGAIN.into());
        }
        let chunk_bytes = lines.chunk(bytes_max.min(WAITING_BYTES_MAX)).len();
        self.account.add(chunk_bytes, lines.count_in(chunk_bytes));
        let mut inbox = lock(&self.inbox);
        if !self.opens {
            // At once what it would grow to: how much comes in one round is a matter of luck.
            inbox.lines.reserve(BYTES_KEPT);
        }
        lines.hand_over(chunk_bytes, &mut inbox.lines);
        inbox.buffering = buffering;
        let is_listed = std::mem::replace(&mut inbox.is_listed, true);
        drop(inbox);
        if !is_listed && self.disk.list(self.clone()).is_err() {
            // There is no thread to be had: the lines wait, and the next one asks again.
            lock(&self.inbox).is_listed = false;
        }
        Ok(())
    }

    /// Has the thread look whether the file is still the one of its path before it writes again.
    pub(crate) fn doubt(&self) {
        lock(&self.inbox).is_doubtful = true;
    }

    /// Writes what there is, on the thread.
    fn write(&self) {
        let written = &mut *lock(&self.spool);
        loop {
            let mut inbox = lock(&self.inbox);
            if inbox.lines.is_empty() {
                inbox.is_listed = false;
                return;
            }
            let bytes = inbox.lines.len_bytes();
            let count = inbox.lines.count_in(bytes);
            inbox.lines.hand_over(bytes, &mut written.spool.lines);
            let buffering = inbox.buffering;
            let is_doubtful = std::mem::take(&mut inbox.is_doubtful);
            drop(inbox);
            // However this ends, they wait no longer.
            let _taken = Taken {
                account: &self.account,
                bytes,
                count,
            };
            let opened = match self.opens {
                true => written.open(&self.path, is_doubtful),
                false => Ok(()),
            };
            if let Err(error) = opened {
                self.lose(&mut written.spool, "open()", &error);
            } else if let Err(error) = written.spool.write(0, buffering) {
                self.lose(&mut written.spool, "write() to", &error);
            }
            written.spool.shrink(0);
        }
    }

    /// Goes on after a panic of [`Queue::write`]: what that held is lost, which is counted and said, and the
    /// next line is written again.
    fn recover(&self, panic: &(dyn Any + Send)) {
        let written = &mut *lock(&self.spool);
        let begun = written.spool.give_up_begun();
        let lost = begun + written.spool.lines.shorten(0);
        let sink = std::mem::replace(&mut written.spool.sink, Sink::Closed);
        written.spool = Spool::new(sink);
        let said = panic.downcast_ref::<&str>().copied();
        let said = said.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let why = format!(
            "writing to \"{}\" panicked ({})",
            self.path.display(),
            said.unwrap_or("without a message")
        );
        self.account.lose(lost, why);
        lock(&self.inbox).is_listed = false;
    }

    fn lose(&self, spool: &mut Spool, what: &str, error: &io::Error) {
        self.note(spool.lines.shorten(0), what, error);
    }

    fn note(&self, lost: u64, what: &str, error: &io::Error) {
        if lost == 0 {
            return;
        }
        let (path, reason) = (shown_path(&self.path), error_text(error));
        let why = format!("{what} \"{path}\" failed ({reason})");
        self.account.lose(lost, why);
    }
}

/// Lines that were taken out of the inbox, for as long as they are being written.
struct Taken<'a> {
    account: &'a Account,
    bytes: usize,
    count: u64,
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.account.remove(self.bytes, self.count);
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let spool = &mut lock(&self.spool).spool;
        let lost = spool.give_up_begun();
        self.note(lost, "write() to", &cut_short());
    }
}

impl Written {
    /// Opens the file of a path, if it is not open; if it is `doubtful`, also where it is not the
    /// one of that name any more.
    fn open(&mut self, path: &Path, is_doubtful: bool) -> io::Result<()> {
        let is_open = !matches!(self.spool.sink, Sink::Closed);
        let now = || std::fs::metadata(path).ok().as_ref().map(identity);
        if is_open && !(is_doubtful && now() != self.identity) {
            return Ok(());
        }
        self.spool.sink = Sink::Closed;
        let file = file::open(path)?;
        self.identity = file.metadata().ok().as_ref().map(identity);
        self.spool.sink = Sink::of(Some(Arc::new(file)));
        Ok(())
    }
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The thread that writes to one disk.
struct Disk {
    work: Mutex<Work>,
    listed: Condvar,
}

#[derive(Default)]
struct Work {
    queues: VecDeque<Arc<Queue>>,
    has_thread: bool,
    is_asleep: bool,
}

impl Disk {
    /// That of a device; `None` is for the files whose device is not known before they are open.
    fn of(device: Option<u64>) -> Arc<Disk> {
        static DISKS: Mutex<Vec<(Option<u64>, Arc<Disk>)>> = Mutex::new(Vec::new());
        let mut disks = lock(&DISKS);
        if let Some((_, disk)) = disks.iter().find(|(known, _)| *known == device) {
            return disk.clone();
        }
        let disk = Arc::new(Disk {
            work: Mutex::default(),
            listed: Condvar::new(),
        });
        disks.push((device, disk.clone()));
        disk
    }

    /// Has the thread look at a queue, and begins it where there is none.
    ///
    /// Errors: those of pthread_create(3).
    fn list(self: &Arc<Disk>, queue: Arc<Queue>) -> io::Result<()> {
        let mut work = lock(&self.work);
        if !work.has_thread {
            let disk = self.clone();
            thread::Builder::new()
                .name("log".to_owned())
                .stack_size(STACK_BYTES)
                .spawn(move || disk.run())?;
            work.has_thread = true;
        }
        work.queues.push_back(queue);
        let is_asleep = std::mem::take(&mut work.is_asleep);
        drop(work);
        if is_asleep {
            self.listed.notify_one();
        }
        Ok(())
    }

    fn run(&self) {
        let mut work = lock(&self.work);
        loop {
            if work.queues.is_empty() {
                work.is_asleep = true;
                let waited = self
                    .listed
                    .wait_timeout_while(work, IDLE_MAX, |work| work.queues.is_empty());
                work = waited.unwrap_or_else(PoisonError::into_inner).0;
                work.is_asleep = false;
                if work.queues.is_empty() {
                    work.has_thread = false;
                    return;
                }
            }
            while let Some(queue) = work.queues.pop_front() {
                drop(work);
                // One that panics costs its own log alone, and of that what it was about to write.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| queue.write())) {
                    queue.recover(&*panic);
                    // Whatever it carries may panic in turn where it is dropped.
                    std::mem::forget(panic);
                }
                drop(queue);
                work = lock(&self.work);
            }
            drop(work);
            thread::sleep(PAUSE);
            work = lock(&self.work);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn lines(text: &[u8]) -> Lines {
        let mut lines = Lines::default();
        lines.append(|out| out.extend_from_slice(text));
        lines
    }

    #[test]
    fn a_panic_costs_what_was_being_written_and_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.log");
        let account = Account::new(None);
        let queue = Queue::of_path(path.clone(), account.clone());
        lock(&queue.spool).spool.sink = Sink::Panics;
        let until = |what: &str, condition: &dyn Fn() -> bool| {
            let start = Instant::now();
            while !condition() {
                assert!(start.elapsed().as_secs() < 30, "{what}");
                thread::sleep(PAUSE);
            }
        };
        queue.take(&mut lines(b"lost\n"), usize::MAX, None).unwrap();
        until("it is counted", &|| {
            account.losses().due_at(Instant::now()).is_some()
        });
        until("nothing waits", &|| account.waiting_lines() == 0);
        lock(&queue.spool).spool.sink = Sink::Closed;
        queue.take(&mut lines(b"kept\n"), usize::MAX, None).unwrap();
        let text = || std::fs::read_to_string(&path).unwrap_or_default();
        until("the next line is written", &|| text() == "kept\n");
    }
}
