//! Several processes on one zone, killed at random (`kill -9`).
//!
//! The program starts itself again as the children. Its seed is printed; `SHM_HAMMER_SEED` sets it, and
//! `SHM_HAMMER_KILLS` the number of kills. Kills come at random moments, so the same seed repeats what
//! children do, not the outcome.

#![forbid(unsafe_code)]

mod common;

use std::env;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitCode};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytemuck::{Pod, Zeroable};
use revolve_shm::{AtomicArray, Counters, Spacing, Table, TableError, TableOptions};
use rustix::process::Pid;

const PROCESSES: usize = 4;
const KEYS: u64 = 64;
/// On a loaded machine a live owner may not run for long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Large, so that a good part of a process's time is spent in the midst of writing one.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Record {
    count: u64,
    /// Each follows from the count and its place: a torn record shows.
    rest: [u64; 63],
}

impl Record {
    fn of(key: u64, count: u64) -> Self {
        let rest = std::array::from_fn(|at| mix(count ^ key << 32 ^ (at as u64) << 48));
        Self { count, rest }
    }

    fn is_whole(&self, key: u64) -> bool {
        bytemuck::bytes_of(self) == bytemuck::bytes_of(&Self::of(key, self.count))
    }
}

/// splitmix64.
fn mix(seed: u64) -> u64 {
    let mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ mixed >> 31
}

fn random(state: &mut u64, below: u64) -> u64 {
    *state = mix(*state);
    *state % below
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("child-count") => count(&arguments[1..]),
        Some("child-churn") => churn(&arguments[1..]),
        Some("child-park") => park(),
        Some("--list") => {}
        _ => parent(),
    }
    ExitCode::SUCCESS
}

fn parent() {
    let by_clock = SystemTime::now().duration_since(UNIX_EPOCH);
    let by_clock = by_clock.map_or(1, |time| time.subsec_nanos().into());
    let number = |name: &str, default| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let seed = number("SHM_HAMMER_SEED", by_clock);
    let kills = number("SHM_HAMMER_KILLS", 150);
    println!("hammer: SHM_HAMMER_SEED={seed} SHM_HAMMER_KILLS={kills}");
    a_parked_holder_is_busy_and_a_killed_one_is_not();
    no_acknowledged_count_is_lost(seed, kills);
    churned_records_stay_whole(seed, kills);
    println!("hammer: ok");
}

/// Lets processes run and kills them at random, each replaced at once; then lets the last ones be.
fn kill_at_random(seed: u64, kills: u64, spawn: &mut dyn FnMut(u64) -> Child) {
    let mut state = seed;
    let mut children: Vec<Child> = (0..PROCESSES as u64).map(&mut *spawn).collect();
    for kill in 0..kills {
        thread::sleep(Duration::from_micros(random(&mut state, 20_000)));
        let victim = &mut children[random(&mut state, PROCESSES as u64) as usize];
        assert_eq!(
            victim.try_wait().unwrap(),
            None,
            "a child has found something wrong"
        );
        victim.kill().unwrap();
        // Its zombie lies there while its successor starts: a lock is free of it all the same.
        let successor = spawn(PROCESSES as u64 + kill);
        std::mem::replace(victim, successor).wait().unwrap();
    }
    for child in &mut children {
        assert_eq!(child.try_wait().unwrap(), None, "a child has given up");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

fn counting_table(entries_max: usize) -> Table<u64, Record> {
    let options = TableOptions::new("hammer")
        .entries_max(entries_max)
        .shards(2);
    Table::create(&options).unwrap()
}

/// Counts in the table are never behind what processes say they have counted, and never more ahead
/// than one for each death.
fn no_acknowledged_count_is_lost(seed: u64, kills: u64) {
    let table = counting_table(KEYS as usize * 4);
    let done = AtomicArray::create("done", 1, Spacing::CacheLine, 0).unwrap();
    kill_at_random(seed, kills, &mut |number| {
        let arguments = ["child-count", &(seed ^ number).to_string()];
        common::spawn(&arguments, &[table.descriptor(), done.descriptor()]).unwrap()
    });
    let counted: u64 = table
        .records()
        .unwrap()
        .iter()
        .map(|(_, record)| record.count)
        .sum();
    let done = done.get(0).unwrap().load(Ordering::SeqCst);
    let stats = table.stats();
    println!("hammer: {done} acknowledged, {counted} counted, {stats:?}");
    for (key, record) in table.records().unwrap() {
        assert!(record.is_whole(key), "key {key} is torn");
    }
    assert_eq!(table.is_sound(), Ok(true));
    let deaths = kills + PROCESSES as u64;
    assert!(done > 0 && (done..=done + deaths).contains(&counted));
    assert!(stats.repairs > 0, "no process was killed with a lock held");
    assert_eq!(stats.evictions, 0);
}

/// Forever: counts one in the table, and only then says that it has.
fn count(arguments: &[String]) {
    let mut state = arguments[0].parse().unwrap();
    let mut zones = common::receive().unwrap().into_iter();
    let mut table: Table<u64, Record> = Table::open(zones.next().unwrap(), 0).unwrap();
    table.set_lock_wait_max(PATIENCE);
    let done = AtomicArray::open(zones.next().unwrap(), 0).unwrap();
    let done = done.get(0).unwrap();
    let parent = rustix::process::getppid();
    while parent_lives(parent) {
        let key = random(&mut state, KEYS);
        table
            .modify(&key, |entry| {
                let count = entry.map_or(0, |record| {
                    assert!(record.is_whole(key), "key {key} is torn");
                    record.count
                });
                *entry = Some(Record::of(key, count + 1));
            })
            .unwrap();
        done.fetch_add(1, Ordering::SeqCst);
    }
}

/// Whether the process that started us still runs: a child must not outlive it.
fn parent_lives(parent: Option<Pid>) -> bool {
    rustix::process::getppid() == parent
}

/// A table too small for its keys: insertions evict, removals and lookups between them.
fn churned_records_stay_whole(seed: u64, kills: u64) {
    let table = counting_table(KEYS as usize / 4);
    let counters = Arc::new(Counters::create("steps", 1, PROCESSES + 2, 0).unwrap());
    kill_at_random(mix(seed), kills, &mut |number| {
        let arguments = ["child-churn", &(seed ^ number << 8).to_string()];
        common::spawn(&arguments, &[table.descriptor(), counters.descriptor()]).unwrap()
    });
    // Reading them repairs what the last one to die has left, so that the numbers come after.
    let records = table.records().unwrap();
    let stats = table.stats();
    println!("hammer: {} steps, {stats:?}", counters.sum(0));
    for (key, record) in &records {
        assert!(record.is_whole(*key), "key {key} is torn");
        assert_eq!(table.peek(key).unwrap().unwrap().count, record.count);
    }
    assert_eq!(table.is_sound(), Ok(true));
    assert_eq!(stats.entries, records.len() as u64);
    assert!(stats.evictions > 0 && stats.repairs > 0 && counters.sum(0) > 0);
    // All are dead: every slot can be had again, and none was lost to the dead.
    let slots: Vec<_> = (0..counters.slots())
        .map(|_| counters.claim().unwrap())
        .collect();
    assert!(counters.claim().is_err());
    assert_eq!(counters.sum_alive(0), counters.sum(0));
    drop(slots);
}

fn churn(arguments: &[String]) {
    let mut state = arguments[0].parse().unwrap();
    let mut zones = common::receive().unwrap().into_iter();
    let mut table: Table<u64, Record> = Table::open(zones.next().unwrap(), 0).unwrap();
    table.set_lock_wait_max(PATIENCE);
    let counters = Arc::new(Counters::open(zones.next().unwrap(), 0).unwrap());
    let slot = counters.claim().unwrap();
    let parent = rustix::process::getppid();
    while parent_lives(parent) {
        let key = random(&mut state, KEYS);
        match random(&mut state, 8) {
            0 => drop(table.remove(&key).unwrap()),
            1..4 => {
                let found = table.get(&key).unwrap();
                assert!(
                    found.is_none_or(|record| record.is_whole(key)),
                    "key {key} is torn"
                );
            }
            _ => {
                let inserted = table.insert(&key, &Record::of(key, state)).unwrap();
                let whole = inserted
                    .evicted
                    .is_none_or(|(key, record)| record.is_whole(key));
                assert!(whole, "an evicted record is torn");
            }
        }
        slot.add(0, 1);
    }
}

/// One process stops within its hold on a lock: others wait no longer than they said. Killed, it is
/// replaced in that hold, and nothing is lost.
fn a_parked_holder_is_busy_and_a_killed_one_is_not() {
    let mut table = counting_table(16);
    table.insert(&1, &Record::of(1, 5)).unwrap();
    let wait = Duration::from_millis(50);
    table.set_lock_wait_max(wait);
    let mut child = common::spawn(&["child-park"], &[table.descriptor()]).unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "parked\n");
    let began = Instant::now();
    let busy = table.get(&1).map(|found| found.is_some());
    assert!(matches!(busy, Err(TableError::Busy { .. })), "{busy:?}");
    assert!(began.elapsed() >= wait && began.elapsed() < PATIENCE);
    child.kill().unwrap();
    // The pipe ends when the process does, before anybody has waited for it.
    output.read_to_string(&mut line).unwrap();
    // Without an end, where it would not see that the owner is dead.
    table.set_lock_wait_max(PATIENCE * 10);
    let began = Instant::now();
    assert_eq!(table.get(&1).unwrap().unwrap().count, 5);
    println!(
        "hammer: a dead owner's lock was had after {:?}",
        began.elapsed()
    );
    assert!(began.elapsed() < PATIENCE);
    assert_eq!(table.stats().repairs, 1);
    child.wait().unwrap();
}

fn park() {
    let mut zones = common::receive().unwrap().into_iter();
    let table: Table<u64, Record> = Table::open(zones.next().unwrap(), 0).unwrap();
    let parked = table.modify(&1, |entry| {
        *entry = None;
        println!("parked");
        thread::sleep(Duration::from_secs(60));
    });
    parked.unwrap();
}
