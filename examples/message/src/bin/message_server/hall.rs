//! What one loop knows: its own clients, and the rooms and names that it is the home of.
//!
//! Clients of one room sit on several loops. Every room, and every name, has one loop as its home,
//! by the hash of its name: there it is decided who has a name, and in which order a room hears
//! what is said in it, without a lock. From its home a message goes to each loop that has members
//! of the room, once, and there to their outboxes. So a loop says nothing to another but by
//! [`Shared::post`], and all members of a room hear all in the same order.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use revolve_reactor::{LoopHandle, PoolHandle};

use crate::archive::{Archive, Writer};
use crate::console::{Console, Counters};
use crate::options::Options;
use crate::registry::Registry;
use crate::session::{Ending, Session};

/// What all loops share; nothing in it changes but counters.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) pool: PoolHandle,
    pub(crate) archive: Option<Archive>,
    pub(crate) archive_lost: AtomicU64,
    pub(crate) console: Console,
    pub(crate) counters: Vec<Counters>,
    /// Set when all loops are there, before the first connection.
    pub(crate) loops: OnceLock<Vec<LoopHandle>>,
}

impl Shared {
    /// Runs `f` with the hall of the loop numbered `number`, on its thread. What is posted from one
    /// loop to another arrives in that order. Dropped if that loop has ended.
    pub(crate) fn post(&self, number: usize, f: impl FnOnce(&Rc<Hall>) + Send + 'static) {
        let handle = self.loops.get().and_then(|loops| loops.get(number));
        if let Some(handle) = handle {
            handle.run_in_loop(move || {
                with(f);
            });
        }
    }

    /// The home of a room or a name.
    pub(crate) fn home(&self, name: &str) -> usize {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        (hasher.finish() % self.counters.len().max(1) as u64) as usize
    }
}

/// Where a client sits: its loop, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seat {
    pub(crate) reactor: usize,
    pub(crate) number: u64,
}

thread_local! {
    static HALL: OnceCell<Rc<Hall>> = const { OnceCell::new() };
}

/// Calls `f` with this loop's hall; not at all where [`Hall::open`] was not called.
pub(crate) fn with<T>(f: impl FnOnce(&Rc<Hall>) -> T) -> Option<T> {
    let hall = HALL.with(|hall| hall.get().cloned());
    hall.map(|hall| f(&hall))
}

/// Clients of one loop, by their numbers.
type Sessions = HashMap<u64, Weak<Session>>;

/// One loop's part of the service.
pub(crate) struct Hall {
    pub(crate) shared: Arc<Shared>,
    pub(crate) reactor: usize,
    pub(crate) registry: RefCell<Registry>,
    pub(crate) writer: Rc<Writer>,
    next_number: Cell<u64>,
    /// Set when the server stops: whoever comes is ended so.
    stopping: RefCell<Option<Ending>>,
    /// Weak, because a client lives as long as its task.
    sessions: RefCell<Sessions>,
    /// The members who sit here, of rooms whose home may be anywhere.
    rooms: RefCell<HashMap<Arc<str>, Sessions>>,
}

impl Hall {
    /// Gives this thread's loop its hall.
    pub(crate) fn open(shared: &Arc<Shared>, reactor: usize) {
        let hall = Rc::new(Hall {
            shared: Arc::clone(shared),
            reactor,
            registry: RefCell::default(),
            writer: Rc::default(),
            next_number: Cell::new(0),
            stopping: RefCell::default(),
            sessions: RefCell::default(),
            rooms: RefCell::default(),
        });
        HALL.with(|place| place.set(hall).is_ok());
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters[self.reactor]
    }

    /// A seat for one more client.
    pub(crate) fn seat(&self) -> Seat {
        let number = self.next_number.get();
        self.next_number.set(number + 1);
        Seat {
            reactor: self.reactor,
            number,
        }
    }

    pub(crate) fn enter(&self, session: &Rc<Session>) {
        let mut sessions = self.sessions.borrow_mut();
        sessions.insert(session.seat.number, Rc::downgrade(session));
        if let Some(ending) = &*self.stopping.borrow() {
            session.end(ending.clone());
        }
        self.counters().clients.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a client out of everything, here and at the homes of its name and rooms.
    pub(crate) fn leave(&self, session: &Session) {
        self.sessions.borrow_mut().remove(&session.seat.number);
        self.counters().clients.fetch_sub(1, Ordering::Relaxed);
        for room in session.take_rooms() {
            self.leave_room(&room, session);
        }
        if let Some(name) = session.name() {
            let seat = session.seat;
            let home = self.shared.home(&name);
            let release = move |hall: &Rc<Hall>| hall.registry.borrow_mut().release(&name, seat);
            self.shared.post(home, release);
        }
    }

    /// Adds a client who sits here to a room, unless it has gone meanwhile.
    pub(crate) fn enter_room(&self, room: &Arc<str>, seat: Seat) {
        if let Some(session) = self.sessions.borrow().get(&seat.number) {
            let mut rooms = self.rooms.borrow_mut();
            let members = rooms.entry(Arc::clone(room)).or_default();
            members.insert(seat.number, Weak::clone(session));
        }
    }

    pub(crate) fn leave_room(&self, room: &Arc<str>, session: &Session) {
        let mut rooms = self.rooms.borrow_mut();
        if let Some(members) = rooms.get_mut(room) {
            members.remove(&session.seat.number);
            if members.is_empty() {
                rooms.remove(room);
            }
        }
        let (home, seat) = (self.shared.home(room), session.seat);
        let room = Arc::clone(room);
        let leave = move |hall: &Rc<Hall>| hall.registry.borrow_mut().leave(&room, seat);
        self.shared.post(home, leave);
    }

    /// Puts a message into the outboxes of a room's members who sit here, and says into how many.
    pub(crate) fn deliver(&self, room: &str, message: &Bytes) -> u32 {
        let rooms = self.rooms.borrow();
        let members = rooms.get(room).into_iter().flat_map(HashMap::values);
        let present = members.filter_map(Weak::upgrade);
        present
            .map(|session| u32::from(session.hear(message)))
            .sum()
    }

    /// Puts a message into one client's outbox; false if it is gone or reads too slowly.
    pub(crate) fn deliver_to(&self, seat: Seat, message: &Bytes) -> bool {
        let session = self
            .sessions
            .borrow()
            .get(&seat.number)
            .and_then(Weak::upgrade);
        session.is_some_and(|session| session.hear(message))
    }

    /// Ends all clients of this loop, and those who are still to come.
    pub(crate) fn end_all(&self, ending: &Ending) {
        self.stopping.replace(Some(ending.clone()));
        let sessions: Vec<Rc<Session>> = {
            let sessions = self.sessions.borrow();
            sessions.values().filter_map(Weak::upgrade).collect()
        };
        for session in sessions {
            session.end(ending.clone());
        }
    }

    /// Bytes that wait for the clients of this loop.
    pub(crate) fn queued_bytes(&self) -> u64 {
        let sessions = self.sessions.borrow();
        let present = sessions.values().filter_map(Weak::upgrade);
        present.map(|session| session.queued_bytes()).sum()
    }
}
