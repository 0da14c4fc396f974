//! The master as `revolve ctl` sees it.

use std::cell::RefCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::rc::Rc;

use super::{Master, Phase, Slot};
use crate::control;
use crate::ctl::desk::Desk;
use crate::ctl::{Operated, WorkerView};
use crate::message::{Message, Question};
use crate::service::{Reloaded, Service};

impl Operated for Master {
    fn service(&self) -> &RefCell<Service> {
        &self.service
    }

    fn desk(&self) -> &Desk {
        &self.desk
    }

    fn state(&self) -> &'static str {
        match self.phase.get() {
            Phase::Running if !self.has_started.get() => "starting",
            Phase::Running if self.is_resting.get() => "resting",
            Phase::Running => "serving",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
        }
    }

    fn workers(&self) -> Vec<WorkerView> {
        let slots = self.slots.borrow();
        let view = |slot: &Slot| WorkerView {
            index: slot.index,
            pid: slot.pid(),
            started: slot.started,
            generation: slot.generation,
            refused: slot.refused,
            is_leaving: slot.is_retired || self.phase.get() != Phase::Running,
        };
        slots.iter().map(view).collect()
    }

    fn ask(self: Rc<Self>, pid: u32, question: Question) -> io::Result<()> {
        let slots = self.slots.borrow();
        let slot = slots.iter().find(|slot| slot.pid() == pid);
        let socket = &slot.ok_or(io::ErrorKind::NotFound)?.socket;
        let (body, fds) = Message::<BorrowedFd<'_>>::Ask(question).encode();
        control::send(&**socket, &body, &fds)
    }

    fn reload(self: Rc<Self>, color: bool) -> Reloaded {
        Master::reload(&self, color)
    }
}
