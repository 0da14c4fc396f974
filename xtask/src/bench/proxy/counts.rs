//! `cargo xtask bench proxy --strace`: system calls a request.

use super::asking::{ask, probe, script, setup};
use super::cases::Case;
use crate::bench::options::Options;
use crate::bench::servers::{Server, Workspace};
use crate::bench::table::Table;
use crate::bench::{strace, wrk};

/// Connections of the load, where none are asked for: few, so that waits show.
const CONNECTIONS: usize = 8;

pub(super) fn run(workspace: &Workspace, case: &Case, options: &Options) -> Result<(), String> {
    let connections = options.connections.unwrap_or(CONNECTIONS);
    println!("{}: system calls per request", case.name);
    let mut table = Table::new(&["server", "in all", "without epoll_wait"]);
    let mut each = String::new();
    let script = script(case)?;
    for kind in &options.servers {
        let server = Server::start(workspace, *kind, &setup(case, connections))?;
        probe(case, &server)?;
        let seconds = options.seconds.unwrap_or(2);
        let ask = ask(case, &server, &script);
        let counts = strace::count(
            &server,
            |seconds| wrk::run(&ask, connections, seconds),
            seconds,
        )?;
        each.push_str(&format!("  {}: {}\n", kind.name(), counts.describe()));
        table.row(counts.row(*kind));
    }
    if let Some(script) = script {
        let _ = std::fs::remove_file(script);
    }
    println!("{}{each}", table.render());
    Ok(())
}
