//! hyper's traits over a loop of `revolve-reactor`: [`LoopIo`] reads and writes, [`LoopExecutor`]
//! spawns, [`LoopTimer`] sleeps. With them hyper's servers and clients, HTTP/1 and HTTP/2, run on
//! this thread's loop, and their connections stay on it.
//!
//! The library has no feature for this because hyper depends on tokio (for its channels; no runtime of
//! tokio runs here). Take these files as they are.
//!
//! ```no_run
//! use hyper::server::conn::http1;
//! use hyper::service::service_fn;
//! use hyper::{Request, Response, body::Incoming};
//! use revolve_hyper::{LoopIo, LoopTimer};
//! use revolve_reactor::{Address, Stream, TcpServer};
//!
//! async fn hello(_: Request<Incoming>) -> Result<Response<String>, std::convert::Infallible> {
//!     Ok(Response::new("hello, world\n".into()))
//! }
//!
//! # fn main() -> std::io::Result<()> {
//! let address = Address::Inet(([127, 0, 0, 1], 8080).into());
//! let server = TcpServer::builder().bind(address).serve(|stream: Stream, _| async {
//!     let mut http = http1::Builder::new();
//!     http.timer(LoopTimer);
//!     let _ = http.serve_connection(LoopIo::new(stream), service_fn(hello)).await;
//! })?;
//! server.join()
//! # }
//! ```
#![forbid(unsafe_code)]

mod executor;
mod io;
mod timer;

pub use executor::LoopExecutor;
pub use io::LoopIo;
pub use timer::LoopTimer;
