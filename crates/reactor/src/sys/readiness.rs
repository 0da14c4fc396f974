//! The driver over any poller: performs an operation when its channel is ready.
//!
//! What is known to be ready is remembered in the channel, so that an edge is needed only after
//! the channel was seen not to be ready. Channels that could do more than their budget allows
//! wait on the ready list for the next turn, behind all others that are due.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use crate::buffer::BufferPool;
use crate::channel::{
    Accepted, Channel, ChannelState, Channels, Flags, Kind, Side, Slot, Token, Work, Written,
};
use crate::op::{self, Progress, ReadOp, ReadOutcome};
use crate::scheduler::{Waiter, Woken};
use crate::send_queue::SendQueue;
use crate::sys::fork::Birthplace;
use crate::sys::sources::Sources;
use crate::sys::{Driver, Event, Limits, Poller, Wake};

/// A readiness driver.
pub(crate) struct Readiness<P> {
    poller: P,
    channels: Channels,
    /// Channels with an operation to perform in the next turn.
    ready: VecDeque<Token>,
    events: Vec<Event>,
    /// There may be more than these.
    has_more: bool,
    sources: Sources,
    limits: Limits,
    birthplace: Birthplace,
}

impl<P: Poller> Readiness<P> {
    pub(crate) fn new(poller: P, limits: Limits) -> Readiness<P> {
        Readiness {
            poller,
            channels: Channels::default(),
            ready: VecDeque::new(),
            events: Vec::with_capacity(limits.events_per_poll),
            has_more: false,
            sources: Sources::default(),
            limits,
            birthplace: Birthplace::here(),
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
                let state = &mut *channel.state();
                state.flags.remove(Flags::LISTED);
                perform_channel(&mut self.poller, channel, state, &self.limits, work);
                list_if_due(&mut self.ready, channel, state);
            }
        }
    }

    /// Performs what waits for sources that are ready and that the poller has not told of.
    fn perform_sources(&mut self, work: &mut Work<'_>) {
        let poller = &mut self.poller;
        self.sources.look(|source| {
            let state = &mut *source.state();
            state.flags.insert(Flags::READABLE);
            perform_channel(poller, source, state, &self.limits, work);
        });
    }

    /// Notes what became ready, and performs what waited for it, unless it is left over from the
    /// last turn and has its place behind.
    fn perform_events(&mut self, work: &mut Work<'_>) {
        for Event { token, flags } in self.events.drain(..) {
            let Some(channel) = self.channels.find(token) else {
                continue;
            };
            let state = &mut *channel.state();
            let kind = channel.kind();
            if kind != Kind::Stream && kind.is_level() && !state.read.is_pending() {
                if !state.flags.has(Flags::PAUSED) {
                    self.poller.pause(channel.as_fd());
                    state.flags.insert(Flags::PAUSED);
                }
                continue;
            }
            state.flags.insert(flags);
            if matches!(kind, Kind::Watched(..)) {
                work.woken.wake(tell(state));
                continue;
            }
            if !state.flags.has(Flags::LISTED) && state.is_due() {
                perform_channel(&mut self.poller, channel, state, &self.limits, work);
                list_if_due(&mut self.ready, channel, state);
            }
        }
    }
}

/// Ends the wait of who watches a channel, if somebody does; what was told stays in its flags.
#[cold]
fn tell(state: &mut ChannelState) -> Option<Waiter> {
    let waits = state.read.is_pending();
    waits.then(|| state.read.complete(ReadOutcome::Ready))?
}

#[inline]
fn perform_channel<P: Poller>(
    poller: &mut P,
    channel: &Channel,
    state: &mut ChannelState,
    limits: &Limits,
    work: &mut Work<'_>,
) {
    if state.flags.has(Flags::READABLE) {
        perform_read(poller, channel, state, limits.recv_bytes, work);
    }
    if state.flags.has(Flags::WRITABLE) && state.write.is_pending() {
        perform_write(poller, channel, state, limits.send_bytes, work);
    }
}

#[inline]
fn list_if_due(ready: &mut VecDeque<Token>, channel: &Channel, state: &mut ChannelState) {
    if !state.flags.has(Flags::LISTED) && state.is_due() {
        state.flags.insert(Flags::LISTED);
        ready.push_back(channel.token());
    }
}

#[inline]
fn drained<P: Poller>(poller: &mut P, channel: &Channel, state: &mut ChannelState, side: Side) {
    let flag = if side == Side::Read {
        Flags::READABLE
    } else {
        Flags::WRITABLE
    };
    state.flags.remove(flag);
    poller.rearm(channel.as_fd(), channel.token(), side);
}

fn perform_read<P: Poller>(
    poller: &mut P,
    channel: &Channel,
    state: &mut ChannelState,
    recv_bytes: usize,
    work: &mut Work<'_>,
) {
    let Slot::Pending(op, _) = &state.read else {
        return;
    };
    let outcome = match *op {
        ReadOp::Recv { bytes_max } => {
            let bytes_max = recv_bytes.min(bytes_max as usize);
            match perform_recv(poller, channel, state, bytes_max, work.buffers) {
                Some(outcome) => outcome,
                None => return,
            }
        }
        ReadOp::Ready { edge } => {
            if edge {
                drained(poller, channel, state, Side::Read);
            }
            ReadOutcome::Ready
        }
        ReadOp::Accept => {
            state.flags.remove(Flags::READABLE);
            if !perform_accept(poller, channel, state, work.turn) {
                return;
            }
            ReadOutcome::Ready
        }
    };
    state.read_deadline_ms = crate::timer_queue::NEVER_MS;
    work.woken.wake(state.read.complete(outcome));
}

/// Receives once; `None` where nothing was there.
#[inline(always)]
fn perform_recv<P: Poller>(
    poller: &mut P,
    channel: &Channel,
    state: &mut ChannelState,
    bytes_max: usize,
    buffers: &BufferPool,
) -> Option<ReadOutcome> {
    let many = state.flags.has(Flags::MANY);
    let received = match poller.allow_recv(channel.as_fd(), buffers, bytes_max) {
        Ok(bytes_max) => op::recv(channel.as_fd(), buffers, bytes_max, many),
        Err(instead) => instead,
    };
    match received {
        Progress::Done(Ok((buffer, filled))) => {
            if buffer.is_empty() {
                state.flags.insert(Flags::PEER_CLOSED);
            }
            if many || filled {
                expect_as_much(&mut state.flags, buffers.is_few(buffer.len()));
            }
            // A short read has emptied the socket, unless the end of the stream or an
            // error, for which no further edge may come, lies behind the bytes.
            if !filled && !state.flags.has(Flags::PEER_CLOSED) {
                drained(poller, channel, state, Side::Read);
            }
            Some(ReadOutcome::Received(buffer))
        }
        Progress::Done(Err(error)) => {
            state.flags.insert(Flags::PEER_CLOSED);
            Some(ReadOutcome::Failed(error))
        }
        Progress::Blocked | Progress::Spent => {
            drained(poller, channel, state, Side::Read);
            None
        }
    }
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
    channel: &Channel,
    state: &mut ChannelState,
    turn: u64,
) -> bool {
    let Some(mut accepted) = state.accepted.take() else {
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
    rotate(poller, channel, &mut state.flags, &mut accepted);
    let any = !accepted.queue.is_empty();
    state.accepted = Some(accepted);
    any
}

/// Of the loops that share a listener the kernel wakes the one that asked first, again and
/// again. Asking anew puts this one behind the others, so that connections spread evenly.
fn rotate<P: Poller>(
    poller: &mut P,
    channel: &Channel,
    flags: &mut Flags,
    accepted: &mut Accepted,
) {
    if accepted.rotate_after != 0 && accepted.since_rotation >= accepted.rotate_after {
        accepted.since_rotation = 0;
        poller.pause(channel.as_fd());
        if let Err(error) = poller.resume(channel.as_fd(), channel.token(), channel.kind()) {
            flags.insert(Flags::PAUSED);
            accepted.queue.push_back(Err(error));
        }
    }
}

fn perform_write<P: Poller>(
    poller: &mut P,
    channel: &Channel,
    state: &mut ChannelState,
    send_bytes: u64,
    work: &mut Work<'_>,
) {
    let fd = channel.as_fd();
    let written = state.perform_write(
        work,
        |queue| poller.send(fd, queue, send_bytes),
        |address| poller.connect(fd, address),
    );
    if written == Written::Blocked {
        drained(poller, channel, state, Side::Write);
    }
}

/// Asks the kernel about one descriptor.
fn is_readable(fd: BorrowedFd<'_>) -> bool {
    let mut asked = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    rustix::event::poll(&mut asked, Some(&Timespec::default())).is_ok_and(|told| told > 0)
}

impl<P: Poller> Driver for Readiness<P> {
    fn name(&self) -> &'static str {
        self.poller.name()
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        self.poller.wake_handle()
    }

    fn channels_mut(&mut self) -> &mut Channels {
        &mut self.channels
    }

    fn register(&mut self, fd: OwnedFd, kind: Kind) -> io::Result<Rc<Channel>> {
        let token = self.channels.next_token()?;
        self.poller.add(fd.as_fd(), token, kind)?;
        let channel = self.channels.insert(fd, kind, token);
        if kind == Kind::Source {
            self.sources.add(&channel);
        }
        Ok(channel)
    }

    fn release(&mut self, channel: &Channel) {
        self.channels.remove(channel.token());
        if channel.kind() == Kind::Source {
            self.sources.remove(channel.token());
        }
        // What a child after fork(2) removed, its parent would miss.
        if !channel.state().flags.has(Flags::PAUSED) && !self.birthplace.is_elsewhere() {
            self.poller.remove(channel.as_fd(), channel.kind());
        }
    }

    fn is_quiet(&self, state: &ChannelState) -> bool {
        state.is_free()
    }

    /// Closing the descriptor would not do: another process has the socket open.
    fn let_go(&mut self, channel: &Channel) {
        let mut state = channel.state();
        if !state.flags.has(Flags::PAUSED) {
            self.poller.remove(channel.as_fd(), Kind::Source);
            state.flags.insert(Flags::PAUSED);
        }
    }

    fn arm(&mut self, channel: &Channel, _: &mut ChannelState) -> io::Result<()> {
        let kind = channel.kind();
        if kind.is_one_shot() {
            self.poller.arm(channel.as_fd(), channel.token(), kind)?;
        }
        Ok(())
    }

    #[inline]
    fn submit_read(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()> {
        if state.flags.has(Flags::PAUSED) {
            self.poller
                .resume(channel.as_fd(), channel.token(), channel.kind())?;
            state.flags.remove(Flags::PAUSED);
        }
        list_if_due(&mut self.ready, channel, state);
        Ok(())
    }

    #[inline]
    fn submit_write(&mut self, channel: &Channel, state: &mut ChannelState) {
        list_if_due(&mut self.ready, channel, state);
    }

    #[inline]
    fn send_at_once(
        &self,
        channel: &Channel,
        state: &ChannelState,
        queue: &mut SendQueue,
    ) -> Progress<io::Result<()>> {
        if state.flags.has(Flags::WRITABLE) {
            self.poller
                .send(channel.as_fd(), queue, self.limits.send_bytes)
        } else {
            Progress::Blocked
        }
    }

    #[inline]
    fn try_send(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        bytes: &[u8],
    ) -> io::Result<usize> {
        if !state.flags.has(Flags::WRITABLE) || state.write.is_pending() {
            return Ok(0);
        }
        let sent = match self.poller.try_send(channel.as_fd(), bytes) {
            Progress::Done(sent) => sent?,
            Progress::Blocked => 0,
            Progress::Spent => return Ok(0),
        };
        if sent < bytes.len() {
            drained(&mut self.poller, channel, state, Side::Write);
        }
        Ok(sent)
    }

    fn send_blocked(&mut self, channel: &Channel, state: &mut ChannelState) {
        drained(&mut self.poller, channel, state, Side::Write);
    }

    /// What is there, and was not told of or not performed yet, is received before it is missed.
    fn expire(&mut self, token: Token, now_ms: u64, woken: &mut Woken<'_>) -> u64 {
        if let Some(channel) = self.channels.find(token) {
            let state = &mut *channel.state();
            let is_late = state.read_deadline_ms <= now_ms && state.read.is_pending();
            let is_there = || {
                state.flags.has(Flags::READABLE) || (self.has_more && is_readable(channel.as_fd()))
            };
            if is_late && is_there() {
                state.read_deadline_ms = now_ms + 1;
            }
        }
        self.channels.expire(token, now_ms, woken)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = if self.ready.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        self.has_more = self.poller.wait(&mut self.events, timeout)?;
        Ok(())
    }

    fn perform(&mut self, work: &mut Work<'_>) {
        let left_over = self.ready.len();
        self.perform_events(work);
        self.perform_left_over(left_over, work);
        if self.has_more {
            self.perform_sources(work);
        }
    }
}
