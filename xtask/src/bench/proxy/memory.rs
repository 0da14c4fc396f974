//! `cargo xtask bench proxy --memory`: what connections cost in resident memory that wait.

use std::ops::Range;
use std::time::Duration;

use super::setup::Upstreams;
use crate::bench::clients::{self, Client};
use crate::bench::options::Options;
use crate::bench::process;
use crate::bench::servers::{Kind, Server, Setup, Workspace};
use crate::bench::table::Table;

const CONNECTIONS: usize = 2000;
/// Connections that have come and gone before the first look, so that what grows once has grown.
const WARM_CONNECTIONS: usize = 100;
/// How long the server is left alone before its memory is read.
const SETTLE_MS: u64 = 500;

const WEBSOCKET: &str = "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n\
                         Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

pub(super) fn run(workspace: &Workspace, options: &Options) -> Result<(), String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    process::raise_open_files(connections as u64 * 3 + 1000)?;
    println!("{connections} connections that wait; bytes of the workers' memory for each");
    let mut table = Table::new(&["server", "kept, after a request", "WebSocket"]);
    for kind in &options.servers {
        let kept = measure(workspace, *kind, connections, kept)?;
        let tunnels = measure(workspace, *kind, connections, websockets)?;
        table.row([
            kind.name().to_owned(),
            format!("{kept:.0}"),
            format!("{tunnels:.0}"),
        ]);
    }
    println!("{}", table.render());
    Ok(())
}

type Open = fn(&Server, Range<usize>) -> Result<Vec<Client>, String>;

fn measure(
    workspace: &Workspace,
    kind: Kind,
    connections: usize,
    open: Open,
) -> Result<f64, String> {
    let setup = Setup {
        connections_max: connections * 2 + 200,
        proxy: Some(Upstreams::Kept),
        ..Setup::default()
    };
    let server = Server::start(workspace, kind, &setup)?;
    drop(open(&server, 0..WARM_CONNECTIONS)?);
    let before = settled(&server)?;
    let clients = open(&server, 0..connections)?;
    let after = settled(&server)?;
    Ok((after as f64 - before as f64) / clients.len().max(1) as f64)
}

fn settled(server: &Server) -> Result<u64, String> {
    std::thread::sleep(Duration::from_millis(SETTLE_MS));
    process::resident_bytes(&server.workers())
}

fn kept(server: &Server, numbers: Range<usize>) -> Result<Vec<Client>, String> {
    let clients = clients::connect_all(server.address(), numbers)?;
    for client in &clients {
        let asked = client.ask("/1k");
        asked.map_err(|error| format!("{}: a request failed: {error}", server.kind.name()))?;
    }
    Ok(clients)
}

fn websockets(server: &Server, numbers: Range<usize>) -> Result<Vec<Client>, String> {
    let clients = clients::connect_all(server.address(), numbers)?;
    for client in &clients {
        let switched = client
            .send(WEBSOCKET.as_bytes())
            .and_then(|()| client.read_head());
        let head = switched.map_err(|error| format!("{}: {error}", server.kind.name()))?;
        if !head.starts_with("HTTP/1.1 101 ") {
            return Err(format!("{} answers {head}", server.kind.name()));
        }
    }
    Ok(clients)
}
