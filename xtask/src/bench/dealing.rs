//! `cargo xtask bench dealing`: how many of a burst of connections each worker process has.
//!
//! Four workers share a listening socket, on all CPUs. Threads connect at once; then each connection
//! asks who serves it, and stays.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use super::clients::{self, Client, SPARE_FILES};
use super::options::Options;
use super::process;
use super::servers::{Kind, Server, Setup, Workspace};
use super::table::{Spread, Table};

const WORKERS: usize = 4;
const THREADS: usize = 8;
const CONNECTIONS: usize = 480;
/// Bursts before the first that counts, until every worker has served.
const WARM_UP_MAX: usize = 5;
/// How long a server may take to see that the connections of a burst have ended.
const CLOSED_MAX: Duration = Duration::from_secs(20);
/// By how much of an even share a worker of ours may be off it.
const OFF_MAX: f64 = 0.1;

/// What one burst came to: connections by worker, the fewest first, those without any included.
type Shares = Vec<usize>;

/// Lets bursts come in, the servers in turns, and prints what each worker had.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    process::raise_open_files((connections + SPARE_FILES) as u64)?;
    let workspace = Workspace::new(root, options)?;
    let setup = Setup {
        connections_max: connections,
        workers: WORKERS,
        ..Setup::default()
    };
    // The floor is one process.
    let kinds = options.servers.iter().filter(|kind| **kind != Kind::Floor);
    let start = |kind: &Kind| start(&workspace, *kind, &setup);
    let servers: Vec<Server> = kinds.map(start).collect::<Result<_, _>>()?;
    let mut bursts: Vec<Vec<Shares>> = servers.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (server, bursts) in servers.iter().zip(&mut bursts) {
            bursts.push(burst(server, connections)?);
        }
    }
    println!(
        "{connections} connections at once over {WORKERS} worker processes, {} bursts",
        options.rounds
    );
    println!("{}", table(&servers, &bursts).render());
    let mut off = servers.iter().zip(&bursts);
    let ours = off.find(|(server, _)| server.kind == Kind::Revolve);
    match ours.map(|(_, bursts)| worst(bursts)) {
        Some(off) if options.check && off > OFF_MAX => Err(format!(
            "a worker of Revolve is {:.0} % off its share, at most {:.0} % is allowed",
            off * 100.0,
            OFF_MAX * 100.0
        )),
        _ => Ok(()),
    }
}

fn start(workspace: &Workspace, kind: Kind, setup: &Setup) -> Result<Server, String> {
    let server = Server::start(workspace, kind, setup)?;
    for _ in 0..WARM_UP_MAX {
        if burst(&server, setup.connections_max)?[0] > 0 {
            break;
        }
    }
    Ok(server)
}

/// Connects with all threads at once, asks each connection who serves it, and waits until the server
/// has seen all of them end.
fn burst(server: &Server, connections: usize) -> Result<Shares, String> {
    let say = |error: std::io::Error| format!("{}: {error}", server.kind.name());
    let address = server.address();
    let clients = connect(address, connections)?;
    let mut by_worker = BTreeMap::new();
    for client in &clients {
        let worker = client.ask("/pid").map_err(say)?;
        *by_worker.entry(worker).or_insert(0_usize) += 1;
    }
    drop(clients);
    let begun = Instant::now();
    while !is_alone(address).map_err(say)? {
        if begun.elapsed() > CLOSED_MAX {
            return Err(format!("{} keeps closed connections", server.kind.name()));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(shares(by_worker.into_values()))
}

fn connect(address: SocketAddr, connections: usize) -> Result<Vec<Client>, String> {
    std::thread::scope(|scope| {
        let part =
            |number: usize| number * connections / THREADS..(number + 1) * connections / THREADS;
        let parts = (0..THREADS)
            .map(|number| scope.spawn(move || clients::connect_all(address, part(number))));
        let parts: Vec<_> = parts.collect();
        let mut clients = Vec::new();
        for part in parts {
            clients.extend(part.join().map_err(|_| "a thread of the load panicked")??);
        }
        Ok(clients)
    })
}

/// Whether the server has no connection but the one that asks.
fn is_alone(address: SocketAddr) -> std::io::Result<bool> {
    let status = Client::connect(address, 0)?.ask("/status")?;
    Ok(status.starts_with(b"Active connections: 1 "))
}

fn shares(counts: impl Iterator<Item = usize>) -> Shares {
    let mut shares: Shares = counts.collect();
    shares.resize(shares.len().max(WORKERS), 0);
    shares.sort_unstable();
    shares
}

/// How far the worker that is furthest from its even share is off it, as a part of that.
fn off(shares: &Shares) -> f64 {
    let even = shares.iter().sum::<usize>() as f64 / shares.len() as f64;
    let off = shares.iter().map(|count| (*count as f64 - even).abs());
    off.fold(0.0, f64::max) / even
}

fn worst(bursts: &[Shares]) -> f64 {
    bursts.iter().map(off).fold(0.0, f64::max)
}

fn table(servers: &[Server], bursts: &[Vec<Shares>]) -> Table {
    let mut table = Table::new(&["server", "furthest off, median", "worst", "the worst burst"]);
    for (server, bursts) in servers.iter().zip(bursts) {
        let furthest = bursts.iter().max_by(|a, b| off(a).total_cmp(&off(b)));
        let (Some(spread), Some(furthest)) = (Spread::of(bursts.iter().map(off)), furthest) else {
            continue;
        };
        let counts: Vec<String> = furthest.iter().map(usize::to_string).collect();
        table.row([
            server.kind.name().into(),
            format!("{:.0} %", spread.median * 100.0),
            format!("{:.0} %", spread.max * 100.0),
            counts.join(" "),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_has_none_counts() {
        assert_eq!(shares([200, 40, 240].into_iter()), [0, 40, 200, 240]);
        assert_eq!(off(&vec![0, 40, 200, 240]), 1.0);
        assert_eq!(
            worst(&[vec![120; 4], vec![110, 120, 120, 130]]),
            10.0 / 120.0
        );
    }
}
