//! The control socket: how a running server is asked what it does, and told to reload.
//!
//! The master listens on a Unix socket beside its pid file (`/run/revolve.pid`,
//! `/run/revolve.ctl`). A client sends one line, a command in words, and gets one line back, a
//! JSON object; then the connection is closed. `echo status | nc -U /run/revolve.ctl` will do.
//!
//! The server's side is [`desk`] (who waits for what), [`socket`] (the file), [`serve`] (a
//! client), [`facts`] (the answers) and [`answer`] (a worker's part in them); the client's is
//! [`arguments`], [`client`] and [`show`].

pub(crate) mod answer;
mod arguments;
pub(crate) mod client;

pub(crate) mod desk;
mod facts;
mod order;
mod serve;
mod show;
mod state;

pub(crate) mod socket;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use self::order::Order;
use crate::message::Question;
pub(crate) use crate::process::socket_path;
use crate::service::{Reloaded, Service};

/// The longest command.
const COMMAND_BYTES_MAX: usize = 1024;

/// Connections that are listed where nobody says how many, and at most, of each worker's loops.
const LISTED: usize = 100;
const LISTED_MAX: usize = 10_000;

/// What the server is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Processes, loops, sums.
    Status,
    /// Open connections, so many of each loop at most.
    Connections(usize),
    /// Worker processes, without asking them anything.
    Workers,
    /// The certificates of the configuration, and how long they are valid.
    Certificates,
    /// The groups of servers behind it.
    Upstreams,
    /// What is to become of a server of a group.
    Order(Order),
    /// Read the configuration again; with colours in what is said about it, or without.
    Reload {
        /// Whether diagnostics come with a terminal's colours.
        color: bool,
    },
}

impl Command {
    /// The line that asks for it, without its end.
    fn line(&self) -> String {
        match self {
            Command::Status => "status".into(),
            Command::Connections(max) => format!("connections {max}"),
            Command::Workers => "workers".into(),
            Command::Certificates => "certificates".into(),
            Command::Upstreams => "upstreams".into(),
            Command::Order(order) => order.line(),
            Command::Reload { color: false } => "reload".into(),
            Command::Reload { color: true } => "reload color".into(),
        }
    }

    /// The command that a line asks for, or what is wrong with it.
    fn parse(line: &[u8]) -> Result<Command, String> {
        let line = String::from_utf8_lossy(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["status"] => Ok(Command::Status),
            ["connections"] => Ok(Command::Connections(LISTED)),
            ["connections", max] => match max.parse() {
                Ok(max @ 1..=LISTED_MAX) => Ok(Command::Connections(max)),
                _ => Err(format!(
                    "invalid number of connections \"{max}\", expected 1 to {LISTED_MAX}"
                )),
            },
            ["workers"] => Ok(Command::Workers),
            ["certificates"] => Ok(Command::Certificates),
            ["upstreams"] => Ok(Command::Upstreams),
            ["upstream", ref order @ ..] => Order::parse(order).map(Command::Order),
            ["reload"] => Ok(Command::Reload { color: false }),
            ["reload", "color"] => Ok(Command::Reload { color: true }),
            _ => Err(format!(
                "unknown command \"{line}\", expected status, connections, workers, certificates, \
                 upstreams, upstream or reload"
            )),
        }
    }
}

/// One worker process as its master sees it.
#[derive(Clone, Debug)]
pub(crate) struct WorkerView {
    /// Its place among the workers.
    pub(crate) index: usize,
    pub(crate) pid: u32,
    pub(crate) started: std::time::Instant,
    /// The configuration that it serves; 0 before the first.
    pub(crate) generation: u64,
    /// The configuration that it could not take; 0 for none.
    pub(crate) refused: u64,
    /// It was told to go.
    pub(crate) is_leaving: bool,
}

/// What is operated by the control socket: a master, or a process that is its own worker.
pub(crate) trait Operated: 'static {
    /// The configuration and what is open for it.
    fn service(&self) -> &RefCell<Service>;

    /// Who waits for answers.
    fn desk(&self) -> &desk::Desk;

    /// `starting`, `serving`, `resting` (without workers, while a new binary is tried), `draining`
    /// or `stopping`.
    fn state(&self) -> &'static str;

    /// The worker processes.
    fn workers(&self) -> Vec<WorkerView>;

    /// Has the worker `pid` say what it does; its answer goes to the desk, under this number.
    ///
    /// Errors: the question could not be sent.
    fn ask(self: Rc<Self>, pid: u32, question: Question) -> io::Result<()>;

    /// Reads the configuration again.
    fn reload(self: Rc<Self>, color: bool) -> Reloaded;
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn commands_survive_the_line() {
        for command in [
            Command::Status,
            Command::Connections(7),
            Command::Workers,
            Command::Certificates,
            Command::Upstreams,
            Command::parse(b"upstream a server unix:/b down").unwrap(),
            Command::parse(b"upstream a server b:1 weight 7").unwrap(),
            Command::Reload { color: false },
            Command::Reload { color: true },
        ] {
            let line = command.line();
            assert_eq!(Command::parse(line.as_bytes()), Ok(command));
        }
        assert_eq!(
            Command::parse(b" connections \r"),
            Ok(Command::Connections(LISTED))
        );
        let limit = format!("connections {LISTED_MAX}");
        assert!(Command::parse(limit.as_bytes()).is_ok());
        let past = format!("connections {}", LISTED_MAX + 1);
        for wrong in [
            "",
            "stat",
            "status now",
            "connections 0",
            &past,
            "reload x",
            "upstream a",
            "upstream a server b",
            "upstream a server b weight 0",
            "upstream a server b left",
            "\u{0}",
        ] {
            assert!(Command::parse(wrong.as_bytes()).is_err(), "{wrong:?}");
        }
        assert!(Command::parse(b"\xff\xfe").is_err());
    }

    #[test]
    fn the_socket_lies_beside_the_pid_file() {
        for (pid, socket) in [
            ("/run/revolve.pid", "/run/revolve.ctl"),
            ("/srv/site/pid", "/srv/site/pid.ctl"),
            ("/run/a.pid.oldbin", "/run/a.pid.oldbin.ctl"),
            ("/run/a.b", "/run/a.b.ctl"),
        ] {
            assert_eq!(socket_path(Path::new(pid)), Path::new(socket));
        }
    }
}
