//! The tasks of one loop, and which of them are to run.
//!
//! A task that waits for an operation of its own loop is remembered by a reference that stays on
//! the loop, so that waiting and waking take no atomic instruction and look nothing up. A [`Waker`],
//! which may go to any thread, is made once for each task; woken on another thread, it names the task
//! by its number and goes through the loop's mailbox.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use crate::event_loop::{self, Shared};
use crate::mailbox::InMailbox;
use crate::paged_slab::PagedSlab;
use crate::unwind::{guard, told};
use crate::watchdog::Watched;

/// Tasks run in one turn at most; the rest waits for the next, which does not sleep.
const TASKS_PER_TURN_MAX: u64 = 4096;

/// What a task is given in one run that it need not wait for: permits that are free, things that lie in a
/// queue. A task that takes and takes would keep the loop from its sockets.
const GIVEN_AT_ONCE_MAX: u32 = 128;

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

/// A task of the loop: its future, and whether it is to run.
pub(crate) struct Task {
    /// `None` while it runs, and once it has ended.
    future: Cell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    waker: Waker,
    id: TaskId,
    origin: Origin,
    urgency: Urgency,
    /// It is in a queue.
    queued: Cell<bool>,
    /// It is to be dropped instead of run.
    cancelled: Cell<bool>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Task(spawned at {})", self.origin)
    }
}

/// Who waits for something that the loop brings about.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A task of the loop; nobody yet, where the future was not polled so far. (Two variants and a
    /// pointer that may be null take the room of a waker.)
    Task(Option<Rc<Task>>),
    /// Anything else: a future within a future that has wakers of its own, or `block_on`.
    Waker(Waker),
}

impl Waiter {
    pub(crate) const NOBODY: Waiter = Waiter::Task(None);

    /// True if both wake the same.
    pub(crate) fn will_wake(&self, other: &Waiter) -> bool {
        match (self, other) {
            (Waiter::Task(Some(one)), Waiter::Task(Some(other))) => Rc::ptr_eq(one, other),
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
    #[inline(always)]
    pub(crate) fn wake(&mut self, waiter: Option<Waiter>) {
        self.count += 1;
        match waiter {
            Some(Waiter::Task(Some(task))) => self.tasks.queue(task),
            other => self.wake_later(other),
        }
    }

    #[cold]
    fn wake_later(&mut self, waiter: Option<Waiter>) {
        if let Some(Waiter::Waker(waker)) = waiter {
            self.wakers.push(waker);
        }
    }
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
                core.tasks.wake_id(self.id);
            }
            is_own
        });
        if woken != Some(true) && self.posted.enter() {
            self.shared.post_task(Arc::clone(self));
        }
    }
}

/// The tasks of one loop.
#[derive(Default)]
pub(crate) struct Scheduler {
    tasks: RefCell<PagedSlab<Rc<Task>>>,
    normal: RefCell<Vec<Rc<Task>>>,
    urgent: RefCell<Vec<Rc<Task>>>,
    /// The queue that runs; borrowed while it does.
    batch: RefCell<Vec<Rc<Task>>>,
    /// Those that gave way to the next turn.
    yielded: RefCell<Vec<Waiter>>,
    /// The task that runs.
    running: RefCell<Option<Rc<Task>>>,
    next_generation: Cell<u32>,
    /// What the running task was given that it need not wait for.
    given_at_once: Cell<u32>,
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
        let task = Rc::new(Task {
            future: Cell::new(Some(future)),
            waker,
            id,
            origin,
            urgency,
            queued: Cell::new(false),
            cancelled: Cell::new(false),
        });
        tasks.insert(Rc::clone(&task));
        self.queue(task);
        id
    }

    /// Drops a task's future when its turn to run comes, without running it again.
    pub(crate) fn cancel(&self, id: TaskId) {
        if let Some(task) = self.find(id) {
            task.cancelled.set(true);
            self.queue(task);
        }
    }

    /// Who waits, if a future of this loop is polled with this waker: the task that runs, most times.
    #[inline]
    pub(crate) fn waiter(&self, waker: &Waker) -> Waiter {
        match &*self.running.borrow() {
            Some(task)
                if std::ptr::eq(&raw const task.waker, waker) || task.waker.will_wake(waker) =>
            {
                Waiter::Task(Some(Rc::clone(task)))
            }
            _ => Waiter::Waker(waker.clone()),
        }
    }

    fn find(&self, id: TaskId) -> Option<Rc<Task>> {
        let tasks = self.tasks.borrow();
        let task = tasks.get(id.index as usize);
        task.filter(|task| task.id == id).cloned()
    }

    /// Puts a task into its queue, unless it is there.
    #[inline(always)]
    fn queue(&self, task: Rc<Task>) {
        if !task.queued.replace(true) {
            match task.urgency {
                Urgency::Normal => self.normal.borrow_mut().push(task),
                Urgency::Urgent => self.urgent.borrow_mut().push(task),
            }
        }
    }

    /// Wakes a task by its number, unless it has ended.
    pub(crate) fn wake_id(&self, id: TaskId) {
        if let Some(task) = self.find(id) {
            self.queue(task);
        }
    }

    /// Wakes a task that another thread has woken.
    pub(crate) fn wake_posted(&self, waker: &TaskWaker) {
        waker.posted.leave();
        self.wake_id(waker.id);
    }

    /// Wakes who waited. May run code of the user.
    pub(crate) fn wake(&self, waiter: Waiter) {
        match waiter {
            Waiter::Task(Some(task)) => self.queue(task),
            Waiter::Task(None) => {}
            Waiter::Waker(waker) => waker.wake(),
        }
    }

    /// Wakes who waited if it is a task; gives a foreign waker, which may run code of the user, back.
    pub(crate) fn wake_own(&self, waiter: Waiter) -> Option<Waker> {
        match waiter {
            Waiter::Task(task) => {
                if let Some(task) = task {
                    self.queue(task);
                }
                None
            }
            Waiter::Waker(waker) => Some(waker),
        }
    }

    pub(crate) fn defer(&self, waker: &Waker) {
        let waiter = self.waiter(waker);
        self.yielded.borrow_mut().push(waiter);
    }

    /// A task is about to run.
    #[inline]
    pub(crate) fn begin_run(&self) {
        self.given_at_once.set(0);
    }

    /// Counts what a task is given without having to wait; true if that is enough for one run. The
    /// task is woken in the next turn then.
    pub(crate) fn gives_way(&self, waker: &Waker) -> bool {
        let given = self.given_at_once.get() + 1;
        let gives_way = given > GIVEN_AT_ONCE_MAX;
        if gives_way {
            self.defer(waker);
        } else {
            self.given_at_once.set(given);
        }
        gives_way
    }

    /// Wakes the tasks that gave way in the last turn.
    #[inline]
    pub(crate) fn wake_yielded(&self, on_panic: impl Fn(&str)) {
        if !self.yielded.borrow().is_empty() {
            for waiter in self.yielded.take() {
                guard(&on_panic, || self.wake(waiter));
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
            for task in self.urgent.take() {
                count += 1;
                self.run_one(task, watched, &on_panic);
            }
        }
        count
    }

    /// Runs woken tasks, those included that are woken meanwhile, up to a bound, and says how many.
    pub(crate) fn run(&self, watched: Option<&Watched>, on_panic: impl Fn(&str)) -> u64 {
        let mut count = 0;
        let mut batch = self.batch.borrow_mut();
        loop {
            if !self.urgent.borrow().is_empty() {
                count += self.run_urgent(watched, &on_panic);
            }
            if self.normal.borrow().is_empty() || count >= TASKS_PER_TURN_MAX {
                return count;
            }
            std::mem::swap(&mut *self.normal.borrow_mut(), &mut *batch);
            for task in batch.drain(..) {
                count += 1;
                if !self.urgent.borrow().is_empty() {
                    count += self.run_urgent(watched, &on_panic);
                }
                self.run_one(task, watched, &on_panic);
            }
        }
    }

    #[inline]
    fn run_one(&self, task: Rc<Task>, watched: Option<&Watched>, on_panic: impl Fn(&str)) {
        task.queued.set(false);
        if let Some(watched) = watched {
            watched.set_task(Some(task.origin));
        }
        if let Some(mut future) = task.future.take() {
            if task.cancelled.get() || self.poll(&task, future.as_mut(), &on_panic) {
                drop(self.tasks.borrow_mut().remove(task.id.index as usize));
                drop_future(future, on_panic);
            } else {
                // Nothing is dropped by this: it was taken out of there.
                std::mem::forget(task.future.replace(Some(future)));
            }
        }
        if let Some(watched) = watched {
            watched.set_task(None);
        }
    }

    /// Runs a task's future; true if it has ended, or panicked.
    #[inline]
    fn poll(
        &self,
        task: &Rc<Task>,
        future: Pin<&mut dyn Future<Output = ()>>,
        on_panic: impl Fn(&str),
    ) -> bool {
        self.begin_run();
        let former = self.running.replace(Some(Rc::clone(task)));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            future.poll(&mut Context::from_waker(&task.waker))
        }));
        self.running.replace(former);
        match polled {
            Ok(polled) => polled == Poll::Ready(()),
            Err(panic) => {
                told(panic, on_panic);
                true
            }
        }
    }

    /// Drops every task, for a loop that ends; false if there was none. What they drop may spawn
    /// others.
    pub(crate) fn drop_all(&self, on_panic: impl Fn(&str)) -> bool {
        drop(self.yielded.take());
        drop((self.normal.take(), self.urgent.take()));
        let tasks: Vec<Rc<Task>> = self.tasks.borrow_mut().drain().collect();
        let any = !tasks.is_empty();
        for task in tasks {
            if let Some(future) = task.future.take() {
                drop_future(future, &on_panic);
            }
        }
        any
    }
}

fn drop_future(future: Pin<Box<dyn Future<Output = ()>>>, on_panic: impl Fn(&str)) {
    guard(on_panic, || drop(future));
}
