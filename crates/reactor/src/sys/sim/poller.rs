//! The poller of a simulation: what the network and `poll(2)` tell, under a seed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{Shutdown, SocketAddrAny};

use super::chance::{Clock, Fate};
use super::network::{Network, State};
use super::schedule::{Schedule, Turn};
use super::{Simulation, VARIABLE};
use crate::buffer::BufferPool;
use crate::channel::{Kind, Side, Token};
use crate::net::Address;
use crate::op::{self, Progress};
use crate::send_queue::{Chunk, SendQueue};
use crate::sys::platform;
use crate::sys::poll::Poll;
use crate::sys::{Event, Poller, Received, Wake};

/// Readiness that is told late.
struct Held {
    waits: u64,
    event: Event,
}

/// The sockets of a network in memory, and those of the kernel by way of `poll(2)`.
pub(crate) struct Sim {
    poll: Poll,
    network: Option<Rc<Network>>,
    fate: Arc<Fate>,
    seed: u64,
    held: Vec<Held>,
    /// Where the loop is one of several: when it has its turn.
    turn: Option<Turn>,
}

impl Sim {
    pub(crate) fn new(simulation: Simulation) -> io::Result<Sim> {
        let Simulation { seed, faults, .. } = simulation;
        let clock = simulation.virtual_clock.then(Clock::new);
        let fate = Arc::new(Fate::new(seed, faults, clock));
        let network = simulation.in_memory.then(|| {
            Rc::new(Network {
                shared: Arc::new(Mutex::new(State::new(simulation.tells_edges()))),
                fate: Arc::clone(&fate),
                seat: 0,
            })
        });
        Ok(Sim {
            poll: Poll::new()?,
            network,
            fate,
            seed,
            held: Vec::new(),
            turn: None,
        })
    }

    /// One of several.
    pub(crate) fn scheduled(schedule: &Schedule) -> io::Result<Sim> {
        let poll = Poll::new()?;
        let turn = schedule.join();
        Ok(Sim {
            poll,
            network: Some(Rc::new(turn.network())),
            fate: schedule.fate(),
            seed: schedule.simulation().seed,
            held: Vec::new(),
            turn: Some(turn),
        })
    }

    pub(crate) fn clock(&self) -> Option<Rc<Clock>> {
        self.fate.clock.clone().map(Rc::new)
    }

    pub(crate) fn network(&self) -> Option<Rc<Network>> {
        self.network.clone()
    }

    /// The network, if the descriptor is one of its sockets.
    fn of(&self, fd: BorrowedFd<'_>) -> Option<&Network> {
        self.network.as_deref().filter(|network| network.has(fd))
    }

    /// An operation that was told to be ready finds nothing, but the next one may.
    fn is_false(&self, fd: BorrowedFd<'_>) -> bool {
        let strikes = self.fate.strikes(self.fate.faults.false_ready);
        if strikes && let Some(network) = self.of(fd) {
            network.tell_again(fd);
        }
        strikes
    }

    /// Breaks a connection: the peer finds it closed.
    fn reset(&self, fd: BorrowedFd<'_>) -> Option<io::Error> {
        self.fate.strikes(self.fate.faults.reset).then(|| {
            match self.of(fd) {
                Some(network) => network.reset(fd),
                None => rustix::net::shutdown(fd, Shutdown::Both).is_ok(),
            };
            Errno::CONNRESET.into()
        })
    }

    /// What the network has to tell.
    fn ask_network(&self, events: &mut Vec<Event>) {
        if let Some(network) = &self.network {
            network.turn(self.fate.clock.as_ref().map(|clock| clock.now()), events);
        }
    }

    /// Waits for the turn among several loops, and asks the network and the kernel then.
    fn ask_in_turn(
        &mut self,
        events: &mut Vec<Event>,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        if let Some(turn) = &self.turn {
            turn.wait(if self.held.is_empty() {
                timeout
            } else {
                Some(Duration::ZERO)
            });
        }
        self.ask_network(events);
        if self.poll.watches() {
            self.poll.wait(events, Some(Duration::ZERO))?;
        }
        self.jump();
        Ok(())
    }

    /// The clock goes ahead, if it is to.
    fn jump(&self) {
        if let Some(clock) = &self.fate.clock
            && self.fate.strikes(self.fate.faults.clock_jump)
        {
            clock.advance(Duration::from_millis(self.fate.below(10_000)));
        }
    }

    /// Asks the network and the kernel; the virtual clock goes on instead of sleeping.
    fn ask(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        self.ask_network(events);
        let timeout = if self.held.is_empty() && events.is_empty() {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let Some(clock) = self.clock() else {
            return self.poll.wait(events, timeout).map(drop);
        };
        let arrival = self.network.as_ref().and_then(|net| net.next_arrival());
        let arrival = arrival.map(|at| at.saturating_duration_since(clock.now()));
        let Some(sleep) = timeout.into_iter().chain(arrival).min() else {
            return self.poll.wait(events, timeout).map(drop);
        };
        // A system call in each turn is most of what a turn costs here.
        if self.poll.watches() {
            self.poll.wait(events, Some(Duration::ZERO))?;
        }
        if events.is_empty() {
            clock.advance(sleep);
            self.ask_network(events);
        }
        self.jump();
        Ok(())
    }

    /// Tells what is held back no longer, holds back some of the rest, and shuffles.
    fn disturb(&mut self, events: &mut Vec<Event>) {
        let fate = &*self.fate;
        let faults = fate.faults;
        let mut late = Vec::new();
        self.held.retain_mut(|held| {
            held.waits -= 1;
            if held.waits == 0 {
                late.push(held.event);
            }
            held.waits != 0
        });
        let held = &mut self.held;
        events.retain(|&event| {
            let delayed = fate.strikes(faults.delay);
            if delayed {
                let waits = 1 + fate.below(4);
                held.push(Held { waits, event });
            }
            !delayed
        });
        events.append(&mut late);
        if events.len() > 1 && fate.strikes(faults.reorder) {
            for last in (1..events.len()).rev() {
                let other = fate.below(last as u64 + 1) as usize;
                events.swap(last, other);
            }
        }
    }
}

impl Poller for Sim {
    fn name(&self) -> &'static str {
        "sim"
    }

    fn wake_handle(&self) -> Arc<dyn Wake> {
        match &self.turn {
            Some(turn) => turn.wake_handle(),
            None => self.poll.wake_handle(),
        }
    }

    fn add(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        if kind == Kind::Stream && self.fate.strikes(self.fate.faults.exhaust) {
            return Err(Errno::NOSPC.into());
        }
        match self.of(fd) {
            Some(_) if matches!(kind, Kind::Watched(..)) => {
                let message = "a socket that is simulated in memory is no descriptor to watch";
                Err(io::Error::new(io::ErrorKind::Unsupported, message))
            }
            Some(network) if network.add(fd, token) => Ok(()),
            _ => self.poll.add(fd, token, kind),
        }
    }

    fn remove(&mut self, fd: BorrowedFd<'_>, kind: Kind) {
        match self.of(fd) {
            Some(network) => network.remove(fd),
            None => self.poll.remove(fd, kind),
        }
    }

    fn rearm(&mut self, fd: BorrowedFd<'_>, token: Token, side: Side) {
        match self.of(fd) {
            Some(network) => network.rearm(fd, side),
            None => self.poll.rearm(fd, token, side),
        }
    }

    fn pause(&mut self, fd: BorrowedFd<'_>) {
        match self.of(fd) {
            Some(network) => network.pause(fd),
            None => self.poll.pause(fd),
        }
    }

    fn resume(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        match self.of(fd) {
            Some(network) if network.add(fd, token) => Ok(()),
            _ => self.poll.resume(fd, token, kind),
        }
    }

    fn arm(&mut self, fd: BorrowedFd<'_>, token: Token, kind: Kind) -> io::Result<()> {
        self.poll.arm(fd, token, kind)
    }

    fn wait(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<bool> {
        if self.turn.is_some() {
            self.ask_in_turn(events, timeout)?;
        } else {
            self.ask(events, timeout)?;
        }
        self.disturb(events);
        Ok(false)
    }

    #[cold]
    fn allow_recv(
        &self,
        fd: BorrowedFd<'_>,
        pool: &BufferPool,
        bytes_max: usize,
    ) -> Result<usize, Received> {
        if self.is_false(fd) {
            return Err(Progress::Blocked);
        }
        if let Some(error) = self.reset(fd) {
            return Err(Progress::Done(Err(error)));
        }
        let bytes_max = if self.fate.strikes(self.fate.faults.split) {
            self.fate.bytes(bytes_max.min(4096) as u64) as usize
        } else {
            bytes_max
        };
        let simulated = self.of(fd).map(|network| network.recv(fd, pool, bytes_max));
        simulated.map_or(Ok(bytes_max), Err)
    }

    #[cold]
    fn send(
        &self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        budget_bytes: u64,
    ) -> Progress<io::Result<()>> {
        if queue.is_empty() {
            return Progress::Done(Ok(()));
        }
        if self.is_false(fd) {
            return Progress::Blocked;
        }
        if let Some(error) = self.reset(fd) {
            return Progress::Done(Err(error));
        }
        if self.fate.strikes(self.fate.faults.short_write) {
            let bytes_max = self.fate.bytes(queue.bytes());
            return self.send_short(fd, queue, bytes_max);
        }
        match self.of(fd) {
            Some(network) => op::send_by(queue, budget_bytes, |queue, file_bytes_max| {
                network.send_once(fd, queue, u64::MAX, file_bytes_max)
            }),
            None => op::send(fd, queue, budget_bytes),
        }
    }

    #[cold]
    fn accept(&self, fd: BorrowedFd<'_>) -> Progress<io::Result<(OwnedFd, Address)>> {
        if self.fate.strikes(self.fate.faults.false_ready) {
            return Progress::Blocked;
        }
        if self.fate.strikes(self.fate.faults.exhaust) {
            return Progress::Done(Err(Errno::MFILE.into()));
        }
        match self.of(fd) {
            Some(network) => match network.accept(fd) {
                Err(Errno::AGAIN) => Progress::Blocked,
                result => Progress::Done(result.map_err(io::Error::from)),
            },
            None => op::accept(fd),
        }
    }

    #[cold]
    fn connect(&self, fd: BorrowedFd<'_>, address: &SocketAddrAny) -> Progress<io::Result<()>> {
        if self.is_false(fd) {
            return Progress::Blocked;
        }
        match self.of(fd) {
            Some(network) => network.connecting(fd),
            None => op::connect(fd, address),
        }
    }
}

impl Sim {
    /// Sends at most so many bytes, and is blocked then unless that was all.
    fn send_short(
        &self,
        fd: BorrowedFd<'_>,
        queue: &mut SendQueue,
        bytes_max: u64,
    ) -> Progress<io::Result<()>> {
        let sent = match self.of(fd) {
            Some(network) => {
                network.tell_again(fd);
                let sent = network.send_once(fd, queue, bytes_max, queue.file_budget());
                sent.map(|(sent, _)| sent)
            }
            None => send_few(fd, queue, bytes_max),
        };
        match sent {
            Ok(0) => {
                let message = "the file ended before the range that was to be sent";
                Progress::Done(Err(io::Error::new(io::ErrorKind::UnexpectedEof, message)))
            }
            Ok(sent) => {
                queue.advance(sent);
                if queue.is_empty() {
                    Progress::Done(Ok(()))
                } else {
                    Progress::Blocked
                }
            }
            Err(Errno::AGAIN) => Progress::Blocked,
            Err(error) => Progress::Done(Err(error.into())),
        }
    }
}

/// Sends at most so many bytes of the first chunk, to a socket of the kernel.
fn send_few(fd: BorrowedFd<'_>, queue: &SendQueue, bytes_max: u64) -> Result<u64, Errno> {
    let sent = match queue.unsent().next() {
        Some(Chunk::File { file, offset, len }) => {
            let count = bytes_max.min(*len).min(queue.file_budget());
            platform::sendfile(fd, file, *offset, count as usize)?
        }
        Some(chunk) => {
            let memory = chunk.memory().unwrap_or_default();
            let count = memory.len().min(bytes_max as usize);
            rustix::net::send(fd, &memory[..count], platform::NO_SIGNAL)?
        }
        None => 0,
    };
    Ok(sent as u64)
}

impl Drop for Sim {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.seed;
            eprintln!("sim: to run this again, set {VARIABLE}={seed}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::Flags;
    use crate::sys::sim::Faults;

    #[test]
    fn flags_of_an_event_survive_being_held() {
        let mut sim = Sim::new(Simulation::seeded(3).faults(Faults {
            delay: 1000,
            ..Faults::NONE
        }))
        .expect("a poller");
        let event = Event {
            token: Token::from_u64(5),
            flags: Flags::READABLE,
        };
        let mut events = vec![event];
        sim.disturb(&mut events);
        assert!(events.is_empty() && sim.held.len() == 1);
        let mut waits = 0;
        while events.is_empty() {
            sim.disturb(&mut events);
            waits += 1;
        }
        assert!(waits <= 4 && sim.held.is_empty());
        assert_eq!(events.len(), 1);
        assert_eq!(
            (events[0].token, events[0].flags),
            (event.token, event.flags)
        );
    }
}
