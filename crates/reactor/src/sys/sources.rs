//! Descriptors that tell of changes (inotify(7), signals), looked at in between.
//!
//! One look of a driver's does not tell of everything that is ready, and what comes after it may
//! find a stream that it has told of. What a source tells is known nevertheless before any task sees
//! what a stream has received after it, because a turn whose look was not exhaustive asks the
//! sources themselves once it has received.

use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::channel::{Channel, Token};

/// Sources asked in one call.
const ASKED: usize = 8;

/// The sources of a driver.
#[derive(Default)]
pub(crate) struct Sources(Vec<Rc<Channel>>);

impl Sources {
    pub(crate) fn add(&mut self, source: &Rc<Channel>) {
        self.0.push(Rc::clone(source));
    }

    pub(crate) fn remove(&mut self, token: Token) {
        self.0.retain(|source| source.token() != token);
    }

    /// Tells which sources are ready at this moment, by poll(2). The driver will find the same once
    /// more, which does no harm.
    pub(crate) fn look(&self, mut tell: impl FnMut(&Channel)) {
        for sources in self.0.chunks(ASKED) {
            let last = sources.len() - 1;
            let mut asked: [PollFd<'_>; ASKED] = std::array::from_fn(|at| {
                PollFd::from_borrowed_fd(sources[at.min(last)].as_fd(), PollFlags::IN)
            });
            let answered = poll(&mut asked[..=last], Some(&Timespec::default())).is_ok();
            for (source, asked) in sources.iter().zip(&asked) {
                // Where there was no answer, a look too many is what does no harm.
                if !answered || !asked.revents().is_empty() {
                    tell(source);
                }
            }
        }
    }
}
