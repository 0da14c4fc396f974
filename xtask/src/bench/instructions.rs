//! `cargo xtask bench echo --instructions`: what a message costs in user space, counted.
//!
//! A process that waits in `io_uring_enter(2)` hears no signal under valgrind, so that those on
//! io_uring are not counted; their user time is in the table of `bench echo`.

use std::path::Path;
use std::time::Duration;

use super::callgrind::Callgrind;
use super::contenders::{self, Contender, Kind};
use super::echoes::Echo;
use super::load::Load;
use super::table::Table;

/// Bytes of a message, and connections.
const CASES: [(usize, usize); 3] = [(64, 1), (64, 64), (16 * 1024, 64)];
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;
/// A server under valgrind is some fifty times as slow.
const END_MAX: Duration = Duration::from_secs(20);
const RUN_MAX: Duration = Duration::from_secs(60);

/// Counts all servers, and prints a table.
pub(super) fn run(root: &Path) -> Result<(), String> {
    let mut head = vec!["server".to_owned()];
    for (bytes, connections) in CASES {
        head.push(format!("{bytes} B x {connections}"));
        head.push("x floor".into());
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head);
    let counted = contenders::ALL.iter().filter(|one| one.kind == Kind::Epoll);
    let mut floor = Vec::new();
    for contender in counted {
        let mut row = vec![contender.name.to_owned()];
        for (at, (bytes, connections)) in CASES.into_iter().enumerate() {
            let count = |messages| count(root, contender, bytes, connections, messages);
            let each = (count(MANY)? as f64 - count(FEW)? as f64) / (MANY - FEW) as f64;
            if at == floor.len() {
                floor.push(each);
            }
            row.push(format!("{each:.0}"));
            row.push(format!("{:.2}", each / floor[at]));
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
    Callgrind::count(|runner| {
        let mut server = Echo::start(contender.name, contender.command(root, runner))?;
        let say = |error: std::io::Error| format!("{}: {error}", contender.name);
        let mut load = Load::connect(server.address, connections, bytes).map_err(say)?;
        load.run_messages(messages, RUN_MAX).map_err(say)?;
        drop(load);
        if !server.end(END_MAX) {
            return Err(format!("{} does not end under valgrind", contender.name));
        }
        Ok(())
    })
}
