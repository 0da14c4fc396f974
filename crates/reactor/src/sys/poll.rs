//! The poller over `poll(2)`: exists wherever Unix does, and costs the kernel a look at every
//! descriptor for each wait.
//!
//! poll tells levels. A side that was reported is not asked for again until it was drained, so
//! that a descriptor nobody reads from does not keep the loop awake. What poll reports unasked
//! (a hang-up, an error) is silenced by turning the descriptor's number negative.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use libc::{POLLERR, POLLHUP, POLLIN, POLLNVAL, POLLOUT, c_short, pollfd};

use crate::channel::{Flags, Kind, Side, Token};
use crate::sys::level::{Alarm, TRIGGERS, check_pollable};
use crate::sys::{Event, Poller, Wake};
use crate::trigger::Interest;

/// The peer has closed its side. Other systems cannot tell.
#[cfg(target_os = "linux")]
const POLLRDHUP: c_short = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const POLLRDHUP: c_short = 0;

/// Reported whether asked for or not.
const BROKEN: c_short = POLLHUP | POLLERR | POLLNVAL;

/// No place in the array.
const NOWHERE: u32 = u32::MAX;

/// The array that `poll(2)` takes, kept from wait to wait.
pub(crate) struct Poll {
    /// What is watched; the alarm comes first.
    entries: Vec<pollfd>,
    /// Whose the entries are, in the same order.
    owners: Vec<Option<(Token, Kind)>>,
    /// Where a descriptor's entry lies, by its number.
    places: Vec<u32>,
    alarm: Alarm,
}

/// What is asked for from the beginning.
fn asked(kind: Kind) -> c_short {
    match kind {
        Kind::Listener => POLLIN,
        Kind::Stream | Kind::Source | Kind::Watched(Interest::Read, _) => POLLIN | POLLRDHUP,
        Kind::Watched(Interest::Write, _) => POLLOUT,
        Kind::Watched(Interest::Both, _) => POLLIN | POLLRDHUP | POLLOUT,
    }
}

fn facts(events: c_short) -> Flags {
    let mut flags = Flags::NONE;
    let any = |of: c_short| events & of != 0;
    if any(POLLIN | POLLRDHUP) {
        flags.insert(Flags::READABLE);
    }
    if any(POLLOUT) {
        flags.insert(Flags::WRITABLE);
    }
    if any(POLLRDHUP) {
        flags.insert(Flags::PEER_CLOSED);
    }
    if any(BROKEN) {
        let broken = Flags::READABLE.with(Flags::WRITABLE);
        flags.insert(broken.with(Flags::PEER_CLOSED));
    }
    flags
}

impl Poll {
    /// Whether it watches anything but its own alarm.
    pub(crate) fn watches(&self) -> bool {
        self.entries.len() > 1
    }

    fn place(&self, fd: RawFd) -> Option<usize> {
        let place = *self.places.get(fd as usize)?;
        (place != NOWHERE).then_some(place as usize)
    }

    fn forget(&mut self, fd: RawFd) {
        let Some(place) = self.place(fd) else {
            return;
        };
        self.places[fd as usize] = NOWHERE;
        self.entries.swap_remove(place);
        self.owners.swap_remove(place);
        if let Some(moved) = self.entries.get(place) {
            self.places[number(moved.fd) as usize] = place as u32;
        }
    }

    /// Reports what came for one entry, and stops asking for it.
    fn report(&mut self, place: usize, events: &mut Vec<Event>) {
        let entry = &mut self.entries[place];
        let told = std::mem::take(&mut entry.revents);
        let Some((token, kind)) = self.owners[place] else {
            self.alarm.quiet();
            return;
        };
        if !kind.is_level() {
            entry.events &= !told;
            if told & BROKEN != 0 || kind.is_one_shot() {
                entry.fd = !number(entry.fd);
                entry.events = 0;
            }
        }
        let flags = facts(told);
        events.push(Event { token, flags });
    }
}

/// The descriptor of an entry, silenced or not.
fn number(fd: RawFd) -> RawFd {
    if fd < 0 { !fd } else { fd }
}

impl Poll {
    pub(crate) fn new() -> io::Result<Poll> {
        let alarm = Alarm::new()?;
        let entry = pollfd {
            fd: alarm.as_fd().as_raw_fd(),
            events: POLLIN,
            revents: 0,
        };
        Ok(Poll {
            entries: vec![entry],
            owners: vec![None],
            places: Vec::new(),
            alarm,
        })
    }
}

impl Poller for Poll {
    fn name(&self) -> &'static str {
        "poll"
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        self.alarm.wake_handle()
    }

    /// The write side is asked for once it was seen to be full.
    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        check_pollable(fd, kind)?;
        kind.check_trigger("poll(2)", &TRIGGERS)?;
        let fd = fd.as_raw_fd();
        let index = fd as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, NOWHERE);
        }
        self.places[index] = self.entries.len() as u32;
        self.entries.push(pollfd {
            fd,
            events: asked(kind),
            revents: 0,
        });
        self.owners.push(Some((token, kind)));
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _: Kind) {
        self.forget(fd.as_raw_fd());
    }

    #[inline]
    fn rearm(&mut self, fd: BorrowedFd<'_>, _: Token, side: Side) {
        let fd = fd.as_raw_fd();
        let Some(place) = self.place(fd) else {
            return;
        };
        let entry = &mut self.entries[place];
        entry.fd = fd;
        entry.events |= match side {
            Side::Read => POLLIN | POLLRDHUP,
            Side::Write => POLLOUT,
        };
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        self.forget(fd.as_raw_fd());
    }

    fn arm(&mut self, fd: BorrowedFd<'_>, _: Token, kind: Kind) -> io::Result<()> {
        let fd = fd.as_raw_fd();
        if let Some(place) = self.place(fd) {
            let entry = &mut self.entries[place];
            (entry.fd, entry.events) = (fd, asked(kind));
        }
        Ok(())
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout_ms = timeout.map_or(-1, |timeout| {
            i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
        });
        let (entries, count) = (self.entries.as_mut_ptr(), self.entries.len());
        // SAFETY: the pointer and the length are those of one vector of `pollfd`, which nothing
        // else touches during the call. The kernel checks the descriptors themselves.
        let told = unsafe { libc::poll(entries, count as libc::nfds_t, timeout_ms) };
        let Ok(mut told) = usize::try_from(told) else {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(false),
                _ => Err(error),
            };
        };
        let mut place = 0;
        while told > 0 && place < self.entries.len() {
            if self.entries[place].revents != 0 {
                told -= 1;
                self.report(place, events);
            }
            place += 1;
        }
        Ok(false)
    }
}
