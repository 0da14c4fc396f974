//! What is sent: heads at once, bodies by whose turn it is.

use super::connection::Connection;
use super::error::ErrorCode;
use super::frame::{
    self, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, HEAD_BYTES, HEADERS,
};
use super::stream::{Side, Slot};
use crate::hpack::Encoder;

/// Who may send, and how much.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// The stream.
    pub stream: u32,
    /// So many of the bytes that it has offered, which may be several frames'.
    pub len: usize,
    /// So many of them at most may be in one frame.
    pub frame_bytes: usize,
    /// Whether those are the last.
    pub is_last: bool,
}

/// Frames that one stream sends in its turn. One alone would read a file piece by piece.
const FRAMES_PER_TURN: usize = 4;

/// Writes a head, or trailers.
pub struct HeadWriter<'a> {
    encoder: &'a mut Encoder,
    out: &'a mut Vec<u8>,
    /// Where its frame begins.
    start: usize,
    stream: u32,
    flags: u8,
    frame_bytes_max: usize,
}

impl HeadWriter<'_> {
    /// Appends a status.
    pub fn status(&mut self, status: u16) {
        self.encoder.status(status, self.out);
    }

    /// Appends a field; capital letters of its name are made small.
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        self.encoder.field(name, value, self.out);
    }

    /// Appends a pseudo-header of a request.
    pub fn pseudo(&mut self, name: &'static [u8], value: &[u8]) {
        self.encoder.pseudo(name, value, self.out);
    }

    /// A number that stays as long as the same fields come to the same bytes.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.encoder.generation()
    }

    /// Whether the same fields come to the same bytes as long as that number stays.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.encoder.is_settled()
    }

    /// What was written.
    #[must_use]
    pub fn written(&self) -> &[u8] {
        &self.out[self.start + HEAD_BYTES..]
    }

    /// Appends what was written before, when the generation was the same.
    pub fn repeat(&mut self, written: &[u8]) {
        self.out.extend_from_slice(written);
    }

    /// Ends it; the answer is how many bytes it takes, with those before its frames.
    pub fn finish(self) -> usize {
        let Self {
            out,
            start,
            stream,
            flags,
            frame_bytes_max,
            ..
        } = self;
        let behind = start + HEAD_BYTES;
        let len = out.len() - behind;
        let first = FrameHead {
            len: len.min(frame_bytes_max),
            kind: HEADERS,
            flags: match len <= frame_bytes_max {
                true => flags | END_HEADERS,
                false => flags,
            },
            stream,
        };
        out[start..behind].copy_from_slice(&first.bytes());
        if len > frame_bytes_max {
            let rest = out.split_off(behind + frame_bytes_max);
            let mut rest = rest.chunks(frame_bytes_max).peekable();
            while let Some(part) = rest.next() {
                let flags = match rest.peek() {
                    None => END_HEADERS,
                    Some(_) => 0,
                };
                frame::write(CONTINUATION, flags, stream, part, out);
            }
        }
        out.len() - start
    }
}

impl<T> Connection<T> {
    /// Begins a stream of ours; `None` where the peer takes no more now, or at all.
    pub fn open(&mut self) -> Option<u32> {
        let is_full = self.slots.len() as u64 >= u64::from(self.peer.streams_max);
        let stream = self.next_of_us;
        if self.side != Side::Client || is_full || self.last_taken.is_some() || stream >> 31 != 0 {
            return None;
        }
        self.next_of_us += 2;
        let priority = self.default_priority();
        self.slots.push(Slot::new(
            stream,
            self.peer.window_bytes,
            self.receive_window_of_streams(),
            priority,
        ));
        Some(stream)
    }

    /// Writes a head of a stream, or its trailers; `None` where nobody wants them any more. `is_last` says
    /// that nothing follows.
    pub fn head(&mut self, stream: u32, is_last: bool) -> Option<HeadWriter<'_>> {
        let slot = self.slots.get_mut(stream)?;
        if slot.is_ended_by_us {
            return None;
        }
        slot.is_ended_by_us = is_last;
        let start = self.out.len();
        self.out.extend_from_slice(&[0; HEAD_BYTES]);
        self.encoder.begin(&mut self.out);
        Some(HeadWriter {
            encoder: &mut self.encoder,
            out: &mut self.out,
            start,
            stream,
            flags: match is_last {
                true => END_STREAM,
                false => 0,
            },
            frame_bytes_max: self.peer.frame_bytes_max as usize,
        })
    }

    /// Writes a whole body at once, if it is small and the windows take it; false, and nothing written,
    /// where it has to be [offered](Self::offer).
    pub fn body(&mut self, stream: u32, body: &[u8]) -> bool {
        let Some(slot) = self.slots.get_mut(stream) else {
            return false;
        };
        let len = body.len() as u64;
        let fits = len <= slot.send_window.bytes()
            && len <= self.send_window.bytes()
            && len <= u64::from(self.peer.frame_bytes_max)
            && slot.offered_bytes == 0
            && !slot.is_ended_by_us;
        if fits {
            slot.send_window.take(len);
            self.send_window.take(len);
            slot.is_ended_by_us = true;
            frame::write(DATA, END_STREAM, stream, body, &mut self.out);
        }
        fits
    }

    /// The caller has so many more bytes for a stream; `is_last` says that nothing comes behind them, but
    /// perhaps trailers.
    pub fn offer(&mut self, stream: u32, bytes: u64, is_last: bool) {
        if let Some(slot) = self.slots.get_mut(stream) {
            slot.offered_bytes += bytes;
            slot.is_last_offered |= is_last;
            schedule(&mut self.scheduler, slot);
        }
    }

    /// Frames of a stream carry so many bytes at most.
    pub fn set_chunk_bytes(&mut self, stream: u32, bytes: usize) {
        if let Some(slot) = self.slots.get_mut(stream) {
            slot.chunk_bytes = bytes.max(1);
        }
    }

    /// Whose turn it is, and how much may leave; `None` where nothing may for now. What is granted is to
    /// be written ([`data`](Self::data)).
    pub fn grant(&mut self, bytes_max: usize) -> Option<Grant> {
        let open = self.send_window.bytes();
        let first = match open {
            // An end without a byte needs no window.
            0 => {
                self.slots
                    .iter()
                    .find(|slot| slot.is_scheduled && slot.offered_bytes == 0)?
                    .id
            }
            _ => self.scheduler.first()?,
        };
        let slot = self.slots.get_mut(first)?;
        let frame_bytes = slot.chunk_bytes.min(self.peer.frame_bytes_max as usize);
        let len = slot
            .offered_bytes
            .min(slot.send_window.bytes())
            .min(open)
            .min((frame_bytes * FRAMES_PER_TURN) as u64)
            .min(bytes_max as u64);
        if len == 0 && slot.offered_bytes > 0 {
            return None;
        }
        slot.offered_bytes -= len;
        slot.send_window.take(len);
        self.send_window.take(len);
        let is_last = slot.offered_bytes == 0 && slot.is_last_offered;
        match slot.offered_bytes > 0 && slot.may_send() {
            true => self.scheduler.rotate(slot.priority),
            false => {
                slot.is_scheduled = false;
                slot.is_last_offered &= !is_last;
                self.scheduler.remove(first, slot.priority);
            }
        }
        Some(Grant {
            stream: first,
            len: len as usize,
            frame_bytes,
            is_last,
        })
    }

    /// Appends to [`out`](Self::out) the frames of what was granted, with zeros where the caller is to put
    /// the bytes: behind the first [`HEAD_BYTES`](super::HEAD_BYTES) of each `HEAD_BYTES + frame_bytes`.
    /// `is_last` ends the stream; where trailers follow it is false.
    pub fn data(&mut self, grant: Grant, is_last: bool) {
        let Grant {
            stream,
            frame_bytes,
            ..
        } = grant;
        if let Some(slot) = self.slots.get_mut(stream) {
            slot.is_ended_by_us |= is_last;
        }
        let mut left = grant.len;
        loop {
            let len = left.min(frame_bytes);
            left -= len;
            let head = FrameHead {
                len,
                kind: DATA,
                flags: match is_last && left == 0 {
                    true => END_STREAM,
                    false => 0,
                },
                stream,
            };
            self.out.extend_from_slice(&head.bytes());
            self.out.resize(self.out.len() + len, 0);
            if left == 0 {
                return;
            }
        }
    }

    /// Whether a stream has offered bytes that its peer does not let leave.
    #[must_use]
    pub fn is_blocked(&self, stream: u32) -> bool {
        self.slots.get(stream).is_some_and(|slot| {
            let is_open = slot.send_window.bytes() > 0 && self.send_window.bytes() > 0;
            slot.offered_bytes > 0 && !is_open
        })
    }

    /// Our side has ended, or nobody goes on with it; what the caller kept of the stream is the answer.
    /// Where the peer is still sending, it is told that nobody wants that.
    pub fn finish(&mut self, stream: u32) -> Option<T> {
        let slot = self.remove(stream)?;
        let code = match (slot.is_ended_by_us, self.side) {
            (true, Side::Server) => ErrorCode::NO_ERROR,
            _ => ErrorCode::CANCEL,
        };
        if !slot.is_closed() {
            self.note_ended(stream);
            frame::write_reset(stream, code, &mut self.out);
        }
        self.floods.note_served();
        slot.user
    }

    /// Puts those in line whose windows have opened.
    pub(super) fn schedule_all(&mut self) {
        for slot in self.slots.iter_mut() {
            schedule(&mut self.scheduler, slot);
        }
    }

    pub(super) fn schedule_one(&mut self, stream: u32) {
        if let Some(slot) = self.slots.get_mut(stream) {
            schedule(&mut self.scheduler, slot);
        }
    }
}

fn schedule<T>(scheduler: &mut super::scheduler::Scheduler, slot: &mut Slot<T>) {
    if !slot.is_scheduled && slot.may_send() {
        slot.is_scheduled = true;
        scheduler.add(slot.id, slot.priority);
    }
}
