//! A stream, as whoever asks a peer has it.

use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use revolve_http::Trailers;
use revolve_http::h2::HeadWriter;

use super::carrier::Carrier;
use super::state::{Incoming, Rules, State, StreamError, note};

/// What may wait to be sent before its sender has to.
const OUT_BYTES_MAX: u64 = 64 * 1024;

/// One stream of a connection. Dropped before its end it is cancelled.
pub(crate) struct Stream {
    half: Half,
    knew_settings: bool,
}

/// The sending side of a stream, for whoever sends while another reads.
#[derive(Clone)]
pub(crate) struct Half {
    carrier: Rc<Carrier>,
    state: Rc<State>,
}

impl Stream {
    /// Begins a stream, with the head that is written; `is_last` says that nothing follows it. Nothing
    /// where the connection takes no more.
    pub(crate) fn open(
        carrier: &Rc<Carrier>,
        rules: Rules,
        is_last: bool,
        write: impl FnOnce(&mut HeadWriter<'_>),
    ) -> Option<Self> {
        let knew_settings = carrier.streams_max().is_some();
        let state = carrier.begin(rules, is_last, write)?;
        let carrier = carrier.clone();
        let half = Half { carrier, state };
        Some(Self {
            half,
            knew_settings,
        })
    }

    pub(crate) fn sender(&self) -> Half {
        self.half.clone()
    }

    /// Whether the connection has carried others before.
    pub(crate) fn is_reused(&self) -> bool {
        self.half.state.id > 1
    }

    /// Whether the peer had said how many streams it takes when this one was begun.
    pub(crate) fn knew_settings(&self) -> bool {
        self.knew_settings
    }

    /// Whether anything of an answer has come.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.half.state.receiving.borrow().received_bytes
    }

    /// Bytes that have come since this was asked last.
    pub(crate) fn take_received_bytes(&self) -> u64 {
        std::mem::take(&mut self.half.state.receiving.borrow_mut().received_bytes)
    }

    /// What comes next.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Incoming, StreamError>> {
        let Half { carrier, state } = &self.half;
        let mut receiving = state.receiving.borrow_mut();
        if let Some(head) = receiving.heads.pop_front() {
            return Poll::Ready(Ok(Incoming::Head(head)));
        }
        if !receiving.body.is_empty() {
            let bytes = receiving.body.split().freeze();
            drop(receiving);
            carrier.note_taken(state.id, bytes.len());
            return Poll::Ready(Ok(Incoming::Data(bytes)));
        }
        if let Some(error) = &receiving.error {
            return Poll::Ready(Err(error.clone()));
        }
        if let Some(trailers) = receiving.trailers.take() {
            return Poll::Ready(Ok(Incoming::Trailers(trailers)));
        }
        if receiving.has_ended {
            return Poll::Ready(Ok(Incoming::End));
        }
        note(&mut receiving.waker, cx);
        Poll::Pending
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let Half { carrier, state } = &self.half;
        carrier.give_up(state.id);
        state.fail(StreamError::Closed);
    }
}

impl Half {
    /// Takes a part of the body.
    pub(crate) fn push(&self, bytes: Bytes) {
        let mut sending = self.state.sending.borrow_mut();
        if bytes.is_empty() || sending.is_over {
            return;
        }
        let len = bytes.len() as u64;
        sending.bytes += len;
        sending.pieces.push_back(bytes);
        drop(sending);
        self.carrier.offer(self.state.id, len, false);
    }

    /// Nothing comes behind what was pushed but these.
    pub(crate) fn end(&self, trailers: Option<Trailers>) {
        let mut sending = self.state.sending.borrow_mut();
        if sending.is_over {
            return;
        }
        sending.trailers = trailers;
        drop(sending);
        self.carrier.offer(self.state.id, 0, true);
    }

    /// Whether more may be pushed before what was has left.
    pub(crate) fn has_room(&self) -> bool {
        self.state.sending.borrow().bytes < OUT_BYTES_MAX
    }

    /// Bytes that have been written to the connection.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.state.sending.borrow().sent_bytes
    }

    /// Whether nothing more leaves: all has, or nobody wants it.
    pub(crate) fn is_over(&self) -> bool {
        self.state.sending.borrow().is_over
    }

    /// Gives the stream up: whoever reads it is told why.
    pub(crate) fn fail(&self, error: StreamError) {
        self.carrier.give_up(self.state.id);
        self.state.fail(error);
    }

    /// Has whoever polls woken when something leaves, or nothing will any more.
    pub(crate) fn note_waiting(&self, cx: &Context<'_>) {
        note(&mut self.state.sending.borrow_mut().waker, cx);
    }
}
