//! Telling systemd that we serve, reload, stop, and still turn.
//!
//! Source: sd_notify(3), systemd.service(5), `Type=notify` and `WatchdogSec=`.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use revolve_conf::os_error_text;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType};
use rustix::time::ClockId;

/// The way to the service manager, where there is one.
pub(crate) struct Notifier {
    socket: Option<(OwnedFd, SocketAddrUnix)>,
    watchdog: Option<Duration>,
    is_reloading: Cell<bool>,
    /// Whether this is the main process, which alone is heard.
    is_main: Cell<bool>,
}

impl Notifier {
    /// What the environment says. A new binary in place of another goes on with the watchdog that
    /// was meant for the other one, and is silent until [`Notifier::become_main`].
    ///
    /// Errors: a socket that cannot be used; there is none then.
    pub(crate) fn from_environment(is_successor: bool) -> (Notifier, Result<(), String>) {
        let mut notifier = Notifier {
            socket: None,
            watchdog: None,
            is_reloading: Cell::new(false),
            is_main: Cell::new(!is_successor),
        };
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return (notifier, Ok(()));
        };
        let opened = open(&name);
        let said = match opened {
            Ok(socket) => {
                notifier.socket = Some(socket);
                notifier.watchdog = watchdog(is_successor);
                Ok(())
            }
            Err(error) => Err(format!(
                "the notification socket \"{}\" cannot be used {}",
                name.display(),
                os_error_text(&error)
            )),
        };
        (notifier, said)
    }

    /// How often to call [`Notifier::alive`]: twice as often as must be.
    pub(crate) fn watchdog_interval(&self) -> Option<Duration> {
        self.watchdog.map(|time| time / 2)
    }

    /// The server serves; or it has read its configuration again, whatever came of it.
    pub(crate) fn ready(&self, status: &str) -> Result<(), String> {
        self.is_reloading.set(false);
        self.send(&format!("READY=1\nSTATUS={status}\n"))
    }

    /// The configuration is being read again.
    pub(crate) fn reloading(&self) -> Result<(), String> {
        self.is_reloading.set(true);
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let now_us = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={now_us}\nSTATUS=reading the configuration again\n"
        ))
    }

    /// Whether [`Notifier::ready`] has not followed [`Notifier::reloading`] yet.
    pub(crate) fn is_reloading(&self) -> bool {
        self.is_reloading.get()
    }

    /// The server is about to end.
    pub(crate) fn stopping(&self) -> Result<(), String> {
        self.send("STOPPING=1\nSTATUS=finishing the requests at hand\n")
    }

    /// This is the main process from now on.
    pub(crate) fn become_main(&self) {
        self.is_main.set(true);
    }

    /// Another process is the main one from now on.
    pub(crate) fn main_pid(&self, pid: u32) -> Result<(), String> {
        self.send(&format!("MAINPID={pid}\n"))
    }

    /// The event loop turns.
    pub(crate) fn alive(&self) -> Result<(), String> {
        self.send("WATCHDOG=1\n")
    }

    fn send(&self, message: &str) -> Result<(), String> {
        let Some((socket, address)) = self.socket.as_ref().filter(|_| self.is_main.get()) else {
            return Ok(());
        };
        rustix::net::sendto(socket, message.as_bytes(), SendFlags::NOSIGNAL, address)
            .map(|_| ())
            .map_err(|error| {
                let (line, reason) = (message.lines().next(), os_error_text(&error.into()));
                let line = line.unwrap_or_default();
                format!("telling systemd {line} failed {reason}")
            })
    }
}

/// A path, or `@` and a name in the abstract namespace.
fn open(name: &OsStr) -> io::Result<(OwnedFd, SocketAddrUnix)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name)?,
        [b'/', ..] => SocketAddrUnix::new(name)?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    // The master's loop must not wait for systemd.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    Ok((socket, address))
}

fn watchdog(is_successor: bool) -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let is_meant = |pid| pid == u64::from(std::process::id()) || is_successor;
    let time_us = number("WATCHDOG_USEC").filter(|&time_us| time_us > 0)?;
    let is_ours = number("WATCHDOG_PID").is_none_or(is_meant);
    is_ours.then(|| Duration::from_micros(time_us))
}
