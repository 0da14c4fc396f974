//! Datagram sockets of a simulated network.
//!
//! Unix datagrams arrive, in order, and who sends waits while the receiver's queue is full. What is
//! sent by UDP may be lost, doubled, overtaken or cut short, as often as the simulation says; without
//! such faults it is as reliable as a loopback interface, and lost where a socket holds too many.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::io::Errno;

use super::network::{Network, Role, Socket, SocketId, State};
use crate::channel::Flags;
use crate::net::Address;

/// Datagrams that a Unix socket holds before its senders wait. Source: Linux's `max_dgram_qlen`.
const UNIX_HELD_MAX: usize = 10;
/// Datagrams that a UDP socket holds; those beyond are lost.
const UDP_HELD_MAX: usize = 1000;
/// The longest datagram: what a UDP header has room for, and about what a Unix send buffer has.
const UDP_BYTES_MAX: usize = 65_507;
const UNIX_BYTES_MAX: usize = 200_000;

/// A datagram on its way, or arrived.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: Address,
    pub(crate) bytes: Vec<u8>,
    /// Bytes of it that are received at most.
    pub(crate) bytes_max: usize,
}

/// What a datagram socket has received, and from whom.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    received: VecDeque<Packet>,
    coming: VecDeque<(Instant, Packet)>,
    /// An earlier datagram found nobody: told once.
    error: Option<Errno>,
    /// The address is shared with others that share it.
    shared: bool,
    /// The Unix socket that it is connected to, while that is open.
    pub(super) peer: Option<SocketId>,
    /// It has a peer, and receives from no other.
    is_connected: bool,
    /// Unix sockets that found no room here.
    waiting: Vec<SocketId>,
}

impl Inbox {
    fn held(&self) -> usize {
        self.received.len() + self.coming.len()
    }

    pub(super) fn has_unix_room(&self) -> bool {
        self.held() < UNIX_HELD_MAX
    }

    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.coming.front().map(|(at, _)| *at)
    }

    pub(super) fn arrive_until(&mut self, now: Instant) {
        while self.coming.front().is_some_and(|(at, _)| *at <= now) {
            self.received
                .extend(self.coming.pop_front().map(|(_, packet)| packet));
        }
    }

    /// What there is to tell, but for room to write.
    pub(super) fn facts(&self) -> Flags {
        if self.received.is_empty() && self.error.is_none() {
            Flags::NONE
        } else {
            Flags::READABLE
        }
    }

    /// Takes a datagram that arrives at some time, behind those before it or, overtaking, at the place
    /// among them that `place` gives.
    fn take(&mut self, at: Option<Instant>, packet: Packet, place: Option<u64>) {
        let last = self.coming.back().map(|(last, _)| *last);
        match (place, at.max(last)) {
            (Some(place), _) if self.coming.is_empty() => {
                let place = (place % (self.received.len() as u64 + 1)) as usize;
                self.received.insert(place, packet);
            }
            (Some(place), Some(last)) => {
                let place = (place % (self.coming.len() as u64 + 1)) as usize;
                let at = self.coming.get(place).map_or(last, |(at, _)| *at);
                self.coming.insert(place, (at, packet));
            }
            (None, Some(at)) => self.coming.push_back((at, packet)),
            (_, None) => self.received.push_back(packet),
        }
    }
}

impl Network {
    /// A datagram socket with an address, which others may share if all do so.
    ///
    /// # Errors
    ///
    /// `AddrInUse`; out of descriptors.
    pub(crate) fn bind_datagram(&self, address: &Address, shared: bool) -> io::Result<OwnedFd> {
        let mut state = self.state();
        let mut local = address.clone();
        if let Address::Inet(inet) = &mut local
            && inet.port() == 0
        {
            inet.set_port(state.port());
        }
        let mut others = state.datagrams.iter().map(|id| &state.sockets[*id]);
        let is_taken = others.any(|other| {
            let may_share = shared && matches!(&other.role, Role::Datagram(it) if it.shared);
            !local.is_unnamed() && !may_share && reaches(&other.local, &local)
        });
        if is_taken {
            return Err(Errno::ADDRINUSE.into());
        }
        let inbox = Inbox {
            shared,
            ..Inbox::default()
        };
        let socket = Socket::new(local, Address::UNNAMED, Role::Datagram(inbox));
        let id = state.sockets.insert(socket);
        state.datagrams.push(id);
        state.named(id)
    }

    /// Names the peer of a datagram socket.
    ///
    /// # Errors
    ///
    /// As connect(2): nobody has that Unix address.
    pub(crate) fn connect_datagram(&self, fd: BorrowedFd<'_>, to: &Address) -> Result<(), Errno> {
        let mut state = self.state();
        let id = state.find(fd).ok_or(Errno::BADF)?;
        let peer = if to.is_unix() {
            let reached = state.reached(to);
            Some(*reached.first().ok_or(Errno::NOENT)?)
        } else {
            None
        };
        state.sockets[id].remote = to.clone();
        let inbox = state.inbox(id).ok_or(Errno::NOTSOCK)?;
        inbox.peer = peer;
        inbox.is_connected = true;
        Ok(())
    }

    /// Sends a datagram, to the peer if no other is named.
    pub(crate) fn send_datagram(
        &self,
        fd: BorrowedFd<'_>,
        bytes: &[u8],
        to: Option<&Address>,
    ) -> Result<(), Errno> {
        let mut state = self.state();
        let id = state.find(fd).ok_or(Errno::BADF)?;
        let socket = &state.sockets[id];
        let to = to.unwrap_or(&socket.remote).clone();
        let from = socket.local.clone();
        let inbox = state.inbox(id).ok_or(Errno::NOTSOCK)?;
        if let Some(error) = inbox.error.take() {
            return Err(error);
        }
        let is_connected = inbox.is_connected;
        match &to {
            Address::Unix(_) if to.is_unnamed() => Err(Errno::NOTCONN),
            Address::Unix(_) => {
                let is_to_peer = is_connected && state.sockets[id].remote == to;
                self.send_unix(&mut state, id, &to, is_to_peer, packet(from, bytes))
            }
            Address::Inet(_) => self.send_udp(&mut state, id, &to, packet(from, bytes)),
        }
    }

    fn send_unix(
        &self,
        state: &mut State,
        id: SocketId,
        to: &Address,
        is_to_peer: bool,
        packet: Packet,
    ) -> Result<(), Errno> {
        if packet.bytes.len() > UNIX_BYTES_MAX {
            return Err(Errno::MSGSIZE);
        }
        let receiver = if is_to_peer {
            let peer = state.inbox(id).and_then(|inbox| inbox.peer);
            peer.ok_or(Errno::CONNREFUSED)?
        } else {
            *state.reached(to).first().ok_or(Errno::NOENT)?
        };
        let arrival = self.fate.arrival();
        let inbox = state.inbox(receiver).ok_or(Errno::CONNREFUSED)?;
        if inbox.is_connected && inbox.peer != Some(id) {
            return Err(Errno::PERM);
        }
        if !inbox.has_unix_room() {
            if !inbox.waiting.contains(&id) {
                inbox.waiting.push(id);
            }
            return Err(Errno::AGAIN);
        }
        inbox.take(arrival, packet, None);
        state.await_arrival(receiver);
        Ok(())
    }

    fn send_udp(
        &self,
        state: &mut State,
        id: SocketId,
        to: &Address,
        packet: Packet,
    ) -> Result<(), Errno> {
        let (fate, faults) = (&self.fate, self.fate.faults);
        if packet.bytes.len() > UDP_BYTES_MAX {
            return Err(Errno::MSGSIZE);
        }
        if fate.strikes(faults.false_ready) {
            state.list(id);
            return Err(Errno::AGAIN);
        }
        let reached = state.reached(to);
        if reached.is_empty() {
            // Only one that is connected hears of it.
            if let Some(inbox) = state.inbox(id).filter(|inbox| inbox.is_connected) {
                inbox.error = Some(Errno::CONNREFUSED);
                state.list(id);
            }
            return Ok(());
        }
        let takes = |receiver: &&SocketId| {
            let socket = &state.sockets[**receiver];
            let is_connected = matches!(&socket.role, Role::Datagram(it) if it.is_connected);
            !is_connected || reaches(&packet.from, &socket.remote)
        };
        let takers: Vec<SocketId> = reached.iter().filter(takes).copied().collect();
        // Of those that share the address, a sender always reaches the same one.
        let sender_port = packet
            .from
            .as_inet()
            .map_or(0, |inet| usize::from(inet.port()));
        let Some(receiver) = takers.get(sender_port % takers.len().max(1)).copied() else {
            return Ok(());
        };
        if fate.strikes(faults.lose) {
            return Ok(());
        }
        for _ in 0..1 + u8::from(fate.strikes(faults.duplicate)) {
            let mut packet = packet.clone();
            if fate.strikes(faults.truncate) {
                packet.bytes_max = fate.below(packet.bytes.len() as u64 + 1) as usize;
            }
            let arrival = fate.arrival();
            let place = fate.strikes(faults.overtake).then(|| fate.below(u64::MAX));
            if let Some(inbox) = state.inbox(receiver)
                && inbox.held() < UDP_HELD_MAX
            {
                inbox.take(arrival, packet, place);
            }
        }
        state.await_arrival(receiver);
        Ok(())
    }

    /// Takes what has been received: so many datagrams at most, and one at least.
    pub(crate) fn recv_datagrams(
        &self,
        fd: BorrowedFd<'_>,
        datagrams_max: usize,
    ) -> Result<Vec<Packet>, Errno> {
        let mut state = self.state();
        let id = state.find(fd).ok_or(Errno::BADF)?;
        if self.fate.strikes(self.fate.faults.false_ready) {
            state.list(id);
            return Err(Errno::AGAIN);
        }
        let inbox = state.inbox(id).ok_or(Errno::NOTSOCK)?;
        if let Some(error) = inbox.error.take() {
            return Err(error);
        }
        let mut count = inbox.received.len().min(datagrams_max);
        if count == 0 {
            return Err(Errno::AGAIN);
        }
        if count > 1 && self.fate.strikes(self.fate.faults.split) {
            count = 1 + self.fate.below(count as u64) as usize;
        }
        let packets = inbox.received.drain(..count).collect();
        if inbox.has_unix_room() {
            for sender in std::mem::take(&mut inbox.waiting) {
                state.list(sender);
            }
        }
        Ok(packets)
    }
}

impl State {
    pub(super) fn inbox(&mut self, id: SocketId) -> Option<&mut Inbox> {
        match &mut self.sockets.get_mut(id)?.role {
            Role::Datagram(inbox) => Some(inbox),
            _ => None,
        }
    }

    /// The datagram sockets with an address.
    fn reached(&self, to: &Address) -> Vec<SocketId> {
        let reached = |id: &&SocketId| reaches(&self.sockets[**id].local, to);
        self.datagrams.iter().filter(reached).copied().collect()
    }

    /// Something has come to a datagram socket, or is on its way.
    fn await_arrival(&mut self, id: SocketId) {
        let is_coming = self
            .inbox(id)
            .is_some_and(|inbox| inbox.next_arrival().is_some());
        if is_coming && !self.expecting.contains(&id) {
            self.expecting.push(id);
        }
        self.list(id);
    }

    /// A datagram socket is gone: those that are connected to it have no peer, and those that wait
    /// for room hear of it.
    pub(super) fn forget_datagram(&mut self, gone: SocketId, waiting: &[SocketId]) {
        for id in self.datagrams.clone() {
            if let Some(inbox) = self.inbox(id) {
                inbox.waiting.retain(|waiting| *waiting != gone);
                if inbox.peer == Some(gone) {
                    inbox.peer = None;
                }
            }
            if waiting.contains(&id) {
                self.list(id);
            }
        }
    }
}

impl Inbox {
    /// Takes the inbox apart: who waits for room in it.
    pub(super) fn into_waiting(self) -> Vec<SocketId> {
        self.waiting
    }
}

fn packet(from: Address, bytes: &[u8]) -> Packet {
    Packet {
        from,
        bytes: bytes.to_vec(),
        bytes_max: usize::MAX,
    }
}

/// Whether what is sent to an address comes to a socket with another.
pub(super) fn reaches(local: &Address, to: &Address) -> bool {
    match (local, to) {
        (Address::Inet(local), Address::Inet(to)) => {
            let any = local.ip().is_unspecified() || to.ip().is_unspecified();
            local.port() == to.port()
                && local.is_ipv4() == to.is_ipv4()
                && (any || local.ip() == to.ip())
        }
        _ => local == to,
    }
}
