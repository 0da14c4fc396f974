//! The memory of requests and streams, used again from one to the next.

use std::cell::RefCell;
use std::rc::Rc;

use crate::http::HttpLoop;
use crate::http::request::Request;
use crate::runtime::connection::Connection;

/// So many of each are kept at most: as many as one connection has at once.
const KEPT_MAX: usize = 128;

/// What lies in the pool, and holds nothing there.
pub(super) trait Pooled: Default {
    /// Lets go of what it holds, and keeps its memory.
    fn release(&mut self);
}

/// Requests and streams of one loop that are over.
#[derive(Default)]
pub(super) struct Pool<T> {
    #[allow(
        clippy::vec_box,
        reason = "a request moves into the pool and out by its box"
    )]
    requests: RefCell<Vec<Box<Request>>>,
    streams: RefCell<Vec<Rc<T>>>,
}

impl<T: Pooled> Pool<T> {
    pub(super) fn request(
        &self,
        connection: &Rc<Connection>,
        http_loop: &Rc<HttpLoop>,
    ) -> Box<Request> {
        let kept = self.requests.borrow_mut().pop();
        match kept {
            Some(mut request) => {
                request.reuse(connection.clone(), http_loop.clone());
                request
            }
            None => Box::new(Request::new(connection.clone(), http_loop.clone())),
        }
    }

    pub(super) fn give_back(&self, mut request: Box<Request>) {
        request.release();
        let mut requests = self.requests.borrow_mut();
        if requests.len() < KEPT_MAX {
            requests.push(request);
        }
    }

    /// A stream that nobody else has.
    pub(super) fn stream(&self) -> Rc<T> {
        self.streams.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back a stream that is over, unless somebody still has it.
    pub(super) fn give_back_stream(&self, mut stream: Rc<T>) {
        let mut streams = self.streams.borrow_mut();
        if streams.len() < KEPT_MAX
            && let Some(own) = Rc::get_mut(&mut stream)
        {
            own.release();
            streams.push(stream);
        }
    }
}
