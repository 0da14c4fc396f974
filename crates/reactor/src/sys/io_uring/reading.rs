//! The read side: receives and accepts that go on in the kernel, and what they brought in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;

use super::ring::Key;
use super::{Item, State, Uring, index, list};
use crate::buffer::Buffer;
use crate::channel::{Channel, Flags, Slot, Token, Work};
use crate::net::Address;
use crate::op::{ReadOp, ReadOutcome};
use crate::timer_queue::NEVER_MS;

/// Buffers that a channel keeps for a task that does not ask, before its receive is ended.
const STASH_MAX: usize = 2;

/// Capacity of a stash that is kept when it is empty.
const STASH_KEPT: usize = 4;

impl Uring {
    /// Sees to it that the read side's pending operation comes to an end: by what is stashed, by
    /// what is in flight already, or by something new.
    #[inline]
    pub(super) fn arm_read(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        let state = &mut self.states[index(token)];
        let Slot::Pending(op, _) = &channel.read else {
            return;
        };
        if !state.stash.is_empty() {
            return list(&mut self.ready, channel, token);
        }
        if state.multishot.is_some() {
            return;
        }
        match op {
            ReadOp::Recv { .. } => {
                state.multishot = Some(self.ring.recv(token, channel.as_fd()));
            }
            ReadOp::Accept => state.multishot = Some(self.ring.accept(token, channel.as_fd())),
            ReadOp::Ready { .. } if state.read_poll.is_none() => {
                state.read_poll = Some(self.ring.poll_read(token, channel.as_fd()));
            }
            ReadOp::Ready { .. } => {}
        }
    }

    /// Ends the multishot in flight, once.
    fn end_multishot(&mut self, token: Token) {
        let state = &mut self.states[index(token)];
        if let (Some(key), false) = (state.multishot, state.ending) {
            state.ending = true;
            self.ring.cancel(key);
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
        let Some((channel, state)) = self.find(token) else {
            return;
        };
        if !more {
            state.multishot = None;
            state.ending = false;
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
        if let Some(outcome) = outcome {
            deliver(channel, state, outcome, work);
        }
        let stashed = state.stash.len();
        if stashed > 0 && channel.read.is_pending() {
            list(&mut self.ready, self.channels.get_mut(token), token);
        }
        if !more {
            self.arm_read(token);
        } else if stashed >= STASH_MAX {
            self.end_multishot(token);
        }
    }

    pub(super) fn accepted(&mut self, token: Token, more: bool, result: Result<OwnedFd, Errno>) {
        let Some((channel, state)) = self.find(token) else {
            return;
        };
        if !more {
            state.multishot = None;
            state.ending = false;
        }
        if let Some(item) = named(result) {
            state.stash.push_back(Item::Accepted(item));
        }
        let stashed = state.stash.len();
        let mut enough = false;
        if let Some(accepted) = channel.accepted.as_deref_mut() {
            accepted.since_rotation += 1;
            enough = stashed >= accepted.budget as usize;
            // Asking anew puts this loop behind the others that share the listener.
            if accepted.rotate_after != 0 && accepted.since_rotation >= accepted.rotate_after {
                accepted.since_rotation = 0;
                enough = true;
            }
        }
        if !more {
            self.arm_read(token);
        } else {
            if stashed > 0 && channel.read.is_pending() {
                list(&mut self.ready, self.channels.get_mut(token), token);
            }
            if enough {
                self.end_multishot(token);
            }
        }
    }

    pub(super) fn read_ready(&mut self, token: Token, work: &mut Work<'_>) {
        let Some((channel, state)) = self.find(token) else {
            return;
        };
        state.read_poll = None;
        if matches!(channel.read, Slot::Pending(ReadOp::Ready { .. }, _)) {
            channel.read_deadline_ms = NEVER_MS;
            work.woken.extend(channel.read.complete(ReadOutcome::Ready));
        }
    }

    /// Gives what is stashed to the operation that asks for it: one buffer, or as many connections
    /// as the budget has.
    pub(super) fn give(&mut self, token: Token, work: &mut Work<'_>) {
        let Some((channel, state)) = self.find(token) else {
            return;
        };
        let Slot::Pending(op, _) = &channel.read else {
            return;
        };
        let outcome = match op {
            ReadOp::Ready { .. } if state.stash.is_empty() => return,
            ReadOp::Ready { .. } => ReadOutcome::Ready,
            ReadOp::Recv { .. } | ReadOp::Accept => match give_some(channel, state) {
                Some(outcome) => outcome,
                None => return,
            },
        };
        if state.stash.is_empty() && state.stash.capacity() > STASH_KEPT {
            state.stash = Default::default();
        }
        channel.read_deadline_ms = NEVER_MS;
        work.woken.extend(channel.read.complete(outcome));
    }

    /// A listener that nobody asks any more: what it accepted is what the next one asks for, or
    /// what is taken over before it is dropped, so that all of it has to be here.
    pub(super) fn end_accept(&mut self, token: Token) {
        let state = &mut self.states[index(token)];
        if let Some(key) = state.multishot {
            self.end_multishot(token);
            // What fails here fails again in the next wait, which says so.
            let _ = self.flush();
            self.take_accepted(token, key);
        }
        self.queue_stash(token);
    }

    /// Stashes what the kernel has accepted for a listener and not told yet.
    fn take_accepted(&mut self, token: Token, key: Key) {
        self.ring.reap();
        while let Some(result) = self.ring.take_accepted(key) {
            if let Some(item) = named(result) {
                self.states[index(token)]
                    .stash
                    .push_back(Item::Accepted(item));
            }
        }
    }

    /// Moves the stash of a listener to where the next accept looks first.
    fn queue_stash(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        let state = &mut self.states[index(token)];
        if let Some(accepted) = channel.accepted.as_deref_mut() {
            for item in state.stash.drain(..) {
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

/// Hands on what a receive brought in: to the operation that waits, or to the next one.
#[inline]
fn deliver(channel: &mut Channel, state: &mut State, outcome: ReadOutcome, work: &mut Work<'_>) {
    if !state.stash.is_empty() {
        return state.stash.push_back(Item::Read(outcome));
    }
    match &channel.read {
        Slot::Idle => channel.read = Slot::Done(outcome),
        Slot::Done(_) => state.stash.push_back(Item::Read(outcome)),
        Slot::Pending(op, _) => {
            // A wait for readiness takes nothing; bytes it leaves to the next by itself.
            let is_wait = matches!(op, ReadOp::Ready { .. });
            let outcome = if is_wait && matches!(outcome, ReadOutcome::Failed(_)) {
                state.stash.push_back(Item::Read(outcome));
                ReadOutcome::Ready
            } else {
                outcome
            };
            channel.read_deadline_ms = NEVER_MS;
            work.woken.extend(channel.read.complete(outcome));
        }
    }
}

fn give_some(channel: &mut Channel, state: &mut State) -> Option<ReadOutcome> {
    match state.stash.pop_front()? {
        Item::Read(outcome) => Some(outcome),
        Item::Accepted(first) => {
            let accepted = channel.accepted.as_deref_mut()?;
            accepted.queue.push_back(first);
            for _ in 1..accepted.budget {
                if let Some(Item::Accepted(next)) = state.stash.pop_front() {
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
