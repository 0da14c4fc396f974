//! Filters: what a response's head passes once it is known, and its body while it is sent.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::http::body::{Broken, Piece};
use crate::http::modules;
use crate::http::phase::Outcome;
use crate::http::request::Request;

/// What a body filter is given.
#[allow(dead_code, reason = "the modules that use it come next")]
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
}

/// The filters of one body, in the order in which it passes them.
pub(crate) struct Chain {
    filters: Vec<Box<dyn BodyFilter>>,
    out: VecDeque<Bytes>,
    /// Memory for what is between two filters.
    between: VecDeque<Bytes>,
    has_ended: bool,
    /// Whether something came since the last flush.
    is_dirty: bool,
}

impl Chain {
    pub(crate) fn new(filters: Vec<Box<dyn BodyFilter>>) -> Self {
        Self {
            filters,
            out: VecDeque::new(),
            between: VecDeque::new(),
            has_ended: false,
            is_dirty: false,
        }
    }

    /// The next bytes that may leave.
    pub(crate) fn pop(&mut self) -> Option<Piece> {
        self.out.pop_front().map(Piece::Bytes)
    }

    /// Whether all bytes have been given.
    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Takes bytes of the body.
    pub(crate) fn push(&mut self, bytes: Bytes) -> Result<(), Broken> {
        self.is_dirty = true;
        self.out.push_back(bytes);
        self.run(|| None)
    }

    /// Nothing more is there for now. The answer is whether there was anything to do.
    pub(crate) fn flush(&mut self) -> Result<bool, Broken> {
        if !std::mem::take(&mut self.is_dirty) {
            return Ok(false);
        }
        self.run(|| Some(Input::Flush))?;
        Ok(true)
    }

    /// The body has ended.
    pub(crate) fn end(&mut self) -> Result<(), Broken> {
        self.run(|| Some(Input::End))?;
        self.has_ended = true;
        Ok(())
    }

    /// Lets what is in `out` pass all filters, each of which is told `after` at last.
    fn run(&mut self, after: impl Fn() -> Option<Input>) -> Result<(), Broken> {
        for filter in &mut self.filters {
            std::mem::swap(&mut self.out, &mut self.between);
            for bytes in self.between.drain(..) {
                if !bytes.is_empty() {
                    filter.filter(Input::Bytes(bytes), &mut self.out)?;
                }
            }
            if let Some(input) = after() {
                filter.filter(input, &mut self.out)?;
            }
        }
        self.out.retain(|bytes| !bytes.is_empty());
        Ok(())
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
