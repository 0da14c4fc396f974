//! Streams (RFC 9113, section 5.1).

use super::flow::Window;
use super::scheduler::Priority;

/// Which side of a connection we are.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Client,
    Server,
}

/// A stream that is not closed.
#[derive(Debug)]
pub(super) struct Slot<T> {
    pub(super) id: u32,
    /// What the caller keeps of it.
    pub(super) user: Option<T>,
    /// Whether the peer has ended its side.
    pub(super) is_ended_by_peer: bool,
    /// Whether we have.
    pub(super) is_ended_by_us: bool,
    pub(super) send_window: Window,
    pub(super) receive_window: Window,
    /// Bytes that were taken, and that the peer has not been told of.
    pub(super) taken_bytes: u32,
    /// Bytes of a body that the peer has announced and not sent.
    pub(super) expected_bytes: Option<u64>,
    /// Bytes that the caller has for the peer.
    pub(super) offered_bytes: u64,
    /// Whether nothing comes behind them.
    pub(super) is_last_offered: bool,
    pub(super) is_scheduled: bool,
    /// Bytes that one frame carries at most.
    pub(super) chunk_bytes: usize,
    /// Of a response: whether its head has come, and not only an interim one.
    pub(super) has_head: bool,
    pub(super) priority: Priority,
    /// Whether somebody has said how urgent it is.
    pub(super) is_prioritized: bool,
}

impl<T> Slot<T> {
    pub(super) fn new(id: u32, send_window: u32, receive_window: u32, priority: Priority) -> Self {
        Self {
            id,
            user: None,
            is_ended_by_peer: false,
            is_ended_by_us: false,
            send_window: Window::new(send_window),
            receive_window: Window::new(receive_window),
            taken_bytes: 0,
            expected_bytes: None,
            offered_bytes: 0,
            is_last_offered: false,
            is_scheduled: false,
            chunk_bytes: usize::MAX,
            has_head: false,
            priority,
            is_prioritized: false,
        }
    }

    /// Whether it has something to send and its window lets it.
    pub(super) fn may_send(&self) -> bool {
        match self.offered_bytes {
            0 => self.is_last_offered && !self.is_ended_by_us,
            _ => self.send_window.bytes() > 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.is_ended_by_peer && self.is_ended_by_us
    }
}

/// Streams that are not closed, in the order of their numbers.
#[derive(Debug)]
pub(super) struct Slots<T>(Vec<Slot<T>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Slots<T> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Slot<T>> {
        self.0.iter_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot<T>> {
        self.0.iter()
    }

    /// Adds the one with the highest number.
    pub(super) fn push(&mut self, slot: Slot<T>) {
        debug_assert!(self.0.last().is_none_or(|last| last.id < slot.id));
        self.0.push(slot);
    }

    fn place(&self, id: u32) -> Option<usize> {
        match self.0.last() {
            Some(last) if last.id == id => Some(self.0.len() - 1),
            _ => self.0.binary_search_by_key(&id, |slot| slot.id).ok(),
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Slot<T>> {
        self.place(id).map(|place| &self.0[place])
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Slot<T>> {
        self.place(id).map(|place| &mut self.0[place])
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Slot<T>> {
        let slot = self.place(id).map(|place| self.0.remove(place));
        if self.0.is_empty() && self.0.capacity() > 64 {
            self.0 = Vec::new();
        }
        slot
    }
}
