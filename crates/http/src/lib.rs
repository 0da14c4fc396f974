//! HTTP for servers and proxies, as pure state machines: bytes in, events out.
//!
//! There is no networking code here: no socket, no clock, no file, no thread. A caller reads
//! bytes wherever they come from, shows them to a parser, and acts on what it says. Every parser
//! takes its bytes in any fragmentation and says the same.
//!
//! * [`Head`] — what every request has, whatever version it came by: method, target, header lines;
//!   [`normalize_path`] turns the path that it asks for into the one that is looked up;
//! * [`ResponseHead`] — what every response that we are sent has; [`Trailers`] may follow its body;
//! * [`h1`] — HTTP/1.1, 1.0 and 0.9: parsers and writers of heads, chunked bodies;
//! * [`h2`] — HTTP/2: both sides of a connection, its frames, streams, windows and priorities; [`hpack`]
//!   is how it writes heads;
//! * [`fastcgi`], [`scgi`], [`uwsgi`], [`memcached`] — what else may stand behind a web server;
//! * [`proxy_protocol`] — whom a proxy before it speaks for;
//! * [`status`] — reason phrases;
//! * [`date`] — HTTP dates.
//!
//! The behaviour is that of nginx 1.22, compared byte by byte with the program itself; where this
//! crate refuses what nginx takes, the item's documentation says so, and why.
#![forbid(unsafe_code)]

mod body;
pub mod date;
pub mod fastcgi;
pub mod h1;
pub mod h2;
mod head;
mod header;
pub mod hpack;
pub mod memcached;
mod method;
pub mod proxy_protocol;
mod response_head;
pub mod scgi;
mod span;
pub mod status;
mod target;
mod token;
mod trailers;
pub mod uwsgi;
mod version;

pub use body::{Framing, ResponseFraming};
pub use head::{Head, KeepAlive};
pub use header::{HeaderId, HeaderSpan, Known};
pub use method::Method;
pub use response_head::ResponseHead;
pub use span::Span;
pub use target::{Target, TargetError, TargetForm, normalize_path};
pub use token::is_token;
pub use trailers::Trailers;
pub use version::Version;
