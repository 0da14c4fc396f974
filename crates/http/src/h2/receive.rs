//! What is received: frames in any fragmentation, and what they change.

use super::connection::{Connection, Event, Fed};
use super::error::{ConnectionError, ErrorCode};
use super::floods::BLOCK_FRAMES_MAX;
use super::frame::{
    self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, FrameHead, GOAWAY, HEAD_BYTES, HEADERS,
    PADDED, PAYLOAD_BYTES_MAX, PING, PREFACE, PRIORITY, PRIORITY_UPDATE, PUSH_PROMISE, RST_STREAM,
    SETTINGS, WINDOW_UPDATE, WITH_PRIORITY,
};
use super::reading::{Block, Data, Stage};
use super::scheduler::Priority;
use super::settings::WINDOW_BYTES;
use super::stream::{Side, Slot};
use crate::hpack::DecodeError;

type Handled<T> = Result<Option<Event<T>>, ConnectionError>;

impl<T> Connection<T> {
    /// Takes what was received, up to the first event. `now_ms` is any clock's.
    ///
    /// # Errors
    ///
    /// What the peer did wrong; nothing more is to be fed then ([`fail`](Connection::fail) tells it).
    pub fn feed(&mut self, input: &[u8], now_ms: u64) -> Result<Fed<T>, ConnectionError> {
        let mut consumed = 0;
        while consumed < input.len() {
            let (taken, event) = self.step(&input[consumed..], now_ms)?;
            let before = consumed;
            consumed += taken;
            if let Some(mut event) = event {
                if let Event::Data { start, end, .. } = &mut event {
                    *start += before;
                    *end += before;
                }
                let event = Some(event);
                return Ok(Fed { consumed, event });
            }
        }
        let event = None;
        Ok(Fed { consumed, event })
    }

    /// Takes a part of what is there, one byte at least.
    fn step(
        &mut self,
        rest: &[u8],
        now_ms: u64,
    ) -> Result<(usize, Option<Event<T>>), ConnectionError> {
        match self.receiving.stage {
            Stage::Preface(done) => {
                let len = rest.len().min(PREFACE.len() - done);
                if rest[..len] != PREFACE[done..done + len] {
                    return Err(ConnectionError::protocol(
                        "sent an invalid connection preface",
                    ));
                }
                self.receiving.stage = match done + len == PREFACE.len() {
                    true => Stage::Head,
                    false => Stage::Preface(done + len),
                };
                Ok((len, None))
            }
            Stage::Head => self.frame_head(rest, now_ms),
            Stage::Payload(head) => {
                let missing = head.len - self.receiving.payload.len();
                let len = rest.len().min(missing);
                self.receiving.payload.extend_from_slice(&rest[..len]);
                if len < missing {
                    return Ok((len, None));
                }
                self.receiving.stage = Stage::Head;
                let payload = std::mem::take(&mut self.receiving.payload);
                Ok((len, self.frame(head, &payload, now_ms)?))
            }
            Stage::Padding(head) => {
                let padding = usize::from(rest[0]);
                let left = head.len - 1;
                if padding > left {
                    let reason = "sent DATA with more padding than payload";
                    return Err(ConnectionError::protocol(reason));
                }
                let data = Data {
                    stream: head.stream,
                    left: left - padding,
                    padding,
                    is_last: head.has(END_STREAM),
                };
                Ok((1, self.begin_data(data, now_ms)?))
            }
            Stage::Data(data) => Ok(self.read_data(data, rest)),
            Stage::Skip(left) => {
                let len = rest.len().min(left);
                self.receiving.stage = match left - len {
                    0 => Stage::Head,
                    left => Stage::Skip(left),
                };
                Ok((len, None))
            }
        }
    }

    fn frame_head(
        &mut self,
        rest: &[u8],
        now_ms: u64,
    ) -> Result<(usize, Option<Event<T>>), ConnectionError> {
        let receiving = &mut self.receiving;
        let done = receiving.head_len;
        let len = rest.len().min(HEAD_BYTES - done);
        receiving.head[done..done + len].copy_from_slice(&rest[..len]);
        receiving.head_len += len;
        if receiving.head_len < HEAD_BYTES {
            return Ok((len, None));
        }
        receiving.head_len = 0;
        let head = FrameHead::read(&receiving.head);
        self.check_order(head)?;
        self.receiving.frames += u64::from(head.kind != CONTINUATION);
        let is_message = matches!(head.kind, DATA | HEADERS | CONTINUATION);
        let payload = if is_message { head.len } else { 0 };
        self.floods.note_bytes(HEAD_BYTES + head.len, payload)?;
        if head.kind == DATA {
            return Ok((len, self.data_frame(head, now_ms)?));
        }
        let rest = &rest[len..];
        if let Some(payload) = rest.get(..head.len) {
            return Ok((len + head.len, self.frame(head, payload, now_ms)?));
        }
        self.receiving.payload.extend_from_slice(rest);
        self.receiving.stage = Stage::Payload(head);
        Ok((len + rest.len(), None))
    }

    /// What must hold of a frame wherever it stands.
    fn check_order(&mut self, head: FrameHead) -> Result<(), ConnectionError> {
        if head.len > PAYLOAD_BYTES_MAX {
            return Err(ConnectionError::size("sent a frame that is too large"));
        }
        if !self.receiving.has_settings {
            if head.kind != SETTINGS || head.has(ACK) {
                return Err(ConnectionError::protocol("did not begin with SETTINGS"));
            }
            self.receiving.has_settings = true;
        }
        match (self.receiving.block, head.kind) {
            (None, CONTINUATION) => {
                let reason = "sent CONTINUATION that continues nothing";
                Err(ConnectionError::protocol(reason))
            }
            (Some(block), kind) if kind != CONTINUATION || head.stream != block.stream => {
                let reason = "sent another frame within a header block";
                Err(ConnectionError::protocol(reason))
            }
            _ => Ok(()),
        }
    }

    fn frame(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Handled<T> {
        match head.kind {
            HEADERS => self.headers(head, payload, now_ms),
            CONTINUATION => self.continuation(head, payload, now_ms),
            PRIORITY => self.old_priority(head, payload, now_ms),
            RST_STREAM => self.rst_stream(head, payload, now_ms),
            SETTINGS => self.settings(head, payload),
            PING => self.ping(head, payload),
            GOAWAY => self.goaway(head, payload),
            WINDOW_UPDATE => self.window_update(head, payload, now_ms),
            PRIORITY_UPDATE => self.priority_update(head, payload),
            PUSH_PROMISE => Err(ConnectionError::protocol("sent PUSH_PROMISE")),
            // What is not known is left aside (RFC 9113, section 5.5).
            _ => Ok(None),
        }
    }

    /// Whether a stream has not begun.
    fn is_idle(&self, stream: u32) -> bool {
        match (self.side, stream % 2) {
            (Side::Server, 1) => stream > self.last_of_peer,
            (Side::Client, 1) => stream >= self.next_of_us,
            _ => true,
        }
    }

    /// Ends a stream whose peer is at fault.
    fn fail_stream(
        &mut self,
        stream: u32,
        code: ErrorCode,
        reason: &'static str,
        now_ms: u64,
    ) -> Handled<T> {
        self.floods.note_reset(now_ms)?;
        let Some(slot) = self.remove(stream) else {
            frame::write_reset(stream, code, &mut self.out);
            self.floods.note_reply()?;
            return Ok(None);
        };
        self.note_ended(stream);
        frame::write_reset(stream, code, &mut self.out);
        let (user, fault) = (slot.user, Some(reason));
        Ok(Some(Event::Reset {
            stream,
            user,
            code,
            fault,
        }))
    }

    fn data_frame(&mut self, head: FrameHead, now_ms: u64) -> Handled<T> {
        let is_empty = head.len == 0 && !head.has(END_STREAM);
        self.floods.note_frame(is_empty)?;
        if head.stream == 0 || self.is_idle(head.stream) {
            return Err(ConnectionError::protocol(
                "sent DATA on a stream that has not begun",
            ));
        }
        if !self.receive_window.take(head.len as u64) {
            return Err(ConnectionError::flow(
                "sent more than the connection's window",
            ));
        }
        self.refill_connection_window();
        if head.has(PADDED) {
            if head.len == 0 {
                return Err(ConnectionError::size(
                    "sent DATA without its padding's length",
                ));
            }
            self.receiving.stage = Stage::Padding(head);
            return Ok(None);
        }
        let data = Data {
            stream: head.stream,
            left: head.len,
            padding: 0,
            is_last: head.has(END_STREAM),
        };
        self.begin_data(data, now_ms)
    }

    /// Judges a DATA frame before its bytes are read.
    fn begin_data(&mut self, data: Data, now_ms: u64) -> Handled<T> {
        let Data {
            stream,
            left,
            padding,
            is_last,
        } = data;
        let skipped = match left + padding {
            0 => Stage::Head,
            len => Stage::Skip(len),
        };
        let Some(slot) = self.slots.get_mut(stream) else {
            self.receiving.stage = skipped;
            if self.ended.contains(&stream) || self.takes_unwanted(left + padding) {
                return Ok(None);
            }
            let reason = "sent DATA on a stream that it had ended";
            return self.fail_stream(stream, ErrorCode::STREAM_CLOSED, reason, now_ms);
        };
        let is_early = self.side == Side::Client && !slot.has_head;
        let expected = slot
            .expected_bytes
            .map(|bytes| bytes.checked_sub(left as u64));
        let fault = if slot.is_ended_by_peer {
            let reason = "sent DATA on a stream that it had ended";
            Some((ErrorCode::STREAM_CLOSED, reason))
        } else if is_early {
            Some((ErrorCode::PROTOCOL_ERROR, "sent DATA before a head"))
        } else if !slot.receive_window.take((left + padding) as u64) {
            let reason = "sent more than a stream's window";
            Some((ErrorCode::FLOW_CONTROL_ERROR, reason))
        } else if expected == Some(None) {
            let reason = "sent a larger body than its content-length";
            Some((ErrorCode::PROTOCOL_ERROR, reason))
        } else if is_last && expected.flatten().is_some_and(|missing| missing > 0) {
            let reason = "sent a smaller body than its content-length";
            Some((ErrorCode::PROTOCOL_ERROR, reason))
        } else {
            None
        };
        if let Some((code, reason)) = fault {
            self.receiving.stage = skipped;
            return self.fail_stream(stream, code, reason, now_ms);
        }
        slot.expected_bytes = expected.flatten();
        if padding > 0 {
            self.note_taken(stream, padding);
        }
        self.receiving.stage = Stage::Data(data);
        // An empty one has no byte to wait for.
        match left + padding {
            0 => Ok(self.read_data(data, &[]).1),
            _ => Ok(None),
        }
    }

    /// Whether so much of bodies may be of streams that we have given up, as many as those may be.
    fn takes_unwanted(&mut self, bytes: usize) -> bool {
        let left = self.unwanted_bytes.checked_sub(bytes as u64);
        self.unwanted_bytes = left.unwrap_or(self.unwanted_bytes);
        self.side == Side::Client && left.is_some()
    }

    fn read_data(&mut self, data: Data, rest: &[u8]) -> (usize, Option<Event<T>>) {
        let len = rest.len().min(data.left);
        let skipped = match len == data.left {
            true => (rest.len() - len).min(data.padding),
            false => 0,
        };
        let now = Data {
            left: data.left - len,
            padding: data.padding - skipped,
            ..data
        };
        let is_over = now.left + now.padding == 0;
        self.receiving.stage = match is_over {
            true => Stage::Head,
            false => Stage::Data(now),
        };
        let is_last = is_over && data.is_last;
        let stream = data.stream;
        // It may have been reset since the frame began.
        let Some(slot) = self.slots.get_mut(stream) else {
            return (len + skipped, None);
        };
        slot.is_ended_by_peer |= is_last;
        let event = (len > 0 || is_last).then_some(Event::Data {
            stream,
            start: 0,
            end: len,
            is_last,
        });
        (len + skipped, event)
    }

    fn headers(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Handled<T> {
        let is_of_client = head.stream % 2 == 1;
        if !is_of_client {
            return Err(ConnectionError::protocol(
                "sent HEADERS on a stream that is not a client's",
            ));
        }
        self.receiving.head_bytes = head.len;
        let mut payload = payload;
        if head.has(PADDED) {
            let (padding, rest) = payload.split_first().ok_or(ConnectionError::size(
                "sent HEADERS without its padding's length",
            ))?;
            let len = rest.len().checked_sub(usize::from(*padding));
            let reason = "sent HEADERS with more padding than payload";
            payload = &rest[..len.ok_or(ConnectionError::protocol(reason))?];
        }
        if head.has(WITH_PRIORITY) {
            let reason = "sent HEADERS without the priority that it says to have";
            payload = payload.get(5..).ok_or(ConnectionError::size(reason))?;
        }
        let block = Block {
            stream: head.stream,
            is_last: head.has(END_STREAM),
            frames: 1,
        };
        if head.has(END_HEADERS) {
            return self.block(block, payload, now_ms);
        }
        self.floods.note_frame(payload.is_empty())?;
        self.receiving.block = Some(block);
        self.receiving.block_bytes.extend_from_slice(payload);
        Ok(None)
    }

    fn continuation(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Handled<T> {
        let Some(block) = &mut self.receiving.block else {
            return Ok(None);
        };
        block.frames += 1;
        self.receiving.head_bytes += head.len;
        let block = *block;
        let len = self.receiving.block_bytes.len() + payload.len();
        if block.frames > BLOCK_FRAMES_MAX || len > self.config.block_bytes_max {
            return Err(ConnectionError::flood(
                "sent a header block that is far too large",
            ));
        }
        self.floods
            .note_frame(payload.is_empty() && !head.has(END_HEADERS))?;
        self.receiving.block_bytes.extend_from_slice(payload);
        if !head.has(END_HEADERS) {
            return Ok(None);
        }
        self.receiving.block = None;
        let bytes = std::mem::take(&mut self.receiving.block_bytes);
        self.block(block, &bytes, now_ms)
    }

    /// Takes a whole header block.
    fn block(&mut self, block: Block, bytes: &[u8], now_ms: u64) -> Handled<T> {
        match self.decoder.decode(bytes, &mut self.fields) {
            Ok(()) => {}
            Err(DecodeError::TooLarge) => {
                return Err(ConnectionError::flood(
                    "sent a header block that is far too large",
                ));
            }
            Err(_) => {
                let reason = "sent a header block that cannot be read";
                return Err(ConnectionError::new(ErrorCode::COMPRESSION_ERROR, reason));
            }
        }
        if self.slots.get(block.stream).is_some() {
            return self.head_of_known(block, now_ms);
        }
        match self.side {
            Side::Server => self.head_of_new(block, now_ms),
            Side::Client if self.is_idle(block.stream) => {
                let reason = "sent HEADERS on a stream that has not begun";
                Err(ConnectionError::protocol(reason))
            }
            // Of a stream that we have given up.
            Side::Client => Ok(None),
        }
    }

    fn head_of_known(&mut self, block: Block, now_ms: u64) -> Handled<T> {
        let Block {
            stream, is_last, ..
        } = block;
        let is_client = self.side == Side::Client;
        let is_interim = is_client && self.is_interim();
        let Some(slot) = self.slots.get_mut(stream) else {
            return Ok(None);
        };
        let is_head = is_client && !slot.has_head;
        let fault = if slot.is_ended_by_peer {
            Some((
                ErrorCode::STREAM_CLOSED,
                "sent HEADERS on a stream that it had ended",
            ))
        } else if is_head {
            let reason = "sent an interim response that ends its stream";
            (is_interim && is_last).then_some((ErrorCode::PROTOCOL_ERROR, reason))
        } else if !is_last {
            let reason = "sent trailers that do not end their stream";
            Some((ErrorCode::PROTOCOL_ERROR, reason))
        } else if slot.expected_bytes.is_some_and(|missing| missing > 0) {
            let reason = "sent a smaller body than its content-length";
            Some((ErrorCode::PROTOCOL_ERROR, reason))
        } else {
            None
        };
        if let Some((code, reason)) = fault {
            return self.fail_stream(stream, code, reason, now_ms);
        }
        slot.is_ended_by_peer = is_last;
        slot.has_head |= !is_interim;
        Ok(Some(match is_head {
            true => Event::Head { stream, is_last },
            false => Event::Trailers { stream },
        }))
    }

    /// Whether the head that was read is an interim response's.
    fn is_interim(&self) -> bool {
        let mut fields = self.fields.iter();
        fields
            .next()
            .is_some_and(|(name, value)| name == b":status" && value.starts_with(b"1"))
    }

    fn head_of_new(&mut self, block: Block, now_ms: u64) -> Handled<T> {
        let Block {
            stream, is_last, ..
        } = block;
        if stream <= self.last_of_peer {
            if self.ended.contains(&stream) {
                return Ok(None);
            }
            let reason = "sent HEADERS on a stream that it had ended";
            return Err(ConnectionError::new(ErrorCode::STREAM_CLOSED, reason));
        }
        self.last_of_peer = stream;
        let early = self.take_early_priority(stream);
        if self.last_taken.is_some() {
            self.note_ended(stream);
            return Ok(None);
        }
        if self.slots.len() >= self.config.streams_max as usize {
            self.note_ended(stream);
            let reason = "began more streams than it may";
            return self.fail_stream(stream, ErrorCode::REFUSED_STREAM, reason, now_ms);
        }
        let priority = early.unwrap_or(self.default_priority());
        let (send, receive) = (self.peer.window_bytes, self.receive_window_of_streams());
        let mut slot = Slot::new(stream, send, receive, priority);
        slot.is_ended_by_peer = is_last;
        slot.is_prioritized = early.is_some();
        self.slots.push(slot);
        Ok(Some(Event::Head { stream, is_last }))
    }

    /// A peer that has not acknowledged our settings may have begun by the usual ones.
    pub(super) fn receive_window_of_streams(&self) -> u32 {
        match self.is_acknowledged {
            true => self.config.window_bytes,
            false => self.config.window_bytes.max(WINDOW_BYTES),
        }
    }

    /// The priorities of RFC 7540 are read and left aside (RFC 9113, section 5.3.2).
    fn old_priority(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Handled<T> {
        if head.stream == 0 {
            return Err(ConnectionError::protocol("sent PRIORITY of no stream"));
        }
        if payload.len() == 5 {
            return Ok(None);
        }
        let reason = "sent PRIORITY of a wrong length";
        if self.is_idle(head.stream) {
            return Err(ConnectionError::size(reason));
        }
        self.fail_stream(head.stream, ErrorCode::FRAME_SIZE_ERROR, reason, now_ms)
    }

    fn rst_stream(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Handled<T> {
        let stream = head.stream;
        let code = frame::number(payload).filter(|_| payload.len() == 4);
        let code = code.ok_or(ConnectionError::size("sent RST_STREAM of a wrong length"))?;
        if stream == 0 || self.is_idle(stream) {
            let reason = "sent RST_STREAM of a stream that has not begun";
            return Err(ConnectionError::protocol(reason));
        }
        let Some(slot) = self.remove(stream) else {
            return Ok(None);
        };
        self.note_ended(stream);
        self.floods.note_reset(now_ms)?;
        Ok(Some(Event::Reset {
            stream,
            user: slot.user,
            code: ErrorCode(code),
            fault: None,
        }))
    }

    fn settings(&mut self, head: FrameHead, payload: &[u8]) -> Handled<T> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("sent SETTINGS of a stream"));
        }
        if head.has(ACK) {
            if !payload.is_empty() {
                return Err(ConnectionError::size("sent SETTINGS of a wrong length"));
            }
            self.is_acknowledged = true;
            return Ok(None);
        }
        let before = self.peer;
        self.peer.apply(payload)?;
        let opened = i64::from(self.peer.window_bytes) - i64::from(before.window_bytes);
        if opened != 0 {
            for slot in self.slots.iter_mut() {
                let reason = "sent SETTINGS that open a stream's window too far";
                let opened = slot.send_window.open(opened);
                opened.map_err(|_| ConnectionError::flow(reason))?;
                if slot.is_scheduled && !slot.may_send() {
                    slot.is_scheduled = false;
                    self.scheduler.remove(slot.id, slot.priority);
                }
            }
            self.schedule_all();
        }
        if self.peer.header_table_bytes != before.header_table_bytes {
            self.encoder
                .set_table_bytes_max(self.peer.header_table_bytes as usize);
        }
        if self.peer.no_old_priorities {
            self.note_priorities();
        }
        frame::write(SETTINGS, ACK, 0, &[], &mut self.out);
        self.floods.note_reply()?;
        Ok(None)
    }

    fn ping(&mut self, head: FrameHead, payload: &[u8]) -> Handled<T> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("sent PING of a stream"));
        }
        if payload.len() != 8 {
            return Err(ConnectionError::size("sent PING of a wrong length"));
        }
        if !head.has(ACK) {
            frame::write(PING, ACK, 0, payload, &mut self.out);
            self.floods.note_reply()?;
        }
        Ok(None)
    }

    fn goaway(&mut self, head: FrameHead, payload: &[u8]) -> Handled<T> {
        if head.stream != 0 {
            return Err(ConnectionError::protocol("sent GOAWAY of a stream"));
        }
        let last = frame::number(payload);
        let code = payload.get(4..).and_then(frame::number);
        let (Some(last), Some(code)) = (last, code) else {
            return Err(ConnectionError::size("sent GOAWAY of a wrong length"));
        };
        let (last, code) = (last & 0x7fff_ffff, ErrorCode(code));
        Ok(Some(Event::GoAway { last, code }))
    }

    fn window_update(&mut self, head: FrameHead, payload: &[u8], now_ms: u64) -> Handled<T> {
        let stream = head.stream;
        let bytes = frame::number(payload).filter(|_| payload.len() == 4);
        let bytes = bytes.ok_or(ConnectionError::size(
            "sent WINDOW_UPDATE of a wrong length",
        ))?;
        let bytes = i64::from(bytes & 0x7fff_ffff);
        let none = "sent WINDOW_UPDATE of nothing";
        let far = "opened a window too far";
        if stream == 0 {
            if bytes == 0 {
                return Err(ConnectionError::protocol(none));
            }
            let opened = self.send_window.open(bytes);
            return opened
                .map(|()| None)
                .map_err(|_| ConnectionError::flow(far));
        }
        if self.is_idle(stream) {
            let reason = "sent WINDOW_UPDATE of a stream that has not begun";
            return Err(ConnectionError::protocol(reason));
        }
        let Some(slot) = self.slots.get_mut(stream) else {
            return Ok(None);
        };
        if bytes == 0 {
            return self.fail_stream(stream, ErrorCode::PROTOCOL_ERROR, none, now_ms);
        }
        if slot.send_window.open(bytes).is_err() {
            return self.fail_stream(stream, ErrorCode::FLOW_CONTROL_ERROR, far, now_ms);
        }
        self.schedule_one(stream);
        Ok(None)
    }

    fn priority_update(&mut self, head: FrameHead, payload: &[u8]) -> Handled<T> {
        if head.stream != 0 || self.side == Side::Client {
            return Err(ConnectionError::protocol(
                "sent PRIORITY_UPDATE where it may not",
            ));
        }
        let stream = frame::number(payload);
        let stream = stream.ok_or(ConnectionError::size(
            "sent PRIORITY_UPDATE of a wrong length",
        ))?;
        let stream = stream & 0x7fff_ffff;
        if stream % 2 == 0 {
            return Err(ConnectionError::protocol(
                "sent PRIORITY_UPDATE of no stream of its own",
            ));
        }
        self.note_priorities();
        let value = &payload[4..];
        match self.is_idle(stream) {
            true => self.note_early_priority(stream, Priority::default().read(value)),
            false => self.replace_priority(stream, Priority::default().read(value)),
        }
        Ok(None)
    }
}
