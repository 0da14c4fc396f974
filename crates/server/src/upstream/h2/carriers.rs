//! The connections to one peer, and who is making another.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use revolve_reactor::local::Notify;

use super::carrier::Carrier;
use crate::upstream::pool::Identity;

/// Requests that wait for one connection to be made, where nobody knows how many its peer will take.
const WAITING_UNTIL_TOLD: u32 = 100;

/// The connections to one peer.
#[derive(Default)]
pub(crate) struct Carriers {
    list: RefCell<Vec<Rc<Carrier>>>,
    dials: RefCell<Vec<Rc<Dial>>>,
    /// How many streams the peer is known to take; 0 for nothing known.
    streams_max: Cell<u32>,
}

/// A connection that is being made.
pub(crate) struct Dial {
    identity: Option<Identity>,
    waiting: Cell<u32>,
    /// How it ended: what whoever waits has to say of it, and whether it took too long.
    failure: RefCell<Option<(String, bool)>>,
    is_over: Cell<bool>,
    over: Notify,
}

/// What a request does that finds no room.
pub(crate) enum Turn {
    /// It makes a connection, and others wait for it meanwhile.
    Dial(Dialing),
    /// It waits.
    Wait(Rc<Dial>),
}

/// Whoever has this makes the connection.
pub(crate) struct Dialing {
    dial: Rc<Dial>,
    home: Rc<Carriers>,
}

impl Dialing {
    /// No connection comes of it: those who wait are told, too.
    pub(crate) fn fail(self, what: String, is_late: bool) {
        *self.dial.failure.borrow_mut() = Some((what, is_late));
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        let mut dials = self.home.dials.borrow_mut();
        dials.retain(|it| !Rc::ptr_eq(it, &self.dial));
        drop(dials);
        self.dial.is_over.set(true);
        self.dial.over.notify_all();
    }
}

impl Dial {
    /// Waits until it is over. The answer is why no connection came of it, where that is known, and whether
    /// it took too long.
    pub(crate) async fn ended(&self) -> Option<(String, bool)> {
        while !self.is_over.get() {
            self.over.notified().await;
        }
        self.failure.borrow().clone()
    }
}

impl Carriers {
    /// A connection that takes another stream, of those that are secured so: the one that was made first,
    /// so that few are kept busy.
    pub(crate) fn with_room(&self, identity: Option<&Identity>) -> Option<Rc<Carrier>> {
        let list = self.list.borrow();
        let mut fitting = list.iter().filter(|it| it.identity.as_ref() == identity);
        fitting.find(|it| it.has_room()).cloned()
    }

    /// What a request does that has found none.
    pub(crate) fn turn(self: &Rc<Self>, identity: Option<&Identity>) -> Turn {
        let most = match self.streams_max.get() {
            0 => WAITING_UNTIL_TOLD,
            told => told.min(WAITING_UNTIL_TOLD),
        };
        let mut dials = self.dials.borrow_mut();
        let is_free =
            |it: &&Rc<Dial>| it.identity.as_ref() == identity && it.waiting.get() + 1 < most;
        if let Some(dial) = dials.iter().find(is_free) {
            dial.waiting.set(dial.waiting.get() + 1);
            return Turn::Wait(dial.clone());
        }
        let dial = Rc::new(Dial {
            identity: identity.cloned(),
            waiting: Cell::new(0),
            failure: RefCell::default(),
            is_over: Cell::new(false),
            over: Notify::default(),
        });
        dials.push(dial.clone());
        let home = self.clone();
        Turn::Dial(Dialing { dial, home })
    }

    /// How many connections idle.
    pub(crate) fn idle(&self) -> usize {
        let list = self.list.borrow();
        list.iter().filter(|it| it.is_idle()).count()
    }

    pub(super) fn add(&self, carrier: Rc<Carrier>) {
        self.list.borrow_mut().push(carrier);
    }

    /// A connection is over.
    pub(super) fn remove(&self, carrier: &Rc<Carrier>) {
        let mut list = self.list.borrow_mut();
        list.retain(|it| !Rc::ptr_eq(it, carrier));
    }

    /// The peer has said how many streams it takes.
    pub(super) fn note_streams_max(&self, streams_max: u32) {
        self.streams_max.set(streams_max.max(1));
    }

    /// Whether another connection may be kept that idles.
    pub(super) fn may_idle(&self, most: usize) -> bool {
        self.idle() <= most
    }
}
