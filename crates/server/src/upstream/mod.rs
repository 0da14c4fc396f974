//! Groups of servers behind us: who is chosen, who has failed, and which connections are kept.
//!
//! What a loop knows of a group is its own. Nothing here knows what is spoken.

pub(crate) mod balance;
pub(crate) mod group;
pub(crate) mod peer;
pub(crate) mod pool;
pub(crate) mod secure;

pub(crate) use self::balance::{Balance, Tried};
pub(crate) use self::group::{Group, GroupSpec, Registry};
pub(crate) use self::peer::{Peer, ServerSpec};
