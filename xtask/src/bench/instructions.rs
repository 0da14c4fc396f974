//! `cargo xtask bench echo --instructions`: what a message costs in user space, counted.

use std::path::Path;
use std::time::Duration;

use super::callgrind::Callgrind;
use super::contenders::{self, Contender, Kind};
use super::echoes::{Asked, Echo};
use super::load::Load;
use super::table::Table;

/// Bytes of a message, and connections.
const CASES: [(usize, usize); 3] = [(64, 1), (64, 64), (16 * 1024, 64)];
const FEW: u64 = 2_000;
const MANY: u64 = 12_000;
/// A server under valgrind is some fifty times as slow.
const END_MAX: Duration = Duration::from_secs(20);
const RUN_MAX: Duration = Duration::from_secs(60);
/// Between two messages while counts are asked for, which few messages are to fall into.
const BETWEEN: Duration = Duration::from_millis(5);

/// Counts the servers that are asked for, and prints a table.
pub(super) fn run(root: &Path, asked: &Asked) -> Result<(), String> {
    let mut head = vec!["server".to_owned()];
    for (bytes, connections) in CASES {
        head.push(format!("{bytes} B x {connections}"));
        head.push("x floor".into());
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut table = Table::new(&head);
    let counted = contenders::ALL
        .iter()
        .filter(|one| asked.wants_kind(one.kind));
    let (mut floor, mut floor_kind) = (Vec::new(), None);
    for contender in counted {
        // The first of a kind is its floor.
        if floor_kind != Some(contender.kind) {
            floor_kind = Some(contender.kind);
            floor.clear();
        }
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
    let say = |error: std::io::Error| format!("{}: {error}", contender.name);
    let start = |runner: &[&str]| -> Result<(Echo, Load), String> {
        let server = Echo::start(contender.name, contender.command(root, runner))?;
        let mut load = Load::connect(server.address, connections, bytes).map_err(say)?;
        load.run_messages(messages, RUN_MAX).map_err(say)?;
        Ok((server, load))
    };
    match contender.kind {
        Kind::Epoll => Callgrind::count(|runner| {
            let (mut server, load) = start(runner)?;
            drop(load);
            if !server.end(END_MAX) {
                return Err(format!("{} does not end under valgrind", contender.name));
            }
            Ok(())
        }),
        // Waiting in `io_uring_enter(2)`, it would not hear that it is to end.
        Kind::IoUring => Callgrind::count_alive(
            |runner| {
                let (server, load) = start(runner)?;
                let pid = server.pid();
                Ok(((server, load), pid))
            },
            |(_, load)| {
                std::thread::sleep(BETWEEN);
                load.run_messages(1, RUN_MAX).map_err(say).map(drop)
            },
        ),
    }
}
