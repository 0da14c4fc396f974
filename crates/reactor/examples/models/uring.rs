//! Asynchronous by `io_uring(7)`: the kernel accepts, receives and sends, and tells what is done.
//!
//! One entry accepts all connections and one each receives all that comes (multishot), into buffers
//! that the kernel takes from a ring when bytes are there. What came is sent out of the same buffer, so
//! that this program touches no byte of it. This is the least that a server on io_uring can do, and
//! the other floor of `cargo xtask bench echo`.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, handle_alloc_error};
use std::collections::VecDeque;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::{BufRingEntry, CancelBuilder, Fd};
use io_uring::{IoUring, cqueue, opcode, squeue};

use crate::connection::SPACE_BYTES;

const ENTRIES: u32 = 1024;
/// Buffers, a power of two: so many that a thousand connections hardly ever want for one, because a
/// receive that finds none ends, and costs an entry to begin again.
const BUFFERS: u16 = 256;
const GROUP: u16 = 0;
const PAGE_BYTES: usize = 4096;
/// Buffers of one connection that wait to be sent, at most: it is not received from beyond.
const UNSENT_MAX: usize = 8;

const ENOBUFS: i32 = 105;
const ECANCELED: i32 = 125;
const MSG_WAITALL: i32 = 0x100;
const MSG_NOSIGNAL: i32 = 0x4000;

/// What an entry is: the lowest bits of its user data, below the descriptor and the buffer.
const ACCEPT: u64 = 0;
const RECV: u64 = 1;
const SEND: u64 = 2;
const CANCEL: u64 = 3;

fn user_data(kind: u64, fd: RawFd, buffer: u16) -> u64 {
    kind | (fd as u64) << 2 | u64::from(buffer) << 48
}

struct Connection {
    socket: OwnedFd,
    /// Buffers with what came and is not sent, and how much; the first is with the kernel.
    unsent: VecDeque<(u16, u32)>,
    receiving: bool,
    cancelled: bool,
    /// The peer has no more, or the connection is broken.
    ended: bool,
}

/// Buffers that the kernel takes to receive into. They live as long as the process.
struct Buffers {
    entries: *mut BufRingEntry,
    space: *mut u8,
    tail: u16,
}

impl Buffers {
    fn register(ring: &IoUring) -> io::Result<Buffers> {
        let allocate = |bytes: usize| {
            let layout = Layout::from_size_align(bytes, PAGE_BYTES).expect("a few pages");
            // SAFETY: the layout is not of size 0.
            let memory = unsafe { alloc_zeroed(layout) };
            if memory.is_null() {
                handle_alloc_error(layout)
            }
            memory
        };
        let entries = allocate(usize::from(BUFFERS) * size_of::<BufRingEntry>());
        let mut buffers = Buffers {
            entries: entries.cast(),
            space: allocate(usize::from(BUFFERS) * SPACE_BYTES),
            tail: 0,
        };
        // SAFETY: the memory is zeroed, aligned to a page, as long as the number of entries says,
        // and never freed.
        unsafe {
            let submitter = ring.submitter();
            submitter.register_buf_ring_with_flags(entries as u64, BUFFERS, GROUP, 0)?;
        }
        (0..BUFFERS).for_each(|id| buffers.provide(id));
        Ok(buffers)
    }

    fn address(&self, id: u16) -> *mut u8 {
        self.space.wrapping_add(usize::from(id) * SPACE_BYTES)
    }

    /// Gives a buffer (back) to the kernel.
    fn provide(&mut self, id: u16) {
        let at = usize::from(self.tail & (BUFFERS - 1));
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `at` is within the ring; the kernel reads an entry only after the tail has passed
        // it, and has read it before its buffer came back.
        let entry = unsafe { &mut *self.entries.add(at) };
        entry.set_addr(self.address(id) as u64);
        entry.set_len(SPACE_BYTES as u32);
        entry.set_bid(id);
        // SAFETY: the tail lies in the first entry, in a field that the setters leave alone, is
        // aligned, and is touched by atomic operations only.
        let tail = unsafe { &*BufRingEntry::tail(self.entries).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

struct Server {
    ring: IoUring,
    buffers: Buffers,
    listener: TcpListener,
    /// By descriptor.
    connections: Vec<Option<Connection>>,
    /// Those whose receive ended for want of a buffer.
    starved: Vec<RawFd>,
}

pub(crate) fn serve(listener: TcpListener) -> io::Result<()> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_submit_all()
        .setup_cqsize(ENTRIES * 4)
        .build(ENTRIES)
        .map_err(|error| io::Error::new(error.kind(), format!("io_uring is refused: {error}")))?;
    // Spares the lookup of the descriptor in every call; no harm if it is refused.
    let _ = ring.submitter().register_ring_fd();
    let buffers = Buffers::register(&ring)?;
    let mut server = Server {
        ring,
        buffers,
        listener,
        connections: Vec::new(),
        starved: Vec::new(),
    };
    server.accept()?;
    let mut done = Vec::new();
    loop {
        match server.ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            waited => drop(waited?),
        }
        done.extend(server.ring.completion());
        for entry in done.drain(..) {
            server.completed(&entry)?;
        }
    }
}

impl Server {
    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        // SAFETY: an entry names sockets that are open until it is complete, and buffers that are
        // never freed, nor provided to others before it is complete.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            self.ring.submit()?;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        let fd = self.listener.as_raw_fd();
        let entry = opcode::AcceptMulti::new(Fd(fd)).build();
        self.push(&entry.user_data(user_data(ACCEPT, fd, 0)))
    }

    fn recv(&mut self, fd: RawFd) -> io::Result<()> {
        if let Some(Some(connection)) = self.connections.get_mut(fd as usize) {
            connection.receiving = true;
            let entry = opcode::RecvMulti::new(Fd(fd), GROUP).build();
            self.push(&entry.user_data(user_data(RECV, fd, 0)))?;
        }
        Ok(())
    }

    /// Sends the first buffer of a connection, all of it however often that takes the kernel.
    fn send(&mut self, fd: RawFd) -> io::Result<()> {
        let connection = self.connections.get(fd as usize).and_then(Option::as_ref);
        if let Some(&(id, bytes)) = connection.and_then(|connection| connection.unsent.front()) {
            let entry = opcode::Send::new(Fd(fd), self.buffers.address(id), bytes);
            let entry = entry.flags(MSG_WAITALL | MSG_NOSIGNAL).build();
            self.push(&entry.user_data(user_data(SEND, fd, id)))?;
        }
        Ok(())
    }

    fn completed(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        let fd = (entry.user_data() >> 2) as u32 as RawFd;
        match entry.user_data() & 3 {
            ACCEPT => self.accepted(entry),
            RECV => self.received(fd, entry),
            SEND => self.sent(fd, entry),
            _ => Ok(()),
        }
    }

    fn accepted(&mut self, entry: &cqueue::Entry) -> io::Result<()> {
        if entry.result() >= 0 {
            let fd = entry.result();
            // SAFETY: the kernel has made it for this entry, and nobody else knows of it.
            let socket = unsafe { OwnedFd::from_raw_fd(fd) };
            if self.connections.len() <= fd as usize {
                self.connections.resize_with(fd as usize + 1, || None);
            }
            self.connections[fd as usize] = Some(Connection {
                socket,
                unsent: VecDeque::new(),
                receiving: false,
                cancelled: false,
                ended: false,
            });
            self.recv(fd)?;
        }
        if cqueue::more(entry.flags()) {
            return Ok(());
        }
        self.accept()
    }

    fn received(&mut self, fd: RawFd, entry: &cqueue::Entry) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else {
            return Ok(());
        };
        connection.receiving = cqueue::more(entry.flags());
        let mut first = false;
        if let Some(id) = cqueue::buffer_select(entry.flags())
            && entry.result() > 0
        {
            first = connection.unsent.is_empty();
            connection.unsent.push_back((id, entry.result() as u32));
        } else {
            match -entry.result() {
                ENOBUFS => self.starved.push(fd),
                ECANCELED => {}
                _ => connection.ended = true,
            }
        }
        if connection.unsent.len() >= UNSENT_MAX && connection.receiving && !connection.cancelled {
            connection.cancelled = true;
            let cancel = CancelBuilder::user_data(user_data(RECV, fd, 0));
            let entry = opcode::AsyncCancel2::new(cancel).build();
            self.push(&entry.user_data(CANCEL))?;
        }
        if first {
            self.send(fd)?;
        }
        self.go_on(fd)
    }

    fn sent(&mut self, fd: RawFd, entry: &cqueue::Entry) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else {
            return Ok(());
        };
        if let Some((id, bytes)) = connection.unsent.pop_front() {
            self.buffers.provide(id);
            if entry.result() != bytes as i32 {
                // Broken: what else waits will not arrive either.
                connection.ended = true;
                for (id, _) in connection.unsent.drain(..) {
                    self.buffers.provide(id);
                }
            }
        }
        self.send(fd)?;
        self.go_on(fd)?;
        // A buffer is free: those who wanted one try again.
        for fd in std::mem::take(&mut self.starved) {
            self.go_on(fd)?;
        }
        Ok(())
    }

    /// Receives again, or closes, once that may be.
    fn go_on(&mut self, fd: RawFd) -> io::Result<()> {
        let Some(Some(connection)) = self.connections.get_mut(fd as usize) else {
            return Ok(());
        };
        if connection.receiving || !connection.unsent.is_empty() {
            // A broken one ends its receive by itself: its socket is shut down for that.
            if connection.ended && connection.receiving {
                let _ = rustix::net::shutdown(&connection.socket, rustix::net::Shutdown::Both);
            }
            return Ok(());
        }
        connection.cancelled = false;
        if connection.ended {
            self.connections[fd as usize] = None;
            return Ok(());
        }
        if self.starved.contains(&fd) {
            return Ok(());
        }
        self.recv(fd)
    }
}
