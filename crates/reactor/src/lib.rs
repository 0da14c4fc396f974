//! A reactor: one event loop per thread, edge-triggered, with loop-local tasks.
//!
//! [`EventLoop`] turns; tasks ([`spawn`]) are `async` functions that it runs on its own thread;
//! [`Listener`] and [`Stream`] are their sockets. There is no work stealing and no lock on the hot
//! path: another thread reaches a loop through its [`LoopHandle`] alone. [`TcpServer`] puts loops
//! together: a main reactor that accepts for its sub-reactors, or every reactor accepting
//! for itself.
//!
//! ```
//! use revolve_reactor::{Address, EventLoop, ListenOptions, Listener, Stream, spawn};
//!
//! # fn main() -> std::io::Result<()> {
//! let mut event_loop = EventLoop::new()?;
//! event_loop.block_on(async {
//!     let any = Address::Inet(([127, 0, 0, 1], 0).into());
//!     let listener = Listener::from_fd(Listener::bind(&any, &ListenOptions::default())?)?;
//!     let address = listener.local_address()?;
//!     spawn(async move {
//!         let (fd, _peer) = listener.accept().await?;
//!         let stream = Stream::from_fd(fd)?;
//!         let received = stream.recv().await?;
//!         stream.send_all(received).await
//!     });
//!     let client = Stream::connect(&address).await?;
//!     client.send_all(&b"hello"[..]).await?;
//!     assert_eq!(client.recv().await?.as_slice(), b"hello");
//!     Ok(())
//! })
//! # }
//! ```
#![deny(unsafe_code)]

mod buffer;
mod builder;
mod channel;
mod codec;
mod delimited;
mod event_loop;
mod give_way;
mod hook;
mod interval;
mod job_queue;
pub mod local;
mod mailbox;
pub mod net;
mod op;
mod paged_slab;
mod piece;
mod reactors;
mod scheduler;
mod semaphore;
mod send_queue;
pub mod server;
pub mod signal;
mod stats;
mod sync;
mod sys;
mod task;
mod thread_pool;
mod time;
mod timer_queue;
mod trigger;
mod unwind;
mod watchdog;

pub use buffer::Buffer;
pub use builder::Builder;
pub use codec::{Codec, CodecError, Decoder, Extent, Framed, Outgoing};
pub use delimited::{FixedCodec, LengthCodec, LineCodec};
pub use event_loop::{EventLoop, LoopHandle, current, now, now_ms, spawn, spawn_urgent, turn};
pub use hook::{TurnEnd, on_task_panic, on_turn_end};
pub use interval::{Interval, interval};
#[cfg(feature = "futures-io")]
pub use net::StreamIo;
pub use net::{
    Accept, Address, Backoff, Datagram, DescriptorLimit, Keepalive, ListenOptions, Listener,
    Outbox, OutboxError, Readable, Readiness, Ready, Receiving, Recv, Registration, Send, SendAll,
    Spliced, Stream, TcpClient, Told, UdpSocket, UnixDatagram, splice, splice_both,
};
pub use piece::Piece;
pub use reactors::{Deal, Lease, Reactors};
pub use semaphore::{Acquire, Closed, Permit, Semaphore};
pub use send_queue::{Chunk, SendQueue};
pub use server::{AcceptMode, Serving, TcpServer};
pub use stats::LoopStats;
pub use sys::kind::UnknownDriver;
pub use sys::socket_option::TcpInfo;
pub use sys::{DriverKind, Faults, Schedule, Simulation};
pub use task::{JoinError, JoinHandle, yield_now};
pub use thread_pool::{
    JobError, PoolHandle, PoolStats, Shutdown, SubmitError, ThreadPool, ThreadPoolBuilder,
};
pub use time::{Elapsed, Sleep, Timeout, sleep, sleep_until, timeout};
pub use timer_queue::{NEVER_MS, TimerKey, TimerQueue};
pub use trigger::{Interest, Trigger};
pub use watchdog::Stall;

/// The guide: its code is compiled and run by the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/reactor.md")]
mod guide {}
