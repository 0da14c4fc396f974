//! What the kernel says about processes.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, setrlimit};

/// Sends a signal.
///
/// # Panics
///
/// If there is no such process.
#[track_caller]
pub(crate) fn signal(pid: u32, signal: Signal) {
    assert!(
        try_signal(pid, signal),
        "no process {pid} to send {signal:?} to"
    );
}

/// Sends a signal; the answer is whether there was such a process.
pub(crate) fn try_signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Ends a process by a signal that it dies of at once, and waits until it takes no connection any more.
#[track_caller]
pub(crate) fn kill(pid: u32, with: Signal) {
    signal(pid, with);
    super::until("it is dead", || !is_alive(pid));
}

/// The fields of `/proc/PID/stat` from the third on, which come after the name in parentheses.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// Whether the process lives; a zombie does not.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z" && fields[0] != "X")
}

/// Whether a signal has stopped all threads of the process.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("a process");
    threads.flatten().all(|thread| {
        let status = fs::read_to_string(thread.path().join("status"));
        status.is_ok_and(|text| text.contains("\nState:\tT"))
    })
}

/// The living children of a process, in the order of their ids.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut found: Vec<u32> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&pid| {
            let parent = parent.to_string();
            stat(pid).is_some_and(|fields| fields[1] == parent && fields[0] != "Z")
        })
        .collect();
    found.sort_unstable();
    found
}

/// The processor time that a process has taken, its own and the kernel's for it.
pub(crate) fn cpu_time(pid: u32) -> Duration {
    let fields = stat(pid).expect("a process to be measured");
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    // USER_HZ, which is 100 on every Linux.
    Duration::from_millis(ticks * 10)
}

/// A line of `/proc/PID/status`, as a number.
pub(crate) fn status(pid: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// The memory of a process that is its own, in bytes: not what it maps from files.
pub(crate) fn memory_bytes(pid: u32) -> u64 {
    status(pid, "RssAnon:").expect("a process to be measured") * 1024
}

/// How many file descriptors a process has open.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// What the open file descriptors of a process lead to.
pub(crate) fn open_files(pid: u32) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let targets = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    let mut names: Vec<String> = targets.map(|path| path.display().to_string()).collect();
    names.sort();
    names
}

/// The addresses on which this machine listens on a TCP port, sorted.
pub(crate) fn listening(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let Some((address, number)) = fields[1].split_once(':') else {
                continue;
            };
            // 0A is the state of a socket that listens.
            if fields[3] == "0A" && number == format!("{port:04X}") {
                found.push(shown(address));
            }
        }
    }
    found.sort();
    found
}

/// An address of `/proc/net/tcp`: words of four bytes, each in the order of this machine.
fn shown(hex: &str) -> String {
    let words = hex.as_bytes().chunks(8).map(|word| {
        let word = std::str::from_utf8(word).expect("digits");
        u32::from_str_radix(word, 16).expect("digits")
    });
    let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => std::net::Ipv4Addr::from(bytes).to_string(),
        Err(_) => {
            let bytes: [u8; 16] = bytes.try_into().expect("sixteen bytes");
            std::net::Ipv6Addr::from(bytes).to_string()
        }
    }
}

/// Lets this process and those that it starts have as many open files as the system allows.
pub(crate) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("up to the maximum it is allowed");
}

/// Whether this test runs as root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a test can have a user namespace of its own. Where it cannot the test is skipped, with a word.
pub(crate) fn has_user_namespaces() -> bool {
    let mut command = Command::new("unshare");
    let tried = command.args(["--user", "--map-root-user", "true"]).output();
    let has = tried.is_ok_and(|it| it.status.success());
    if !has {
        crate::support::left_out("this machine gives no user namespaces");
    }
    has
}
