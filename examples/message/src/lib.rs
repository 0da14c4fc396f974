//! What the message server, its client and its load generator have in common: the frame, and the
//! messages in it. `docs/message-server.md` describes them.

pub mod frame;
pub mod message;
