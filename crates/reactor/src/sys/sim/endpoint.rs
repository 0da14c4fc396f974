//! One end of a simulated connection: what has come in, and what is on its way to it.

use std::collections::VecDeque;
use std::time::Instant;

use rustix::io::Errno;

use super::network::SocketId;
use crate::channel::Flags;

/// Bytes that lie between two ends at most, each way: so much is sent while nobody receives.
const ROOM_BYTES: usize = 64 * 1024;

/// What one end sends to the other.
#[derive(Debug)]
pub(super) enum Segment {
    Bytes(Vec<u8>),
    /// It sends no more.
    End,
    /// It is gone, and what was sent to it is lost.
    Reset,
}

/// One end.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// The other end, while it is open.
    pub(super) peer: Option<SocketId>,
    received: VecDeque<u8>,
    coming: VecDeque<(Instant, Segment)>,
    coming_bytes: usize,
    /// Behind what was received comes nothing more.
    ended: bool,
    /// What the next operation is told, once.
    pub(super) error: Option<Errno>,
    /// This end has said that it sends no more.
    pub(super) write_closed: bool,
    /// Nothing that is sent arrives any more.
    pub(super) broken: bool,
    /// A send found less room than it wanted.
    pub(super) wants_room: bool,
}

impl Endpoint {
    pub(super) fn new(peer: SocketId) -> Endpoint {
        Endpoint {
            peer: Some(peer),
            received: VecDeque::new(),
            coming: VecDeque::new(),
            coming_bytes: 0,
            ended: false,
            error: None,
            write_closed: false,
            broken: false,
            wants_room: false,
        }
    }

    /// Bytes that can be sent to this end now.
    pub(super) fn room(&self) -> usize {
        ROOM_BYTES.saturating_sub(self.received.len() + self.coming_bytes)
    }

    /// True if there is room enough for the sender to be told.
    pub(super) fn has_much_room(&self) -> bool {
        self.room() >= ROOM_BYTES / 4
    }

    /// True if something was sent to this end and it has not received it.
    pub(super) fn has_unread(&self) -> bool {
        !self.received.is_empty() || self.coming_bytes > 0
    }

    /// What there is to tell of this end, but for room at the other.
    pub(super) fn facts(&self) -> Flags {
        let mut flags = Flags::NONE;
        if !self.received.is_empty() || self.ended || self.error.is_some() {
            flags.insert(Flags::READABLE);
        }
        if self.ended || self.broken {
            flags.insert(Flags::PEER_CLOSED);
        }
        if self.broken {
            flags.insert(Flags::WRITABLE);
        }
        flags
    }

    /// Takes a segment that arrives at some time, at once or behind those before it.
    pub(super) fn send(&mut self, at: Option<Instant>, segment: Segment) {
        let last = self.coming.back().map(|(last, _)| *last);
        match (at, last) {
            (None, None) => self.arrive(segment),
            (Some(at), None) | (None, Some(at)) => self.queue(at, segment),
            (Some(at), Some(last)) => self.queue(at.max(last), segment),
        }
    }

    fn queue(&mut self, at: Instant, segment: Segment) {
        if let Segment::Bytes(bytes) = &segment {
            self.coming_bytes += bytes.len();
        }
        self.coming.push_back((at, segment));
    }

    fn arrive(&mut self, segment: Segment) {
        match segment {
            Segment::Bytes(bytes) => self.received.extend(bytes),
            Segment::End => self.ended = true,
            Segment::Reset => {
                self.error = (!self.ended).then_some(Errno::CONNRESET);
                self.ended = true;
                self.broken = true;
            }
        }
    }

    /// When the next segment arrives.
    pub(super) fn next_arrival(&self) -> Option<Instant> {
        self.coming.front().map(|(at, _)| *at)
    }

    /// Lets everything arrive whose time has come; true if anything did.
    pub(super) fn arrive_until(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some((at, segment)) = self.coming.pop_front() {
            if at > now {
                self.coming.push_front((at, segment));
                break;
            }
            if let Segment::Bytes(bytes) = &segment {
                self.coming_bytes -= bytes.len();
            }
            self.arrive(segment);
            any = true;
        }
        any
    }

    /// Receives as recv(2) does: bytes first, then an error once, then the end.
    pub(super) fn recv(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        if self.received.is_empty() {
            return match self.error.take() {
                Some(error) => Err(error),
                None if self.ended => Ok(0),
                None => Err(Errno::AGAIN),
            };
        }
        let count = self.received.len().min(into.len());
        let (front, back) = self.received.as_slices();
        let from_front = count.min(front.len());
        into[..from_front].copy_from_slice(&front[..from_front]);
        into[from_front..count].copy_from_slice(&back[..count - from_front]);
        self.received.drain(..count);
        Ok(count)
    }

    /// Breaks this end from within: nothing is received or sent any more.
    pub(super) fn break_off(&mut self) {
        self.received.clear();
        self.coming.clear();
        self.coming_bytes = 0;
        self.error = None;
        self.ended = true;
        self.broken = true;
        self.write_closed = true;
    }
}
