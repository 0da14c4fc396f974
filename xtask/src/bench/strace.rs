//! `cargo xtask bench http --strace`: system calls per request.
//!
//! Time is noisy, counts are not: a cached file costs one `recv` and one `send`, and its share of
//! one `epoll_wait`, or something has been lost.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::http::CASES;
use super::options::Options;
use super::process;
use super::servers::{Server, Setup, Workspace};
use super::table::Table;
use super::{tools, wrk};

/// How long strace may take to attach.
const ATTACH_SECONDS_MAX: u64 = 10;

/// Counts for every case, or the one that was asked for.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let workspace = Workspace::new()?;
    let wanted = |name: &str| options.case.as_ref().is_none_or(|case| case == name);
    for case in CASES.iter().filter(|case| wanted(case.name)) {
        println!("{}: system calls per request", case.name);
        let mut table = Table::new(&["server", "in all", "without epoll_wait", "each"]);
        for kind in &options.servers {
            let setup = Setup {
                connections_max: 64,
                floor_head_bytes: 240,
                ..Setup::default()
            };
            let server = Server::start(root, &workspace, *kind, &setup)?;
            table.row(count(&server, case.path, options.seconds.unwrap_or(2))?);
        }
        println!("{}", table.render());
    }
    Ok(())
}

fn count(server: &Server, path: &str, seconds: u64) -> Result<Vec<String>, String> {
    // The first requests fill the caches; they are not what is counted.
    wrk::run(server.address(), path, 8, 1)?;
    let report = std::env::temp_dir().join(format!("revolve-strace-{}", std::process::id()));
    let workers = server.workers();
    let mut strace = attach(&workers, &report)?;
    let load = wrk::run(server.address(), path, 8, seconds);
    process::signal(strace.id(), Signal::INT);
    strace.wait().map_err(|error| format!("strace: {error}"))?;
    let text = fs::read_to_string(&report).unwrap_or_default();
    let _ = fs::remove_file(&report);
    let requests = load?.requests as f64;
    let calls = parse(&text);
    if calls.is_empty() {
        return Err(format!("strace reported nothing:\n{text}"));
    }
    let waits = |name: &str| name.starts_with("epoll_wait") || name.starts_with("epoll_pwait");
    let all: u64 = calls.iter().map(|(_, calls)| calls).sum();
    let others: u64 = calls
        .iter()
        .filter(|(name, _)| !waits(name))
        .map(|(_, calls)| calls)
        .sum();
    let mut each = Vec::new();
    for (name, calls) in &calls {
        let share = *calls as f64 / requests;
        if share >= 0.005 {
            each.push(format!("{name} {share:.2}"));
        }
    }
    Ok(vec![
        server.kind.name().into(),
        format!("{:.2}", all as f64 / requests),
        format!("{:.2}", others as f64 / requests),
        each.join(", "),
    ])
}

fn attach(workers: &[u32], report: &Path) -> Result<Child, String> {
    let program = tools::find("strace").ok_or("strace is missing")?;
    let mut command = Command::new(program);
    command.args(["-c", "-f", "-q", "-o"]).arg(report);
    for pid in workers {
        command.arg("-p").arg(pid.to_string());
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    let mut strace = command
        .spawn()
        .map_err(|error| format!("strace cannot be run: {error}"))?;
    let deadline = Instant::now() + Duration::from_secs(ATTACH_SECONDS_MAX);
    while !workers.iter().all(|pid| process::is_traced(*pid)) {
        if Instant::now() > deadline || !matches!(strace.try_wait(), Ok(None)) {
            process::signal(strace.id(), Signal::INT);
            let _ = strace.wait();
            return Err("strace cannot attach to the server (is ptrace allowed?)".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(strace)
}

/// Names and counts of the table that `strace -c` prints, the most frequent first.
fn parse(text: &str) -> Vec<(String, u64)> {
    let mut calls = Vec::new();
    for line in text.lines() {
        // % time, seconds, usecs/call, calls, errors where there were some, name.
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(count), Some(name)) = (words.get(3), words.last()) else {
            continue;
        };
        if let (Ok(count), false) = (count.parse::<u64>(), *name == "total") {
            calls.push(((*name).to_owned(), count));
        }
    }
    calls.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.060000           6     10000           writev
 30.00    0.030000           3     10010        10 recvfrom
  0.00    0.000000           0      1200           epoll_wait
------ ----------- ----------- --------- --------- ----------------
100.00    0.090000           4     21210        10 total
";
        let expected = [
            ("recvfrom", 10_010),
            ("writev", 10_000),
            ("epoll_wait", 1200),
        ];
        assert_eq!(
            parse(text),
            expected.map(|(name, calls)| (name.to_owned(), calls))
        );
    }
}
