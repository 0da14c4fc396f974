//! Who started this process, and what it is owed when there is a server.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;

use revolve_server::{Config, ZoneLabel};

use crate::daemon::{self, Readiness};
use crate::handover::{Predecessor, Socket};
use crate::report;
use crate::resources::Opened;
use crate::systemd::activation;

/// See the module.
pub(crate) enum Starter {
    /// Whoever reads our standard error: a person, or a service manager, which may have opened
    /// sockets for us.
    Person(Vec<Socket<OwnedFd>>),
    /// The process that put us into the background, and waits.
    Waiting(Readiness),
    /// The master whose place we are to take.
    Master(Predecessor),
}

impl Starter {
    /// Whether we are to have no terminal once we serve.
    pub(crate) fn is_daemon(&self) -> bool {
        match self {
            Starter::Person(_) => false,
            Starter::Waiting(_) => true,
            Starter::Master(predecessor) => predecessor.is_daemon,
        }
    }

    /// Whether a person sees on standard error what the log says until we serve. An old master has
    /// a log, and it is ours too.
    pub(crate) fn has_terminal(&self) -> bool {
        !matches!(self, Starter::Master(_))
    }

    /// The listening sockets that were handed to us, as far as the configuration wants them.
    pub(crate) fn take_sockets(&mut self, config: &Config, said: &mut Vec<String>) -> Opened {
        match self {
            Starter::Master(predecessor) => {
                Opened::inherited(std::mem::take(&mut predecessor.sockets))
            }
            Starter::Person(sockets) => {
                let sockets = std::mem::take(sockets);
                let wanted = activation::keep_wanted(sockets, config, said);
                Opened::inherited(wanted)
            }
            Starter::Waiting(_) => Opened::default(),
        }
    }

    /// The state that the workers of another master share, and ours with them.
    pub(crate) fn take_zones(&mut self) -> Vec<(ZoneLabel, OwnedFd)> {
        match self {
            Starter::Master(predecessor) => std::mem::take(&mut predecessor.zones),
            Starter::Person(_) | Starter::Waiting(_) => Vec::new(),
        }
    }

    /// Where the workers of another master send connections that idle.
    pub(crate) fn take_connections(&mut self) -> Option<OwnedFd> {
        match self {
            Starter::Master(predecessor) => predecessor.connections.take(),
            Starter::Person(_) | Starter::Waiting(_) => None,
        }
    }

    /// Whether we are a new binary in place of another one.
    pub(crate) fn is_successor(&self) -> bool {
        matches!(self, Starter::Master(_))
    }

    /// What can be read when the master whose place we take has left it to us.
    pub(crate) fn predecessor(&self) -> Option<io::Result<OwnedFd>> {
        match self {
            Starter::Master(predecessor) => Some(predecessor.socket()),
            Starter::Person(_) | Starter::Waiting(_) => None,
        }
    }

    /// Whether the master whose place we take has not ended yet.
    pub(crate) fn has_predecessor(&self) -> bool {
        matches!(self, Starter::Master(predecessor) if predecessor.is_alive())
    }

    /// Says that we serve. A daemon lets go of its terminal: standard error goes to `error_log`
    /// from now on, or nowhere.
    pub(crate) fn serving(&mut self, error_log: Option<&File>) -> io::Result<()> {
        if self.is_daemon() {
            let mut null = OpenOptions::new();
            let null = null.read(true).write(true).open("/dev/null")?;
            rustix::stdio::dup2_stdout(&null)?;
            daemon::redirect_stderr(error_log.unwrap_or(&null))?;
        } else {
            report::restore_stderr()?;
        }
        match self {
            Starter::Person(_) => Ok(()),
            Starter::Waiting(readiness) => readiness.done(),
            Starter::Master(predecessor) => predecessor.tell_ready(),
        }
    }
}
