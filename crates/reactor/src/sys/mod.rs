//! The contract between the loop and the kernel, at two levels.
//!
//! # Operations: [`Driver`]
//!
//! The loop speaks to a driver in operations (`op.rs`). A driver
//!
//! 1. takes a descriptor for its whole life ([`register`](Driver::register) to
//!    [`release`](Driver::release)), shares its channel with whoever registered it, and finds it by
//!    its token when the kernel names it;
//! 2. has at most one operation pending on each side of a channel. Once submitted, an operation
//!    and all that it owns belong to the driver until it is complete or has been cancelled;
//! 3. completes operations in [`perform`](Driver::perform) alone, by leaving the outcome in the
//!    channel's slot and who waited for it in [`Work`], never by running code of the user. The one
//!    exception is [`send_at_once`](Driver::send_at_once), which a driver may refuse;
//! 4. loses nothing by cancelling. What a cancelled Recv or Accept has brought in already, or
//!    still brings in, is kept for the next one. A cancelled Send has sent an unknown part;
//! 5. keeps to its budgets: one receive, and `send_bytes` sent, a channel and turn. A channel that
//!    could do more is performed again in the next turn, in order, and that turn does not sleep;
//! 6. knows no clock: time comes in with [`Work`]. Deadlines are the loop's: it fails what is
//!    overdue in the channel, and cancels it in the driver;
//! 7. tells of a [source](Kind::Source) no later than of what came after it: where one look at the
//!    kernel does not bring all that is ready, it asks its [`sources`] themselves.
//!
//! # Readiness: [`Poller`]
//!
//! epoll, kqueue, poll and select only tell who is ready. What they have in common lies in
//! [`Readiness`], a driver over any [`Poller`]: about ten functions, one file a poller. A poller
//!
//! 1. watches a descriptor from [`add`](Poller::add) to [`remove`](Poller::remove) for both sides
//!    ([`Kind::Stream`]) or the read side, and adds nothing per request;
//! 2. reports a side once when it becomes ready and then not until it was seen not to be
//!    ready (edge). One that can only tell levels stops watching a side that it
//!    reported until [`rearm`](Poller::rearm) says that the side was drained; an edge poller
//!    leaves that function empty;
//! 3. reports a listener as long as a connection waits (level), and to one of the loops that share
//!    it; a listener that nobody waits for is [paused](Poller::pause). What is
//!    [watched](Kind::Watched) is reported by its own trigger, or refused when it is added;
//! 4. tells that the peer has closed its side, or looks again when the read side is rearmed: the end
//!    of the stream may lie behind what a receive brought;
//! 5. may report too much, never too little: performing an operation that is not ready costs
//!    one system call that says so;
//! 6. can be woken from another thread through the [`Wake`] that it gives, any number of times
//!    for one return of [`wait`](Poller::wait), which says whether there may be more to report;
//! 7. leaves performing to the operations themselves. The one that simulates puts itself in
//!    between ([`allow_recv`](Poller::allow_recv) to [`connect`](Poller::connect)).

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketAddrAny;

use crate::buffer::{Buffer, BufferPool};
use crate::channel::{Channel, ChannelState, Channels, Flags, Kind, Remains, Side, Token, Work};
use crate::net::Address;
use crate::op::{self, Progress};
use crate::scheduler::Woken;
use crate::send_queue::{Chunk, SendQueue};

pub(crate) mod address;
pub(crate) mod any_poller;
pub(crate) mod datagram;
#[cfg(target_os = "linux")]
pub(crate) mod epoll;
pub(crate) mod fork;
#[cfg(target_os = "linux")]
pub(crate) mod io_uring;
pub(crate) mod kind;
pub(crate) mod level;
#[cfg(target_os = "linux")]
pub(crate) mod linux;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod portable;
pub(crate) mod readiness;
pub(crate) mod select;
pub(crate) mod sigpipe;
pub(crate) mod sim;
pub(crate) mod socket_option;
pub(crate) mod sources;
#[cfg(not(target_os = "linux"))]
pub(crate) mod unix;

#[cfg(target_os = "linux")]
pub(crate) use linux as platform;
#[cfg(not(target_os = "linux"))]
pub(crate) use unix as platform;

use any_poller::AnyPoller;
pub use sim::{Faults, Schedule, Simulation};

/// What a channel may do in one turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Events taken from the kernel in one call.
    pub(crate) events_per_poll: usize,
    /// Bytes received in one turn, if fewer than a buffer holds.
    pub(crate) recv_bytes: usize,
    /// Bytes sent in one turn.
    pub(crate) send_bytes: u64,
}

/// Ends the sleep of a loop, from any thread.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

/// What a loop on [`DriverKind::Sim`] simulates.
#[derive(Clone, Debug)]
pub(crate) enum Simulated {
    Alone(Simulation),
    /// One of several.
    Scheduled(Schedule),
}

/// Runs the operations of one loop.
pub(crate) trait Driver {
    /// The name of the mechanism, for messages.
    fn name(&self) -> &'static str;

    /// What ends a [`wait`](Driver::wait) from another thread.
    fn wake_handle(&self) -> Arc<dyn Wake>;

    fn channels_mut(&mut self) -> &mut Channels;

    /// Takes a non-blocking descriptor.
    fn register(&mut self, fd: OwnedFd, kind: Kind) -> io::Result<Rc<Channel>>;

    /// Forgets a channel, which the caller drops (and so closes the descriptor).
    fn release(&mut self, channel: &Channel);

    /// Takes the operation that was put into the read side.
    fn submit_read(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()>;

    /// Takes the operation that was put into the write side.
    fn submit_write(&mut self, channel: &Channel, state: &mut ChannelState);

    /// Takes a chunk of memory for a write side that is free, to send it with the turn and complete the
    /// side when all of it is sent; or gives it back, for a queue.
    fn submit_chunk(
        &mut self,
        _channel: &Channel,
        _state: &mut ChannelState,
        chunk: Chunk,
    ) -> Result<(), Chunk> {
        Err(chunk)
    }

    /// Sends in the caller's turn instead of the perform step, where the driver can.
    fn send_at_once(
        &self,
        channel: &Channel,
        state: &ChannelState,
        queue: &mut SendQueue,
    ) -> Progress<io::Result<()>>;

    /// Sends of these bytes what the socket takes in the caller's turn, which may be nothing: always
    /// so where the driver sends with the turn.
    fn try_send(
        &mut self,
        _channel: &Channel,
        _state: &mut ChannelState,
        _bytes: &[u8],
    ) -> io::Result<usize> {
        Ok(0)
    }

    /// What `send_at_once` was told by the socket: it takes no more for now.
    fn send_blocked(&mut self, channel: &Channel, state: &mut ChannelState);

    /// From now on the caller reads the descriptor himself, whenever an operation `Ready` is
    /// complete that left no bytes behind: a driver that receives ahead stops before it tells.
    fn read_directly(&mut self, _state: &mut ChannelState) {}

    /// Whether nothing is pending on a channel, nothing was received that nobody has taken, and nothing
    /// is being received: all that comes stays in the kernel.
    fn is_quiet(&self, state: &ChannelState) -> bool;

    /// Watches a quiet channel no more, whose descriptor another process has too.
    fn let_go(&mut self, channel: &Channel);

    /// Arms what is told once; the other kinds are left alone.
    fn arm(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()>;

    /// Cancels the operation of a side, and gives what it owned, to be dropped by the caller.
    fn cancel(&mut self, channel: &Channel, side: Side) -> Remains {
        channel.state().cancel(side)
    }

    /// Fails what is overdue on a channel, and gives the channel's next deadline.
    fn expire(&mut self, token: Token, now_ms: u64, woken: &mut Woken<'_>) -> u64 {
        self.channels_mut().expire(token, now_ms, woken)
    }

    /// Sleeps until something is ready, another thread wakes the loop, or the timeout passes
    /// (`None`: never). Does not sleep while channels are left over from the last turn.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()>;

    /// Performs what is ready, within the budgets.
    fn perform(&mut self, work: &mut Work<'_>);
}

/// What performing a receive once comes to: [`op::recv`].
pub(crate) type Received = Progress<io::Result<(Buffer, bool)>>;

/// One channel that became ready.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) token: Token,
    pub(crate) flags: Flags,
}

/// Tells which descriptors are ready.
pub(crate) trait Poller: Sized {
    /// The name of the mechanism, for messages.
    fn name(&self) -> &'static str;

    fn wake_handle(&self) -> Arc<dyn Wake>;

    /// Begins to watch a descriptor.
    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()>;

    /// Stops watching a descriptor that is about to be closed.
    fn remove(&mut self, fd: BorrowedFd<'_>, kind: Kind);

    /// A side that was reported has been seen not to be ready.
    fn rearm(&mut self, fd: BorrowedFd<'_>, token: Token, side: Side);

    /// Stops reporting a listener, or what is told again and again.
    fn pause(&mut self, fd: BorrowedFd<'_>);

    /// Reports what was paused again.
    fn resume(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        self.add(fd, token, kind)
    }

    /// Reports once more what is told once.
    fn arm(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()>;

    /// Sleeps until something is ready, and appends what is; true if there may be more that is.
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool>;

    /// How many bytes a receive may bring now, or what becomes of it instead.
    #[inline]
    fn allow_recv(
        &self,
        _: BorrowedFd<'_>,
        _: &BufferPool,
        bytes_max: usize,
    ) -> Result<usize, Received> {
        Ok(bytes_max)
    }

    /// Sends within a budget: [`op::send`].
    #[inline]
    fn send(
        &self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        budget_bytes: u64,
    ) -> Progress<io::Result<()>> {
        op::send(fd, queue, budget_bytes)
    }

    /// Sends of these bytes what the socket takes: [`op::try_send`].
    #[inline]
    fn try_send(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Progress<io::Result<usize>> {
        op::try_send(fd, bytes)
    }

    /// Accepts once: [`op::accept`].
    #[inline]
    fn accept(&self, fd: BorrowedFd<'_>) -> Progress<io::Result<(OwnedFd, Address)>> {
        op::accept(fd)
    }

    /// Asks how connecting goes: [`op::connect`].
    #[inline]
    fn connect(&self, fd: BorrowedFd<'_>, address: &SocketAddrAny) -> Progress<io::Result<()>> {
        op::connect(fd, address)
    }
}

/// The mechanism that a loop runs on. All keep the same promises, and every one but `Sim` is
/// there for use; what they cost differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DriverKind {
    /// Edge-triggered `epoll(7)`, on Linux: the default there.
    Epoll,
    /// `poll(2)`: a turn costs the kernel a look at every connection.
    Poll,
    /// `select(2)`: as poll, and with descriptors below `FD_SETSIZE` (1,024) alone; a larger
    /// number is an error (`Unsupported`) when it is registered. That a peer has closed its side
    /// is known when the end of the stream is received, not before.
    Select,
    /// The `polling` crate: kqueue on macOS and the BSDs, the default there; epoll on Linux, where it
    /// knows that a peer has closed as select does.
    Portable,
    /// `io_uring(7)` (Linux 6.0 and above): the kernel does the I/O and tells when it is done.
    /// Where it is missing, or refused by a sandbox, the loop says so once and runs on epoll. When a
    /// process is killed, the kernel ends what was in flight before it closes the sockets: its address
    /// is in use for some milliseconds more.
    IoUring,
    /// Sockets in memory, or real ones, under a seed: see [`Simulation`].
    Sim,
}

/// The driver of a loop, chosen when the loop is built and called without indirection.
#[allow(
    clippy::large_enum_variant,
    reason = "a loop has one driver, and it lies in the loop's own allocation"
)]
pub(crate) enum AnyDriver {
    Readiness(readiness::Readiness<AnyPoller>),
    #[cfg(target_os = "linux")]
    IoUring(Box<io_uring::Uring>),
}

impl AnyDriver {
    pub(crate) fn new(
        kind: DriverKind,
        simulation: Option<Simulated>,
        limits: Limits,
    ) -> io::Result<AnyDriver> {
        let poller = match kind {
            DriverKind::Epoll => AnyPoller::epoll(limits.events_per_poll),
            DriverKind::IoUring => return AnyDriver::io_uring(limits),
            DriverKind::Poll => AnyPoller::poll(),
            DriverKind::Select => AnyPoller::select(),
            DriverKind::Portable => AnyPoller::portable(limits.events_per_poll),
            DriverKind::Sim => {
                let from_env = || Simulation::from_env().map(Simulated::Alone);
                AnyPoller::sim(simulation.map_or_else(from_env, Ok)?)
            }
        }?;
        Ok(AnyDriver::Readiness(readiness::Readiness::new(
            poller, limits,
        )))
    }

    /// A ring; where it is refused, that is said once and epoll takes its place.
    #[cfg(target_os = "linux")]
    fn io_uring(limits: Limits) -> io::Result<AnyDriver> {
        match io_uring::Uring::new(limits) {
            Ok(driver) => Ok(AnyDriver::IoUring(Box::new(driver))),
            Err(error) => {
                io_uring::say_refused(&error);
                AnyDriver::new(DriverKind::Epoll, None, limits)
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn io_uring(_: Limits) -> io::Result<AnyDriver> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "io_uring(7) is Linux's: choose another driver",
        ))
    }

    /// The network that the loop's sockets are of, where it is not the system's.
    pub(crate) fn network(&self) -> Option<Rc<sim::Network>> {
        match self {
            AnyDriver::Readiness(driver) => driver.poller().network(),
            #[cfg(target_os = "linux")]
            AnyDriver::IoUring(_) => None,
        }
    }

    /// The clock that the loop goes by, where it is not the system's.
    pub(crate) fn virtual_clock(&self) -> Option<Rc<sim::Clock>> {
        match self {
            AnyDriver::Readiness(driver) => driver.poller().virtual_clock(),
            #[cfg(target_os = "linux")]
            AnyDriver::IoUring(_) => None,
        }
    }
}

macro_rules! each {
    ($self:ident, $driver:ident => $call:expr) => {
        match $self {
            AnyDriver::Readiness($driver) => $call,
            #[cfg(target_os = "linux")]
            AnyDriver::IoUring($driver) => $call,
        }
    };
}

impl Driver for AnyDriver {
    fn name(&self) -> &'static str {
        each!(self, driver => driver.name())
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        each!(self, driver => driver.wake_handle())
    }

    #[inline]
    fn channels_mut(&mut self) -> &mut Channels {
        each!(self, driver => driver.channels_mut())
    }

    fn register(&mut self, fd: OwnedFd, kind: Kind) -> io::Result<Rc<Channel>> {
        each!(self, driver => driver.register(fd, kind))
    }

    fn release(&mut self, channel: &Channel) {
        each!(self, driver => driver.release(channel));
    }

    #[inline]
    fn submit_read(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()> {
        each!(self, driver => driver.submit_read(channel, state))
    }

    #[inline]
    fn submit_write(&mut self, channel: &Channel, state: &mut ChannelState) {
        each!(self, driver => driver.submit_write(channel, state));
    }

    #[inline]
    fn submit_chunk(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        chunk: Chunk,
    ) -> Result<(), Chunk> {
        each!(self, driver => driver.submit_chunk(channel, state, chunk))
    }

    #[inline]
    fn send_at_once(
        &self,
        channel: &Channel,
        state: &ChannelState,
        queue: &mut SendQueue,
    ) -> Progress<io::Result<()>> {
        each!(self, driver => driver.send_at_once(channel, state, queue))
    }

    #[inline]
    fn try_send(
        &mut self,
        channel: &Channel,
        state: &mut ChannelState,
        bytes: &[u8],
    ) -> io::Result<usize> {
        each!(self, driver => driver.try_send(channel, state, bytes))
    }

    #[inline]
    fn send_blocked(&mut self, channel: &Channel, state: &mut ChannelState) {
        each!(self, driver => driver.send_blocked(channel, state));
    }

    fn read_directly(&mut self, state: &mut ChannelState) {
        each!(self, driver => driver.read_directly(state));
    }

    fn is_quiet(&self, state: &ChannelState) -> bool {
        each!(self, driver => driver.is_quiet(state))
    }

    fn let_go(&mut self, channel: &Channel) {
        each!(self, driver => driver.let_go(channel));
    }

    fn arm(&mut self, channel: &Channel, state: &mut ChannelState) -> io::Result<()> {
        each!(self, driver => driver.arm(channel, state))
    }

    fn cancel(&mut self, channel: &Channel, side: Side) -> Remains {
        each!(self, driver => driver.cancel(channel, side))
    }

    fn expire(&mut self, token: Token, now_ms: u64, woken: &mut Woken<'_>) -> u64 {
        each!(self, driver => driver.expire(token, now_ms, woken))
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        each!(self, driver => driver.wait(timeout))
    }

    fn perform(&mut self, work: &mut Work<'_>) {
        each!(self, driver => driver.perform(work));
    }
}
