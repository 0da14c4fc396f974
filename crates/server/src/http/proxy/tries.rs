//! What is told of the tries to have a request answered (`$upstream_addr` and its like).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use revolve_http::ResponseHead;

use crate::upstream::Peer;
use crate::upstream::peer::AnswerTimer;

/// One try.
pub(crate) struct Try {
    pub(crate) address: Rc<str>,
    pub(crate) status: u16,
    began_at: Instant,
    pub(crate) connect_ms: Option<u64>,
    pub(crate) header_ms: Option<u64>,
    pub(crate) response_ms: Option<u64>,
    pub(crate) body_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
}

/// The head of a response, with its bytes.
#[derive(Default)]
pub(crate) struct AnsweredHead {
    pub(crate) head: ResponseHead,
    pub(crate) bytes: Vec<u8>,
}

/// The tries of one request, which the body of the answer goes on counting in.
#[derive(Clone, Default)]
pub(crate) struct Tries {
    list: Rc<RefCell<Vec<Try>>>,
    answered: Option<Rc<AnsweredHead>>,
    /// Notes how long the answer took, where a group chooses by that.
    timer: Option<Rc<AnswerTimer>>,
}

impl Tries {
    pub(crate) fn begin(&mut self, address: Rc<str>) {
        self.list.borrow_mut().push(Try {
            address,
            status: 0,
            began_at: revolve_reactor::now(),
            connect_ms: None,
            header_ms: None,
            response_ms: None,
            body_bytes: 0,
            received_bytes: 0,
            sent_bytes: 0,
        });
    }

    fn last(&self, change: impl FnOnce(&mut Try)) {
        if let Some(last) = self.list.borrow_mut().last_mut() {
            change(last);
        }
    }

    pub(crate) fn note_connected(&self, began_at: Instant) {
        let ms = ms_since(began_at);
        self.last(|it| it.connect_ms = Some(ms));
    }

    pub(crate) fn note_sent(&self, bytes: u64) {
        self.last(|it| it.sent_bytes += bytes);
    }

    pub(crate) fn note_received(&self, bytes: u64) {
        self.last(|it| it.received_bytes += bytes);
    }

    pub(crate) fn note_body(&self, bytes: u64) {
        self.last(|it| it.body_bytes += bytes);
    }

    /// The head of the answer has come.
    pub(crate) fn note_head(&mut self, answered: Rc<AnsweredHead>) {
        let status = answered.head.status;
        self.last(|it| {
            it.status = status;
            it.header_ms = Some(ms_since(it.began_at));
        });
        self.answered = Some(answered);
    }

    /// The head of an answer that nobody was asked for at this time.
    pub(crate) fn note_kept(&mut self, answered: Rc<AnsweredHead>) {
        self.answered = Some(answered);
    }

    /// The answer's time to its head is noted with the peer, and so will be the time to its end.
    pub(crate) fn time(&mut self, peer: &Peer) {
        self.last(|it| peer.note_header_time(since(it.began_at)));
        self.timer = Some(Rc::new(peer.answer_timer()));
    }

    /// The try at hand has ended with this status.
    pub(crate) fn end(&self, status: u16) {
        self.last(|it| {
            it.status = status;
            it.response_ms = Some(ms_since(it.began_at));
        });
    }

    /// The body of the answer has ended.
    pub(crate) fn note_end(&self) {
        self.last(|it| {
            it.response_ms = Some(ms_since(it.began_at));
            if let Some(timer) = &self.timer {
                timer.note(since(it.began_at));
            }
        });
    }

    pub(crate) fn answered(&self) -> Option<&AnsweredHead> {
        self.answered.as_deref()
    }

    /// What each try has to show, joined by ", "; `-` for one that has nothing. False where there was no
    /// try.
    pub(crate) fn append(
        &self,
        out: &mut Vec<u8>,
        append: impl Fn(&Try, &mut Vec<u8>) -> bool,
    ) -> bool {
        let list = self.list.borrow();
        for (place, it) in list.iter().enumerate() {
            if place > 0 {
                out.extend_from_slice(b", ");
            }
            if !append(it, out) {
                out.push(b'-');
            }
        }
        !list.is_empty()
    }
}

fn since(at: Instant) -> Duration {
    revolve_reactor::now().saturating_duration_since(at)
}

fn ms_since(at: Instant) -> u64 {
    u64::try_from(since(at).as_millis()).unwrap_or(u64::MAX)
}
