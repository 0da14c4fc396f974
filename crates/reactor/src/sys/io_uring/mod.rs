//! The io_uring driver: operations are handed to the kernel, which tells when they are done.
//!
//! A stream that was asked to receive once keeps a multishot receive in the kernel, which fills
//! buffers of the loop when bytes come; so an idle connection owns none, and a message costs no
//! submission. What comes while nobody asks waits in the channel; when that is more than a little,
//! the receive is ended, so that the socket's own buffer fills and the peer is held back.
//! Listeners accept likewise, and stop when nobody asks. Sends from memory go through the ring;
//! what a ring lacks (`sendfile(2)`) or has done already (`connect(2)`) is performed on readiness,
//! which the ring's poll tells.
//!
//! Submissions of a turn leave in the one system call that the next turn waits in.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::FileType;

use crate::channel::{Channel, ChannelState, Channels, Flags, Kind, Remains, Side, Token, Work};
use crate::net::Address;
use crate::op::{self, Progress, ReadOutcome, WriteOp};
use crate::scheduler::{Waiter, Woken};
use crate::send_queue::{Chunk, SendQueue};
use crate::sys::epoll::EventFd;
use crate::sys::fork::Birthplace;
use crate::sys::sources::Sources;
use crate::sys::{Driver, Limits, Wake};

use reading::read_ready;
use ring::{Load, Outcome, Ring};

#[allow(unsafe_code)]
mod buffers;
mod reading;
#[allow(unsafe_code)]
mod ring;
mod watching;
mod writing;

/// Enters in one turn that only let the kernel finish what it has begun.
const EXTRA_ENTERS: u32 = 32;

/// Says once in the life of the process that loops run on epoll instead.
pub(crate) fn say_refused(error: &io::Error) {
    static SAID: Once = Once::new();
    SAID.call_once(|| eprintln!("revolve-reactor: no io_uring here ({error}), running on epoll"));
}

/// The driver over a ring.
pub(crate) struct Uring {
    ring: Ring,
    channels: Channels,
    /// What came in for a channel and was not asked for yet, where that is more than one thing:
    /// by the token, for channels that are `STASHED`.
    stashes: HashMap<u64, VecDeque<Item>>,
    /// Channels with something to give or to perform in the next perform step.
    ready: VecDeque<Token>,
    /// Channels whose receive has ended because there was no buffer.
    starved: VecDeque<Token>,
    listeners: Vec<Rc<Channel>>,
    sources: Sources,
    wake: Arc<EventFd>,
    limits: Limits,
    birthplace: Birthplace,
}

/// What the ring does for a channel: bits of [`ChannelState::in_flight`].
mod bits {
    /// A multishot receive or accept is in flight.
    pub(super) const MULTISHOT: u16 = 1;
    /// It is being cancelled, and ends soon.
    pub(super) const ENDING: u16 = 2;
    /// A poll for readability is in flight.
    pub(super) const READ_POLL: u16 = 4;
    /// A send is in flight, which `send_key` names.
    pub(super) const SEND: u16 = 8;
    /// A poll for writability is in flight.
    pub(super) const WRITE_POLL: u16 = 16;
    pub(super) const WRITE: u16 = SEND | WRITE_POLL;
    /// What the write side has in flight was given up: the next one waits for its end.
    pub(super) const ORPHANED: u16 = 32;
    /// The deadline of the send in flight has passed.
    pub(super) const OVERDUE: u16 = 64;
    /// There is a stash.
    pub(super) const STASHED: u16 = 128;
    /// Somebody reads the socket himself: nothing may be received while he is told to.
    pub(super) const DIRECT: u16 = 256;
    /// A receive has found no buffer, and the next one waits for its turn.
    pub(super) const STARVED: u16 = 512;
}

/// What came in.
enum Item {
    Read(ReadOutcome),
    Accepted(io::Result<(OwnedFd, Address)>),
}

/// True if any of the bits is set.
#[inline]
fn has(state: &ChannelState, bits: u16) -> bool {
    state.in_flight & bits != 0
}

#[inline]
fn list(ready: &mut VecDeque<Token>, channel: &Channel, state: &mut ChannelState) {
    if !state.flags.has(Flags::LISTED) {
        state.flags.insert(Flags::LISTED);
        ready.push_back(channel.token());
    }
}

impl Uring {
    pub(crate) fn new(limits: Limits) -> io::Result<Uring> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let wake = Arc::new(EventFd(wake));
        let ring = Ring::new(
            limits.events_per_poll,
            limits.recv_bytes,
            wake.0.as_raw_fd(),
        )?;
        Ok(Uring {
            ring,
            channels: Channels::default(),
            stashes: HashMap::new(),
            ready: VecDeque::new(),
            starved: VecDeque::new(),
            listeners: Vec::new(),
            sources: Sources::default(),
            wake,
            limits,
            birthplace: Birthplace::here(),
        })
    }

    fn perform_completions(&mut self, work: &mut Work<'_>) {
        while let Some(completion) = self.ring.next(work.buffers) {
            let (token, more) = (completion.token, completion.more);
            let Some(channel) = self.channels.find(token).cloned() else {
                if let Outcome::Sent(_, load) = completion.outcome {
                    writing::discard(load, work);
                }
                continue;
            };
            let state = &mut *channel.state();
            match completion.outcome {
                Outcome::Received(result) => self.received(&channel, state, more, result, work),
                Outcome::Accepted(result) => self.accepted(&channel, state, more, result),
                Outcome::ReadReady(result) => match channel.kind() {
                    Kind::Watched(..) => self.told(&channel, state, more, result, work),
                    _ => read_ready(state, work),
                },
                Outcome::WriteReady => self.write_ready(&channel, state, work),
                Outcome::Sent(result, load) => self.sent(&channel, state, result, load, work),
            }
        }
    }

    fn perform_ready(&mut self, work: &mut Work<'_>) {
        for _ in 0..self.ready.len() {
            let Some(token) = self.ready.pop_front() else {
                break;
            };
            if let Some(channel) = self.channels.find(token).cloned() {
                let state = &mut *channel.state();
                state.flags.remove(Flags::LISTED);
                self.give(&channel, state, work);
                self.perform_write(&channel, state, work);
            }
        }
    }

    /// Cancels what is in flight for a channel; true if anything is.
    fn cancel_all(&mut self, channel: &Channel, state: &ChannelState) -> bool {
        let token = channel.token();
        if has(state, bits::MULTISHOT) {
            self.ring.cancel(token, reading::multishot(channel.kind()));
        }
        if has(state, bits::READ_POLL) {
            self.ring.cancel(token, ring::Kind::PollRead);
        }
        if has(state, bits::WRITE_POLL) {
            self.ring.cancel(token, ring::Kind::PollWrite);
        }
        if has(state, bits::SEND) {
            self.ring.cancel_send(state.send_key);
        }
        has(state, bits::MULTISHOT | bits::READ_POLL | bits::WRITE)
    }

    /// Submits, and has the kernel do what it can do now. The kernel does a limited number of
    /// things in each enter.
    fn flush(&mut self) -> io::Result<()> {
        self.ring.flush()?;
        for _ in 0..EXTRA_ENTERS {
            if !self.ring.has_kernel_work() {
                break;
            }
            self.ring.flush()?;
        }
        Ok(())
    }
}

impl Driver for Uring {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        Arc::<EventFd>::clone(&self.wake)
    }

    fn channels_mut(&mut self) -> &mut Channels {
        &mut self.channels
    }

    fn register(&mut self, fd: OwnedFd, kind: Kind) -> io::Result<Rc<Channel>> {
        if kind.is_anything() {
            // The ring would call them ready for ever.
            let mode = rustix::fs::fstat(&fd)?.st_mode;
            let file_type = FileType::from_raw_mode(mode);
            if matches!(file_type, FileType::RegularFile | FileType::Directory) {
                return Err(rustix::io::Errno::PERM.into());
            }
        }
        let token = self.channels.next_token()?;
        if !ring::can_name(token) {
            return Err(io::Error::other("too many channels in one loop"));
        }
        let channel = self.channels.insert(fd, kind, token);
        match kind {
            Kind::Stream => {}
            Kind::Listener => self.listeners.push(Rc::clone(&channel)),
            Kind::Source => self.sources.add(&channel),
            Kind::Watched(..) if kind.is_level() => {}
            Kind::Watched(..) => self.watch(&channel, &mut channel.state()),
        }
        Ok(channel)
    }

    /// What is in flight is cancelled at once, and not in the next turn: the kernel holds the
    /// socket open until then, and an entry that is not submitted yet names a descriptor that is
    /// about to be closed.
    fn release(&mut self, channel: &Channel) {
        let token = channel.token();
        self.channels.remove(token);
        match channel.kind() {
            Kind::Stream | Kind::Watched(..) => {}
            Kind::Listener => self.listeners.retain(|listener| listener.token() != token),
            Kind::Source => self.sources.remove(token),
        }
        let state = channel.state();
        if has(&state, bits::STASHED) {
            self.stashes.remove(&token.to_u64());
        }
        // The ring is shared with a child after fork(2), and what is in flight is its parent's.
        if !self.birthplace.is_elsewhere() && self.cancel_all(channel, &state) {
            // What fails here fails again in the next wait, which says so.
            let _ = self.flush();
        }
    }

    #[inline]
    fn submit_read(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()> {
        self.arm_read(channel, state);
        Ok(())
    }

    #[inline]
    fn submit_write(&mut self, channel: &Channel, state: &mut ChannelState) {
        self.start_write(channel, state);
    }

    #[inline]
    fn submit_chunk(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        chunk: Chunk,
    ) -> Result<(), Chunk> {
        if has(state, bits::WRITE) || chunk.memory().is_none() {
            return Err(chunk);
        }
        let op = WriteOp::Send {
            queue: SendQueue::lent(),
            stall_ms: 0,
        };
        state.write.begin(op, Waiter::NOBODY);
        self.send(channel, state, Load::Chunk(chunk));
        Ok(())
    }

    /// Files are sent at once; memory goes out with all that the turn sends.
    #[inline]
    fn send_at_once(
        &self,
        channel: &Channel,
        state: &ChannelState,
        queue: &mut SendQueue,
    ) -> Progress<io::Result<()>> {
        if queue.is_empty() {
            return Progress::Done(Ok(()));
        }
        if !queue.has_files() || has(state, bits::WRITE) {
            return Progress::Spent;
        }
        op::send(channel.as_fd(), queue, self.limits.send_bytes)
    }

    /// The socket takes no more: what is left waits for room.
    fn send_blocked(&mut self, _channel: &Channel, state: &mut ChannelState) {
        state.flags.remove(Flags::WRITABLE);
    }

    fn read_directly(&mut self, state: &mut ChannelState) {
        state.in_flight |= bits::DIRECT;
    }

    fn arm(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()> {
        if channel.kind().is_one_shot() && !has(state, bits::READ_POLL) {
            self.watch(channel, state);
        }
        Ok(())
    }

    /// What is in flight may have received something already.
    fn is_quiet(&self, state: &ChannelState) -> bool {
        state.is_free() && state.in_flight == 0
    }

    /// The ring watches nothing for which nothing is in flight.
    fn let_go(&mut self, _channel: &Channel) {}

    fn cancel(&mut self, channel: &Channel, side: Side) -> Remains {
        let state = &mut *channel.state();
        let remains = state.cancel(side);
        if self.birthplace.is_elsewhere() {
            return remains;
        }
        match side {
            Side::Read => {
                if channel.kind() == Kind::Listener {
                    self.end_accept(channel, state);
                }
            }
            Side::Write => self.orphan_write(channel, state),
        }
        remains
    }

    fn expire(&mut self, token: Token, now_ms: u64, woken: &mut Woken<'_>) -> u64 {
        self.expire_write(token, now_ms);
        self.channels.expire(token, now_ms, woken)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.tidy_listeners();
        let at_once =
            timeout == Some(Duration::ZERO) || !self.ready.is_empty() || !self.starved.is_empty();
        if at_once || self.ring.has_completions() {
            self.ring.flush()
        } else {
            self.ring.sleep(timeout)
        }
    }

    fn perform(&mut self, work: &mut Work<'_>) {
        if !self.channels.is_empty() {
            self.ring.provide_buffers(work.buffers);
        }
        self.ring.reap();
        self.perform_completions(work);
        // An enter of the kernel does a limited number of things.
        if self.ring.has_kernel_work() {
            let tell = |source: &Channel| reading::tell_ready(&mut source.state(), work);
            self.sources.look(tell);
        }
        self.feed_starved();
        self.perform_ready(work);
    }
}
