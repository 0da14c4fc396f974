//! Connections that many requests share: HTTP/2 to a server behind us.
//!
//! One task a connection owns the transport and drives the machine ([`revolve_http::h2`]) at its client's
//! side; a request has a [`Stream`] of it. What streams have to say leaves in one write a turn, what they
//! are told wakes whoever has them. A stream that is dropped before its end is cancelled (RST_STREAM).
//!
//! A body is taken no faster than it is read: what lies unread of it is bounded by its window. What is
//! sent waits with its stream until the peer's window takes it.

mod carrier;
mod carriers;
#[cfg(test)]
mod simulation;
mod state;
mod stream;
mod task;

pub(crate) use carrier::{Carrier, Limits};
pub(crate) use carriers::{Carriers, Turn};
pub(crate) use state::{Incoming, Rules, StreamError};
pub(crate) use stream::{Half, Stream};
pub(crate) use task::start;
