//! Connections dealt evenly between worker processes.
//!
//! The kernel wakes one worker for a connection, and the one that happens to run takes all that wait.
//! So a worker that has some more than the emptiest one sends it what it accepts, over a socket that
//! the master made. The counts lie in memory that all share; where nobody is behind, this costs little
//! more than a look at the worker's own.

use std::cell::Cell;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Address, Readable, spawn};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::log::{Level, error_text};
use crate::runtime::accepting::until_capacity;
use crate::runtime::connection::ListenerInfo;
use crate::runtime::loop_state::LoopState;
use crate::zones::Seat;

/// By how many connections a worker may be ahead of the emptiest: so many, and one more in so many
/// that this one has. Less would send short connections to and fro, whose numbers vary by chance;
/// this is below a tenth from 130 on.
const AHEAD_MAX: u64 = 8;
const AHEAD_SHARE: u64 = 32;
/// The others are looked at for each connection while one of them is behind, else for one in so
/// many: it takes a cache line of each.
const UNSEEN_MAX: u32 = 8;
/// The longest message: the path of a Unix socket has 108 bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// The workers that connections are dealt between, as one of them sees it.
#[derive(Debug)]
pub struct Peers {
    /// Tells the workers of one master from those of another that share its zones: its process id.
    pub group: u32,
    /// This worker's place among them.
    pub own: usize,
    /// Where others send it connections: a packet socket, non-blocking.
    pub inbox: OwnedFd,
    /// Where it sends the others connections, by their place; its own is among them.
    pub others: Vec<OwnedFd>,
}

/// The other workers, as whoever accepts sees them.
pub(crate) struct Others {
    group: u32,
    own: usize,
    sockets: Vec<OwnedFd>,
    /// What the emptiest had when it was last looked at.
    least: Cell<u64>,
    /// Connections since then.
    unseen: Cell<u32>,
}

impl Others {
    pub(crate) fn new(group: u32, own: usize, sockets: Vec<OwnedFd>) -> Self {
        Self {
            group,
            own,
            sockets,
            least: Cell::new(0),
            unseen: Cell::new(0),
        }
    }

    /// By what name this worker takes connections: its group and its place.
    pub(crate) fn own_name(&self) -> u64 {
        u64::from(self.group) << 32 | (self.own as u64 + 1)
    }

    fn place_of(&self, name: u64) -> Option<usize> {
        let place = (name as u32).checked_sub(1)? as usize;
        (name >> 32 == u64::from(self.group) && place < self.sockets.len()).then_some(place)
    }

    /// Sends a connection, which counts as this worker's already, to the emptiest worker if that has
    /// clearly fewer. The answer is whether it is gone.
    pub(crate) fn send(&self, seat: &Seat, fd: BorrowedFd<'_>, listener: &Address) -> bool {
        let own = seat.active();
        let unseen = self.unseen.replace(self.unseen.get() + 1);
        if !is_ahead(own, self.least.get()) && unseen < UNSEEN_MAX {
            return false;
        }
        self.unseen.set(0);
        let takers = seat
            .takers()
            .filter_map(|(row, name, load)| Some((row, self.place_of(name)?, load)));
        let Some((row, place, load)) = takers.min_by_key(|(_, _, load)| *load) else {
            return false;
        };
        self.least.set(load);
        if !is_ahead(own, load) {
            return false;
        }
        // First, so that it never counts twice: the other may answer its client before this returns.
        seat.note_gone();
        // The socket of one that does not read is full soon: what it would get stays here.
        if send(self.sockets[place].as_fd(), fd, listener).is_err() {
            seat.note_received();
            return false;
        }
        seat.note_offered(row);
        true
    }
}

fn is_ahead(own: u64, least: u64) -> bool {
    own > least + AHEAD_MAX + least / AHEAD_SHARE
}

const INET: u8 = b'i';
const UNIX: u8 = b'u';

/// Appends the address of a listening socket to a message; it is the last of it.
pub(crate) fn write_listener(listener: &Address, message: &mut Vec<u8>) {
    match listener {
        Address::Inet(address) => {
            message.push(INET);
            message.extend_from_slice(address.to_string().as_bytes());
        }
        Address::Unix(path) => {
            message.push(UNIX);
            message.extend_from_slice(path.as_os_str().as_bytes());
        }
    }
}

/// The address that [`write_listener`] wrote.
pub(crate) fn read_listener(message: &[u8]) -> Option<Address> {
    let (kind, address) = message.split_first()?;
    match *kind {
        INET => {
            let address = std::str::from_utf8(address).ok()?;
            Some(Address::Inet(address.parse().ok()?))
        }
        UNIX => Some(Address::Unix(std::ffi::OsStr::from_bytes(address).into())),
        _ => None,
    }
}

fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>, listener: &Address) -> io::Result<()> {
    let mut message = Vec::with_capacity(MESSAGE_BYTES_MAX);
    write_listener(listener, &mut message);
    send_connection(socket, fd, &message)
}

/// Sends a connection, and what there is to say of it.
pub(crate) fn send_connection(
    socket: BorrowedFd<'_>,
    fd: BorrowedFd<'_>,
    message: &[u8],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd];
    let fits = control.push(SendAncillaryMessage::ScmRights(&fds));
    debug_assert!(fits, "the space is that of one descriptor");
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, flags)?;
    Ok(())
}

/// A connection that another worker has accepted.
struct Received {
    fd: OwnedFd,
    peer: Address,
    /// The address of the listening socket.
    listener: Address,
}

/// The next connection in the inbox, if there is one.
fn receive(inbox: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    receive_connection(inbox, |fd, peer, message| {
        let listener = read_listener(message)?;
        Some(Received { fd, peer, listener })
    })
}

/// The next connection that a socket has and `read` makes something of, if there is one. What is no
/// connection is passed over.
///
/// Errors: `UnexpectedEof` where nobody is left that could send one, and those of recvmsg(2).
pub(crate) fn receive_connection<T>(
    socket: BorrowedFd<'_>,
    read: impl Fn(OwnedFd, Address, &[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    loop {
        let mut bytes = [0; MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut bytes)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let length = match rustix::net::recvmsg(socket, &mut parts, &mut control, flags) {
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::AGAIN) => return Ok(None),
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut fd = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fd = fds.last();
            }
        }
        if length == 0 && fd.is_none() {
            // Every other end is closed: no master and no worker is left to send anything.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let received = fd.and_then(|fd| {
            // A client that is gone already has no address any more.
            let peer = rustix::net::getpeername(&fd).ok()?;
            let peer = peer.map_or(Address::UNNAMED, Address::from);
            read(fd, peer, &bytes[..length])
        });
        if received.is_some() {
            return Ok(received);
        }
    }
}

/// How long another worker may take from looking at this one to sending it a connection.
const LOOKED_AT: Duration = Duration::from_millis(20);

impl LoopState {
    /// Deals connections with the workers of a configuration.
    pub(super) fn set_peers(self: &Rc<Self>, peers: Option<Peers>) -> io::Result<()> {
        let Some(Peers {
            group,
            own,
            inbox,
            others,
        }) = peers
        else {
            // What was sent before is still received.
            self.seat.set_takes_as(None);
            *self.accepting.peers.borrow_mut() = None;
            return Ok(());
        };
        let others = Others::new(group, own, others);
        let inbox = Inbox::new(inbox)?;
        let known = self.accepting.inbox.take();
        let (same, another) = match known {
            Some((known, task)) if known.is_same(&inbox) => (Some((known, task)), None),
            another => (None, another),
        };
        if let Some((another, task)) = another {
            // Nobody sends there any more.
            task.cancel();
            another.take_all(self);
        }
        let receiving = same.unwrap_or_else(|| {
            let inbox = Rc::new(inbox);
            let task = spawn(run(self.clone(), inbox.clone()));
            (inbox, task)
        });
        *self.accepting.inbox.borrow_mut() = Some(receiving);
        self.seat.set_takes_as(Some(others.own_name()));
        *self.accepting.peers.borrow_mut() = Some(others);
        Ok(())
    }

    /// Sends a connection that was accepted to another worker, if that one has clearly fewer. The
    /// answer is whether it is gone.
    pub(crate) fn deal(&self, fd: BorrowedFd<'_>, info: &ListenerInfo) -> bool {
        let peers = self.accepting.peers.borrow();
        let peers = peers.as_ref();
        peers.is_some_and(|peers| peers.send(&self.seat, fd, info.address()))
    }

    /// Takes a connection that another worker has accepted; it counts as this one's already.
    pub(crate) fn admit_received(self: &Rc<Self>, fd: OwnedFd, peer: Address, listener: Address) {
        self.admit(fd, peer, &self.info_of(listener), None);
    }

    /// Receives no more from other workers, after what is there.
    pub(super) async fn leave_peers(self: &Rc<Self>) {
        self.seat.set_takes_as(None);
        self.accepting.peers.borrow_mut().take();
        let Some((inbox, task)) = self.accepting.inbox.borrow_mut().take() else {
            return;
        };
        // Who looked at us a moment ago may be about to send.
        revolve_reactor::sleep(LOOKED_AT).await;
        task.cancel();
        inbox.take_all(self);
    }
}

/// Where other workers send connections.
pub(crate) struct Inbox {
    socket: Readable,
    /// The socket's own number, which its copies share.
    inode: u64,
    /// A connection that waits for room.
    held: Cell<Option<Received>>,
}

impl Inbox {
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let inode = rustix::fs::fstat(&socket)?.st_ino;
        let socket = Readable::new(socket)?;
        let held = Cell::new(None);
        Ok(Self {
            socket,
            inode,
            held,
        })
    }

    /// Whether the other is a copy of this one.
    pub(crate) fn is_same(&self, other: &Inbox) -> bool {
        self.inode == other.inode
    }

    /// Takes what has been sent, whether there is room or not.
    pub(crate) fn take_all(&self, state: &Rc<LoopState>) {
        let held = self.held.take().into_iter();
        let sent = std::iter::from_fn(|| receive(self.socket.as_fd()).ok().flatten());
        held.chain(sent).for_each(|received| take(state, received));
    }
}

/// Says that a connection could not be received from another process.
pub(crate) fn log_receive_failed(state: &LoopState, error: &io::Error) {
    let text = error_text(error);
    let message = format_args!("recvmsg() of a connection failed ({text})");
    state.log(Level::Alert, message);
}

/// Serves what other workers send, until no one is left that could.
pub(crate) async fn run(state: Rc<LoopState>, inbox: Rc<Inbox>) {
    while inbox.socket.ready().await.is_ok() {
        loop {
            match receive(inbox.socket.as_fd()) {
                Ok(Some(received)) => {
                    inbox.held.set(Some(received));
                    until_capacity(&state).await;
                    if let Some(received) = inbox.held.take() {
                        take(&state, received);
                    }
                }
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
                Err(error) => {
                    log_receive_failed(&state, &error);
                    break;
                }
            }
        }
        state.seat.clear_offered();
    }
}

fn take(state: &Rc<LoopState>, received: Received) {
    state.seat.note_received();
    state.admit_received(received.fd, received.peer, received.listener);
}

#[cfg(test)]
mod tests {
    use super::is_ahead;

    #[test]
    fn some_more_are_too_many_and_of_many_a_tenth_never_is_reached() {
        assert!(!is_ahead(8, 0) && is_ahead(9, 0));
        assert!(!is_ahead(48, 40) && !is_ahead(49, 40) && is_ahead(50, 40));
        assert!((160..100_000).all(|least| is_ahead(least + least / 10, least)));
    }
}
