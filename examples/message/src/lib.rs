//! What the message server, its client and its load generator have in common: the frame, and the
//! messages in it. `docs/message-server.md` describes them.
#![forbid(unsafe_code)]

pub mod frame;
pub mod message;
