//! Going into the background.
//!
//! A daemon is the same executable run again: the first process waits on a pipe until the second
//! says that it serves, so that its exit code tells whether there is a server. No process is
//! forked without being executed anew, so no thread and no lock is ever half copied.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use revolve_conf::os_error_text;

use crate::role::{EXECUTABLE, ROLE, ROLE_DAEMON};
use crate::version::PROGRAM;
use crate::{handover, title};

/// Runs the daemon and waits until it serves or has failed; its messages come on our standard
/// error.
pub(crate) fn start() -> ExitCode {
    match spawn_and_wait() {
        Ok(code) => code,
        Err(error) => {
            eprintln!(
                "{PROGRAM}: [emerg] daemon could not start {}",
                os_error_text(&error)
            );
            ExitCode::FAILURE
        }
    }
}

fn spawn_and_wait() -> io::Result<ExitCode> {
    let (mut reader, writer) = io::pipe()?;
    let mut command = Command::new(EXECUTABLE);
    if let Some(name) = title::name() {
        command.arg0(title::of(&name));
    }
    command
        .args(std::env::args_os().skip(1))
        .env(ROLE, ROLE_DAEMON)
        .stdin(OwnedFd::from(writer));
    let mut child = command.spawn()?;
    // The command holds the writer, and its end must be seen when the daemon closes it.
    drop(command);
    let mut answer = [0];
    if reader.read(&mut answer)? == 1 {
        return Ok(ExitCode::SUCCESS);
    }
    let code = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.filter(|&code| code != 0).unwrap_or(1)))
}

/// The daemon's side: what it owes the process that waits.
pub(crate) struct Readiness {
    pipe: Option<File>,
}

impl Readiness {
    /// Leaves the session of the terminal, and takes the pipe that stands in for standard input.
    pub(crate) fn new() -> io::Result<Readiness> {
        let pipe = Some(File::from(handover::take_stdin()?));
        rustix::process::setsid()?;
        Ok(Readiness { pipe })
    }

    /// Says that the server serves; the first time counts.
    pub(crate) fn done(&mut self) -> io::Result<()> {
        match self.pipe.take() {
            Some(mut pipe) => pipe.write_all(&[1]),
            None => Ok(()),
        }
    }
}

/// Standard error to a file: panics and the like are then in the log.
pub(crate) fn redirect_stderr(file: &File) -> io::Result<()> {
    Ok(rustix::stdio::dup2_stderr(file)?)
}
