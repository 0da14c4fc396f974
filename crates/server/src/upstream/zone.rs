//! What all workers know of the peers of their groups.
//!
//! A peer has a row of words, found by its group's name and its address. Connections under way lie beside
//! it, in a column a worker, so that what a dead worker had is taken back. A row that no loop holds any
//! more may be given to another peer.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

use revolve_shm::{AtomicArray, Spacing, ZoneError};

use crate::zones::{ZoneId, ZoneKind, ZoneSpec, ZoneState, Zones, columns_for};

/// Words of a peer's row.
pub(super) const ROW_WORDS: usize = 16;
/// What the row is of: a hash that is never 0 for one in use.
const NAME: usize = 0;
const NAME_2: usize = 1;
/// Failures within `fail_timeout`.
pub(super) const FAILS: usize = 2;
/// When it failed last, in milliseconds of the monotonic clock.
pub(super) const FAILED_AT: usize = 3;
/// When it was last given a chance after failures.
pub(super) const CHECKED_AT: usize = 4;
/// What an operator has said of it.
pub(super) const ORDER: usize = 5;
/// What health checks say of it.
pub(super) const HEALTH: usize = 6;
/// Since when it is back, for `slow_start`; 0 where it never was away.
pub(super) const BACK_SINCE: usize = 7;
/// How long its heads and its answers take, in microseconds, as a moving average.
pub(super) const HEADER_TIME: usize = 8;
pub(super) const ANSWER_TIME: usize = 9;
/// Requests that it was asked, and tries that have failed.
pub(super) const REQUESTS: usize = 10;
pub(super) const FAILURES: usize = 11;

/// Who does something for all workers, and when that one has said so last.
const LEADER: usize = 12;
const LED_AT: usize = 13;

/// Of a group's row: the span of time that is counted in, what it has had of requests and of repetitions, that
/// one and the one before, and repetitions that were refused.
pub(super) const BUDGET_SPAN: usize = 2;
pub(super) const BUDGET_REQUESTS: [usize; 2] = [3, 4];
pub(super) const BUDGET_RETRIES: [usize; 2] = [5, 6];
pub(super) const BUDGET_REFUSED: usize = 7;

/// A row is being given to another peer.
const CHANGING: u64 = 1;
/// How long such a row is waited for, in turns of other threads; a worker may have died over it.
const CHANGES_WAITED: usize = 100;
/// How often a row is looked for where others take theirs at the same time.
const TRIES_MAX: usize = 100;
/// A column's word: how many loops hold the row above, connections below.
const HOLDER: u64 = 1 << 32;
/// Bytes of a zone that a peer takes, about what one takes in nginx.
const PEER_BYTES: u64 = 512;
/// Raised when a word changes its meaning.
const SCHEMA: u64 = 1;

/// The directive that declares such a zone.
pub(crate) const ZONE: &str = "zone";
/// The zone of the groups that name none, and its size.
pub(crate) const UNNAMED: (&str, u64) = ("groups without a zone", 256 << 10);

/// Peers' rows in a zone.
#[derive(Debug)]
pub(crate) struct PeersZone;

impl ZoneKind for PeersZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    /// How many workers, old ones that end among them, can count in it.
    fn layout(&self, workers: usize) -> u64 {
        columns_for(workers) as u64
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let columns = spec.layout as usize;
        let rows = usize::try_from(spec.bytes / PEER_BYTES).unwrap_or(usize::MAX);
        let words = rows.saturating_mul(ROW_WORDS + columns);
        let array = AtomicArray::create(&spec.name, words, Spacing::Packed, SCHEMA)?;
        Ok(Box::new(PeerRows::new(array, columns)))
    }

    fn open(&self, file: OwnedFd, layout: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        let array = AtomicArray::open(file, SCHEMA)?;
        Ok(Box::new(PeerRows::new(array, layout as usize)))
    }
}

/// The rows of peers.
#[derive(Debug)]
pub(crate) struct PeerRows {
    array: AtomicArray,
    columns: usize,
    rows: usize,
}

impl PeerRows {
    fn new(array: AtomicArray, columns: usize) -> Self {
        let rows = array.len() / (ROW_WORDS + columns);
        Self {
            array,
            columns,
            rows,
        }
    }

    fn word(&self, row: usize, word: usize) -> &AtomicU64 {
        let word = self.array.get(row * ROW_WORDS + word);
        word.expect("a row lies within the zone")
    }

    fn column(&self, row: usize, worker: usize) -> &AtomicU64 {
        let at = self.rows * ROW_WORDS + worker * self.rows + row;
        self.array.get(at).expect("a column lies within the zone")
    }

    fn sum(&self, row: usize) -> (u64, u64) {
        let words = (0..self.columns).map(|worker| self.column(row, worker).load(SeqCst));
        words.fold((0, 0), |(holders, connections), word| {
            (holders + (word >> 32), connections + (word & (HOLDER - 1)))
        })
    }

    /// The row of a peer, held by a loop of this worker from now on; nothing where all are in use.
    ///
    /// Workers that begin at the same time may each give the same peer a row: the first in order is the one,
    /// and whoever took another goes over to it.
    fn hold(&self, name: u128, worker: usize) -> Option<usize> {
        if worker >= self.columns {
            return None;
        }
        let name = [name as u64 & !CHANGING | 2, (name >> 64) as u64];
        for _ in 0..TRIES_MAX {
            let row = match self.first_of(name) {
                Some(row) => {
                    self.column(row, worker).fetch_add(HOLDER, SeqCst);
                    row
                }
                None => match self.free().filter(|row| self.take(*row, name, worker)) {
                    Some(row) => row,
                    None if self.free().is_none() => return None,
                    None => continue,
                },
            };
            // Held first, looked at again: whoever takes it away does it the other way round.
            if self.first_of(name) == Some(row) {
                return Some(row);
            }
            self.column(row, worker).fetch_sub(HOLDER, SeqCst);
        }
        None
    }

    /// The first row of a name. One before it that is being given away may become that, and is waited for.
    fn first_of(&self, name: [u64; 2]) -> Option<usize> {
        (0..self.rows).find(|row| {
            let first = self.word(*row, NAME);
            for _ in 0..CHANGES_WAITED {
                if first.load(SeqCst) != CHANGING {
                    break;
                }
                std::thread::yield_now();
            }
            first.load(SeqCst) == name[0] && self.word(*row, NAME_2).load(SeqCst) == name[1]
        })
    }

    /// A row that is of nobody, or that nobody holds. One that a worker has died over stays as it is.
    fn free(&self) -> Option<usize> {
        let is_unused = |row: &usize| self.word(*row, NAME).load(SeqCst) == 0;
        let is_idle =
            |row: &usize| self.word(*row, NAME).load(SeqCst) != CHANGING && self.sum(*row).0 == 0;
        let unused = (0..self.rows).find(is_unused);
        unused.or_else(|| (0..self.rows).find(is_idle))
    }

    /// Makes a row that nobody holds another peer's.
    fn take(&self, row: usize, name: [u64; 2], worker: usize) -> bool {
        let first = self.word(row, NAME);
        let before = first.load(SeqCst);
        if before == CHANGING
            || first
                .compare_exchange(before, CHANGING, SeqCst, SeqCst)
                .is_err()
        {
            return false;
        }
        if self.sum(row).0 != 0 {
            first.store(before, SeqCst);
            return false;
        }
        for word in FAILS..ROW_WORDS {
            self.word(row, word).store(0, Relaxed);
        }
        self.column(row, worker).fetch_add(HOLDER, SeqCst);
        self.word(row, NAME_2).store(name[1], SeqCst);
        first.store(name[0], SeqCst);
        true
    }
}

impl ZoneState for PeerRows {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.array.descriptor()
    }

    fn take_back(&self, worker: usize) {
        if worker < self.columns {
            for row in 0..self.rows {
                self.column(row, worker).store(0, SeqCst);
                let leader = self.word(row, LEADER);
                let led = leader.load(SeqCst);
                if led >> 32 == worker as u64 + 1 {
                    // Somebody else may be the leader by now, which stays so.
                    let _ = leader.compare_exchange(led, 0, SeqCst, SeqCst);
                }
            }
        }
    }
}

/// Where a loop's peers have their rows.
#[derive(Clone)]
pub(crate) struct Home {
    pub(crate) zones: Arc<Zones>,
    pub(crate) worker: usize,
}

/// A peer's row, as one loop holds it.
pub(super) enum Row {
    /// Among those of all workers.
    Shared {
        home: Home,
        zone: ZoneId,
        row: usize,
    },
    /// This loop's own: of a peer that a request has made, or where the zone is full.
    Own {
        words: [AtomicU64; ROW_WORDS],
        connections: AtomicU64,
    },
}

impl Row {
    /// The row of a peer, by a name that no other has.
    pub(super) fn shared(home: &Home, zone: ZoneId, name: u128) -> Option<Self> {
        let row = home.zones.state::<PeerRows>(zone).hold(name, home.worker)?;
        let home = home.clone();
        Some(Self::Shared { home, zone, row })
    }

    pub(super) fn own() -> Self {
        Self::Own {
            words: Default::default(),
            connections: AtomicU64::new(0),
        }
    }

    pub(super) fn word(&self, word: usize) -> &AtomicU64 {
        match self {
            Row::Shared { home, zone, row } => home.zones.state::<PeerRows>(*zone).word(*row, word),
            Row::Own { words, .. } => &words[word],
        }
    }

    /// Connections under way, over all workers.
    pub(super) fn connections(&self) -> u64 {
        match self {
            Row::Shared { home, zone, row } => home.zones.state::<PeerRows>(*zone).sum(*row).1,
            Row::Own { connections, .. } => connections.load(Relaxed),
        }
    }

    /// The word that this worker's connections are counted in.
    fn counter(&self) -> &AtomicU64 {
        match self {
            Row::Shared { home, zone, row } => {
                let rows = home.zones.state::<PeerRows>(*zone);
                rows.column(*row, home.worker)
            }
            Row::Own { connections, .. } => connections,
        }
    }

    pub(super) fn begin(&self) {
        self.counter().fetch_add(1, SeqCst);
    }

    pub(super) fn end(&self) {
        self.counter().fetch_sub(1, SeqCst);
    }
}

static LOOPS: AtomicU64 = AtomicU64::new(1);

/// What one loop of all workers does, such as the health checks of a group: it leads for as long as it says
/// so often enough, and another takes over where it does not.
pub(crate) struct Leadership {
    row: Row,
    name: u64,
    patience_ms: u64,
}

impl Leadership {
    /// Of something by a name that nothing else has; `None` where the zone has no room.
    pub(crate) fn new(home: &Home, zone: ZoneId, name: u128, patience_ms: u64) -> Option<Self> {
        let number = LOOPS.fetch_add(1, Relaxed) & 0xffff_ffff;
        Some(Self {
            row: Row::shared(home, zone, name)?,
            name: (home.worker as u64 + 1) << 32 | number,
            patience_ms,
        })
    }

    /// Whether this loop leads now, which it says thereby.
    pub(crate) fn leads(&self, now_ms: u64) -> bool {
        let (leader, led_at) = (self.row.word(LEADER), self.row.word(LED_AT));
        let known = leader.load(SeqCst);
        let is_late = now_ms.saturating_sub(led_at.load(SeqCst)) > self.patience_ms;
        if known != self.name {
            let is_free = known == 0 || is_late;
            let taken = is_free
                && leader
                    .compare_exchange(known, self.name, SeqCst, SeqCst)
                    .is_ok();
            if !taken {
                return false;
            }
        }
        led_at.store(now_ms, SeqCst);
        true
    }
}

impl Drop for Leadership {
    fn drop(&mut self) {
        let leader = self.row.word(LEADER);
        let _ = leader.compare_exchange(self.name, 0, SeqCst, SeqCst);
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        if let Row::Shared { home, zone, row } = self {
            let rows = home.zones.state::<PeerRows>(*zone);
            rows.column(*row, home.worker).fetch_sub(HOLDER, SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(bytes: u64) -> PeerRows {
        let spec = ZoneSpec {
            name: "test".into(),
            bytes,
            layout: 8,
            kind: Box::new(PeersZone),
        };
        let array = AtomicArray::create(
            &spec.name,
            (bytes / PEER_BYTES) as usize * 24,
            Spacing::Packed,
            SCHEMA,
        );
        PeerRows::new(array.unwrap(), 8)
    }

    #[test]
    fn a_peer_has_one_row_for_all_workers_and_the_dead_are_taken_back() {
        let rows = rows(2048);
        assert_eq!(rows.rows, 4);
        let held = rows.hold(7 << 64, 0).unwrap();
        assert_eq!(rows.hold(7 << 64, 1), Some(held));
        rows.column(held, 0).fetch_add(3, SeqCst);
        rows.column(held, 1).fetch_add(2, SeqCst);
        assert_eq!(rows.sum(held), (2, 5));
        rows.take_back(0);
        assert_eq!(rows.sum(held), (1, 2));
        rows.word(held, FAILS).store(9, SeqCst);
        // As many as there is room for; then one that nobody holds is given away, emptied.
        for name in 10..13_u128 {
            assert!(rows.hold(name << 64, 1).is_some());
        }
        assert_eq!(rows.hold(99 << 64, 1), None);
        rows.take_back(1);
        let again = rows.hold(99 << 64, 1).unwrap();
        assert_eq!(rows.word(again, FAILS).load(SeqCst), 0);
        assert_eq!(
            rows.hold(0, 8),
            None,
            "a worker without a column has its own"
        );
    }

    #[test]
    fn workers_that_begin_together_find_the_same_row() {
        let rows = rows(64 << 10);
        for name in 1..200_u128 {
            let found: Vec<Option<usize>> = std::thread::scope(|scope| {
                let begin = |worker| {
                    let rows = &rows;
                    scope.spawn(move || rows.hold((name % 50) << 64, worker))
                };
                let threads: Vec<_> = (0..4).map(begin).collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            assert!(
                found[0].is_some() && found.iter().all(|it| *it == found[0]),
                "{found:?}"
            );
        }
    }
}
