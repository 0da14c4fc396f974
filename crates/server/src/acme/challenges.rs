//! What challenges are answered with, for all workers (RFC 8555, 8.3; RFC 8737, 3).

use std::fmt;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use revolve_shm::{Table, TableOptions, ZoneError};

use crate::zones::{Key, ZoneKind, ZoneSpec, ZoneState, key_of};

/// The directive that declares such a zone.
const ZONE: &str = "acme_shared_zone";

/// Bytes of an answer: a token, a dot and a hash, both of less than fifty bytes with real authorities; before
/// them a name, where a handshake asks for it.
const ANSWER_BYTES: usize = 512;
/// How long the answer is stands before it.
const HEAD_BYTES: usize = 2;
const SCHEMA: u64 = 2;

/// What an answer is found by: the token of a request, or the name that a handshake asks for.
const TOKEN: u8 = 1;
const NAME: u8 = 2;

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

/// The name that an authority asks for in its handshake to look whether another is ours: the same, but of
/// an address. Source: RFC 8738, 6.
fn asked_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(address)) => {
            let octets = address.octets();
            let digits = octets.iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            let digits: String = digits.map(|digit| format!("{digit:x}.")).collect();
            format!("{digits}ip6.arpa")
        }
        Err(_) => name.to_ascii_lowercase(),
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
    #[cfg(test)]
    pub(super) fn of(entries: usize) -> Self {
        let options = TableOptions::new("challenges")
            .entries_max(entries)
            .shards(1);
        Challenges(Arc::new(Table::create(&options).expect("memory")))
    }

    fn key(&self, kind: u8, token: &[u8]) -> Key {
        let bytes = [&[kind], token].concat();
        key_of(&bytes, |bytes| self.0.keyed_hash(bytes))
    }

    fn insert(&self, key: &Key, answer: &[u8]) -> Result<(), String> {
        let mut record = [0; ANSWER_BYTES];
        let (head, room) = record.split_at_mut(HEAD_BYTES);
        let place = room.get_mut(..answer.len());
        let place = place.ok_or_else(|| "the token is too long".to_owned())?;
        place.copy_from_slice(answer);
        head.copy_from_slice(&(answer.len() as u16).to_le_bytes());
        let put = self.0.insert(key, &record);
        put.map(|_| ()).map_err(|error| error.to_string())
    }

    fn get(&self, key: &Key) -> Option<Vec<u8>> {
        let record = self.0.get(key).ok()??;
        let (len, rest) = record.split_first_chunk::<HEAD_BYTES>()?;
        rest.get(..usize::from(u16::from_le_bytes(*len)))
            .map(<[u8]>::to_vec)
    }

    /// Has all workers answer this to a token.
    pub(super) fn put(&self, token: &str, answer: &str) -> Result<(), String> {
        self.insert(&self.key(TOKEN, token.as_bytes()), answer.as_bytes())
    }

    /// Has nobody answer it any more.
    pub(super) fn remove(&self, token: &str) {
        // What stays is driven out by others.
        let _ = self.0.remove(&self.key(TOKEN, token.as_bytes()));
    }

    /// What is answered to a token.
    pub(crate) fn answer(&self, token: &[u8]) -> Option<Vec<u8>> {
        self.get(&self.key(TOKEN, token))
    }

    /// Has all workers show this in handshakes that ask for a name.
    pub(super) fn put_authorization(&self, name: &str, authorization: &str) -> Result<(), String> {
        let asked = asked_name(name);
        let both = format!("{name} {authorization}");
        self.insert(&self.key(NAME, asked.as_bytes()), both.as_bytes())
    }

    /// Has nobody show it any more.
    pub(super) fn remove_authorization(&self, name: &str) {
        let _ = self.0.remove(&self.key(NAME, asked_name(name).as_bytes()));
    }

    /// Whom a certificate is to be for that is shown to who asks for a name, and what is to be in it.
    pub(super) fn authorization(&self, asked: &str) -> Option<(String, Vec<u8>)> {
        let both = self.get(&self.key(NAME, asked.as_bytes()))?;
        let at = both.iter().position(|byte| *byte == b' ')?;
        let name = String::from_utf8(both[..at].to_vec()).ok()?;
        Some((name, both[at + 1..].to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_its_answer_until_it_is_taken_back() {
        let challenges = Challenges::of(8);
        assert_eq!(challenges.answer(b"token"), None);
        challenges.put("token", "token.hash").unwrap();
        assert_eq!(
            challenges.answer(b"token").as_deref(),
            Some(&b"token.hash"[..])
        );
        assert_eq!(challenges.answer(b"toke"), None);
        assert!(
            challenges
                .put("long", &"x".repeat(ANSWER_BYTES - HEAD_BYTES))
                .is_ok()
        );
        assert!(
            challenges
                .put("long", &"x".repeat(ANSWER_BYTES - HEAD_BYTES + 1))
                .is_err()
        );
        challenges.remove("token");
        assert_eq!(challenges.answer(b"token"), None);
    }

    #[test]
    fn addresses_are_asked_for_by_their_reverse_names() {
        assert_eq!(asked_name("A.test"), "a.test");
        assert_eq!(asked_name("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        let expected = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(asked_name("2001:db8::1"), expected);
    }

    #[test]
    fn a_name_is_no_token() {
        let challenges = Challenges::of(8);
        challenges.put_authorization("192.0.2.1", "t.h").unwrap();
        let shown = challenges.authorization("1.2.0.192.in-addr.arpa");
        assert_eq!(shown, Some(("192.0.2.1".into(), b"t.h".to_vec())));
        assert_eq!(challenges.answer(b"1.2.0.192.in-addr.arpa"), None);
        challenges.remove_authorization("192.0.2.1");
        assert_eq!(challenges.authorization("1.2.0.192.in-addr.arpa"), None);
    }
}
