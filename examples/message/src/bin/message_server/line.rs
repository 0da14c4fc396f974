//! The requests of one client that are under way, in order.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use revolve_reactor::{JoinHandle, spawn};

use crate::business::{self, Step};
use crate::session::Session;

struct Pending {
    tag: u16,
    request: u16,
    step: Step,
}

/// First steps run side by side on the pool; second steps and answers come one after the other. A
/// task does that, which is there only while something is under way.
#[derive(Default)]
pub(crate) struct Line {
    pending: RefCell<VecDeque<Pending>>,
    settler: RefCell<Option<JoinHandle<()>>>,
    /// Requests whose answer is not given yet.
    under_way: Cell<usize>,
    waiting: Cell<Option<Waker>>,
}

impl Line {
    /// Adds a request whose first step is begun.
    pub(crate) fn push(&self, session: &Rc<Session>, tag: u16, request: u16, step: Step) {
        self.under_way.set(self.under_way.get() + 1);
        let pending = Pending { tag, request, step };
        self.pending.borrow_mut().push_back(pending);
        let mut settler = self.settler.borrow_mut();
        if settler.is_none() {
            *settler = Some(spawn(settle(Rc::clone(session))));
        }
    }

    /// Ready once at most so many requests are under way.
    pub(crate) async fn at_most(&self, requests: usize) {
        poll_fn(|cx| {
            if self.under_way.get() <= requests {
                return Poll::Ready(());
            }
            self.waiting.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }

    /// Gives up what is under way.
    pub(crate) fn abandon(&self) {
        let settler = self.settler.take();
        drop(self.pending.take());
        self.under_way.set(0);
        if let Some(settler) = settler {
            settler.cancel();
        }
    }
}

async fn settle(session: Rc<Session>) {
    let line = &session.line;
    loop {
        let next = line.pending.borrow_mut().pop_front();
        let Some(pending) = next else {
            drop(line.settler.take());
            return;
        };
        let answer = match pending.step.done().await {
            Ok(act) => business::finish(&session, act).await,
            Err(refusal) => Err(refusal),
        };
        session.answer(pending.tag, pending.request, answer);
        line.under_way.set(line.under_way.get() - 1);
        if let Some(waker) = line.waiting.take() {
            waker.wake();
        }
    }
}
