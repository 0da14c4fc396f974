//! A connection, as its task and its streams share it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use revolve_http::h2::{Config, Connection as Machine, ErrorCode, HeadWriter};

use super::state::{Rules, State, StreamError, note};
use crate::net::Transport;
use crate::upstream::pool::{Identity, KeptLimits};

/// Streams of one connection, before its peer has said how many it takes, and at most. RFC 9113 (6.5.2)
/// asks servers to take no fewer than a hundred.
const STREAMS_UNTIL_TOLD: usize = 100;
const STREAMS_MAX: usize = 1000;

/// What may lie unread of each body.
pub(super) const WINDOW_BYTES: u32 = 128 * 1024;

/// What the fields of a head may come to, whatever a request allows.
const FIELDS_BYTES_MAX: usize = 128 * 1024;

/// What bounds a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) kept: KeptLimits,
    /// How long the socket may take nothing.
    pub(crate) send_timeout: Duration,
}

/// A connection that speaks HTTP/2.
pub(crate) struct Carrier {
    pub(super) transport: Transport,
    pub(super) identity: Option<Identity>,
    pub(super) limits: Limits,
    pub(super) machine: RefCell<Machine<Rc<State>>>,
    requests: Cell<u32>,
    born_at: Instant,
    /// Whether it takes no more streams.
    pub(super) is_closing: Cell<bool>,
    /// By which error the peer has said that it goes.
    goodbye: Cell<Option<ErrorCode>>,
    /// Whether it is over.
    pub(super) is_closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    is_woken: Cell<bool>,
}

impl Carrier {
    pub(super) fn new(
        transport: Transport,
        identity: Option<Identity>,
        limits: Limits,
    ) -> Rc<Self> {
        let config = Config {
            streams_max: 0,
            window_bytes: WINDOW_BYTES,
            fields_bytes_max: FIELDS_BYTES_MAX,
            block_bytes_max: FIELDS_BYTES_MAX,
        };
        Rc::new(Self {
            transport,
            identity,
            limits,
            machine: RefCell::new(Machine::client(config)),
            requests: Cell::new(0),
            born_at: revolve_reactor::now(),
            is_closing: Cell::new(false),
            goodbye: Cell::new(None),
            is_closed: Cell::new(false),
            waker: RefCell::default(),
            is_woken: Cell::new(false),
        })
    }

    /// Whether it takes another stream.
    pub(crate) fn has_room(&self) -> bool {
        let kept = &self.limits.kept;
        let is_spent = self.requests.get() >= kept.requests_max
            || revolve_reactor::now().saturating_duration_since(self.born_at) >= kept.age_max;
        if is_spent && !self.is_closing.replace(true) {
            self.wake();
        }
        if self.is_closing.get() || self.is_closed.get() || self.transport.is_peer_closed() {
            return false;
        }
        let machine = self.machine.borrow();
        let told = machine.streams_max_of_peer();
        let most = told.map_or(STREAMS_UNTIL_TOLD, |it| STREAMS_MAX.min(it as usize));
        machine.stream_count() < most
    }

    /// How many streams its peer is known to take.
    pub(super) fn streams_max(&self) -> Option<u32> {
        self.machine.borrow().streams_max_of_peer()
    }

    /// Begins a stream; see [`Stream::open`](super::stream::Stream::open).
    pub(super) fn begin(
        &self,
        rules: Rules,
        is_last: bool,
        write: impl FnOnce(&mut HeadWriter<'_>),
    ) -> Option<Rc<State>> {
        if !self.has_room() {
            return None;
        }
        let mut machine = self.machine.borrow_mut();
        let Some(id) = machine.open() else {
            self.is_closing.set(true);
            return None;
        };
        self.requests.set(self.requests.get() + 1);
        let state = State::new(id, rules);
        machine.attach(id, state.clone());
        if let Some(mut head) = machine.head(id, is_last) {
            write(&mut head);
            state.note_sent(head.finish());
        }
        if is_last {
            state.note_over();
        }
        drop(machine);
        self.wake();
        Some(state)
    }

    /// A stream has something to send.
    pub(super) fn offer(&self, id: u32, bytes: u64, is_last: bool) {
        self.machine.borrow_mut().offer(id, bytes, is_last);
        self.wake();
    }

    /// A part of a body was read.
    pub(super) fn note_taken(&self, id: u32, bytes: usize) {
        let mut machine = self.machine.borrow_mut();
        machine.note_taken(id, bytes);
        let is_due = !machine.out().is_empty();
        drop(machine);
        if is_due {
            self.wake();
        }
    }

    /// Nobody wants a stream any more, which may have ended.
    pub(super) fn give_up(&self, id: u32) {
        let state = self.machine.borrow_mut().finish(id);
        if state.is_some() {
            self.wake();
        }
    }

    /// Has the task look again.
    pub(super) fn wake(&self) {
        if !self.is_woken.replace(true)
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    pub(super) fn take_woken(&self) -> bool {
        self.is_woken.take()
    }

    pub(super) fn note_waiting(&self, cx: &Context<'_>) {
        note(&mut self.waker.borrow_mut(), cx);
    }

    pub(super) fn note_goodbye(&self, code: ErrorCode) {
        self.goodbye.set(Some(code));
    }

    /// Why the peer has closed, where it has said so.
    pub(super) fn goodbye(&self) -> Option<StreamError> {
        let code = self.goodbye.get();
        let code = code.filter(|code| *code != ErrorCode::NO_ERROR)?;
        let what = format!("sent goaway with error {} ({code})", code.0);
        Some(StreamError::Fault(what))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.machine.borrow().stream_count() == 0
    }
}
