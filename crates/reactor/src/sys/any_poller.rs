//! The poller of a loop, chosen when the loop is built.
//!
//! One readiness driver over this, instead of one for each poller, keeps the driver in one copy:
//! the choice costs a comparison where the pollers differ, and nothing where channels are used.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::SocketAddrAny;

use crate::buffer::BufferPool;
use crate::channel::{Kind, Side, Token};
use crate::net::Address;
use crate::op::{self, Progress};
use crate::send_queue::SendQueue;
#[cfg(target_os = "linux")]
use crate::sys::epoll::Epoll;
use crate::sys::poll::Poll;
use crate::sys::portable::Portable;
use crate::sys::select::Select;
use crate::sys::sim::{Clock, Network, Sim};
use crate::sys::{Event, Poller, Received, Simulated, Wake};

/// Any of the pollers.
pub(crate) enum AnyPoller {
    #[cfg(target_os = "linux")]
    Epoll(Epoll),
    Poll(Poll),
    Select(Box<Select>),
    Portable(Portable),
    Sim(Box<Sim>),
}

macro_rules! each {
    ($self:ident, $poller:ident => $call:expr) => {
        match $self {
            #[cfg(target_os = "linux")]
            AnyPoller::Epoll($poller) => $call,
            AnyPoller::Poll($poller) => $call,
            AnyPoller::Select($poller) => $call,
            AnyPoller::Portable($poller) => $call,
            AnyPoller::Sim($poller) => $call,
        }
    };
}

impl AnyPoller {
    #[cfg(target_os = "linux")]
    pub(crate) fn epoll(events_per_poll: usize) -> io::Result<AnyPoller> {
        Ok(AnyPoller::Epoll(Epoll::new(events_per_poll)?))
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn epoll(_: usize) -> io::Result<AnyPoller> {
        let message = "epoll(7) is Linux's: choose another driver";
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }

    pub(crate) fn poll() -> io::Result<AnyPoller> {
        Ok(AnyPoller::Poll(Poll::new()?))
    }

    pub(crate) fn select() -> io::Result<AnyPoller> {
        Ok(AnyPoller::Select(Box::new(Select::new()?)))
    }

    pub(crate) fn portable(events_per_poll: usize) -> io::Result<AnyPoller> {
        Ok(AnyPoller::Portable(Portable::new(events_per_poll)?))
    }

    pub(crate) fn sim(simulated: Simulated) -> io::Result<AnyPoller> {
        let sim = match simulated {
            Simulated::Alone(simulation) => Sim::new(simulation),
            Simulated::Scheduled(schedule) => Sim::scheduled(&schedule),
        };
        Ok(AnyPoller::Sim(Box::new(sim?)))
    }

    /// Kept out of line: with epoll, there is nothing to do.
    #[inline(never)]
    fn rearm_level(&mut self, fd: BorrowedFd<'_>, token: Token, side: Side) {
        each!(self, poller => poller.rearm(fd, token, side));
    }

    /// The network that the loop's sockets are of, where it is not the system's.
    pub(crate) fn network(&self) -> Option<Rc<Network>> {
        match self {
            AnyPoller::Sim(sim) => sim.network(),
            _ => None,
        }
    }

    /// The clock that the loop goes by, where it is not the system's.
    pub(crate) fn virtual_clock(&self) -> Option<Rc<Clock>> {
        match self {
            AnyPoller::Sim(sim) => sim.clock(),
            _ => None,
        }
    }
}

impl Poller for AnyPoller {
    fn name(&self) -> &'static str {
        each!(self, poller => poller.name())
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        each!(self, poller => poller.wake_handle())
    }

    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        each!(self, poller => poller.add(fd, token, kind))
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, kind: Kind) {
        each!(self, poller => poller.remove(fd, kind));
    }

    #[inline]
    fn rearm(&mut self, fd: BorrowedFd<'_>, token: Token, side: Side) {
        match self {
            #[cfg(target_os = "linux")]
            AnyPoller::Epoll(_) => {}
            _ => self.rearm_level(fd, token, side),
        }
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        each!(self, poller => poller.pause(fd));
    }

    fn resume(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        each!(self, poller => poller.resume(fd, token, kind))
    }

    fn arm(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        each!(self, poller => poller.arm(fd, token, kind))
    }

    #[inline]
    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        each!(self, poller => poller.wait(events, timeout))
    }

    #[inline]
    fn allow_recv(
        &self,
        fd: BorrowedFd<'_>,
        pool: &BufferPool,
        bytes_max: usize,
    ) -> Result<usize, Received> {
        match self {
            AnyPoller::Sim(sim) => sim.allow_recv(fd, pool, bytes_max),
            _ => Ok(bytes_max),
        }
    }

    #[inline]
    fn send(
        &self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        budget_bytes: u64,
    ) -> Progress<io::Result<()>> {
        match self {
            AnyPoller::Sim(sim) => sim.send(fd, queue, budget_bytes),
            _ => op::send(fd, queue, budget_bytes),
        }
    }

    /// A simulation sends from queues alone.
    #[inline]
    fn try_send(&self, fd: BorrowedFd<'_>, bytes: &[u8]) -> Progress<io::Result<usize>> {
        match self {
            AnyPoller::Sim(_) => Progress::Spent,
            _ => op::try_send(fd, bytes),
        }
    }

    fn accept(&self, fd: BorrowedFd<'_>) -> Progress<io::Result<(OwnedFd, Address)>> {
        match self {
            AnyPoller::Sim(sim) => sim.accept(fd),
            _ => op::accept(fd),
        }
    }

    fn connect(&self, fd: BorrowedFd<'_>, address: &SocketAddrAny) -> Progress<io::Result<()>> {
        match self {
            AnyPoller::Sim(sim) => sim.connect(fd, address),
            _ => op::connect(fd, address),
        }
    }
}
