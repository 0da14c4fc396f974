//! Another binary in place of this one, while both serve on the same sockets.
//!
//! Source: nginx's documentation, "Upgrading Executable on the Fly". The old master keeps its
//! sockets, so that each step can be taken back until it is told to quit.

use std::rc::Rc;
use std::time::{Duration, Instant};

use revolve_conf::os_error_text;
use revolve_reactor::{sleep, spawn};
use revolve_server::log::Level;

use super::{Master, Phase, kill};
use crate::control::{Inbox, Received};
use crate::ctl::desk::Desk;
use crate::handover;
use crate::message::Message;
use crate::successor::{Program, Successor};

/// How long a new binary may take until it serves.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the end of one that was killed is waited for. It takes no time, but for a disk that stands still.
const KILL_PATIENCE: Duration = Duration::from_secs(1);
const KILL_CHECK: Duration = Duration::from_millis(1);

impl Master {
    /// `USR2`: starts the new binary. It has the sockets and the pid file's name from now on.
    pub(super) fn upgrade(self: &Rc<Self>) {
        let is_second = self.successor.borrow().is_some();
        if is_second || self.service.borrow().has_predecessor() {
            self.notice("signal 12 (SIGUSR2) received, ignoring");
            let message = "the changing binary signal is ignored: you should shutdown or terminate \
                           before either old or new binary's process";
            return self.log(Level::Crit, message);
        }
        if self.phase.get() != Phase::Running {
            return self.notice("signal 12 (SIGUSR2) received, ignoring");
        }
        self.notice("signal 12 (SIGUSR2) received, changing binary");
        self.notice("changing binary");
        let stepped_aside = self.service.borrow_mut().step_aside();
        if let Err(error) = stepped_aside {
            return self.log(Level::Alert, &error);
        }
        Desk::open(self);
        let Program { path, .. } = &self.program;
        let started = Successor::start(&self.program, &self.service.borrow());
        match started {
            Ok(successor) => self.watch(successor),
            Err(error) => {
                let (path, reason) = (path.display(), os_error_text(&error));
                let message = format!(
                    "execve() failed while executing new binary process \"{path}\" {reason}"
                );
                self.log(Level::Alert, &message);
                self.service.borrow_mut().step_back();
                Desk::open(self);
            }
        }
    }

    fn watch(self: &Rc<Self>, successor: Successor) {
        let pid = successor.pid();
        self.notice(&format!("start new binary process {pid}"));
        let (socket, errors) = (Rc::clone(&successor.socket), Rc::clone(&successor.errors));
        *self.successor.borrow_mut() = Some(successor);
        let master = Rc::clone(self);
        spawn(async move { while errors.ready().await.is_ok() && master.repeat_errors(pid) {} });
        let master = Rc::clone(self);
        spawn(async move {
            let mut inbox = Inbox::default();
            while socket.ready().await.is_ok() {
                match inbox.receive(&*socket) {
                    Ok(Received::Nothing) => {}
                    Ok(Received::Message(body, _)) if body == handover::READY => {
                        master.successor_serves(pid);
                    }
                    // Its end is told by SIGCHLD.
                    _ => return,
                }
            }
        });
        let master = Rc::clone(self);
        spawn(async move {
            sleep(PATIENCE).await;
            master.give_up_on(pid);
        });
    }

    /// Says in the log what the new binary says on standard error. The answer is whether more may
    /// come.
    fn repeat_errors(&self, pid: u32) -> bool {
        let mut successor = self.successor.borrow_mut();
        let Some(successor) = successor.as_mut().filter(|it| it.pid() == pid) else {
            return false;
        };
        let (lines, is_end) = successor.lines();
        for line in lines {
            let level = if line.contains("[emerg]") {
                Level::Emerg
            } else if line.contains("[warn]") {
                Level::Warn
            } else {
                Level::Error
            };
            self.log(level, &format!("new binary process {pid}: {line}"));
        }
        !is_end
    }

    fn successor_serves(&self, pid: u32) {
        for successor in self
            .successor
            .borrow_mut()
            .iter_mut()
            .filter(|it| it.pid() == pid)
        {
            successor.is_ready = true;
        }
        self.notice(&format!("new binary process {pid} serves"));
    }

    /// This master is to end. A new binary that does not serve yet ends with it: it would keep the
    /// addresses and answer nobody, and no pid file names it.
    pub(super) fn end_unready_successor(self: &Rc<Self>) {
        let service = self.service.borrow();
        let is_unready = |it: &&Successor| !it.is_ready && !service.names(it.pid());
        let pid = self
            .successor
            .borrow()
            .as_ref()
            .filter(is_unready)
            .map(Successor::pid);
        drop(service);
        let Some(pid) = pid else {
            return;
        };
        let message =
            format!("new binary process {pid} does not serve yet, and ends with this one");
        self.log(Level::Error, &message);
        self.killed(kill(pid));
        let Some(mut successor) = self.successor.take() else {
            return;
        };
        let start = Instant::now();
        while matches!(successor.child.try_wait(), Ok(None)) && start.elapsed() < KILL_PATIENCE {
            std::thread::sleep(KILL_CHECK);
        }
        self.service.borrow_mut().step_back();
        Desk::open(self);
    }

    fn give_up_on(&self, pid: u32) {
        let is_late = |it: &&Successor| it.pid() == pid && !it.is_ready;
        if self.successor.borrow().as_ref().filter(is_late).is_some() {
            let seconds = PATIENCE.as_secs();
            let message = format!("new binary process {pid} does not serve after {seconds} s");
            self.log(Level::Alert, &message);
            self.killed(kill(pid));
        }
    }

    /// Looks whether the new binary has ended; then everything is as it was before.
    pub(super) fn reap_successor(self: &Rc<Self>) {
        let ended = {
            let mut successor = self.successor.borrow_mut();
            let status = successor.as_mut().map(|it| (it.pid(), it.child.try_wait()));
            match status {
                Some((pid, Ok(Some(status)))) => Some((pid, status)),
                _ => None,
            }
        };
        let Some((pid, status)) = ended else {
            return;
        };
        self.repeat_errors(pid);
        let served = self
            .successor
            .borrow_mut()
            .take()
            .is_some_and(|it| it.is_ready);
        self.say_exited("new binary process", pid, status);
        if !served {
            let message = "the new binary never served, the old one goes on";
            self.log(Level::Error, message);
        }
        self.service.borrow_mut().step_back();
        Desk::open(self);
        if self.phase.get() == Phase::Running && self.is_resting.replace(false) {
            self.notice("start worker processes");
            self.fill();
        }
    }

    /// `WINCH`: the workers finish what is at hand and end, and the master stays, with the sockets.
    pub(super) fn rest(self: &Rc<Self>) {
        if self.phase.get() != Phase::Running {
            return;
        }
        if !self.service.borrow().is_daemon() && has_terminal() {
            let why = "a terminal sends it when its window changes";
            return self.notice(&format!("signal 28 (SIGWINCH) received, ignoring: {why}"));
        }
        self.notice("signal 28 (SIGWINCH) received, stop accepting connections");
        self.is_resting.set(true);
        let successor = self.successor.borrow();
        let handoff = self.handoff(successor.as_ref());
        self.retire(|_| true, || Message::Drain(handoff));
    }

    /// `HUP` while a new binary is tried: the workers of this one again, if they are gone, on the
    /// configuration that they had.
    pub(super) fn resume(self: &Rc<Self>) {
        self.is_resting.set(false);
        self.notice("start worker processes");
        self.fill();
    }
}

/// Whether this process has a controlling terminal.
fn has_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}
