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
use super::servers::{Kind, Server, Setup, Workspace};
use super::table::Table;
use super::tools;
use super::wrk::{self, Load};

/// Connections of the load.
const CONNECTIONS: usize = 8;
/// How long strace may take to attach.
const ATTACH_SECONDS_MAX: u64 = 10;

/// Counts for every case, or the one that was asked for.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let workspace = Workspace::new(root, options)?;
    for case in CASES.iter().filter(|case| options.wants(case.name)) {
        println!("{}: system calls per request", case.name);
        let mut table = Table::new(&["server", "in all", "without epoll_wait"]);
        let mut each = String::new();
        for kind in &options.servers {
            let setup = Setup {
                connections_max: 64,
                floor_head_bytes: 240,
                ..Setup::default()
            };
            let server = Server::start(&workspace, *kind, &setup)?;
            let ask = case.ask(&server);
            let load = |seconds| wrk::run(&ask, CONNECTIONS, seconds);
            let counts = count(&server, load, options.seconds.unwrap_or(2))?;
            each.push_str(&format!("  {}: {}\n", kind.name(), counts.describe()));
            table.row(counts.row(*kind));
        }
        println!("{}{each}", table.render());
    }
    Ok(())
}

/// Calls by name, and the requests that they served.
pub(super) struct Counts {
    calls: Vec<(String, u64)>,
    requests: u64,
}

impl Counts {
    /// Their sums, as a row of a table.
    pub(super) fn row(&self, kind: Kind) -> [String; 3] {
        [
            kind.name().into(),
            format!("{:.2}", self.per_request(|_| true)),
            format!("{:.2}", self.per_request(|name| !is_wait(name))),
        ]
    }

    /// Calls per request of those names that `wanted` takes.
    fn per_request(&self, wanted: impl Fn(&str) -> bool) -> f64 {
        let wanted = self.calls.iter().filter(|(name, _)| wanted(name));
        wanted.map(|(_, calls)| *calls).sum::<u64>() as f64 / self.requests as f64
    }

    /// Each name with its calls per request, but those that are rarer than one in 200 requests.
    pub(super) fn describe(&self) -> String {
        let share = |calls: u64| calls as f64 / self.requests as f64;
        let frequent = self
            .calls
            .iter()
            .filter(|(_, calls)| share(*calls) >= 0.005);
        let words = frequent.map(|(name, calls)| format!("{name} {:.2}", share(*calls)));
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Whether the call is the wait that all ready connections of a turn share.
fn is_wait(name: &str) -> bool {
    name.starts_with("epoll_wait") || name.starts_with("epoll_pwait")
}

/// Counts while `load` runs for so many seconds.
pub(super) fn count(
    server: &Server,
    load: impl Fn(u64) -> Result<Load, String>,
    seconds: u64,
) -> Result<Counts, String> {
    // The first requests fill the caches; they are not what is counted.
    load(1)?;
    let report = std::env::temp_dir().join(format!("revolve-strace-{}", std::process::id()));
    let mut strace = attach(&server.workers(), &report)?;
    let load = load(seconds);
    process::signal(strace.id(), Signal::INT);
    strace.wait().map_err(|error| format!("strace: {error}"))?;
    let text = fs::read_to_string(&report).unwrap_or_default();
    let _ = fs::remove_file(&report);
    let calls = parse(&text);
    if calls.is_empty() {
        return Err(format!("strace reported nothing:\n{text}"));
    }
    Ok(Counts {
        calls,
        requests: load?.requests,
    })
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
