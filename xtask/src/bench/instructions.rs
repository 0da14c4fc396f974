//! `cargo xtask bench echo --instructions`: what a message costs in user space, counted.
//!
//! Each server runs under valgrind's callgrind twice, for few messages and for many, and the
//! difference is divided by the difference: what starting up and connecting costs falls out. Time
//! plays no part, so that a busy machine gives the same figures.
//!
//! A process that waits in `io_uring_enter(2)` hears no signal under valgrind, so that those on
//! io_uring are not counted; their user time is in the table of `bench echo`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::contenders::{self, Contender, Kind};
use super::echoes::Echo;
use super::load::Load;
use super::table::Table;
use super::tools;

/// Bytes of a message, and connections.
const CASES: [(usize, usize); 3] = [(64, 1), (64, 64), (16 * 1024, 64)];
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;
/// A server under valgrind is some fifty times as slow.
const END_MAX: Duration = Duration::from_secs(20);
const RUN_MAX: Duration = Duration::from_secs(60);

/// Counts all servers, and prints a table.
pub(super) fn run(root: &Path) -> Result<(), String> {
    if tools::find("valgrind").is_none() {
        return Err("valgrind is missing. On Debian and Ubuntu: apt-get install valgrind".into());
    }
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
    let log = scratch(&format!("{}-{messages}", std::process::id()));
    let to = format!("--log-file={}", log.display());
    let runner = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        &to,
    ];
    let counted = (|| {
        let mut server = Echo::start(contender.name, contender.command(root, &runner))?;
        let say = |error: std::io::Error| format!("{}: {error}", contender.name);
        let mut load = Load::connect(server.address, connections, bytes).map_err(say)?;
        load.run_messages(messages, RUN_MAX).map_err(say)?;
        drop(load);
        if !server.end(END_MAX) {
            return Err(format!("{} does not end under valgrind", contender.name));
        }
        let said = std::fs::read_to_string(&log);
        let said = said.map_err(|error| format!("{}: {error}", log.display()))?;
        collected(&said).ok_or_else(|| format!("valgrind counted nothing:\n{said}"))
    })();
    let _ = std::fs::remove_file(&log);
    counted
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("revolve-instructions-{name}.log"))
}

/// The number behind `Collected :` in what valgrind says at the end.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_valgrind_says() {
        let said = "==1== Events    : Ir\n==1== Collected : 424296\n==1== \n";
        assert_eq!(collected(said), Some(424_296));
        assert_eq!(collected("==1== killed\n"), None);
    }
}
