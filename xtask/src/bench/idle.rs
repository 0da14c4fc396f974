//! `cargo xtask bench idle`: what many idle connections cost, and what they do to the active ones.
//!
//! Two processes of each server run: one has the active connections alone, the other 15,000 idle
//! ones besides, which have each made a round trip or wait behind one that has. They take turns.

use std::path::Path;
use std::time::Duration;

use super::contenders::{self, Contender};
use super::echoes::{Asked, Echo};
use super::load::Load;
use super::process;
use super::table::{Table, median};

const IDLE: usize = 15_000;
const ACTIVE: usize = 64;
const MESSAGE_BYTES: usize = 64;
const WARM_UP: Duration = Duration::from_millis(200);
/// How long a server is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(300);
const DESCRIPTORS: u64 = 16_000;

/// Measures each server, and prints a table.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let asked = Asked::parse(arguments)?;
    process::raise_open_files(DESCRIPTORS)?;
    contenders::build(root, &asked)?;
    let mut table = Table::new(&[
        "server",
        "CPU µs/msg alone",
        "beside idle",
        "ratio",
        "RSS bytes each",
    ]);
    contenders::fill(&mut table, |contender| measure(root, contender, &asked))?;
    println!(
        "{ACTIVE} connections beside {IDLE} idle ones\n{}",
        table.render()
    );
    Ok(())
}

fn measure(root: &Path, contender: &Contender, asked: &Asked) -> Result<Vec<String>, String> {
    let say = |error: std::io::Error| format!("{}: {error}", contender.name);
    let start = || Echo::start(contender.name, contender.command(root, &[]));
    let (few, many) = (start()?, start()?);
    let connect = |server: &Echo| {
        let mut load = Load::connect(server.address, ACTIVE, MESSAGE_BYTES).map_err(say)?;
        server.measure(&mut load, WARM_UP)?;
        Ok::<Load, String>(load)
    };
    let (mut few_load, mut many_load) = (connect(&few)?, connect(&many)?);
    let resident = || {
        std::thread::sleep(SETTLE);
        process::resident_bytes(&[many.pid()])
    };
    let before = resident()?;
    many_load.idle(many.address, IDLE).map_err(say)?;
    let each = (resident()? as f64 - before as f64) / IDLE as f64;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..asked.rounds {
        alone.push(few.measure(&mut few_load, asked.length)?.cpu_us);
        beside.push(many.measure(&mut many_load, asked.length)?.cpu_us);
    }
    let ratio = median(
        alone
            .iter()
            .zip(&beside)
            .map(|(alone, beside)| beside / alone),
    );
    Ok(vec![
        contender.name.to_owned(),
        format!("{:.2}", median(alone.into_iter())),
        format!("{:.2}", median(beside.into_iter())),
        format!("{ratio:.3}"),
        format!("{each:.0}"),
    ])
}
