//! Secrets that all workers share and that nobody writes down: made by whoever needs one first.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;

use revolve_shm::{Table, TableOptions, ZoneError};

use super::key::Key;
use super::kind::{ZoneKind, ZoneSpec, ZoneState};

const SECRET_BYTES: usize = 32;
const ENTRIES_MAX: usize = 64;
const SCHEMA: u64 = 1;

/// A secret.
pub(crate) type Secret = [u8; SECRET_BYTES];

/// The zone of secrets: in every configuration.
#[derive(Debug)]
pub(super) struct SecretZone;

impl ZoneKind for SecretZone {
    fn directive(&self) -> &'static str {
        "secrets"
    }

    fn create(&self, _: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let options = TableOptions::new(self.directive())
            .entries_max(ENTRIES_MAX)
            .shards(1)
            .schema(SCHEMA);
        Ok(Box::new(SharedSecrets(Arc::new(Table::create(&options)?))))
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(SharedSecrets(Arc::new(Table::open(
            file, SCHEMA,
        )?))))
    }
}

/// Secrets that change with time, each by the length of its period and the number of that.
#[derive(Clone)]
pub(crate) struct SharedSecrets(Arc<Table<Key, Secret>>);

impl fmt::Debug for SharedSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedSecrets").finish_non_exhaustive()
    }
}

impl ZoneState for SharedSecrets {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

fn name(period_s: u32, number: u64) -> Key {
    let mut name = Key::default();
    name[..4].copy_from_slice(&period_s.to_le_bytes());
    name[4..12].copy_from_slice(&number.to_le_bytes());
    name
}

/// The length and the number of the period that a secret is of.
fn period(name: &Key) -> (u32, u64) {
    let (length, rest) = name.split_at(4);
    let length = length.try_into().map_or(0, u32::from_le_bytes);
    let number = rest[..8].try_into().map_or(0, u64::from_le_bytes);
    (length, number)
}

impl SharedSecrets {
    #[cfg(test)]
    pub(crate) fn of_one_process() -> Self {
        let options = TableOptions::new("secrets")
            .entries_max(ENTRIES_MAX)
            .shards(1);
        Self(Arc::new(Table::create(&options).expect("memory")))
    }

    /// The secret of a period, which is made where it is the first time that anybody asks; and that of the
    /// period before, where there was one. Those that are older are forgotten.
    ///
    /// Empty where the memory cannot be used.
    pub(crate) fn of_period(&self, period_s: u32, number: u64) -> Vec<Secret> {
        let mut fresh = Secret::default();
        if aws_lc_rs::rand::fill(&mut fresh).is_err() {
            return Vec::new();
        }
        let now = self
            .0
            .modify(&name(period_s, number), |it| *it.get_or_insert(fresh));
        let Ok(now) = now else {
            return Vec::new();
        };
        let before = number.checked_sub(1);
        let before = before.and_then(|it| self.0.get(&name(period_s, it)).ok()?);
        // What fails here is driven out by others.
        let _ = self.0.retain(|known, _| {
            let (length, of) = period(known);
            length != period_s || of.saturating_add(1) >= number
        });
        std::iter::once(now).chain(before).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_lives_for_its_period_and_the_one_behind_it() {
        let secrets = SharedSecrets::of_one_process();
        let first = secrets.of_period(300, 7);
        assert_eq!((first.len(), &first), (1, &secrets.of_period(300, 7)));
        let second = secrets.of_period(300, 8);
        assert_eq!((second.len(), second[1]), (2, first[0]));
        assert_ne!(second[0], first[0]);
        assert_eq!(
            secrets.of_period(60, 8).len(),
            1,
            "another length is another secret"
        );
        let third = secrets.of_period(300, 9);
        assert_eq!(third[1], second[0]);
        assert_ne!(secrets.of_period(300, 7)[0], first[0], "it is forgotten");
        assert_eq!(secrets.of_period(300, 20).len(), 1);
        assert_eq!(secrets.of_period(60, 9).len(), 2);
    }
}
