//! What the kernel says about another process: whether it lives, what it is called, whether it is
//! a master of ours.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::Pid;

use crate::role::WORKER_TITLE;

/// The name that `main` gives each process of this program.
const NAME: &str = "revolve";
/// How far the start of a process and the time of a file may be apart without a meaning: both are
/// known to the second.
const CLOCK_SLACK: Duration = Duration::from_secs(2);
/// The longest title that is shown.
const TITLE_CHARS_MAX: usize = 80;

/// Whether the process is there and runs: one that has ended may not have been collected yet.
pub(crate) fn is_alive(pid: Pid) -> bool {
    let has_ended = stat(pid).is_some_and(|fields| fields.starts_with('Z'));
    !has_ended
        && match rustix::process::test_kill_process(pid) {
            // Another user's lives too.
            Ok(()) | Err(rustix::io::Errno::PERM) => true,
            Err(_) => false,
        }
}

/// Whether the process runs this program, in whatever version, and is no worker.
pub(crate) fn is_master(pid: Pid) -> bool {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    name.trim_end() == NAME && !command_line(pid).starts_with(WORKER_TITLE)
}

/// What process lists call it, for a message: its command line, or its name where it shows none.
pub(crate) fn shown(pid: Pid) -> String {
    let mut text = command_line(pid);
    if text.is_empty() {
        text = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    }
    let is_plain = |it: &char| !it.is_control();
    let text: String = text.trim().chars().filter(is_plain).collect();
    match text.char_indices().nth(TITLE_CHARS_MAX) {
        Some((end, _)) => format!("{pid} ({}...)", &text[..end]),
        None if text.is_empty() => pid.to_string(),
        None => format!("{pid} ({text})"),
    }
}

/// Whether the process began after `time`, so that it cannot have written what is as old as that.
pub(crate) fn began_after(pid: Pid, time: SystemTime) -> bool {
    began(pid).is_some_and(|began| began > time + CLOCK_SLACK)
}

/// The master that listens on the control socket beside a pid file. The kernel says whose the
/// socket is: nobody needs to answer.
pub(crate) fn of_control_socket(pid_path: &Path) -> Option<Pid> {
    let path = socket_path(pid_path);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
    let socket = socket.ok()?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(&path).ok()?).ok()?;
    let (pid, _) = peer(socket.as_fd()).ok()?;
    Pid::from_raw(pid)
}

/// The control socket of the server with this pid file.
pub(crate) fn socket_path(pid_path: &Path) -> PathBuf {
    let mut name = pid_path.as_os_str().to_owned();
    if pid_path.extension().is_some_and(|it| it == "pid") {
        name = pid_path.with_extension("").into_os_string();
    }
    name.push(".ctl");
    name.into()
}

/// The process and the user at the other end of a socket, as numbers: that of the process is 0 where it
/// lies in a namespace that this one does not see.
pub(crate) fn peer(socket: BorrowedFd<'_>) -> io::Result<(i32, u32)> {
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    Ok((peer.pid(), peer.uid()))
}

fn command_line(pid: Pid) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
    text.trim_end().to_owned()
}

/// The fields of `/proc/PID/stat` behind the name in parentheses; the first is the state.
fn stat(pid: Pid) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ").map(|(_, fields)| fields.to_owned())
}

fn began(pid: Pid) -> Option<SystemTime> {
    let ticks: u64 = stat(pid)?.split_whitespace().nth(19)?.parse().ok()?;
    let boot = std::fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
    let seconds = ticks / rustix::param::clock_ticks_per_second().max(1);
    let since_boot = Duration::from_secs(boot.trim().parse().ok()?);
    UNIX_EPOCH
        .checked_add(since_boot)?
        .checked_add(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_known() {
        let us = rustix::process::getpid();
        assert!(is_alive(us) && !is_master(us));
        assert!(shown(us).starts_with(&format!("{us} (")), "{}", shown(us));
        assert!(!began_after(us, SystemTime::now()));
        assert!(began_after(us, UNIX_EPOCH));
        assert!(began(us).unwrap() <= SystemTime::now());
    }

    #[test]
    fn one_that_has_ended_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_child(&child);
        child.wait().unwrap();
        assert!(!is_alive(pid) && !is_master(pid));
        assert_eq!(shown(pid), pid.to_string());
    }
}
