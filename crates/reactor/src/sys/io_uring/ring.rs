//! The ring, and the memory of what is in flight.
//!
//! This is what makes the driver sound: an operation's memory is moved in here when it is
//! submitted, and comes out with the completion that ends it, never before. Whoever waited for it
//! may be gone by then. A ring that is dropped cancels what is in flight and waits for it; what
//! the kernel does not give back even then is leaked rather than freed.

use std::io;
use std::mem::{ManuallyDrop, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use io_uring::types::{CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use rustix::io::Errno;

use super::buffers::{GROUP, ProvidedBuffers};
use crate::buffer::{Buffer, BufferPool};
use crate::channel::Token;
use crate::paged_slab::PagedSlab;
use crate::send_queue::{Chunk, SendQueue};
use crate::sys::fork::Birthplace;

/// Pieces gathered into one send.
const SLICES: usize = 64;
/// Bytes of one piece at most: the kernel counts them as an `int`.
const SLICE_BYTES_MAX: usize = 1 << 30;
/// Tables of pieces kept for use again.
const GATHERS_KEPT_MAX: usize = 16;

/// Bits of an entry's user data below the generation: the index of a channel (or the key of a
/// send), and what the entry is.
const INDEX_BITS: u32 = 29;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;

/// How often the drop of a ring waits for completions, and for how long each time.
const DRAIN_ROUNDS: u32 = 20;
const DRAIN_WAIT: Duration = Duration::from_millis(50);

/// Names a send in flight.
pub(super) type SendKey = u32;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Accept,
    Recv,
    PollRead,
    PollWrite,
    Send,
    /// These two are nobody's operation.
    Cancel,
    Wake,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::Accept,
        Kind::Recv,
        Kind::PollRead,
        Kind::PollWrite,
        Kind::Send,
        Kind::Cancel,
        Kind::Wake,
    ];

    /// The user data of an entry of this kind, of which a channel has one at a time.
    #[inline]
    fn of(self, token: Token) -> u64 {
        token.to_u64() | (self as u64) << INDEX_BITS
    }

    #[inline]
    fn from_user_data(user_data: u64) -> Kind {
        Kind::ALL[(user_data >> INDEX_BITS) as usize & 7]
    }
}

/// True if the ring can name the channel.
pub(super) fn can_name(token: Token) -> bool {
    token.to_u64() & u64::from(u32::MAX) <= INDEX_MASK
}

#[inline]
fn token_of(user_data: u64) -> Token {
    Token::from_u64(user_data & !(7 << INDEX_BITS))
}

/// What a send reads from.
pub(super) enum Load {
    Queue(SendQueue),
    /// Memory alone: what is sent most.
    Chunk(Chunk),
}

impl Load {
    /// The bytes, if they are in one piece.
    #[inline]
    fn piece(&self) -> Option<&[u8]> {
        match self {
            Load::Queue(queue) => queue.only().and_then(Chunk::memory),
            Load::Chunk(chunk) => chunk.memory(),
        }
    }

    /// Counts bytes at the front as sent; true if none are left.
    #[inline]
    pub(super) fn advance(&mut self, bytes: u64) -> bool {
        match self {
            Load::Queue(queue) => {
                queue.advance(bytes);
                queue.is_empty()
            }
            Load::Chunk(chunk) => {
                chunk.advance(bytes);
                chunk.is_empty()
            }
        }
    }

    /// Moves what is sent of a queue to where it is dropped when code of the user may run.
    #[inline]
    pub(super) fn move_sent(&mut self, to: &mut Vec<Chunk>) {
        if let Load::Queue(queue) = self {
            queue.move_sent(to);
        }
    }

    /// The queue, for its sender; a chunk goes where it is dropped.
    #[inline]
    pub(super) fn end(self, to: &mut Vec<Chunk>) -> Option<SendQueue> {
        match self {
            Load::Queue(queue) => Some(queue),
            Load::Chunk(chunk) => {
                to.push(chunk);
                None
            }
        }
    }
}

/// A send, with the memory that the kernel reads.
struct Sending {
    token: Token,
    load: Load,
    gather: Option<Box<Gather>>,
}

/// The header and the table of a gathered send.
struct Gather {
    header: libc::msghdr,
    slices: [libc::iovec; SLICES],
}

/// What one completion says.
pub(super) enum Outcome {
    Accepted(Result<OwnedFd, Errno>),
    Received(Result<Buffer, Errno>),
    /// With what it is ready for, by poll(2).
    ReadReady(Result<u32, Errno>),
    WriteReady,
    Sent(Result<u64, Errno>, Load),
}

/// A completion of an operation.
pub(super) struct Completion {
    pub(super) token: Token,
    /// False if it is the operation's last.
    pub(super) more: bool,
    pub(super) outcome: Outcome,
}

/// An `io_uring(7)`, used by one thread.
pub(super) struct Ring {
    /// Dropped by hand, before the memory that the kernel was lent.
    ring: ManuallyDrop<IoUring>,
    buffers: ManuallyDrop<ProvidedBuffers>,
    sending: PagedSlab<Sending>,
    /// Operations in flight other than sends.
    others: usize,
    /// Completions taken from the kernel, from `reaped_at` on.
    reaped: Vec<cqueue::Entry>,
    reaped_at: usize,
    #[expect(
        clippy::vec_box,
        reason = "the kernel is given the address of what is in the box"
    )]
    gathers: Vec<Box<Gather>>,
    recv_bytes_max: usize,
    wake: RawFd,
    wake_lost: bool,
    birthplace: Birthplace,
}

/// A ring with the best flags that the kernel knows. Kernels before 6.0, which have no multishot
/// receive, do not know a single issuer either.
fn build(entries: u32) -> io::Result<IoUring> {
    let deferred = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_clamp()
        .setup_cqsize(entries.saturating_mul(4))
        .build(entries);
    match deferred {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => IoUring::builder()
            .setup_single_issuer()
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all()
            .setup_clamp()
            .setup_cqsize(entries.saturating_mul(4))
            .build(entries),
        other => other,
    }
}

impl Ring {
    /// A ring that is woken by `wake`, an eventfd that outlives it.
    pub(super) fn new(entries: usize, recv_bytes_max: usize, wake: RawFd) -> io::Result<Ring> {
        let entries = entries.clamp(64, 4096).next_power_of_two() as u32;
        let ring = build(entries)?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_submit_stable() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // Spares the lookup of the descriptor in every call; no harm if it is refused.
        let _ = ring.submitter().register_ring_fd();
        let buffers = ProvidedBuffers::register(&ring)?;
        let mut ring = Ring {
            ring: ManuallyDrop::new(ring),
            buffers: ManuallyDrop::new(buffers),
            sending: PagedSlab::new(),
            others: 0,
            reaped: Vec::with_capacity(entries as usize),
            reaped_at: 0,
            gathers: Vec::new(),
            recv_bytes_max,
            wake,
            wake_lost: false,
            birthplace: Birthplace::here(),
        };
        ring.watch_wake();
        Ok(ring)
    }

    /// Every write to the eventfd is one completion; the counter need never be read.
    fn watch_wake(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.wake), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data((Kind::Wake as u64) << INDEX_BITS);
        self.push(&entry);
        self.wake_lost = false;
    }

    /// Queues an entry. All memory that it names is owned by `sending` or by `buffers`.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the memory that an entry names lies in `sending` until the entry's completion,
        // or in the provided buffers, which go when nothing is in flight; both survive the ring.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // Full: the kernel takes all entries, once there is room for their completions. An
            // error is heard again by the next wait.
            self.reaped.extend(self.ring.completion());
            let _ = self.ring.submit();
        }
    }

    fn begin(&mut self, token: Token, kind: Kind, entry: squeue::Entry) {
        self.others += 1;
        self.push(&entry.user_data(kind.of(token)));
    }

    /// Receives again and again, into provided buffers.
    pub(super) fn recv(&mut self, token: Token, fd: BorrowedFd<'_>) {
        let entry = opcode::RecvMulti::new(Fd(fd.as_raw_fd()), GROUP).build();
        self.begin(token, Kind::Recv, entry);
    }

    /// Accepts again and again, non-blocking and close-on-exec.
    pub(super) fn accept(&mut self, token: Token, fd: BorrowedFd<'_>) {
        let entry = opcode::AcceptMulti::new(Fd(fd.as_raw_fd()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.begin(token, Kind::Accept, entry);
    }

    /// Tells once when the descriptor can be read.
    pub(super) fn poll_read(&mut self, token: Token, fd: BorrowedFd<'_>) {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events).build();
        self.begin(token, Kind::PollRead, entry);
    }

    /// Tells when the descriptor is ready for one of these, once or at every edge.
    pub(super) fn watch(&mut self, token: Token, fd: BorrowedFd<'_>, events: u32, edges: bool) {
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events)
            .multi(edges)
            .build();
        self.begin(token, Kind::PollRead, entry);
    }

    /// Tells once when the descriptor can be written.
    pub(super) fn poll_write(&mut self, token: Token, fd: BorrowedFd<'_>) {
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLOUT as u32).build();
        self.begin(token, Kind::PollWrite, entry);
    }

    /// Sends from the front of a chunk or a queue, which holds memory there: as many bytes as the
    /// socket takes at once, once it takes any.
    pub(super) fn send(&mut self, token: Token, fd: BorrowedFd<'_>, load: Load) -> SendKey {
        let fd = Fd(fd.as_raw_fd());
        let key = self.sending.insert(Sending {
            token,
            load,
            gather: None,
        });
        let Sending { load, gather, .. } = &mut self.sending[key];
        let entry = match (load.piece(), &*load) {
            (None, Load::Queue(queue)) => {
                let table = gather.insert(self.gathers.pop().unwrap_or_else(Gather::new));
                table.lay_out(queue);
                let send = opcode::SendMsg::new(fd, &raw const table.header);
                send.flags(libc::MSG_NOSIGNAL as u32).build()
            }
            (piece, _) => {
                let bytes = piece.unwrap_or_default();
                let len = bytes.len().min(SLICE_BYTES_MAX) as u32;
                let send = opcode::Send::new(fd, bytes.as_ptr(), len);
                send.flags(libc::MSG_NOSIGNAL).build()
            }
        };
        let user_data = key as u64 | (Kind::Send as u64) << INDEX_BITS;
        self.push(&entry.user_data(user_data));
        key as SendKey
    }

    /// Asks the kernel to end an operation of a channel; its last completion says that it has.
    pub(super) fn cancel(&mut self, token: Token, kind: Kind) {
        self.cancel_user_data(kind.of(token));
    }

    /// Asks the kernel to end a send.
    pub(super) fn cancel_send(&mut self, key: SendKey) {
        self.cancel_user_data(u64::from(key) | (Kind::Send as u64) << INDEX_BITS);
    }

    fn cancel_user_data(&mut self, user_data: u64) {
        let entry = opcode::AsyncCancel::new(user_data).build();
        self.push(&entry.user_data((Kind::Cancel as u64) << INDEX_BITS));
    }

    /// True if there is a completion to be performed.
    pub(super) fn has_completions(&mut self) -> bool {
        self.reaped_at < self.reaped.len() || !self.ring.completion().is_empty()
    }

    /// True if the kernel has work that only an enter makes it do.
    pub(super) fn has_kernel_work(&mut self) -> bool {
        let queue = self.ring.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Submits, and lets the kernel do what is to be done; does not sleep.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let queued = self.ring.submission().len() as u32;
        if queued == 0 && !self.has_kernel_work() {
            return Ok(());
        }
        const GETEVENTS: u32 = 1;
        // SAFETY: the flag takes no argument.
        let entered = unsafe {
            let submitter = self.ring.submitter();
            submitter.enter::<libc::sigset_t>(queued, 0, GETEVENTS, None)
        };
        heard(entered)
    }

    /// Submits, and sleeps until a completion, or for so long.
    pub(super) fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        heard(match timeout {
            None => self.ring.submit_and_wait(1),
            Some(timeout) => {
                let timespec = Timespec::from(timeout);
                let args = SubmitArgs::new().timespec(&timespec);
                self.ring.submitter().submit_with_args(1, &args)
            }
        })
    }

    /// Gives the kernel buffers to receive into, if it has none yet.
    pub(super) fn provide_buffers(&mut self, pool: &BufferPool) {
        if !self.buffers.is_filled() {
            self.buffers.fill(pool, self.recv_bytes_max);
        }
    }

    /// Takes what is complete from the kernel, for [`next`](Ring::next).
    pub(super) fn reap(&mut self) {
        if self.reaped_at == self.reaped.len() {
            self.reaped.clear();
            self.reaped_at = 0;
        }
        self.reaped.extend(self.ring.completion());
        if self.wake_lost {
            self.watch_wake();
        }
    }

    /// The next completion that was reaped.
    #[inline]
    pub(super) fn next(&mut self, pool: &BufferPool) -> Option<Completion> {
        loop {
            let entry = self.reaped.get(self.reaped_at)?.clone();
            self.reaped_at += 1;
            if let Some(completion) = self.complete(&entry, pool) {
                return Some(completion);
            }
        }
    }

    /// The next connection that was reaped for a listener, before its turn.
    pub(super) fn take_accepted(&mut self, token: Token) -> Option<Result<OwnedFd, Errno>> {
        for at in self.reaped_at..self.reaped.len() {
            let entry = &self.reaped[at];
            if entry.user_data() == Kind::Accept.of(token) && cqueue::more(entry.flags()) {
                let entry = self.reaped.remove(at);
                return Some(opened(&entry));
            }
        }
        None
    }

    #[inline]
    fn complete(&mut self, entry: &cqueue::Entry, pool: &BufferPool) -> Option<Completion> {
        let (user_data, flags) = (entry.user_data(), entry.flags());
        let more = cqueue::more(flags);
        let kind = Kind::from_user_data(user_data);
        let outcome = match kind {
            Kind::Accept => Outcome::Accepted(opened(entry)),
            Kind::Recv => Outcome::Received(self.buffer(entry, pool)),
            Kind::PollRead => Outcome::ReadReady(result(entry)),
            Kind::PollWrite => Outcome::WriteReady,
            Kind::Send => return Some(self.end_send(user_data, result(entry))),
            Kind::Cancel => return None,
            Kind::Wake => {
                self.wake_lost |= !more;
                return None;
            }
        };
        if !more {
            self.others -= 1;
        }
        Some(Completion {
            token: token_of(user_data),
            more,
            outcome,
        })
    }

    /// What was received. Without a buffer it is the end.
    #[inline]
    fn buffer(&mut self, entry: &cqueue::Entry, pool: &BufferPool) -> Result<Buffer, Errno> {
        let result = result(entry);
        let Some(id) = cqueue::buffer_select(entry.flags()) else {
            return result.map(|_| pool.copy_few(&[]));
        };
        let received = result.unwrap_or(0) as usize;
        let buffer = self.buffers.take(id, received, pool, self.recv_bytes_max);
        result.map(|_| buffer)
    }

    #[inline]
    fn end_send(&mut self, user_data: u64, result: Result<u32, Errno>) -> Completion {
        let ended = self.sending.remove((user_data & INDEX_MASK) as usize);
        if let Some(gather) = ended.gather
            && self.gathers.len() < GATHERS_KEPT_MAX
        {
            self.gathers.push(gather);
        }
        Completion {
            token: ended.token,
            more: false,
            outcome: Outcome::Sent(result.map(u64::from), ended.load),
        }
    }

    fn is_idle(&self) -> bool {
        self.others == 0 && self.sending.is_empty()
    }

    /// Cancels everything, and waits until nothing is in flight; false if that did not happen.
    fn drain(&mut self) -> bool {
        if self.is_idle() {
            return true;
        }
        let all = opcode::AsyncCancel2::new(CancelBuilder::any().all()).build();
        self.push(&all.user_data((Kind::Cancel as u64) << INDEX_BITS));
        for _ in 0..DRAIN_ROUNDS {
            if self.sleep(Some(DRAIN_WAIT)).is_err() {
                return false;
            }
            self.reap();
            while let Some(entry) = self.reaped.get(self.reaped_at).cloned() {
                self.reaped_at += 1;
                self.discard(&entry);
            }
            if self.is_idle() {
                return true;
            }
        }
        false
    }

    /// A completion that nobody waits for any more.
    fn discard(&mut self, entry: &cqueue::Entry) {
        let more = cqueue::more(entry.flags());
        match Kind::from_user_data(entry.user_data()) {
            Kind::Cancel | Kind::Wake => return,
            Kind::Send => {
                let ended = self.end_send(entry.user_data(), result(entry));
                return drop(ended);
            }
            Kind::Accept => drop(opened(entry)),
            Kind::Recv | Kind::PollRead | Kind::PollWrite => {}
        }
        if !more {
            self.others -= 1;
        }
    }
}

/// The connection that a completion of an accept brought. To be called once for each.
#[inline]
fn opened(entry: &cqueue::Entry) -> Result<OwnedFd, Errno> {
    // SAFETY: the kernel has opened it for this completion alone.
    result(entry).map(|fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

#[inline]
fn result(entry: &cqueue::Entry) -> Result<u32, Errno> {
    u32::try_from(entry.result()).map_err(|_| Errno::from_raw_os_error(-entry.result()))
}

/// What an enter says that is no error: nothing came in time, a signal came, or completions are
/// to be taken first.
fn heard(entered: io::Result<usize>) -> io::Result<()> {
    match entered {
        Ok(_) => Ok(()),
        Err(error) => match error.raw_os_error() {
            Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
            _ => Err(error),
        },
    }
}

impl Gather {
    fn new() -> Box<Gather> {
        // SAFETY: both are plain structures of integers and pointers, for which zeroes are valid.
        Box::new(unsafe { zeroed() })
    }

    /// Names the memory at the front of the queue.
    fn lay_out(&mut self, queue: &SendQueue) {
        let mut count = 0;
        for chunk in queue.unsent().take(SLICES) {
            let Some(bytes) = chunk.memory() else {
                break;
            };
            self.slices[count] = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len().min(SLICE_BYTES_MAX),
            };
            count += 1;
            if bytes.len() > SLICE_BYTES_MAX {
                break;
            }
        }
        self.header.msg_iov = self.slices.as_mut_ptr();
        self.header.msg_iovlen = count as _;
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if self.birthplace.is_elsewhere() {
            // A child after fork(2): the ring and what is in flight are its parent's.
            return std::mem::forget(std::mem::take(&mut self.sending));
        }
        let drained = self.drain();
        let unregistered = self.ring.submitter().unregister_buf_ring(GROUP).is_ok();
        // SAFETY: not used again; it is the drop.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        if drained && unregistered {
            // SAFETY: nothing is in flight, and the kernel has forgotten the ring of buffers.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        } else {
            std::mem::forget(std::mem::take(&mut self.sending));
        }
    }
}
