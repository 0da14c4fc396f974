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
use crate::send_queue::SendQueue;

/// Pieces gathered into one send.
const SLICES: usize = 64;
/// Bytes of one piece at most: the kernel counts them as an `int`.
const SLICE_BYTES_MAX: usize = 1 << 30;
/// Tables of pieces kept for use again.
const GATHERS_KEPT_MAX: usize = 16;

/// Completions that are nobody's operation.
const WAKE: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// How often the drop of a ring waits for completions, and for how long each time.
const DRAIN_ROUNDS: u32 = 20;
const DRAIN_WAIT: Duration = Duration::from_millis(50);

/// Names an operation in flight.
pub(super) type Key = u32;

/// What an operation is, with the memory that the kernel may touch.
pub(super) enum Op {
    Accept,
    Recv,
    PollRead,
    PollWrite,
    Send(SendQueue),
}

struct InFlight {
    token: Token,
    op: Op,
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
    ReadReady,
    WriteReady,
    Sent(Result<u64, Errno>, SendQueue),
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
    in_flight: PagedSlab<InFlight>,
    /// Completions taken from the kernel, from `reaped_at` on.
    reaped: Vec<cqueue::Entry>,
    reaped_at: usize,
    gathers: Vec<Box<Gather>>,
    recv_bytes_max: usize,
    wake: RawFd,
    wake_lost: bool,
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
            in_flight: PagedSlab::new(),
            reaped: Vec::with_capacity(entries as usize),
            reaped_at: 0,
            gathers: Vec::new(),
            recv_bytes_max,
            wake,
            wake_lost: false,
        };
        ring.watch_wake();
        Ok(ring)
    }

    /// Every write to the eventfd is one completion; the counter need never be read.
    fn watch_wake(&mut self) {
        let entry = opcode::PollAdd::new(Fd(self.wake), libc::POLLIN as u32)
            .multi(true)
            .build()
            .user_data(WAKE);
        self.push(&entry);
        self.wake_lost = false;
    }

    /// Queues an entry. All memory that it names is owned by `in_flight` or by `buffers`.
    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: the memory that an entry names lies in `in_flight` until the entry's last
        // completion, or in the provided buffers, which go when nothing is in flight; both
        // survive the ring.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // Full: the kernel takes all entries, once there is room for their completions. An
            // error is heard again by the next wait.
            self.reaped.extend(self.ring.completion());
            let _ = self.ring.submit();
        }
    }

    fn begin(&mut self, token: Token, op: Op, entry: squeue::Entry) -> Key {
        let in_flight = InFlight {
            token,
            op,
            gather: None,
        };
        let key = self.in_flight.insert(in_flight);
        self.push(&entry.user_data(key as u64));
        key as Key
    }

    /// Receives again and again, into provided buffers.
    pub(super) fn recv(&mut self, token: Token, fd: BorrowedFd<'_>) -> Key {
        let entry = opcode::RecvMulti::new(Fd(fd.as_raw_fd()), GROUP).build();
        self.begin(token, Op::Recv, entry)
    }

    /// Accepts again and again, non-blocking and close-on-exec.
    pub(super) fn accept(&mut self, token: Token, fd: BorrowedFd<'_>) -> Key {
        let entry = opcode::AcceptMulti::new(Fd(fd.as_raw_fd()))
            .flags(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
            .build();
        self.begin(token, Op::Accept, entry)
    }

    /// Tells once when the descriptor can be read.
    pub(super) fn poll_read(&mut self, token: Token, fd: BorrowedFd<'_>) -> Key {
        let events = (libc::POLLIN | libc::POLLRDHUP) as u32;
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), events).build();
        self.begin(token, Op::PollRead, entry)
    }

    /// Tells once when the descriptor can be written.
    pub(super) fn poll_write(&mut self, token: Token, fd: BorrowedFd<'_>) -> Key {
        let entry = opcode::PollAdd::new(Fd(fd.as_raw_fd()), libc::POLLOUT as u32).build();
        self.begin(token, Op::PollWrite, entry)
    }

    /// Sends from the front of a queue, which holds memory there: as many bytes as the socket
    /// takes at once, once it takes any.
    pub(super) fn send(&mut self, token: Token, fd: BorrowedFd<'_>, queue: SendQueue) -> Key {
        let fd = Fd(fd.as_raw_fd());
        let key = self.in_flight.insert(InFlight {
            token,
            op: Op::Send(queue),
            gather: None,
        });
        let InFlight { op, gather, .. } = &mut self.in_flight[key];
        let Op::Send(queue) = op else {
            unreachable!("it was inserted as a send");
        };
        let only = queue.only().and_then(|chunk| chunk.memory());
        let entry = if let Some(bytes) = only {
            let len = bytes.len().min(SLICE_BYTES_MAX) as u32;
            let flags = libc::MSG_NOSIGNAL;
            opcode::Send::new(fd, bytes.as_ptr(), len)
                .flags(flags)
                .build()
        } else {
            let table = self.gathers.pop().unwrap_or_else(Gather::new);
            let table = gather.insert(table);
            let flags = table.lay_out(queue);
            opcode::SendMsg::new(fd, &raw const table.header)
                .flags(flags as u32)
                .build()
        };
        self.push(&entry.user_data(key as u64));
        key as Key
    }

    /// Asks the kernel to end an operation; it will say so by the operation's last completion.
    pub(super) fn cancel(&mut self, key: Key) {
        let entry = opcode::AsyncCancel::new(u64::from(key)).build();
        self.push(&entry.user_data(CANCEL));
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

    /// The next connection that was reaped for an accept in flight, before its turn.
    pub(super) fn take_accepted(&mut self, key: Key) -> Option<Result<OwnedFd, Errno>> {
        for at in self.reaped_at..self.reaped.len() {
            let entry = &self.reaped[at];
            if entry.user_data() == u64::from(key) && cqueue::more(entry.flags()) {
                let entry = self.reaped.remove(at);
                // SAFETY: the kernel has opened it for this completion alone, which is removed.
                let owned = |fd| unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
                return Some(result(&entry).map(owned));
            }
        }
        None
    }

    #[inline]
    fn complete(&mut self, entry: &cqueue::Entry, pool: &BufferPool) -> Option<Completion> {
        let (key, flags) = (entry.user_data(), entry.flags());
        let more = cqueue::more(flags);
        if key >= CANCEL {
            self.wake_lost |= key == WAKE && !more;
            return None;
        }
        let result = result(entry);
        let key = key as usize;
        let InFlight { token, op, .. } = &self.in_flight[key];
        let token = *token;
        let outcome = match op {
            Op::Accept => Outcome::Accepted(result.map(|fd| {
                // SAFETY: the kernel has just opened it for this completion alone.
                unsafe { OwnedFd::from_raw_fd(fd as RawFd) }
            })),
            Op::Recv => {
                let id = cqueue::buffer_select(flags);
                let buffer = match id {
                    Some(id) => {
                        let received = result.unwrap_or(0) as usize;
                        let max = self.recv_bytes_max;
                        Some(self.buffers.take(id, received, pool, max))
                    }
                    None => None,
                };
                // Without a buffer it is the end.
                let empty = || pool.copy_few(&[]);
                Outcome::Received(result.map(|_| buffer.unwrap_or_else(empty)))
            }
            Op::PollRead => Outcome::ReadReady,
            Op::PollWrite => Outcome::WriteReady,
            Op::Send(_) => return Some(self.end_send(key, result)),
        };
        if !more {
            self.in_flight.remove(key);
        }
        Some(Completion {
            token,
            more,
            outcome,
        })
    }

    fn end_send(&mut self, key: usize, result: Result<u32, Errno>) -> Completion {
        let InFlight { token, op, gather } = self.in_flight.remove(key);
        let Op::Send(queue) = op else {
            unreachable!("the caller saw a send");
        };
        if self.gathers.len() < GATHERS_KEPT_MAX {
            self.gathers.extend(gather);
        }
        Completion {
            token,
            more: false,
            outcome: Outcome::Sent(result.map(u64::from), queue),
        }
    }

    /// Cancels everything, and waits until nothing is in flight; false if that did not happen.
    fn drain(&mut self) -> bool {
        if self.in_flight.is_empty() {
            return true;
        }
        let all = CancelBuilder::any().all();
        self.push(&opcode::AsyncCancel2::new(all).build().user_data(CANCEL));
        for _ in 0..DRAIN_ROUNDS {
            if self.sleep(Some(DRAIN_WAIT)).is_err() {
                return false;
            }
            self.reap();
            while let Some(entry) = self.reaped.get(self.reaped_at).cloned() {
                self.reaped_at += 1;
                self.discard(&entry);
            }
            if self.in_flight.is_empty() {
                return true;
            }
        }
        false
    }

    /// A completion that nobody waits for any more.
    fn discard(&mut self, entry: &cqueue::Entry) {
        let key = entry.user_data();
        if key >= CANCEL {
            return;
        }
        let key = key as usize;
        if matches!(self.in_flight[key].op, Op::Accept)
            && let Ok(fd) = result(entry)
        {
            // SAFETY: the kernel has opened it for this completion alone.
            drop(unsafe { OwnedFd::from_raw_fd(fd as RawFd) });
        }
        if !cqueue::more(entry.flags()) {
            self.in_flight.remove(key);
        }
    }
}

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

    /// Names the memory at the front of the queue, and gives the flags of the send. Where a file
    /// follows that is to share its segment, the kernel is told that more comes.
    fn lay_out(&mut self, queue: &SendQueue) -> libc::c_int {
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
        libc::MSG_NOSIGNAL
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let drained = self.drain();
        let unregistered = self.ring.submitter().unregister_buf_ring(GROUP).is_ok();
        // SAFETY: not used again; it is the drop.
        unsafe { ManuallyDrop::drop(&mut self.ring) };
        if drained && unregistered {
            // SAFETY: nothing is in flight, and the kernel has forgotten the ring of buffers.
            unsafe { ManuallyDrop::drop(&mut self.buffers) };
        } else {
            std::mem::forget(std::mem::take(&mut self.in_flight));
        }
    }
}
