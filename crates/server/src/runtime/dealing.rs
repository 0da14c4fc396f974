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
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Address, Readable, spawn};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::log::{Level, error_text};
use crate::net::SocketId;
use crate::runtime::accepting::until_capacity;
use crate::runtime::lasting::spawn_lasting;
use crate::runtime::loop_state::LoopState;
use crate::zones::{Seat, Taker};

/// By how many connections a worker may be ahead of the emptiest: so many, and one more in so many
/// that this one has. Less would send short connections to and fro, whose numbers vary by chance;
/// this is below a tenth from 130 on.
const AHEAD_MAX: u64 = 8;
const AHEAD_SHARE: u64 = 32;
/// The others are looked at for each connection while one of them is behind, else for one in so
/// many: it takes a cache line of each.
const UNSEEN_MAX: u32 = 8;
/// So long a worker may leave a connection lying that was sent to it; then it gets no more, and the others
/// take what lies there.
const LATE_MS: u64 = 50;
/// Between two looks at what was sent.
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// The longest message: the path of a Unix socket has 108 bytes.
const MESSAGE_BYTES_MAX: usize = 256;

/// The workers that connections are dealt between, as one of them sees it.
#[derive(Debug)]
pub struct Peers {
    /// Tells the workers of one master from those of another that share its zones: its process id.
    pub group: u32,
    /// This worker's place among them.
    pub own: usize,
    /// Where others send connections, by their place: packet sockets, non-blocking. Its own is among them;
    /// out of the others it takes what those leave lying.
    pub inboxes: Vec<OwnedFd>,
    /// Where it sends the others connections, by their place; its own is among them.
    pub others: Vec<OwnedFd>,
}

/// The other workers, as whoever accepts sees them.
pub(crate) struct Others {
    group: u32,
    own: usize,
    sockets: Vec<OwnedFd>,
    inboxes: Vec<OwnedFd>,
    /// What the emptiest had when it was last looked at.
    least: Cell<u64>,
    /// Connections since then.
    unseen: Cell<u32>,
    /// Whether somebody looks after what was sent.
    is_watching: Cell<bool>,
}

impl Others {
    fn new(group: u32, own: usize, sockets: Vec<OwnedFd>, inboxes: Vec<OwnedFd>) -> Self {
        Self {
            group,
            own,
            sockets,
            inboxes,
            least: Cell::new(0),
            unseen: Cell::new(0),
            is_watching: Cell::new(false),
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
    pub(crate) fn send(&self, seat: &Seat, fd: BorrowedFd<'_>, listener: &SocketId) -> bool {
        let own = seat.active();
        let unseen = self.unseen.replace(self.unseen.get() + 1);
        if !is_ahead(own, self.least.get()) && unseen < UNSEEN_MAX {
            return false;
        }
        self.unseen.set(0);
        let now_ms = now_ms();
        // One that does not take what it was sent would keep this client waiting, too.
        let takers = self.takers(seat).filter(|(_, it)| !is_late(it, now_ms));
        let Some((place, taker)) = takers.min_by_key(|(_, taker)| taker.load) else {
            self.least.set(own);
            return false;
        };
        self.least.set(taker.load);
        if !is_ahead(own, taker.load) {
            return false;
        }
        // First, so that it never counts twice: the other may answer its client before this returns.
        seat.note_left();
        seat.note_offered(taker.row, now_ms);
        // The socket of one that does not read is full soon: what it would get stays here.
        if send(self.sockets[place].as_fd(), fd, listener).is_err() {
            self.nudge(place);
            seat.note_received();
            return false;
        }
        true
    }

    fn takers(&self, seat: &Seat) -> impl Iterator<Item = (usize, Taker)> {
        let takers = seat.takers();
        takers.filter_map(|taker| Some((self.place_of(taker.name)?, taker)))
    }

    /// Has another worker look into its inbox: what lies there is no connection, and when it finds that it
    /// says that it is there.
    fn nudge(&self, place: usize) {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        // Where it does not fit in there is enough to be found.
        let _ = rustix::net::send(&self.sockets[place], &[NUDGE], flags);
    }

    /// What the late leave lying, as long as there is room for it.
    fn take_back(&self, state: &Rc<LoopState>) -> Vec<Received> {
        let mut received = Vec::new();
        let now_ms = now_ms();
        for (place, taker) in self.takers(&state.seat) {
            if !is_late(&taker, now_ms) {
                continue;
            }
            let inbox = self.inboxes[place].as_fd();
            while state.connection_count() + received.len() < state.capacity.connections_max() {
                match receive(inbox) {
                    Ok(Some(connection)) => received.push(connection),
                    Ok(None) | Err(_) => {
                        state.seat.note_taken_back(taker.row);
                        break;
                    }
                }
            }
            self.nudge(place);
        }
        received
    }

    fn has_untaken(&self, seat: &Seat) -> bool {
        let now_ms = now_ms();
        let mut takers = self.takers(seat);
        // Of one that is late more than the nudge is left where there was no room for it.
        takers.any(|(_, it)| it.offered_since_ms != 0 && (it.offered > 1 || !is_late(&it, now_ms)))
    }
}

/// Whether a worker has left a connection lying for longer than one that runs would.
fn is_late(taker: &Taker, now_ms: u64) -> bool {
    let since_ms = taker.offered_since_ms;
    since_ms != 0 && now_ms.saturating_sub(since_ms) > LATE_MS
}

/// The time that all processes of this machine have in common.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1000 + now.tv_nsec.cast_unsigned() / 1_000_000
}

fn is_ahead(own: u64, least: u64) -> bool {
    own > least + AHEAD_MAX + least / AHEAD_SHARE
}

/// A message that is no connection.
const NUDGE: u8 = b'?';
fn send(socket: BorrowedFd<'_>, fd: BorrowedFd<'_>, listener: &SocketId) -> io::Result<()> {
    let mut message = Vec::with_capacity(MESSAGE_BYTES_MAX);
    listener.encode(&mut message);
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
    /// The socket it came by.
    listener: SocketId,
}

/// The next connection in the inbox, if there is one.
fn receive(inbox: BorrowedFd<'_>) -> io::Result<Option<Received>> {
    receive_connection(inbox, |fd, peer, message| {
        let listener = SocketId::decode(message)?;
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
            inboxes,
            others,
        }) = peers
        else {
            // What was sent before is still received.
            self.seat.set_takes_as(None);
            *self.accepting.peers.borrow_mut() = None;
            return Ok(());
        };
        let own_inbox = inboxes.get(own).filter(|_| others.len() == inboxes.len());
        let own_inbox = own_inbox.ok_or(io::ErrorKind::InvalidInput)?;
        let inbox = Inbox::new(own_inbox.try_clone()?)?;
        let others = Others::new(group, own, others, inboxes);
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
            let (state, from) = (self.clone(), inbox.clone());
            let task = spawn_lasting(move || run(state.clone(), from.clone()));
            (inbox, task)
        });
        *self.accepting.inbox.borrow_mut() = Some(receiving);
        self.seat.set_takes_as(Some(others.own_name()));
        *self.accepting.peers.borrow_mut() = Some(others);
        Ok(())
    }

    /// Sends a connection that was accepted to another worker, if that one has clearly fewer. The
    /// answer is whether it is gone.
    pub(crate) fn deal(self: &Rc<Self>, fd: BorrowedFd<'_>, listener: &SocketId) -> bool {
        let peers = self.accepting.peers.borrow();
        let Some(peers) = peers.as_ref() else {
            return false;
        };
        let is_sent = peers.send(&self.seat, fd, listener);
        if is_sent && !peers.is_watching.replace(true) {
            spawn(watch(self.clone()));
        }
        is_sent
    }

    /// Takes back what the late were sent, and deals it again. The answer is whether there is more to wait for.
    fn look_after_sent(self: &Rc<Self>) -> bool {
        let taken_back = match self.accepting.peers.borrow().as_ref() {
            Some(peers) => peers.take_back(self),
            None => return false,
        };
        for received in taken_back {
            self.seat.note_received();
            if !self.deal(received.fd.as_fd(), &received.listener) {
                self.admit_received(received.fd, received.peer, received.listener);
            }
        }
        let peers = self.accepting.peers.borrow();
        let has_more = peers.as_ref().is_some_and(|it| it.has_untaken(&self.seat));
        if let Some(peers) = peers.as_ref() {
            peers.is_watching.set(has_more);
        }
        has_more
    }

    /// Takes a connection that another worker has accepted; it counts as this one's already.
    pub(crate) fn admit_received(self: &Rc<Self>, fd: OwnedFd, peer: Address, listener: SocketId) {
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

/// Looks after what was sent until all of it was taken, by whomever.
async fn watch(state: Rc<LoopState>) {
    loop {
        revolve_reactor::sleep(LOOK_PAUSE).await;
        if !state.look_after_sent() {
            return;
        }
    }
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
    use super::{LATE_MS, Taker, is_ahead, is_late};

    #[test]
    fn late_is_who_has_left_one_lying() {
        let taker = |offered_since_ms| Taker {
            row: 0,
            name: 1,
            load: 1,
            offered: 1,
            offered_since_ms,
        };
        assert!(!is_late(&taker(0), 1_000_000));
        assert!(!is_late(&taker(1000), 1000 + LATE_MS) && is_late(&taker(1000), 1001 + LATE_MS));
        // Noted by another processor a moment later.
        assert!(!is_late(&taker(1000), 999));
    }

    #[test]
    fn some_more_are_too_many_and_of_many_a_tenth_never_is_reached() {
        assert!(!is_ahead(8, 0) && is_ahead(9, 0));
        assert!(!is_ahead(48, 40) && !is_ahead(49, 40) && is_ahead(50, 40));
        assert!((160..100_000).all(|least| is_ahead(least + least / 10, least)));
    }
}
