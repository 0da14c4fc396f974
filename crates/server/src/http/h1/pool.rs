//! The memory of exchanges, used again from one to the next.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use revolve_reactor::Buffer;

use super::{After, OtherVersion};
use crate::http::HttpLoop;
use crate::http::request::Request;
use crate::runtime::connection::Connection;

/// The exchanges of one loop, in memory that is used again.
///
/// The future of an exchange is large and a connection needs it only while a request is under
/// way. Its type is the same for all, so a finished one's memory serves the next.
pub(crate) struct Exchanges<M, F> {
    /// A type of its own and no pointer, so that the future is made where it will lie.
    make: M,
    pub(super) http_loop: Rc<HttpLoop>,
    /// Who serves the connections of clients that speak HTTP/2.
    pub(super) http2: OtherVersion,
    futures: RefCell<Vec<Pin<Box<Option<F>>>>>,
    #[allow(
        clippy::vec_box,
        reason = "a request moves into the pool and out by its box"
    )]
    requests: RefCell<Vec<Box<Request>>>,
}

/// Memory of finished exchanges that is kept at most.
const KEPT_MAX: usize = 32;

impl<M, F> Exchanges<M, F>
where
    M: Fn(Box<Request>, Buffer) -> F,
    F: Future<Output = (Box<Request>, After)> + 'static,
{
    pub(crate) fn new(make: M, http_loop: Rc<HttpLoop>, http2: OtherVersion) -> Self {
        Self {
            make,
            http_loop,
            http2,
            futures: RefCell::default(),
            requests: RefCell::default(),
        }
    }

    /// Begins an exchange with these bytes.
    pub(crate) fn begin<'a>(
        &'a self,
        connection: &'a Rc<Connection>,
        input: Buffer,
    ) -> Running<'a, M, F> {
        let request = self.request(connection);
        let kept = self.futures.borrow_mut().pop();
        let mut future = kept.unwrap_or_else(|| Box::pin(None));
        future.set(Some((self.make)(request, input)));
        Running {
            exchanges: self,
            connection,
            future: Some(future),
        }
    }

    fn request(&self, connection: &Rc<Connection>) -> Box<Request> {
        let kept = self.requests.borrow_mut().pop();
        match kept {
            Some(mut request) => {
                request.reuse(connection.clone(), self.http_loop.clone());
                request
            }
            None => Box::new(Request::new(connection.clone(), self.http_loop.clone())),
        }
    }
}

/// An exchange under way. Its size is what an idle connection pays for it, so the exchange itself
/// lies elsewhere.
pub(crate) struct Running<'a, M, F> {
    exchanges: &'a Exchanges<M, F>,
    connection: &'a Connection,
    future: Option<Pin<Box<Option<F>>>>,
}

impl<M, F> Future for Running<'_, M, F>
where
    F: Future<Output = (Box<Request>, After)>,
{
    type Output = After;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<After> {
        let connection = self.connection;
        connection.state.set_current(connection.number);
        let slot = self.future.as_mut();
        let exchange = slot.and_then(|slot| slot.as_mut().as_pin_mut());
        let exchange = exchange.expect("a finished exchange is not polled");
        let counts = connection.state.counts();
        let Poll::Ready((mut request, after)) = exchange.poll(cx) else {
            counts.begin_busy(&connection.is_busy);
            return Poll::Pending;
        };
        counts.end_busy(&connection.is_busy);
        request.release();
        let exchanges = self.exchanges;
        if let Some(mut future) = self.future.take() {
            future.set(None);
            let mut futures = exchanges.futures.borrow_mut();
            if futures.len() < KEPT_MAX {
                futures.push(future);
                exchanges.requests.borrow_mut().push(request);
            }
        }
        Poll::Ready(after)
    }
}
