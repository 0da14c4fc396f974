//! What can go wrong.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a zone could not be made or opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ZoneError {
    /// The options ask for what cannot be: the text says what, and which values are possible.
    Options(&'static str),
    /// A system call failed.
    System {
        /// The call, such as `mmap`.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The descriptor is of no zone.
    NotAZone,
    /// The file could change its size under the mapping: it lacks the seals `F_SEAL_SHRINK` and
    /// `F_SEAL_GROW` that every zone has (fcntl(2)).
    Unsealed,
    /// The zone was made by a version of this crate that lays memory out differently.
    Version {
        /// The version of the zone.
        found: u64,
        /// The version of this program.
        expected: u64,
    },
    /// The header does not match its checksum.
    Damaged,
    /// The zone is laid out for something else than what it is opened as.
    Layout {
        /// What differs, such as "key bytes" or "schema".
        what: &'static str,
        /// As the zone has it.
        found: u64,
        /// As the caller expects it.
        expected: u64,
    },
    /// The zone was made in another PID namespace, where process ids mean other processes.
    PidNamespace {
        /// The inode of the namespace of the zone's maker.
        found: u64,
        /// The inode of ours.
        expected: u64,
    },
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(what) => write!(f, "shared zone: {what}"),
            Self::System { call, source } => write!(f, "shared zone: {call}: {source}"),
            Self::NotAZone => f.write_str("the descriptor is not one of a shared zone"),
            Self::Unsealed => f.write_str("the memory file is not sealed against resizing"),
            Self::Version { found, expected } => write!(
                f,
                "the shared zone has layout version {found}, this program has {expected}"
            ),
            Self::Damaged => f.write_str("the header of the shared zone is damaged"),
            Self::Layout {
                what,
                found,
                expected,
            } => write!(
                f,
                "the shared zone has another layout: {what} is {found}, expected {expected}"
            ),
            Self::PidNamespace { found, expected } => write!(
                f,
                "the shared zone belongs to PID namespace {found}, this process to {expected}"
            ),
        }
    }
}

impl std::error::Error for ZoneError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why an operation on a table was not done. Nothing has changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TableError {
    /// The lock of the key's shard could not be had in time, and its owner lives: it is stopped,
    /// starved of the processor, or asked for the lock from within its own hold on it.
    Busy {
        /// Which shard, from 0.
        shard: usize,
        /// How long was waited.
        waited: Duration,
    },
    /// The key's shard is full, and the table was made with [`WhenFull::Refuse`](crate::WhenFull).
    Full {
        /// Which shard, from 0.
        shard: usize,
    },
    /// The shard was found damaged again right after its repair: some process writes where it must
    /// not.
    Damaged {
        /// Which shard, from 0.
        shard: usize,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy { shard, waited } => {
                let waited_ms = waited.as_millis();
                write!(
                    f,
                    "shard {shard} of the shared table is busy: waited {waited_ms} ms"
                )
            }
            Self::Full { shard } => write!(f, "shard {shard} of the shared table is full"),
            Self::Damaged { shard } => write!(f, "shard {shard} of the shared table is damaged"),
        }
    }
}

impl std::error::Error for TableError {}

/// Every slot of [`Counters`](crate::Counters) belongs to a live process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoFreeSlot;

impl fmt::Display for NoFreeSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("every slot of the shared counters belongs to a live process")
    }
}

impl std::error::Error for NoFreeSlot {}
