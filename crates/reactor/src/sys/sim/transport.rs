//! What programs do with the sockets of a simulated network: bind, connect, accept, send, receive.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::io::Errno;

use super::datagram::reaches;
use super::endpoint::{Endpoint, Segment};
use super::network::{Backlog, Network, Role, Socket, SocketId, State};
use crate::buffer::BufferPool;
use crate::net::Address;
use crate::op::{Asked, Progress};
use crate::send_queue::{Chunk, SendQueue};
use crate::sys::Received;

/// Pieces gathered into one send.
const SLICES_MAX: usize = 64;

impl Network {
    /// A socket that listens on the address.
    ///
    /// # Errors
    ///
    /// `AddrInUse`; out of descriptors.
    pub(crate) fn bind(&self, address: &Address, backlog: i32) -> io::Result<OwnedFd> {
        let mut state = self.state();
        let mut local = address.clone();
        if let Address::Inet(inet) = &mut local
            && inet.port() == 0
        {
            inet.set_port(state.port());
        }
        if state.listener(&local).is_some() {
            return Err(Errno::ADDRINUSE.into());
        }
        let role = Role::Listening(Backlog {
            ready: VecDeque::new(),
            max: usize::try_from(backlog).unwrap_or(0),
            outside: VecDeque::new(),
        });
        let id = state
            .sockets
            .insert(Socket::new(local, Address::UNNAMED, role));
        state.listeners.push(id);
        state.named(id)
    }

    /// Two connected sockets without names.
    ///
    /// # Errors
    ///
    /// Out of descriptors.
    pub(crate) fn pair(&self) -> io::Result<(OwnedFd, OwnedFd)> {
        let mut state = self.state();
        let (one, other) = state.connected(Address::UNNAMED, Address::UNNAMED);
        let first = state
            .named(one)
            .inspect_err(|_| state.close(other, true, None))?;
        Ok((first, state.named(other)?))
    }

    /// Begins to connect; true if that was all.
    ///
    /// # Errors
    ///
    /// As connect(2).
    pub(crate) fn connect(&self, to: &Address) -> io::Result<(OwnedFd, bool)> {
        if self.fate.strikes(self.fate.faults.exhaust) {
            return Err(Errno::MFILE.into());
        }
        let arrives = self.fate.arrival();
        let mut state = self.state();
        let local = match to {
            Address::Inet(inet) => Address::Inet(SocketAddr::new(inet.ip(), state.port())),
            Address::Unix(_) => Address::UNNAMED,
        };
        let role = Role::Connecting(arrives);
        let id = state.sockets.insert(Socket::new(local, to.clone(), role));
        if arrives.is_some() {
            state.expecting.push(id);
            return Ok((state.named(id)?, false));
        }
        state.knock(id);
        if let Role::Refused(error) = state.sockets[id].role {
            state.close(id, false, None);
            return Err(error.into());
        }
        let connected = state.endpoint(id).is_some();
        Ok((state.named(id)?, connected))
    }

    /// How connecting goes.
    pub(super) fn connecting(&self, fd: BorrowedFd<'_>) -> Progress<io::Result<()>> {
        let state = self.state();
        match state.find(fd).map(|id| &state.sockets[id].role) {
            Some(Role::Connecting(_)) => Progress::Blocked,
            Some(Role::Refused(error)) => Progress::Done(Err((*error).into())),
            Some(Role::Connected(_)) => Progress::Done(Ok(())),
            Some(Role::Listening(_) | Role::Datagram(_)) | None => {
                Progress::Done(Err(Errno::INVAL.into()))
            }
        }
    }

    /// The next connection of a listener.
    pub(crate) fn accept(&self, fd: BorrowedFd<'_>) -> Result<(OwnedFd, Address), Errno> {
        let mut state = self.state();
        let listener = state.find(fd).ok_or(Errno::BADF)?;
        let Role::Listening(backlog) = &mut state.sockets[listener].role else {
            return Err(Errno::INVAL);
        };
        let id = backlog.ready.pop_front().ok_or(Errno::AGAIN)?;
        let fd = match state.name(id) {
            Ok(fd) => fd,
            Err(error) => {
                if let Role::Listening(backlog) = &mut state.sockets[listener].role {
                    backlog.ready.push_front(id);
                }
                return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
            }
        };
        if let Role::Listening(backlog) = &mut state.sockets[listener].role
            && let Some(next) = backlog.outside.pop_front()
        {
            state.knock(next);
            state.list(next);
        }
        Ok((fd, state.sockets[id].remote.clone()))
    }

    /// Receives once, as [`op::recv`](crate::op::recv).
    pub(super) fn recv(&self, fd: BorrowedFd<'_>, pool: &BufferPool, bytes_max: usize) -> Received {
        let mut state = self.state();
        let found = state.find(fd);
        let Some(end) = found.and_then(|id| state.endpoint(id)) else {
            return Progress::Done(Err(Errno::NOTCONN.into()));
        };
        let mut buffer = pool.take();
        let room = buffer.capacity().min(bytes_max);
        match end.recv(&mut buffer.spare_mut()[..room]) {
            Ok(received) => {
                buffer.extend(received);
                let (roomy, peer) = (end.has_much_room(), end.peer);
                if roomy
                    && let Some(peer) = peer
                    && let Some(sender) = state.endpoint(peer)
                    && std::mem::take(&mut sender.wants_room)
                {
                    state.list(peer);
                }
                Progress::Done(Ok((pool.fit(buffer), received == room)))
            }
            Err(Errno::AGAIN) => Progress::Blocked,
            Err(error) => Progress::Done(Err(error.into())),
        }
    }

    /// Sends once from the front of a queue: so many bytes at most, and of a file so many.
    pub(super) fn send_once(
        &self,
        fd: BorrowedFd<'_>,
        queue: &SendQueue,
        bytes_max: u64,
        file_bytes_max: u64,
    ) -> Result<(u64, Asked), Errno> {
        let whole = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let bytes_max = whole(bytes_max);
        if let Some(Chunk::File { file, offset, len }) = queue.unsent().next() {
            let count = whole((*len).min(file_bytes_max)).min(bytes_max);
            let read = |room: usize| {
                let mut bytes = vec![0; room.min(count)];
                let read = file.read_at(&mut bytes, *offset);
                let read = read.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
                bytes.truncate(read?);
                Ok(bytes)
            };
            return Ok((self.put(fd, count, read)?, Asked::File));
        }
        let memory = || queue.unsent().map_while(Chunk::memory).take(SLICES_MAX);
        let asked: usize = memory().map(<[u8]>::len).sum();
        let sent = self.put(fd, asked.min(bytes_max), |room| {
            Ok(gather(memory(), room.min(bytes_max)))
        })?;
        Ok((sent, Asked::Memory(asked as u64)))
    }

    /// Sends what lies in memory, as send(2) does.
    pub(crate) fn write(&self, fd: BorrowedFd<'_>, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
        let asked = slices.iter().map(|slice| slice.len()).sum();
        let slices = slices.iter().map(|slice| &**slice);
        let sent = self.put(fd, asked, |room| Ok(gather(slices, room)));
        sent.map(|sent| sent as usize)
    }

    /// Sends up to `asked` bytes, as many as there is room for, which `bytes` gives.
    fn put(
        &self,
        fd: BorrowedFd<'_>,
        asked: usize,
        bytes: impl FnOnce(usize) -> Result<Vec<u8>, Errno>,
    ) -> Result<u64, Errno> {
        let arrival = self.fate.arrival();
        let mut state = self.state();
        let id = state.find(fd).ok_or(Errno::BADF)?;
        let is_unix = state.sockets[id].local.is_unix();
        let end = state.endpoint(id).ok_or(Errno::NOTCONN)?;
        if let Some(error) = end.error.take() {
            return Err(error);
        }
        if end.write_closed || end.broken {
            return Err(Errno::PIPE);
        }
        let Some(peer) = end.peer else {
            end.broken = true;
            state.list(id);
            // Over TCP one learns by the answer to it that nobody is there.
            return if is_unix {
                Err(Errno::PIPE)
            } else {
                Ok(bytes(asked)?.len() as u64)
            };
        };
        let room = state.endpoint(peer).map_or(0, |peer| peer.room());
        if (room < asked || room == 0)
            && let Some(end) = state.endpoint(id)
        {
            end.wants_room = true;
        }
        if room == 0 {
            return Err(Errno::AGAIN);
        }
        let bytes = bytes(room)?;
        let sent = bytes.len() as u64;
        if sent > 0 {
            state.deliver(peer, arrival, Segment::Bytes(bytes));
        }
        Ok(sent)
    }

    /// Says that no more is sent.
    pub(crate) fn shutdown_write(&self, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        let mut state = self.state();
        let id = state.find(fd).ok_or(Errno::BADF)?;
        let end = state.endpoint(id).filter(|end| !end.broken);
        let end = end.ok_or(Errno::NOTCONN)?;
        let peer = end.peer.filter(|_| !end.write_closed);
        end.write_closed = true;
        if let Some(peer) = peer {
            let arrival = self.fate.arrival();
            state.deliver(peer, arrival, Segment::End);
        }
        Ok(())
    }
}

/// The first bytes of some pieces, at most so many.
fn gather<'a>(pieces: impl Iterator<Item = &'a [u8]>, bytes_max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        let count = piece.len().min(bytes_max - bytes.len());
        bytes.extend_from_slice(&piece[..count]);
    }
    bytes
}

impl State {
    /// The descriptor of a socket that is closed where there is none left.
    pub(super) fn named(&mut self, id: SocketId) -> io::Result<OwnedFd> {
        let named = self.name(id);
        named.inspect_err(|_| self.close(id, true, None))
    }

    /// Who listens on an address.
    fn listener(&self, to: &Address) -> Option<SocketId> {
        let mut listeners = self.listeners.iter();
        listeners
            .find(|id| reaches(&self.sockets[**id].local, to))
            .copied()
    }

    /// Two sockets that are connected with each other.
    fn connected(&mut self, one: Address, other: Address) -> (SocketId, SocketId) {
        let role = Role::Connecting(None);
        let socket = Socket::new(one.clone(), other.clone(), role);
        let first = self.sockets.insert(socket);
        let end = Role::Connected(Endpoint::new(first));
        let second = self.sockets.insert(Socket::new(other, one, end));
        self.sockets[first].role = Role::Connected(Endpoint::new(second));
        (first, second)
    }

    /// A socket that connects has come to its listener: it is let in, refused, or waits outside.
    pub(super) fn knock(&mut self, id: SocketId) {
        let (local, remote) = {
            let socket = &self.sockets[id];
            (socket.local.clone(), socket.remote.clone())
        };
        let Some(listener) = self.listener(&remote) else {
            let error = if remote.is_unix() {
                Errno::NOENT
            } else {
                Errno::CONNREFUSED
            };
            self.sockets[id].role = Role::Refused(error);
            return;
        };
        let Role::Listening(backlog) = &mut self.sockets[listener].role else {
            return;
        };
        if backlog.ready.len() > backlog.max {
            self.sockets[id].role = if remote.is_unix() {
                Role::Refused(Errno::AGAIN)
            } else {
                backlog.outside.push_back(id);
                Role::Connecting(None::<Instant>)
            };
            return;
        }
        let end = Role::Connected(Endpoint::new(id));
        let served = self.sockets.insert(Socket::new(remote, local, end));
        self.sockets[id].role = Role::Connected(Endpoint::new(served));
        if let Role::Listening(backlog) = &mut self.sockets[listener].role {
            backlog.ready.push_back(served);
        }
    }
}
