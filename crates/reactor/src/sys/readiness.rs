//! The driver over any poller: performs an operation when its channel is ready.
//!
//! What is known to be ready is remembered in the channel, so that an edge is needed only after
//! the channel was seen not to be ready. Channels that could do more than their budget allows
//! wait on the ready list for the next turn, behind all others that are due.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::{Accepted, Channel, Channels, Flags, Kind, Side, Slot, Token, Work};
use crate::op::{self, Progress, ReadOp, ReadOutcome, WriteOp, WriteOutcome};
use crate::scheduler::Waiter;
use crate::send_queue::SendQueue;
use crate::sys::{Driver, Event, Limits, Poller, Wake};

/// A readiness driver.
pub(crate) struct Readiness<P> {
    poller: P,
    channels: Channels,
    /// Channels with an operation to perform in the next turn.
    ready: VecDeque<Token>,
    events: Vec<Event>,
    limits: Limits,
}

impl<P: Poller> Readiness<P> {
    pub(crate) fn new(poller: P, limits: Limits) -> Readiness<P> {
        Readiness {
            poller,
            channels: Channels::default(),
            ready: VecDeque::new(),
            events: Vec::with_capacity(limits.events_per_poll),
            limits,
        }
    }

    pub(crate) fn poller(&self) -> &P {
        &self.poller
    }

    /// Performs what is left over from the last turn: so many as there were when it ended.
    fn perform_left_over(&mut self, count: usize, work: &mut Work<'_>) {
        for _ in 0..count {
            let Some(token) = self.ready.pop_front() else {
                break;
            };
            if let Some(channel) = self.channels.find(token) {
                channel.flags.remove(Flags::LISTED);
                perform_channel(&mut self.poller, channel, token, &self.limits, work);
                list_if_due(&mut self.ready, channel, token);
            }
        }
    }

    /// Notes what became ready, and performs what waited for it, unless it is left over from the
    /// last turn and has its place behind.
    fn perform_events(&mut self, work: &mut Work<'_>) {
        for Event { token, flags } in self.events.drain(..) {
            let Some(channel) = self.channels.find(token) else {
                continue;
            };
            if channel.kind == Kind::Listener && !channel.read.is_pending() {
                if !channel.flags.has(Flags::PAUSED) {
                    self.poller.pause(channel.as_fd());
                    channel.flags.insert(Flags::PAUSED);
                }
                continue;
            }
            channel.flags.insert(flags);
            if !channel.flags.has(Flags::LISTED) && channel.is_due() {
                perform_channel(&mut self.poller, channel, token, &self.limits, work);
                list_if_due(&mut self.ready, channel, token);
            }
        }
    }
}

#[inline]
fn perform_channel<P: Poller>(
    poller: &mut P,
    channel: &mut Channel,
    token: Token,
    limits: &Limits,
    work: &mut Work<'_>,
) {
    if channel.flags.has(Flags::READABLE) {
        perform_read(poller, channel, token, limits.recv_bytes, work);
    }
    if channel.flags.has(Flags::WRITABLE) && channel.write.is_pending() {
        perform_write(poller, channel, token, limits.send_bytes, work);
    }
}

#[inline]
fn list_if_due(ready: &mut VecDeque<Token>, channel: &mut Channel, token: Token) {
    if !channel.flags.has(Flags::LISTED) && channel.is_due() {
        channel.flags.insert(Flags::LISTED);
        ready.push_back(token);
    }
}

#[inline]
fn drained<P: Poller>(poller: &mut P, channel: &mut Channel, token: Token, side: Side) {
    let flag = if side == Side::Read {
        Flags::READABLE
    } else {
        Flags::WRITABLE
    };
    channel.flags.remove(flag);
    poller.rearm(channel.as_fd(), token, side);
}

fn perform_read<P: Poller>(
    poller: &mut P,
    channel: &mut Channel,
    token: Token,
    recv_bytes: usize,
    work: &mut Work<'_>,
) {
    let Slot::Pending(op, _) = &channel.read else {
        return;
    };
    let outcome = match *op {
        ReadOp::Recv { bytes_max } => {
            let bytes_max = recv_bytes.min(bytes_max as usize);
            let many = channel.flags.has(Flags::MANY);
            let received = match poller.allow_recv(channel.as_fd(), work.buffers, bytes_max) {
                Ok(bytes_max) => op::recv(channel.as_fd(), work.buffers, bytes_max, many),
                Err(instead) => instead,
            };
            match received {
                Progress::Done(Ok((buffer, filled))) => {
                    if buffer.is_empty() {
                        channel.flags.insert(Flags::PEER_CLOSED);
                    }
                    if many || filled {
                        expect_as_much(&mut channel.flags, work.buffers.is_few(buffer.len()));
                    }
                    // A short read has emptied the socket, unless the end of the stream or an
                    // error, for which no further edge may come, lies behind the bytes.
                    if !filled && !channel.flags.has(Flags::PEER_CLOSED) {
                        drained(poller, channel, token, Side::Read);
                    }
                    ReadOutcome::Received(buffer)
                }
                Progress::Done(Err(error)) => {
                    channel.flags.insert(Flags::PEER_CLOSED);
                    ReadOutcome::Failed(error)
                }
                Progress::Blocked | Progress::Spent => {
                    return drained(poller, channel, token, Side::Read);
                }
            }
        }
        ReadOp::Ready { edge } => {
            if edge {
                drained(poller, channel, token, Side::Read);
            }
            ReadOutcome::Ready
        }
        ReadOp::Accept => {
            channel.flags.remove(Flags::READABLE);
            if !perform_accept(poller, channel, token, work.turn) {
                return;
            }
            ReadOutcome::Ready
        }
    };
    channel.read_deadline_ms = crate::timer_queue::NEVER_MS;
    work.woken.wake(channel.read.complete(outcome));
}

/// Chooses how large a buffer the next receive takes: a small one until it was filled, a large one
/// until that was too large twice.
fn expect_as_much(flags: &mut Flags, few: bool) {
    if !flags.has(Flags::MANY) {
        flags.insert(Flags::MANY);
    } else if !few {
        flags.remove(Flags::FEW_ONCE);
    } else if flags.has(Flags::FEW_ONCE) {
        flags.remove(Flags::MANY.with(Flags::FEW_ONCE));
    } else {
        flags.insert(Flags::FEW_ONCE);
    }
}

/// Accepts a batch; true if there is something for the task.
fn perform_accept<P: Poller>(
    poller: &mut P,
    channel: &mut Channel,
    token: Token,
    turn: u64,
) -> bool {
    let Some(mut accepted) = channel.accepted.take() else {
        return false;
    };
    let again = accepted.last_turn + 1 == turn;
    accepted.batch = if again {
        (accepted.batch * 2).min(accepted.budget)
    } else {
        1
    };
    accepted.last_turn = turn;
    for _ in 0..accepted.batch {
        match poller.accept(channel.as_fd()) {
            Progress::Done(result) => {
                let failed = result.is_err();
                accepted.queue.push_back(result);
                accepted.since_rotation += 1;
                if failed {
                    break;
                }
            }
            Progress::Blocked | Progress::Spent => {
                accepted.batch = 1;
                break;
            }
        }
    }
    rotate(poller, channel, token, &mut accepted);
    let any = !accepted.queue.is_empty();
    channel.accepted = Some(accepted);
    any
}

/// Of the loops that share a listener the kernel wakes the one that asked first, again and
/// again. Asking anew puts this one behind the others, so that connections spread evenly.
fn rotate<P: Poller>(poller: &mut P, channel: &mut Channel, token: Token, accepted: &mut Accepted) {
    if accepted.rotate_after != 0 && accepted.since_rotation >= accepted.rotate_after {
        accepted.since_rotation = 0;
        poller.pause(channel.as_fd());
        if let Err(error) = poller.resume(channel.as_fd(), token) {
            channel.flags.insert(Flags::PAUSED);
            accepted.queue.push_back(Err(error));
        }
    }
}

fn perform_write<P: Poller>(
    poller: &mut P,
    channel: &mut Channel,
    token: Token,
    send_bytes: u64,
    work: &mut Work<'_>,
) {
    let Slot::Pending(mut op, waiter) = std::mem::replace(&mut channel.write, Slot::Idle) else {
        return;
    };
    let progress = match &mut op {
        WriteOp::Send { queue, stall_ms } => {
            let bytes_before = queue.bytes();
            let progress = poller.send(channel.as_fd(), queue, send_bytes);
            work.sent.extend(queue.take_sent());
            if *stall_ms != 0 && queue.bytes() < bytes_before {
                channel.write_deadline_ms = work.now_ms.saturating_add(*stall_ms);
            }
            progress
        }
        WriteOp::Connect { address } => poller.connect(channel.as_fd(), address),
        WriteOp::Ready => Progress::Done(Ok(())),
    };
    match progress {
        Progress::Done(result) => {
            let queue = match op {
                WriteOp::Send { queue, .. } => Some(queue),
                WriteOp::Connect { .. } | WriteOp::Ready => None,
            };
            channel.write_deadline_ms = crate::timer_queue::NEVER_MS;
            channel.write = Slot::Done(WriteOutcome { result, queue });
            work.woken.wake(Some(waiter));
        }
        Progress::Blocked => {
            channel.write = Slot::Pending(op, waiter);
            drained(poller, channel, token, Side::Write);
        }
        Progress::Spent => channel.write = Slot::Pending(op, waiter),
    }
}

impl<P: Poller> Driver for Readiness<P> {
    fn name(&self) -> &'static str {
        self.poller.name()
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        self.poller.wake_handle()
    }

    #[inline]
    fn channels(&self) -> &Channels {
        &self.channels
    }

    #[inline]
    fn channels_mut(&mut self) -> &mut Channels {
        &mut self.channels
    }

    fn register(&mut self, fd: Rc<OwnedFd>, kind: Kind) -> io::Result<Token> {
        let token = self.channels.next_token()?;
        self.poller.add(fd.as_fd(), token, kind)?;
        self.channels.insert(fd, kind);
        Ok(token)
    }

    fn release(&mut self, token: Token) -> Channel {
        let channel = self.channels.remove(token);
        if !channel.flags.has(Flags::PAUSED) {
            self.poller.remove(channel.as_fd(), channel.kind);
        }
        channel
    }

    fn is_quiet(&self, token: Token) -> bool {
        self.channels.get(token).is_free()
    }

    /// Closing the descriptor would not do: another process has the socket open.
    fn let_go(&mut self, token: Token) {
        let channel = self.channels.get_mut(token);
        if !channel.flags.has(Flags::PAUSED) {
            self.poller.remove(channel.as_fd(), Kind::Source);
            channel.flags.insert(Flags::PAUSED);
        }
    }

    #[inline]
    fn submit_read(&mut self, token: Token, op: ReadOp, waiter: Waiter) -> io::Result<()> {
        let channel = self.channels.get_mut(token);
        if channel.flags.has(Flags::PAUSED) {
            self.poller.resume(channel.as_fd(), token)?;
            channel.flags.remove(Flags::PAUSED);
        }
        channel.read.begin(op, waiter);
        list_if_due(&mut self.ready, channel, token);
        Ok(())
    }

    #[inline]
    fn submit_write(&mut self, token: Token, op: WriteOp, waiter: Waiter) {
        let channel = self.channels.get_mut(token);
        channel.write.begin(op, waiter);
        list_if_due(&mut self.ready, channel, token);
    }

    #[inline]
    fn send_at_once(&self, token: Token, queue: &mut SendQueue) -> Progress<io::Result<()>> {
        let channel = self.channels.get(token);
        if channel.flags.has(Flags::WRITABLE) {
            self.poller
                .send(channel.as_fd(), queue, self.limits.send_bytes)
        } else {
            Progress::Blocked
        }
    }

    #[inline]
    fn try_send(&mut self, token: Token, bytes: &[u8]) -> io::Result<usize> {
        let channel = self.channels.get_mut(token);
        if !channel.flags.has(Flags::WRITABLE) || channel.write.is_pending() {
            return Ok(0);
        }
        let sent = match self.poller.try_send(channel.as_fd(), bytes) {
            Progress::Done(sent) => sent?,
            Progress::Blocked => 0,
            Progress::Spent => return Ok(0),
        };
        if sent < bytes.len() {
            drained(&mut self.poller, channel, token, Side::Write);
        }
        Ok(sent)
    }

    fn send_blocked(&mut self, token: Token) {
        drained(
            &mut self.poller,
            self.channels.get_mut(token),
            token,
            Side::Write,
        );
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.ready.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.poller.wait(&mut self.events, timeout)
    }

    fn perform(&mut self, work: &mut Work<'_>) {
        let left_over = self.ready.len();
        self.perform_events(work);
        self.perform_left_over(left_over, work);
    }
}
