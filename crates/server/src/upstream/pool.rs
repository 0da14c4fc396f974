//! Connections that are kept for the next request, newest first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::net::Transport;

/// How many connections are kept, and for how long (`keepalive` and its like).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeptLimits {
    /// `keepalive`, of each peer on each loop; 0 keeps none.
    pub(crate) connections_max: usize,
    /// `keepalive_requests`, default 1000.
    pub(crate) requests_max: u32,
    /// `keepalive_time`, default 1 h: how long one may live.
    pub(crate) age_max: Duration,
    /// `keepalive_timeout`, default 60 s: how long one may idle.
    pub(crate) idle_max: Duration,
}

impl Default for KeptLimits {
    /// nginx's since 1.29.7.
    fn default() -> Self {
        Self {
            connections_max: 32,
            requests_max: 1000,
            age_max: Duration::from_secs(3600),
            idle_max: Duration::from_secs(60),
        }
    }
}

/// How a connection is secured: by which settings, and for whom the peer was taken. One that was secured
/// otherwise is another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) settings: u64,
    pub(crate) name: Rc<str>,
}

/// A connection to a peer.
pub(crate) struct Connection {
    pub(crate) stream: Rc<Transport>,
    /// How it is secured, where it is.
    identity: Option<Identity>,
    pub(crate) requests: u32,
    born_at: Instant,
}

impl Connection {
    /// `identity` says how it was secured, where it was.
    pub(crate) fn new(stream: Transport, identity: Option<Identity>) -> Self {
        Self {
            stream: Rc::new(stream),
            identity,
            requests: 0,
            born_at: revolve_reactor::now(),
        }
    }

    /// Whether it was used before.
    pub(crate) fn is_reused(&self) -> bool {
        self.requests > 1
    }
}

struct Idle {
    connection: Connection,
    since: Instant,
    idle_max: Duration,
}

/// What may be sent but once takes no connection that has idled for longer: its peer may be closing it.
const FRESH_MAX: Duration = Duration::from_secs(1);
/// A peer that has closed one under a request for all that is trusted again after so long.
const DISTRUST: Duration = Duration::from_secs(60);

/// The idle connections to one peer.
#[derive(Default)]
pub(crate) struct Pool {
    idle: RefCell<Vec<Idle>>,
    /// Until when not even fresh connections are taken for what may be sent but once.
    distrusted_until: Cell<Option<Instant>>,
}

impl Pool {
    /// The connection that was kept last and is still good, of those that are secured so. For what may be sent
    /// `once` it has been in use a moment ago.
    pub(crate) fn take(&self, identity: Option<&Identity>, once: bool) -> Option<Connection> {
        let now = revolve_reactor::now();
        if once && self.distrusted_until.get().is_some_and(|until| now < until) {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        let is_too_old = |it: &Idle| once && now.saturating_duration_since(it.since) > FRESH_MAX;
        let fits = |it: &Idle| it.connection.identity.as_ref() == identity && !is_too_old(it);
        while let Some(place) = idle.iter().rposition(fits) {
            let last = idle.remove(place);
            let is_fresh = now.saturating_duration_since(last.since) < last.idle_max;
            if is_fresh && !last.connection.stream.is_peer_closed() {
                return Some(last.connection);
            }
        }
        None
    }

    /// How many are kept.
    pub(crate) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// The peer has closed a connection that was in use a moment ago.
    pub(crate) fn distrust(&self) {
        self.distrusted_until
            .set(Some(revolve_reactor::now() + DISTRUST));
    }

    /// Keeps a connection whose answer has been read to its end. `idle_max` may be less than the limits
    /// say, where the peer has said so.
    pub(crate) fn put(&self, connection: Connection, limits: &KeptLimits, idle_max: Duration) {
        let now = revolve_reactor::now();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|it| {
            let is_fresh = now.saturating_duration_since(it.since) < it.idle_max;
            is_fresh && !it.connection.stream.is_peer_closed()
        });
        let age = now.saturating_duration_since(connection.born_at);
        let is_spent = connection.requests >= limits.requests_max || age >= limits.age_max;
        if is_spent || limits.connections_max == 0 || connection.stream.is_peer_closed() {
            return;
        }
        if idle.len() >= limits.connections_max {
            idle.remove(0);
        }
        idle.push(Idle {
            connection,
            since: now,
            idle_max: idle_max.min(limits.idle_max),
        });
    }
}
