//! What is counted over all workers: connections in a row a worker, requests in a row a loop.
//!
//! Each row lies on cache lines of its own, so that counting waits for no other processor. What is
//! under way belongs to its row: when its worker dies, it is taken back with the row.

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;

use revolve_shm::{CounterSlot, Counters, ZoneError};

use crate::zones::Zones;
use crate::zones::kind::{ZoneKind, ZoneSpec, ZoneState};

/// Rows of workers, those that end beside their successors included.
const WORKERS_MAX: usize = 4096;
/// Rows of loops.
const LOOPS_MAX: usize = 16_384;
/// Raised when a counter changes its meaning.
const SCHEMA: u64 = 2;

/// Connections accepted.
const ACCEPTS: usize = 0;
/// Connections that a loop took over.
const HANDLED: usize = 1;
/// Connections that are open.
const ACTIVE: usize = 2;
/// Connections that other workers have sent and that were not received yet, about.
const OFFERED: usize = 3;
/// Who this worker is to those that send it connections; 0 while it takes none.
const TAKES_AS: usize = 4;
/// Since when one of those that were sent lies there, in milliseconds; 0 where none does.
const OFFERED_SINCE: usize = 5;
const WORKER_COUNTERS: usize = 6;

/// Requests begun.
const REQUESTS: usize = 0;
/// Requests that wait for something.
const BUSY: usize = 1;
/// Those of them that wait for the rest of their head.
const READING: usize = 2;
const LOOP_COUNTERS: usize = 3;

fn create_workers() -> Result<Counters, ZoneError> {
    Counters::create("workers", WORKER_COUNTERS, WORKERS_MAX, SCHEMA)
}

fn create_loops() -> Result<Counters, ZoneError> {
    Counters::create("loops", LOOP_COUNTERS, LOOPS_MAX, SCHEMA)
}

/// The counts of the workers: in every configuration.
#[derive(Debug)]
pub(super) struct WorkerRows;

/// The counts of their loops: in every configuration.
#[derive(Debug)]
pub(super) struct LoopRows;

/// Rows of counters.
#[derive(Debug)]
pub(super) struct CountsZone(pub(super) Arc<Counters>);

impl CountsZone {
    fn boxed(counters: Result<Counters, ZoneError>) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Self(Arc::new(counters?))))
    }
}

impl ZoneState for CountsZone {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

impl ZoneKind for WorkerRows {
    fn directive(&self) -> &'static str {
        "worker counts"
    }

    fn create(&self, _: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        CountsZone::boxed(create_workers())
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        CountsZone::boxed(Counters::open(file, SCHEMA))
    }
}

impl ZoneKind for LoopRows {
    fn directive(&self) -> &'static str {
        "loop counts"
    }

    fn create(&self, _: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        CountsZone::boxed(create_loops())
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        CountsZone::boxed(Counters::open(file, SCHEMA))
    }
}

/// Zeroes what a worker that is gone had under way.
pub(super) fn settle_worker(slot: &CounterSlot) {
    for gauge in [TAKES_AS, ACTIVE, OFFERED, OFFERED_SINCE] {
        slot.set(gauge, 0);
    }
}

/// The same for a loop.
pub(super) fn settle_loop(slot: &CounterSlot) {
    for gauge in [BUSY, READING] {
        slot.set(gauge, 0);
    }
}

/// A worker's own row, and its number among all workers. All its loops share it.
///
/// It is given back by the process's end, never before: what its requests hold in limits is known
/// by its number, and is taken back together with it.
#[derive(Debug)]
pub(crate) struct Seat {
    row: ManuallyDrop<CounterSlot>,
    /// No number where the row is in no zone of all workers.
    is_shared: bool,
}

impl Seat {
    /// Takes a row; where all belong to live workers, one that nobody else sees.
    pub(crate) fn take(zones: &Zones) -> Result<Self, ZoneError> {
        let (row, is_shared) = match zones.worker_counts().claim() {
            Ok(row) => (row, true),
            Err(_) => (alone(create_workers()?), false),
        };
        if is_shared && row.is_from_dead() {
            zones.take_back(row.number());
        }
        settle_worker(&row);
        let row = ManuallyDrop::new(row);
        Ok(Self { row, is_shared })
    }

    /// The worker's number, by which it counts in limits; larger than any where it has none.
    pub(crate) fn number(&self) -> usize {
        if self.is_shared {
            self.row.number()
        } else {
            usize::MAX
        }
    }

    /// A connection was accepted.
    pub(crate) fn note_accepted(&self) {
        self.row.add(ACCEPTS, 1);
        self.row.add(ACTIVE, 1);
    }

    /// A connection was received from another worker, or comes back because none would take it.
    pub(crate) fn note_received(&self) {
        self.row.add(ACTIVE, 1);
    }

    /// A loop has taken a connection over.
    pub(crate) fn note_handled(&self) {
        self.row.add(HANDLED, 1);
    }

    /// A connection is gone: closed, or sent to another worker.
    pub(crate) fn note_left(&self) {
        self.row.sub(ACTIVE, 1);
    }

    /// Connections that this worker has, those included that wait for room.
    pub(crate) fn active(&self) -> u64 {
        self.row.value(ACTIVE)
    }

    /// Whether this worker takes connections from others, and as whom: never 0.
    pub(crate) fn set_takes_as(&self, name: Option<u64>) {
        self.row.set(TAKES_AS, name.unwrap_or(0));
    }

    /// Nothing that was sent is left to be received.
    pub(crate) fn clear_offered(&self) {
        self.row.set(OFFERED, 0);
        self.row.set(OFFERED_SINCE, 0);
    }

    /// Is about to send another worker a connection, at a time in milliseconds. Before it is sent, so that
    /// whoever receives it finds it noted.
    pub(crate) fn note_offered(&self, row: usize, now_ms: u64) {
        let counters = self.row.counters();
        counters.add_to(row, OFFERED, 1);
        if counters.value(row, OFFERED_SINCE) == 0 {
            counters.set_at(row, OFFERED_SINCE, now_ms.max(1));
        }
    }

    /// Another worker's inbox was emptied by this one; what it is left with is no connection, and stands for
    /// its being late until it says otherwise.
    pub(crate) fn note_taken_back(&self, row: usize) {
        self.row.counters().set_at(row, OFFERED, 1);
    }

    /// The other workers that take connections.
    pub(crate) fn takers(&self) -> impl Iterator<Item = Taker> {
        let counters = self.row.counters();
        let others = (0..counters.used()).filter(|row| *row != self.number());
        others.filter_map(|row| {
            let name = counters.value(row, TAKES_AS);
            let offered = counters.value(row, OFFERED);
            let taker = Taker {
                row,
                name,
                load: counters.value(row, ACTIVE) + offered,
                offered,
                offered_since_ms: match offered {
                    0 => 0,
                    _ => counters.value(row, OFFERED_SINCE),
                },
            };
            (name != 0 && counters.is_claimed(row)).then_some(taker)
        })
    }
}

/// A worker that takes connections from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taker {
    /// Its row among the counts.
    pub(crate) row: usize,
    /// As whom it takes them.
    pub(crate) name: u64,
    /// How many it has, or was sent.
    pub(crate) load: u64,
    /// How many of them it was sent and has not received yet, about.
    pub(crate) offered: u64,
    /// Since when one of them lies untaken, in milliseconds; 0 where none does.
    pub(crate) offered_since_ms: u64,
}

/// A row of counters that nobody else has.
fn alone(counters: Counters) -> CounterSlot {
    let row = Arc::new(counters).claim();
    row.expect("all rows of new counters are free")
}

/// A loop's own row.
#[derive(Debug)]
pub(crate) struct LoopCounts {
    row: ManuallyDrop<CounterSlot>,
    /// What the row had counted before this loop took it.
    requests_before: u64,
}

impl LoopCounts {
    /// Takes a row, as [`Seat::take`] does.
    pub(crate) fn take(zones: &Zones) -> Result<Self, ZoneError> {
        let slot = match zones.loop_counts().claim() {
            Ok(slot) => slot,
            Err(_) => alone(create_loops()?),
        };
        settle_loop(&slot);
        Ok(Self {
            requests_before: slot.value(REQUESTS),
            row: ManuallyDrop::new(slot),
        })
    }

    /// A request has begun. This is all that a request costs which is answered at once.
    #[inline]
    pub(crate) fn note_request(&self) {
        self.row.add_alone(REQUESTS, 1);
    }

    /// Requests begun since the loop was built.
    pub(crate) fn requests(&self) -> u64 {
        self.row.value(REQUESTS).wrapping_sub(self.requests_before)
    }

    /// A request begins to wait for something: in the loop's mark of its connection, once.
    #[inline]
    pub(crate) fn begin_busy(&self, mark: &Cell<bool>) {
        if !mark.replace(true) {
            self.row.add(BUSY, 1);
        }
    }

    /// The requests of a connection are done, or given up.
    #[inline]
    pub(crate) fn end_busy(&self, mark: &Cell<bool>) {
        if mark.replace(false) {
            self.row.sub(BUSY, 1);
        }
    }

    /// Counts a request that waits for the rest of its head, until the answer is dropped.
    pub(crate) fn reading(self: &Rc<Self>) -> Reading {
        self.row.add(READING, 1);
        Reading(Rc::clone(self))
    }
}

/// A request that waits for the rest of its head.
pub(crate) struct Reading(Rc<LoopCounts>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.row.sub(READING, 1);
    }
}

/// What `stub_status` shows, over all workers. The numbers are not of one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) accepts: u64,
    pub(crate) handled: u64,
    pub(crate) requests: u64,
    /// Connections that are open.
    pub(crate) active: u64,
    /// Connections whose request's head is being read.
    pub(crate) reading: u64,
    /// Connections whose request is being answered.
    pub(crate) writing: u64,
    /// Connections that wait for a request.
    pub(crate) waiting: u64,
}

impl Totals {
    /// Adds the rows up; `asking` is the mark of the connection that asks, whose request is under
    /// way and counts as being answered.
    pub(crate) fn of(zones: &Zones, asking: &Cell<bool>) -> Self {
        let (workers, loops) = (zones.worker_counts(), zones.loop_counts());
        // Another worker may change a row between two reads: what is under way may then seem to be
        // less than none, or more than there is.
        let at_least_0 = |count: u64| (count as i64).max(0) as u64;
        let own = u64::from(!asking.get());
        let active = at_least_0(workers.sum(ACTIVE));
        let reading = at_least_0(loops.sum(READING));
        let writing = at_least_0((loops.sum(BUSY) + own).wrapping_sub(reading));
        Self {
            accepts: workers.sum(ACCEPTS),
            handled: workers.sum(HANDLED),
            requests: loops.sum(REQUESTS),
            active,
            reading,
            writing,
            waiting: active.saturating_sub(reading + writing),
        }
    }
}
