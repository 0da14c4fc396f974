//! The write side: sends through the ring, and what is performed when the ring's poll tells.

use std::io;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{Uring, bits, has, has_files, list, ring};
use crate::channel::{Flags, Slot, Token, Work};
use crate::op::{self, Progress, WriteOp, WriteOutcome};
use crate::send_queue::SendQueue;
use crate::timer_queue::NEVER_MS;

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

impl Uring {
    /// Begins the pending write, unless one that was given up is still in flight.
    #[inline]
    pub(super) fn start_write(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        if has(channel, bits::WRITE) {
            return;
        }
        let Slot::Pending(op, _) = &mut channel.write else {
            return;
        };
        match op {
            WriteOp::Send { queue, .. } if !has_files(queue) => {
                let queue = std::mem::replace(queue, SendQueue::lent());
                channel.in_flight |= bits::SEND;
                channel.send_key = self.ring.send(token, channel.as_fd(), queue);
            }
            WriteOp::Send { .. } if channel.flags.has(Flags::WRITABLE) => {
                list(&mut self.ready, channel, token);
            }
            WriteOp::Send { .. } | WriteOp::Connect { .. } | WriteOp::Ready => {
                channel.in_flight |= bits::WRITE_POLL;
                self.ring.poll_write(token, channel.as_fd());
            }
        }
    }

    /// A write was given up: what is in flight ends by itself, and keeps its memory until then.
    pub(super) fn orphan_write(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        if !has(channel, bits::WRITE) || has(channel, bits::ORPHANED) {
            return;
        }
        channel.in_flight |= bits::ORPHANED;
        if has(channel, bits::SEND) {
            self.ring.cancel_send(channel.send_key);
        } else {
            self.ring.cancel(token, ring::Kind::PollWrite);
        }
    }

    /// A send whose deadline has passed fails when the kernel has given its memory back.
    pub(super) fn expire_write(&mut self, token: Token, now_ms: u64) {
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        let overdue = channel.write_deadline_ms <= now_ms && channel.write.is_pending();
        if !overdue || has(channel, bits::ORPHANED) {
            return;
        }
        if has(channel, bits::SEND) {
            channel.write_deadline_ms = NEVER_MS;
            channel.in_flight |= bits::OVERDUE;
            self.ring.cancel_send(channel.send_key);
        } else {
            self.orphan_write(token);
        }
    }

    /// A send through the ring has ended.
    #[inline]
    pub(super) fn sent(
        &mut self,
        token: Token,
        result: Result<u64, Errno>,
        mut queue: SendQueue,
        work: &mut Work<'_>,
    ) {
        let Some(channel) = self.channels.find(token) else {
            return discard(queue, work);
        };
        let overdue = has(channel, bits::OVERDUE);
        let orphaned = has(channel, bits::ORPHANED);
        channel.in_flight &= !(bits::SEND | bits::OVERDUE | bits::ORPHANED);
        if orphaned || !channel.write.is_pending() {
            discard(queue, work);
            return self.start_write(token);
        }
        if let Ok(bytes) = result {
            queue.advance(bytes);
            work.sent.extend(queue.take_sent());
        }
        let again = matches!(result, Err(Errno::INTR | Errno::AGAIN | Errno::CANCELED));
        let outcome = match result {
            Ok(_) if queue.is_empty() => Ok(()),
            Err(error) if !again => Err(error.into()),
            _ if overdue => Err(timed_out()),
            _ => {
                if let Slot::Pending(WriteOp::Send { stall_ms, .. }, _) = &channel.write
                    && *stall_ms != 0
                    && !again
                {
                    channel.write_deadline_ms = work.now_ms.saturating_add(*stall_ms);
                }
                channel.in_flight |= bits::SEND;
                channel.send_key = self.ring.send(token, channel.as_fd(), queue);
                return;
            }
        };
        channel.write_deadline_ms = NEVER_MS;
        let outcome = WriteOutcome {
            result: outcome,
            queue: Some(queue),
        };
        work.woken.wake(channel.write.complete(outcome));
    }

    /// The ring's poll tells that there is room, or that a connect has come to an end.
    pub(super) fn write_ready(&mut self, token: Token, work: &mut Work<'_>) {
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        let orphaned = has(channel, bits::ORPHANED);
        channel.in_flight &= !(bits::WRITE_POLL | bits::ORPHANED);
        if orphaned {
            return self.start_write(token);
        }
        channel.flags.insert(Flags::WRITABLE);
        self.perform_write(token, work);
    }

    /// Performs a write on readiness.
    pub(super) fn perform_write(&mut self, token: Token, work: &mut Work<'_>) {
        let send_bytes = self.limits.send_bytes;
        let Some(channel) = self.channels.find(token) else {
            return;
        };
        if has(channel, bits::WRITE) || !channel.write.is_pending() {
            return;
        }
        let Slot::Pending(mut op, waiter) = std::mem::replace(&mut channel.write, Slot::Idle)
        else {
            return;
        };
        let progress = match &mut op {
            WriteOp::Send { queue, stall_ms } => {
                let bytes_before = queue.bytes();
                let progress = op::send(channel.as_fd(), queue, send_bytes);
                work.sent.extend(queue.take_sent());
                if *stall_ms != 0 && queue.bytes() < bytes_before {
                    channel.write_deadline_ms = work.now_ms.saturating_add(*stall_ms);
                }
                progress
            }
            WriteOp::Connect { address } => op::connect(channel.as_fd(), address),
            WriteOp::Ready => Progress::Done(Ok(())),
        };
        match progress {
            Progress::Done(result) => {
                let queue = match op {
                    WriteOp::Send { queue, .. } => Some(queue),
                    WriteOp::Connect { .. } | WriteOp::Ready => None,
                };
                channel.write_deadline_ms = NEVER_MS;
                channel.write = Slot::Done(WriteOutcome { result, queue });
                work.woken.wake(Some(waiter));
            }
            Progress::Blocked => {
                channel.write = Slot::Pending(op, waiter);
                channel.flags.remove(Flags::WRITABLE);
                self.start_write(token);
            }
            Progress::Spent => {
                channel.write = Slot::Pending(op, waiter);
                list(&mut self.ready, self.channels.get_mut(token), token);
            }
        }
    }
}

/// Drops what nobody waits for where code of the user may run.
fn discard(mut queue: SendQueue, work: &mut Work<'_>) {
    queue.advance(queue.bytes());
    work.sent.extend(queue.take_sent());
}
