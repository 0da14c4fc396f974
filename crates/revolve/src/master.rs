//! The master: it owns the sockets, watches the workers, and does what signals ask.
//!
//! Everything happens in the master's event loop, one step at a time; no state is borrowed across
//! a wait.

mod operated;
mod upgrade;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::{Child, ExitCode, ExitStatus};
use std::rc::Rc;
use std::time::{Duration, Instant};

use revolve_conf::os_error_text;
use revolve_reactor::signal::{
    SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, Signals,
};
use revolve_reactor::{DriverKind, EventLoop, LoopHandle, Readable, on_task_panic, sleep, spawn};
use revolve_server::EnvVariable;
use revolve_server::log::Level;
use revolve_server::spawn_lasting;
use rustix::process::{Pid, Signal};

use crate::control::{self, Inbox, Received};
use crate::ctl::desk::Desk;
use crate::message::Message;
use crate::role::EXIT_UNFIT;
use crate::service::{Reloaded, Service};
use crate::successor::{Program, Successor};
use crate::{expiry, systemd, worker_process};

/// A worker that dies sooner than this after its start is a quick death.
const QUICK_DEATH: Duration = Duration::from_secs(1);
/// The pause before the second replacement in a row; it doubles with each, up to the maximum.
const RESPAWN_PAUSE: Duration = Duration::from_millis(100);
const RESPAWN_PAUSE_MAX: Duration = Duration::from_secs(10);
/// So many quick deaths of a worker that was never ready end the start: nobody would serve.
const START_DEATHS_MAX: u32 = 5;
/// How long a worker may take to answer before that is said.
const ANSWER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a worker may take to exit at once: about as long as nginx's may.
const STOP_PATIENCE: Duration = Duration::from_secs(3);

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// Serving.
    Running,
    /// The workers finish what is at hand.
    Draining,
    /// The workers exit.
    Stopping,
}

/// One worker process.
struct Slot {
    /// Its place among the workers: which sockets and processors are its.
    index: usize,
    child: Child,
    socket: Rc<Readable>,
    started: Instant,
    is_ready: bool,
    /// The configuration that it serves, and the one that it could not take; 0 for none.
    generation: u64,
    refused: u64,
    /// It is to go, and not to be replaced.
    is_retired: bool,
    /// It was told to go.
    is_told: bool,
}

impl Slot {
    fn pid(&self) -> u32 {
        self.child.id()
    }
}

struct Master {
    service: RefCell<Service>,
    slots: RefCell<Vec<Slot>>,
    phase: Cell<Phase>,
    /// How often in a row the worker with an index died quickly.
    quick_deaths: RefCell<HashMap<usize, u32>>,
    /// All workers have been ready once.
    has_started: Cell<bool>,
    /// How to start another binary, and the one that was started.
    program: Program,
    successor: RefCell<Option<Successor>>,
    /// `WINCH` came: there are to be no workers for now.
    is_resting: Cell<bool>,
    exit: Cell<u8>,
    desk: Desk,
    event_loop: LoopHandle,
}

/// Runs the master until it is told to stop.
pub(crate) fn run(mut service: Service) -> ExitCode {
    match prepare() {
        Ok(prepared) => start(service, prepared),
        Err(error) => {
            let mut message = format!("the event loop failed {}", os_error_text(&error));
            if is_out_of_files(&error) {
                message.push_str(OUT_OF_FILES);
            }
            service.log.write(Level::Emerg, &message);
            service.finish();
            ExitCode::FAILURE
        }
    }
}

/// What to do where descriptors run out, for the end of a message.
const OUT_OF_FILES: &str = ", raise the master's limit (ulimit -n, or LimitNOFILE= of systemd)";

fn is_out_of_files(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error())
}

/// All that a master needs for itself, so that what fails does so before it has workers.
fn prepare() -> io::Result<(EventLoop, Signals, Program)> {
    let event_loop = EventLoop::new()?;
    let watched = [
        SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD, SIGUSR2, SIGWINCH,
    ];
    let signals = Signals::new(&watched)?;
    Ok((event_loop, signals, Program::of_this_process()?))
}

fn start(service: Service, prepared: (EventLoop, Signals, Program)) -> ExitCode {
    let (mut event_loop, mut signals, program) = prepared;
    let master = Rc::new(Master {
        service: RefCell::new(service),
        slots: RefCell::default(),
        phase: Cell::new(Phase::Running),
        quick_deaths: RefCell::default(),
        has_started: Cell::new(false),
        program,
        successor: RefCell::default(),
        is_resting: Cell::new(false),
        exit: Cell::new(0),
        desk: Desk::default(),
        event_loop: event_loop.handle(),
    });
    let reporter = Rc::downgrade(&master);
    on_task_panic(move |message| {
        let master = reporter.upgrade();
        match master
            .as_ref()
            .and_then(|master| master.service.try_borrow().ok())
        {
            Some(service) => service
                .log
                .write(Level::Alert, &format!("panic: {message}")),
            None => eprintln!("panic: {message}"),
        }
    });
    let watcher = Rc::clone(&master);
    event_loop.spawn(async move {
        loop {
            let signal = signals.next().await;
            // A task of its own: if our own bug makes it panic, later signals are still heard.
            let master = Rc::clone(&watcher);
            spawn(async move { master.signal(signal) });
        }
    });
    master.notice("start worker processes");
    master.fill();
    let asked = Rc::clone(&master);
    event_loop.spawn(async move { Desk::open(&asked) });
    event_loop.spawn(systemd::succeed(Rc::clone(&master)));
    let watched = Rc::clone(&master);
    event_loop.spawn(async move {
        spawn_lasting({
            let watched = Rc::clone(&watched);
            move || systemd::watchdog(Rc::clone(&watched))
        });
        spawn_lasting(move || {
            let watched = Rc::clone(&watched);
            expiry::watch(move |look| look(&watched.service.borrow()))
        });
    });
    event_loop.run();
    master.desk.close();
    if let Some(successor) = master.successor.borrow().as_ref() {
        successor.leave();
    }
    master.service.borrow_mut().finish();
    ExitCode::from(master.exit.get())
}

impl Master {
    fn notice(&self, message: &str) {
        self.service.borrow().log.notice(message);
    }

    fn log(&self, level: Level, message: &str) {
        self.service.borrow().log.write(level, message);
    }

    fn signal(self: &Rc<Self>, signal: i32) {
        match signal {
            SIGCHLD => {
                self.reap_successor();
                self.reap();
            }
            SIGUSR2 => self.upgrade(),
            SIGWINCH => self.rest(),
            SIGHUP => self.hang_up(),
            SIGUSR1 => self.reopen(),
            SIGQUIT => self.drain(),
            SIGTERM => self.stop("signal 15 (SIGTERM) received, exiting"),
            SIGINT => self.stop("signal 2 (SIGINT) received, exiting"),
            other => self.notice(&format!("signal {other} received, ignoring")),
        }
    }

    /// Starts a worker for every place that has none.
    fn fill(self: &Rc<Self>) {
        if self.is_resting.get() {
            return;
        }
        let wanted = self.service.borrow().config.process().worker_count();
        for index in 0..wanted {
            let is_filled = self
                .slots
                .borrow()
                .iter()
                .any(|slot| slot.index == index && !slot.is_retired);
            if !is_filled {
                self.start_worker(index);
            }
        }
    }

    fn start_worker(self: &Rc<Self>, index: usize) {
        let started = worker_process::start(index, &self.service.borrow());
        let (child, socket) = match started {
            Ok(started) => started,
            Err(error) => {
                let reason = os_error_text(&error);
                let help = if is_out_of_files(&error) {
                    OUT_OF_FILES
                } else {
                    ""
                };
                let message = format!("starting a worker process failed {reason}{help}");
                self.log(Level::Alert, &message);
                return self.replace(index, Duration::ZERO);
            }
        };
        let pid = child.id();
        self.notice(&format!("start worker process {pid}"));
        let started = Instant::now();
        let listened = Rc::clone(&socket);
        self.slots.borrow_mut().push(Slot {
            index,
            child,
            socket,
            started,
            is_ready: false,
            generation: 0,
            refused: 0,
            is_retired: false,
            is_told: false,
        });
        let master = Rc::clone(self);
        spawn_lasting(move || Rc::clone(&master).listen(pid, Rc::clone(&listened)));
    }

    /// Hears what one worker says, until it is gone; that it is dead `SIGCHLD` tells.
    async fn listen(self: Rc<Self>, pid: u32, socket: Rc<Readable>) {
        self.hear(pid, socket).await;
        self.desk.forget(pid);
    }

    async fn hear(self: &Rc<Self>, pid: u32, socket: Rc<Readable>) {
        let mut inbox = Inbox::default();
        while socket.ready().await.is_ok() {
            loop {
                match inbox.receive(&*socket) {
                    Ok(Received::Nothing) => break,
                    Ok(Received::Closed) => return,
                    Ok(Received::Message(body, fds)) => match Message::decode(&body, fds) {
                        Ok(message) => self.heard(pid, message),
                        Err(error) => self.log(Level::Alert, &error.to_string()),
                    },
                    Err(error) => {
                        let reason = os_error_text(&error);
                        let message = format!("hearing worker process {pid} failed {reason}");
                        return self.log(Level::Alert, &message);
                    }
                }
            }
        }
    }

    fn heard<F>(self: &Rc<Self>, pid: u32, message: Message<F>) {
        match message {
            Message::Ready(generation) => {
                let message = format!("worker process {pid} serves configuration {generation}");
                self.log(Level::Info, &message);
                for slot in self
                    .slots
                    .borrow_mut()
                    .iter_mut()
                    .filter(|slot| slot.pid() == pid)
                {
                    slot.is_ready = true;
                    slot.generation = generation;
                }
                self.maybe_complete();
                self.maybe_settled();
            }
            Message::Failed(generation, reason) => {
                let level = if self.has_started.get() {
                    Level::Alert
                } else {
                    Level::Emerg
                };
                let what = format!("worker process {pid} cannot take configuration {generation}");
                self.log(level, &format!("{what}: {reason}"));
                let mut slots = self.slots.borrow_mut();
                if let Some(slot) = slots.iter_mut().find(|slot| slot.pid() == pid) {
                    slot.refused = generation;
                }
                drop(slots);
                self.maybe_settled();
            }
            Message::Answer(number, answer) => self.desk.answered(number, &answer),
            _ => self.log(
                Level::Alert,
                &format!("worker process {pid} talks nonsense"),
            ),
        }
    }

    /// All workers may be ready now: that ends a start, and the time of those that were replaced.
    fn maybe_complete(self: &Rc<Self>) {
        let wanted = self.service.borrow().config.process().worker_count();
        let serves = |slot: &&Slot| slot.is_ready && !slot.is_retired;
        let count = self.slots.borrow().iter().filter(serves).count();
        if count < wanted || self.phase.get() != Phase::Running {
            return;
        }
        self.retire(|slot| slot.is_retired, || Message::Drain(None));
        if !self.has_started.replace(true) {
            let serving = self.service.borrow_mut().serving();
            if let Err(error) = serving {
                self.exit.set(1);
                self.log(Level::Emerg, &error);
                self.stop("exiting");
            }
            Desk::open(self);
        }
    }

    /// Whether each worker that stays serves the newest configuration, or has said why not.
    fn maybe_settled(&self) {
        let newest = self.service.borrow().generation;
        let is_settled = |slot: &Slot| slot.generation.max(slot.refused) >= newest;
        let slots = self.slots.borrow();
        if slots.iter().filter(|it| !it.is_retired).all(is_settled) {
            self.service.borrow().settled();
        }
    }

    /// Collects the workers that have died, and replaces those that should not have.
    fn reap(self: &Rc<Self>) {
        let mut dead = Vec::new();
        self.slots
            .borrow_mut()
            .retain_mut(|slot| match slot.child.try_wait() {
                Ok(None) => true,
                Ok(Some(status)) => {
                    let should_live = !slot.is_retired;
                    dead.push((
                        slot.pid(),
                        slot.index,
                        slot.started.elapsed(),
                        status,
                        should_live,
                    ));
                    false
                }
                // Somebody else has reaped it, so it is gone.
                Err(_) => false,
            });
        if !dead.is_empty() {
            self.service.borrow().take_back_from_dead();
        }
        for (pid, index, lived, status, should_live) in dead {
            self.say_exited("worker process", pid, status);
            if self.phase.get() != Phase::Running || !should_live {
                continue;
            }
            if status.code() == Some(EXIT_UNFIT.into()) && !self.has_started.get() {
                // It has said why; another one would say the same.
                self.give_up();
            } else {
                self.replace(index, lived);
            }
        }
        if self.phase.get() != Phase::Running && self.slots.borrow().is_empty() {
            self.event_loop.stop();
        }
    }

    /// The first workers cannot serve, so that there is nothing to be master of.
    fn give_up(self: &Rc<Self>) {
        if self.phase.get() != Phase::Running {
            return;
        }
        self.exit.set(1);
        self.log(Level::Emerg, "the worker processes could not start");
        self.stop("exiting");
    }

    fn say_exited(&self, what: &str, pid: u32, status: ExitStatus) {
        use std::os::unix::process::ExitStatusExt;
        match (status.code(), status.signal()) {
            (Some(code), _) => {
                let level = if code == 0 {
                    Level::Notice
                } else {
                    Level::Alert
                };
                self.log(level, &format!("{what} {pid} exited with code {code}"));
            }
            (None, signal) => {
                let core = if status.core_dumped() {
                    " (core dumped)"
                } else {
                    ""
                };
                let signal = signal.unwrap_or_default();
                let message = format!("{what} {pid} exited on signal {signal}{core}");
                self.log(Level::Alert, &message);
            }
        }
    }

    /// Starts another worker in place of one that lived so long: at once, or after a pause if
    /// that happens again and again.
    fn replace(self: &Rc<Self>, index: usize, lived: Duration) {
        let deaths = {
            let mut quick_deaths = self.quick_deaths.borrow_mut();
            let deaths = quick_deaths.entry(index).or_default();
            *deaths = if lived < QUICK_DEATH { *deaths + 1 } else { 0 };
            *deaths
        };
        if deaths >= START_DEATHS_MAX && !self.has_started.get() {
            return self.give_up();
        }
        let pause = respawn_pause(deaths);
        if pause.is_zero() {
            return self.fill();
        }
        let message = format!(
            "worker {index} has died {deaths} times within a second of its start, \
             the next start is in {} ms",
            pause.as_millis()
        );
        self.log(Level::Alert, &message);
        let master = Rc::clone(self);
        spawn(async move {
            sleep(pause).await;
            if master.phase.get() == Phase::Running {
                master.fill();
            }
        });
    }

    /// `HUP`: the configuration again; or, while a new binary is tried, our workers.
    fn hang_up(self: &Rc<Self>) {
        if self.phase.get() != Phase::Running {
            return;
        }
        self.notice("signal 1 (SIGHUP) received, reconfiguring");
        if self.successor.borrow().is_some() {
            self.resume();
        } else {
            self.reload(false);
        }
    }

    /// Takes the configuration as it is now, in the same workers wherever that is possible.
    fn reload(self: &Rc<Self>, color: bool) -> Reloaded {
        if self.phase.get() != Phase::Running {
            return Reloaded::refused("the server is shutting down");
        }
        if self.successor.borrow().is_some() {
            let why = "a new binary is being tried; reload that one, or end it first";
            return Reloaded::refused(why);
        }
        self.is_resting.set(false);
        self.notice("reconfiguring");
        let before = Needs::of(&self.service.borrow());
        let reloaded = self.service.borrow_mut().reload(color);
        if reloaded.changes.is_none() {
            return reloaded;
        }
        Desk::open(self);
        let now = Needs::of(&self.service.borrow());
        let generation = self.service.borrow().generation;
        let wanted = self.service.borrow().config.process().worker_count();
        self.retire(|slot| slot.index >= wanted, || Message::Drain(None));
        if before != now {
            // They serve until those that come in their place do.
            for slot in self.slots.borrow_mut().iter_mut() {
                slot.is_retired = true;
            }
        }
        for slot in self.slots.borrow().iter().filter(|slot| !slot.is_retired) {
            let service = self.service.borrow();
            self.say(
                slot,
                Message::Configure(Box::new(service.bundle(slot.index))),
            );
            worker_process::limit(slot.pid(), slot.index, &service);
        }
        self.quick_deaths.borrow_mut().clear();
        self.fill();
        let master = Rc::clone(self);
        spawn(async move {
            sleep(ANSWER_PATIENCE).await;
            master.name_silent(generation);
        });
        reloaded
    }

    /// Names the workers that have not said that they serve a configuration. They are left alone:
    /// who has stopped one may want to look at it.
    fn name_silent(&self, generation: u64) {
        let is_silent = |slot: &&Slot| slot.generation < generation && !slot.is_retired;
        for slot in self.slots.borrow().iter().filter(is_silent) {
            let (pid, seconds) = (slot.pid(), ANSWER_PATIENCE.as_secs());
            let message = format!(
                "worker process {pid} has not taken configuration {generation} within {seconds} s: \
                 it is stopped or very busy, and its connections wait"
            );
            self.log(Level::Warn, &message);
        }
    }

    fn reopen(&self) {
        self.notice("signal 10 (SIGUSR1) received, reopening logs");
        self.notice("reopening logs");
        self.service.borrow_mut().reopen_logs();
        let service = self.service.borrow();
        for slot in self.slots.borrow().iter() {
            self.say(slot, Message::Reopen(service.log_fds()));
        }
    }

    fn drain(self: &Rc<Self>) {
        if self.phase.get() != Phase::Running {
            return;
        }
        self.notice("signal 3 (SIGQUIT) received, shutting down");
        self.end_unready_successor();
        let successor = self.successor.borrow();
        let handoff = self.handoff(successor.as_ref());
        self.leave(Phase::Draining, || Message::Drain(handoff));
    }

    /// Where our workers send connections that idle, if the new binary serves.
    fn handoff<'a>(&self, successor: Option<&'a Successor>) -> Option<BorrowedFd<'a>> {
        let successor = successor?;
        successor.connections(self.service.borrow().names(successor.pid()))
    }

    /// Stops at once, and kills the workers that do not.
    fn stop(self: &Rc<Self>, why: &str) {
        self.notice(why);
        if self.phase.get() == Phase::Stopping {
            // Said twice: no patience is left.
            return self.kill(|_| true);
        }
        self.end_unready_successor();
        self.leave(Phase::Stopping, || Message::Stop);
        let master = Rc::clone(self);
        spawn(async move {
            sleep(STOP_PATIENCE).await;
            master.kill(|_| true);
        });
    }

    fn leave<'a>(self: &Rc<Self>, phase: Phase, message: impl Fn() -> Message<BorrowedFd<'a>>) {
        let was_running = self.phase.replace(phase) == Phase::Running;
        if was_running {
            let successor = self.successor.borrow();
            let pid = successor.as_ref().map(Successor::pid);
            self.service.borrow().stopping(pid);
            successor.iter().for_each(Successor::tell_main);
        }
        self.service.borrow_mut().close_sockets();
        self.retire(|_| true, message);
        if self.slots.borrow().is_empty() {
            self.event_loop.stop();
        }
    }

    /// Tells workers to go, by `message`; none will take their place for that. One that is still
    /// there when `worker_shutdown_timeout` is over, because it does not run, is killed.
    fn retire<'a>(
        self: &Rc<Self>,
        must_go: impl Fn(&Slot) -> bool,
        message: impl Fn() -> Message<BorrowedFd<'a>>,
    ) {
        let mut told = Vec::new();
        for slot in self.slots.borrow_mut().iter_mut() {
            if (!slot.is_told || self.phase.get() != Phase::Running) && must_go(slot) {
                slot.is_retired = true;
                slot.is_told = true;
                self.say(slot, message());
                told.push(slot.pid());
            }
        }
        let timeout_ms = {
            let service = self.service.borrow();
            service.config.process().worker_shutdown_timeout_ms
        };
        if let Some(timeout_ms) = timeout_ms.filter(|_| !told.is_empty()) {
            let patience = Duration::from_millis(timeout_ms) + STOP_PATIENCE;
            let master = Rc::clone(self);
            spawn(async move {
                sleep(patience).await;
                master.kill(|pid| told.contains(&pid));
            });
        }
    }

    fn kill(&self, is_meant: impl Fn(u32) -> bool) {
        for slot in self.slots.borrow().iter().filter(|it| is_meant(it.pid())) {
            // It has not been reaped, so the number is still its own.
            self.killed(kill(slot.pid()));
        }
    }

    fn killed(&self, result: Result<(), String>) {
        if let Err(error) = result {
            self.log(Level::Alert, &error);
        }
    }

    /// Sends a message to a worker. One that has left so many unread that no more fit does not
    /// work any more: it is killed, and `SIGCHLD` has it replaced.
    fn say(&self, slot: &Slot, message: Message<BorrowedFd<'_>>) {
        let (body, fds) = message.encode();
        let Err(error) = control::send(&*slot.socket, &body, &fds) else {
            return;
        };
        if error.kind() == io::ErrorKind::BrokenPipe {
            return;
        }
        let reason = os_error_text(&error);
        self.log(
            Level::Alert,
            &format!("telling worker process {} failed {reason}", slot.pid()),
        );
        if error.kind() == io::ErrorKind::WouldBlock {
            self.killed(kill(slot.pid()));
        }
    }
}

/// Kills a process that we started and have not reaped, so that the number is its own.
fn kill(pid: u32) -> Result<(), String> {
    let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return Ok(());
    };
    rustix::process::kill_process(raw, Signal::KILL)
        .map_err(|error| format!("kill({pid}, 9) failed {}", os_error_text(&error.into())))
}

/// The pause before a worker is replaced that has died quickly so many times in a row.
fn respawn_pause(quick_deaths: u32) -> Duration {
    match quick_deaths {
        0 | 1 => Duration::ZERO,
        more => RESPAWN_PAUSE
            .saturating_mul(1 << (more - 2).min(16))
            .min(RESPAWN_PAUSE_MAX),
    }
}

/// What a worker cannot change while it lives: if it changes, the workers are replaced.
#[derive(PartialEq, Eq)]
struct Needs {
    identity: Option<crate::privilege::Identity>,
    threads: usize,
    driver: Option<DriverKind>,
    env: Vec<EnvVariable>,
    working_directory: Option<PathBuf>,
}

impl Needs {
    fn of(service: &Service) -> Needs {
        let process = service.config.process();
        Needs {
            identity: service.identity.clone(),
            threads: process.thread_count(),
            driver: process.driver,
            env: process.surroundings.env.clone(),
            working_directory: process.surroundings.working_directory.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_maximum() {
        let pauses = [0, 1, 2, 3, 4, 9, 1000].map(|deaths| respawn_pause(deaths).as_millis());
        assert_eq!(pauses, [0, 0, 100, 200, 400, 10_000, 10_000]);
    }
}
