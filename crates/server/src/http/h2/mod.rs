//! HTTP/2: from the bytes of a connection to requests, and from responses to bytes.
//!
//! One task a connection owns its transport. It feeds the state machine ([`revolve_http::h2`]), walks each
//! request as its head comes, and sends what all of them have to say in one write a turn. A request that
//! need not wait makes no task: its memory stays with its stream until its last byte has left. One that
//! waits, or whose body is made while it is sent, goes on in a task of its own, and wakes the
//! connection's.

mod batch;
mod carrier;
mod connection;
mod head;
mod pool;
mod requests;
#[cfg(test)]
mod simulation;
mod stream;
mod tunnel;

use std::rc::Rc;

use self::pool::Pool;
use self::stream::Carrier;
use crate::http::HttpLoop;
use crate::http::h1::OtherVersion;

/// What serves connections of the calling thread's loop whose clients speak HTTP/2.
pub(crate) fn serve(http_loop: Rc<HttpLoop>) -> OtherVersion {
    let pool = Rc::new(Pool::default());
    Rc::new(move |connection, received| {
        let carrier = Carrier::new(connection, http_loop.clone(), pool.clone());
        Box::pin(connection::run(Rc::new(carrier), received))
    })
}
