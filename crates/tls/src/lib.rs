//! TLS over a stream of `revolve-reactor`.
//!
//! Records and keys are rustls' own, over AWS-LC; here is what an event loop needs beside them: a
//! [`TlsStream`] that receives into pooled buffers and sends owned chunks as a
//! [`Stream`](revolve_reactor::Stream) does, and a reader of what a client says first, so that its name
//! can choose a configuration before rustls begins.
//!
//! ```no_run
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use revolve_reactor::{Chunk, SendQueue, Stream};
//! use revolve_tls::{AcceptError, Choice, TlsStream};
//!
//! async fn echo(stream: Stream, config: Arc<rustls::ServerConfig>) -> Result<(), AcceptError> {
//!     let tls = TlsStream::new(stream);
//!     let deadline = revolve_reactor::now() + Duration::from_secs(10);
//!     tls.accept(|_| Choice::Accept(config), deadline).await?;
//!     loop {
//!         let received = tls.recv().within(Duration::from_secs(60)).await?;
//!         if received.is_empty() {
//!             return Ok(());
//!         }
//!         tls.send(SendQueue::from(Chunk::Buffer(received))).await.0?;
//!     }
//! }
//! ```

#![forbid(unsafe_code)]

mod ciphers;
mod client;
mod der;
mod encrypted;
mod error;
mod hello;
mod judge;
mod keys;
mod names;
pub mod ocsp;
mod pem;
mod schemes;
mod seal;
mod server;
mod session;
mod signatures;
mod stream;
mod tickets;
mod versions;

pub use ciphers::{
    Ciphers, Groups, cipher_name, cipher_name_of, ciphers, default_groups, group_name,
    group_name_of, groups, suites_of_13,
};
pub use client::ClientOptions;
pub use error::{AcceptError, ConnectError, KeyError};
pub use hello::{ClientHello, Greeting, read as read_greeting};
pub use judge::{Trust, Usage, VerifyError, is_for_host, issuer_of};
pub use keys::{
    Facts, KeyPair, certificates, facts, issuer_key_and_serial, key_pair, revocation_lists,
};
pub use names::{CertificateText, fingerprint, pem};
pub use rustls;
pub use schemes::scheme_name;
pub use server::{ServerOptions, Staples};
pub use stream::{Choice, TlsRecv, TlsSend, TlsStream, poll_recv_by};
pub use tickets::{TicketSecrets, Tickets, digest};
