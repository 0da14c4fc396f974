//! `cargo xtask bench echo`: what a message costs on the reactor, beside the floor and others.
//!
//! An echo server does nothing but what a reactor is for: it waits, receives and sends. Each
//! connection has one message in flight.

use std::path::Path;
use std::time::Duration;

use super::contenders::{self, Kind};
use super::echoes::{Asked, Echo, Figures};
use super::instructions;
use super::load::Load;
use super::process::{self, LOAD_CPU};
use super::table::{Spread, Table, median};

/// Bytes of a message, and connections.
const CASES: [(usize, usize); 4] = [(64, 64), (64, 1000), (16 * 1024, 64), (16 * 1024, 1000)];
/// Descriptors that the load needs: connections to each server.
const DESCRIPTORS: u64 = 8192;
const WARM_UP: Duration = Duration::from_millis(200);

/// Measures all cases, and prints a table of each.
pub(super) fn run(root: &Path, arguments: &[String]) -> Result<(), String> {
    let asked = Asked::parse(arguments)?;
    process::raise_open_files(DESCRIPTORS)?;
    contenders::build(root, &asked)?;
    if asked.instructions {
        return instructions::run(root, &asked);
    }
    let servers = start(root, &asked);
    process::on_cpu(LOAD_CPU, || {
        let cases = CASES
            .into_iter()
            .filter(|&(bytes, connections)| asked.wants(bytes, connections));
        for (bytes, connections) in cases {
            let measured = measure(&servers, bytes, connections, &asked)?;
            println!("echo of {bytes} B over {connections} connections");
            println!("{}", table(&servers, &measured).render());
        }
        Ok(())
    })?
}

/// Starts every server that will start; the others are named and left out.
fn start(root: &Path, asked: &Asked) -> Vec<(Kind, Echo)> {
    let wanted = contenders::ALL
        .iter()
        .filter(|one| asked.wants_kind(one.kind));
    let started = wanted.filter_map(|contender| {
        let server = Echo::start(contender.name, contender.command(root, &[]));
        let server = server.map_err(|error| eprintln!("{error}")).ok()?;
        Some((contender.kind, server))
    });
    started.collect()
}

/// The figures of each server, round by round. The servers take turns in each round.
fn measure(
    servers: &[(Kind, Echo)],
    bytes: usize,
    connections: usize,
    asked: &Asked,
) -> Result<Vec<Vec<Figures>>, String> {
    let mut loads = Vec::new();
    for (_, server) in servers {
        let connected = Load::connect(server.address, connections, bytes);
        let mut load = connected.map_err(|error| format!("{}: {error}", server.name))?;
        server.measure(&mut load, WARM_UP)?;
        loads.push(load);
    }
    let mut measured = vec![Vec::new(); servers.len()];
    for _ in 0..asked.rounds {
        for (((_, server), load), figures) in servers.iter().zip(&mut loads).zip(&mut measured) {
            figures.push(server.measure(load, asked.length)?);
        }
    }
    Ok(measured)
}

fn table(servers: &[(Kind, Echo)], measured: &[Vec<Figures>]) -> Table {
    let mut table = Table::new(&[
        "server",
        "CPU µs/msg",
        "least",
        "most",
        "x floor",
        "user",
        "user µs",
        "x floor",
        "msg/s",
        "p99 µs",
    ]);
    let median = |figures: &[Figures], of: fn(&Figures) -> f64| median(figures.iter().map(of));
    // Ticks are few: the share is taken over all rounds, not of one.
    let share = |figures: &[Figures]| {
        figures.iter().map(|one| one.user_share).sum::<f64>() / figures.len() as f64
    };
    for ((kind, server), figures) in servers.iter().zip(measured) {
        // The first of a kind is its floor.
        let at = servers.iter().position(|(other, _)| other == kind);
        let floor = &measured[at.unwrap_or(0)];
        let cpu = Spread::of(figures.iter().map(|one| one.cpu_us));
        let ratios = figures.iter().zip(floor);
        let ratio = Spread::of(ratios.map(|(one, floor)| one.cpu_us / floor.cpu_us));
        let (Some(cpu), Some(ratio)) = (cpu, ratio) else {
            continue;
        };
        let user_us = cpu.median * share(figures);
        let floor_user_us = median(floor, |one| one.cpu_us) * share(floor);
        table.row([
            server.name.clone(),
            format!("{:.2}", cpu.median),
            format!("{:.2}", cpu.min),
            format!("{:.2}", cpu.max),
            format!("{:.3}", ratio.median),
            format!("{:.1} %", share(figures) * 100.0),
            format!("{user_us:.2}"),
            if floor_user_us > 0.0 {
                format!("{:.2}", user_us / floor_user_us)
            } else {
                "-".into()
            },
            format!("{:.0}", median(figures, |one| one.messages_per_s)),
            format!("{:.0}", median(figures, |one| one.p99_us)),
        ]);
    }
    table
}
