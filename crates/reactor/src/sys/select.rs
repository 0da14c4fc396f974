//! The poller over `select(2)`: the oldest way to wait for several descriptors, and limited to
//! those with a number below `FD_SETSIZE`.
//!
//! select tells levels, and no more than which descriptors can be read and written. A side that
//! was reported is taken out of its set until it was drained. That a peer has closed its side is
//! known once the end was received.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use libc::FD_SETSIZE;
use rustix::event::{
    FdSetElement, FdSetIter, Timespec, fd_set_bound, fd_set_insert, fd_set_num_elements,
    fd_set_remove,
};
use rustix::io::Errno;

use crate::channel::{Flags, Kind, Side, Token};
use crate::sys::level::{Alarm, TRIGGERS, check_pollable};
use crate::sys::{Event, Poller, Wake};

/// The sets that are asked for, and those that select answers with.
pub(crate) struct Select {
    read: Vec<FdSetElement>,
    write: Vec<FdSetElement>,
    can_read: Vec<FdSetElement>,
    can_write: Vec<FdSetElement>,
    /// Whose the descriptors are, by their number.
    owners: Vec<Option<(Token, Kind)>>,
    alarm: Alarm,
}

/// A descriptor that fits into the sets.
fn within_limit(fd: BorrowedFd<'_>) -> io::Result<RawFd> {
    let fd = fd.as_raw_fd();
    if (fd as usize) < FD_SETSIZE {
        return Ok(fd);
    }
    let message = format!(
        "select(2) takes descriptors below FD_SETSIZE ({FD_SETSIZE}) and this is number {fd}: \
         choose another driver"
    );
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

impl Select {
    fn forget(&mut self, fd: RawFd) {
        if let Some(owner) = self.owners.get_mut(fd as usize) {
            *owner = None;
            fd_set_remove(&mut self.read, fd);
            fd_set_remove(&mut self.write, fd);
        }
    }

    /// Puts a descriptor into the sets that it is to be in from the beginning.
    fn ask_for(&mut self, fd: RawFd, kind: Kind) {
        let (reads, writes) = match kind {
            Kind::Watched(interest, _) => (interest.reads(), interest.writes()),
            Kind::Stream | Kind::Listener | Kind::Source => (true, false),
        };
        if reads {
            fd_set_insert(&mut self.read, fd);
        }
        if writes {
            fd_set_insert(&mut self.write, fd);
        }
    }

    /// Asks the kernel, and leaves its answer in the sets.
    fn ask(&mut self, timeout: Option<Timespec>) -> Result<i32, Errno> {
        self.can_read.copy_from_slice(&self.read);
        self.can_write.copy_from_slice(&self.write);
        let bound = fd_set_bound(&self.read).max(fd_set_bound(&self.write));
        let sets = (&mut self.can_read[..], &mut self.can_write[..]);
        // SAFETY: both sets have room for FD_SETSIZE descriptors, and `bound` is no larger
        // because it was computed of sets of the same length. Only open descriptors are in
        // them: a channel is removed before its descriptor is closed.
        unsafe { rustix::event::select(bound, Some(sets.0), Some(sets.1), None, timeout.as_ref()) }
    }

    fn report(&mut self, events: &mut Vec<Event>) {
        for fd in FdSetIter::new(&self.can_read) {
            match self.owners[fd as usize] {
                Some((token, kind)) => {
                    if !kind.is_level() {
                        fd_set_remove(&mut self.read, fd);
                    }
                    if kind.is_one_shot() {
                        fd_set_remove(&mut self.write, fd);
                    }
                    let flags = Flags::READABLE;
                    events.push(Event { token, flags });
                }
                None => self.alarm.quiet(),
            }
        }
        for fd in FdSetIter::new(&self.can_write) {
            if let Some((token, kind)) = self.owners[fd as usize] {
                if !kind.is_level() {
                    fd_set_remove(&mut self.write, fd);
                }
                if kind.is_one_shot() {
                    fd_set_remove(&mut self.read, fd);
                }
                let both = |event: &&mut Event| kind.is_anything() && event.token == token;
                match events.iter_mut().find(both) {
                    Some(event) => event.flags.insert(Flags::WRITABLE),
                    None => events.push(Event {
                        token,
                        flags: Flags::WRITABLE,
                    }),
                }
            }
        }
    }
}

impl Select {
    pub(crate) fn new() -> io::Result<Select> {
        let alarm = Alarm::new()?;
        let number = within_limit(alarm.as_fd())?;
        let empty = vec![FdSetElement::default(); fd_set_num_elements(0, FD_SETSIZE as RawFd)];
        let mut read = empty.clone();
        fd_set_insert(&mut read, number);
        Ok(Select {
            read,
            write: empty.clone(),
            can_read: empty.clone(),
            can_write: empty,
            owners: vec![None; FD_SETSIZE],
            alarm,
        })
    }
}

impl Poller for Select {
    fn name(&self) -> &'static str {
        "select"
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        self.alarm.wake_handle()
    }

    /// The write side is asked for once it was seen to be full.
    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        let number = within_limit(fd)?;
        check_pollable(fd, kind)?;
        kind.check_trigger("select(2)", &TRIGGERS)?;
        self.owners[number as usize] = Some((token, kind));
        self.ask_for(number, kind);
        Ok(())
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, _: Kind) {
        self.forget(fd.as_raw_fd());
    }

    #[inline]
    fn rearm(&mut self, fd: BorrowedFd<'_>, _: Token, side: Side) {
        let set = match side {
            Side::Read => &mut self.read,
            Side::Write => &mut self.write,
        };
        fd_set_insert(set, fd.as_raw_fd());
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        self.forget(fd.as_raw_fd());
    }

    fn arm(&mut self, fd: BorrowedFd<'_>, _: Token, kind: Kind) -> io::Result<()> {
        self.ask_for(fd.as_raw_fd(), kind);
        Ok(())
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        // Some systems refuse a wait of more than 100,000,000 seconds; an earlier end does no harm.
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().min(1_000_000) as i64,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        match self.ask(timeout) {
            Ok(0) | Err(Errno::INTR) => Ok(false),
            Ok(_) => {
                self.report(events);
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
