//! The body of a response: pieces that lie ready, or a source that is asked for one after the other.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::thread_pool::DiskThreads;
use crate::file_cache::{Content, FileEntry};
use crate::http::filter::Chain;
use crate::http::modules::{disk, output};
use crate::http::phase::LocalBoxFuture;
use crate::http::request::Request;
pub(crate) use crate::http::source::{Broken, Piece, Source};

/// The most of a file that is read at a time where its bytes are wanted in memory.
const READ_BYTES_MAX: u64 = 32 * 1024;

/// Whether a response's body is made, filtered or held back while it is sent.
#[inline]
pub(crate) fn needs_stream(request: &Request) -> bool {
    let response = &request.response;
    response.source.is_some()
        || !response.filters.is_empty()
        || output::is_paced(request)
        || waits_for_disk(request)
}

/// Whether threads read what of the body lies in files, before it is sent (`aio threads`).
#[inline]
fn waits_for_disk(request: &Request) -> bool {
    disk::threads(request.settings()).is_some()
        && request.response.body.iter().any(Piece::is_on_disk)
}

/// A response's body on its way: its pieces, then its source, through its filters.
pub(crate) struct Outgoing {
    ready: VecDeque<Piece>,
    source: Option<Box<dyn Source>>,
    chain: Option<Chain>,
    piece_bytes_max: u64,
    /// Who reads files that are not in memory, where that is to be another thread.
    disk: Option<Disk>,
}

/// Threads that bring parts of files into the system's memory, so that nobody else waits for a disk.
struct Disk {
    threads: Arc<DiskThreads>,
    /// The rest of a part that they have read.
    rest: Option<Piece>,
    /// A part that they read; given once they have.
    reading: Option<(Piece, LocalBoxFuture<'static, ()>)>,
}

impl Disk {
    /// So much is read at a time.
    const BYTES_MAX: u64 = 256 * 1024;

    /// Begins to read a part.
    fn begin(&mut self, piece: Piece) {
        let Piece::File { file, start, len } = &piece else {
            unreachable!("what lies in memory is not read");
        };
        let Content::Descriptor(descriptor) = &file.content else {
            unreachable!("what lies in memory is not read");
        };
        let (descriptor, start, len) = (descriptor.clone(), *start, *len);
        let threads = self.threads.clone();
        let reading = async move {
            // Without a thread the loop reads it itself, when it is sent.
            if let Ok(pool) = threads.handle() {
                let _ = pool
                    .run(move || read_through(&descriptor, start, len))
                    .await;
            }
        };
        self.reading = Some((piece, Box::pin(reading)));
    }
}

/// Reads a part of a file, so that it lies in the system's memory.
fn read_through(file: &File, mut at: u64, len: u64) {
    let mut memory = vec![0; READ_BYTES_MAX as usize];
    let end = at + len;
    while at < end {
        let wanted = (end - at).min(READ_BYTES_MAX) as usize;
        match file.read_at(&mut memory[..wanted], at) {
            // What is wrong with the file is found by whoever sends it.
            Ok(0) | Err(_) => return,
            Ok(read) => at += read as u64,
        }
    }
}

impl Outgoing {
    /// Takes the body out of a request's response.
    pub(crate) fn new(request: &mut Request) -> Self {
        let response = &mut request.response;
        let has_text = |piece: &Piece| matches!(piece, Piece::Text { .. });
        let text = match response.body.iter().any(has_text) {
            true => Bytes::from(std::mem::take(&mut response.text)),
            false => Bytes::new(),
        };
        let owned = |piece| match piece {
            Piece::Text { start, end } => Piece::Bytes(text.slice(start..end)),
            other => other,
        };
        let filters = std::mem::take(&mut response.filters);
        if filters.is_empty()
            && let Some(source) = &mut response.source
        {
            source.allow_buffers();
        }
        Self {
            ready: response.body.drain(..).map(owned).collect(),
            source: response.source.take(),
            chain: (!filters.is_empty()).then(|| Chain::new(filters)),
            piece_bytes_max: output::piece_bytes_max(request),
            disk: disk::threads(request.settings()).map(|threads| Disk {
                threads: threads.clone(),
                rest: None,
                reading: None,
            }),
        }
    }

    /// A body of these bytes.
    pub(crate) fn of(bytes: Bytes) -> Self {
        Self {
            ready: [Piece::Bytes(bytes)].into(),
            source: None,
            chain: None,
            piece_bytes_max: u64::MAX,
            disk: None,
        }
    }

    /// The next bytes in memory, for whoever reads them; `None` at the end.
    pub(crate) fn poll_bytes(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Broken>>> {
        if self.chain.is_none() {
            return self.poll_memory(cx);
        }
        self.poll_next(cx).map(|next| {
            next.map(|piece| match piece? {
                Piece::Bytes(bytes) => Ok(bytes),
                _ => unreachable!("filters give bytes"),
            })
        })
    }

    /// The next piece to be sent; `None` at the end.
    pub(crate) fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Piece, Broken>>> {
        if self.chain.is_none() {
            return self.poll_unfiltered(cx);
        }
        loop {
            match self.chain_mut().pop() {
                Ok(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            if self.chain_mut().has_ended() {
                return Poll::Ready(None);
            }
            match self.poll_memory(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.chain_mut().push(bytes),
                Poll::Ready(None) => self.chain_mut().end(),
                Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
                // What the filters hold leaves before anybody waits.
                Poll::Pending if self.chain_mut().flush() => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn chain_mut(&mut self) -> &mut Chain {
        self.chain
            .as_mut()
            .expect("a body that is filtered has filters")
    }

    /// The next piece before the filters; one that lies in a file once threads have read it.
    fn poll_unfiltered(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            if let Some(rest) = self.disk.as_mut().and_then(|disk| disk.rest.take()) {
                return Poll::Ready(Some(Ok(rest)));
            }
            if let Some(disk) = &mut self.disk
                && let Some((_, reading)) = &mut disk.reading
            {
                ready!(reading.as_mut().poll(cx));
                let piece = disk.reading.take().map(|(piece, _)| piece);
                return Poll::Ready(piece.map(Ok));
            }
            let mut piece = match ready!(self.poll_ready(cx)) {
                Some(Ok(piece)) => piece,
                other => return Poll::Ready(other),
            };
            match &mut self.disk {
                Some(disk) if piece.is_on_disk() => {
                    if piece.len() > Disk::BYTES_MAX {
                        let first = piece.split_to(Disk::BYTES_MAX);
                        self.ready.push_front(piece);
                        piece = first;
                    }
                    disk.begin(piece);
                }
                _ => return Poll::Ready(Some(Ok(piece))),
            }
        }
    }

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            if let Some(piece) = self.ready.front_mut() {
                if piece.len() > self.piece_bytes_max {
                    return Poll::Ready(Some(Ok(piece.split_to(self.piece_bytes_max))));
                }
                return Poll::Ready(self.ready.pop_front().map(Ok));
            }
            let Some(source) = &mut self.source else {
                return Poll::Ready(None);
            };
            match source.poll_next(cx) {
                Poll::Ready(Some(Ok(piece))) => self.ready.push_back(piece),
                other => return other,
            }
        }
    }

    /// The next bytes of the body in memory: files are read.
    fn poll_memory(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let piece = match self.poll_unfiltered(cx) {
            Poll::Ready(Some(Ok(piece))) => piece,
            Poll::Ready(Some(Err(broken))) => return Poll::Ready(Some(Err(broken))),
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(Some(match piece {
            Piece::Bytes(bytes) => Ok(bytes),
            Piece::Buffer(buffer) => Ok(Bytes::copy_from_slice(&buffer)),
            Piece::Text { .. } => unreachable!("text was made bytes when the body set out"),
            Piece::File { file, start, len } => self.read(file, start, len),
        }))
    }

    /// Reads the beginning of a part of a file, and puts the rest back.
    fn read(&mut self, file: Rc<FileEntry>, start: u64, len: u64) -> Result<Bytes, Broken> {
        let taken = match &file.content {
            Content::Bytes(bytes) => {
                return Ok(bytes.slice(start as usize..(start + len) as usize));
            }
            Content::Descriptor(descriptor) => {
                let mut memory = vec![0; len.min(READ_BYTES_MAX) as usize];
                let read = descriptor.read_at(&mut memory, start);
                let read = read.map_err(|error| {
                    let reason = crate::log::error_text(&error);
                    Broken::because(format!(
                        "pread() of a file failed ({reason}) while sending response to client"
                    ))
                })?;
                if read == 0 {
                    return Err(Broken::because(
                        "a file was cut short while sending response to client",
                    ));
                }
                memory.truncate(read);
                Bytes::from(memory)
            }
        };
        let read = taken.len() as u64;
        if read < len {
            let (start, len) = (start + read, len - read);
            let rest = Piece::File { file, start, len };
            match &mut self.disk {
                Some(disk) => disk.rest = Some(rest),
                None => self.ready.push_front(rest),
            }
        }
        Ok(taken)
    }
}

/// How fast a body may leave (`limit_rate`).
pub(crate) struct Pace {
    bytes_per_s: u64,
    /// So many leave as fast as they can.
    free_bytes: u64,
    sent: u64,
    began_at: Instant,
}

impl Pace {
    pub(crate) fn new(request: &Request) -> Self {
        let (bytes_per_s, free_bytes) = output::rate(request);
        Self {
            bytes_per_s,
            free_bytes,
            sent: 0,
            began_at: revolve_reactor::now(),
        }
    }

    /// How long to wait once so many bytes more have left.
    pub(crate) fn pause_after(&mut self, bytes: u64) -> Option<Duration> {
        if self.bytes_per_s == 0 {
            return None;
        }
        self.sent += bytes;
        let counted = self.sent.saturating_sub(self.free_bytes);
        let due_ms = u64::try_from(u128::from(counted) * 1000 / u128::from(self.bytes_per_s));
        let due = Duration::from_millis(due_ms.unwrap_or(u64::MAX));
        let passed = revolve_reactor::now().saturating_duration_since(self.began_at);
        let early = due.saturating_sub(passed);
        (early > Duration::from_millis(1)).then_some(early)
    }
}
