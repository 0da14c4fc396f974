//! Sockets: addresses, listeners, streams and other descriptors that can be polled.

mod address;
mod connector;
mod handle;
mod listener;
mod option;
mod readable;
mod stream;

pub use address::Address;
pub use listener::{Accept, ListenOptions, Listener};
pub use option::Keepalive;
pub use readable::{Readable, Ready};
pub use stream::{Recv, Send, Stream};
