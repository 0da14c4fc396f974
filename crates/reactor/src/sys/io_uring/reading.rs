//! The read side: receives and accepts that go on in the kernel, and what they brought in.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::io::Errno;

use super::buffers::BUFFERS;
use super::{Item, Uring, bits, has, list, ring};
use crate::buffer::Buffer;
use crate::channel::{Accepted, Channel, ChannelState, Flags, Kind, Slot, Work};
use crate::net::Address;
use crate::op::{ReadOp, ReadOutcome};
use crate::timer_queue::NEVER_MS;

/// Buffers that a channel keeps for a task that does not ask, before its receive is ended.
const STASH_MAX: usize = 2;

/// Receives that begin again in one turn after they have found no buffer: what they take is at most half
/// of the buffers, and the rest is for the receives that go on.
const FED_MAX: usize = BUFFERS as usize / 2;

/// What a channel of a kind has as its multishot.
pub(super) fn multishot(kind: Kind) -> ring::Kind {
    match kind {
        Kind::Listener => ring::Kind::Accept,
        Kind::Stream | Kind::Source | Kind::Watched(..) => ring::Kind::Recv,
    }
}

impl Uring {
    /// Sees to it that the read side's pending operation comes to an end: by what is stashed, by
    /// what is in flight already, or by something new.
    #[inline]
    pub(super) fn arm_read(&mut self, channel: &Channel, state: &mut ChannelState) {
        let Slot::Pending(op, _) = &state.read else {
            return;
        };
        if has(state, bits::STASHED) {
            return list(&mut self.ready, channel, state);
        }
        if has(state, bits::MULTISHOT) {
            if has(state, bits::DIRECT) && matches!(op, ReadOp::Ready { .. }) {
                self.end_multishot(channel, state);
            }
            return;
        }
        match op {
            ReadOp::Recv { .. } if has(state, bits::STARVED) => {}
            ReadOp::Recv { .. } => {
                state.in_flight |= bits::MULTISHOT;
                self.ring.recv(channel.token(), channel.as_fd());
            }
            ReadOp::Accept => {
                state.in_flight |= bits::MULTISHOT;
                self.ring.accept(channel.token(), channel.as_fd());
            }
            ReadOp::Ready { .. } if matches!(channel.kind(), Kind::Watched(..)) => {
                if channel.kind().is_level() && !has(state, bits::READ_POLL) {
                    self.watch(channel, state);
                }
            }
            ReadOp::Ready { .. } if !has(state, bits::READ_POLL) => {
                state.in_flight |= bits::READ_POLL;
                self.ring.poll_read(channel.token(), channel.as_fd());
            }
            ReadOp::Ready { .. } => {}
        }
    }

    /// Ends the multishot in flight, once.
    fn end_multishot(&mut self, channel: &Channel, state: &mut ChannelState) {
        if has(state, bits::MULTISHOT) && !has(state, bits::ENDING) {
            state.in_flight |= bits::ENDING;
            self.ring.cancel(channel.token(), multishot(channel.kind()));
        }
    }

    #[inline]
    pub(super) fn received(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        more: bool,
        result: Result<Buffer, Errno>,
        work: &mut Work<'_>,
    ) {
        if !more {
            state.in_flight &= !(bits::MULTISHOT | bits::ENDING);
        }
        let outcome = match result {
            // The buffers are back by now, but if all who found none asked again at once, most would
            // find none again.
            Err(Errno::NOBUFS) if !more => return self.starve(channel, state),
            Ok(buffer) => {
                if buffer.is_empty() {
                    state.flags.insert(Flags::PEER_CLOSED);
                }
                Some(ReadOutcome::Received(buffer))
            }
            // It was ended: nothing has come in.
            Err(Errno::CANCELED | Errno::NOBUFS | Errno::INTR | Errno::AGAIN) => None,
            Err(error) => {
                state.flags.insert(Flags::PEER_CLOSED);
                Some(ReadOutcome::Failed(error.into()))
            }
        };
        let mut stashed = 0;
        if let Some(outcome) = outcome
            && let Some(left) = deliver(state, outcome, work)
        {
            stashed = stash(&mut self.stashes, channel, state, Item::Read(left));
            if state.read.is_pending() {
                list(&mut self.ready, channel, state);
            }
        }
        if !more {
            self.arm_read(channel, state);
        } else if stashed >= STASH_MAX {
            self.end_multishot(channel, state);
        }
    }

    fn starve(&mut self, channel: &Channel, state: &mut ChannelState) {
        state.in_flight |= bits::STARVED;
        self.starved.push_back(channel.token());
    }

    /// Lets some of those receive again that have found no buffer.
    pub(super) fn feed_starved(&mut self) {
        for _ in 0..self.starved.len().min(FED_MAX) {
            let Some(token) = self.starved.pop_front() else {
                break;
            };
            if let Some(channel) = self.channels.find(token).cloned() {
                let state = &mut *channel.state();
                state.in_flight &= !bits::STARVED;
                self.arm_read(&channel, state);
            }
        }
    }

    pub(super) fn accepted(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        more: bool,
        result: Result<OwnedFd, Errno>,
    ) {
        if !more {
            state.in_flight &= !(bits::MULTISHOT | bits::ENDING);
        }
        if let Some(item) = named(result) {
            let stashed = stash(&mut self.stashes, channel, state, Item::Accepted(item));
            if state.read.is_pending() {
                list(&mut self.ready, channel, state);
            }
            let accepted = state.accepted.as_deref_mut();
            if more && accepted.is_some_and(|accepted| is_enough(accepted, stashed)) {
                self.end_multishot(channel, state);
            }
        }
        if !more {
            self.arm_read(channel, state);
        }
    }

    /// Gives what is stashed to the operation that asks for it: one buffer, or as many connections
    /// as the budget has.
    pub(super) fn give(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        work: &mut Work<'_>,
    ) {
        let Slot::Pending(op, _) = &state.read else {
            return;
        };
        let name = channel.token().to_u64();
        let Some(stash) = self.stashes.get_mut(&name) else {
            return;
        };
        let direct = has(state, bits::DIRECT);
        let outcome = match op {
            ReadOp::Ready { .. } if !direct => Some(ReadOutcome::Ready),
            ReadOp::Ready { .. } | ReadOp::Recv { .. } | ReadOp::Accept => give_some(state, stash),
        };
        if stash.is_empty() {
            self.stashes.remove(&name);
            state.in_flight &= !bits::STASHED;
        }
        if let Some(outcome) = outcome {
            state.read_deadline_ms = NEVER_MS;
            work.woken.wake(state.read.complete(outcome));
        }
    }

    /// A listener that nobody asks any more: what it accepted is what the next one asks for, or
    /// what is taken over before it is dropped, so that all of it has to be here.
    pub(super) fn end_accept(&mut self, channel: &Channel, state: &mut ChannelState) {
        if has(state, bits::MULTISHOT) {
            self.end_multishot(channel, state);
            // What fails here fails again in the next wait, which says so.
            let _ = self.flush();
            self.ring.reap();
            while let Some(result) = self.ring.take_accepted(channel.token()) {
                if let Some(item) = named(result) {
                    stash(&mut self.stashes, channel, state, Item::Accepted(item));
                }
            }
        }
        self.queue_stash(channel, state);
    }

    /// Moves the stash of a listener to where the next accept looks first.
    fn queue_stash(&mut self, channel: &Channel, state: &mut ChannelState) {
        if !has(state, bits::STASHED) {
            return;
        }
        state.in_flight &= !bits::STASHED;
        let name = channel.token().to_u64();
        let stash = self.stashes.remove(&name).unwrap_or_default();
        if let Some(accepted) = state.accepted.as_deref_mut() {
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
            let listener = Rc::clone(&self.listeners[at]);
            let state = &mut *listener.state();
            if !state.read.is_pending() {
                self.end_multishot(&listener, state);
                self.queue_stash(&listener, state);
            }
        }
    }
}

/// The ring's poll tells that there is something to read.
pub(super) fn read_ready(state: &mut ChannelState, work: &mut Work<'_>) {
    state.in_flight &= !bits::READ_POLL;
    tell_ready(state, work);
}

/// Ends a wait for readiness, if there is one.
pub(super) fn tell_ready(state: &mut ChannelState, work: &mut Work<'_>) {
    if matches!(state.read, Slot::Pending(ReadOp::Ready { .. }, _)) {
        state.read_deadline_ms = NEVER_MS;
        work.woken.wake(state.read.complete(ReadOutcome::Ready));
    }
}

/// Adds to a channel's stash, and says how much it holds.
fn stash(
    stashes: &mut HashMap<u64, VecDeque<Item>>,
    channel: &Channel,
    state: &mut ChannelState,
    item: Item,
) -> usize {
    state.in_flight |= bits::STASHED;
    let stash = stashes.entry(channel.token().to_u64()).or_default();
    stash.push_back(item);
    stash.len()
}

/// Hands on what a receive brought in, to the operation that waits or to the next one; gives back
/// what is to be stashed.
#[inline]
fn deliver(
    state: &mut ChannelState,
    outcome: ReadOutcome,
    work: &mut Work<'_>,
) -> Option<ReadOutcome> {
    if has(state, bits::STASHED) {
        return Some(outcome);
    }
    let (outcome, left) = match &state.read {
        Slot::Idle => {
            state.read = Slot::Done(outcome);
            return None;
        }
        Slot::Done(_) | Slot::Gone => return Some(outcome),
        // A wait for readiness leaves bytes to the next operation by itself, but no error.
        Slot::Pending(ReadOp::Ready { .. }, _)
            if matches!(outcome, ReadOutcome::Failed(_)) && !has(state, bits::DIRECT) =>
        {
            (ReadOutcome::Ready, Some(outcome))
        }
        Slot::Pending(..) => (outcome, None),
    };
    state.read_deadline_ms = NEVER_MS;
    work.woken.wake(state.read.complete(outcome));
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

fn give_some(state: &mut ChannelState, stash: &mut VecDeque<Item>) -> Option<ReadOutcome> {
    match stash.pop_front()? {
        Item::Read(outcome) => Some(outcome),
        Item::Accepted(first) => {
            let accepted = state.accepted.as_deref_mut()?;
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
