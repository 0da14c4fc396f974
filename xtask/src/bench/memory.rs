//! `cargo xtask bench memory`: what an idle keep-alive connection costs in resident memory.

use std::path::Path;
use std::time::Duration;

use super::clients::{self, Client, SPARE_FILES};
use super::options::Options;
use super::process;
use super::servers::{Kind, Server, Setup, Workspace};
use super::table::Table;

const CONNECTIONS: usize = 10_000;
const PATH: &str = "/1k.html";
/// Connections that have come and gone before the first look, so that what grows once has grown.
const WARM_CONNECTIONS: usize = 100;
/// How long the server is left alone before its memory is read.
const SETTLE_MS: u64 = 500;

/// Opens idle connections to each server and prints the growth of its workers.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    let files = connections + SPARE_FILES;
    process::raise_open_files(files as u64)?;
    println!("{connections} idle keep-alive connections, each after one request");
    println!("(limit of open files: at least {files}, for the server and for the load)");
    let workspace = Workspace::new(root, options)?;
    let mut table = Table::new(&[
        "server",
        "RSS before",
        "RSS with all",
        "bytes each",
        "second half, each",
    ]);
    for kind in &options.servers {
        table.row(measure(&workspace, *kind, connections)?);
    }
    println!("{}", table.render());
    Ok(())
}

fn measure(workspace: &Workspace, kind: Kind, connections: usize) -> Result<Vec<String>, String> {
    let setup = Setup {
        connections_max: connections,
        floor_body_bytes: 1024,
        floor_head_bytes: 240,
        ..Setup::default()
    };
    let server = Server::start(workspace, kind, &setup)?;
    drop(open(&server, 0..WARM_CONNECTIONS)?);
    let before = settled(&server)?;
    let half = connections / 2;
    let first = open(&server, 0..half)?;
    let between = settled(&server)?;
    let second = open(&server, half..connections)?;
    let after = settled(&server)?;
    let each = |from: u64, to: u64, count: usize| {
        format!("{:.0}", (to as f64 - from as f64) / count.max(1) as f64)
    };
    Ok(vec![
        kind.name().into(),
        format!("{} KiB", before / 1024),
        format!("{} KiB", after / 1024),
        each(before, after, first.len() + second.len()),
        each(between, after, second.len()),
    ])
}

fn open(server: &Server, numbers: std::ops::Range<usize>) -> Result<Vec<Client>, String> {
    let clients = clients::connect_all(server.address(), numbers)?;
    for client in &clients {
        client
            .ask(PATH)
            .map_err(|error| format!("{}: a request failed: {error}", server.kind.name()))?;
    }
    Ok(clients)
}

fn settled(server: &Server) -> Result<u64, String> {
    std::thread::sleep(Duration::from_millis(SETTLE_MS));
    process::resident_bytes(&server.workers())
}
