//! Who waits for which answer, on the master's loop.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Listener, Semaphore, timeout};
use revolve_server::log::Level;
use revolve_server::{LastingTask, spawn_lasting};
use serde_json::Value;

use super::socket::{self, SocketFile};
use super::{Operated, serve, socket_path};
use crate::message::{Question, Subject};

/// How long a worker may take to answer. It answers between two turns, so that one which takes
/// longer stands still.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);
/// Questions that a worker may leave unanswered. More would fill the socket that the master needs
/// for what matters.
const UNANSWERED_MAX: usize = 4;

struct Open {
    pid: u32,
    answer: RefCell<Option<Value>>,
    arrived: Semaphore,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Desk {
    asked: Cell<u64>,
    open: RefCell<HashMap<u64, Rc<Open>>>,
    listening: RefCell<Option<Listening>>,
    /// What was said last where it could not listen.
    complaint: RefCell<String>,
}

struct Listening {
    file: SocketFile,
    task: LastingTask,
}

impl Desk {
    /// Listens where the pid file now is, if it does not already. What fails is a warning: a
    /// server that cannot be asked serves all the same.
    pub(crate) fn open<O: Operated>(operated: &Rc<O>) {
        let desk = operated.desk();
        let path = operated.service().borrow().pid_path().map(socket_path);
        let current = desk.listening.borrow();
        if current.as_ref().map(|it| it.file.path()) == path.as_deref() {
            return;
        }
        drop(current);
        desk.close();
        let Some(path) = path else {
            return;
        };
        let opened = socket::listen(&path).and_then(|(file, fd)| {
            let listener = Listener::from_fd(fd);
            Ok((file, listener.map_err(|error| error.to_string())?))
        });
        match opened {
            Ok((file, listener)) => {
                let (operated, listener) = (Rc::clone(operated), Rc::new(listener));
                let task = spawn_lasting(move || {
                    serve::listen(Rc::clone(&operated), Rc::clone(&listener))
                });
                *desk.listening.borrow_mut() = Some(Listening { file, task });
                desk.complaint.take();
            }
            Err(message) => {
                // It is tried again with each configuration, and said once.
                if desk.complaint.replace(message.clone()) != message {
                    operated.service().borrow().log.write(Level::Warn, &message);
                }
            }
        }
    }

    /// Listens no longer. Clients that were accepted still get their answers.
    pub(crate) fn close(&self) {
        if let Some(listening) = self.listening.take() {
            listening.task.cancel();
        }
    }

    /// A worker has answered.
    pub(crate) fn answered(&self, number: u64, answer: &str) {
        if let Some(open) = self.open.borrow_mut().remove(&number) {
            *open.answer.borrow_mut() = serde_json::from_str(answer).ok();
            open.arrived.add_permits(1);
        }
    }

    /// A worker is gone, and will not answer.
    pub(crate) fn forget(&self, pid: u32) {
        self.open.borrow_mut().retain(|_, open| {
            let stays = open.pid != pid;
            if !stays {
                open.arrived.close();
            }
            stays
        });
    }

    /// Asks a worker; the answer is `None` if none came in time.
    pub(super) async fn ask<O: Operated>(
        operated: &Rc<O>,
        pid: u32,
        subject: Subject,
    ) -> io::Result<Option<Value>> {
        let desk = operated.desk();
        let unanswered = |open: &&Rc<Open>| open.pid == pid;
        if desk.open.borrow().values().filter(unanswered).count() >= UNANSWERED_MAX {
            return Ok(None);
        }
        let number = desk.asked.get() + 1;
        desk.asked.set(number);
        let open = Rc::new(Open {
            pid,
            answer: RefCell::default(),
            arrived: Semaphore::new(0),
        });
        desk.open.borrow_mut().insert(number, Rc::clone(&open));
        let question = Question { number, subject };
        if let Err(error) = Rc::clone(operated).ask(pid, question) {
            desk.open.borrow_mut().remove(&number);
            return Err(error);
        }
        // In time, too late or never: what has come is the answer.
        let _ = timeout(ANSWER_PATIENCE, open.arrived.acquire()).await;
        Ok(open.answer.take())
    }
}
