//! The body of an answer as it comes from a peer.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use revolve_http::ResponseFraming;
use revolve_http::h1::{ChunkedDecoder, Decoded};
use revolve_reactor::{Buffer, Receiving, Sleep, sleep};

use super::lease::Lease;
use super::tries::Tries;
use super::unwrap::Unwrap;
use crate::http::header_list::HeaderList;
use crate::http::source::{Broken, Piece, Source};

/// What of a body is still to come.
enum Left {
    Bytes(u64),
    Chunks(Box<ChunkedDecoder>),
    UntilClose,
    Nothing,
}

/// The body of an answer. It is read no faster than it is asked for, so that a slow client slows the
/// peer down, and nothing is held back.
pub(super) struct UpstreamBody {
    lease: Option<Lease>,
    /// Whether the connection may carry another request, and for how long it may idle before.
    keeps: bool,
    idle_max: Option<Duration>,
    left: Left,
    ready: Bytes,
    /// Whether what was received may be given as it is.
    gives_buffers: bool,
    /// What takes the body out of the records that it comes in.
    unwrap: Option<Unwrap>,
    receiving: Receiving,
    read_timeout: Duration,
    tries: Tries,
    rate: Rate,
    /// Where lines behind the body go.
    trailers: Option<Rc<RefCell<HeaderList>>>,
}

/// How fast a body may be read.
pub(super) struct Rate {
    bytes_per_s: u64,
    began_at: Instant,
    read_bytes: u64,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Rate {
    /// No faster than this; 0 for as fast as it comes.
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self {
            bytes_per_s,
            began_at: revolve_reactor::now(),
            read_bytes: 0,
            pause: None,
        }
    }

    /// So much was read.
    pub(super) fn note(&mut self, bytes: u64) {
        self.read_bytes += bytes;
    }

    /// Waits until more may be read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.bytes_per_s == 0 {
            return Poll::Ready(());
        }
        loop {
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let due_ms = u128::from(self.read_bytes) * 1000 / u128::from(self.bytes_per_s);
            let due = Duration::from_millis(u64::try_from(due_ms).unwrap_or(u64::MAX));
            let passed = revolve_reactor::now().saturating_duration_since(self.began_at);
            match due.checked_sub(passed).filter(|early| !early.is_zero()) {
                None => return Poll::Ready(()),
                Some(early) => self.pause = Some(Box::pin(sleep(early))),
            }
        }
    }
}

impl UpstreamBody {
    pub(super) fn new(
        lease: Lease,
        framing: ResponseFraming,
        (ready, unwrap): (Bytes, Option<Unwrap>),
        (keeps, idle_max): (bool, Option<Duration>),
        read_timeout: Duration,
        tries: Tries,
    ) -> Self {
        let left = match framing {
            ResponseFraming::None | ResponseFraming::Length(0) => Left::Nothing,
            ResponseFraming::Length(bytes) => Left::Bytes(bytes),
            ResponseFraming::Chunked => Left::Chunks(Box::new(ChunkedDecoder::new())),
            ResponseFraming::UntilClose | ResponseFraming::Tunnel => Left::UntilClose,
        };
        Self {
            lease: Some(lease),
            keeps,
            idle_max,
            left,
            ready,
            gives_buffers: false,
            unwrap,
            receiving: Receiving::default(),
            read_timeout,
            tries,
            rate: Rate::new(0),
            trailers: None,
        }
    }

    /// The same, read no faster than this; 0 for as fast as it comes.
    pub(super) fn at_rate(mut self, bytes_per_s: u64) -> Self {
        self.rate.bytes_per_s = bytes_per_s;
        self.rate.read_bytes = self.ready.len() as u64;
        self
    }

    /// The same, with a place for the lines behind it.
    pub(super) fn with_trailers(mut self, trailers: Option<Rc<RefCell<HeaderList>>>) -> Self {
        if trailers.is_some() && matches!(self.left, Left::Chunks(_)) {
            self.left = Left::Chunks(Box::new(ChunkedDecoder::with_trailers()));
        }
        self.trailers = trailers;
        self
    }

    /// What lies ready of the body; `None` where more must come first.
    fn next_ready(&mut self) -> Result<Option<Bytes>, Broken> {
        let data = match &mut self.left {
            Left::Nothing => return Ok(None),
            Left::UntilClose => std::mem::take(&mut self.ready),
            Left::Bytes(left) => {
                let len = (self.ready.len() as u64).min(*left) as usize;
                *left -= len as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                self.ready.split_to(len)
            }
            Left::Chunks(decoder) => match decoder.decode(&self.ready) {
                Ok(Decoded::Data {
                    start,
                    end,
                    consumed,
                }) => {
                    let data = self.ready.slice(start..end);
                    let _ = self.ready.split_to(consumed);
                    data
                }
                Ok(Decoded::NeedMore { consumed }) => {
                    let _ = self.ready.split_to(consumed);
                    Bytes::new()
                }
                Ok(Decoded::Done { consumed }) => {
                    let _ = self.ready.split_to(consumed);
                    if let (Some(list), Some(trailers)) = (&self.trailers, decoder.trailers()) {
                        list.borrow_mut().push_trailers(trailers);
                    }
                    self.left = Left::Nothing;
                    Bytes::new()
                }
                Err(_) => {
                    return Err(Broken::because("upstream sent invalid chunked response"));
                }
            },
        };
        Ok((!data.is_empty()).then_some(data))
    }

    /// The whole body was read: the connection may serve again, unless it has sent more than that.
    fn finish(&mut self) {
        self.tries.note_end();
        if let Some(lease) = self.lease.take()
            && self.keeps
            && self.ready.is_empty()
            && self.unwrap.as_ref().is_none_or(Unwrap::is_whole)
        {
            lease.give_back(self.idle_max);
        }
    }

    /// Whether the connection has ended without TLS saying so: somebody may have cut it off.
    fn is_cut(&self) -> bool {
        let tls = self.lease.as_ref().and_then(|lease| lease.stream().tls());
        tls.is_some_and(|tls| !tls.has_ended())
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Buffer>> {
        let lease = self
            .lease
            .as_ref()
            .expect("a body that has not ended has its connection");
        let within = Some(self.read_timeout);
        lease.stream().poll_recv(&mut self.receiving, within, cx)
    }

    /// Whether all that was received is of the body and may be given as it is; it is noted as given then.
    fn is_body(&mut self, received: &Buffer) -> bool {
        let len = received.len() as u64;
        let is_plain = self.gives_buffers && self.unwrap.is_none() && self.ready.is_empty();
        match &mut self.left {
            Left::UntilClose if is_plain => {}
            Left::Bytes(left) if is_plain && *left >= len => {
                *left -= len;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
            }
            _ => return false,
        }
        self.tries.note_body(len);
        true
    }
}

impl Source for UpstreamBody {
    fn allow_buffers(&mut self) {
        self.gives_buffers = true;
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Piece, Broken>>> {
        loop {
            match self.next_ready() {
                Ok(Some(data)) => {
                    self.tries.note_body(data.len() as u64);
                    return Poll::Ready(Some(Ok(Piece::Bytes(data))));
                }
                Ok(None)
                    if matches!(self.left, Left::Nothing)
                        && !self.unwrap.as_ref().is_some_and(Unwrap::awaits_end) =>
                {
                    self.finish();
                    return Poll::Ready(None);
                }
                Ok(None) if self.unwrap.as_ref().is_some_and(Unwrap::is_ended) => {
                    if matches!(self.left, Left::UntilClose) {
                        self.left = Left::Nothing;
                        continue;
                    }
                    let why = "upstream prematurely closed FastCGI stdout";
                    return Poll::Ready(Some(Err(Broken::while_reading(why))));
                }
                Ok(None) => {}
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
            if self.rate.poll(cx).is_pending() {
                return Poll::Pending;
            }
            let received = match self.poll_receive(cx) {
                Poll::Ready(received) => received,
                Poll::Pending => return Poll::Pending,
            };
            match received {
                Ok(bytes) if bytes.is_empty() => {
                    let is_end = matches!(self.left, Left::UntilClose) && !self.is_cut();
                    if is_end && self.unwrap.is_none() {
                        self.left = Left::Nothing;
                        self.keeps = false;
                        continue;
                    }
                    let why = "upstream prematurely closed connection";
                    return Poll::Ready(Some(Err(Broken::while_reading(why))));
                }
                Ok(bytes) => {
                    self.tries.note_received(bytes.len() as u64);
                    self.rate.read_bytes += bytes.len() as u64;
                    if self.is_body(&bytes) {
                        return Poll::Ready(Some(Ok(Piece::Buffer(bytes))));
                    }
                    self.ready = match &mut self.unwrap {
                        None => Bytes::copy_from_slice(&bytes),
                        Some(unwrap) => {
                            let mut body = Vec::with_capacity(bytes.len());
                            if let Err(why) = unwrap.feed(&bytes, &mut body) {
                                return Poll::Ready(Some(Err(Broken::while_reading(&why))));
                            }
                            Bytes::from(body)
                        }
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    let why = "upstream timed out (110: Connection timed out)";
                    return Poll::Ready(Some(Err(Broken::while_reading(why))));
                }
                Err(error) => return Poll::Ready(Some(Err(unreadable(&error)))),
            }
        }
    }
}

fn unreadable(error: &io::Error) -> Broken {
    let reason = crate::log::error_text(error);
    Broken::while_reading(&format!("recv() failed ({reason})"))
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Some(lease) = &self.lease {
            lease.stream().cancel_recv(&mut self.receiving);
        }
    }
}
