//! `cargo xtask bench fairness`: what one peer that sends without end does to the others.
//!
//! A hundred connections have one message in flight each. The 99th percentile of their round trips
//! is taken without, and then with a connection that always has more to send. A server that
//! serves a socket until it is drained never comes back from that one.

use std::path::Path;
use std::time::Duration;

use super::contenders;
use super::echoes::{Asked, Echo, Figures};
use super::load::Load;
use super::process;
use super::table::{Table, median};

const CONNECTIONS: usize = 100;
const MESSAGE_BYTES: usize = 64;
const WARM_UP: Duration = Duration::from_millis(200);
const DESCRIPTORS: u64 = 2_048;

/// Measures each server with and without, and prints a table.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let asked = Asked::parse(arguments)?;
    process::raise_open_files(DESCRIPTORS)?;
    contenders::build(root, &asked)?;
    let mut table = Table::new(&[
        "server",
        "p99 µs alone",
        "beside it",
        "ratio",
        "msg/s alone",
        "beside it",
    ]);
    contenders::fill(&mut table, |contender| {
        let server = Echo::start(contender.name, contender.command(root, &[]))?;
        measure(&server, &asked)
    })?;
    println!(
        "round trips of {CONNECTIONS} connections beside one that sends without end\n{}",
        table.render()
    );
    Ok(())
}

fn measure(server: &Echo, asked: &Asked) -> Result<Vec<String>, String> {
    let say = |error: std::io::Error| format!("{}: {error}", server.name);
    let mut load = Load::connect(server.address, CONNECTIONS, MESSAGE_BYTES).map_err(say)?;
    server.measure(&mut load, WARM_UP)?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    for _ in 0..asked.rounds {
        alone.push(server.measure(&mut load, asked.length)?);
        load.greed(server.address).map_err(say)?;
        server.measure(&mut load, WARM_UP)?;
        beside.push(server.measure(&mut load, asked.length)?);
        load.calm();
        server.measure(&mut load, WARM_UP)?;
    }
    let ratios = alone.iter().zip(&beside);
    let ratio = median(ratios.map(|(alone, beside)| beside.p99_us / alone.p99_us));
    let p99 = |figures: &[Figures]| median(figures.iter().map(|one| one.p99_us));
    let rate = |figures: &[Figures]| median(figures.iter().map(|one| one.messages_per_s));
    Ok(vec![
        server.name.clone(),
        format!("{:.0}", p99(&alone)),
        format!("{:.0}", p99(&beside)),
        format!("{ratio:.2}"),
        format!("{:.0}", rate(&alone)),
        format!("{:.0}", rate(&beside)),
    ])
}
