//! The poller over the `polling` crate: kqueue on macOS and the BSDs, epoll on Linux, where it is
//! tested.
//!
//! Streams are registered once, for edges of both sides. What the crate does not tell on Linux is
//! that the peer has closed its side: of bytes and the end of the stream that came together, a short
//! read leaves the end behind, for which no further edge comes. So one looks behind such a read
//! there, at the cost of a system call for a message; kqueue tells the end with the bytes.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event as Interest, Events, PollMode};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::channel::{Flags, Kind, Side, Token};
use crate::sys::fork::Birthplace;
use crate::sys::level::check_pollable;
use crate::sys::{Event, Poller, Wake};
use crate::trigger::Trigger;

/// Whether an event tells that nothing comes behind the bytes. kqueue has an event of its own for
/// each side, and the crate adds the write side to that of a read side at its end.
const TELLS_END: bool = !cfg!(target_os = "linux");

/// What the crate can tell.
const TRIGGERS: [Trigger; 3] = [Trigger::Edge, Trigger::Level, Trigger::OneShot];

/// A `polling::Poller`, which names descriptors by their number here.
pub(crate) struct Portable {
    poller: Arc<polling::Poller>,
    watched: Vec<Option<Watched>>,
    events: Events,
    /// What was found by looking, to be told in the next turn.
    found: Vec<Event>,
    birthplace: Birthplace,
}

impl Drop for Portable {
    /// The crate's own drop takes out what wakes the loop: in a child after fork(2), its parent's.
    fn drop(&mut self) {
        if self.birthplace.is_elsewhere() {
            std::mem::forget(Arc::clone(&self.poller));
        }
    }
}

#[derive(Clone, Copy)]
struct Watched {
    token: Token,
    kind: Kind,
}

impl Wake for polling::Poller {
    fn wake(&self) {
        // Its notification cannot fail but for a broken system.
        let _ = self.notify();
    }
}

fn interest(index: usize, kind: Kind) -> (Interest, PollMode) {
    match kind {
        Kind::Stream => (Interest::all(index), PollMode::Edge),
        Kind::Source => (Interest::readable(index), PollMode::Edge),
        Kind::Listener => (Interest::readable(index), PollMode::Level),
        Kind::Watched(sides, trigger) => {
            let mode = match trigger {
                Trigger::Edge => PollMode::Edge,
                Trigger::OneShot => PollMode::Oneshot,
                Trigger::Level | Trigger::Exclusive => PollMode::Level,
            };
            (Interest::new(index, sides.reads(), sides.writes()), mode)
        }
    }
}

fn facts(event: &Interest) -> Flags {
    let mut flags = Flags::NONE;
    if event.readable {
        flags.insert(Flags::READABLE);
    }
    if event.writable {
        flags.insert(Flags::WRITABLE);
    }
    let ends = TELLS_END && event.readable && event.writable;
    if ends || event.is_interrupt() || event.is_err() == Some(true) {
        flags.insert(Flags::PEER_CLOSED);
    }
    flags
}

/// What lies behind a short read of a stream; nothing, if the next edge will tell.
fn look(fd: BorrowedFd<'_>) -> Flags {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(fd, &mut [0; 1][..], flags) {
        Err(Errno::AGAIN | Errno::NOTSOCK) => Flags::NONE,
        Ok((0, _)) | Err(_) => Flags::READABLE.with(Flags::PEER_CLOSED),
        Ok(_) => Flags::READABLE,
    }
}

impl Portable {
    fn forget(&mut self, fd: BorrowedFd<'_>) {
        let watched = self.watched.get_mut(fd.as_raw_fd() as usize);
        if watched.and_then(Option::take).is_some() {
            let _ = self.poller.delete(fd);
        }
    }
}

impl Portable {
    pub(crate) fn new(events_per_poll: usize) -> io::Result<Portable> {
        let poller = polling::Poller::new()?;
        if !poller.supports_edge() || !poller.supports_level() {
            let message = "the portable driver needs edge- and level-triggered events";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let capacity = NonZeroUsize::new(events_per_poll).unwrap_or(NonZeroUsize::MIN);
        Ok(Portable {
            poller: Arc::new(poller),
            watched: Vec::new(),
            events: Events::with_capacity(capacity),
            found: Vec::new(),
            birthplace: Birthplace::here(),
        })
    }
}

impl Poller for Portable {
    fn name(&self) -> &'static str {
        "portable"
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        Arc::<polling::Poller>::clone(&self.poller)
    }

    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        check_pollable(fd, kind)?;
        kind.check_trigger("the portable driver", &TRIGGERS)?;
        let index = fd.as_raw_fd() as usize;
        let (interest, mode) = interest(index, kind);
        // SAFETY: a channel is removed from its poller (or paused, which removes it too) before
        // its descriptor is closed.
        unsafe {
            self.poller.add_with_mode(&fd, interest, mode)?;
        }
        if index >= self.watched.len() {
            self.watched.resize(index + 1, None);
        }
        self.watched[index] = Some(Watched { token, kind });
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _: Kind) {
        self.forget(fd);
    }

    /// The next edge comes by itself, but for the end behind a short read.
    fn rearm(&mut self, fd: BorrowedFd<'_>, token: Token, side: Side) {
        if TELLS_END || side == Side::Write {
            return;
        }
        let watched = self.watched.get(fd.as_raw_fd() as usize);
        if watched.is_some_and(|watched| watched.is_some_and(|it| it.kind == Kind::Stream)) {
            let flags = look(fd);
            if flags != Flags::NONE {
                self.found.push(Event { token, flags });
            }
        }
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        self.forget(fd);
    }

    fn arm(&mut self, fd: BorrowedFd<'_>, _: Token, kind: Kind) -> io::Result<()> {
        let (interest, mode) = interest(fd.as_raw_fd() as usize, kind);
        self.poller.modify_with_mode(fd, interest, mode)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = if self.found.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        events.append(&mut self.found);
        self.events.clear();
        match self.poller.wait(&mut self.events, timeout) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) => return Err(error),
        }
        for event in self.events.iter() {
            if let Some(Some(watched)) = self.watched.get(event.key) {
                let token = watched.token;
                let flags = facts(&event);
                events.push(Event { token, flags });
            }
        }
        Ok(self.events.len() == self.events.capacity().get())
    }
}
