//! What the operator sees: a line a second, or a table that is drawn anew on a terminal; and what
//! happened. A thread of its own writes it, so that a terminal that blocks holds up no loop.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::hall::Shared;

const PERIOD: Duration = Duration::from_secs(1);
/// Lines that wait to be written at most; what comes beyond is left out.
const LINES_MAX: usize = 1024;

/// What one loop counts. Its thread alone writes, so that no other's cache line is touched.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Counters {
    pub(crate) clients: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) kicked_flood: AtomicU64,
    pub(crate) kicked_slow: AtomicU64,
    pub(crate) kicked_idle: AtomicU64,
    pub(crate) kicked_other: AtomicU64,
    /// As of the last second.
    pub(crate) queued_bytes: AtomicU64,
}

/// Where lines for the operator go. From any thread; never blocks.
pub(crate) struct Console(SyncSender<String>);

/// What the console's thread is started with.
pub(crate) struct Lines(Receiver<String>);

pub(crate) fn console() -> (Console, Lines) {
    let (sender, receiver) = sync_channel(LINES_MAX);
    (Console(sender), Lines(receiver))
}

impl Console {
    pub(crate) fn say(&self, line: String) {
        // Full, or nobody writes any more: the counters know all the same.
        let _ = self.0.try_send(line);
    }
}

/// Starts the thread. It lives as long as the process.
pub(crate) fn start(lines: Lines, shared: &Arc<Shared>) -> io::Result<()> {
    let weak = Arc::downgrade(shared);
    let quiet = shared.options.quiet;
    let write = move || {
        let mut screen = Screen::new();
        let mut due = Instant::now() + PERIOD;
        loop {
            match lines
                .0
                .recv_timeout(due.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    // Nobody reads it: there is no one to tell.
                    let _ = writeln!(io::stderr(), "{line}");
                    // The table goes on below it.
                    screen.drawn = 0;
                }
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    due += PERIOD;
                    let Some(shared) = weak.upgrade() else { return };
                    ask_queued(&shared);
                    if !quiet && screen.draw(&shared).is_err() {
                        return;
                    }
                }
            }
        }
    };
    thread::Builder::new().name("console".into()).spawn(write)?;
    Ok(())
}

/// Has each loop note how much waits for its clients: seen a second later.
fn ask_queued(shared: &Arc<Shared>) {
    for number in 0..shared.counters.len() {
        shared.post(number, |hall| {
            let bytes = hall.queued_bytes();
            hall.counters().queued_bytes.store(bytes, Ordering::Relaxed);
        });
    }
}

/// One row: of a loop, or of all.
#[derive(Clone, Copy, Default)]
struct Row {
    clients: u64,
    requests: u64,
    sent: u64,
    refused: u64,
    lost: u64,
    flood: u64,
    slow: u64,
    idle: u64,
    other: u64,
    queued_bytes: u64,
}

impl Row {
    fn of(counters: &Counters) -> Row {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Row {
            clients: get(&counters.clients),
            requests: get(&counters.requests),
            sent: get(&counters.sent),
            refused: get(&counters.refused),
            lost: get(&counters.lost),
            flood: get(&counters.kicked_flood),
            slow: get(&counters.kicked_slow),
            idle: get(&counters.kicked_idle),
            other: get(&counters.kicked_other),
            queued_bytes: get(&counters.queued_bytes),
        }
    }

    fn plus(self, other: Row) -> Row {
        Row {
            clients: self.clients + other.clients,
            requests: self.requests + other.requests,
            sent: self.sent + other.sent,
            refused: self.refused + other.refused,
            lost: self.lost + other.lost,
            flood: self.flood + other.flood,
            slow: self.slow + other.slow,
            idle: self.idle + other.idle,
            other: self.other + other.other,
            queued_bytes: self.queued_bytes + other.queued_bytes,
        }
    }
}

/// The statistics, second by second.
struct Screen {
    begun: Instant,
    last_at: Instant,
    last: Vec<Row>,
    table: bool,
    /// Lines of the table that stand on the terminal.
    drawn: usize,
}

impl Screen {
    fn new() -> Screen {
        Screen {
            begun: Instant::now(),
            last_at: Instant::now(),
            last: Vec::new(),
            table: io::stdout().is_terminal(),
            drawn: 0,
        }
    }

    fn draw(&mut self, shared: &Shared) -> io::Result<()> {
        let seconds = self.last_at.elapsed().as_secs_f64();
        self.last_at = Instant::now();
        let mut rows: Vec<Row> = shared.counters.iter().map(Row::of).collect();
        rows.push(rows.iter().copied().fold(Row::default(), Row::plus));
        self.last.resize(rows.len(), Row::default());
        let text = if self.table {
            self.table(shared, &rows, seconds)
        } else {
            self.line(shared, rows[rows.len() - 1], seconds)
        };
        self.last = rows;
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    fn line(&self, shared: &Shared, all: Row, seconds: f64) -> String {
        let last = self.last[self.last.len() - 1];
        let pool = shared.pool.stats();
        format!(
            "{:.0} s: {} clients, {:.0} requests/s, {:.0} sent/s, {} B queued, {} lost, {} refused, \
             kicked {} flood {} slow {} idle {} other, pool {} queued {} running, {} KiB resident\n",
            self.begun.elapsed().as_secs_f64(),
            all.clients,
            rate(all.requests, last.requests, seconds),
            rate(all.sent, last.sent, seconds),
            all.queued_bytes,
            all.lost,
            all.refused,
            all.flood,
            all.slow,
            all.idle,
            all.other,
            pool.queued,
            pool.running,
            resident_kib(),
        )
    }

    fn table(&mut self, shared: &Shared, rows: &[Row], seconds: f64) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\x1b[J", self.drawn);
        }
        let begun = text.lines().count();
        let _ = writeln!(
            text,
            "{:>6} {:>8} {:>11} {:>9} {:>11} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6} {:>12}",
            "loop",
            "clients",
            "requests/s",
            "sent/s",
            "B queued",
            "lost",
            "refused",
            "flood",
            "slow",
            "idle",
            "other",
            "longest turn"
        );
        let loops = shared.loops.get().map(Vec::as_slice).unwrap_or_default();
        for (number, row) in rows.iter().enumerate() {
            let last = self.last[number];
            let turn = loops.get(number).map(|handle| handle.stats().longest_turn);
            let name = if turn.is_some() {
                number.to_string()
            } else {
                "all".into()
            };
            let _ = writeln!(
                text,
                "{name:>6} {:>8} {:>11.0} {:>9.0} {:>11} {:>8} {:>8} {:>6} {:>6} {:>6} {:>6} {:>12}",
                row.clients,
                rate(row.requests, last.requests, seconds),
                rate(row.sent, last.sent, seconds),
                row.queued_bytes,
                row.lost,
                row.refused,
                row.flood,
                row.slow,
                row.idle,
                row.other,
                turn.map_or(String::new(), |turn| format!("{turn:.1?}")),
            );
        }
        let pool = shared.pool.stats();
        let _ = writeln!(
            text,
            "{:.0} s; pool: {} queued, {} running, {} done, longest {:.1?}; {} KiB resident",
            self.begun.elapsed().as_secs_f64(),
            pool.queued,
            pool.running,
            pool.done,
            pool.longest,
            resident_kib(),
        );
        self.drawn = text.lines().count() - begun;
        text
    }
}

fn rate(now: u64, before: u64, seconds: f64) -> f64 {
    (now - before) as f64 / seconds.max(1e-3)
}

/// Resident memory of this process (`VmRSS` of proc(5)); 0 where the system does not say.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0)
}

/// The last line, when all is over.
pub(crate) fn farewell(shared: &Shared) -> String {
    let rows = shared.counters.iter().map(Row::of);
    let all = rows.fold(Row::default(), Row::plus);
    let lines = shared.archive_lost.load(Ordering::Relaxed);
    format!(
        "stopped after {} requests and {} messages sent; {} lost, {lines} not archived; \
         kicked {} flood {} slow {} idle {} other",
        all.requests, all.sent, all.lost, all.flood, all.slow, all.idle, all.other
    )
}
