//! A peer: one address of a server behind us, and what is known of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use md5::{Digest, Md5};
use revolve_reactor::Address;
use revolve_reactor::local::Notify;

use crate::upstream::clock::now_ms;
use crate::upstream::h2::Carriers;
use crate::upstream::pool::Pool;
use crate::upstream::zone::{
    ANSWER_TIME, BACK_SINCE, CHECKED_AT, FAILED_AT, FAILS, FAILURES, HEADER_TIME, HEALTH, ORDER,
    REQUESTS, Row,
};

/// A `server` of a group.
#[derive(Debug, Clone)]
pub(crate) struct ServerSpec {
    /// As it was written.
    pub(crate) name: String,
    /// Where its name leads; nowhere while that is not known.
    pub(crate) addresses: Vec<Address>,
    /// Its name and port, where that is to be asked for again.
    pub(crate) host: Option<(String, u16)>,
    /// `service=`: the name of the service whose places are asked for.
    pub(crate) service: Option<String>,
    /// The places of that service; `addresses` are unused then.
    pub(crate) places: Vec<ServicePlace>,
    /// `weight=`, default 1.
    pub(crate) weight: u32,
    /// `max_conns=`; 0 for no limit.
    pub(crate) connections_max: usize,
    /// `max_fails=`, default 1; 0 counts none.
    pub(crate) fails_max: u32,
    /// `fail_timeout=`, default 10 s.
    pub(crate) fail_timeout: Duration,
    /// `slow_start=`: how long one that is back takes to its whole weight.
    pub(crate) slow_start: Duration,
    /// `route=`: what clients that are bound to it name it by.
    pub(crate) route: String,
    /// `backup`: asked where no other may be.
    pub(crate) is_backup: bool,
    /// `down`: never asked.
    pub(crate) is_down: bool,
    /// `drain`: asked by those alone that are bound to it.
    pub(crate) is_draining: bool,
}

impl ServerSpec {
    /// A server with nginx's defaults.
    pub(crate) fn new(name: &str, addresses: Vec<Address>) -> Self {
        Self {
            name: name.to_owned(),
            addresses,
            host: None,
            service: None,
            places: Vec::new(),
            weight: 1,
            connections_max: 0,
            fails_max: 1,
            fail_timeout: Duration::from_secs(10),
            slow_start: Duration::ZERO,
            route: String::new(),
            is_backup: false,
            is_down: false,
            is_draining: false,
        }
    }
}

/// A place of a service, by its records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServicePlace {
    pub(crate) address: Address,
    pub(crate) weight: u32,
    pub(crate) is_backup: bool,
}

/// What an operator says of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// It may be asked, whatever the configuration says.
    Up,
    /// It may not.
    Down,
    /// Those alone ask it that are bound to it.
    Drain,
    /// Another weight, at least 1.
    Weight(u32),
}

const ORDER_UP: u64 = 1;
const ORDER_DOWN: u64 = 2;
const ORDER_DRAIN: u64 = 3;
const ORDER_STATES: u64 = 3;

/// What health checks say of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Unknown = 0,
    Healthy = 1,
    Unhealthy = 2,
}

/// What a peer is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Draining,
    Down,
    /// It has failed too often and is left alone for a while.
    Unavailable,
    /// Health checks have found it so.
    Unhealthy,
    /// Health checks have not found it well yet, and have to.
    Checking,
}

impl State {
    /// NGINX Plus' word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Draining => "draining",
            State::Down => "down",
            State::Unavailable => "unavail",
            State::Unhealthy => "unhealthy",
            State::Checking => "checking",
        }
    }
}

/// What a loop has of a peer. It outlives a reload.
pub(crate) struct PeerState {
    /// Smooth weighted round robin's own count.
    pub(super) current_weight: Cell<i64>,
    /// What failures take off its weight.
    pub(super) lost_weight: Cell<u32>,
    /// What all workers know.
    pub(super) row: RefCell<Rc<Row>>,
    pub(crate) pool: Pool,
    /// Connections that many requests share.
    pub(crate) carriers: Rc<Carriers>,
}

impl Default for PeerState {
    fn default() -> Self {
        Self {
            current_weight: Cell::default(),
            lost_weight: Cell::default(),
            row: RefCell::new(Rc::new(Row::own())),
            pool: Pool::default(),
            carriers: Rc::default(),
        }
    }
}

/// One address of a server.
pub(crate) struct Peer {
    pub(crate) address: Address,
    /// The address, as logs and `$upstream_addr` show it.
    pub(crate) shown: Rc<str>,
    pub(crate) spec: ServerSpec,
    pub(crate) state: Rc<PeerState>,
    /// What all workers know of it, as at the configuration's beginning.
    row: Rc<Row>,
    /// What a client that is bound to it has for a cookie.
    pub(crate) id: String,
    /// Whether health checks have to find it well before it is asked.
    pub(super) must_be_healthy: bool,
    /// Whoever waits for a connection of the group to end.
    freed: Rc<Notify>,
}

impl Peer {
    pub(super) fn new(
        address: Address,
        spec: ServerSpec,
        state: Rc<PeerState>,
        must_be_healthy: bool,
        freed: Rc<Notify>,
    ) -> Self {
        let shown = shown(&address);
        let id = match spec.route.as_str() {
            "" => hex(&Md5::digest(shown.as_bytes())),
            route => route.to_owned(),
        };
        let row = state.row.borrow().clone();
        Self {
            shown: shown.into(),
            address,
            spec,
            state,
            row,
            id,
            must_be_healthy,
            freed,
        }
    }

    fn load(&self, word: usize) -> u64 {
        self.row.word(word).load(Relaxed)
    }

    fn store(&self, word: usize, value: u64) {
        self.row.word(word).store(value, Relaxed);
    }

    /// A connection is in use from now on, until the answer is dropped.
    pub(crate) fn begin(&self) -> InUse {
        self.row.begin();
        self.row.word(REQUESTS).fetch_add(1, Relaxed);
        InUse {
            row: self.row.clone(),
            freed: self.freed.clone(),
        }
    }

    /// Connections in use, over all workers.
    pub(crate) fn connections(&self) -> u64 {
        self.row.connections()
    }

    /// It has failed. `may_leave` says whether it may be left alone for that; the answer, whether it is now.
    ///
    /// Source: nginx's `ngx_http_upstream_free_round_robin_peer`.
    pub(super) fn note_failure(&self, may_leave: bool) -> bool {
        self.row.word(FAILURES).fetch_add(1, Relaxed);
        if self.spec.fails_max == 0 {
            return false;
        }
        let now = now_ms();
        self.store(FAILED_AT, now);
        self.store(CHECKED_AT, now);
        let weight = self.weight();
        let lost = (weight / self.spec.fails_max).max(1);
        let lost = self.state.lost_weight.get().saturating_add(lost);
        self.state.lost_weight.set(lost.min(weight));
        if !may_leave && self.load(FAILS) + 1 >= u64::from(self.spec.fails_max) {
            return false;
        }
        let fails = self.row.word(FAILS).fetch_add(1, Relaxed) + 1;
        fails >= u64::from(self.spec.fails_max)
    }

    /// It has answered.
    pub(crate) fn note_success(&self) {
        let fails = self.load(FAILS);
        if fails > 0 && self.load(FAILED_AT) < self.load(CHECKED_AT) {
            if fails >= u64::from(self.spec.fails_max) {
                self.store(BACK_SINCE, now_ms());
            }
            self.store(FAILS, 0);
        }
    }

    /// How long it took to the head of an answer, and how long to the end of one.
    pub(crate) fn note_header_time(&self, took: Duration) {
        average(&self.row, HEADER_TIME, took);
    }

    /// What a body that outlives the exchange notes the end of the answer with.
    pub(crate) fn answer_timer(&self) -> AnswerTimer {
        AnswerTimer(self.row.clone())
    }

    /// The moving average of the time to its heads, or to the ends of its answers, in microseconds.
    pub(crate) fn average_us(&self, of_heads: bool) -> u64 {
        self.load(if of_heads { HEADER_TIME } else { ANSWER_TIME })
    }

    /// Whether failures have it left alone at the moment.
    pub(super) fn is_left_alone(&self, now_ms: u64) -> bool {
        let spec = &self.spec;
        if spec.fails_max == 0 || self.load(FAILS) < u64::from(spec.fails_max) {
            return false;
        }
        let passed = now_ms.saturating_sub(self.load(CHECKED_AT));
        u128::from(passed) <= spec.fail_timeout.as_millis()
    }

    /// A peer that has failed is given a chance once in its `fail_timeout`.
    pub(super) fn note_chance(&self, now_ms: u64) {
        let checked_at = self.load(CHECKED_AT);
        let passed = now_ms.saturating_sub(checked_at);
        if checked_at > 0 && u128::from(passed) > self.spec.fail_timeout.as_millis() {
            self.store(CHECKED_AT, now_ms);
        }
    }

    /// What it is now.
    pub(crate) fn state(&self, now_ms: u64) -> State {
        let order = self.load(ORDER) & ORDER_STATES;
        let health = self.load(HEALTH);
        if order == ORDER_DOWN || order == 0 && self.spec.is_down {
            State::Down
        } else if health == Health::Unhealthy as u64 {
            State::Unhealthy
        } else if self.must_be_healthy && health == Health::Unknown as u64 {
            State::Checking
        } else if self.is_left_alone(now_ms) {
            State::Unavailable
        } else if order == ORDER_DRAIN || order == 0 && self.spec.is_draining {
            State::Draining
        } else {
            State::Up
        }
    }

    fn is_full(&self) -> bool {
        let most = self.spec.connections_max as u64;
        most > 0 && self.connections() >= most
    }

    /// Whether anybody may be sent to it now.
    pub(super) fn is_available(&self, now_ms: u64) -> bool {
        self.state(now_ms) == State::Up && !self.is_full()
    }

    /// Whether only its failures speak against it.
    pub(super) fn is_last_resort(&self, now_ms: u64) -> bool {
        self.state(now_ms) == State::Unavailable && !self.is_full()
    }

    /// Whether those may be that are bound to it.
    pub(super) fn serves_bound(&self, now_ms: u64) -> bool {
        matches!(self.state(now_ms), State::Up | State::Draining) && !self.is_full()
    }

    /// Its weight, as the configuration or an operator says.
    pub(crate) fn weight(&self) -> u32 {
        match (self.load(ORDER) >> 32) as u32 {
            0 => self.spec.weight,
            weight => weight,
        }
    }

    /// In thousandths, less of it while it starts slowly.
    pub(super) fn fine_weight(&self, now_ms: u64) -> i64 {
        let whole = i64::from(self.weight()) * 1000;
        let slow_ms = self.spec.slow_start.as_millis() as u64;
        let since = self.load(BACK_SINCE);
        let passed = now_ms.saturating_sub(since);
        if slow_ms == 0 || since == 0 || passed >= slow_ms {
            return whole;
        }
        (whole as i128 * i128::from(passed) / i128::from(slow_ms)).max(1) as i64
    }

    /// An operator has decided.
    pub(crate) fn obey(&self, order: Order) {
        let is_back = matches!(order, Order::Up) && self.state(now_ms()) != State::Up;
        let change = |word: u64| match order {
            Order::Weight(weight) => Some(word & ORDER_STATES | u64::from(weight) << 32),
            Order::Up => Some(word & !ORDER_STATES | ORDER_UP),
            Order::Down => Some(word & !ORDER_STATES | ORDER_DOWN),
            Order::Drain => Some(word & !ORDER_STATES | ORDER_DRAIN),
        };
        let _ = self.row.word(ORDER).fetch_update(Relaxed, Relaxed, change);
        if is_back {
            self.store(FAILS, 0);
            self.store(BACK_SINCE, now_ms());
        }
    }

    /// What health checks have found; the answer is whether that is new.
    pub(crate) fn set_health(&self, health: Health) -> bool {
        let before = self.row.word(HEALTH).swap(health as u64, Relaxed);
        let is_new = before != health as u64;
        if is_new && health == Health::Healthy && before == Health::Unhealthy as u64 {
            self.store(FAILS, 0);
            self.store(BACK_SINCE, now_ms());
        }
        is_new
    }

    /// Requests that it was asked, and tries that have failed.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.load(REQUESTS), self.load(FAILURES))
    }
}

/// A new value has the weight of an eighth. Two that come at once may lose one, which is as well.
fn average(row: &Row, word: usize, took: Duration) {
    let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let word = row.word(word);
    let next = match word.load(Relaxed) {
        0 => took,
        before => (before - before / 8 + took / 8).max(1),
    };
    word.store(next, Relaxed);
}

/// Notes how long an answer took to its end.
pub(crate) struct AnswerTimer(Rc<Row>);

impl AnswerTimer {
    pub(crate) fn note(&self, took: Duration) {
        average(&self.0, ANSWER_TIME, took);
    }
}

/// Counts a connection in use, until it is dropped.
pub(crate) struct InUse {
    row: Rc<Row>,
    freed: Rc<Notify>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.row.end();
        self.freed.notify_all();
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An address as logs and `$upstream_addr` show it.
pub(super) fn shown(address: &Address) -> String {
    match address {
        Address::Inet(address) => address.to_string(),
        unix => {
            let text = unix.to_string();
            match text.starts_with("unix:") {
                true => text,
                false => format!("unix:{text}"),
            }
        }
    }
}
