//! What challenges are answered with, for all workers (RFC 8555, 8.3).

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use revolve_shm::{Table, TableOptions, ZoneError};

use crate::zones::{Key, ZoneKind, ZoneSpec, ZoneState, key_of};

/// The directive that declares such a zone.
const ZONE: &str = "acme_shared_zone";

/// Bytes of an answer: a token, a dot and a hash, both of less than fifty bytes with real authorities.
const ANSWER_BYTES: usize = 256;
const SCHEMA: u64 = 1;

type Record = [u8; ANSWER_BYTES];

/// A zone of answers.
#[derive(Debug)]
pub(crate) struct ChallengeZone;

impl ZoneKind for ChallengeZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let entries = usize::try_from(spec.bytes).unwrap_or(usize::MAX) / (2 * ANSWER_BYTES);
        let options = TableOptions::new(&spec.name)
            .entries_max(entries.max(1))
            .shards(1)
            .schema(SCHEMA);
        Ok(Box::new(Challenges(Arc::new(Table::create(&options)?))))
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Challenges(Arc::new(Table::open(file, SCHEMA)?))))
    }
}

/// The answers, by their tokens.
#[derive(Clone)]
pub(crate) struct Challenges(Arc<Table<Key, Record>>);

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

impl ZoneState for Challenges {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

impl Challenges {
    fn key(&self, token: &[u8]) -> Key {
        key_of(token, |bytes| self.0.keyed_hash(bytes))
    }

    /// Has all workers answer this.
    pub(super) fn put(&self, token: &str, answer: &str) -> Result<(), String> {
        let mut record = [0; ANSWER_BYTES];
        let room = &mut record[1..];
        let place = room.get_mut(..answer.len());
        let place = place.ok_or_else(|| "the token is too long".to_owned())?;
        place.copy_from_slice(answer.as_bytes());
        record[0] = answer.len() as u8;
        let put = self.0.insert(&self.key(token.as_bytes()), &record);
        put.map(|_| ()).map_err(|error| error.to_string())
    }

    /// Has nobody answer it any more.
    pub(super) fn remove(&self, token: &str) {
        // What stays is driven out by others.
        let _ = self.0.remove(&self.key(token.as_bytes()));
    }

    /// What is answered to a token.
    pub(crate) fn answer(&self, token: &[u8]) -> Option<Vec<u8>> {
        let record = self.0.get(&self.key(token)).ok()??;
        let (len, rest) = record.split_first()?;
        rest.get(..usize::from(*len)).map(<[u8]>::to_vec)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_answer_until_it_is_taken_back() {
        let options = TableOptions::new("challenges").entries_max(8).shards(1);
        let challenges = Challenges(Arc::new(Table::create(&options).unwrap()));
        assert_eq!(challenges.answer(b"token"), None);
        challenges.put("token", "token.hash").unwrap();
        assert_eq!(
            challenges.answer(b"token").as_deref(),
            Some(&b"token.hash"[..])
        );
        assert_eq!(challenges.answer(b"toke"), None);
        assert!(challenges.put("long", &"x".repeat(255)).is_ok());
        assert!(challenges.put("long", &"x".repeat(256)).is_err());
        challenges.remove("token");
        assert_eq!(challenges.answer(b"token"), None);
    }
}
