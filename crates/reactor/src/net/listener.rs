//! Listening sockets.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, sockopt};

use crate::channel::{Accepted, Deadline, Kind, Side};
use crate::event_loop;
use crate::net::address::Address;
use crate::net::handle::Handle;
use crate::net::option::{self, Keepalive};
use crate::net::socket::stream_socket;
use crate::op::{ReadOp, ReadOutcome};
use crate::sys::socket_option;

/// Connections accepted in one turn at most, unless told otherwise.
const ACCEPT_BUDGET: u32 = 16;

/// Connections after which a listener that several loops share goes to the back of the queue.
const ROTATE_AFTER: u32 = 8;

/// Seconds for which a deferred connection is held back (nginx: 1, which Linux rounds up to its
/// retransmission times).
const DEFER_S: i32 = 1;

/// What a listening socket is to be like (nginx `listen`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenOptions {
    /// Connections that may wait to be accepted (listen(2)); the kernel caps it at
    /// `net.core.somaxconn`. Default 511.
    pub backlog: i32,
    /// `SO_REUSEPORT`: several sockets share the address, and the kernel deals connections out by
    /// hashing. Default false.
    pub reuse_port: bool,
    /// `IPV6_V6ONLY`: an IPv6 socket takes no IPv4 connections. Default true.
    pub ipv6_only: bool,
    /// `TCP_DEFER_ACCEPT`: connections are accepted once they have sent something. Default false.
    pub deferred: bool,
    /// `SO_KEEPALIVE` and its times for accepted connections. Default: the system's.
    pub keepalive: Option<Keepalive>,
    /// `SO_RCVBUF` in bytes. Default: the system's.
    pub recv_buffer: Option<usize>,
    /// `SO_SNDBUF` in bytes. Default: the system's.
    pub send_buffer: Option<usize>,
    /// `TCP_FASTOPEN`: the length of the queue of connections whose handshake is not complete.
    /// Default: off.
    pub fastopen: Option<u32>,
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            backlog: 511,
            reuse_port: false,
            ipv6_only: true,
            deferred: false,
            keepalive: None,
            recv_buffer: None,
            send_buffer: None,
            fastopen: None,
        }
    }
}

/// A listening socket of this thread's loop.
///
/// The socket may be shared with other loops and processes: one of them is woken for a
/// connection (`EPOLLEXCLUSIVE`).
pub struct Listener {
    handle: Handle,
    /// Given up for a moment when descriptors run out.
    reserve: Cell<Option<OwnedFd>>,
}

impl Listener {
    /// A socket that listens on `address`, non-blocking and registered nowhere: to be handed to
    /// [`from_fd`](Listener::from_fd), in this process or another. The address may be taken
    /// again while old connections linger (`SO_REUSEADDR`). A Unix path must not exist.
    /// From any thread.
    ///
    /// # Errors
    ///
    /// As socket(2), bind(2) and listen(2): `AddrInUse`, `PermissionDenied`, `AddrNotAvailable`.
    pub fn bind(address: &Address, options: &ListenOptions) -> io::Result<OwnedFd> {
        if let Some(network) = event_loop::network() {
            return network.bind(address, options.backlog);
        }
        let raw = address.to_raw()?;
        let socket = stream_socket(&raw)?;
        if !address.is_unix() {
            sockopt::set_socket_reuseaddr(&socket, true)?;
            sockopt::set_socket_reuseport(&socket, options.reuse_port)?;
        }
        if raw.address_family() == AddressFamily::INET6 {
            sockopt::set_ipv6_v6only(&socket, options.ipv6_only)?;
        }
        if let Some(bytes) = options.recv_buffer {
            sockopt::set_socket_recv_buffer_size(&socket, bytes)?;
        }
        if let Some(bytes) = options.send_buffer {
            sockopt::set_socket_send_buffer_size(&socket, bytes)?;
        }
        rustix::net::bind(&socket, &raw)?;
        if !address.is_unix() {
            set_tcp_options(socket.as_fd(), options)?;
        }
        rustix::net::listen(&socket, options.backlog)?;
        Ok(socket)
    }

    /// Registers a listening socket with this thread's loop. One that blocks is made non-blocking, and
    /// with it all duplicates of the descriptor.
    ///
    /// # Errors
    ///
    /// No loop on this thread; descriptors run out.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Listener> {
        let handle = Handle::adopt(fd, Kind::Listener)?;
        let accepted = Accepted {
            queue: VecDeque::new(),
            budget: ACCEPT_BUDGET,
            batch: 1,
            last_turn: 0,
            rotate_after: ROTATE_AFTER,
            since_rotation: 0,
        };
        handle.channel.state().accepted = Some(Box::new(accepted));
        let listener = Listener {
            handle,
            reserve: Cell::new(None),
        };
        listener.keep_reserve();
        Ok(listener)
    }

    /// The next connection, non-blocking and close-on-exec, and its peer. Connections that
    /// their peer has given up already are passed over.
    ///
    /// # Errors
    ///
    /// As accept(2); out of descriptors is `EMFILE` or `ENFILE`, see
    /// [`accept_and_close_one`](Listener::accept_and_close_one).
    pub fn accept(&self) -> Accept<'_> {
        Accept {
            listener: self,
            submitted: false,
        }
    }

    /// Connections accepted in one turn at most (nginx `multi_accept`: 1 for off). Default 16; they
    /// are accepted in growing batches while turn after turn finds some waiting.
    pub fn set_accept_budget(&self, connections: u32) {
        self.with_accepted(|accepted| accepted.budget = connections.max(1));
    }

    /// After so many connections the listener gives the other loops that share its socket
    /// precedence, at the cost of two `epoll_ctl`. Default 8; 0 for never, where it is not shared.
    pub fn set_rotation(&self, connections: u32) {
        self.with_accepted(|accepted| accepted.rotate_after = connections);
    }

    /// A connection that was accepted in the same batch as the last one, if there is any: what is
    /// to be taken over before the listener is dropped.
    pub fn take_accepted(&self) -> Option<io::Result<(OwnedFd, Address)>> {
        self.with_accepted(|accepted| accepted.queue.pop_front())
    }

    /// At the limit of descriptors: gives up a descriptor held in reserve, accepts one
    /// connection, sends it `answer` as far as that is possible at once, closes it, and takes the
    /// reserve back. So that the peer hears something, and the loop does not spin on a
    /// connection that it cannot accept. False if no connection was waiting.
    ///
    /// # Errors
    ///
    /// As accept(2), when even that is not possible.
    pub fn accept_and_close_one(&self, answer: &[u8]) -> io::Result<bool> {
        drop(self.reserve.take());
        let result = self.handle.turn_away(answer);
        self.keep_reserve();
        Ok(result?)
    }

    /// The address that the socket listens on.
    ///
    /// # Errors
    ///
    /// As getsockname(2).
    pub fn local_address(&self) -> io::Result<Address> {
        self.handle.local_address()
    }

    /// The socket.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    fn keep_reserve(&self) {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        self.reserve
            .set(rustix::fs::open("/dev/null", flags, Mode::empty()).ok());
    }

    fn with_accepted<R: Default>(&self, f: impl FnOnce(&mut Accepted) -> R) -> R {
        let mut state = self.handle.channel.state();
        state.accepted.as_deref_mut().map(f).unwrap_or_default()
    }
}

fn set_tcp_options(socket: BorrowedFd<'_>, options: &ListenOptions) -> io::Result<()> {
    if let Some(keepalive) = &options.keepalive {
        option::set_keepalive(socket, keepalive)?;
    }
    if options.deferred {
        socket_option::set_defer_accept(socket, DEFER_S)?;
    }
    if let Some(queue_len) = options.fastopen {
        socket_option::set_fastopen(socket, i32::try_from(queue_len).unwrap_or(i32::MAX))?;
    }
    Ok(())
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        Listener::as_fd(self)
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("fd", &self.as_raw_fd())
            .finish_non_exhaustive()
    }
}

/// Waits for a connection. Dropping it loses none.
#[must_use = "futures do nothing unless awaited"]
pub struct Accept<'a> {
    listener: &'a Listener,
    submitted: bool,
}

impl Future for Accept<'_> {
    type Output = io::Result<(OwnedFd, Address)>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = &self.listener.handle;
        loop {
            if !self.submitted {
                if let Some(result) = self.listener.take_accepted() {
                    return Poll::Ready(result);
                }
                self.submitted = true;
                ready_or_failed(ready!(handle.begin_read(
                    ReadOp::Accept,
                    Deadline::NEVER,
                    cx
                )))?;
            } else {
                ready_or_failed(ready!(handle.poll_read(cx)))?;
            }
            self.submitted = false;
        }
    }
}

fn ready_or_failed(outcome: ReadOutcome) -> io::Result<()> {
    match outcome {
        ReadOutcome::Failed(error) => Err(error),
        ReadOutcome::Ready | ReadOutcome::Received(_) => Ok(()),
    }
}

impl Drop for Accept<'_> {
    fn drop(&mut self) {
        if self.submitted {
            self.listener.handle.cancel(Side::Read);
        }
    }
}
