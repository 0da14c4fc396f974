//! Lookups a second in one table, by one process and by two, and a `HashMap` behind a `Mutex` beside
//! it in the same run.
//!
//! Keys are of 16 bytes, values of 32; 50,000 records; each lookup chooses one at random. Two processes
//! on fewer than two free cores measure the scheduler.

#![forbid(unsafe_code)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::HashMap;
use std::hint::black_box;
use std::io::Read;
use std::sync::Mutex;
use std::time::Instant;

use revolve_shm::{Table, TableOptions};

type Key = [u64; 2];
type Value = [u64; 4];

const RECORDS: u64 = 50_000;
const LOOKUPS: u64 = 2_000_000;
const ROUNDS: usize = 5;

fn key(number: u64) -> Key {
    [number, !number]
}

/// Numbers below `RECORDS` that follow no pattern that a prefetcher would see.
fn numbers() -> impl Iterator<Item = u64> {
    let mut state = 1_u64;
    (0..LOOKUPS).map(move |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % RECORDS
    })
}

/// Nanoseconds a lookup.
fn timed(mut lookup: impl FnMut(&Key)) -> f64 {
    let began = Instant::now();
    for number in numbers() {
        lookup(black_box(&key(number)));
    }
    began.elapsed().as_nanos() as f64 / LOOKUPS as f64
}

fn in_table(table: &Table<Key, Value>) -> f64 {
    timed(|key| {
        let found = table.get(key).expect("nobody holds a lock for long");
        assert!(black_box(found).is_some());
    })
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("child") {
        let mut zones = common::receive().expect("a zone is sent").into_iter();
        let table = Table::open(zones.next().expect("one zone"), 0).expect("it is ours");
        println!("{}", in_table(&table));
        return;
    }
    let options = TableOptions::new("bench").entries_max(80_000).shards(64);
    let table: Table<Key, Value> = Table::create(&options).expect("memory is there");
    let mut map = HashMap::new();
    for number in 0..RECORDS {
        table
            .insert(&key(number), &[number; 4])
            .expect("nobody holds a lock");
        map.insert(key(number), [number; 4]);
    }
    let map = Mutex::new(map);
    println!(
        "   map+mutex   one process  two processes (each), ns a lookup; lookups a second of both"
    );
    for _ in 0..ROUNDS {
        let floor = timed(|key| {
            let found = map.lock().expect("nobody panics").get(key).copied();
            assert!(black_box(found).is_some());
        });
        let alone = in_table(&table);
        let mut child = common::spawn(&["child"], &[table.descriptor()]).expect("it starts");
        let ours = in_table(&table);
        let mut theirs = String::new();
        let output = child.stdout.as_mut().expect("it is a pipe");
        output.read_to_string(&mut theirs).expect("it prints");
        child.wait().expect("it ends");
        let theirs: f64 = theirs.trim().parse().expect("it prints a number");
        let both = 1e9 / ours + 1e9 / theirs;
        println!(
            "{floor:12.1} {alone:13.1} {ours:8.1}, {theirs:.1}   {:.2} M/s, {:.2} of one map",
            both / 1e6,
            both * floor / 1e9
        );
    }
}
