//! The epoll poller: edge-triggered, one registration for a descriptor's whole life.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, Timespec, eventfd};
use rustix::io::Errno;

use crate::channel::{Flags, Kind, Side, Token};
use crate::sys::{Event, Poller, Wake};
use crate::trigger::{Interest, Trigger};

/// The data of the eventfd's registration: no token, because generations that far are never
/// handed out together with that index.
const WAKE: u64 = u64::MAX;

/// An `epoll(7)` instance and the eventfd that wakes it.
pub(crate) struct Epoll {
    epoll: OwnedFd,
    wake: Arc<EventFd>,
    events: Vec<epoll::Event>,
}

pub(crate) struct EventFd(pub(crate) OwnedFd);

impl Wake for EventFd {
    fn wake(&self) {
        // The counter cannot overflow before the edge is seen, and nothing else can fail.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

fn interest(kind: Kind) -> EventFlags {
    match kind {
        Kind::Stream => EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET,
        Kind::Listener => EventFlags::IN | EventFlags::EXCLUSIVE,
        Kind::Source => EventFlags::IN | EventFlags::RDHUP | EventFlags::ET,
        Kind::Watched(interest, trigger) => watched(interest, trigger),
    }
}

fn watched(interest: Interest, trigger: Trigger) -> EventFlags {
    let mut flags = match trigger {
        Trigger::Edge => EventFlags::ET,
        Trigger::Level => EventFlags::empty(),
        Trigger::OneShot => EventFlags::ONESHOT,
        Trigger::Exclusive => EventFlags::EXCLUSIVE,
    };
    if interest.reads() {
        flags |= EventFlags::IN;
        // Not to be had together with the last one (epoll_ctl(2)).
        if trigger != Trigger::Exclusive {
            flags |= EventFlags::RDHUP;
        }
    }
    if interest.writes() {
        flags |= EventFlags::OUT;
    }
    flags
}

#[inline]
fn facts(events: EventFlags) -> Flags {
    let mut flags = Flags::NONE;
    if events.contains(EventFlags::IN) {
        flags.insert(Flags::READABLE);
    }
    if events.contains(EventFlags::OUT) {
        flags.insert(Flags::WRITABLE);
    }
    if events.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR) {
        flags.insert(facts_at_the_end(events));
    }
    flags
}

/// What it means that the peer has closed its side, or that the connection is broken.
#[cold]
fn facts_at_the_end(events: EventFlags) -> Flags {
    let flags = Flags::READABLE.with(Flags::PEER_CLOSED);
    if events.intersects(EventFlags::HUP | EventFlags::ERR) {
        flags.with(Flags::WRITABLE)
    } else {
        flags
    }
}

impl Epoll {
    pub(crate) fn new(events_per_poll: usize) -> io::Result<Epoll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        // Every write is an edge, so that the counter need never be read.
        let flags = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &wake, EventData::new_u64(WAKE), flags)?;
        let events = Vec::with_capacity(events_per_poll.max(1));
        Ok(Epoll {
            epoll,
            wake: Arc::new(EventFd(wake)),
            events,
        })
    }
}

impl Poller for Epoll {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        Arc::<EventFd>::clone(&self.wake)
    }

    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        let data = EventData::new_u64(token.to_u64());
        Ok(epoll::add(&self.epoll, fd, data, interest(kind))?)
    }

    /// Closing a descriptor ends its registration, unless it was duplicated: which streams
    /// are not, while listeners are shared with other processes.
    fn remove(&mut self, fd: BorrowedFd<'_>, kind: Kind) {
        if kind != Kind::Stream {
            let _ = epoll::delete(&self.epoll, fd);
        }
    }

    /// The next edge comes by itself.
    #[inline]
    fn rearm(&mut self, _: BorrowedFd<'_>, _: Token, _: Side) {}

    /// `EPOLLEXCLUSIVE` registrations cannot be modified, only added and removed.
    fn pause(&mut self, fd: BorrowedFd<'_>) {
        let _ = epoll::delete(&self.epoll, fd);
    }

    fn arm(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        let data = EventData::new_u64(token.to_u64());
        Ok(epoll::modify(&self.epoll, fd, data, interest(kind))?)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.map(as_timespec);
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            spare_capacity(&mut self.events),
            timeout.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let data = event.data.u64();
            if data != WAKE {
                let flags = facts(event.flags);
                events.push(Event {
                    token: Token::from_u64(data),
                    flags,
                });
            }
        }
        Ok(self.events.len() == self.events.capacity())
    }
}

/// A loop sleeps for whole milliseconds, and the plain `epoll_wait` takes them as an `int`: a longer
/// sleep ends early, which does no harm.
fn as_timespec(timeout: Duration) -> Timespec {
    const SECONDS_MAX: u64 = i32::MAX as u64 / 1000 - 1;
    Timespec {
        tv_sec: timeout.as_secs().min(SECONDS_MAX) as i64,
        tv_nsec: i64::from(timeout.subsec_nanos()),
    }
}
