//! Spawning tasks, and waiting for them.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use pin_project_lite::pin_project;

use crate::event_loop::{self, Core};
use crate::scheduler::{Origin, TaskId, Urgency};

/// Why a task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The task panicked; the panic was reported (see [`on_task_panic`](crate::on_task_panic)).
    Panicked,
    /// The task was cancelled, or its loop has ended.
    Cancelled,
}

impl std::fmt::Display for JoinError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            JoinError::Panicked => "the task panicked",
            JoinError::Cancelled => "the task was cancelled",
        })
    }
}

impl std::error::Error for JoinError {}

/// A task that was spawned. Await it for the task's result; drop it to let the task run on.
pub struct JoinHandle<T> {
    join: Rc<Join<T>>,
    id: TaskId,
    loop_number: u32,
    cancelled: Cell<bool>,
    /// Handles stay with their loop, as tasks do.
    local: PhantomData<*const ()>,
}

/// Where a task leaves its result for its handle.
struct Join<T> {
    stage: RefCell<Stage<T>>,
    /// What the handle hears if the future goes away now.
    failure: Cell<JoinError>,
}

enum Stage<T> {
    Running(Option<Waker>),
    Ended(Result<T, JoinError>),
    /// The result was taken.
    Taken,
}

impl<T> Join<T> {
    fn end(&self, result: Result<T, JoinError>) {
        let former = self.stage.replace(Stage::Ended(result));
        if let Stage::Running(Some(waker)) = former {
            waker.wake();
        }
    }
}

impl<T> JoinHandle<T> {
    /// Cancels the task: its future is dropped before the next turn ends, without being polled
    /// again. Awaiting the handle then gives [`JoinError::Cancelled`].
    pub fn cancel(&self) {
        if !self.is_finished() {
            self.cancelled.set(true);
            event_loop::try_with_core(|core| {
                if core.shared.number == self.loop_number {
                    core.tasks.cancel(self.id);
                }
            });
        }
    }

    /// True if the task has ended, or was cancelled.
    pub fn is_finished(&self) -> bool {
        self.cancelled.get() || !matches!(*self.join.stage.borrow(), Stage::Running(_))
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.cancelled.get() {
            return Poll::Ready(Err(JoinError::Cancelled));
        }
        let mut stage = self.join.stage.borrow_mut();
        if let Stage::Running(waiting) = &mut *stage {
            let former = waiting.replace(cx.waker().clone());
            drop(stage);
            drop(former);
            return Poll::Pending;
        }
        match std::mem::replace(&mut *stage, Stage::Taken) {
            Stage::Ended(result) => Poll::Ready(result),
            Stage::Running(_) | Stage::Taken => Poll::Ready(Err(JoinError::Cancelled)),
        }
    }
}

impl<T> std::fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JoinHandle")
            .field("is_finished", &self.is_finished())
            .finish()
    }
}

pin_project! {
    /// The future of a task, which leaves its output for the handle.
    struct Joined<F: Future> {
        #[pin]
        future: F,
        // Behind the future, so that a handle hears of the end when all is dropped.
        ending: Ending<F::Output>,
    }
}

/// Tells the handle that a task has ended, whichever way it does.
struct Ending<T>(Option<Rc<Join<T>>>);

impl<T> Ending<T> {
    /// The handle, as long as there is one.
    #[inline]
    fn join(&mut self) -> Option<&Rc<Join<T>>> {
        if self
            .0
            .as_ref()
            .is_some_and(|join| Rc::strong_count(join) == 1)
        {
            self.0 = None;
        }
        self.0.as_ref()
    }
}

impl<T> Drop for Ending<T> {
    fn drop(&mut self) {
        if let Some(join) = self.0.take() {
            join.end(Err(join.failure.get()));
        }
    }
}

impl<F: Future> Future for Joined<F> {
    type Output = ();

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let task = self.project();
        if let Some(join) = task.ending.join() {
            join.failure.set(JoinError::Panicked);
        }
        let polled = task.future.poll(cx);
        match (polled, task.ending.0.as_ref()) {
            (Poll::Ready(output), Some(join)) => {
                join.end(Ok(output));
                task.ending.0 = None;
                Poll::Ready(())
            }
            (Poll::Ready(_), None) => Poll::Ready(()),
            (Poll::Pending, Some(join)) => {
                join.failure.set(JoinError::Cancelled);
                Poll::Pending
            }
            (Poll::Pending, None) => Poll::Pending,
        }
    }
}

pub(crate) fn spawn<T: 'static>(
    core: &Core,
    future: impl Future<Output = T> + 'static,
    urgency: Urgency,
    origin: Origin,
) -> JoinHandle<T> {
    let join = Rc::new(Join {
        stage: RefCell::new(Stage::Running(None)),
        failure: Cell::new(JoinError::Cancelled),
    });
    let task = Box::pin(Joined {
        future,
        ending: Ending(Some(Rc::clone(&join))),
    });
    let id = core.tasks.add(&core.shared, task, urgency, origin);
    JoinHandle {
        join,
        id,
        loop_number: core.shared.number,
        cancelled: Cell::new(false),
        local: PhantomData,
    }
}

/// Gives way: the rest of the task runs in the next turn, after that turn's I/O.
pub async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        event_loop::with_core(|core| core.tasks.defer(cx.waker()));
        Poll::Pending
    })
    .await;
}
