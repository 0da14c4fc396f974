//! The operations: the unit of work between a connection and its loop.
//!
//! An operation owns all that the kernel may touch while it runs, and knows two things:
//! how to *perform* itself once on a descriptor without blocking, which is what a readiness
//! driver asks when the channel is ready, and how to *describe* itself as a [`Request`],
//! which is what a completion driver hands to its ring.
//!
//! A channel has two sides. Accept, Recv and Ready go to the read side, Connect and Send to the
//! write side, and each side has one operation at a time.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SocketAddrAny};

use crate::buffer::{Buffer, BufferPool};
use crate::net::Address;
use crate::send_queue::{Chunk, SendQueue};
use crate::sys::platform;

/// Pieces gathered into one `sendmsg(2)`: a few are laid out cheaply, the kernel takes more.
const FEW_SLICES: usize = 8;
const MANY_SLICES: usize = 64;

/// How far performing an operation once has brought it.
#[derive(Debug)]
pub(crate) enum Progress<T> {
    /// It is complete.
    Done(T),
    /// The channel is not ready any more: wait for the next edge.
    Blocked,
    /// The budget of this turn is spent and the channel is still ready: next turn.
    Spent,
}

/// An operation as a completion driver would submit it.
#[derive(Debug)]
pub(crate) enum Request<'a> {
    /// Receive into a buffer of the pool, at most so many bytes.
    Recv { bytes_max: u32 },
    /// Accept a connection, non-blocking and close-on-exec.
    Accept,
    /// Tell when the descriptor has something to read, and read nothing.
    Ready,
    /// Tell when the descriptor takes something to write, and write nothing.
    Writable,
    /// Connect to the address.
    Connect { address: &'a SocketAddrAny },
    /// Send what the queue holds.
    Send { queue: &'a SendQueue },
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Request::Recv {
                bytes_max: u32::MAX,
            } => write!(f, "receive"),
            Request::Recv { bytes_max } => write!(f, "receive of at most {bytes_max} bytes"),
            Request::Accept => write!(f, "accept"),
            Request::Ready => write!(f, "wait for readiness"),
            Request::Writable => write!(f, "wait for room to write"),
            Request::Connect { address } => {
                write!(
                    f,
                    "connect to {}",
                    Address::from(SocketAddrAny::clone(address))
                )
            }
            Request::Send { queue } => write!(f, "send of {} bytes", queue.bytes()),
        }
    }
}

/// An operation of the read side.
#[derive(Debug)]
pub(crate) enum ReadOp {
    Recv {
        bytes_max: u32,
    },
    Accept,
    /// `edge`: the caller drains the descriptor himself, so that the channel counts as not
    /// ready from now on.
    Ready {
        edge: bool,
    },
}

/// What an operation of the read side ends in. What Accept accepts lies in the channel.
#[derive(Debug)]
pub(crate) enum ReadOutcome {
    Received(Buffer),
    Ready,
    Failed(io::Error),
}

/// An operation of the write side.
#[derive(Debug)]
pub(crate) enum WriteOp {
    /// `stall_ms`: the time without a byte moved after which the send fails; 0 for no limit.
    Send {
        queue: SendQueue,
        stall_ms: u32,
    },
    Connect {
        address: Box<SocketAddrAny>,
    },
    /// The caller writes the descriptor himself, and has seen that it takes no more.
    Ready,
}

/// What an operation of the write side ends in; the queue goes back to the sender.
#[derive(Debug)]
pub(crate) struct WriteOutcome {
    pub(crate) result: io::Result<()>,
    pub(crate) queue: Option<SendQueue>,
}

impl ReadOp {
    pub(crate) fn describe(&self) -> Request<'_> {
        match *self {
            ReadOp::Recv { bytes_max } => Request::Recv { bytes_max },
            ReadOp::Accept => Request::Accept,
            ReadOp::Ready { .. } => Request::Ready,
        }
    }
}

impl WriteOp {
    pub(crate) fn describe(&self) -> Request<'_> {
        match self {
            WriteOp::Send { queue, .. } => Request::Send { queue },
            WriteOp::Connect { address } => Request::Connect { address },
            WriteOp::Ready => Request::Writable,
        }
    }

    /// What the operation ends in.
    pub(crate) fn end(self, result: io::Result<()>) -> WriteOutcome {
        let queue = match self {
            WriteOp::Send { queue, .. } => Some(queue),
            WriteOp::Connect { .. } | WriteOp::Ready => None,
        };
        WriteOutcome { result, queue }
    }
}

/// Receives once, into a buffer that is taken now: a large one if many bytes are expected. The second
/// value tells that the buffer was filled: there may be more.
#[inline]
pub(crate) fn recv(
    fd: BorrowedFd<'_>,
    pool: &BufferPool,
    bytes_max: usize,
    many: bool,
) -> Progress<io::Result<(Buffer, bool)>> {
    let mut buffer = if many {
        pool.take_to_receive()
    } else {
        pool.take_small()
    };
    let room = buffer.capacity().min(bytes_max);
    loop {
        match rustix::net::recv(fd, &mut buffer.spare_mut()[..room], RecvFlags::empty()) {
            Ok((n, _)) => {
                buffer.extend(n);
                let buffer = if many { pool.fit(buffer) } else { buffer };
                return Progress::Done(Ok((buffer, n == room)));
            }
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Progress::Blocked,
            Err(error) => return Progress::Done(Err(error.into())),
        }
    }
}

/// Accepts once; a connection that its peer has given up already is passed over.
pub(crate) fn accept(fd: BorrowedFd<'_>) -> Progress<io::Result<(OwnedFd, Address)>> {
    loop {
        match platform::accept(fd) {
            Ok((socket, peer)) => {
                let peer = peer.map_or(Address::UNNAMED, Address::from);
                return Progress::Done(Ok((socket, peer)));
            }
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
            Err(Errno::AGAIN) => return Progress::Blocked,
            Err(error) => return Progress::Done(Err(error.into())),
        }
    }
}

/// Starts to connect, or asks how it goes: `connect(2)` may be called again until it has an
/// answer.
pub(crate) fn connect(fd: BorrowedFd<'_>, address: &SocketAddrAny) -> Progress<io::Result<()>> {
    match rustix::net::connect(fd, address) {
        Ok(()) | Err(Errno::ISCONN) => Progress::Done(Ok(())),
        Err(Errno::INPROGRESS | Errno::ALREADY | Errno::INTR) => Progress::Blocked,
        Err(error) => Progress::Done(Err(error.into())),
    }
}

/// Sends once of these bytes what the socket takes.
#[inline]
pub(crate) fn try_send(fd: BorrowedFd<'_>, bytes: &[u8]) -> Progress<io::Result<usize>> {
    loop {
        match rustix::net::send(fd, bytes, platform::NO_SIGNAL) {
            Ok(sent) => return Progress::Done(Ok(sent)),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Progress::Blocked,
            Err(error) => return Progress::Done(Err(error.into())),
        }
    }
}

/// Sends from the queue until it is empty, the socket takes no more, or `budget_bytes` have
/// gone. Chunks sent whole stay in the queue until `move_sent`.
pub(crate) fn send(
    fd: BorrowedFd<'_>,
    queue: &mut SendQueue,
    budget_bytes: u64,
) -> Progress<io::Result<()>> {
    send_by(queue, budget_bytes, |queue, file_budget| {
        send_once(fd, queue, file_budget)
    })
}

/// [`send`] by something else than the kernel: `once` sends from the front of the queue, of a
/// file so many bytes at most.
#[inline]
pub(crate) fn send_by(
    queue: &mut SendQueue,
    budget_bytes: u64,
    once: impl Fn(&SendQueue, u64) -> Result<(u64, Asked), Errno>,
) -> Progress<io::Result<()>> {
    let mut budget = budget_bytes;
    let mut file_budget = queue.file_budget();
    loop {
        if queue.is_empty() {
            return Progress::Done(Ok(()));
        }
        if budget == 0 || file_budget == 0 {
            return Progress::Spent;
        }
        let (sent, asked) = match once(queue, file_budget) {
            Ok(sent) => sent,
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Progress::Blocked,
            Err(error) => return Progress::Done(Err(error.into())),
        };
        match asked {
            // A sendfile(2) may stop short for reasons of its own: only EAGAIN tells.
            Asked::File if sent == 0 => {
                let message = "the file ended before the range that was to be sent";
                return Progress::Done(Err(io::Error::new(io::ErrorKind::UnexpectedEof, message)));
            }
            Asked::File => file_budget -= sent,
            Asked::Memory(asked) if sent < asked => {
                queue.advance(sent);
                return Progress::Blocked;
            }
            Asked::Memory(_) => budget = budget.saturating_sub(sent),
        }
        queue.advance(sent);
    }
}

/// What one system call was asked to send: a range of a file, or so many bytes of memory.
pub(crate) enum Asked {
    File,
    Memory(u64),
}

#[inline]
fn send_once(
    fd: BorrowedFd<'_>,
    queue: &SendQueue,
    file_budget: u64,
) -> Result<(u64, Asked), Errno> {
    if let Some(bytes) = queue.only().and_then(Chunk::memory) {
        let sent = rustix::net::send(fd, bytes, platform::NO_SIGNAL)?;
        return Ok((sent as u64, Asked::Memory(bytes.len() as u64)));
    }
    if let Some(Chunk::File { file, offset, len }) = queue.unsent().next() {
        let count = usize::try_from((*len).min(file_budget)).unwrap_or(usize::MAX);
        let sent = platform::sendfile(fd, file, *offset, count)?;
        return Ok((sent as u64, Asked::File));
    }
    if queue.chunks() <= FEW_SLICES {
        gather::<FEW_SLICES>(fd, queue)
    } else {
        gather::<MANY_SLICES>(fd, queue)
    }
}

/// Sends the chunks of memory at the front in one gathered `sendmsg(2)`. Where a file follows
/// that is to share their segment, the kernel is told that more comes.
fn gather<const N: usize>(fd: BorrowedFd<'_>, queue: &SendQueue) -> Result<(u64, Asked), Errno> {
    let mut slices = [IoSlice::new(&[]); N];
    let (mut count, mut asked, mut flags) = (0, 0, platform::NO_SIGNAL);
    for chunk in queue.unsent() {
        let Some(bytes) = chunk.memory() else {
            if queue.joins_files() {
                flags |= platform::MORE;
            }
            break;
        };
        if count == N {
            break;
        }
        slices[count] = IoSlice::new(bytes);
        count += 1;
        asked += bytes.len() as u64;
    }
    let mut control = SendAncillaryBuffer::default();
    let sent = rustix::net::sendmsg(fd, &slices[..count], &mut control, flags)?;
    Ok((sent as u64, Asked::Memory(asked)))
}
