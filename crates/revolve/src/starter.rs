//! Who started this process, and what it is owed when there is a server.

use std::fs::{File, OpenOptions};
use std::io;

use crate::daemon::{self, Readiness};
use crate::handover::{Predecessor, Socket};
use crate::report;

/// See the module.
pub(crate) enum Starter {
    /// Whoever reads our standard error: a person, or a service manager.
    Person,
    /// The process that put us into the background, and waits.
    Waiting(Readiness),
    /// The master whose place we are to take.
    Master(Predecessor),
}

impl Starter {
    /// Whether we are to have no terminal once we serve.
    pub(crate) fn is_daemon(&self) -> bool {
        match self {
            Starter::Person => false,
            Starter::Waiting(_) => true,
            Starter::Master(predecessor) => predecessor.is_daemon,
        }
    }

    /// Whether a person sees on standard error what the log says until we serve. An old master has
    /// a log, and it is ours too.
    pub(crate) fn has_terminal(&self) -> bool {
        !matches!(self, Starter::Master(_))
    }

    /// The listening sockets that were handed to us.
    pub(crate) fn take_sockets(&mut self) -> Vec<Socket<std::os::fd::OwnedFd>> {
        match self {
            Starter::Master(predecessor) => std::mem::take(&mut predecessor.sockets),
            _ => Vec::new(),
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
            Starter::Person => Ok(()),
            Starter::Waiting(readiness) => readiness.done(),
            Starter::Master(predecessor) => predecessor.tell_ready(),
        }
    }
}
