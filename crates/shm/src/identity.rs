//! Which process owns something, in one word, and whether it still lives.
//!
//! A process id alone does not say: after a death the kernel gives it to another. With the time at
//! which the process started (proc_pid_stat(5), field 22) it does. Both fit into 64 bits, so that an
//! owner is written in one atomic step and there is no moment at which a lock is held by nobody
//! known.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process;
use std::sync::OnceLock;

use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

/// Process ids are below 2^22 (`PID_MAX_LIMIT`, proc_sys_kernel(5)).
const PID_BITS: u32 = 22;
const PID_MASK: u64 = (1 << PID_BITS) - 1;

/// This process: never 0. Its start time is 0 where `/proc` cannot be read.
pub(crate) fn own() -> u64 {
    static OWN: OnceLock<u64> = OnceLock::new();
    *OWN.get_or_init(|| {
        let pid = process::id();
        let started_ticks = stat_of(pid).map_or(0, |stat| stat.started_ticks);
        compose(pid, started_ticks)
    })
}

fn compose(pid: u32, started_ticks: u64) -> u64 {
    started_ticks << PID_BITS | u64::from(pid) & PID_MASK
}

/// Whether the process that calls itself `identity` may still run code of its own. Where that cannot
/// be found out, it may.
pub(crate) fn is_alive(identity: u64) -> bool {
    if identity == own() {
        return true;
    }
    let pid = (identity & PID_MASK) as u32;
    let Some(known) = Pid::from_raw(pid as i32) else {
        return false;
    };
    if test_kill_process(known) == Err(Errno::SRCH) {
        return false;
    }
    let started_ticks = identity >> PID_BITS;
    match stat_of(pid) {
        Some(stat) => !stat.ended && (started_ticks == 0 || started_ticks == stat.started_ticks),
        None => true,
    }
}

/// The inode of our PID namespace, 0 where `/proc` does not say.
pub(crate) fn pid_namespace() -> u64 {
    fs::metadata("/proc/self/ns/pid").map_or(0, |namespace| namespace.ino())
}

struct Stat {
    started_ticks: u64,
    /// A zombie without further threads: the first thread alone may have ended.
    ended: bool,
}

fn stat_of(pid: u32) -> Option<Stat> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in field 2 may hold anything, spaces and parentheses included, but its closing one is
/// the line's last.
fn parse(line: &[u8]) -> Option<Stat> {
    let name_end = line.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&line[name_end + 1..]).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let threads: u64 = fields.nth(16)?.parse().ok()?;
    let started_ticks = fields.nth(1)?.parse().ok()?;
    let ended = matches!(state, "Z" | "X" | "x") && threads <= 1;
    Some(Stat {
        started_ticks,
        ended,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use std::process::Command;

    use super::*;

    /// A process that has never been: ours, but started at another time.
    pub(crate) fn dead() -> u64 {
        own() ^ 1 << PID_BITS
    }

    #[test]
    fn we_live_and_others_under_our_number_do_not() {
        assert!(is_alive(own()));
        assert_ne!(own() >> PID_BITS, 0);
        assert!(!is_alive(dead()));
        assert!(!is_alive(0));
    }

    #[test]
    fn a_child_lives_until_it_ends_even_when_nobody_waits_for_it() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let stat = stat_of(child.id()).unwrap();
        let identity = compose(child.id(), stat.started_ticks);
        assert!(is_alive(identity));
        child.kill().unwrap();
        // A zombie now, or in a moment: the loop ends by the test runner's patience at worst.
        while is_alive(identity) {
            std::thread::yield_now();
        }
        assert!(test_kill_process(Pid::from_child(&child)).is_ok());
        child.wait().unwrap();
        assert!(!is_alive(identity));
    }

    #[test]
    fn names_cannot_lie() {
        let line =
            b"42 (a) S 1 (b) Z) R 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 3 0 987654 1 2\n";
        let stat = parse(line).unwrap();
        assert_eq!((stat.started_ticks, stat.ended), (987_654, false));
        let line = b"42 (a) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 987654 1 2\n";
        assert!(parse(line).unwrap().ended);
        let line = b"42 (a) Z 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 2 0 987654 1 2\n";
        assert!(!parse(line).unwrap().ended);
        assert!(parse(b"").is_none());
        assert!(parse(b"42 (a) R 1 2").is_none());
    }
}
