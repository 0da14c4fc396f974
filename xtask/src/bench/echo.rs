//! `cargo xtask bench echo`: what a message costs on the reactor, beside the floor.
//!
//! An echo server does nothing but what a reactor is for: it waits, receives and sends. Each
//! connection has one message in flight.

use std::path::Path;
use std::time::Duration;

use super::callgrind::Callgrind;
use super::echo_server::{self, Contender, Echo, PAIRS};
use super::load::Load;
use super::options::Options;
use super::process::{self, LOAD_CPU};
use super::table::{Spread, Table};

/// Bytes of a message, and connections.
const CASES: [(usize, usize); 4] = [(64, 64), (64, 1000), (16 * 1024, 64), (16 * 1024, 1000)];
/// Descriptors that the load needs: connections to each server.
const DESCRIPTORS: u64 = 8192;
const WARM_UP: Duration = Duration::from_millis(200);

/// Bytes of a message, and connections, where instructions are counted.
const COUNTED: [(usize, usize); 3] = [(64, 1), (64, 64), (16 * 1024, 64)];
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;
/// A server under valgrind is some fifty times as slow.
const END_MAX: Duration = Duration::from_secs(20);
const RUN_MAX: Duration = Duration::from_secs(60);

/// Measures all cases, and prints a table of each.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    process::raise_open_files(DESCRIPTORS)?;
    if options.build {
        echo_server::build_examples(root)?;
    }
    if options.instructions {
        return count_all(root);
    }
    let length = Duration::from_secs(options.seconds.unwrap_or(1));
    process::on_cpu(LOAD_CPU, || {
        for (bytes, connections) in CASES {
            println!("echo of {bytes} B over {connections} connections");
            let head = ["server", "CPU µs/msg", "least", "most", "x floor", "msg/s"];
            let mut table = Table::new(&head);
            for pair in &PAIRS {
                let start = |one: &Contender| Echo::start(one.name, one.command(root, &[]));
                // A kernel without io_uring, or one that refuses it: the others are measured.
                match (start(&pair[0]), start(&pair[1])) {
                    (Ok(floor), Ok(ours)) => {
                        let servers = [floor, ours];
                        let load = (bytes, connections);
                        measure(&servers, load, options.rounds, length, &mut table)?;
                    }
                    (Err(error), _) | (_, Err(error)) => eprintln!("{error}"),
                }
            }
            println!("{}", table.render());
        }
        Ok(())
    })?
}

/// A row for each of two servers, which take turns: the floor, and what is compared with it.
fn measure(
    servers: &[Echo; 2],
    (bytes, connections): (usize, usize),
    rounds: usize,
    length: Duration,
    table: &mut Table,
) -> Result<(), String> {
    let mut loads = Vec::new();
    for server in servers {
        let load = Load::connect(server.address, connections, bytes);
        let mut load = load.map_err(|error| format!("{}: {error}", server.name))?;
        server.measure(&mut load, WARM_UP)?;
        loads.push(load);
    }
    let mut measured = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for ((server, load), figures) in servers.iter().zip(&mut loads).zip(&mut measured) {
            figures.push(server.measure(load, length)?);
        }
    }
    for (server, figures) in servers.iter().zip(&measured) {
        let ratios = figures
            .iter()
            .zip(&measured[0])
            .map(|(one, floor)| one.0 / floor.0);
        let cpu = Spread::of(figures.iter().map(|one| one.0));
        let rate = Spread::of(figures.iter().map(|one| one.1));
        if let (Some(cpu), Some(ratio), Some(rate)) = (cpu, Spread::of(ratios), rate) {
            table.row([
                server.name.clone(),
                format!("{:.2}", cpu.median),
                format!("{:.2}", cpu.min),
                format!("{:.2}", cpu.max),
                format!("{:.3}", ratio.median),
                format!("{:.0}", rate.median),
            ]);
        }
    }
    Ok(())
}

/// Counts the servers on epoll: one that waits in `io_uring_enter(2)` hears no signal under valgrind.
fn count_all(root: &Path) -> Result<(), String> {
    let cases = COUNTED.map(|(bytes, connections)| format!("{bytes} B x {connections}"));
    let mut table = Table::new(&["server", &cases[0], &cases[1], &cases[2]]);
    for contender in &PAIRS[0] {
        let mut row = vec![contender.name.to_owned()];
        for (bytes, connections) in COUNTED {
            let count = |messages| count(root, contender, bytes, connections, messages);
            let each = (count(MANY)? as f64 - count(FEW)? as f64) / (MANY - FEW) as f64;
            row.push(format!("{each:.0}"));
        }
        table.row(row);
    }
    println!(
        "user-space instructions a message, by callgrind\n{}",
        table.render()
    );
    Ok(())
}

/// Instructions of a server from its start to its end, with so many messages between.
fn count(
    root: &Path,
    contender: &Contender,
    bytes: usize,
    connections: usize,
    messages: u64,
) -> Result<u64, String> {
    let say = |error: std::io::Error| format!("{}: {error}", contender.name);
    Callgrind::count(|runner| {
        let mut server = Echo::start(contender.name, contender.command(root, runner))?;
        let mut load = Load::connect(server.address, connections, bytes).map_err(say)?;
        load.run_messages(messages, RUN_MAX).map_err(say)?;
        drop(load);
        match server.end(END_MAX) {
            true => Ok(()),
            false => Err(format!("{} does not end under valgrind", contender.name)),
        }
    })
}
