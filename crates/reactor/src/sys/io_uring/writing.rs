//! The write side: sends through the ring, and what is performed when the ring's poll tells.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::ring::{self, Load};
use super::{Uring, bits, has, list};
use crate::channel::{Channel, ChannelState, Flags, Slot, Token, Work, Written};
use crate::op::{self, WriteOp, WriteOutcome};
use crate::send_queue::SendQueue;
use crate::timer_queue::NEVER_MS;

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Uring {
    /// Begins the pending write, unless one that was given up is still in flight.
    #[inline]
    pub(super) fn start_write(&mut self, channel: &Channel, state: &mut ChannelState) {
        if has(state, bits::WRITE) {
            return;
        }
        let Slot::Pending(op, _) = &mut state.write else {
            return;
        };
        match op {
            WriteOp::Send { queue, .. } if !queue.has_files() => {
                let queue = std::mem::replace(queue, SendQueue::lent());
                self.send(channel, state, Load::Queue(queue));
            }
            WriteOp::Send { .. } if state.flags.has(Flags::WRITABLE) => {
                list(&mut self.ready, channel, state);
            }
            WriteOp::Send { .. } | WriteOp::Connect { .. } | WriteOp::Ready => {
                state.in_flight |= bits::WRITE_POLL;
                self.ring.poll_write(channel.token(), channel.as_fd());
            }
        }
    }

    #[inline]
    pub(super) fn send(&mut self, channel: &Channel, state: &mut ChannelState, load: Load) {
        state.in_flight |= bits::SEND;
        state.send_key = self.ring.send(channel.token(), channel.as_fd(), load);
    }

    /// A write was given up: what is in flight ends by itself, and keeps its memory until then.
    pub(super) fn orphan_write(&mut self, channel: &Channel, state: &mut ChannelState) {
        if !has(state, bits::WRITE) || has(state, bits::ORPHANED) {
            return;
        }
        state.in_flight |= bits::ORPHANED;
        if has(state, bits::SEND) {
            self.ring.cancel_send(state.send_key);
        } else {
            self.ring.cancel(channel.token(), ring::Kind::PollWrite);
        }
    }

    /// A send whose deadline has passed fails when the kernel has given its memory back.
    pub(super) fn expire_write(&mut self, token: Token, now_ms: u64) {
        let Some(channel) = self.channels.find(token).cloned() else {
            return;
        };
        let state = &mut *channel.state();
        let overdue = state.write_deadline_ms <= now_ms && state.write.is_pending();
        if !overdue || has(state, bits::ORPHANED) {
            return;
        }
        if has(state, bits::SEND) {
            state.write_deadline_ms = NEVER_MS;
            state.in_flight |= bits::OVERDUE;
            self.ring.cancel_send(state.send_key);
        } else {
            self.orphan_write(&channel, state);
        }
    }

    /// A send through the ring has ended.
    #[inline]
    pub(super) fn sent(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        result: Result<u64, Errno>,
        mut load: Load,
        work: &mut Work<'_>,
    ) {
        let overdue = has(state, bits::OVERDUE);
        let orphaned = has(state, bits::ORPHANED);
        state.in_flight &= !(bits::SEND | bits::OVERDUE | bits::ORPHANED);
        if orphaned || !state.write.is_pending() {
            discard(load, work);
            return self.start_write(channel, state);
        }
        let is_sent = result.is_ok_and(|bytes| load.advance(bytes));
        load.move_sent(work.sent);
        let again = matches!(result, Err(Errno::INTR | Errno::AGAIN | Errno::CANCELED));
        let outcome = match result {
            Ok(_) if is_sent => Ok(()),
            Err(error) if !again => Err(error.into()),
            _ if overdue => Err(timed_out()),
            _ => {
                if let Slot::Pending(WriteOp::Send { stall_ms, .. }, _) = &state.write
                    && *stall_ms != 0
                    && !again
                {
                    state.write_deadline_ms = work.now_ms.saturating_add(u64::from(*stall_ms));
                    state.write_asked = 0;
                }
                return self.send(channel, state, load);
            }
        };
        state.write_deadline_ms = NEVER_MS;
        let outcome = WriteOutcome {
            result: outcome,
            queue: load.end(work.sent),
        };
        work.woken.wake(state.write.complete(outcome));
    }

    /// The ring's poll tells that there is room, or that a connect has come to an end.
    pub(super) fn write_ready(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        work: &mut Work<'_>,
    ) {
        let orphaned = has(state, bits::ORPHANED);
        state.in_flight &= !(bits::WRITE_POLL | bits::ORPHANED);
        if orphaned {
            return self.start_write(channel, state);
        }
        state.flags.insert(Flags::WRITABLE);
        self.perform_write(channel, state, work);
    }

    /// Performs a write on readiness.
    pub(super) fn perform_write(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        work: &mut Work<'_>,
    ) {
        if has(state, bits::WRITE) || !state.write.is_pending() {
            return;
        }
        let fd = channel.as_fd();
        let send_bytes = self.limits.send_bytes;
        let written = state.perform_write(
            work,
            |queue| op::send(fd, queue, send_bytes),
            |address| op::connect(fd, address),
        );
        match written {
            Written::Done => {}
            Written::Blocked => {
                state.flags.remove(Flags::WRITABLE);
                self.start_write(channel, state);
            }
            Written::Spent => list(&mut self.ready, channel, state),
        }
    }
}

/// Drops what nobody waits for where code of the user may run.
pub(super) fn discard(load: Load, work: &mut Work<'_>) {
    if let Some(mut queue) = load.end(work.sent) {
        queue.advance(queue.bytes());
        queue.move_sent(work.sent);
    }
}
