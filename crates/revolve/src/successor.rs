//! Starting the new binary that is to take this master's place.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::rc::Rc;

use revolve_reactor::Readable;
use rustix::net::Shutdown;

use crate::role::{EXECUTABLE, ROLE, ROLE_SUCCESSOR};
use crate::service::Service;
use crate::{control, handover, inboxes, report, title};

/// The longest line that is taken from a new binary in one piece.
const LINE_BYTES_MAX: usize = 4096;

/// How this program was started, to be started so again.
pub(crate) struct Program {
    /// The file, which may be another one by then. `/proc/self/exe` would be the old one.
    pub(crate) path: PathBuf,
    name: OsString,
    arguments: Vec<OsString>,
}

impl Program {
    /// That of this process. To be asked at the start, while the file is still the one that runs.
    pub(crate) fn of_this_process() -> io::Result<Program> {
        let name = title::name().unwrap_or_default();
        let path = match find(Path::new(&name)) {
            Some(path) => path,
            None => std::env::current_exe()?,
        };
        Ok(Program {
            path,
            name,
            arguments: std::env::args_os().skip(1).collect(),
        })
    }
}

/// The path by which this program was called, so that a symbolic link is followed anew; `None`
/// where the name leads elsewhere.
fn find(name: &Path) -> Option<PathBuf> {
    let running = std::fs::metadata(EXECUTABLE).ok()?;
    let is_running = |path: &PathBuf| {
        let found = std::fs::metadata(path);
        found.is_ok_and(|it| (it.dev(), it.ino()) == (running.dev(), running.ino()))
    };
    if name.components().count() > 1 {
        return std::path::absolute(name).ok().filter(is_running);
    }
    let folders = std::env::var_os("PATH")?;
    let mut candidates = std::env::split_paths(&folders).map(|folder| folder.join(name));
    let found = candidates.find(is_running)?;
    std::path::absolute(found).ok()
}

/// What may lie unread between our workers and those of the new binary. All idle connections go there at
/// once, so it is what the system allows, mostly (`net.core.wmem_max`).
const CONNECTIONS_BYTES: usize = 256 * 1024;

/// A new binary that runs.
pub(crate) struct Successor {
    pub(crate) child: Child,
    /// Where it says that it serves.
    pub(crate) socket: Rc<Readable>,
    /// Its standard error until then.
    pub(crate) errors: Rc<Readable>,
    pub(crate) is_ready: bool,
    /// Where our workers send its workers connections.
    connections: OwnedFd,
    /// The beginning of a line of which the end has not come.
    line: Vec<u8>,
}

impl Successor {
    /// Starts `program` and hands it what this master has open.
    pub(crate) fn start(program: &Program, service: &Service) -> io::Result<Successor> {
        let (ours, theirs) = control::pair()?;
        let (errors, their_errors) = io::pipe()?;
        let errors = OwnedFd::from(errors);
        rustix::io::ioctl_fionbio(&errors, true)?;
        let (connections, their_connections) = inboxes::pair(CONNECTIONS_BYTES)?;
        let (socket, errors) = (Readable::new(ours)?, Readable::new(errors)?);
        let mut command = Command::new(&program.path);
        command
            .arg0(title::of(&program.name))
            .args(&program.arguments)
            .env(ROLE, ROLE_SUCCESSOR)
            .stdin(theirs)
            .stderr(their_errors);
        let child = command.spawn()?;
        let stderr = report::stderr()?;
        let (body, fds) = service
            .handover(stderr.as_fd(), their_connections.as_fd())
            .encode();
        // Should it have ended already, its end is what counts.
        let _ = control::send(&socket, &body, &fds);
        Ok(Successor {
            child,
            socket: Rc::new(socket),
            errors: Rc::new(errors),
            is_ready: false,
            connections,
            line: Vec::new(),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where connections that idle go, once somebody is there to serve them. `is_named`: the pid file is
    /// the new binary's, so that it serves, whether that was heard already or not.
    pub(crate) fn connections(&self, is_named: bool) -> Option<BorrowedFd<'_>> {
        (self.is_ready || is_named).then_some(self.connections.as_fd())
    }

    /// Says that it is the main process.
    pub(crate) fn tell_main(&self) {
        // It may be gone already.
        let _ = control::send(&*self.socket, handover::MAIN, &[]);
    }

    /// Says goodbye: from now on it is a master like any other.
    pub(crate) fn leave(&self) {
        // It may be gone already.
        let _ = rustix::net::shutdown(&*self.socket, Shutdown::Both);
    }

    /// The lines that it has written to standard error since, and whether these were the last.
    pub(crate) fn lines(&mut self) -> (Vec<String>, bool) {
        let mut bytes = [0; LINE_BYTES_MAX];
        let mut lines = Vec::new();
        loop {
            let is_end = match rustix::io::read(&*self.errors, &mut bytes) {
                Ok(count) => {
                    self.line.extend_from_slice(&bytes[..count]);
                    count == 0
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(_) => return (lines, false),
            };
            while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
                let rest = self.line.split_off(end + 1);
                lines.push(text(&self.line[..end]));
                self.line = rest;
            }
            if (is_end || self.line.len() > LINE_BYTES_MAX) && !self.line.is_empty() {
                lines.push(text(&std::mem::take(&mut self.line)));
            }
            if is_end {
                return (lines, true);
            }
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_the_name_that_it_was_called_by() {
        let running = std::env::current_exe().unwrap();
        assert_eq!(find(&running), Some(running.clone()));
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&running, &link).unwrap();
        // The link itself, since it may lead to another version later.
        assert_eq!(find(&link), Some(link));
        // A name that says nothing about the file.
        assert_eq!(find(Path::new("/bin/sh")), None);
        assert_eq!(find(Path::new("no-such-program-here")), None);
    }
}
