//! Tests of the table: a model, death at every store, noise, limits.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::identity;
use crate::words::crash;

type Wide = [u64; 3];

fn wide(number: u64) -> Wide {
    [number, !number, number.rotate_left(17)]
}

fn table(entries_max: usize, shards: usize) -> Table<u32, Wide> {
    let options = TableOptions::new("test")
        .entries_max(entries_max)
        .shards(shards);
    Table::create(&options).unwrap()
}

fn opened_again(table: &Table<u32, Wide>) -> Table<u32, Wide> {
    Table::open(table.descriptor().try_clone_to_owned().unwrap(), 0).unwrap()
}

/// What a death with the lock of the first shard held leaves behind.
fn owner_dies(table: &Table<u32, Wide>) {
    table.zone.body()[0].store(identity::tests::dead(), Ordering::SeqCst);
}

/// The model: records of one shard, the most recently used last.
#[derive(Clone, Debug, Default)]
struct Model {
    records: Vec<(u32, Wide)>,
    entries_max: usize,
}

impl Model {
    fn position(&self, key: u32) -> Option<usize> {
        self.records.iter().position(|(other, _)| *other == key)
    }

    fn get(&mut self, key: u32) -> Option<Wide> {
        let record = self.records.remove(self.position(key)?);
        self.records.push(record);
        Some(record.1)
    }

    fn remove(&mut self, key: u32) -> Option<Wide> {
        Some(self.records.remove(self.position(key)?).1)
    }

    fn insert(&mut self, key: u32, value: Wide) -> Inserted<u32, Wide> {
        let replaced = self.remove(key);
        let full = self.records.len() == self.entries_max;
        let evicted = full.then(|| self.records.remove(0));
        self.records.push((key, value));
        Inserted { replaced, evicted }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Get(u32),
    Peek(u32),
    Insert(u32, u64),
    Remove(u32),
    Raise(u32),
    DropIfOdd(u32),
    KeepEven,
    Death,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..24_u32;
    prop_oneof![
        4 => key.clone().prop_map(Step::Get),
        1 => key.clone().prop_map(Step::Peek),
        6 => (key.clone(), any::<u64>()).prop_map(|(key, value)| Step::Insert(key, value)),
        2 => key.clone().prop_map(Step::Remove),
        3 => key.clone().prop_map(Step::Raise),
        2 => key.prop_map(Step::DropIfOdd),
        1 => Just(Step::KeepEven),
        1 => Just(Step::Death),
    ]
}

fn raise(entry: &mut Option<Wide>) {
    *entry = Some(wide(entry.map_or(0, |value| value[0].wrapping_add(1))));
}

fn take(table: &Table<u32, Wide>, model: &mut Model, step: &Step) {
    match *step {
        Step::Get(key) => assert_eq!(table.get(&key), Ok(model.get(key))),
        Step::Peek(key) => {
            let expected = model.position(key).map(|at| model.records[at].1);
            assert_eq!(table.peek(&key), Ok(expected));
        }
        Step::Insert(key, value) => {
            let expected = model.insert(key, wide(value));
            assert_eq!(table.insert(&key, &wide(value)), Ok(expected));
        }
        Step::Remove(key) => assert_eq!(table.remove(&key), Ok(model.remove(key))),
        Step::Raise(key) => {
            table.modify(&key, raise).unwrap();
            let mut entry = model.get(key);
            raise(&mut entry);
            model.insert(key, entry.unwrap());
        }
        Step::DropIfOdd(key) => {
            let filter = |entry: &mut Option<Wide>| {
                *entry = entry.filter(|value| value[0].is_multiple_of(2));
            };
            table.modify(&key, filter).unwrap();
            if model.get(key).is_some_and(|value| value[0] % 2 == 1) {
                model.remove(key);
            }
        }
        Step::KeepEven => {
            table.retain(|key, _| key.is_multiple_of(2)).unwrap();
            model.records.retain(|(key, _)| key.is_multiple_of(2));
        }
        Step::Death => owner_dies(table),
    }
}

fn newest_first(model: &Model) -> Vec<(u32, Wide)> {
    model.records.iter().rev().copied().collect()
}

proptest! {
    /// One shard against the model, through two mappings in turns, with deaths between operations.
    #[test]
    fn it_is_its_model(entries_max in 1..12_usize, steps in prop::collection::vec(step(), 0..200)) {
        let table = table(entries_max, 1);
        let tables = [opened_again(&table), table];
        let mut model = Model { entries_max, ..Model::default() };
        for (at, step) in steps.iter().enumerate() {
            take(&tables[at % 2], &mut model, step);
        }
        prop_assert_eq!(tables[0].records().unwrap(), newest_first(&model));
        prop_assert_eq!(tables[1].is_sound(), Ok(true));
        prop_assert_eq!(tables[1].stats().entries, model.records.len() as u64);
    }

    /// Many shards, each large enough: a hash map.
    #[test]
    fn without_eviction_it_is_a_map(steps in prop::collection::vec(step(), 0..200)) {
        let table = table(24 * 5, 5);
        let mut model = Model { entries_max: 24, ..Model::default() };
        for step in steps.iter().filter(|step| !matches!(step, Step::Death)) {
            take(&table, &mut model, step);
        }
        let ours: HashMap<u32, Wide> = table.records().unwrap().into_iter().collect();
        let theirs: HashMap<u32, Wide> = model.records.into_iter().collect();
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(table.is_sound(), Ok(true));
    }

    /// Whatever is written over a zone, operations end, none panics, and a repair makes it sound.
    #[test]
    fn noise_is_survived(
        noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u64>(), any::<bool>()), 1..40),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let table = table(8, 1);
        for key in 0..10 {
            table.insert(&key, &wide(key.into())).unwrap();
        }
        let words = table.zone.body();
        for (at, value, small) in noise {
            // Small numbers are plausible links.
            let value = if small { value % 10 } else { value };
            words[at.index(words.len())].store(value, Ordering::SeqCst);
        }
        words[0].store(0, Ordering::SeqCst);
        for step in &steps {
            let _ = match *step {
                Step::Get(key) | Step::Peek(key) => table.get(&key).map(drop),
                Step::Insert(key, value) => table.insert(&key, &wide(value)).map(drop),
                Step::Remove(key) => table.remove(&key).map(drop),
                Step::Raise(key) | Step::DropIfOdd(key) => table.modify(&key, raise),
                Step::KeepEven => table.retain(|key, _| key.is_multiple_of(2)),
                Step::Death => { owner_dies(&table); Ok(()) }
            };
        }
        owner_dies(&table);
        prop_assert_eq!(table.is_sound(), Ok(true));
    }
}

/// Records that the crash tests begin with: the shard is full, key 1 the least recently used.
fn full_of_four() -> (Table<u32, Wide>, Model) {
    let mut table = table(4, 1);
    // A dead owner is looked for at once, not after a sleep.
    table.set_lock_wait_max(Duration::ZERO);
    let mut model = Model {
        entries_max: 4,
        ..Model::default()
    };
    for key in 1..=4 {
        take(&table, &mut model, &Step::Insert(key, key.into()));
    }
    (table, model)
}

/// Lets every operation die at every store, and each repair at every one of its stores.
#[test]
fn death_at_any_store_leaves_before_or_after() {
    let steps = [
        Step::Get(2),
        Step::Insert(9, 900),
        Step::Insert(3, 300),
        Step::Raise(2),
        Step::Raise(8),
        Step::Remove(3),
        Step::Remove(1),
    ];
    for step in steps {
        let mut deaths = 0;
        loop {
            let (table, before) = full_of_four();
            let mut after = before.clone();
            let died = crash::dies_after(deaths, || take(&table, &mut after, &step)).is_err();
            if !died {
                assert!(deaths > 0, "{step:?} stores nothing");
                break;
            }
            // The model has done the step before or after the table died: do it for certain.
            after = before.clone();
            take(&full_of_four().0, &mut after, &step);
            owner_dies(&table);
            check_after_death(
                &table,
                &before,
                &after,
                &format!("{step:?}, store {deaths}"),
            );
            repairs_may_die(&step, deaths, &before, &after);
            deaths += 1;
        }
    }
}

fn repairs_may_die(step: &Step, deaths: u64, before: &Model, after: &Model) {
    for repair_deaths in 0.. {
        let (table, _) = full_of_four();
        let mut ignored = before.clone();
        let died = crash::dies_after(deaths, || take(&table, &mut ignored, step));
        assert!(died.is_err());
        owner_dies(&table);
        let died = crash::dies_after(repair_deaths, || table.is_sound());
        if let Ok(sound) = died {
            assert_eq!(sound, Ok(true));
            assert!(repair_deaths > 0);
            return;
        }
        owner_dies(&table);
        let context = format!("{step:?}, store {deaths}, store {repair_deaths} of the repair");
        check_after_death(&table, before, after, &context);
    }
}

fn check_after_death(table: &Table<u32, Wide>, before: &Model, after: &Model, context: &str) {
    assert_eq!(table.is_sound(), Ok(true), "{context}");
    assert!(table.stats().repairs > 0, "{context}");
    let records = table.records().unwrap();
    let (before, after) = (newest_first(before), newest_first(after));
    // An insertion may die between taking the oldest record out and putting its own in.
    let without_victim = &before[..before.len() - 1];
    let insertion = after.len() == before.len() && after[0].0 > 4;
    // A value may be replaced and its record not yet be moved to the front.
    let value_of = |key| after.iter().find(|(other, _)| *other == key);
    let not_moved: Vec<_> = before
        .iter()
        .filter_map(|(key, _)| value_of(*key))
        .copied()
        .collect();
    let replaced = not_moved.len() == before.len() && records == not_moved;
    assert!(
        records == before || records == after || replaced || insertion && records == without_victim,
        "{context}: {records:?} is neither {before:?} nor {after:?}"
    );
    // It goes on as a table.
    let mut model = Model {
        records: records.into_iter().rev().collect(),
        entries_max: 4,
    };
    for key in [20, 21, 2, 22, 23, 3] {
        take(table, &mut model, &Step::Raise(key));
    }
    assert_eq!(table.records().unwrap(), newest_first(&model), "{context}");
    assert_eq!(table.is_sound(), Ok(true), "{context}");
}

#[test]
fn a_full_table_refuses_where_it_is_told_to() {
    let options = TableOptions::new("test")
        .entries_max(3)
        .shards(1)
        .when_full(WhenFull::Refuse);
    let table: Table<u32, Wide> = Table::create(&options).unwrap();
    for key in 0..3 {
        table.insert(&key, &wide(0)).unwrap();
    }
    assert_eq!(table.stats().entries, 3);
    let full = TableError::Full { shard: 0 };
    assert_eq!(table.insert(&3, &wide(0)), Err(full));
    assert_eq!(table.modify(&3, raise), Err(full));
    assert_eq!(opened_again(&table).insert(&3, &wide(0)), Err(full));
    table.modify(&2, raise).unwrap();
    assert_eq!(table.insert(&2, &wide(5)).unwrap().replaced, Some(wide(1)));
    table.remove(&0).unwrap();
    assert!(table.insert(&3, &wide(0)).is_ok());
    assert_eq!(table.stats().evictions, 0);
}

#[test]
fn another_layout_is_refused_and_said() {
    let table = table(10, 2);
    let file = || table.descriptor().try_clone_to_owned().unwrap();
    let said = |error: ZoneError| error.to_string();
    let error = Table::<u64, Wide>::open(file(), 0).unwrap_err();
    assert_eq!(
        said(error),
        "the shared zone has another layout: key bytes is 4, expected 8"
    );
    let error = Table::<u32, u64>::open(file(), 0).unwrap_err();
    assert_eq!(
        said(error),
        "the shared zone has another layout: value bytes is 24, expected 8"
    );
    let error = Table::<u32, Wide>::open(file(), 1).unwrap_err();
    assert_eq!(
        said(error),
        "the shared zone has another layout: schema is 0, expected 1"
    );
    let array = crate::AtomicArray::create("a", 8, crate::Spacing::Packed, 0).unwrap();
    let array = array.descriptor().try_clone_to_owned().unwrap();
    let error = Table::<u32, Wide>::open(array, 0).unwrap_err();
    assert_eq!(
        said(error),
        "the shared zone has another layout: kind is 3, expected 1"
    );
}

#[test]
fn options_have_limits() {
    let refused = |options: TableOptions| {
        let error = Table::<u32, Wide>::create(&options).unwrap_err();
        assert!(matches!(error, ZoneError::Options(_)), "{error}");
        assert_eq!(options.memory_bytes::<u32, Wide>(), None);
    };
    let options = || TableOptions::new("test");
    refused(options().entries_max(0));
    refused(options().entries_max(1 << 32));
    refused(options().shards(0));
    refused(options().shards(4097));
    for options in [
        options().entries_max(1).shards(1),
        options().entries_max(1).shards(4096),
        options().entries_max(1_000).shards(3),
    ] {
        let table = Table::<u32, Wide>::create(&options).unwrap();
        let bytes = table.stats().memory_bytes as usize;
        assert_eq!(options.memory_bytes::<u32, Wide>(), Some(bytes));
        assert!(table.stats().entries_max >= options.entries_max as u64);
    }
}

#[test]
fn any_size_of_key_and_value_fits() {
    fn holds<const K: usize, const V: usize>() {
        let options = TableOptions::new("test").entries_max(7).shards(2);
        let table: Table<[u8; K], [u8; V]> = Table::create(&options).unwrap();
        let (key, value) = ([0xA5; K], [0x5A; V]);
        table.insert(&key, &value).unwrap();
        assert_eq!(table.get(&key), Ok(Some(value)));
        if let Some(mut other) = Some(key).filter(|key| !key.is_empty()) {
            other[K - 1] ^= 1;
            assert_eq!(table.get(&other), Ok(None));
        }
        table.insert(&key, &[1; V]).unwrap();
        assert_eq!(table.records(), Ok(vec![(key, [1; V])]));
        assert_eq!(table.is_sound(), Ok(true));
    }
    holds::<0, 0>();
    holds::<1, 3>();
    holds::<16, 0>();
    holds::<17, 129>();
    holds::<256, 1024>();
}

#[test]
fn shards_begin_at_lines() {
    let table = table(100, 7);
    for index in 0..7 {
        let words = table.zone.body();
        let at = &raw const words[index * table.geometry.shard_words];
        assert_eq!(at as usize % 128, 0);
    }
}

#[test]
fn the_keyed_hash_is_of_the_zone_alone() {
    let (one, other) = (table(4, 1), table(4, 1));
    let same = opened_again(&one);
    assert_eq!(one.keyed_hash(b"key"), same.keyed_hash(b"key"));
    assert_ne!(one.keyed_hash(b"key"), one.keyed_hash(b"kez"));
    assert_ne!(one.keyed_hash(b"key"), other.keyed_hash(b"key"));
}

#[test]
fn equal_hashes_are_told_apart_by_their_keys() {
    let table = table(64, 1);
    let shard = table.shard(0);
    for key in 0..40_u64 {
        let (value, bytes) = ([key; 3], key.to_ne_bytes());
        let record = (7, &bytes[..4], bytemuck::bytes_of(&value));
        let place = shard.insert(record, false, |_| Ok(())).unwrap();
        assert_eq!(place, Place::Taken);
    }
    for key in 0..40_u64 {
        let slot = shard.find(7, &key.to_ne_bytes()[..4]).unwrap().unwrap();
        assert_eq!(value_of::<Wide>(shard, slot), Ok([key; 3]));
    }
    assert_eq!(shard.find(7, &99_u32.to_ne_bytes()), Ok(None));
}

#[test]
fn a_panic_in_a_closure_changes_nothing_and_lets_go() {
    let (table, model) = full_of_four();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        table.modify(&2, |entry| {
            *entry = None;
            std::panic::resume_unwind(Box::new("ours"));
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(table.records().unwrap(), newest_first(&model));
    assert_eq!(table.stats().repairs, 0);
}

#[test]
fn a_held_shard_is_busy_and_the_wait_bounded() {
    let mut table = table(4, 1);
    let wait = Duration::from_millis(30);
    table.set_lock_wait_max(wait);
    let began = Instant::now();
    let within = table.modify(&1, |_| table.get(&2)).unwrap();
    assert!(matches!(within, Err(TableError::Busy { shard: 0, waited }) if waited >= wait));
    assert!(began.elapsed() < wait * 50);
    assert_eq!(table.get(&2), Ok(None));
}

#[test]
fn overwritten_memory_is_repaired_on_the_way() {
    let (table, _) = full_of_four();
    let buckets = 16 + 16;
    for word in &table.zone.body()[buckets..buckets + 4] {
        word.store(77, Ordering::SeqCst);
    }
    assert_eq!(table.get(&3), Ok(Some(wide(3))));
    assert_eq!((table.stats().repairs, table.stats().entries), (1, 4));
    assert_eq!(table.is_sound(), Ok(true));
}
