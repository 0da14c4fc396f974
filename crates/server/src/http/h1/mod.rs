//! HTTP/1: from the bytes of a connection to requests, and from responses to bytes.

mod connection;
mod exchange;
mod head;
mod input;
mod output;
mod pool;
pub(crate) mod preamble;
pub(crate) mod refusal;
#[cfg(test)]
mod simulation;
mod writing;

use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Buffer, Lease, spawn};

pub(crate) use self::head::{HeadRead, refuse_head, take_head};
pub(crate) use self::input::{Input, left, linger};
pub(crate) use self::output::Output;
use self::pool::Exchanges;
use crate::http::HttpLoop;
use crate::http::phase::LocalBoxFuture;
use crate::runtime::connection::Connection;

/// Starts the task of a connection. The task's type is known where it is made alone.
pub(crate) type Serve = Box<dyn Fn(Rc<Connection>, Option<Lease>)>;

/// What serves connections whose clients turn out to speak another version, with what has come of them.
pub(crate) type OtherVersion = Rc<dyn Fn(Rc<Connection>, Buffer) -> LocalBoxFuture<'static, ()>>;

/// What serves connections of the calling thread's loop. `http2` has those whose clients speak that.
pub(crate) fn serve(http_loop: Rc<HttpLoop>, http2: OtherVersion) -> Serve {
    let exchanges = Rc::new(Exchanges::new(exchange::exchange, http_loop, http2));
    Box::new(move |connection, lease| {
        spawn(connection::run(connection, exchanges.clone(), lease));
    })
}

/// What becomes of a connection after an exchange.
pub(crate) enum After {
    /// It waits so long for another request.
    Idle(Duration),
    /// It is closed.
    Close,
}
