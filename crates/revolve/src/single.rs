//! `master_process off`: one process that is master and worker.

use std::cell::{Cell, RefCell};
use std::io;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;

use revolve_conf::os_error_text;
use revolve_reactor::signal::{
    SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, Signals,
};
use revolve_reactor::{LoopHandle, spawn};
use revolve_server::log::Level;
use revolve_server::{Descriptors, Worker, spawn_lasting};

use crate::ctl::desk::Desk;
use crate::ctl::{Operated, WorkerView, answer};
use crate::message::Question;
use crate::service::{Reloaded, Service};
use crate::{expiry, systemd, worker_process};

/// Serves until told to stop.
pub(crate) fn run(service: Service) -> ExitCode {
    match serve(service) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            crate::report::emerg(&format!("the process failed {}", os_error_text(&error)));
            ExitCode::FAILURE
        }
    }
}

struct Single {
    service: RefCell<Service>,
    worker: Worker,
    is_draining: Cell<bool>,
    desk: Desk,
    event_loop: LoopHandle,
}

fn serve(mut service: Service) -> io::Result<()> {
    worker_process::limit(std::process::id(), 0, &service);
    let mut event_loop = service.config.process().event_loop().build()?;
    let watched = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2, SIGWINCH];
    let mut signals = Signals::new(&watched)?;
    let worker = Worker::start(Arc::clone(&service.config), descriptors(&service)?)?;
    if let Err(error) = service.serving() {
        service.finish();
        return Err(io::Error::other(error));
    }
    let single = Rc::new(Single {
        service: RefCell::new(service),
        worker,
        is_draining: Cell::new(false),
        desk: Desk::default(),
        event_loop: event_loop.handle(),
    });
    let watcher = Rc::clone(&single);
    event_loop.spawn(async move {
        loop {
            let signal = signals.next().await;
            // A task of its own: if our own bug makes it panic, later signals are still heard.
            let single = Rc::clone(&watcher);
            spawn(async move { single.signal(signal) });
        }
    });
    let asked = Rc::clone(&single);
    event_loop.spawn(async move { Desk::open(&asked) });
    let watched = Rc::clone(&single);
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
    single.desk.close();
    single.worker.flush();
    single.service.borrow_mut().finish();
    Ok(())
}

/// Copies of what is open, as a worker process would get them.
fn descriptors(service: &Service) -> io::Result<Descriptors> {
    let bundle = service.bundle(0);
    let listeners = bundle.listeners.into_iter();
    let logs = bundle.logs.into_iter();
    let zones = bundle.zones.into_iter();
    Ok(Descriptors {
        listeners: listeners
            .map(|(address, fd)| Ok((address, fd.try_clone_to_owned()?)))
            .collect::<io::Result<_>>()?,
        logs: logs
            .map(|(path, fd)| Ok((path, fd.try_clone_to_owned()?)))
            .collect::<io::Result<_>>()?,
        zones: zones
            .map(|(label, fd)| Ok((label, fd.try_clone_to_owned()?)))
            .collect::<io::Result<_>>()?,
        peers: None,
        inherited: None,
    })
}

impl Single {
    fn signal(self: &Rc<Self>, signal: i32) {
        let notice = |message: &str| self.service.borrow().log.notice(message);
        match signal {
            SIGHUP if !self.is_draining.get() => {
                notice("signal 1 (SIGHUP) received, reconfiguring");
                self.reload(false);
            }
            SIGUSR1 => {
                notice("signal 10 (SIGUSR1) received, reopening logs");
                self.reopen();
            }
            SIGQUIT if !self.is_draining.replace(true) => {
                notice("signal 3 (SIGQUIT) received, shutting down");
                self.service.borrow().stopping(None);
                self.drain();
            }
            SIGTERM | SIGINT => {
                notice(&format!("signal {signal} received, exiting"));
                self.service.borrow().stopping(None);
                self.event_loop.stop();
            }
            SIGUSR2 | SIGWINCH => {
                let why = "there is no master process";
                notice(&format!("signal {signal} received, ignoring: {why}"));
            }
            _ => {}
        }
    }

    fn complain(&self, result: io::Result<()>) {
        if let Err(error) = result {
            let message = format!("taking descriptors failed {}", os_error_text(&error));
            self.service.borrow().log.write(Level::Alert, &message);
        }
    }

    fn reopen(&self) {
        self.service.borrow_mut().reopen_logs();
        let descriptors = descriptors(&self.service.borrow());
        self.complain(descriptors.map(|descriptors| self.worker.reopen(descriptors.logs)));
    }

    fn reload(self: &Rc<Self>, color: bool) -> Reloaded {
        let reloaded = self.service.borrow_mut().reload(color);
        if reloaded.changes.is_none() {
            return reloaded;
        }
        Desk::open(self);
        let config = Arc::clone(&self.service.borrow().config);
        let descriptors = descriptors(&self.service.borrow());
        self.complain(descriptors.and_then(|it| self.worker.reload(config, it)));
        self.service.borrow().settled();
        reloaded
    }

    fn drain(self: &Rc<Self>) {
        self.service.borrow_mut().close_sockets();
        let single = Rc::clone(self);
        spawn(async move {
            single.worker.drain(None).await;
            single.event_loop.stop();
        });
    }
}

/// The process is its own worker.
impl Operated for Single {
    fn service(&self) -> &RefCell<Service> {
        &self.service
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn state(&self) -> &'static str {
        if self.is_draining.get() {
            "draining"
        } else {
            "serving"
        }
    }

    fn workers(&self) -> Vec<WorkerView> {
        let service = self.service.borrow();
        vec![WorkerView {
            index: 0,
            pid: std::process::id(),
            started: service.started,
            generation: service.generation,
            refused: 0,
            is_leaving: self.is_draining.get(),
        }]
    }

    fn ask(self: Rc<Self>, _: u32, question: Question) -> io::Result<()> {
        spawn(async move {
            let answer = answer::of(&self.worker, question.subject).await;
            self.desk.answered(question.number, &answer.to_string());
        });
        Ok(())
    }

    fn reload(self: Rc<Self>, color: bool) -> Reloaded {
        Single::reload(&self, color)
    }
}
