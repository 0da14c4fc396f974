//! Filters: what a response's head passes once it is known, and its body while it is sent.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::http::body::{Broken, Piece};
use crate::http::modules;
use crate::http::phase::Outcome;
use crate::http::request::Request;

/// What a body filter is given.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// The next bytes of the body.
    Bytes(Bytes),
    /// Nothing more is there for now: what can leave should.
    Flush,
    /// The body has ended.
    End,
}

/// What a body passes on its way: bytes in, bytes out, in any fragmentation. It does no I/O, and what it
/// holds back is bounded.
pub(crate) trait BodyFilter {
    /// Takes what comes and appends what may leave.
    ///
    /// Errors: why the body cannot be filtered; the connection is closed then, as its head has left.
    fn filter(&mut self, input: Input, out: &mut VecDeque<Bytes>) -> Result<(), Broken>;

    /// Appends more of what it was given before, where that was too much for one piece; false where
    /// nothing of it is left. It is given nothing else until then.
    ///
    /// Errors: as of [`BodyFilter::filter`].
    fn more(&mut self, out: &mut VecDeque<Bytes>) -> Result<bool, Broken> {
        let _ = out;
        Ok(false)
    }
}

/// A filter, and what waits for it.
struct Stage {
    filter: Box<dyn BodyFilter>,
    inbox: VecDeque<Input>,
    /// What it was given last, and may have more of.
    current: Option<Input>,
}

/// The filters of one body, in the order in which it passes them.
///
/// Whoever is nearest to the client goes first, so that no filter works ahead of those behind it: what
/// is held is the little that each makes at a time.
pub(crate) struct Chain {
    stages: Vec<Stage>,
    out: VecDeque<Bytes>,
    /// Memory for what is between two filters.
    between: VecDeque<Bytes>,
    has_ended: bool,
    /// Whether something came since the last flush.
    is_dirty: bool,
}

impl Chain {
    pub(crate) fn new(filters: Vec<Box<dyn BodyFilter>>) -> Self {
        let stage = |filter| Stage {
            filter,
            inbox: VecDeque::new(),
            current: None,
        };
        Self {
            stages: filters.into_iter().map(stage).collect(),
            out: VecDeque::new(),
            between: VecDeque::new(),
            has_ended: false,
            is_dirty: false,
        }
    }

    /// The next bytes that may leave; `None` where more must come before.
    ///
    /// Errors: what a filter says; what it has made before was given.
    pub(crate) fn pop(&mut self) -> Result<Option<Piece>, Broken> {
        loop {
            if let Some(bytes) = self.out.pop_front() {
                return Ok(Some(Piece::Bytes(bytes)));
            }
            if !self.step()? {
                return Ok(None);
            }
        }
    }

    /// Whether all bytes have been given.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes bytes of the body.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.is_dirty = true;
        self.give(0, Input::Bytes(bytes));
    }

    /// Nothing more is there for now. The answer is whether there is anything to do.
    pub(crate) fn flush(&mut self) -> bool {
        let is_dirty = std::mem::take(&mut self.is_dirty);
        if is_dirty {
            self.give(0, Input::Flush);
        }
        is_dirty
    }

    /// The body has ended.
    pub(crate) fn end(&mut self) {
        self.give(0, Input::End);
    }

    /// Gives something to a filter, or to the client behind the last.
    fn give(&mut self, to: usize, input: Input) {
        match (self.stages.get_mut(to), input) {
            (_, Input::Bytes(bytes)) if bytes.is_empty() => {}
            (Some(stage), input) => stage.inbox.push_back(input),
            (None, Input::Bytes(bytes)) => self.out.push_back(bytes),
            (None, Input::Flush) => {}
            (None, Input::End) => self.has_ended = true,
        }
    }

    /// Lets the last filter that has anything to do take one step; false where none has.
    fn step(&mut self) -> Result<bool, Broken> {
        let is_busy = |stage: &Stage| stage.current.is_some() || !stage.inbox.is_empty();
        let Some(at) = self.stages.iter().rposition(is_busy) else {
            return Ok(false);
        };
        let stage = &mut self.stages[at];
        let mut made = std::mem::take(&mut self.between);
        let result = match &stage.current {
            Some(_) => stage.filter.more(&mut made),
            None => {
                let input = stage.inbox.pop_front().expect("it was looked at");
                stage.current = Some(input.clone());
                stage.filter.filter(input, &mut made).map(|()| true)
            }
        };
        // What it was told beside the bytes goes on once they have.
        let told = match &result {
            Ok(true) => None,
            _ => stage.current.take(),
        };
        for bytes in made.drain(..) {
            self.give(at + 1, Input::Bytes(bytes));
        }
        self.between = made;
        if let (Ok(_), Some(told @ (Input::Flush | Input::End))) = (&result, told) {
            self.give(at + 1, told);
        }
        result.map(|_| true)
    }
}

/// Passes a response's head through the header filters. The answer is the status of one that refuses the
/// response (412, 416): the page that takes its place passes the same filters, which leave an error
/// alone.
#[inline]
pub(crate) fn pass(request: &mut Request) -> Option<u16> {
    // Once and before the filters: one of them may make a 304 of it.
    if request.response.error_status != 0 {
        request.response.status = request.response.error_status;
    }
    let may_refuse = !std::mem::replace(&mut request.current.filters_refused, true);
    let site = request.site.share();
    for filter in &site.locations[request.current.location as usize].header_filters {
        if let Outcome::Finish(status) = filter(request)
            && may_refuse
        {
            return Some(status);
        }
    }
    None
}

/// Applies what holds whatever the content is; the answer says whether there is a body to be sent.
pub(crate) fn finish(request: &mut Request) -> bool {
    modules::core::complete_location(request);
    let is_head = request.is_head();
    let response = &mut request.response;
    if !matches!(response.status, 200 | 206 | 304) {
        response.last_modified = None;
    }
    match response.status {
        204 => {
            response.content_type.clear();
            response.content_length = None;
            response.drop_body();
            false
        }
        304 => {
            response.drop_body();
            false
        }
        // What follows is no body.
        101 => false,
        _ if response.tunnel.is_some() => false,
        _ => {
            if response.content_length.is_none()
                && response.source.is_none()
                && response.filters.is_empty()
            {
                response.set_length(response.body_bytes());
            }
            if is_head {
                response.drop_body();
            }
            !is_head
        }
    }
}
