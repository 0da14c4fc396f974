//! Sessions that all workers resume: `ssl_session_cache shared:name:size`.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use revolve_shm::{Table, TableOptions, ZoneError};
use revolve_tls::rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

use crate::zones::{Key, ZoneKind, ZoneSpec, ZoneState, key_of};

/// The directive that declares such a zone.
pub(crate) const ZONE: &str = "ssl_session_cache";

/// Bytes that a session takes in a zone.
const SESSION_BYTES: usize = 512;
/// What stands before the session itself: when it was kept, in seconds since 1970, and how long it is.
const HEAD_BYTES: usize = 10;
const SHARD_ENTRIES: usize = 1024;
const SHARDS_MAX: usize = 64;
const SCHEMA: u64 = 1;

/// Sessions that are too large for the zone, as those with a client's certificate may be, and are kept in
/// the worker.
const LARGE_MAX: usize = 1024;

type Record = [u8; SESSION_BYTES];

/// A zone of sessions.
#[derive(Debug)]
pub(crate) struct SessionZone;

impl ZoneKind for SessionZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let entries = usize::try_from(spec.bytes).unwrap_or(usize::MAX) / SESSION_BYTES;
        let options = TableOptions::new(&spec.name)
            .entries_max(entries.max(1))
            .shards((entries / SHARD_ENTRIES).clamp(1, SHARDS_MAX))
            .schema(SCHEMA);
        Ok(Box::new(Sessions(Arc::new(Table::create(&options)?))))
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Sessions(Arc::new(Table::open(file, SCHEMA)?))))
    }
}

/// A zone of sessions, open.
pub(crate) struct Sessions(Arc<Table<Key, Record>>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl ZoneState for Sessions {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

/// The place of a zone that is opened after the configuration was built.
#[derive(Clone, Default)]
pub(crate) struct Bound(Arc<OnceLock<Arc<Table<Key, Record>>>>);

impl Bound {
    /// From now on sessions are kept there.
    pub(crate) fn bind(&self, sessions: &Sessions) {
        let _ = self.0.set(sessions.0.clone());
    }
}

impl fmt::Debug for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound").finish_non_exhaustive()
    }
}

/// The sessions of one server in a zone that others use, too.
pub(crate) struct SharedSessions {
    table: Bound,
    /// What sessions are bound to: another server's are not there.
    context: Vec<u8>,
    timeout_s: u64,
    large: Arc<ServerSessionMemoryCache>,
}

impl SharedSessions {
    pub(crate) fn new(table: Bound, context: &[u8], timeout_s: u32) -> Self {
        Self {
            table,
            context: context.to_vec(),
            timeout_s: u64::from(timeout_s),
            large: ServerSessionMemoryCache::new(LARGE_MAX),
        }
    }

    fn key(&self, table: &Table<Key, Record>, id: &[u8]) -> Key {
        let mut bytes = self.context.clone();
        bytes.extend_from_slice(id);
        key_of(&bytes, |bytes| table.keyed_hash(bytes))
    }

    /// What a record holds, if that is still good.
    fn value(&self, record: &Record) -> Option<Vec<u8>> {
        let (made_at_s, rest) = record.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let age_s = now_s().saturating_sub(u64::from_le_bytes(*made_at_s));
        let len = usize::from(u16::from_le_bytes(*len));
        (age_s < self.timeout_s).then(|| rest.get(..len).map(<[u8]>::to_vec))?
    }
}

fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl StoresServerSessions for SharedSessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let Some(table) = self.table.0.get() else {
            return self.large.put(key, value);
        };
        let mut record = [0; SESSION_BYTES];
        let Some(place) = record[HEAD_BYTES..].get_mut(..value.len()) else {
            return self.large.put(key, value);
        };
        place.copy_from_slice(&value);
        record[..8].copy_from_slice(&now_s().to_le_bytes());
        record[8..HEAD_BYTES].copy_from_slice(&(value.len() as u16).to_le_bytes());
        table.insert(&self.key(table, &key), &record).is_ok()
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.table.0.get().and_then(|table| {
            let record = table.get(&self.key(table, key)).ok()??;
            self.value(&record)
        });
        found.or_else(|| self.large.get(key))
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        let found = self.table.0.get().and_then(|table| {
            let record = table.remove(&self.key(table, key)).ok()??;
            self.value(&record)
        });
        found.or_else(|| self.large.take(key))
    }

    fn can_cache(&self) -> bool {
        true
    }
}

impl fmt::Debug for SharedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSessions")
            .field("timeout_s", &self.timeout_s)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Bound {
        let options = TableOptions::new("sessions").entries_max(64).shards(1);
        let bound = Bound::default();
        bound.bind(&Sessions(Arc::new(Table::create(&options).unwrap())));
        bound
    }

    #[test]
    fn a_session_is_its_servers_alone_and_used_once_where_it_is_taken() {
        let table = table();
        let one = SharedSessions::new(table.clone(), b"one", 300);
        let same = SharedSessions::new(table.clone(), b"one", 300);
        let other = SharedSessions::new(table.clone(), b"two", 300);
        let (key, value) = (vec![7; 32], vec![9; 100]);
        assert!(one.put(key.clone(), value.clone()));
        assert_eq!(same.get(&key), Some(value.clone()));
        assert_eq!(other.get(&key), None);
        assert_eq!(same.take(&key), Some(value));
        assert_eq!(one.take(&key), None);
        let late = SharedSessions::new(table, b"one", 0);
        assert!(one.put(key.clone(), vec![1]));
        assert_eq!(late.get(&key), None);
    }

    #[test]
    fn what_does_not_fit_is_kept_here() {
        let one = SharedSessions::new(table(), b"one", 300);
        for len in [
            0,
            1,
            SESSION_BYTES - HEAD_BYTES,
            SESSION_BYTES - HEAD_BYTES + 1,
            5000,
        ] {
            assert!(one.put(vec![1; 32], vec![5; len]), "{len}");
            assert_eq!(one.get(&[1; 32]).map(|it| it.len()), Some(len));
            assert!(one.take(&[1; 32]).is_some());
        }
    }
}
