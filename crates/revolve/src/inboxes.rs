//! The sockets over which workers send each other connections.
//!
//! Each place among the workers has one inbox, which outlives the worker: what lies in it when that
//! dies its successor serves.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::control;
use crate::message::Dealing;

/// What may lie unread in an inbox. The kernel doubles it, and counts some 800 bytes for a connection:
/// room for the share of a full backlog, where one worker accepts it all before another runs.
const INBOX_BYTES: usize = 64 * 1024;

/// A way for connections: where they go in, and where they come out.
pub(crate) fn pair(unread_bytes_max: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (into, out_of) = control::pair()?;
    rustix::io::ioctl_fionbio(&out_of, true)?;
    rustix::net::sockopt::set_socket_send_buffer_size(&into, unread_bytes_max)?;
    Ok((into, out_of))
}

struct Inbox {
    into: OwnedFd,
    out_of: OwnedFd,
}

/// The inboxes of all workers, by their place.
#[derive(Default)]
pub(crate) struct Inboxes(Vec<Inbox>);

impl Inboxes {
    /// Makes them as many as there are workers; none for one that is alone.
    pub(crate) fn set_count(&mut self, workers: usize) -> io::Result<()> {
        let wanted = if workers > 1 { workers } else { 0 };
        self.0.truncate(wanted);
        while self.0.len() < wanted {
            let (into, out_of) = pair(INBOX_BYTES)?;
            self.0.push(Inbox { into, out_of });
        }
        Ok(())
    }

    /// What the worker at a place needs to deal with the others.
    pub(crate) fn of(&self, worker: usize) -> Option<Dealing<BorrowedFd<'_>>> {
        self.0.get(worker)?;
        Some(Dealing {
            own: worker as u64,
            group: std::process::id().into(),
            inboxes: self.0.iter().map(|inbox| inbox.out_of.as_fd()).collect(),
            others: self.0.iter().map(|inbox| inbox.into.as_fd()).collect(),
        })
    }
}
