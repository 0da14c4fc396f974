//! The read side: receives and accepts that go on in the kernel, and what they brought in.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::{Item, Uring, bits, has, list, ring};
use crate::buffer::Buffer;
use crate::channel::{Accepted, Channel, Flags, Kind, Slot, Token, Work};
use crate::net::Address;
use crate::op::{ReadOp, ReadOutcome};
use crate::timer_queue::NEVER_MS;

/// Buffers that a channel keeps for a task that does not ask, before its receive is ended.
const STASH_MAX: usize = 2;

/// What a channel of a kind has as its multishot.
pub(super) fn multishot(kind: Kind) -> ring::Kind {
    match kind {
        Kind::Listener => ring::Kind::Accept,
        Kind::Stream | Kind::Source => ring::Kind::Recv,
    }
}

impl Uring {
    /// Sees to it that the read side's pending operation comes to an end: by what is stashed, by
    /// what is in flight already, or by something new.
    #[inline]
    pub(super) fn arm_read(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        let Slot::Pending(op, _) = &channel.read else {
            return;
        };
        if has(channel, bits::STASHED) {
            return list(&mut self.ready, channel, token);
        }
        if has(channel, bits::MULTISHOT) {
            if has(channel, bits::DIRECT) && matches!(op, ReadOp::Ready { .. }) {
                self.end_multishot(token);
            }
            return;
        }
        match op {
            ReadOp::Recv { .. } => {
                channel.in_flight |= bits::MULTISHOT;
                self.ring.recv(token, channel.as_fd());
            }
            ReadOp::Accept => {
                channel.in_flight |= bits::MULTISHOT;
                self.ring.accept(token, channel.as_fd());
            }
            ReadOp::Ready { .. } if !has(channel, bits::READ_POLL) => {
                channel.in_flight |= bits::READ_POLL;
                self.ring.poll_read(token, channel.as_fd());
            }
            ReadOp::Ready { .. } => {}
        }
    }

    /// Ends the multishot in flight, once.
    fn end_multishot(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        if has(channel, bits::MULTISHOT) && !has(channel, bits::ENDING) {
            channel.in_flight |= bits::ENDING;
            self.ring.cancel(token, multishot(channel.kind));
        }
    }

    #[inline]
    pub(super) fn received(
        &mut self,
        token: Token,
        more: bool,
        result: Result<Buffer, Errno>,
        work: &mut Work<'_>,
    ) {
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        if !more {
            channel.in_flight &= !(bits::MULTISHOT | bits::ENDING);
        }
        let outcome = match result {
            Ok(buffer) => {
                if buffer.is_empty() {
                    channel.flags.insert(Flags::PEER_CLOSED);
                }
                Some(ReadOutcome::Received(buffer))
            }
            // It was ended, or found no buffer: nothing has come in.
            Err(Errno::CANCELED | Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => None,
            Err(error) => {
                channel.flags.insert(Flags::PEER_CLOSED);
                Some(ReadOutcome::Failed(error.into()))
            }
        };
        let mut stashed = 0;
        if let Some(outcome) = outcome
            && let Some(left) = deliver(channel, outcome, work)
        {
            stashed = stash(&mut self.stashes, channel, token, Item::Read(left));
            if channel.read.is_pending() {
                list(&mut self.ready, channel, token);
            }
        }
        if !more {
            self.arm_read(token);
        } else if stashed >= STASH_MAX {
            self.end_multishot(token);
        }
    }

    pub(super) fn accepted(&mut self, token: Token, more: bool, result: Result<OwnedFd, Errno>) {
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        if !more {
            channel.in_flight &= !(bits::MULTISHOT | bits::ENDING);
        }
        if let Some(item) = named(result) {
            let stashed = stash(&mut self.stashes, channel, token, Item::Accepted(item));
            if channel.read.is_pending() {
                list(&mut self.ready, channel, token);
            }
            let accepted = channel.accepted.as_deref_mut();
            if more && accepted.is_some_and(|accepted| is_enough(accepted, stashed)) {
                self.end_multishot(token);
            }
        }
        if !more {
            self.arm_read(token);
        }
    }

    pub(super) fn read_ready(&mut self, token: Token, work: &mut Work<'_>) {
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        channel.in_flight &= !bits::READ_POLL;
        if matches!(channel.read, Slot::Pending(ReadOp::Ready { .. }, _)) {
            channel.read_deadline_ms = NEVER_MS;
            work.woken.wake(channel.read.complete(ReadOutcome::Ready));
        }
    }

    /// Gives what is stashed to the operation that asks for it: one buffer, or as many connections
    /// as the budget has.
    pub(super) fn give(&mut self, token: Token, work: &mut Work<'_>) {
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        let Slot::Pending(op, _) = &channel.read else {
            return;
        };
        let Some(stash) = self.stashes.get_mut(&token.to_u64()) else {
            return;
        };
        let direct = has(channel, bits::DIRECT);
        let outcome = match op {
            ReadOp::Ready { .. } if !direct => Some(ReadOutcome::Ready),
            ReadOp::Ready { .. } | ReadOp::Recv { .. } | ReadOp::Accept => {
                give_some(channel, stash)
            }
        };
        if stash.is_empty() {
            self.stashes.remove(&token.to_u64());
            channel.in_flight &= !bits::STASHED;
        }
        if let Some(outcome) = outcome {
            channel.read_deadline_ms = NEVER_MS;
            work.woken.wake(channel.read.complete(outcome));
        }
    }

    /// A listener that nobody asks any more: what it accepted is what the next one asks for, or
    /// what is taken over before it is dropped, so that all of it has to be here.
    pub(super) fn end_accept(&mut self, token: Token) {
        if has(self.channels.get(token), bits::MULTISHOT) {
            self.end_multishot(token);
            // What fails here fails again in the next wait, which says so.
            let _ = self.flush();
            self.ring.reap();
            while let Some(result) = self.ring.take_accepted(token) {
                if let Some(item) = named(result) {
                    let channel = self.channels.get_mut(token);
                    stash(&mut self.stashes, channel, token, Item::Accepted(item));
                }
            }
        }
        self.queue_stash(token);
    }

    /// Moves the stash of a listener to where the next accept looks first.
    fn queue_stash(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        if !has(channel, bits::STASHED) {
            return;
        }
        channel.in_flight &= !bits::STASHED;
        let stash = self.stashes.remove(&token.to_u64()).unwrap_or_default();
        if let Some(accepted) = channel.accepted.as_deref_mut() {
            for item in stash {
                if let Item::Accepted(item) = item {
                    accepted.queue.push_back(item);
                }
            }
        }
    }

    /// Before the loop waits: listeners that nobody asks accept no more, so that connections go to
    /// the other loops.
    pub(super) fn tidy_listeners(&mut self) {
        for at in 0..self.listeners.len() {
            let token = self.listeners[at];
            if !self.channels.get(token).read.is_pending() {
                self.end_multishot(token);
                self.queue_stash(token);
            }
        }
    }
}

/// Adds to a channel's stash, and says how much it holds.
fn stash(
    stashes: &mut HashMap<u64, VecDeque<Item>>,
    channel: &mut Channel,
    token: Token,
    item: Item,
) -> usize {
    channel.in_flight |= bits::STASHED;
    let stash = stashes.entry(token.to_u64()).or_default();
    stash.push_back(item);
    stash.len()
}

/// Hands on what a receive brought in, to the operation that waits or to the next one; gives back
/// what is to be stashed.
#[inline]
fn deliver(
    channel: &mut Channel,
    outcome: ReadOutcome,
    work: &mut Work<'_>,
) -> Option<ReadOutcome> {
    if has(channel, bits::STASHED) {
        return Some(outcome);
    }
    let (outcome, left) = match &channel.read {
        Slot::Idle => {
            channel.read = Slot::Done(outcome);
            return None;
        }
        Slot::Done(_) | Slot::Gone => return Some(outcome),
        // A wait for readiness leaves bytes to the next operation by itself, but no error.
        Slot::Pending(ReadOp::Ready { .. }, _)
            if matches!(outcome, ReadOutcome::Failed(_)) && !has(channel, bits::DIRECT) =>
        {
            (ReadOutcome::Ready, Some(outcome))
        }
        Slot::Pending(..) => (outcome, None),
    };
    channel.read_deadline_ms = NEVER_MS;
    work.woken.wake(channel.read.complete(outcome));
    left
}

/// True if a listener has accepted enough for now: it has a budget, and asking anew puts this loop
/// behind the others that share it.
fn is_enough(accepted: &mut Accepted, stashed: usize) -> bool {
    accepted.since_rotation += 1;
    let rotates = accepted.rotate_after != 0 && accepted.since_rotation >= accepted.rotate_after;
    if rotates {
        accepted.since_rotation = 0;
    }
    rotates || stashed >= accepted.budget as usize
}

fn give_some(channel: &mut Channel, stash: &mut VecDeque<Item>) -> Option<ReadOutcome> {
    match stash.pop_front()? {
        Item::Read(outcome) => Some(outcome),
        Item::Accepted(first) => {
            let accepted = channel.accepted.as_deref_mut()?;
            accepted.queue.push_back(first);
            for _ in 1..accepted.budget {
                if let Some(Item::Accepted(next)) = stash.pop_front() {
                    accepted.queue.push_back(next);
                }
            }
            Some(ReadOutcome::Ready)
        }
    }
}

/// An accepted connection with its peer; nothing for one that its peer has given up already.
fn named(result: Result<OwnedFd, Errno>) -> Option<io::Result<(OwnedFd, Address)>> {
    match result {
        Ok(fd) => match rustix::net::getpeername(&fd) {
            Ok(peer) => Some(Ok((fd, peer.map_or(Address::UNNAMED, Address::from)))),
            Err(_) => None,
        },
        Err(Errno::CANCELED | Errno::INTR | Errno::AGAIN | Errno::CONNABORTED | Errno::PROTO) => {
            None
        }
        Err(error) => Some(Err(error.into())),
    }
}
