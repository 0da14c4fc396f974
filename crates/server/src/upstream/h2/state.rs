//! What a connection knows of a stream: what has come of it, and what waits to be sent.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use revolve_http::h2::{Connection as Machine, ErrorCode, response, trailers};
use revolve_http::{Method, ResponseHead, Trailers};

/// Interim responses of one stream. Source: that of HTTP/1's heads.
const INTERIMS_MAX: u32 = 16;

/// What the head of a response may be, and what it is the response to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    pub(crate) method: Method,
    pub(crate) head_bytes_max: usize,
}

/// Why a stream came to no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// The peer has not looked at the request: it may be asked of anybody. Whether it has closed the
    /// connection to new ones, or refuses this one alone.
    Unprocessed { is_closing: bool },
    /// The peer has reset it.
    Rejected(ErrorCode),
    /// What came is against the protocol, as the log says it behind `upstream`.
    Fault(String),
    /// The connection was closed.
    Closed,
    /// The connection broke: why.
    Broken(String),
    /// The connection takes nothing any more.
    Stalled,
    /// Whoever sends the request's body has failed, as the log says it.
    Client(&'static str),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unprocessed { is_closing: true } => {
                f.write_str("upstream closed its connection to new requests")
            }
            Self::Unprocessed { is_closing: false } => {
                let code = ErrorCode::REFUSED_STREAM;
                write!(
                    f,
                    "upstream rejected request with error {} ({code})",
                    code.0
                )
            }
            Self::Rejected(code) => {
                write!(
                    f,
                    "upstream rejected request with error {} ({code})",
                    code.0
                )
            }
            Self::Fault(what) => write!(f, "upstream {what}"),
            Self::Closed => f.write_str("upstream prematurely closed connection"),
            Self::Client(what) => f.write_str(what),
            Self::Broken(why) => write!(f, "recv() failed ({why})"),
            Self::Stalled => f.write_str("upstream timed out (110: Connection timed out)"),
        }
    }
}

/// What comes on a stream.
pub(crate) enum Incoming {
    /// A head, with its bytes; an interim one may stand before the last.
    Head(Box<(ResponseHead, Vec<u8>)>),
    /// A part of the body.
    Data(Bytes),
    /// Fields behind the body, which end it.
    Trailers(Trailers),
    /// The end.
    End,
}

/// What a connection knows of a stream.
pub(super) struct State {
    pub(super) id: u32,
    rules: Rules,
    pub(super) receiving: RefCell<Receiving>,
    pub(super) sending: RefCell<Sending>,
}

#[derive(Default)]
pub(super) struct Receiving {
    pub(super) heads: VecDeque<Box<(ResponseHead, Vec<u8>)>>,
    pub(super) interims: u32,
    pub(super) body: BytesMut,
    pub(super) trailers: Option<Trailers>,
    pub(super) has_ended: bool,
    pub(super) error: Option<StreamError>,
    pub(super) received_bytes: u64,
    pub(super) waker: Option<Waker>,
}

#[derive(Default)]
pub(super) struct Sending {
    pub(super) pieces: VecDeque<Bytes>,
    pub(super) bytes: u64,
    pub(super) trailers: Option<Trailers>,
    pub(super) sent_bytes: u64,
    /// Whether the last byte has been written to what leaves.
    pub(super) is_over: bool,
    pub(super) waker: Option<Waker>,
}

impl State {
    pub(super) fn new(id: u32, rules: Rules) -> Rc<Self> {
        Rc::new(Self {
            id,
            rules,
            receiving: RefCell::default(),
            sending: RefCell::default(),
        })
    }

    /// A head has come. The answer is why it is none.
    pub(super) fn take_head(
        &self,
        machine: &mut Machine<Rc<State>>,
        is_last: bool,
    ) -> Result<(), String> {
        let (mut head, mut bytes) = (ResponseHead::default(), Vec::new());
        let Rules {
            method,
            head_bytes_max,
        } = self.rules;
        let read = response::read(
            machine.fields(),
            method,
            is_last,
            head_bytes_max,
            &mut head,
            &mut bytes,
        );
        read.map_err(|error| error.to_string())?;
        if let revolve_http::ResponseFraming::Length(bytes) = head.framing
            && !head.is_interim()
            && !is_last
            && !machine.expect(self.id, bytes)
        {
            return Err("sent a smaller body than its content-length".into());
        }
        let mut receiving = self.receiving.borrow_mut();
        if head.is_interim() {
            receiving.interims += 1;
            if receiving.interims > INTERIMS_MAX {
                return Err("sent too many interim responses".into());
            }
        }
        receiving.received_bytes += machine.head_bytes() as u64;
        receiving.heads.push_back(Box::new((head, bytes)));
        receiving.has_ended |= is_last;
        let waker = receiving.waker.take();
        drop(receiving);
        wake(waker);
        Ok(())
    }

    /// Fields behind the body have come. The answer is why they are none.
    pub(super) fn take_trailers(&self, machine: &Machine<Rc<State>>) -> Result<(), String> {
        let trailers = trailers::read(machine.fields()).map_err(|it| it.reason.to_owned())?;
        let is_too_big = machine.fields().are_too_large();
        if is_too_big || trailers.bytes().len() > self.rules.head_bytes_max {
            return Err("sent too big trailers".into());
        }
        let mut receiving = self.receiving.borrow_mut();
        receiving.received_bytes += machine.head_bytes() as u64;
        receiving.trailers = (!trailers.is_empty()).then_some(trailers);
        receiving.has_ended = true;
        let waker = receiving.waker.take();
        drop(receiving);
        wake(waker);
        Ok(())
    }

    /// A part of the body has come.
    pub(super) fn take_data(&self, bytes: &[u8], is_last: bool) {
        let mut receiving = self.receiving.borrow_mut();
        receiving.received_bytes += bytes.len() as u64;
        receiving.body.extend_from_slice(bytes);
        receiving.has_ended |= is_last;
        let waker = receiving.waker.take();
        drop(receiving);
        wake(waker);
    }

    /// Nothing more will come or go.
    pub(super) fn fail(&self, error: StreamError) {
        let mut receiving = self.receiving.borrow_mut();
        if !receiving.has_ended {
            receiving.error.get_or_insert(error);
        }
        let mut sending = self.sending.borrow_mut();
        sending.is_over = true;
        sending.pieces.clear();
        sending.bytes = 0;
        let wakers = [receiving.waker.take(), sending.waker.take()];
        drop((receiving, sending));
        wakers.into_iter().for_each(wake);
    }

    /// Takes so many bytes off what is to be sent, piece by piece.
    pub(super) fn take_pieces(&self, len: usize, mut take: impl FnMut(Bytes)) {
        let mut sending = self.sending.borrow_mut();
        let mut left = len;
        sending.bytes = sending.bytes.saturating_sub(len as u64);
        while left > 0
            && let Some(piece) = sending.pieces.front_mut()
        {
            let part = piece.split_to(piece.len().min(left));
            if piece.is_empty() {
                sending.pieces.pop_front();
            }
            left -= part.len();
            take(part);
        }
        let waker = sending.waker.take();
        drop(sending);
        wake(waker);
    }

    pub(super) fn take_trailers_out(&self) -> Option<Trailers> {
        self.sending.borrow_mut().trailers.take()
    }

    pub(super) fn has_trailers_out(&self) -> bool {
        self.sending.borrow().trailers.is_some()
    }

    /// Counts what is in what leaves next.
    pub(super) fn note_sent(&self, bytes: usize) {
        self.sending.borrow_mut().sent_bytes += bytes as u64;
    }

    /// All of the request is in what leaves next.
    pub(super) fn note_over(&self) {
        let mut sending = self.sending.borrow_mut();
        sending.is_over = true;
        let waker = sending.waker.take();
        drop(sending);
        wake(waker);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

pub(super) fn note(waker: &mut Option<Waker>, cx: &Context<'_>) {
    let is_known = |known: &Waker| known.will_wake(cx.waker());
    if !waker.as_ref().is_some_and(is_known) {
        *waker = Some(cx.waker().clone());
    }
}
