//! Draining: a worker ends when its connections have, and each ends when it may.
//!
//! Idle connections are closed after a second, or handed off to the workers of another binary where
//! there are some; the others are told `Connection: close` with their next response.

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::capacity::Idle;
use crate::runtime::connection::Connection;
use crate::runtime::loop_state::LoopState;

/// How long a connection must have idled to be closed. The request of a client that asks again at once
/// may be on its way: it is answered, with `Connection: close`.
pub(super) const IDLE_MIN: Duration = Duration::from_secs(1);

/// How many connections are told at a time that they may go: about as many as the socket holds.
const HANDED_OFF_AT_ONCE: usize = 512;

/// How far a loop is on its way to its end.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Stage {
    /// It serves.
    #[default]
    Serving,
    /// Its connections end, and nobody takes them.
    Closing,
    /// Idle connections go to the workers of another binary.
    HandingOff,
    /// The same, and those workers have as many in their socket as it holds.
    HandoffFull,
}

/// What a loop knows of its own end.
#[derive(Default)]
pub(crate) struct Draining {
    pub(super) stage: Cell<Stage>,
    /// The socket to the workers of another binary.
    pub(super) successors: RefCell<Option<Arc<OwnedFd>>>,
    /// Whether clients that ask ahead of the answers have had their time.
    pipelining_ends: Cell<bool>,
}

impl Draining {
    /// Whether the worker is ending and nobody takes its connections, so that none is kept.
    pub(super) fn is_closing(&self) -> bool {
        self.stage.get() == Stage::Closing
    }
}

impl LoopState {
    /// Whether the worker is ending and nobody takes its connections, so that none is kept.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_closing()
    }

    /// Whether the worker is ending, whoever takes its connections.
    pub(crate) fn is_ending(&self) -> bool {
        self.draining.stage.get() != Stage::Serving
    }

    /// Whether a connection that waits for a request ends, as nobody misses it and nobody can take it over.
    pub(crate) fn ends_idle(&self, connection: &Connection) -> bool {
        let has_successors = matches!(
            self.draining.stage.get(),
            Stage::HandingOff | Stage::HandoffFull
        );
        has_successors && connection.idle_for().is_some_and(|idle| idle >= IDLE_MIN)
    }

    /// Whether a connection must close after the response at hand, whatever its client would like.
    pub(crate) fn must_close(&self, connection: &Connection) -> bool {
        // Who asks before the answer is there, again and again, never idles.
        let stays_busy = self.draining.pipelining_ends.get() && connection.pipelined();
        self.is_draining() || self.capacity.is_pressed() || stays_busy
    }

    /// The worker ends; where it has successors, they get the connections.
    pub(super) fn begin_drain(self: &Rc<Self>, successors: Option<Arc<OwnedFd>>) {
        if let Some(task) = self.accepting.receiving.borrow_mut().take() {
            task.cancel();
        }
        let stage = match successors {
            Some(_) => Stage::HandingOff,
            None => Stage::Closing,
        };
        self.draining.stage.set(stage);
        *self.draining.successors.borrow_mut() = successors;
        self.release_idle();
    }

    /// While the worker ends: has idle connections go to the successors, or closes those that idle for
    /// long.
    pub(super) fn release_idle(&self) {
        if self.draining.is_closing() {
            if self.dealer.is_none() {
                self.close_idle(IDLE_MIN, Idle::All);
            }
            return;
        }
        self.draining.stage.set(Stage::HandingOff);
        let connections = self.connections.borrow();
        let idle = connections.iter().filter(|(_, it)| it.is_idle());
        idle.take(HANDED_OFF_AT_ONCE)
            .for_each(|(_, it)| it.stream.interrupt_recv());
    }

    /// Has waited long enough for connections to idle.
    pub(super) fn end_pipelining(&self) {
        self.draining.pipelining_ends.set(true);
    }
}
