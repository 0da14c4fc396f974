//! Groups of servers behind us: who is chosen, who has failed, and which connections are kept.
//!
//! Whose turn it is and which connections idle is each loop's own; what else is known of a peer, all workers
//! know. Nothing here knows what is spoken.

pub(crate) mod balance;
pub(crate) mod budget;
mod choosing;
pub(crate) mod clock;
pub(crate) mod group;
pub(crate) mod h2;
pub(crate) mod peer;
pub(crate) mod pool;
pub mod report;
mod ring;
pub(crate) mod secure;
pub(crate) mod zone;

pub(crate) use self::balance::{Balance, Tried};
pub(crate) use self::group::{Group, GroupSpec, Registry};
pub use self::peer::Order;
pub(crate) use self::peer::{Peer, ServerSpec};
