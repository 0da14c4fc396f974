//! Two processes count in one table and one row of counters.
//!
//! ```console
//! $ cargo run --release -p revolve-shm --example count
//! ```
//!
//! The program makes two zones and starts itself again; the second process receives the descriptors
//! over a Unix socket that is its standard input. Both count a million times.

#![forbid(unsafe_code)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use revolve_shm::{Counters, Table, TableOptions};

const ROUNDS: u64 = 1_000_000;
const SCHEMA: u64 = 1;

fn main() -> Result<(), Box<dyn Error>> {
    if std::env::args().nth(1).as_deref() == Some("second") {
        let mut zones = common::receive()?.into_iter();
        let mut next = || zones.next().ok_or("the first process sent too few zones");
        let table = Table::open(next()?, SCHEMA)?;
        let counters = Counters::open(next()?, SCHEMA)?;
        return count(&table, &Arc::new(counters));
    }
    let table: Table<u64, u64> = Table::create(&TableOptions::new("words").schema(SCHEMA))?;
    let counters = Arc::new(Counters::create("rounds", 1, 2, SCHEMA)?);
    let mut second = common::spawn(&["second"], &[table.descriptor(), counters.descriptor()])?;
    count(&table, &counters)?;
    if !second.wait()?.success() {
        return Err("the second process failed".into());
    }
    let mut output = std::io::stdout().lock();
    let mut records = table.records()?;
    records.sort_unstable();
    for (key, count) in records {
        writeln!(output, "key {key}: {count}")?;
    }
    writeln!(
        output,
        "all: {}, in two slots: {} and {}",
        counters.sum(0),
        counters.value(0, 0),
        counters.value(1, 0)
    )?;
    Ok(())
}

fn count(table: &Table<u64, u64>, counters: &Arc<Counters>) -> Result<(), Box<dyn Error>> {
    let slot = counters.claim()?;
    for round in 0..ROUNDS {
        table.modify(&(round % 4), |entry| *entry.get_or_insert(0) += 1)?;
        slot.add(0, 1);
    }
    Ok(())
}
