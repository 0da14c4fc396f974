//! A worker: it serves what the master hands it, and does what the master says.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use revolve_conf::{SnapshotFiles, os_error_text};
use revolve_reactor::signal::{
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, Signals,
};
use revolve_reactor::{EventLoop, LoopHandle, Readable, spawn};
use revolve_server::log::Level;
use revolve_server::{Config, Descriptors, Peers, Worker, spawn_lasting};

use crate::control::{self, Inbox, Received};
use crate::ctl::answer;
use crate::message::{Bundle, Dealing, Message};
use crate::paths::Paths;
use crate::role::EXIT_UNFIT;
use crate::source::Source;
use crate::{handover, privilege, report};

/// Runs a worker; its standard input is the socket to the master.
pub(crate) fn run() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::emerg(&format!("worker process failed: {error}"));
            ExitCode::from(EXIT_UNFIT)
        }
    }
}

fn serve() -> Result<(), String> {
    let socket = handover::take_stdin().map_err(|error| os_error_text(&error))?;
    let mut inbox = Inbox::default();
    let first = inbox
        .receive(&socket)
        .map_err(|error| os_error_text(&error))?;
    let bundle = match first {
        // The master is gone before it said anything.
        Received::Closed | Received::Nothing => return Ok(()),
        Received::Message(body, fds) => match Message::decode(&body, fds) {
            Ok(Message::Configure(bundle)) => *bundle,
            Ok(_) => return Err("the first message is no configuration".into()),
            Err(error) => return Err(error.to_string()),
        },
    };
    let generation = bundle.generation;
    let started = prepare(bundle).and_then(|(config, descriptors, warning)| {
        let event_loop = config.process().event_loop().build();
        let event_loop = event_loop.map_err(|error| os_error_text(&error))?;
        let worker = Worker::start(config, descriptors);
        let worker = worker.map_err(|error| os_error_text(&error))?;
        if let Some(warning) = warning {
            worker.log(Level::Warn, format_args!("{warning}"));
        }
        Ok((event_loop, worker))
    });
    match started {
        Ok((event_loop, worker)) => {
            run_loop(event_loop, worker, socket, generation).map_err(|error| os_error_text(&error))
        }
        Err(reason) => {
            tell(socket.as_fd(), Message::Failed(generation, reason.clone()));
            Err(reason)
        }
    }
}

/// Builds the first configuration, and then becomes the user that it names, with no more rights
/// than that user's, in the folder that it names. The third part of the answer is for the log.
fn prepare(bundle: Bundle<OwnedFd>) -> Result<(Arc<Config>, Descriptors, Option<String>), String> {
    let changes_user = bundle.changes_user;
    let (config, descriptors) = build(bundle)?;
    let identity = if changes_user {
        privilege::identity(config.process())?
    } else {
        None
    };
    let warning = identity.map(|identity| identity.assume()).transpose()?;
    privilege::confine()?;
    let surroundings = &config.process().surroundings;
    if surroundings.core_bytes.is_some() {
        privilege::allow_core_files()?;
    }
    if let Some(folder) = &surroundings.working_directory {
        rustix::process::chdir(folder).map_err(|error| {
            let reason = os_error_text(&error.into());
            format!("chdir(\"{}\") failed {reason}", folder.display())
        })?;
    }
    Ok((config, descriptors, warning.flatten()))
}

/// Builds the configuration out of the files that the master read.
fn build(bundle: Bundle<OwnedFd>) -> Result<(Arc<Config>, Descriptors), String> {
    let source = Source {
        paths: Paths {
            config: bundle.config,
            prefix: bundle.prefix,
        },
        error_log: bundle.error_log,
        access_log: bundle.access_log,
        globals: bundle.globals,
        built_in: None,
    };
    let mut files = SnapshotFiles::new(bundle.snapshot);
    let (config, sources, diagnostics) = source.load_from(&mut files);
    let descriptors = Descriptors {
        listeners: bundle.listeners,
        logs: bundle.logs,
        zones: bundle.zones,
        peers: bundle.dealing.map(peers),
        inherited: bundle.inherited,
    };
    let first = || {
        let error = diagnostics.iter().next();
        error.map_or("no reason is known".into(), |error| {
            error.headline(&sources)
        })
    };
    Ok((config.ok_or_else(first)?, descriptors))
}

fn peers(dealing: Dealing<OwnedFd>) -> Peers {
    Peers {
        group: dealing.group as u32,
        own: dealing.own as usize,
        inboxes: dealing.inboxes,
        others: dealing.others,
    }
}

fn tell(socket: BorrowedFd<'_>, message: Message<BorrowedFd<'_>>) {
    let (body, fds) = message.encode();
    // A master that does not hear is gone, which the socket's end will tell.
    let _ = control::send(socket, &body, &fds);
}

/// What the tasks of the worker's loop share.
struct Shared {
    worker: Worker,
    is_draining: Cell<bool>,
    event_loop: LoopHandle,
}

fn run_loop(
    mut event_loop: EventLoop,
    worker: Worker,
    socket: OwnedFd,
    generation: u64,
) -> io::Result<()> {
    rustix::io::ioctl_fionbio(&socket, true)?;
    let socket = Readable::new(socket)?;
    let watched = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH];
    let mut signals = Signals::new(&watched)?;
    let shared = Rc::new(Shared {
        worker,
        is_draining: Cell::new(false),
        event_loop: event_loop.handle(),
    });
    tell(Readable::as_fd(&socket), Message::Ready(generation));
    let listening = Rc::clone(&shared);
    let socket = Rc::new(socket);
    event_loop.spawn(async move {
        spawn_lasting(move || Rc::clone(&listening).listen(Rc::clone(&socket)));
    });
    let signalled = Rc::clone(&shared);
    event_loop.spawn(async move {
        loop {
            match signals.next().await {
                SIGTERM | SIGINT => signalled.stop(),
                SIGQUIT => signalled.drain(None),
                // The rest is the master's business, and a terminal may send it to all.
                _ => {}
            }
        }
    });
    event_loop.run();
    Ok(())
}

impl Shared {
    /// Does what the master says. When the master is gone there is nobody to say more, and
    /// nobody to replace this worker: it finishes what is at hand.
    async fn listen(self: Rc<Self>, socket: Rc<Readable>) {
        let mut inbox = Inbox::default();
        while socket.ready().await.is_ok() {
            loop {
                match inbox.receive(&*socket) {
                    Ok(Received::Nothing) => break,
                    Ok(Received::Message(body, fds)) => match Message::decode(&body, fds) {
                        Ok(message) => self.heard(message, &socket),
                        Err(_) => return self.drain(None),
                    },
                    Ok(Received::Closed) | Err(_) => return self.drain(None),
                }
            }
        }
        self.drain(None);
    }

    fn heard(self: &Rc<Self>, message: Message<OwnedFd>, socket: &Rc<Readable>) {
        match message {
            Message::Configure(bundle) => {
                let generation = bundle.generation;
                let answer = match self.reload(*bundle) {
                    Ok(()) => Message::Ready(generation),
                    Err(reason) => Message::Failed(generation, reason),
                };
                tell(socket.as_fd(), answer);
            }
            Message::Reopen(logs) => self.worker.reopen(logs),
            Message::Drain(handoff) => self.drain(handoff),
            Message::Stop => self.stop(),
            Message::Ask(question) => {
                let (shared, socket) = (Rc::clone(self), Rc::clone(socket));
                spawn(async move {
                    let answer = answer::of(&shared.worker, question.subject).await;
                    let answer = Message::Answer(question.number, answer.to_string());
                    tell(Readable::as_fd(&socket), answer);
                });
            }
            // Only workers say these.
            Message::Ready(_) | Message::Failed(..) | Message::Answer(..) => {}
        }
    }

    fn reload(&self, bundle: Bundle<OwnedFd>) -> Result<(), String> {
        let (config, descriptors) = build(bundle)?;
        if config.process().surroundings.core_bytes.is_some() {
            privilege::allow_core_files()?;
        }
        self.worker
            .reload(config, descriptors)
            .map_err(|error| os_error_text(&error))
    }

    /// Ends at once.
    fn stop(&self) {
        self.worker.log(Level::Notice, format_args!("exiting"));
        self.end();
    }

    fn end(&self) {
        self.worker.log(Level::Notice, format_args!("exit"));
        self.worker.flush();
        self.event_loop.stop();
    }

    /// Finishes what is at hand, for as long as `worker_shutdown_timeout` allows, and then ends.
    /// Connections that idle go to `handoff`.
    fn drain(self: &Rc<Self>, handoff: Option<OwnedFd>) {
        if self.is_draining.replace(true) {
            return;
        }
        self.worker
            .log(Level::Notice, format_args!("gracefully shutting down"));
        let shared = Rc::clone(self);
        spawn(async move {
            shared.worker.drain(handoff).await;
            shared.worker.log(Level::Notice, format_args!("exiting"));
            shared.end();
        });
    }
}
