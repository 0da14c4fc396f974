//! The tasks of one loop, and which of them are to run.
//!
//! A task that waits for an operation of its own loop is remembered by its number, so that
//! waiting and waking take no reference count and no atomic instruction. A [`Waker`], which may go
//! to any thread, is made once for each task; woken on another thread, it goes through the loop's
//! mailbox.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, RawWakerVTable, Wake, Waker};

use crate::event_loop::{self, Shared};
use crate::mailbox::InMailbox;
use crate::paged_slab::PagedSlab;
use crate::unwind::{discard, panic_message};
use crate::watchdog::Watched;

/// Tasks run in one turn at most; the rest waits for the next, which does not sleep.
const TASKS_PER_TURN_MAX: u64 = 4096;

/// Where a task was spawned.
pub(crate) type Origin = &'static Location<'static>;

/// When a woken task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    Normal,
    /// Before all others of the turn.
    Urgent,
}

/// Names a task of one loop. The generation makes waking one that has ended harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskId {
    index: u32,
    generation: u32,
}

/// Who waits for something that the loop brings about.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// The task that runs on the loop.
    Task(TaskId),
    /// Anything else: a future within a future that has wakers of its own, or `block_on`.
    Waker(Waker),
}

impl Waiter {
    /// True if both wake the same.
    pub(crate) fn will_wake(&self, other: &Waiter) -> bool {
        match (self, other) {
            (Waiter::Task(one), Waiter::Task(other)) => one == other,
            (Waiter::Waker(one), Waiter::Waker(other)) => one.will_wake(other),
            _ => false,
        }
    }
}

/// Wakes those who waited while the loop is borrowed: tasks go into their queue at once; other wakers,
/// which may run code of the user, are kept for afterwards.
pub(crate) struct Woken<'a> {
    pub(crate) tasks: &'a Scheduler,
    /// To be woken afterwards.
    pub(crate) wakers: &'a mut Vec<Waker>,
    pub(crate) count: u64,
}

impl Woken<'_> {
    #[inline]
    pub(crate) fn wake(&mut self, waiter: Option<Waiter>) {
        self.count += 1;
        match waiter {
            Some(Waiter::Task(id)) => self.tasks.wake_task(id),
            Some(Waiter::Waker(waker)) => self.wakers.push(waker),
            None => {}
        }
    }
}

/// What a task runs, taken out while it does.
struct Body {
    future: Pin<Box<dyn Future<Output = ()>>>,
    waker: Waker,
}

struct Task {
    body: Option<Body>,
    origin: Origin,
    generation: u32,
    urgency: Urgency,
    /// It is in a queue.
    queued: bool,
    /// It is to be dropped instead of run.
    cancelled: bool,
}

/// A task's waker as other code holds it.
pub(crate) struct TaskWaker {
    shared: Arc<Shared>,
    id: TaskId,
    posted: InMailbox,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = event_loop::try_with_core(|core| {
            let is_own = Arc::ptr_eq(&core.shared, &self.shared);
            if is_own {
                core.tasks.wake_task(self.id);
            }
            is_own
        });
        if woken != Some(true) && self.posted.enter() {
            self.shared.post_task(Arc::clone(self));
        }
    }
}

/// The task that runs, and its waker's two pointers, which are compared and never followed.
#[derive(Clone, Copy)]
struct Running {
    id: TaskId,
    data: *const (),
    vtable: *const RawWakerVTable,
}

/// The tasks of one loop.
#[derive(Default)]
pub(crate) struct Scheduler {
    tasks: RefCell<PagedSlab<Task>>,
    normal: RefCell<Vec<TaskId>>,
    urgent: RefCell<Vec<TaskId>>,
    /// Memory of the queue that runs, while none does.
    batch: Cell<Vec<TaskId>>,
    /// Those that gave way to the next turn.
    yielded: RefCell<Vec<Waiter>>,
    running: Cell<Option<Running>>,
    next_generation: Cell<u32>,
}

impl Scheduler {
    /// Adds a task, woken.
    pub(crate) fn add(
        &self,
        shared: &Arc<Shared>,
        future: Pin<Box<dyn Future<Output = ()>>>,
        urgency: Urgency,
        origin: Origin,
    ) -> TaskId {
        let mut tasks = self.tasks.borrow_mut();
        let index = u32::try_from(tasks.vacant_key()).expect("fewer than 2^32 tasks");
        let generation = self.next_generation.get();
        self.next_generation.set(generation.wrapping_add(1));
        let id = TaskId { index, generation };
        let waker = Waker::from(Arc::new(TaskWaker {
            shared: Arc::clone(shared),
            id,
            posted: InMailbox::default(),
        }));
        tasks.insert(Task {
            body: Some(Body { future, waker }),
            origin,
            generation,
            urgency,
            queued: true,
            cancelled: false,
        });
        self.push(id, urgency);
        id
    }

    /// Drops a task's future when its turn to run comes, without running it again.
    pub(crate) fn cancel(&self, id: TaskId) {
        if let Some(task) = find(&mut self.tasks.borrow_mut(), id) {
            task.cancelled = true;
        }
        self.wake_task(id);
    }

    /// Who waits, if a future of this loop is polled with this waker: the task that runs, most times.
    #[inline]
    pub(crate) fn waiter(&self, waker: &Waker) -> Waiter {
        match self.running.get() {
            Some(running)
                if std::ptr::eq(running.data, waker.data())
                    && std::ptr::eq(running.vtable, waker.vtable()) =>
            {
                Waiter::Task(running.id)
            }
            _ => Waiter::Waker(waker.clone()),
        }
    }

    #[inline(always)]
    fn push(&self, id: TaskId, urgency: Urgency) {
        match urgency {
            Urgency::Normal => self.normal.borrow_mut().push(id),
            Urgency::Urgent => self.urgent.borrow_mut().push(id),
        }
    }

    /// Puts a task into its queue, unless it is there.
    #[inline(always)]
    pub(crate) fn wake_task(&self, id: TaskId) {
        if let Some(task) = find(&mut self.tasks.borrow_mut(), id)
            && !task.queued
        {
            task.queued = true;
            self.push(id, task.urgency);
        }
    }

    /// Wakes a task that another thread has woken.
    pub(crate) fn wake_posted(&self, waker: &TaskWaker) {
        waker.posted.leave();
        self.wake_task(waker.id);
    }

    /// Wakes who waited. May run code of the user.
    pub(crate) fn wake(&self, waiter: Waiter) {
        match waiter {
            Waiter::Task(id) => self.wake_task(id),
            Waiter::Waker(waker) => waker.wake(),
        }
    }

    pub(crate) fn defer(&self, waker: &Waker) {
        let waiter = self.waiter(waker);
        self.yielded.borrow_mut().push(waiter);
    }

    /// Wakes the tasks that gave way in the last turn.
    #[inline]
    pub(crate) fn wake_yielded(&self) {
        if !self.yielded.borrow().is_empty() {
            for waiter in self.yielded.take() {
                self.wake(waiter);
            }
        }
    }

    /// True if no task waits to run.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.normal.borrow().is_empty()
            && self.urgent.borrow().is_empty()
            && self.yielded.borrow().is_empty()
    }

    /// Runs woken urgent tasks, those included that are woken meanwhile, and says how many.
    pub(crate) fn run_urgent(&self, watched: Option<&Watched>, on_panic: impl Fn(&str)) -> u64 {
        let mut count = 0;
        while !self.urgent.borrow().is_empty() && count < TASKS_PER_TURN_MAX {
            for id in self.urgent.take() {
                count += 1;
                self.run_one(id, watched, &on_panic);
            }
        }
        count
    }

    /// Runs woken tasks, those included that are woken meanwhile, up to a bound, and says how many.
    pub(crate) fn run(&self, watched: Option<&Watched>, on_panic: impl Fn(&str)) -> u64 {
        let mut count = self.run_urgent(watched, &on_panic);
        let mut batch = self.batch.take();
        while !self.normal.borrow().is_empty() && count < TASKS_PER_TURN_MAX {
            std::mem::swap(&mut *self.normal.borrow_mut(), &mut batch);
            for id in batch.drain(..) {
                count += 1;
                if !self.urgent.borrow().is_empty() {
                    count += self.run_urgent(watched, &on_panic);
                }
                self.run_one(id, watched, &on_panic);
            }
        }
        self.batch.set(batch);
        count
    }

    #[inline]
    fn run_one(&self, id: TaskId, watched: Option<&Watched>, on_panic: impl Fn(&str)) {
        let (mut body, origin, cancelled) = {
            let mut tasks = self.tasks.borrow_mut();
            let Some(task) = find(&mut tasks, id) else {
                return;
            };
            task.queued = false;
            let Some(body) = task.body.take() else {
                return;
            };
            (body, task.origin, task.cancelled)
        };
        if let Some(watched) = watched {
            watched.set_task(Some(origin));
        }
        let ended = cancelled || self.poll(id, &mut body, &on_panic);
        if ended {
            let task = self.tasks.borrow_mut().remove(id.index as usize);
            debug_assert!(task.body.is_none(), "its body is here");
            drop_body(body, on_panic);
        } else if let Some(task) = find(&mut self.tasks.borrow_mut(), id) {
            // Nothing is dropped by this: the body was taken out of there.
            task.body = Some(body);
        }
        if let Some(watched) = watched {
            watched.set_task(None);
        }
    }

    /// Runs a task's future; true if it has ended, or panicked.
    #[inline]
    fn poll(&self, id: TaskId, body: &mut Body, on_panic: impl Fn(&str)) -> bool {
        let Body { future, waker } = body;
        self.running.set(Some(Running {
            id,
            data: waker.data(),
            vtable: waker.vtable(),
        }));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.as_mut().poll(&mut Context::from_waker(waker))
        }));
        self.running.set(None);
        match polled {
            Ok(polled) => polled == Poll::Ready(()),
            Err(panic) => {
                report(panic, on_panic);
                true
            }
        }
    }

    /// Drops every task, for a loop that ends; false if there was none. What they drop may spawn
    /// others.
    pub(crate) fn drop_all(&self, on_panic: impl Fn(&str)) -> bool {
        drop(self.yielded.take());
        let tasks: Vec<Task> = self.tasks.borrow_mut().drain().collect();
        let any = !tasks.is_empty();
        for body in tasks.into_iter().filter_map(|task| task.body) {
            drop_body(body, &on_panic);
        }
        any
    }
}

#[inline]
fn find(tasks: &mut PagedSlab<Task>, id: TaskId) -> Option<&mut Task> {
    tasks
        .get_mut(id.index as usize)
        .filter(|task| task.generation == id.generation)
}

fn drop_body(body: Body, on_panic: impl Fn(&str)) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| drop(body))) {
        report(panic, on_panic);
    }
}

#[cold]
fn report(panic: Box<dyn Any + Send>, on_panic: impl Fn(&str)) {
    on_panic(panic_message(&*panic));
    discard(panic);
}
