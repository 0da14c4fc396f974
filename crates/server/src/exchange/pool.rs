//! The memory of exchanges, used again from one to the next.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use revolve_reactor::Buffer;

use super::{After, Exchange, Waiting};
use crate::connection::Connection;

/// The exchanges of one loop, in memory that is used again.
///
/// An exchange is large, and so is its future: a connection needs the one only while a request is
/// under way, and the other only while that waits. Their types are the same for all, so the memory of
/// those that have ended serves the next.
pub(crate) struct Exchanges<M, F> {
    /// A type of its own and no pointer, so that the future is made where it will lie.
    make: M,
    futures: RefCell<Vec<Pin<Box<Option<F>>>>>,
    #[allow(
        clippy::vec_box,
        reason = "an exchange moves into the pool and out by its box"
    )]
    exchanges: RefCell<Vec<Box<Exchange>>>,
}

/// Memory of finished exchanges that is kept at most.
const KEPT_MAX: usize = 32;

impl<M, F> Exchanges<M, F>
where
    M: Fn(Box<Exchange>, Buffer, Waiting) -> F,
    F: Future<Output = (Box<Exchange>, After)> + 'static,
{
    pub(crate) fn new(make: M) -> Self {
        Self {
            make,
            futures: RefCell::default(),
            exchanges: RefCell::default(),
        }
    }

    /// Serves these bytes, and what comes after them. What does not have to wait makes no future.
    pub(crate) fn serve<'a>(
        &'a self,
        connection: &'a Rc<Connection>,
        input: Buffer,
    ) -> Serving<'a, M, F> {
        connection.server.set_current(connection.number);
        let mut exchange = self.exchange(connection);
        let mut input = input;
        match exchange.begin(&mut input) {
            Ok(after) => {
                self.keep_exchange(exchange);
                Serving::Done(after)
            }
            Err(waiting) => {
                let kept = self.futures.borrow_mut().pop();
                let mut future = kept.unwrap_or_else(|| Box::pin(None));
                future.set(Some((self.make)(exchange, input, waiting)));
                Serving::Waiting(Running {
                    exchanges: self,
                    connection,
                    future: Some(future),
                })
            }
        }
    }

    fn exchange(&self, connection: &Rc<Connection>) -> Box<Exchange> {
        let kept = self.exchanges.borrow_mut().pop();
        match kept {
            Some(mut exchange) => {
                exchange.reuse(connection.clone());
                exchange
            }
            None => Box::new(Exchange::new(connection.clone())),
        }
    }

    fn keep_exchange(&self, mut exchange: Box<Exchange>) {
        exchange.release();
        let mut exchanges = self.exchanges.borrow_mut();
        if exchanges.len() < KEPT_MAX {
            exchanges.push(exchange);
        }
    }

    fn keep_future(&self, mut future: Pin<Box<Option<F>>>) {
        future.set(None);
        let mut futures = self.futures.borrow_mut();
        if futures.len() < KEPT_MAX {
            futures.push(future);
        }
    }
}

/// An exchange, which may be over already. Its size is what an idle connection pays for it: one future
/// that is awaited in one place, because each value that lives across a wait has room of its own.
pub(crate) enum Serving<'a, M, F> {
    Done(After),
    Waiting(Running<'a, M, F>),
}

impl<M, F> Future for Serving<'_, M, F>
where
    M: Fn(Box<Exchange>, Buffer, Waiting) -> F,
    F: Future<Output = (Box<Exchange>, After)> + 'static,
{
    type Output = After;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<After> {
        match &mut *self {
            Serving::Done(after) => Poll::Ready(*after),
            Serving::Waiting(running) => Pin::new(running).poll(cx),
        }
    }
}

/// An exchange that waits; it lies elsewhere itself.
pub(crate) struct Running<'a, M, F> {
    exchanges: &'a Exchanges<M, F>,
    connection: &'a Connection,
    future: Option<Pin<Box<Option<F>>>>,
}

impl<M, F> Future for Running<'_, M, F>
where
    M: Fn(Box<Exchange>, Buffer, Waiting) -> F,
    F: Future<Output = (Box<Exchange>, After)> + 'static,
{
    type Output = After;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<After> {
        let connection = self.connection;
        connection.server.set_current(connection.number);
        let slot = self.future.as_mut();
        let exchange = slot.and_then(|slot| slot.as_mut().as_pin_mut());
        let exchange = exchange.expect("a finished exchange is not polled");
        let counts = connection.server.counts();
        let Poll::Ready((exchange, after)) = exchange.poll(cx) else {
            counts.begin_busy(&connection.is_busy);
            return Poll::Pending;
        };
        counts.end_busy(&connection.is_busy);
        self.exchanges.keep_exchange(exchange);
        if let Some(future) = self.future.take() {
            self.exchanges.keep_future(future);
        }
        Poll::Ready(after)
    }
}
