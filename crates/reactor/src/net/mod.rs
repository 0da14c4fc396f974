//! Sockets: addresses, listeners, streams and other descriptors that can be polled.

mod address;
mod client;
mod connector;
mod datagram;
pub(crate) mod descriptors;
mod handle;
#[cfg(feature = "futures-io")]
mod io;
mod listener;
mod option;
mod outbox;
mod readable;
mod receiving;
mod registration;
pub(crate) mod socket;
mod splice;
mod stream;
mod udp;
mod unix_datagram;
mod writable;

pub use address::Address;
#[cfg(target_os = "linux")]
pub(crate) use address::parse as parse_address;
pub use client::{Backoff, TcpClient};
pub use datagram::Datagram;
pub use descriptors::DescriptorLimit;
#[cfg(feature = "futures-io")]
pub use io::StreamIo;
pub use listener::{Accept, ListenOptions, Listener};
pub use option::Keepalive;
pub use outbox::{Outbox, OutboxError};
pub use readable::{Readable, Ready};
pub use receiving::Receiving;
pub use registration::{Readiness, Registration, Told};
pub use splice::{Spliced, splice, splice_both};
pub use stream::{Recv, Send, SendAll, Stream};
pub use udp::UdpSocket;
pub use unix_datagram::UnixDatagram;
