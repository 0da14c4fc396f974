//! HTTP/2 (RFC 9113): both sides of a connection.
//!
//! [`Connection`] is fed what was received and says what has come to pass ([`Event`]); what it has to
//! say gathers in [`Connection::out`]. It knows no socket and no clock. Bodies lie with the caller: the
//! connection says whose turn it is, and how much may leave ([`Connection::grant`]).
//!
//! A header block becomes [`Fields`](crate::hpack::Fields); [`request::read`] makes a
//! [`Head`](crate::Head) of those, as HTTP/1's parser does, or says that they are no request. So nothing
//! that HTTP/1 could not say gets past it.
//!
//! **What a peer may cost is bounded** ([`floods`]): a connection that asks for more is ended by
//! [`ErrorCode::ENHANCE_YOUR_CALM`].

mod connection;
mod error;
pub mod floods;
mod flow;
mod frame;
mod reading;
mod receive;
pub mod request;
pub mod response;
mod scheduler;
mod send;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
pub mod trailers;

pub use connection::{Config, Connection, Event, Fed};
pub use error::{ConnectionError, ErrorCode, StreamError};
pub use frame::{HEAD_BYTES, PREFACE};
pub use scheduler::Priority;
pub use send::{Grant, HeadWriter};
