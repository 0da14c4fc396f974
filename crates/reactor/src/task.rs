//! Loop-local tasks.
//!
//! A task is one future that its loop's thread alone runs. Its waker may go to any thread:
//! waking on the loop's own thread pushes to a plain queue, waking from another one goes through
//! the loop's inbox.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::FallibleTask;
use pin_project_lite::pin_project;
use slab::Slab;

use crate::event_loop::{self, Core, Shared};
use crate::unwind::discard;
use crate::watchdog::Watched;

/// Tasks run in one turn at most; the rest waits for the next, which does not sleep.
const TASKS_PER_TURN_MAX: u64 = 4096;

/// Where a task was spawned.
pub(crate) type Origin = &'static Location<'static>;

/// A task that was woken.
pub(crate) type Runnable = async_task::Runnable<Origin>;

/// Why a task has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinError {
    /// The task panicked; the panic was reported (see [`on_task_panic`](crate::on_task_panic)).
    Panicked,
    /// The task was cancelled.
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
    task: Cell<Option<FallibleTask<T, Origin>>>,
    /// Handles stay with their loop, as tasks do.
    local: std::marker::PhantomData<*const ()>,
}

impl<T> JoinHandle<T> {
    /// Cancels the task: its future is dropped before the next turn ends, without being polled
    /// again. Awaiting the handle then gives [`JoinError::Cancelled`].
    pub fn cancel(&self) {
        drop(self.task.take());
    }

    /// True if the task has ended, or was cancelled.
    pub fn is_finished(&self) -> bool {
        let task = self.task.take();
        let finished = task.as_ref().is_none_or(|task| task.is_finished());
        self.task.set(task);
        finished
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(task) = self.task.get_mut() else {
            return Poll::Ready(Err(JoinError::Cancelled));
        };
        Pin::new(task)
            .poll(cx)
            .map(|output| output.ok_or(JoinError::Panicked))
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.detach();
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

/// When a woken task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Normal,
    /// Before all others of the turn.
    Urgent,
}

pin_project! {
    /// The future of a task, and its place among the live ones.
    struct Registered<F> {
        #[pin]
        future: F,
        place: Place,
    }
}

impl<F: Future> Future for Registered<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// The number of a live task, and of its loop: a place is given back to no other loop.
struct Place {
    index: u32,
    loop_number: u32,
}

impl Drop for Place {
    fn drop(&mut self) {
        let waker = event_loop::try_with_core(|core| {
            if core.shared.number == self.loop_number {
                core.tasks.live.borrow_mut().try_remove(self.index as usize)
            } else {
                None
            }
        });
        drop(waker);
    }
}

pub(crate) fn spawn<T: 'static>(
    core: &Core,
    future: impl Future<Output = T> + 'static,
    urgency: Urgency,
    origin: Origin,
) -> JoinHandle<T> {
    let shared = Arc::clone(&core.shared);
    let index = core.tasks.live.borrow().vacant_key();
    let index = u32::try_from(index).expect("fewer than 2^32 tasks");
    let place = Place {
        index,
        loop_number: shared.number,
    };
    let future = Registered { future, place };
    let builder = async_task::Builder::new().metadata(origin);
    let (runnable, task) = match urgency {
        Urgency::Normal => builder.spawn_local(
            |_| future,
            move |runnable| schedule(&shared, runnable, Urgency::Normal),
        ),
        Urgency::Urgent => builder.spawn_local(
            |_| future,
            move |runnable| schedule(&shared, runnable, Urgency::Urgent),
        ),
    };
    core.tasks.live.borrow_mut().insert(runnable.waker());
    core.tasks.push(runnable, urgency);
    JoinHandle {
        task: Cell::new(Some(task.fallible())),
        local: std::marker::PhantomData,
    }
}

#[inline]
fn schedule(shared: &Arc<Shared>, runnable: Runnable, urgency: Urgency) {
    let mut runnable = Some(runnable);
    event_loop::try_with_core(|core| {
        if Arc::ptr_eq(&core.shared, shared)
            && let Some(runnable) = runnable.take()
        {
            core.tasks.push(runnable, urgency);
        }
    });
    if let Some(runnable) = runnable {
        shared.post_runnable(runnable, urgency);
    }
}

/// The woken tasks of one loop.
#[derive(Default)]
pub(crate) struct TaskQueues {
    normal: RefCell<VecDeque<Runnable>>,
    urgent: RefCell<VecDeque<Runnable>>,
    /// Tasks that gave way to the next turn.
    yielded: RefCell<Vec<Waker>>,
    /// Every task that has not ended, so that the loop can drop those that wait for each other.
    live: RefCell<Slab<Waker>>,
}

impl TaskQueues {
    #[inline]
    pub(crate) fn push(&self, runnable: Runnable, urgency: Urgency) {
        match urgency {
            Urgency::Normal => self.normal.borrow_mut().push_back(runnable),
            Urgency::Urgent => self.urgent.borrow_mut().push_back(runnable),
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<Runnable> {
        self.pop_urgent()
            .or_else(|| self.normal.borrow_mut().pop_front())
    }

    #[inline]
    fn pop_urgent(&self) -> Option<Runnable> {
        self.urgent.borrow_mut().pop_front()
    }

    /// Wakes every live task, so that a loop that ends finds it in its queues.
    pub(crate) fn wake_all(&self) {
        let wakers: Vec<Waker> = self
            .live
            .borrow()
            .iter()
            .map(|(_, waker)| waker.clone())
            .collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    /// True if no task waits to run.
    pub(crate) fn is_idle(&self) -> bool {
        self.normal.borrow().is_empty()
            && self.urgent.borrow().is_empty()
            && self.yielded.borrow().is_empty()
    }

    /// Runs woken urgent tasks up to a bound, and says how many.
    pub(crate) fn run_urgent(&self, watched: Option<&Watched>, on_panic: impl Fn(&str)) -> u64 {
        run_all(|| self.pop_urgent(), watched, on_panic)
    }

    /// Runs woken tasks, those included that are woken meanwhile, up to a bound, and says how many.
    pub(crate) fn run(&self, watched: Option<&Watched>, on_panic: impl Fn(&str)) -> u64 {
        run_all(|| self.pop(), watched, on_panic)
    }

    pub(crate) fn defer(&self, waker: Waker) {
        self.yielded.borrow_mut().push(waker);
    }

    /// Wakes the tasks that gave way in the last turn.
    pub(crate) fn wake_yielded(&self) {
        if !self.yielded.borrow().is_empty() {
            for waker in self.yielded.take() {
                waker.wake();
            }
        }
    }
}

#[inline]
fn run_all(
    next: impl Fn() -> Option<Runnable>,
    watched: Option<&Watched>,
    on_panic: impl Fn(&str),
) -> u64 {
    let mut count = 0;
    while count < TASKS_PER_TURN_MAX
        && let Some(runnable) = next()
    {
        count += 1;
        if let Some(watched) = watched {
            watched.set_task(Some(runnable.metadata()));
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| runnable.run())) {
            on_panic(panic_message(&*panic));
            discard(panic);
        }
        if let Some(watched) = watched {
            watched.set_task(None);
        }
    }
    count
}

/// The words of a panic, if it had any.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    if let Some(message) = panic.downcast_ref::<&str>() {
        message
    } else if let Some(message) = panic.downcast_ref::<String>() {
        message
    } else {
        "a panic without a message"
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
        event_loop::with_core(|core| core.tasks.defer(cx.waker().clone()));
        Poll::Pending
    })
    .await;
}
