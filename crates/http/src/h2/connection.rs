//! A connection: what both its sides know of each other.

use super::error::{ConnectionError, ErrorCode};
use super::floods::Floods;
use super::flow::Window;
use super::frame;
use super::reading::Receiving;
use super::scheduler::{Priority, Scheduler};
use super::settings::{self, Settings, WINDOW_BYTES, WINDOW_BYTES_MAX};
use super::stream::{Side, Slot, Slots};
use crate::hpack::{Decoder, Encoder, Fields};

/// The window that a peer has for all its streams together: each of those has one of its own, which
/// bounds what may come of it unread.
const CONNECTION_WINDOW_BYTES: u32 = WINDOW_BYTES_MAX;

/// Numbers of streams that ended before their time, of which frames may still be on their way.
const ENDED_KEPT_MAX: usize = 32;

/// Priorities of streams that have not begun yet.
const EARLY_PRIORITIES_MAX: usize = 16;

/// What a connection is to allow its peer.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Streams at once that it may begin.
    pub streams_max: u32,
    /// Bytes of each body that may come before somebody reads them.
    pub window_bytes: u32,
    /// What the fields of a head may come to, with 32 bytes a field.
    pub fields_bytes_max: usize,
    /// What a header block may come to on the wire.
    pub block_bytes_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            streams_max: 128,
            window_bytes: WINDOW_BYTES + 1,
            fields_bytes_max: 32 * 1024,
            block_bytes_max: 32 * 1024,
        }
    }
}

/// What has come to pass.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<T> {
    /// A head has come: of a request, which begins a stream, or of a response to one of ours. Its
    /// fields are [`Connection::fields`], until the connection is fed again.
    Head {
        /// The stream.
        stream: u32,
        /// Whether no body follows.
        is_last: bool,
    },
    /// Fields behind a body, which ends by that. They are [`Connection::fields`].
    Trailers {
        /// The stream.
        stream: u32,
    },
    /// A part of a body has come; it lies in what the connection was fed.
    Data {
        /// The stream.
        stream: u32,
        /// Where the part begins.
        start: usize,
        /// One past its end.
        end: usize,
        /// Whether nothing follows.
        is_last: bool,
    },
    /// A stream has ended before its time.
    Reset {
        /// The stream.
        stream: u32,
        /// What the caller kept of it.
        user: Option<T>,
        /// Why.
        code: ErrorCode,
        /// What the log says of it, where it was the peer's fault and not its wish.
        fault: Option<&'static str>,
    },
    /// The peer takes no more streams.
    GoAway {
        /// The last one of ours that it has taken.
        last: u32,
        /// Why.
        code: ErrorCode,
    },
}

/// What was done with what a connection was fed.
#[derive(Debug, PartialEq, Eq)]
pub struct Fed<T> {
    /// Bytes that were taken; the rest is to be fed again.
    pub consumed: usize,
    /// What has come to pass.
    pub event: Option<Event<T>>,
}

/// One side of a connection. `T` is what the caller keeps of each stream.
pub struct Connection<T> {
    pub(super) side: Side,
    pub(super) config: Config,
    pub(super) peer: Settings,
    /// Whether the peer has acknowledged our settings: before, it may not know of a window below the
    /// usual.
    pub(super) is_acknowledged: bool,
    pub(super) receiving: Receiving,
    pub(super) decoder: Decoder,
    pub(super) encoder: Encoder,
    pub(super) fields: Fields,
    pub(super) slots: Slots<T>,
    /// The highest stream that the peer has begun.
    pub(super) last_of_peer: u32,
    /// The next one of ours.
    pub(super) next_of_us: u32,
    pub(super) send_window: Window,
    pub(super) receive_window: Window,
    pub(super) scheduler: Scheduler,
    pub(super) out: Vec<u8>,
    pub(super) floods: Floods,
    /// Streams that have ended before their time.
    pub(super) ended: std::collections::VecDeque<u32>,
    /// What was said of streams before they began.
    pub(super) early: Vec<(u32, Priority)>,
    /// Whether the client is one that says how urgent its requests are.
    pub(super) has_priorities: bool,
    /// The last stream that is served, once we take no more.
    pub(super) last_taken: Option<u32>,
    /// Bytes of bodies that a server may still send although we have given their streams up.
    pub(super) unwanted_bytes: u64,
}

impl<T> Connection<T> {
    /// The server's side of a connection. Its settings wait to be sent.
    #[must_use]
    pub fn server(config: Config) -> Self {
        let mut connection = Self::new(Side::Server, config);
        let fields_bytes_max = u32::try_from(config.fields_bytes_max).unwrap_or(u32::MAX);
        settings::write_of_server(
            config.streams_max,
            config.window_bytes,
            fields_bytes_max,
            &mut connection.out,
        );
        connection.open_connection_window();
        connection
    }

    /// The client's side. Its preface and settings wait to be sent.
    #[must_use]
    pub fn client(config: Config) -> Self {
        let mut connection = Self::new(Side::Client, config);
        connection.out.extend_from_slice(frame::PREFACE);
        let fields_bytes_max = u32::try_from(config.fields_bytes_max).unwrap_or(u32::MAX);
        settings::write_of_client(config.window_bytes, fields_bytes_max, &mut connection.out);
        connection.open_connection_window();
        connection
    }

    fn new(side: Side, config: Config) -> Self {
        Self {
            side,
            config,
            peer: Settings::default(),
            is_acknowledged: false,
            receiving: Receiving::new(side),
            decoder: Decoder::new(4096),
            encoder: Encoder::new(),
            fields: Fields::new(config.fields_bytes_max),
            slots: Slots::default(),
            last_of_peer: 0,
            next_of_us: 1,
            send_window: Window::new(WINDOW_BYTES),
            receive_window: Window::new(WINDOW_BYTES),
            scheduler: Scheduler::default(),
            out: Vec::new(),
            floods: Floods::new(),
            ended: std::collections::VecDeque::new(),
            early: Vec::new(),
            has_priorities: false,
            last_taken: None,
            unwanted_bytes: 0,
        }
    }

    /// The fields of the head or of the trailers that came last.
    #[must_use]
    pub fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The same, for whoever makes a head of them.
    pub fn fields_mut(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// Bytes that the frames of the head or the trailers that came last carried.
    #[must_use]
    pub fn head_bytes(&self) -> usize {
        self.receiving.head_bytes
    }

    /// What is to be sent, in order. Whoever has sent it empties it, and says so
    /// ([`note_flushed`](Self::note_flushed)).
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// All that was to be sent has left.
    pub fn note_flushed(&mut self) {
        self.floods.note_flushed();
    }

    /// How many streams are under way.
    #[must_use]
    pub fn stream_count(&self) -> usize {
        self.slots.len()
    }

    /// How many streams at once the peer lets us begin; nothing before its settings have come.
    #[must_use]
    pub fn streams_max_of_peer(&self) -> Option<u32> {
        self.receiving.has_settings.then_some(self.peer.streams_max)
    }

    /// Whether both sides of a stream have ended.
    #[must_use]
    pub fn is_closed(&self, stream: u32) -> bool {
        self.slots.get(stream).is_none_or(Slot::is_closed)
    }

    /// Whether something has begun that may not take for ever: the preface, a header block, a frame that
    /// carries no body.
    #[must_use]
    pub fn is_amid_frame(&self) -> bool {
        self.receiving.is_amid_frame()
    }

    /// How many frames have begun, but those that continue a header block.
    #[must_use]
    pub fn frames_begun(&self) -> u64 {
        self.receiving.frames
    }

    /// Attaches what the caller keeps of a stream.
    pub fn attach(&mut self, stream: u32, user: T) {
        if let Some(slot) = self.slots.get_mut(stream) {
            slot.user = Some(user);
        }
    }

    /// What the caller keeps of a stream.
    #[must_use]
    pub fn user(&self, stream: u32) -> Option<&T> {
        self.slots.get(stream)?.user.as_ref()
    }

    /// What the caller keeps of all streams.
    pub fn users(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().filter_map(|slot| slot.user.as_ref())
    }

    /// A body of this length has been announced: that it comes to so many bytes is seen to.
    ///
    /// The answer is false where it has ended already, and is another.
    #[must_use]
    pub fn expect(&mut self, stream: u32, bytes: u64) -> bool {
        let Some(slot) = self.slots.get_mut(stream) else {
            return true;
        };
        slot.expected_bytes = Some(bytes);
        !slot.is_ended_by_peer || bytes == 0
    }

    /// Says how urgent a stream is: what its head has said, or whoever answers.
    pub fn prioritize(&mut self, stream: u32, value: &[u8]) {
        self.note_priorities();
        let Some(slot) = self.slots.get(stream) else {
            return;
        };
        let before = match slot.is_prioritized {
            true => slot.priority,
            // Who says only a part means the default for the rest.
            false => Priority::default(),
        };
        self.replace_priority(stream, before.read(value));
    }

    pub(super) fn replace_priority(&mut self, stream: u32, now: Priority) {
        let Some(slot) = self.slots.get_mut(stream) else {
            return;
        };
        slot.is_prioritized = true;
        let before = std::mem::replace(&mut slot.priority, now);
        if now != before && slot.is_scheduled {
            self.scheduler.remove(stream, before);
            self.scheduler.add(stream, now);
        }
    }

    /// From here on, who says nothing means the default of RFC 9218.
    pub(super) fn note_priorities(&mut self) {
        self.has_priorities = true;
    }

    /// What a stream has that nothing is said of: where its client never says anything, all take turns,
    /// so that nothing waits behind a large file.
    pub(super) fn default_priority(&self) -> Priority {
        Priority {
            incremental: !self.has_priorities,
            ..Priority::default()
        }
    }

    /// Resets a stream; what the caller kept of it is the answer.
    pub fn reset(&mut self, stream: u32, code: ErrorCode) -> Option<T> {
        let slot = self.remove(stream)?;
        self.note_ended(stream);
        frame::write_reset(stream, code, &mut self.out);
        slot.user
    }

    /// The same for something that the peer has done.
    ///
    /// # Errors
    ///
    /// Where it does so too often.
    pub fn reset_for_fault(
        &mut self,
        stream: u32,
        code: ErrorCode,
        now_ms: u64,
    ) -> Result<Option<T>, ConnectionError> {
        self.floods.note_reset(now_ms)?;
        Ok(self.reset(stream, code))
    }

    pub(super) fn remove(&mut self, stream: u32) -> Option<Slot<T>> {
        let slot = self.slots.remove(stream)?;
        if self.side == Side::Client && !slot.is_ended_by_peer {
            self.unwanted_bytes += slot.receive_window.bytes();
        }
        if slot.is_scheduled {
            self.scheduler.remove(stream, slot.priority);
        }
        Some(slot)
    }

    /// Frames of this stream may still be on their way, and are no fault.
    pub(super) fn note_ended(&mut self, stream: u32) {
        if self.ended.len() == ENDED_KEPT_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(stream);
    }

    /// Keeps what is said of a stream that has not begun.
    pub(super) fn note_early_priority(&mut self, stream: u32, priority: Priority) {
        self.take_early_priority(stream);
        if self.early.len() < EARLY_PRIORITIES_MAX {
            self.early.push((stream, priority));
        }
    }

    pub(super) fn take_early_priority(&mut self, stream: u32) -> Option<Priority> {
        let place = self.early.iter().position(|(other, _)| *other == stream)?;
        Some(self.early.swap_remove(place).1)
    }

    /// Takes no more streams; those under way go on. The first call alone says so.
    pub fn go_away(&mut self, code: ErrorCode) {
        if self.last_taken.is_none() {
            self.last_taken = Some(self.last_of_peer);
            frame::write_go_away(self.last_of_peer, code, &mut self.out);
        }
    }

    /// The connection is over: says why, whatever was said before.
    pub fn fail(&mut self, code: ErrorCode) {
        let last = self.last_taken.unwrap_or(self.last_of_peer);
        frame::write_go_away(last, code, &mut self.out);
        self.last_taken = Some(last);
    }

    /// Whether no more streams are taken.
    #[must_use]
    pub fn is_going_away(&self) -> bool {
        self.last_taken.is_some()
    }

    /// Bytes of a body have been read: its sender may send so many more.
    pub fn note_taken(&mut self, stream: u32, bytes: usize) {
        let window_bytes = self.config.window_bytes;
        let Some(slot) = self.slots.get_mut(stream) else {
            return;
        };
        slot.taken_bytes += bytes as u32;
        // One that has ended needs none; others are told rarely.
        if slot.is_ended_by_peer || slot.taken_bytes < window_bytes.div_ceil(2).max(1) {
            return;
        }
        let taken = std::mem::take(&mut slot.taken_bytes);
        if slot.receive_window.open(i64::from(taken)).is_ok() {
            frame::write_window_update(stream, taken, &mut self.out);
        }
    }

    fn open_connection_window(&mut self) {
        let missing = CONNECTION_WINDOW_BYTES - self.receive_window.bytes() as u32;
        if self.receive_window.open(i64::from(missing)).is_ok() {
            frame::write_window_update(0, missing, &mut self.out);
        }
    }

    /// Opens the connection's window again, which all streams share, once a good part was used.
    pub(super) fn refill_connection_window(&mut self) {
        if self.receive_window.bytes() < u64::from(CONNECTION_WINDOW_BYTES) / 2 {
            self.open_connection_window();
        }
    }
}
