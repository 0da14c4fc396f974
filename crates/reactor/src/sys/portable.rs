//! The poller over the `polling` crate: kqueue on macOS and the BSDs, epoll on Linux, where it is
//! tested.
//!
//! Streams are watched for edges. The crate does not tell that the peer has closed its side, so
//! that a short read may have left the end of the stream behind: asking anew after it makes the
//! kernel look again. That is one system call more for a message than the epoll poller makes.
#![allow(unsafe_code)]

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use polling::{Event as Interest, Events, PollMode};

use crate::channel::{Flags, Kind, Side, Token};
use crate::sys::level::check_pollable;
use crate::sys::{Event, Poller, Wake};

/// A `polling::Poller`, which names descriptors by their number here.
pub(crate) struct Portable {
    poller: Arc<polling::Poller>,
    watched: Vec<Option<Watched>>,
    events: Events,
}

#[derive(Clone, Copy)]
struct Watched {
    token: Token,
    kind: Kind,
    /// The write side was full, and is asked for.
    write: bool,
}

impl Wake for polling::Poller {
    fn wake(&self) {
        // Its notification cannot fail but for a broken system.
        let _ = self.notify();
    }
}

fn mode(kind: Kind) -> PollMode {
    match kind {
        Kind::Listener => PollMode::Level,
        Kind::Stream | Kind::Source => PollMode::Edge,
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

    /// The write side is asked for once it was seen to be full.
    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        check_pollable(fd, kind)?;
        let index = fd.as_raw_fd() as usize;
        // SAFETY: a channel is removed from its poller (or paused, which removes it too) before
        // its descriptor is closed.
        unsafe {
            self.poller
                .add_with_mode(&fd, Interest::readable(index), mode(kind))?;
        }
        if index >= self.watched.len() {
            self.watched.resize(index + 1, None);
        }
        self.watched[index] = Some(Watched {
            token,
            kind,
            write: false,
        });
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _: Kind) {
        self.forget(fd);
    }

    fn rearm(&mut self, fd: BorrowedFd<'_>, _: Token, side: Side) {
        let index = fd.as_raw_fd() as usize;
        let Some(Some(watched)) = self.watched.get_mut(index) else {
            return;
        };
        watched.write |= side == Side::Write;
        let interest = Interest::new(index, true, watched.write);
        // A descriptor that is watched can be watched anew: the kernel allocates nothing.
        let _ = self
            .poller
            .modify_with_mode(fd, interest, mode(watched.kind));
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        self.forget(fd);
    }

    fn resume(&mut self, fd: BorrowedFd<'_>, token: Token) -> io::Result<()> {
        self.add(fd, token, Kind::Listener)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.events.clear();
        match self.poller.wait(&mut self.events, timeout) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for event in self.events.iter() {
            let Some(Some(watched)) = self.watched.get_mut(event.key) else {
                continue;
            };
            let mut flags = Flags::NONE;
            if event.readable {
                flags.insert(Flags::READABLE);
            }
            if event.writable {
                watched.write = false;
                flags.insert(Flags::WRITABLE);
            }
            let token = watched.token;
            events.push(Event { token, flags });
        }
        Ok(())
    }
}
