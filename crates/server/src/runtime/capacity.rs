//! Capacity for connections: how many a worker takes, and what happens when there are no more.
//!
//! A client that finds no room waits, and others make way for it in this order: connections that
//! have idled for a while are closed, a share at a time and longest idle first; those that are served are told `Connection: close` with
//! their next response; at last the one that has idled longest is closed, however short that was.
//! So all are served in turn, and no request that was read goes without its answer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use revolve_reactor::LoopHandle;
use rustix::process::{Resource, getrlimit};

use crate::config::Base;
use crate::log::Level;
use crate::runtime::loop_state::LoopState;

/// A connection that idled so long makes way for a new one at once.
pub(crate) const LONG_IDLE: Duration = Duration::from_secs(1);

/// Of the connections that have idled for a while so many make way at a time, and one in so many of them:
/// all at once would come back all at once. Source: nginx's `ngx_drain_connections`.
const SHARE_MAX: usize = 32;
const SHARE_PART: usize = 8;

/// How many of the connections that idle make way, those first that have idled longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// All.
    All,
    /// Some, and if there are any one.
    Share,
    /// The one that has idled longest.
    Longest,
}

impl Idle {
    pub(crate) fn count(self, idle: usize) -> usize {
        match self {
            Idle::All => idle,
            Idle::Share => (idle / SHARE_PART).clamp(1, SHARE_MAX).min(idle),
            Idle::Longest => idle.min(1),
        }
    }
}

/// How often a lack of room is complained about.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Descriptors that are kept from connections at most: for files that are being sent, logs that
/// are reopened, a reload.
const SPARE_MAX: u64 = 64;

/// The room of one loop. What all loops of a worker share is whether somebody waits.
pub(crate) struct Capacity {
    connections_max: Cell<usize>,
    /// Whether the limit of open files allows fewer connections than the configuration.
    short_of_descriptors: Cell<bool>,
    pressed: Arc<AtomicBool>,
    /// The loop of the worker that accepts.
    acceptor: LoopHandle,
    ended: RefCell<Vec<Waker>>,
    complained_at: Cell<Option<Instant>>,
}

impl Capacity {
    pub(crate) fn new(pressed: Arc<AtomicBool>, acceptor: LoopHandle) -> Self {
        Self {
            connections_max: Cell::new(usize::MAX),
            short_of_descriptors: Cell::new(false),
            pressed,
            acceptor,
            ended: RefCell::default(),
            complained_at: Cell::new(None),
        }
    }

    /// Takes `worker_connections`, or as many as the limit of descriptors leaves when
    /// `connections` are open.
    pub(crate) fn measure(&self, base: &Base, connections: usize) {
        let wanted = base.process.connections_max();
        let left = descriptors_left(connections).unwrap_or(usize::MAX);
        self.connections_max.set(wanted.min(left).max(1));
        self.short_of_descriptors.set(left < wanted);
    }

    pub(crate) fn connections_max(&self) -> usize {
        self.connections_max.get()
    }

    /// Why there is no more room, and what to raise.
    pub(crate) fn shortage(&self) -> String {
        let connections = self.connections_max.get();
        if self.short_of_descriptors.get() {
            return format!(
                "the limit of open files leaves room for {connections} connections, raise \
                 worker_rlimit_nofile"
            );
        }
        format!("{connections} worker_connections are not enough")
    }

    /// Whether a client waits for room, so that no connection is kept past its response.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pressed(&self, pressed: bool) {
        self.pressed.store(pressed, Ordering::Relaxed);
    }

    /// A connection ended: whoever waits looks again.
    pub(crate) fn note_end(&self) {
        for waker in self.ended.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// The loop that accepts, where it is another and waits for a connection to end.
    pub(crate) fn acceptor_waiting_elsewhere(&self) -> Option<&LoopHandle> {
        (self.is_pressed() && !self.acceptor.is_in_loop_thread()).then_some(&self.acceptor)
    }

    /// Waits until a connection ends that this loop hears of.
    pub(crate) async fn connection_ended(&self) {
        let mut registered = false;
        poll_fn(|cx| {
            if registered {
                return Poll::Ready(());
            }
            registered = true;
            self.ended.borrow_mut().push(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Whether to complain now: once a second at most.
    pub(crate) fn complaint_is_due(&self) -> bool {
        let now = revolve_reactor::now();
        let at = self.complained_at.get();
        let due = at.is_none_or(|at| now - at >= COMPLAINT_INTERVAL);
        if due {
            self.complained_at.set(Some(now));
        }
        due
    }
}

impl LoopState {
    /// Looks again how many connections there is room for.
    pub(crate) fn measure_capacity(&self) {
        let installed = self.installed();
        self.capacity
            .measure(&installed.base, self.connection_count());
    }

    /// Complains, once a second at most, that connections have to wait.
    pub(crate) fn complain_of_capacity(&self, why: &str) {
        if self.capacity.complaint_is_due() {
            let count = self.connection_count();
            self.log(
                Level::Alert,
                format_args!("{why}; {count} connections are open, new ones wait until one ends"),
            );
        }
    }
}

/// The soft limit of open files, less what is open besides connections, less some to spare.
/// `None` where the system does not tell.
fn descriptors_left(connections: usize) -> Option<usize> {
    let limit = getrlimit(Resource::Nofile).current?;
    // The folder that is being read is one of them.
    let open = std::fs::read_dir("/proc/self/fd").ok()?.count() as u64 - 1;
    let others = open.saturating_sub(connections as u64);
    usize::try_from(limit.saturating_sub(others + spare(limit))).ok()
}

fn spare(limit: u64) -> u64 {
    (limit / 8).min(SPARE_MAX)
}

/// Connections that may be accepted in one go: they are not counted yet, and must not take more
/// than half of what is kept spare.
pub(crate) fn batch_max(wanted: u32) -> u32 {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let half = u32::try_from(spare(limit) / 2).unwrap_or(u32::MAX);
    wanted.min(half).max(1)
}

#[cfg(test)]
mod tests {
    use super::Idle;

    #[test]
    fn a_share_is_some_of_many_and_one_of_few() {
        let shares = [0, 1, 7, 16, 100, 255, 256, 100_000].map(|idle| Idle::Share.count(idle));
        assert_eq!(shares, [0, 1, 1, 2, 12, 31, 32, 32]);
        assert_eq!([0, 1, 9].map(|idle| Idle::Longest.count(idle)), [0, 1, 1]);
        assert_eq!(Idle::All.count(9), 9);
    }
}
