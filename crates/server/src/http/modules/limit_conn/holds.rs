//! How many requests of each key are under way, in all workers together.
//!
//! A key's record has a column for each worker. So the sum is exact under one lock, whatever the
//! number of workers; and when one dies, its column says what is to be taken back.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_shm::{Table, TableError, TableOptions, WhenFull, ZoneError};

use crate::log::{Level, Logs};
#[cfg(test)]
use crate::zones::columns_for;
use crate::zones::{Key, ZoneId, ZoneState, Zones, key_of};

/// nginx's: a state takes 64 bytes, so a megabyte holds 16 thousand. As many are held here,
/// whatever they take.
const STATE_BYTES: u64 = 64;
/// One more in so many, because keys do not spread over the shards exactly.
const SPARE_SHARE: usize = 8;
/// States in a shard, about: a small zone has few.
const SHARD_ENTRIES: usize = 2048;
const SHARDS_MAX: usize = 64;
/// Raised when the meaning of a record changes.
const SCHEMA: u64 = 1;
/// How long after it found a table busy an end is told to it again.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

/// Requests under way by key and worker.
#[derive(Debug)]
pub(crate) struct Holds {
    table: Box<dyn ByWorker>,
    columns: usize,
}

/// What was said to a request that wanted to be counted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It counts, until its hold is dropped.
    Admitted,
    /// There are as many already as may be.
    TooMany,
    /// There is no room for another key.
    Full,
    /// The zone cannot be asked now.
    Failed(TableError),
}

/// A table of some number of columns.
trait ByWorker: std::fmt::Debug + Send + Sync {
    fn admit(&self, key: &Key, worker: usize, most: u64) -> Result<bool, TableError>;
    fn end(&self, key: &Key, worker: usize) -> Result<(), TableError>;
    fn take_back(&self, worker: usize) -> Result<(), TableError>;
    fn keyed_hash(&self, bytes: &[u8]) -> u128;
    fn descriptor(&self) -> BorrowedFd<'_>;
}

impl<const N: usize> ByWorker for Table<Key, [u16; N]> {
    fn admit(&self, key: &Key, worker: usize, most: u64) -> Result<bool, TableError> {
        self.modify(key, |entry| {
            let held = entry.map_or(0, |columns| columns.iter().copied().map(u64::from).sum());
            if held >= most {
                return false;
            }
            // The sum is below `most`, which a column can hold.
            entry.get_or_insert([0; N])[worker] += 1;
            true
        })
    }

    fn end(&self, key: &Key, worker: usize) -> Result<(), TableError> {
        self.modify(key, |entry| {
            if let Some(columns) = entry {
                columns[worker] = columns[worker].saturating_sub(1);
                if *columns == [0; N] {
                    *entry = None;
                }
            }
        })
    }

    fn take_back(&self, worker: usize) -> Result<(), TableError> {
        self.retain(|_, columns| {
            columns[worker] = 0;
            *columns != [0; N]
        })
    }

    fn keyed_hash(&self, bytes: &[u8]) -> u128 {
        Table::keyed_hash(self, bytes)
    }

    fn descriptor(&self) -> BorrowedFd<'_> {
        Table::descriptor(self)
    }
}

impl Holds {
    pub(super) fn create(name: &str, bytes: u64, columns: usize) -> Result<Self, ZoneError> {
        let states = usize::try_from(bytes / STATE_BYTES).unwrap_or(usize::MAX);
        let entries = states + states / SPARE_SHARE;
        let options = TableOptions::new(name)
            .entries_max(entries)
            .shards((entries / SHARD_ENTRIES).clamp(1, SHARDS_MAX))
            .schema(SCHEMA)
            .when_full(WhenFull::Refuse);
        let table: Box<dyn ByWorker> = match columns {
            8 => Box::new(Table::<Key, [u16; 8]>::create(&options)?),
            32 => Box::new(Table::<Key, [u16; 32]>::create(&options)?),
            128 => Box::new(Table::<Key, [u16; 128]>::create(&options)?),
            512 => Box::new(Table::<Key, [u16; 512]>::create(&options)?),
            _ => Box::new(Table::<Key, [u16; 2048]>::create(&options)?),
        };
        Ok(Self { table, columns })
    }

    pub(super) fn open(file: OwnedFd, columns: u64) -> Result<Self, ZoneError> {
        let table: Box<dyn ByWorker> = match columns {
            8 => Box::new(Table::<Key, [u16; 8]>::open(file, SCHEMA)?),
            32 => Box::new(Table::<Key, [u16; 32]>::open(file, SCHEMA)?),
            128 => Box::new(Table::<Key, [u16; 128]>::open(file, SCHEMA)?),
            512 => Box::new(Table::<Key, [u16; 512]>::open(file, SCHEMA)?),
            _ => Box::new(Table::<Key, [u16; 2048]>::open(file, SCHEMA)?),
        };
        let columns = columns as usize;
        Ok(Self { table, columns })
    }

    /// The record's key of a key's bytes.
    pub(crate) fn key(&self, bytes: &[u8]) -> Key {
        key_of(bytes, |bytes| self.table.keyed_hash(bytes))
    }

    /// Counts a request of a worker, unless there are `most` of its key already. `most` is below
    /// 65,536. Who was admitted must say so to [`Holds::end`].
    ///
    /// A worker beyond the columns, of which there is none unless several generations end at a
    /// time, is not counted.
    pub(super) fn admit(&self, key: &Key, worker: usize, most: u64) -> Admission {
        if worker >= self.columns {
            return Admission::Admitted;
        }
        match self.table.admit(key, worker, most) {
            Ok(true) => Admission::Admitted,
            Ok(false) => Admission::TooMany,
            Err(TableError::Full { .. }) => Admission::Full,
            Err(error) => Admission::Failed(error),
        }
    }

    fn end(&self, key: &Key, worker: usize) -> Result<(), TableError> {
        if worker >= self.columns {
            return Ok(());
        }
        self.table.end(key, worker)
    }
}

impl ZoneState for Holds {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.table.descriptor()
    }

    fn take_back(&self, worker: usize) {
        if worker >= self.columns {
            return;
        }
        // A shard may be busy because its owner stands still. Once more is as much as can be done:
        // what is left then is taken back with the next that has this number.
        if self.table.take_back(worker).is_err() {
            let _ = self.table.take_back(worker);
        }
    }
}

/// A request that counts, until this is dropped.
pub(super) struct Hold {
    zones: Arc<Zones>,
    zone: ZoneId,
    key: Key,
    worker: usize,
    logs: Rc<Logs>,
}

impl Hold {
    /// Asks for a request of this key to be counted.
    pub(crate) fn take(
        (zones, zone): (&Arc<Zones>, ZoneId),
        key: Key,
        most: u64,
        worker: usize,
        logs: &Rc<Logs>,
    ) -> Result<Hold, Admission> {
        match zones.state::<Holds>(zone).admit(&key, worker, most) {
            Admission::Admitted => Ok(Hold {
                zones: Arc::clone(zones),
                zone,
                key,
                worker,
                logs: Rc::clone(logs),
            }),
            refused => Err(refused),
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Err(error) = self
            .zones
            .state::<Holds>(self.zone)
            .end(&self.key, self.worker)
        else {
            return;
        };
        let (zones, zone, key, worker) =
            (Arc::clone(&self.zones), self.zone, self.key, self.worker);
        let name = zones.name(zone);
        let message = format_args!("{error} in limit_conn_zone \"{name}\", trying again");
        self.logs.process(Level::Alert, message);
        revolve_reactor::spawn(async move {
            while let Err(TableError::Busy { .. }) = zones.state::<Holds>(zone).end(&key, worker) {
                revolve_reactor::sleep(AGAIN_AFTER).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn holds(workers: usize) -> Holds {
        Holds::create("test", 64 << 10, columns_for(workers)).unwrap()
    }

    fn opened_again(holds: &Holds) -> Holds {
        let file = holds.descriptor().try_clone_to_owned().unwrap();
        Holds::open(file, holds.columns as u64).unwrap()
    }

    #[test]
    fn there_are_columns_for_two_generations_of_workers() {
        let columns = [1, 4, 5, 16, 17, 64, 256, 1024].map(columns_for);
        assert_eq!(columns, [8, 8, 32, 32, 128, 128, 512, 2048]);
        for workers in [4, 16, 64, 256, 1024] {
            let holds = holds(workers);
            let last = holds.columns - 1;
            let key = holds.key(b"key");
            assert_eq!(holds.admit(&key, last, 1), Admission::Admitted);
            let again = opened_again(&holds);
            assert_eq!(again.admit(&key, 0, 1), Admission::TooMany);
            again.take_back(last);
            assert_eq!(holds.admit(&key, 0, 1), Admission::Admitted);
        }
    }

    #[test]
    fn the_largest_limit_fits_into_a_column() {
        let holds = holds(1);
        let key = holds.key(b"key");
        for _ in 0..u16::MAX {
            assert_eq!(holds.admit(&key, 0, u16::MAX.into()), Admission::Admitted);
        }
        assert_eq!(holds.admit(&key, 0, u16::MAX.into()), Admission::TooMany);
        assert_eq!(holds.admit(&key, 1, u16::MAX.into()), Admission::TooMany);
    }

    #[test]
    fn a_zone_holds_as_many_states_as_in_nginx_and_then_is_full() {
        let holds = Holds::create("test", 32 << 10, 8).unwrap();
        let key = |number: u32| holds.key(&number.to_le_bytes());
        let admit = |number| holds.admit(&key(number), 0, 1);
        let full = (0..1000).find(|number| admit(*number) == Admission::Full);
        assert!(
            full.is_some_and(|full| (512..=576).contains(&full)),
            "{full:?}"
        );
        assert_eq!(admit(0), Admission::TooMany);
        holds.end(&key(0), 0).unwrap();
        assert_eq!(admit(1000), Admission::Admitted);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Begin(u8, usize),
        End(u8, usize),
        Death(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let (key, worker) = (0..6_u8, 0..5_usize);
        prop_oneof![
            6 => (key.clone(), worker.clone()).prop_map(|(key, worker)| Step::Begin(key, worker)),
            4 => (key, worker.clone()).prop_map(|(key, worker)| Step::End(key, worker)),
            1 => worker.prop_map(Step::Death),
        ]
    }

    proptest! {
        /// Against a count by key and worker, through two mappings in turns.
        #[test]
        fn it_is_its_model(most in 1..8_u64, steps in prop::collection::vec(step(), 0..200)) {
            let first = holds(5);
            let both = [opened_again(&first), first];
            let mut model: HashMap<(u8, usize), u64> = HashMap::new();
            // Keys of all lengths, those that are hashed among them.
            let key = |key: u8| both[0].key(&vec![key; usize::from(key) * 5]);
            for (at, step) in steps.into_iter().enumerate() {
                let holds = &both[at % 2];
                match step {
                    Step::Begin(name, worker) => {
                        let held: u64 = model.iter().filter(|((it, _), _)| *it == name).map(|(_, n)| n).sum();
                        let expected = if held < most { Admission::Admitted } else { Admission::TooMany };
                        prop_assert_eq!(holds.admit(&key(name), worker, most), expected);
                        if held < most {
                            *model.entry((name, worker)).or_default() += 1;
                        }
                    }
                    Step::End(name, worker) => {
                        if let Some(held) = model.get_mut(&(name, worker)).filter(|held| **held > 0) {
                            *held -= 1;
                            holds.end(&key(name), worker).unwrap();
                        }
                    }
                    Step::Death(worker) => {
                        model.retain(|(_, it), _| *it != worker);
                        holds.take_back(worker);
                    }
                }
            }
            for name in 0..6 {
                let held: u64 = model.iter().filter(|((it, _), _)| *it == name).map(|(_, n)| n).sum();
                for _ in held..20 {
                    prop_assert_eq!(both[1].admit(&key(name), 0, 20), Admission::Admitted);
                }
                prop_assert_eq!(both[0].admit(&key(name), 1, 20), Admission::TooMany);
            }
        }
    }
}
