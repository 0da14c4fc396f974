//! The network of a simulation: listeners and connections that exist in memory.
//!
//! A program names them by descriptors as ever ([`placeholder`]); who asks here first finds out
//! whether a descriptor is one of them. The network tells readiness as the kernel does, once for
//! each change (as epoll) or once until the side was drained (as the pollers that tell levels);
//! the seed says which.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use rustix::io::Errno;
use slab::Slab;

use super::chance::{Fate, lock};
use super::datagram::Inbox;
use super::endpoint::{Endpoint, Segment};
use super::placeholder::{self, Identity};
use crate::channel::{Flags, Side, Token};
use crate::net::Address;
use crate::sys::Event;

/// Names a socket of the network.
pub(super) type SocketId = usize;
/// Names a loop of those that share the network.
pub(super) type Seat = usize;

/// The first of the ports that nobody asked for by number.
const FIRST_PORT: u16 = 49_152;

/// A socket, named by a descriptor unless it waits to be accepted.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) name: Option<Identity>,
    pub(super) local: Address,
    pub(super) remote: Address,
    /// The channel that is told, while it is registered, and the loop that has it.
    pub(super) channel: Option<(Seat, Token)>,
    pub(super) role: Role,
    /// Sides that were told and not drained since.
    told: Flags,
    /// It is to be looked at in the next turn.
    listed: bool,
}

/// What a socket is there for.
#[derive(Debug)]
pub(super) enum Role {
    Listening(Backlog),
    /// On its way to a listener, until a time; without one, waiting for room in its backlog.
    Connecting(Option<Instant>),
    Refused(Errno),
    Connected(Endpoint),
    Datagram(Inbox),
}

/// What waits at a listener.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) ready: VecDeque<SocketId>,
    pub(super) max: usize,
    /// Those for whom there is no room.
    pub(super) outside: VecDeque<SocketId>,
}

impl Socket {
    pub(super) fn new(local: Address, remote: Address, role: Role) -> Socket {
        Socket {
            name: None,
            local,
            remote,
            channel: None,
            role,
            told: Flags::NONE,
            listed: false,
        }
    }
}

/// The sockets of one simulation, as one of its loops sees them.
pub(crate) struct Network {
    pub(super) shared: Arc<Mutex<State>>,
    pub(super) fate: Arc<Fate>,
    pub(super) seat: Seat,
}

/// All there is, in orders that depend on the seed and the program alone.
pub(super) struct State {
    pub(super) sockets: Slab<Socket>,
    pub(super) numbers: BTreeMap<RawFd, SocketId>,
    /// Named by descriptors that no channel owns: they may be closed without a word.
    pub(super) unowned: Vec<SocketId>,
    pub(super) listeners: Vec<SocketId>,
    pub(super) datagrams: Vec<SocketId>,
    /// Something is on its way to these.
    pub(super) expecting: Vec<SocketId>,
    listed: Vec<SocketId>,
    next_port: u16,
    edges: bool,
}

impl State {
    /// `edges`: readiness is told as epoll does.
    pub(super) fn new(edges: bool) -> State {
        State {
            sockets: Slab::new(),
            numbers: BTreeMap::new(),
            unowned: Vec::new(),
            listeners: Vec::new(),
            datagrams: Vec::new(),
            expecting: Vec::new(),
            listed: Vec::new(),
            next_port: FIRST_PORT,
            edges,
        }
    }
}

impl Network {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared)
    }

    /// True if the descriptor names a socket of this network.
    pub(crate) fn has(&self, fd: BorrowedFd<'_>) -> bool {
        self.state().find(fd).is_some()
    }

    /// The addresses of both ends; `None` if the descriptor is not of this network.
    pub(crate) fn addresses(&self, fd: BorrowedFd<'_>) -> Option<(Address, Address)> {
        let state = self.state();
        let socket = &state.sockets[state.find(fd)?];
        Some((socket.local.clone(), socket.remote.clone()))
    }

    /// Begins to tell of a socket; false if the descriptor is not of this network.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: Token) -> bool {
        let mut state = self.state();
        let Some(id) = state.find(fd) else {
            return false;
        };
        if !state.sockets[id].name.is_some_and(Identity::holds) {
            state.close(id, false, None);
            return false;
        }
        state.unowned.retain(|unowned| *unowned != id);
        state.sockets[id].channel = Some((self.seat, token));
        state.list(id);
        true
    }

    /// Closes a socket whose descriptor is about to be closed.
    pub(super) fn remove(&self, fd: BorrowedFd<'_>) {
        let mut state = self.state();
        if let Some(id) = state.find(fd) {
            let resets = placeholder::resets_when_closed(fd);
            state.close(id, resets, self.fate.arrival());
        }
    }

    /// Stops telling of a listener, which may be closed then without a word.
    pub(super) fn pause(&self, fd: BorrowedFd<'_>) {
        let mut state = self.state();
        if let Some(id) = state.find(fd) {
            state.sockets[id].channel = None;
            state.unowned.push(id);
        }
    }

    /// A side that was told has been seen not to be ready.
    pub(super) fn rearm(&self, fd: BorrowedFd<'_>, side: Side) {
        let mut state = self.state();
        let Some(id) = state.find(fd) else {
            return;
        };
        if side == Side::Write
            && let Some(end) = state.endpoint(id)
        {
            end.wants_room = true;
        }
        if !state.edges {
            let side = match side {
                Side::Read => Flags::READABLE,
                Side::Write => Flags::WRITABLE,
            };
            state.sockets[id].told.remove(side);
            state.list(id);
        }
    }

    /// Looks at a socket again in the next turn, whose state has only seemed to change.
    pub(super) fn tell_again(&self, fd: BorrowedFd<'_>) {
        let mut state = self.state();
        if let Some(id) = state.find(fd) {
            state.list(id);
        }
    }

    /// When the next thing arrives somewhere.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.state().next_arrival()
    }

    /// Lets arrive what is due, and tells what has changed.
    pub(super) fn turn(&self, now: Option<Instant>, events: &mut Vec<Event>) {
        let mut state = self.state();
        state.close_forgotten();
        if let Some(now) = now {
            state.arrive(now);
        }
        for id in std::mem::take(&mut state.listed) {
            if state.is_of(id, |seat| seat != self.seat) {
                state.listed.push(id);
            } else {
                state.tell(id, events);
            }
        }
        for (seat, token) in state.listeners_ready() {
            if seat == self.seat {
                let flags = Flags::READABLE;
                events.push(Event { token, flags });
            }
        }
    }

    /// Breaks a connection; false if the descriptor is not of this network.
    pub(super) fn reset(&self, fd: BorrowedFd<'_>) -> bool {
        let mut state = self.state();
        let Some(id) = state.find(fd) else {
            return false;
        };
        if let Role::Connected(end) = &mut state.sockets[id].role {
            end.break_off();
            let peer = end.peer.take();
            state.part(peer, Segment::Reset, None);
            // What waits on the other side of the channel hears of it too.
            state.list(id);
        }
        true
    }
}

impl State {
    /// Whether a loop for which that holds has the socket.
    fn is_of(&self, id: SocketId, holds: impl Fn(Seat) -> bool) -> bool {
        let channel = self.sockets.get(id).and_then(|socket| socket.channel);
        channel.is_some_and(|(seat, _)| holds(seat))
    }

    /// Listeners where a connection waits.
    fn listeners_ready(&self) -> impl Iterator<Item = (Seat, Token)> {
        self.listeners.iter().filter_map(|id| {
            let socket = &self.sockets[*id];
            match &socket.role {
                Role::Listening(backlog) if !backlog.ready.is_empty() => socket.channel,
                _ => None,
            }
        })
    }

    /// Whether there may be something to tell a loop.
    pub(super) fn concerns(&self, seat: Seat) -> bool {
        let mut listed = self.listed.iter();
        listed.any(|id| self.is_of(*id, |of| of == seat))
            || self.listeners_ready().any(|(of, _)| of == seat)
    }

    pub(super) fn find(&self, fd: BorrowedFd<'_>) -> Option<SocketId> {
        self.numbers.get(&fd.as_raw_fd()).copied()
    }

    pub(super) fn endpoint(&mut self, id: SocketId) -> Option<&mut Endpoint> {
        match &mut self.sockets.get_mut(id)?.role {
            Role::Connected(end) => Some(end),
            _ => None,
        }
    }

    pub(super) fn list(&mut self, id: SocketId) {
        let socket = &mut self.sockets[id];
        if !socket.listed {
            socket.listed = true;
            self.listed.push(id);
        }
    }

    /// A port that nobody has had.
    pub(super) fn port(&mut self) -> u16 {
        let port = self.next_port;
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        port
    }

    /// Gives a socket the descriptor by which the program names it.
    pub(super) fn name(&mut self, id: SocketId) -> io::Result<OwnedFd> {
        // Whoever had the number that comes has closed it. All such are closed here, because which
        // number comes is up to other threads too.
        self.close_forgotten();
        let socket = &self.sockets[id];
        let fd = match socket.role {
            Role::Datagram(_) => placeholder::open_datagram(&socket.local)?,
            _ => placeholder::open(&socket.local)?,
        };
        let name = placeholder::identity_of(&fd)?;
        self.numbers.insert(name.number(), id);
        self.sockets[id].name = Some(name);
        self.unowned.push(id);
        Ok(fd)
    }

    pub(super) fn close_forgotten(&mut self) {
        let closed = |state: &State, id: &SocketId| {
            let name = state.sockets[*id].name;
            name.is_some_and(|name| !name.holds())
        };
        while let Some(id) = self.unowned.iter().find(|id| closed(self, id)).copied() {
            self.close(id, false, None);
        }
    }

    /// When the next thing arrives somewhere.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        let arrivals = self.expecting.iter().filter_map(|id| self.arrival(*id));
        arrivals.min()
    }

    /// When the next thing arrives at a socket.
    fn arrival(&self, id: SocketId) -> Option<Instant> {
        match &self.sockets.get(id)?.role {
            Role::Connecting(at) => *at,
            Role::Connected(end) => end.next_arrival(),
            Role::Datagram(inbox) => inbox.next_arrival(),
            Role::Listening(_) | Role::Refused(_) => None,
        }
    }

    pub(super) fn arrive(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.expecting) {
            let Some(at) = self.arrival(id) else {
                continue;
            };
            if at <= now {
                if let Some(end) = self.endpoint(id) {
                    end.arrive_until(now);
                } else if let Some(inbox) = self.inbox(id) {
                    inbox.arrive_until(now);
                } else {
                    self.knock(id);
                }
                self.list(id);
            }
            if self.arrival(id).is_some() {
                self.expecting.push(id);
            }
        }
    }

    fn facts(&self, id: SocketId) -> Flags {
        let broken = Flags::READABLE.with(Flags::WRITABLE);
        match &self.sockets[id].role {
            Role::Listening(_) | Role::Connecting(_) => Flags::NONE,
            Role::Refused(_) => broken.with(Flags::PEER_CLOSED),
            Role::Datagram(inbox) => {
                let peer = inbox.peer.and_then(|peer| self.sockets.get(peer));
                match peer.map(|peer| &peer.role) {
                    Some(Role::Datagram(peer)) if !peer.has_unix_room() => inbox.facts(),
                    _ => inbox.facts().with(Flags::WRITABLE),
                }
            }
            Role::Connected(end) => {
                let peer = end.peer.and_then(|peer| self.sockets.get(peer));
                let has_room = match peer.map(|peer| &peer.role) {
                    Some(Role::Connected(peer)) => peer.room() > 0,
                    _ => true,
                };
                if has_room {
                    end.facts().with(Flags::WRITABLE)
                } else {
                    end.facts()
                }
            }
        }
    }

    fn tell(&mut self, id: SocketId, events: &mut Vec<Event>) {
        // It may be gone, and another one in its place.
        if !self.sockets.get(id).is_some_and(|socket| socket.listed) {
            return;
        }
        let mut flags = self.facts(id);
        let edges = self.edges;
        let socket = &mut self.sockets[id];
        socket.listed = false;
        let Some((_, token)) = socket.channel else {
            return;
        };
        if !edges {
            flags.remove(socket.told.with(Flags::PEER_CLOSED));
            socket.told.insert(flags);
        }
        if flags != Flags::NONE {
            events.push(Event { token, flags });
        }
    }

    /// Sends a segment to an end that is open.
    pub(super) fn deliver(&mut self, to: SocketId, at: Option<Instant>, segment: Segment) {
        let Some(end) = self.endpoint(to) else {
            return;
        };
        end.send(at, segment);
        if end.next_arrival().is_some() && !self.expecting.contains(&to) {
            self.expecting.push(to);
        }
        self.list(to);
    }

    /// The last segment to an end that loses its peer.
    fn part(&mut self, peer: Option<SocketId>, last: Segment, at: Option<Instant>) {
        if let Some(peer) = peer {
            self.deliver(peer, at, last);
            if let Some(end) = self.endpoint(peer) {
                end.peer = None;
            }
        }
    }

    /// Takes a socket away; `resets`: whoever is connected with it is told so.
    pub(super) fn close(&mut self, id: SocketId, resets: bool, at: Option<Instant>) {
        let socket = self.sockets.remove(id);
        if let Some(name) = socket.name
            && self.numbers.get(&name.number()) == Some(&id)
        {
            self.numbers.remove(&name.number());
        }
        let lists = [
            &mut self.unowned,
            &mut self.listeners,
            &mut self.datagrams,
            &mut self.expecting,
        ];
        for list in lists {
            list.retain(|listed| *listed != id);
        }
        match socket.role {
            Role::Listening(backlog) => {
                for unaccepted in backlog.ready {
                    self.close(unaccepted, true, at);
                }
                for outside in backlog.outside {
                    self.sockets[outside].role = Role::Refused(Errno::CONNREFUSED);
                    self.list(outside);
                }
            }
            Role::Connected(end) => {
                let last = if resets || end.has_unread() {
                    Segment::Reset
                } else {
                    Segment::End
                };
                self.part(end.peer, last, at);
            }
            Role::Datagram(inbox) => self.forget_datagram(id, &inbox.into_waiting()),
            Role::Connecting(_) | Role::Refused(_) => {
                for listener in self.listeners.clone() {
                    if let Role::Listening(backlog) = &mut self.sockets[listener].role {
                        backlog.outside.retain(|outside| *outside != id);
                    }
                }
            }
        }
    }
}
