//! What the kernel says about a running process: its children, its CPU time, its memory.

use std::ffi::OsStr;
use std::fs;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::CpuSet;

/// The CPU that servers run on.
pub(super) const SERVER_CPU: usize = 0;
/// The CPU that the load runs on.
pub(super) const LOAD_CPU: usize = 1;

/// Process and all its descendants, the oldest first.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let mut family = vec![pid];
    let mut at = 0;
    while at < family.len() {
        for task in numbers(&format!("/proc/{}/task", family[at])) {
            let path = format!("/proc/{}/task/{task}/children", family[at]);
            let children = fs::read_to_string(path).unwrap_or_default();
            family.extend(
                children
                    .split_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        at += 1;
    }
    family
}

/// The processes of a family that do the work: all but the first, which is the master; the first
/// itself where it is alone.
pub(super) fn workers(pid: u32) -> Vec<u32> {
    let mut family = family(pid);
    if family.len() > 1 {
        family.remove(0);
    }
    family
}

/// CPU time of all threads of `pids` so far, in nanoseconds (proc(5), `schedstat`).
pub(super) fn cpu_ns(pids: &[u32]) -> Result<u64, String> {
    pids.iter().map(|pid| process_cpu_ns(*pid)).sum()
}

fn process_cpu_ns(pid: u32) -> Result<u64, String> {
    let mut total_ns = 0;
    for task in numbers(&format!("/proc/{pid}/task")) {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat"));
        let text = text.unwrap_or_default();
        total_ns += text
            .split(' ')
            .next()
            .and_then(|ns| ns.parse::<u64>().ok())
            .unwrap_or(0);
    }
    if total_ns > 0 {
        return Ok(total_ns);
    }
    Err(format!(
        "the server's process {pid} has ended, or the kernel has no schedstat"
    ))
}

/// Resident memory of `pids`, in bytes.
///
/// `smaps_rollup` is exact; `status` is kept per thread and lags behind, so it is only taken where
/// the first may not be read.
pub(super) fn resident_bytes(pids: &[u32]) -> Result<u64, String> {
    let mut total = 0;
    for pid in pids {
        let exact = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"));
        let kib = exact.ok().and_then(|text| field_kib(&text, "Rss:"));
        let kib = kib.or_else(|| {
            field_kib(
                &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
                "VmRSS:",
            )
        });
        total += kib.ok_or_else(|| format!("the memory of process {pid} cannot be read"))? * 1024;
    }
    Ok(total)
}

fn field_kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether some process traces `pid`.
pub(super) fn is_traced(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    field_kib(&status, "TracerPid:").is_some_and(|tracer| tracer != 0)
}

/// A program, run by another one with arguments of its own where there is one.
pub(super) fn run_by(runner: &[&str], program: impl AsRef<OsStr>) -> Command {
    let Some((runner, arguments)) = runner.split_first() else {
        return Command::new(program);
    };
    let mut command = Command::new(runner);
    command.args(arguments).arg(program);
    command
}

/// Sends `signal` to `pid`; a process that has ended already is no error.
pub(super) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Runs `f` with this thread on `cpu`; what it starts inherits that.
pub(super) fn on_cpu<T>(cpu: usize, f: impl FnOnce() -> T) -> Result<T, String> {
    let say = |error: rustix::io::Errno| format!("this thread cannot be put on CPU {cpu}: {error}");
    let before = rustix::thread::sched_getaffinity(None).map_err(say)?;
    let mut one = CpuSet::new();
    one.set(cpu);
    rustix::thread::sched_setaffinity(None, &one).map_err(say)?;
    let outcome = f();
    rustix::thread::sched_setaffinity(None, &before).map_err(say)?;
    Ok(outcome)
}

/// Raises this process's limit of open files to `files`, which what it starts inherits.
pub(super) fn raise_open_files(files: u64) -> Result<(), String> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(files));
    let wanted = Rlimit {
        current: Some(files),
        maximum,
    };
    let said = rustix::process::setrlimit(Resource::Nofile, wanted);
    said.map_err(|error| {
        format!(
            "{files} open files are needed and the limit is {}: {error}. Raise the hard limit \
             (ulimit -Hn, /etc/security/limits.conf) or ask for fewer with --connections",
            limit
                .maximum
                .map_or_else(|| "unlimited".into(), |maximum| maximum.to_string())
        )
    })
}

/// The entries of a folder whose names are numbers.
fn numbers(folder: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_family_cpu_time_and_memory() {
        let pid = std::process::id();
        assert_eq!(family(pid)[0], pid);
        let mut sum = 0_u64;
        for number in 0..20_000_000_u64 {
            sum = std::hint::black_box(sum.wrapping_add(number));
        }
        assert!(cpu_ns(&[pid]).unwrap() > 0, "{sum}");
        assert!(resident_bytes(&[pid]).unwrap() > 100 * 1024);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert!(cpu_ns(&[u32::MAX]).is_err());
        assert!(resident_bytes(&[u32::MAX]).is_err());
    }

    #[test]
    fn fields_are_read() {
        assert_eq!(
            field_kib("Name: x\nVmRSS:\t  123 kB\n", "VmRSS:"),
            Some(123)
        );
        assert_eq!(field_kib("Name: x\n", "VmRSS:"), None);
    }
}
