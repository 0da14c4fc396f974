//! State that several processes share, in memory files.
//!
//! A **zone** is a memory file (memfd_create(2)): anonymous memory with a descriptor. Whoever makes
//! it hands the descriptor to others over a Unix socket (`SCM_RIGHTS`, unix(7)) or by inheritance,
//! and all of them map the same pages. The zone lives as long as any descriptor or mapping of it, so
//! it survives the reload, the death and the upgrade of any one process. Three kinds exist:
//!
//! | kind | what it is |
//! |---|---|
//! | [`Table`] | fixed-size records by key, bounded, the least recently used go first |
//! | [`Counters`] | counters in one slot a worker, so that no two workers share a cache line |
//! | [`AtomicArray`] | 64-bit numbers by index |
//!
//! ```
//! use revolve_shm::{Table, TableOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = TableOptions::new("visits").entries_max(1_000).schema(1);
//! let visits: Table<u32, u64> = Table::create(&options)?;
//!
//! // Another process receives the descriptor, and opens it with the schema that it expects.
//! let sent = visits.descriptor().try_clone_to_owned()?;
//! let theirs: Table<u32, u64> = Table::open(sent, 1)?;
//!
//! theirs.modify(&7, |entry| *entry.get_or_insert(0) += 1)?;
//! assert_eq!(visits.get(&7)?, Some(1));
//! # Ok(())
//! # }
//! ```
//!
//! # What may be kept
//!
//! Keys and values are plain data ([`bytemuck::Pod`]): fixed size, no padding, no pointers, any bits
//! valid. They are compared and hashed as bytes.
//!
//! # A holder's death
//!
//! A process may be killed at any instruction, also while it holds the lock of a shard. Whoever
//! waits for that lock sees that its owner is gone, takes it, and repairs the shard: every update
//! that was acknowledged is there, and the one under way has happened whole or not at all. An
//! insertion under way may have cost the record that it was going to displace, no more. Waiting is
//! bounded ([`Table::set_lock_wait_max`]); a lock whose owner lives and does not let go is
//! [`TableError::Busy`].
//!
//! # Who may map a zone
//!
//! Processes that trust each other: they share memory, and can destroy what is in it. They cannot
//! make each other misbehave beyond that: everything in a zone is read through atomics and every
//! index in it is checked. All must be in one PID namespace (pid_namespaces(7)), because the owner
//! of a lock is known by its process id; [`ZoneError::PidNamespace`] says when they are not. A
//! process that forks without exec does not inherit the mapping (`MADV_DONTFORK`): its child must
//! open the descriptor again, and must not use handles of its parent's. A program that replaces
//! itself (execve(2)) drops its handles first.
//!
//! All handles are `Send` and `Sync`: any thread may call any function.

#![deny(unsafe_code)]

mod array;
mod counters;
mod error;
mod identity;
mod lock;
mod map;
mod shard;
mod table;
mod words;
mod zone;

pub use array::{AtomicArray, Spacing};
pub use bytemuck;
pub use counters::{CounterSlot, Counters};
pub use error::{NoFreeSlot, TableError, ZoneError};
pub use table::{Inserted, Table, TableOptions, TableStats, WhenFull};
