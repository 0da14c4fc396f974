//! What upstreams have answered, kept on disk: keys, rules, files.
//!
//! Each answer is a file of its own below the cache's folder, and the file is the truth: it is opened anew
//! for each request, so that all workers see the same. Who fetches an answer holds a lock of the system's on
//! a file beside it, which goes with its process. When a file was used last is its time of change.

pub(crate) mod folder;
pub(crate) mod key;
pub(crate) mod manager;
pub(crate) mod record;
pub(crate) mod rules;

pub(crate) use self::folder::{Folder, Found, Lock, Writing};
pub(crate) use self::key::Key;
pub(crate) use self::record::{Kind, Record};
