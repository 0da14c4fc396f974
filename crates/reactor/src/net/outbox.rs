//! What waits to be sent on one stream, by many who do not wait: bounded, with high and low water.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::event_loop;
use crate::net::stream::Stream;
use crate::send_queue::{Chunk, SendQueue};
use crate::task::JoinHandle;

/// Bytes handed to the stream at once: what is counted as sent is counted in such portions.
const PORTION_BYTES: u64 = 64 * 1024;

/// The queue of what is to be sent on a stream. Loop-local, cheap to clone: a chat room has one
/// of each member.
///
/// Whoever sends pushes and goes on; a task of the outbox's own writes, from the end of this
/// turn on, so that what a turn pushes goes out together. Memory is bounded: a push that would
/// exceed the high-water mark is refused, and what becomes of a peer who reads too slowly
/// is the caller's choice. Who would rather wait awaits [`writable_below`](Outbox::writable_below).
#[derive(Clone)]
pub struct Outbox {
    inner: Rc<Inner>,
}

struct Inner {
    stream: Rc<Stream>,
    bytes_max: u64,
    stall_max: Cell<Option<Duration>>,
    pending: RefCell<VecDeque<Chunk>>,
    /// Bytes pending, and of the portion that is being sent.
    bytes: Cell<u64>,
    bytes_most: Cell<u64>,
    writer: RefCell<Option<JoinHandle<()>>>,
    failed: Cell<Option<io::ErrorKind>>,
    waiting: RefCell<Vec<(u64, Waker)>>,
}

/// Why a push was refused.
#[derive(Debug)]
pub enum OutboxError {
    /// The outbox would hold more than its high-water mark; here is the chunk again.
    Full(Chunk),
    /// An earlier send failed so, or was aborted; nothing is sent any more.
    Failed(io::ErrorKind),
}

impl fmt::Display for OutboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OutboxError::Full(_) => f.write_str("the peer reads too slowly: its outbox is full"),
            OutboxError::Failed(kind) => write!(f, "sending has failed: {kind}"),
        }
    }
}

impl std::error::Error for OutboxError {}

impl Outbox {
    /// An outbox that holds at most `bytes_max` bytes (the high-water mark), the portion that is
    /// being sent included. Nobody else may send on the stream.
    pub fn new(stream: impl Into<Rc<Stream>>, bytes_max: u64) -> Outbox {
        Outbox {
            inner: Rc::new(Inner {
                stream: stream.into(),
                bytes_max,
                stall_max: Cell::new(None),
                pending: RefCell::default(),
                bytes: Cell::new(0),
                bytes_most: Cell::new(0),
                writer: RefCell::new(None),
                failed: Cell::new(None),
                waiting: RefCell::default(),
            }),
        }
    }

    /// Fails when no byte could be sent for so long. Default: no limit.
    pub fn stall_max(self, duration: Duration) -> Outbox {
        self.inner.stall_max.set(Some(duration));
        self
    }

    /// The stream.
    pub fn stream(&self) -> &Rc<Stream> {
        &self.inner.stream
    }

    /// Adds a chunk, to be sent after those before it.
    ///
    /// # Errors
    ///
    /// [`OutboxError`].
    ///
    /// # Panics
    ///
    /// If there is no loop on this thread.
    pub fn push(&self, chunk: impl Into<Chunk>) -> Result<(), OutboxError> {
        let chunk = chunk.into();
        if let Some(kind) = self.inner.failed.get() {
            return Err(OutboxError::Failed(kind));
        }
        let bytes = self.inner.bytes.get().saturating_add(chunk.len());
        if bytes > self.inner.bytes_max {
            return Err(OutboxError::Full(chunk));
        }
        if chunk.is_empty() {
            return Ok(());
        }
        self.inner.bytes.set(bytes);
        let most = self.inner.bytes_most.get().max(bytes);
        self.inner.bytes_most.set(most);
        self.inner.pending.borrow_mut().push_back(chunk);
        let mut writer = self.inner.writer.borrow_mut();
        if writer.is_none() {
            *writer = Some(event_loop::spawn(write(Rc::clone(&self.inner))));
        }
        Ok(())
    }

    /// Bytes that are not sent yet.
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.get()
    }

    /// The most that there ever were.
    pub fn bytes_most(&self) -> u64 {
        self.inner.bytes_most.get()
    }

    /// Ready once at most `bytes` (the low-water mark) are not sent yet: with 0, once all are.
    ///
    /// # Errors
    ///
    /// As [`Stream::send`].
    pub async fn writable_below(&self, bytes: u64) -> io::Result<()> {
        poll_fn(|cx| {
            if let Some(kind) = self.inner.failed.get() {
                return Poll::Ready(Err(kind.into()));
            }
            if self.inner.bytes.get() <= bytes {
                return Poll::Ready(Ok(()));
            }
            let mut waiting = self.inner.waiting.borrow_mut();
            if !waiting
                .iter()
                .any(|(level, waker)| *level == bytes && waker.will_wake(cx.waker()))
            {
                waiting.push((bytes, cx.waker().clone()));
            }
            Poll::Pending
        })
        .await
    }

    /// Drops all that is not sent, and sends nothing any more. Pushing then fails with
    /// `ConnectionAborted`.
    pub fn abort(&self) {
        let writer = self.inner.writer.borrow_mut().take();
        if let Some(writer) = writer {
            writer.cancel();
        }
        self.inner.fail(io::ErrorKind::ConnectionAborted);
    }
}

impl Inner {
    fn portion(&self) -> SendQueue {
        let mut pending = self.pending.borrow_mut();
        let mut queue = SendQueue::new();
        while queue.bytes() < PORTION_BYTES
            && let Some(chunk) = pending.pop_front()
        {
            queue.push(chunk);
        }
        queue
    }

    fn fail(&self, kind: io::ErrorKind) {
        if self.failed.get().is_none() {
            self.failed.set(Some(kind));
        }
        self.bytes.set(0);
        let dropped = self.pending.take();
        drop(dropped);
        self.wake(0);
    }

    fn wake(&self, bytes: u64) {
        let mut waiting = self.waiting.borrow_mut();
        let ready = waiting.extract_if(.., |(level, _)| *level >= bytes);
        let ready: Vec<(u64, Waker)> = ready.collect();
        drop(waiting);
        ready.into_iter().for_each(|(_, waker)| waker.wake());
    }
}

async fn write(inner: Rc<Inner>) {
    loop {
        let queue = inner.portion();
        if queue.is_empty() {
            // Nothing is dropped here that others could see: the handle of this very task.
            let own = inner.writer.borrow_mut().take();
            drop(own);
            return;
        }
        let bytes = queue.bytes();
        let mut send = inner.stream.send(queue);
        if let Some(stall_max) = inner.stall_max.get() {
            send = send.stall_max(stall_max);
        }
        if let Err(error) = send.await.0 {
            inner.fail(error.kind());
            return;
        }
        let left = inner.bytes.get().saturating_sub(bytes);
        inner.bytes.set(left);
        inner.wake(left);
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("bytes", &self.bytes())
            .field("bytes_max", &self.inner.bytes_max)
            .finish_non_exhaustive()
    }
}
