//! HTTP/1: from the bytes of a connection to requests, and from responses to bytes.

pub(crate) mod body;
pub(crate) mod connection;
mod delay;
pub(crate) mod exchange;
mod head;
mod output;
mod pool;
pub(crate) mod refusal;
mod respond;

use std::time::Duration;

pub(crate) use self::pool::Exchanges;

/// What becomes of a connection after an exchange.
pub(crate) enum After {
    /// It waits so long for another request.
    Idle(Duration),
    /// It is closed.
    Close,
}
