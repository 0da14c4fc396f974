//! HTTP for servers, as pure state machines: bytes in, events out.
//!
//! There is no networking code here: no socket, no clock, no file, no thread. A caller reads
//! bytes wherever they come from, shows them to a parser, and acts on what it says. Every parser
//! takes its bytes in any fragmentation and says the same.
//!
//! * [`h1`] — HTTP/1.1, 1.0 and 0.9: request heads, request targets, chunked bodies, and the
//!   writer of response heads;
//! * [`status`] — reason phrases;
//! * [`date`] — HTTP dates.
//!
//! The behaviour is that of nginx 1.22, compared byte by byte with the program itself; where this
//! crate refuses what nginx takes, the item's documentation says so, and why.
#![forbid(unsafe_code)]

pub mod date;
pub mod h1;
pub mod status;
