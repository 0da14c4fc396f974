//! Channels: what a loop knows about one descriptor.
//!
//! A channel holds the descriptor, what is known about its readiness, the operation pending on each
//! side with who waits for it, and the deadlines of both. Its handle and its driver share it for as
//! long as it is registered, so that neither looks it up for the other.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::net::SocketAddrAny;

use crate::net::Address;
use crate::op::{Progress, ReadOp, ReadOutcome, Request, WriteOp, WriteOutcome};
use crate::paged_slab::PagedSlab;
use crate::scheduler::{Waiter, Woken};
use crate::send_queue::{Chunk, SendQueue};
use crate::timer_queue::{NEVER_MS, TimerKey};
use crate::trigger::{Interest, Trigger};

/// Names a channel. The generation makes a late event for a descriptor that is gone harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    index: u32,
    generation: u32,
}

#[allow(
    dead_code,
    reason = "for the mechanisms that give 64 bits back, which not every system has"
)]
impl Token {
    #[inline]
    pub(crate) fn to_u64(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    #[inline]
    pub(crate) fn from_u64(bits: u64) -> Token {
        Token {
            index: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// What is registered, and so how its poller watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A connected (or connecting) socket: both sides, edge-triggered.
    Stream,
    /// A listening socket, perhaps shared with other loops: read side, level-triggered, one
    /// loop woken for a connection.
    Listener,
    /// Any descriptor that can be polled: read side, edge-triggered.
    Source,
    /// The same, for readiness alone and told of as the caller wants it.
    Watched(Interest, Trigger),
}

impl Kind {
    /// Whether it is told again and again, so that it is not to be watched while nobody asks.
    pub(crate) fn is_level(self) -> bool {
        match self {
            Kind::Stream | Kind::Source => false,
            Kind::Listener => true,
            Kind::Watched(_, trigger) => matches!(trigger, Trigger::Level | Trigger::Exclusive),
        }
    }

    /// Whether it may be anything, a file that is always ready included.
    pub(crate) fn is_anything(self) -> bool {
        matches!(self, Kind::Source | Kind::Watched(..))
    }

    /// Whether it is told once, until it is armed.
    pub(crate) fn is_one_shot(self) -> bool {
        matches!(self, Kind::Watched(_, Trigger::OneShot))
    }

    /// Refuses a trigger that a driver has not.
    pub(crate) fn check_trigger(self, driver: &str, has: &[Trigger]) -> io::Result<()> {
        match self {
            Kind::Watched(_, trigger) if !has.contains(&trigger) => {
                let message = format!(
                    "{driver} has no {trigger:?} trigger (of those that it has, choose one of \
                     {has:?}, or another driver)"
                );
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
            _ => Ok(()),
        }
    }
}

/// When an operation fails if it is not complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    /// In ticks of the loop.
    pub(crate) at_ms: u64,
    /// The turn whose time it was counted from; 0 for a moment that is fixed.
    pub(crate) asked: u32,
}

impl Deadline {
    pub(crate) const NEVER: Deadline = Deadline {
        at_ms: NEVER_MS,
        asked: 0,
    };
}

/// A side of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Accept, Recv and Ready.
    Read,
    /// Connect and Send.
    Write,
}

/// A set of facts about a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flags(u8);

impl Flags {
    pub(crate) const NONE: Flags = Flags(0);
    /// There may be something to read.
    pub(crate) const READABLE: Flags = Flags(1);
    /// There may be room to write.
    pub(crate) const WRITABLE: Flags = Flags(2);
    /// The peer has closed its side, or the connection is broken (`EPOLLRDHUP`, `EPOLLHUP`,
    /// `EPOLLERR`): a short read does not mean drained any more.
    pub(crate) const PEER_CLOSED: Flags = Flags(4);
    /// It is on its driver's ready list.
    pub(crate) const LISTED: Flags = Flags(8);
    /// Its poller does not watch it at present.
    pub(crate) const PAUSED: Flags = Flags(16);
    /// What was received last filled a small buffer: the next receive takes a large one.
    pub(crate) const MANY: Flags = Flags(32);
    /// A large buffer was taken, and the last receive would have fitted into a small one.
    pub(crate) const FEW_ONCE: Flags = Flags(64);
    /// What a descriptor that is watched for readiness alone may be told of.
    pub(crate) const TOLD: Flags = Flags(1 | 2 | 4);

    #[inline]
    pub(crate) const fn has(self, flags: Flags) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// True if it has one of these.
    pub(crate) const fn any(self, flags: Flags) -> bool {
        self.0 & flags.0 != 0
    }

    #[inline]
    pub(crate) const fn with(self, flags: Flags) -> Flags {
        Flags(self.0 | flags.0)
    }

    #[inline]
    pub(crate) const fn without(self, flags: Flags) -> Flags {
        Flags(self.0 & !flags.0)
    }

    #[inline]
    pub(crate) fn insert(&mut self, flags: Flags) {
        *self = self.with(flags);
    }

    #[inline]
    pub(crate) fn remove(&mut self, flags: Flags) {
        *self = self.without(flags);
    }
}

/// One side of a channel: an operation `O`, or the outcome `R` that it ended in and that its
/// task has not taken yet.
#[derive(Debug)]
pub(crate) enum Slot<O, R> {
    Idle,
    Pending(O, Waiter),
    Done(R),
    /// The loop has ended: nothing is performed any more.
    Gone,
}

impl<O, R> Slot<O, R> {
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self, Slot::Pending(..))
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Slot::Done(_))
    }

    /// Begins an operation on a side that is free.
    #[inline]
    pub(crate) fn begin(&mut self, op: O, waiter: Waiter) {
        let former = std::mem::replace(self, Slot::Pending(op, waiter));
        // Dropping it would be a call that does nothing.
        debug_assert!(matches!(former, Slot::Idle), "the side is not free");
        std::mem::forget(former);
    }

    /// Ends the pending operation, and gives who waits for it.
    #[inline]
    pub(crate) fn complete(&mut self, outcome: R) -> Option<Waiter> {
        match std::mem::replace(self, Slot::Done(outcome)) {
            Slot::Pending(_, waiter) => Some(waiter),
            Slot::Idle | Slot::Done(_) | Slot::Gone => None,
        }
    }

    /// The outcome, if there is one.
    #[inline]
    pub(crate) fn take_done(&mut self) -> Option<R> {
        match self {
            Slot::Done(_) => match std::mem::replace(self, Slot::Idle) {
                Slot::Done(outcome) => Some(outcome),
                Slot::Idle | Slot::Pending(..) | Slot::Gone => None,
            },
            Slot::Idle | Slot::Pending(..) | Slot::Gone => None,
        }
    }
}

/// Connections accepted and not taken yet, and how many to accept at once.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) queue: VecDeque<io::Result<(OwnedFd, Address)>>,
    /// Accepted in one turn at most.
    pub(crate) budget: u32,
    /// Accepted in the next turn: grows while turn after turn finds a connection waiting, so
    /// that few calls find none.
    pub(crate) batch: u32,
    pub(crate) last_turn: u64,
    /// After so many connections the listener steps behind the other loops that share it;
    /// 0 for never.
    pub(crate) rotate_after: u32,
    pub(crate) since_rotation: u32,
}

/// What a loop knows about one descriptor.
#[derive(Debug)]
pub(crate) struct Channel {
    fd: OwnedFd,
    token: Token,
    kind: Kind,
    state: RefCell<ChannelState>,
}

impl Channel {
    #[inline]
    pub(crate) fn token(&self) -> Token {
        self.token
    }

    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// What changes of it. Not to be held while code of the user runs.
    #[inline]
    pub(crate) fn state(&self) -> RefMut<'_, ChannelState> {
        self.state.borrow_mut()
    }
}

/// How far performing a write has brought it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Done,
    /// The socket takes no more for now.
    Blocked,
    /// The budget of this turn is spent.
    Spent,
}

/// What changes of a channel.
#[derive(Debug)]
pub(crate) struct ChannelState {
    pub(crate) flags: Flags,
    pub(crate) read: Slot<ReadOp, ReadOutcome>,
    pub(crate) write: Slot<WriteOp, WriteOutcome>,
    pub(crate) read_deadline_ms: u64,
    pub(crate) write_deadline_ms: u64,
    /// In which turn these were asked for, counted from its time; 0 for a moment that is fixed.
    pub(crate) read_asked: u32,
    pub(crate) write_asked: u32,
    pub(crate) timer: Option<TimerKey>,
    /// When its timer fires: never later than its next deadline, so that moving a deadline later
    /// does not touch the timers.
    pub(crate) looked_at_ms: u64,
    pub(crate) accepted: Option<Box<Accepted>>,
    /// What a completion driver has in flight for the channel: bits of its own.
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) in_flight: u16,
    /// Its name for the send in flight.
    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) send_key: u32,
}

impl ChannelState {
    /// True if performing the pending operations would bring something.
    #[inline]
    pub(crate) fn is_due(&self) -> bool {
        (self.flags.has(Flags::READABLE) && self.read.is_pending())
            || (self.flags.has(Flags::WRITABLE) && self.write.is_pending())
    }

    /// Whether no side has an operation, or an outcome that nobody has taken.
    pub(crate) fn is_free(&self) -> bool {
        matches!((&self.read, &self.write), (Slot::Idle, Slot::Idle))
    }

    /// The earlier deadline of the two sides.
    #[inline]
    pub(crate) fn deadline_ms(&self) -> u64 {
        self.read_deadline_ms.min(self.write_deadline_ms)
    }

    /// Refuses a second operation on a side, and any on a channel whose loop has ended.
    #[inline]
    pub(crate) fn check_free<O, R>(
        slot: &Slot<O, R>,
        describe: impl Fn(&O) -> Request<'_>,
    ) -> io::Result<()> {
        match slot {
            Slot::Idle | Slot::Done(_) => Ok(()),
            Slot::Pending(op, _) => Err(refused(Some(describe(op)))),
            Slot::Gone => Err(refused(None)),
        }
    }

    /// Cancels the pending operation of a side. What the read side has brought in already
    /// stays for the next operation; the outcome of a send nobody asks for any more is void.
    pub(crate) fn cancel(&mut self, side: Side) -> Remains {
        let mut remains = Remains {
            _read: Slot::Idle,
            _write: Slot::Idle,
        };
        match side {
            Side::Read if self.read.is_pending() => {
                self.read_deadline_ms = NEVER_MS;
                std::mem::swap(&mut self.read, &mut remains._read);
            }
            Side::Write if !matches!(self.write, Slot::Gone) => {
                self.write_deadline_ms = NEVER_MS;
                std::mem::swap(&mut self.write, &mut remains._write);
            }
            Side::Read | Side::Write => {}
        }
        remains
    }

    /// Performs the pending write once, by these where it is theirs.
    pub(crate) fn perform_write(
        &mut self,
        work: &mut Work<'_>,
        send: impl FnOnce(&mut SendQueue) -> Progress<io::Result<()>>,
        connect: impl FnOnce(&SocketAddrAny) -> Progress<io::Result<()>>,
    ) -> Written {
        let Slot::Pending(mut op, waiter) = std::mem::replace(&mut self.write, Slot::Idle) else {
            return Written::Done;
        };
        let progress = match &mut op {
            WriteOp::Send { queue, stall_ms } => {
                let bytes_before = queue.bytes();
                let progress = send(queue);
                queue.move_sent(work.sent);
                if *stall_ms != 0 && queue.bytes() < bytes_before {
                    self.write_deadline_ms = work.now_ms.saturating_add(u64::from(*stall_ms));
                    self.write_asked = 0;
                }
                progress
            }
            WriteOp::Connect { address } => connect(address),
            WriteOp::Ready => Progress::Done(Ok(())),
        };
        let written = match progress {
            Progress::Done(result) => {
                self.write_deadline_ms = NEVER_MS;
                self.write = Slot::Done(op.end(result));
                work.woken.wake(Some(waiter));
                return Written::Done;
            }
            Progress::Blocked => Written::Blocked,
            Progress::Spent => Written::Spent,
        };
        self.write = Slot::Pending(op, waiter);
        written
    }

    /// Puts off what would be overdue, by how long the turn that asked for it went on: it was asked for
    /// before that turn's end, and its time began with the turn.
    pub(crate) fn put_off(&mut self, now_ms: u64, lasted_ms: impl Fn(u32) -> u64) {
        if self.read_asked != 0 && self.read_deadline_ms <= now_ms {
            let lasted_ms = lasted_ms(std::mem::take(&mut self.read_asked));
            self.read_deadline_ms = self.read_deadline_ms.saturating_add(lasted_ms);
        }
        if self.write_asked != 0 && self.write_deadline_ms <= now_ms {
            let lasted_ms = lasted_ms(std::mem::take(&mut self.write_asked));
            self.write_deadline_ms = self.write_deadline_ms.saturating_add(lasted_ms);
        }
    }

    /// Fails the operations whose deadline has passed.
    fn expire(&mut self, now_ms: u64, woken: &mut Woken<'_>) {
        let timed_out = || io::Error::from(io::ErrorKind::TimedOut);
        if self.read_deadline_ms <= now_ms {
            self.read_deadline_ms = NEVER_MS;
            if self.read.is_pending() {
                woken.wake(self.read.complete(ReadOutcome::Failed(timed_out())));
            }
        }
        if self.write_deadline_ms <= now_ms {
            self.write_deadline_ms = NEVER_MS;
            if let Slot::Pending(op, waiter) = std::mem::replace(&mut self.write, Slot::Idle) {
                self.write = Slot::Done(op.end(Err(timed_out())));
                woken.wake(Some(waiter));
            }
        }
    }
}

/// Why an operation cannot begin: another one is pending, or the loop has ended.
#[cold]
fn refused(pending: Option<Request<'_>>) -> io::Error {
    match pending {
        Some(pending) => io::Error::other(format!(
            "another {pending} is pending on this side of the channel"
        )),
        None => io::Error::other(
            "the event loop that this was registered with has ended, and another one cannot \
             serve it",
        ),
    }
}

impl AsFd for Channel {
    #[inline]
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// All channels of a driver.
#[derive(Default)]
pub(crate) struct Channels {
    slab: PagedSlab<Rc<Channel>>,
    next_generation: u32,
}

impl Channels {
    /// The token that [`insert`](Channels::insert) will give next.
    pub(crate) fn next_token(&self) -> io::Result<Token> {
        match u32::try_from(self.slab.vacant_key()) {
            Ok(index) => Ok(Token {
                index,
                generation: self.next_generation,
            }),
            Err(_) => Err(io::Error::other("too many channels in one loop")),
        }
    }

    /// Makes the channel of [`next_token`](Channels::next_token).
    pub(crate) fn insert(&mut self, fd: OwnedFd, kind: Kind, token: Token) -> Rc<Channel> {
        self.next_generation = token.generation.wrapping_add(1);
        let flags = if kind == Kind::Stream {
            Flags::WRITABLE
        } else {
            Flags::NONE
        };
        let channel = Rc::new(Channel {
            fd,
            token,
            kind,
            state: RefCell::new(ChannelState {
                flags,
                read: Slot::Idle,
                write: Slot::Idle,
                read_deadline_ms: NEVER_MS,
                write_deadline_ms: NEVER_MS,
                read_asked: 0,
                write_asked: 0,
                timer: None,
                looked_at_ms: NEVER_MS,
                accepted: None,
                in_flight: 0,
                send_key: 0,
            }),
        });
        let index = self.slab.insert(Rc::clone(&channel));
        debug_assert_eq!(index, token.index as usize, "the token was the next one");
        channel
    }

    #[inline]
    pub(crate) fn find(&self, token: Token) -> Option<&Rc<Channel>> {
        self.slab
            .get(token.index as usize)
            .filter(|channel| channel.token == token)
    }

    /// Forgets a channel. Its handle still holds it, to drop it where code of the user may run.
    pub(crate) fn remove(&mut self, token: Token) {
        drop(self.slab.remove(token.index as usize));
    }

    /// Fails what is overdue on a channel, and gives its next deadline.
    pub(crate) fn expire(&self, token: Token, now_ms: u64, woken: &mut Woken<'_>) -> u64 {
        self.find(token).map_or(NEVER_MS, |channel| {
            let mut state = channel.state();
            state.expire(now_ms, woken);
            state.looked_at_ms = state.deadline_ms();
            state.looked_at_ms
        })
    }

    #[allow(dead_code, reason = "for rings, which not every system has")]
    pub(crate) fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// Takes every operation away, for a loop that ends.
    pub(crate) fn abandon(&mut self) -> Vec<Remains> {
        let abandoned = self.slab.values_mut().map(|channel| {
            let mut state = channel.state();
            Remains {
                _read: std::mem::replace(&mut state.read, Slot::Gone),
                _write: std::mem::replace(&mut state.write, Slot::Gone),
            }
        });
        abandoned.collect()
    }
}

/// What a cancelled operation owned, to be dropped where code of the user may run.
#[derive(Debug)]
pub(crate) struct Remains {
    _read: Slot<ReadOp, ReadOutcome>,
    _write: Slot<WriteOp, WriteOutcome>,
}

/// What the perform step of a turn works with.
pub(crate) struct Work<'a> {
    /// Where received bytes go.
    pub(crate) buffers: &'a crate::buffer::BufferPool,
    /// The turn's time, in ticks of the loop.
    pub(crate) now_ms: u64,
    /// The turn's number.
    pub(crate) turn: u64,
    /// Who waited for operations that are complete.
    pub(crate) woken: Woken<'a>,
    /// Chunks that were sent: dropped after the step.
    pub(crate) sent: &'a mut Vec<Chunk>,
}
