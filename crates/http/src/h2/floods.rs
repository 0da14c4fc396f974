//! What a peer may ask of us without asking for anything.
//!
//! Each count is of one connection, and each has been used against servers: streams that are begun and
//! reset (CVE-2023-44487), also by errors that are made on purpose (CVE-2025-8671), frames that want an
//! answer of a peer that does not read them (CVE-2019-9512, 9515), frames that say nothing
//! (CVE-2019-9518), heads that never end (CVE-2024-27316).

use super::error::ConnectionError;

/// Streams that may be reset while none is served in between. Each that is served to its end gives one
/// back.
pub const RESETS_MAX: u32 = 128;

/// One reset is forgotten in so many milliseconds, so that whoever gives up a stream now and then may do
/// so for as long as it likes.
const RESET_FORGOTTEN_MS: u64 = 500;

/// Answers (to PING, SETTINGS, streams that were refused) that may wait for a peer that does not read.
pub const REPLIES_MAX: u32 = 1000;

/// Frames without a payload that may follow each other: DATA, HEADERS, CONTINUATION that end nothing.
pub const EMPTY_FRAMES_MAX: u32 = 100;

/// Frames of one header block.
pub const BLOCK_FRAMES_MAX: u32 = 64;

/// Bytes of frames that carry no head and no body, beside eight times those that do. Source: nginx's
/// `ngx_http_v2_read_handler`.
const OVERHEAD_BYTES_MAX: u64 = 1 << 20;
const OVERHEAD_FACTOR: u64 = 8;

#[derive(Debug)]
pub(super) struct Floods {
    resets_left: u32,
    /// When one of them was forgotten last.
    forgotten_at_ms: u64,
    replies: u32,
    empty_frames: u32,
    all_bytes: u64,
    payload_bytes: u64,
}

impl Floods {
    pub(super) fn new() -> Self {
        Self {
            resets_left: RESETS_MAX,
            forgotten_at_ms: 0,
            replies: 0,
            empty_frames: 0,
            all_bytes: 0,
            payload_bytes: 0,
        }
    }

    /// A stream ended before its time, by the peer or through its fault.
    pub(super) fn note_reset(&mut self, now_ms: u64) -> Result<(), ConnectionError> {
        if self.resets_left == RESETS_MAX {
            self.forgotten_at_ms = now_ms;
        }
        let forgotten = now_ms.saturating_sub(self.forgotten_at_ms) / RESET_FORGOTTEN_MS;
        self.forgotten_at_ms += forgotten * RESET_FORGOTTEN_MS;
        let forgotten = u32::try_from(forgotten).unwrap_or(RESETS_MAX);
        self.resets_left = self.resets_left.saturating_add(forgotten).min(RESETS_MAX);
        let left = self.resets_left.checked_sub(1);
        self.resets_left = left.ok_or(ConnectionError::flood("reset too many streams"))?;
        Ok(())
    }

    /// A stream was served to its end.
    pub(super) fn note_served(&mut self) {
        self.resets_left = (self.resets_left + 1).min(RESETS_MAX);
    }

    /// The peer is owed another answer.
    pub(super) fn note_reply(&mut self) -> Result<(), ConnectionError> {
        self.replies += 1;
        match self.replies > REPLIES_MAX {
            true => Err(ConnectionError::flood(
                "does not read the answers that it asks for",
            )),
            false => Ok(()),
        }
    }

    /// All answers have left.
    pub(super) fn note_flushed(&mut self) {
        self.replies = 0;
    }

    /// A frame that may carry a part of a message has come.
    pub(super) fn note_frame(&mut self, is_empty: bool) -> Result<(), ConnectionError> {
        self.empty_frames = match is_empty {
            true => self.empty_frames + 1,
            false => 0,
        };
        match self.empty_frames > EMPTY_FRAMES_MAX {
            true => Err(ConnectionError::flood("sent too many empty frames")),
            false => Ok(()),
        }
    }

    /// Bytes that have come, and those of them that are of heads and bodies.
    pub(super) fn note_bytes(&mut self, all: usize, payload: usize) -> Result<(), ConnectionError> {
        self.all_bytes += all as u64;
        self.payload_bytes += payload as u64;
        let allowed = self.payload_bytes + OVERHEAD_BYTES_MAX;
        match self.all_bytes / OVERHEAD_FACTOR > allowed {
            true => Err(ConnectionError::flood(
                "sent too many frames that carry nothing",
            )),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resets_are_forgiven_by_served_streams_and_by_time() {
        let mut floods = Floods::new();
        for _ in 0..RESETS_MAX {
            assert!(floods.note_reset(1000).is_ok());
        }
        assert!(floods.note_reset(1000).is_err_and(|error| error.is_flood()));
        floods.note_served();
        assert!(floods.note_reset(1000).is_ok());
        assert!(floods.note_reset(1000 + RESET_FORGOTTEN_MS - 1).is_err());
        assert!(floods.note_reset(1000 + RESET_FORGOTTEN_MS).is_ok());
        assert!(floods.note_reset(1000 + RESET_FORGOTTEN_MS).is_err());
        // Two a second may be given up for ever.
        let mut floods = Floods::new();
        assert!((0..10_000).all(|at| floods.note_reset(at * RESET_FORGOTTEN_MS).is_ok()));
        // Many streams that are served earn no more than the limit.
        let mut floods = Floods::new();
        (0..1000).for_each(|_| floods.note_served());
        assert_eq!(
            (0..1000).filter(|_| floods.note_reset(0).is_ok()).count(),
            128
        );
    }

    #[test]
    fn each_limit_holds_at_it_and_not_past_it() {
        let mut floods = Floods::new();
        assert!((0..REPLIES_MAX).all(|_| floods.note_reply().is_ok()));
        assert!(floods.note_reply().is_err());
        floods.note_flushed();
        assert!(floods.note_reply().is_ok());
        assert!((0..EMPTY_FRAMES_MAX).all(|_| floods.note_frame(true).is_ok()));
        assert!(floods.note_frame(true).is_err());
        assert!(floods.note_frame(false).is_ok() && floods.note_frame(true).is_ok());
        let allowed = (8 * OVERHEAD_BYTES_MAX) as usize;
        let mut floods = Floods::new();
        assert!(floods.note_bytes(allowed + 7, 0).is_ok());
        assert!(floods.note_bytes(1, 0).is_err());
        // Bodies in frames of one byte, each with a head of nine: an honest stream of small messages.
        let mut floods = Floods::new();
        assert!((0..10_000_000).all(|_| floods.note_bytes(9 + 5, 5).is_ok()));
    }
}
