//! The event loop: one a thread, and everything it owns stays on that thread.
//!
//! A turn polls; performs what is ready, within each channel's budget; fires due timers; runs
//! posted functions; runs woken tasks; and calls the turn's-end hooks. Time is read once, and again
//! where the loop is about to sleep for a timer that is near.
//!
//! No borrow of the loop's insides is held while code of the user runs: wakers, tasks, hooks and
//! the destructors of what was sent run between the steps.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::panic::Location;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::buffer::BufferPool;
use crate::channel::{Channel, ChannelState, Deadline, Token, Work};
use crate::hook::Hooks;
use crate::mailbox::Mailbox;
use crate::scheduler::{Scheduler, TaskWaker, Urgency, Waiter, Woken};
use crate::send_queue::{Chunk, SendQueuePool};
use crate::stats::{Counters, LoopStats};
use crate::sys::sigpipe::Blocked;
use crate::sys::sim::{Clock, Network};
use crate::sys::{AnyDriver, Driver, Wake};
use crate::task::{self, JoinHandle};
use crate::timer_queue::TimerQueue;
use crate::unwind::guard;
use crate::watchdog::{Watchdog, Watched};

thread_local! {
    /// Without a destructor, so that reaching the loop costs no look at whether it has run: the
    /// `EventLoop` takes out what it has put in.
    static CURRENT: ManuallyDrop<RefCell<Option<Rc<Core>>>> =
        const { ManuallyDrop::new(RefCell::new(None)) };
}

/// Everything that one loop owns.
pub(crate) struct Core {
    pub(crate) shared: Arc<Shared>,
    pub(crate) driver: RefCell<AnyDriver>,
    pub(crate) timers: RefCell<TimerQueue<TimerOwner>>,
    pub(crate) buffers: BufferPool,
    pub(crate) send_queues: SendQueuePool,
    pub(crate) tasks: Scheduler,
    pub(crate) hooks: Hooks,
    /// Goes instead of the system's clock in a simulation.
    virtual_clock: Option<Rc<Clock>>,
    /// Where sockets are made, instead of in the kernel, in a simulation.
    pub(crate) network: Option<Rc<Network>>,
    /// Tick 0.
    epoch: Instant,
    now: Cell<Instant>,
    now_ms: Cell<u64>,
    turn: Cell<u64>,
    /// Whether anything was run in the turn that may have taken its time.
    has_run: Cell<bool>,
    /// The last turns that went on for a while.
    long_turns: RefCell<VecDeque<LongTurn>>,
    /// When the turn began by the system's clock, if turns are measured.
    turn_began: Cell<Option<Instant>>,
    measure_turns: bool,
    watched: Option<Arc<Watched>>,
    left: Cell<Option<Box<Left>>>,
}

/// What the perform step leaves to be done afterwards, where code of the user may run; empty between
/// turns, but for its memory.
#[derive(Default)]
struct Left {
    woken: Vec<Waker>,
    sent: Vec<Chunk>,
}

impl Left {
    /// Wakes and drops. One that panics does not keep the others from it.
    #[inline]
    fn finish(&mut self, core: &Core) {
        if !self.woken.is_empty() {
            let mut woken = self.woken.drain(..);
            while woken.len() > 0 {
                core.guard("a waker", || woken.by_ref().for_each(Waker::wake));
            }
        }
        if !self.sent.is_empty() {
            let mut sent = self.sent.drain(..);
            while sent.len() > 0 {
                core.guard("the owner of bytes that were sent", || {
                    sent.by_ref().for_each(|chunk| chunk.release(&core.buffers));
                });
            }
        }
    }
}

/// The clock is read again before the loop sleeps for a timer that is nearer than this, so that it does
/// not sleep for what its tasks have taken already.
const NEAR_MS: u64 = 1000;

/// After a turn that has run something, the loop sleeps for so long first where the next timer is not
/// near. It wakes from that to a clock that is read, as it does from any sleep, and so a request pays for
/// no second look at it.
const NAP_MS: u64 = 50;

/// Long turns that are remembered.
const LONG_TURNS_MAX: usize = 32;

/// A turn that went on for more than a tick.
struct LongTurn {
    turn: u32,
    lasted_ms: u64,
}

/// How long the loop may sleep.
struct Sleep {
    /// In ticks; none for ever.
    max_ms: Option<u64>,
    /// When that began, where the clock was read for it.
    begun_ms: Option<u64>,
}

impl Sleep {
    const NONE: Sleep = Sleep {
        max_ms: Some(0),
        begun_ms: None,
    };
}

/// Whom a timer is for.
pub(crate) enum TimerOwner {
    Channel(Token),
    Task(Option<Waiter>),
}

impl Core {
    /// The turn's time.
    pub(crate) fn now(&self) -> Instant {
        self.now.get()
    }

    /// The turn's time in ticks.
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }

    /// The tick at which `at` has passed.
    pub(crate) fn tick_ms(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.epoch);
        let part_ms = u64::from(since.subsec_nanos().div_ceil(1_000_000));
        since.as_secs().saturating_mul(1000).saturating_add(part_ms)
    }

    /// The tick that `now` lies in.
    fn passed_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        since.as_secs() * 1000 + u64::from(since.subsec_millis())
    }

    /// The time at this moment, which costs a look at the clock.
    #[inline]
    pub(crate) fn ask_clock(&self) -> Instant {
        match &self.virtual_clock {
            None => Instant::now(),
            Some(clock) => clock.now(),
        }
    }

    fn read_clock(&self) {
        let now = self.ask_clock();
        self.now.set(now);
        self.now_ms.set(self.passed_ms(now));
    }

    /// So many ticks from the turn's time on, to be put off by what the turn takes.
    #[inline]
    pub(crate) fn after_ms(&self, ticks: u64) -> Deadline {
        Deadline {
            at_ms: self.now_ms.get().saturating_add(ticks),
            asked: self.turn.get() as u32,
        }
    }

    /// How long a turn went on, if that is known and more than a tick.
    fn lasted_ms(&self, turn: u32) -> u64 {
        let long_turns = self.long_turns.borrow();
        let found = long_turns.iter().rev().find(|long| long.turn == turn);
        found.map_or(0, |long| long.lasted_ms)
    }

    /// Remembers how long the turn that has ended went on: until the loop slept, or all of the time but
    /// for what it may have slept.
    #[inline]
    fn note_turn(&self, began_ms: u64, sleep: &Sleep) {
        let now_ms = self.now_ms.get();
        let lasted_ms = match (sleep.begun_ms, sleep.max_ms) {
            (Some(begun_ms), _) => begun_ms.saturating_sub(began_ms),
            (None, Some(max_ms)) => now_ms.saturating_sub(began_ms.saturating_add(max_ms)),
            (None, None) => 0,
        };
        if lasted_ms > 1 {
            self.note_long_turn(lasted_ms);
        }
    }

    #[cold]
    fn note_long_turn(&self, lasted_ms: u64) {
        let mut long_turns = self.long_turns.borrow_mut();
        if long_turns.len() == LONG_TURNS_MAX {
            long_turns.pop_front();
        }
        let turn = self.turn.get() as u32;
        long_turns.push_back(LongTurn { turn, lasted_ms });
    }

    /// Makes sure that the loop looks at a channel no later than its next deadline.
    pub(crate) fn arm_channel(&self, channel: &Channel, state: &mut ChannelState) {
        let deadline_ms = state.deadline_ms();
        if deadline_ms < state.looked_at_ms {
            state.looked_at_ms = deadline_ms;
            let mut timers = self.timers.borrow_mut();
            match state.timer {
                Some(key) => timers.set(key, deadline_ms),
                None => {
                    let owner = TimerOwner::Channel(channel.token());
                    state.timer = Some(timers.insert(owner, deadline_ms));
                }
            }
        }
    }

    /// True if a task that is polled with this waker has had its share of what it need not wait for: it
    /// gives way then, and is polled again in the next turn.
    pub(crate) fn gives_way(&self, waker: &Waker) -> bool {
        self.tasks.gives_way(waker)
    }

    /// Polls and performs, fires timers, and runs posted functions.
    fn begin_turn(&self, idle: bool) {
        let (began_ms, sleep) = (self.now_ms.get(), self.sleep(idle));
        let slept = sleep.max_ms != Some(0);
        let timeout = sleep.max_ms.map(Duration::from_millis);
        let result = self.driver.borrow_mut().wait(timeout);
        if let Err(error) = result {
            let name = self.driver.borrow().name();
            panic!("{name} refused to wait on descriptors of its own: {error}");
        }
        let notified = self.shared.mailbox.awake(slept);
        self.read_clock();
        self.note_turn(began_ms, &sleep);
        self.turn.set(self.turn.get() + 1);
        self.shared.counters.turns.set(self.turn.get());
        if self.measure_turns {
            self.begin_measured();
        }
        self.perform();
        self.fire_timers();
        if notified {
            self.run_posted();
        }
        self.tasks
            .wake_yielded(|message| self.on_panic_of("a waker", message));
    }

    /// How long to sleep now that the turn is over.
    fn sleep(&self, idle: bool) -> Sleep {
        let has_run = self.has_run.replace(false);
        if !idle || !self.shared.mailbox.may_sleep() {
            return Sleep::NONE;
        }
        let mut sleep = Sleep {
            max_ms: None,
            begun_ms: None,
        };
        if let Some(next_ms) = self.timers.borrow().next_ms() {
            let left_ms = next_ms.saturating_sub(self.now_ms.get());
            sleep.max_ms = Some(if !has_run {
                left_ms
            } else if left_ms < NEAR_MS {
                let now_ms = self.passed_ms(self.ask_clock());
                sleep.begun_ms = Some(now_ms);
                next_ms.saturating_sub(now_ms)
            } else {
                NAP_MS
            });
        }
        sleep
    }

    fn perform(&self) {
        let mut left = self.left.take().unwrap_or_default();
        let mut work = Work {
            buffers: &self.buffers,
            now_ms: self.now_ms.get(),
            turn: self.turn.get(),
            woken: Woken {
                tasks: &self.tasks,
                wakers: &mut left.woken,
                count: 0,
            },
            sent: &mut left.sent,
        };
        self.driver.borrow_mut().perform(&mut work);
        self.shared.counters.ready_events.add(work.woken.count);
        left.finish(self);
        self.left.set(Some(left));
    }

    fn fire_timers(&self) {
        let now_ms = self.now_ms.get();
        if self
            .timers
            .borrow()
            .next_ms()
            .is_none_or(|next_ms| next_ms > now_ms)
        {
            return;
        }
        let mut left = self.left.take().unwrap_or_default();
        {
            let mut woken = Woken {
                tasks: &self.tasks,
                wakers: &mut left.woken,
                count: 0,
            };
            let mut driver = self.driver.borrow_mut();
            let mut timers = self.timers.borrow_mut();
            while let Some(key) = timers.expire(now_ms) {
                self.shared.counters.timers_fired.add(1);
                match timers.owner_mut(key) {
                    Some(TimerOwner::Task(waiter)) => woken.wake(waiter.take()),
                    Some(&mut TimerOwner::Channel(token)) => {
                        if let Some(channel) = driver.channels_mut().find(token) {
                            let lasted_ms = |turn| self.lasted_ms(turn);
                            channel.state().put_off(now_ms, lasted_ms);
                        }
                        let next_ms = driver.expire(token, now_ms, &mut woken);
                        timers.set(key, next_ms);
                    }
                    None => {}
                }
            }
        }
        left.finish(self);
        self.left.set(Some(left));
    }

    fn run_posted(&self) {
        self.has_run.set(true);
        let posted = self.shared.mailbox.take();
        for waker in posted.woken {
            self.tasks.wake_posted(&waker);
        }
        for function in posted.functions {
            self.guard("a posted function", function);
        }
    }

    fn begin_measured(&self) {
        self.turn_began.set(Some(Instant::now()));
        if let Some(watched) = &self.watched {
            watched.begin_turn(self.turn.get());
        }
    }

    fn end_measured(&self) {
        if let Some(began) = self.turn_began.take() {
            self.shared.counters.note_turn(began.elapsed());
        }
        if let Some(watched) = &self.watched {
            watched.end_turn(self.turn.get());
        }
    }

    fn run_urgent(&self) {
        let on_panic = |message: &str| self.on_panic(message);
        let run = self.tasks.run_urgent(self.watched.as_deref(), on_panic);
        self.shared.counters.tasks_run.add(run);
        if run > 0 {
            self.has_run.set(true);
        }
    }

    /// Runs tasks, and calls the hooks.
    fn end_turn(&self) {
        let on_panic = |message: &str| self.on_panic(message);
        let run = self.tasks.run(self.watched.as_deref(), on_panic);
        self.shared.counters.tasks_run.add(run);
        if run > 0 {
            self.has_run.set(true);
        }
        self.hooks
            .end_turn(|message| self.on_panic_of("a hook at a turn's end", message));
        if self.measure_turns {
            self.end_measured();
        }
    }

    fn on_panic(&self, message: &str) {
        self.hooks.report_panic("a task", message);
    }

    #[cold]
    fn on_panic_of(&self, what: &str, message: &str) {
        self.hooks.report_panic(what, message);
    }

    /// Calls what is the user's, outside of any task: a panic there is reported, and costs nobody else.
    #[inline]
    pub(crate) fn guard(&self, what: &str, f: impl FnOnce()) {
        guard(|message| self.on_panic_of(what, message), f);
    }

    /// Drops all tasks and what waits for them. Destructors may wake and spawn others, so that
    /// this is repeated until nothing is left.
    fn shut_down(&self) {
        self.shared.closed.store(true, Ordering::Release);
        loop {
            let remains = self.driver.borrow_mut().channels_mut().abandon();
            let owners: Vec<TimerOwner> = self.timers.borrow_mut().drain().collect();
            let posted = self.shared.mailbox.take();
            self.guard("a destructor", || drop((remains, owners, posted)));
            let any = self.tasks.drop_all(|message| self.on_panic(message));
            self.guard("a destructor", || self.hooks.clear());
            if !any {
                return;
            }
        }
    }
}

/// What other threads may touch of a loop.
pub(crate) struct Shared {
    /// Tells the loops of a process apart.
    pub(crate) number: u32,
    mailbox: Mailbox<Posted>,
    stopped: AtomicBool,
    closed: AtomicBool,
    wake: Arc<dyn Wake>,
    counters: Counters,
}

#[derive(Default)]
struct Posted {
    woken: Vec<Arc<TaskWaker>>,
    functions: Vec<Box<dyn FnOnce() + Send>>,
}

impl Shared {
    /// Tells the loop to look at what was posted: one write for each time that it sleeps.
    pub(crate) fn notify(&self) {
        self.mailbox.notify(|| self.wake.wake());
    }

    /// Takes a task that was woken on another thread.
    pub(crate) fn post_task(&self, waker: Arc<TaskWaker>) {
        self.post(|posted| posted.woken.push(waker));
    }

    /// Leaves something for the loop, if there is one still.
    fn post(&self, add: impl FnOnce(&mut Posted)) {
        self.mailbox.post(add);
        // A loop that has ended meanwhile may have looked for the last time before this: nobody
        // else would drop what lies there, and it may refer to its own mailbox.
        if self.closed.load(Ordering::Acquire) {
            drop(self.mailbox.take());
        } else {
            self.notify();
        }
    }
}

/// A way to reach a loop, from any thread. Cheap to clone.
#[derive(Clone)]
pub struct LoopHandle {
    shared: Arc<Shared>,
}

impl LoopHandle {
    /// Runs a function on the loop's thread, in its next turn (this one, if the loop's own thread
    /// calls before posted functions are run). From any thread. Costs the caller a lock, and one
    /// `eventfd` write if the loop sleeps. The function is dropped if the loop has ended.
    pub fn run_in_loop(&self, f: impl FnOnce() + Send + 'static) {
        let function = Box::new(f);
        self.shared.post(|posted| posted.functions.push(function));
    }

    /// Makes [`EventLoop::run`] return at the end of the turn. From any thread.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.notify();
    }

    /// What the loop has done so far. From any thread; costs the loop nothing.
    pub fn stats(&self) -> LoopStats {
        self.shared.counters.stats()
    }

    /// True on the thread that the loop was built on, while it lives.
    pub fn is_in_loop_thread(&self) -> bool {
        try_with_core(|core| Arc::ptr_eq(&core.shared, &self.shared)).unwrap_or(false)
    }
}

impl std::fmt::Debug for LoopHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoopHandle").finish_non_exhaustive()
    }
}

/// The event loop of one thread.
///
/// The loop and all that it owns stay on their thread:
///
/// ```compile_fail
/// fn is_send<T: Send>() {}
/// is_send::<revolve_reactor::EventLoop>();
/// ```
///
/// Dropping it drops all its tasks.
///
/// While it lives, `SIGPIPE` is blocked on its thread: sending is told to raise none, but sendfile(2) and
/// splice(2) cannot be.
///
/// A child after fork(2) has a copy of the loop, which it may drop, with all that was made on it: its
/// parent notices nothing of that. It must not turn it, nor send, receive or accept: what the kernel
/// keeps for a loop (an epoll instance, a ring) is its parent's. Descriptors that it has inherited stay
/// open as long as both have them, so that a connection which the parent closes ends when the child has
/// dropped its copy too.
pub struct EventLoop {
    core: Rc<Core>,
    _watchdog: Option<Watchdog>,
    _no_sigpipe: Blocked,
    local: PhantomData<*const ()>,
}

impl EventLoop {
    /// Puts the loop of this thread together, which has none.
    pub(crate) fn assemble(
        driver: AnyDriver,
        buffers: BufferPool,
        measure_turns: bool,
        watchdog: Option<Watchdog>,
    ) -> EventLoop {
        let virtual_clock = driver.virtual_clock();
        let now = virtual_clock
            .as_ref()
            .map_or_else(Instant::now, |clock| clock.now());
        static NEXT_NUMBER: AtomicU32 = AtomicU32::new(0);
        let shared = Shared {
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            mailbox: Mailbox::new(),
            stopped: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: driver.wake_handle(),
            counters: Counters::default(),
        };
        let core = Rc::new(Core {
            shared: Arc::new(shared),
            network: driver.network(),
            driver: RefCell::new(driver),
            timers: RefCell::new(TimerQueue::new()),
            buffers,
            send_queues: SendQueuePool::default(),
            tasks: Scheduler::default(),
            hooks: Hooks::default(),
            virtual_clock,
            epoch: now,
            now: Cell::new(now),
            now_ms: Cell::new(0),
            turn: Cell::new(0),
            has_run: Cell::new(false),
            long_turns: RefCell::default(),
            turn_began: Cell::new(None),
            measure_turns: measure_turns || watchdog.is_some(),
            watched: watchdog.as_ref().map(Watchdog::watched),
            left: Cell::default(),
        });
        CURRENT.with(|current| *current.borrow_mut() = Some(Rc::clone(&core)));
        EventLoop {
            core,
            _watchdog: watchdog,
            _no_sigpipe: Blocked::here(),
            local: PhantomData,
        }
    }

    /// How other threads reach this loop.
    pub fn handle(&self) -> LoopHandle {
        LoopHandle {
            shared: Arc::clone(&self.core.shared),
        }
    }

    /// Starts a task, which runs while the loop does.
    #[track_caller]
    pub fn spawn<T: 'static>(&self, f: impl Future<Output = T> + 'static) -> JoinHandle<T> {
        task::spawn(&self.core, f, Urgency::Normal, Location::caller())
    }

    /// Turns until the future is ready. Other tasks run meanwhile, and stay when it returns.
    pub fn block_on<T>(&mut self, f: impl Future<Output = T>) -> T {
        let mut f = pin!(f);
        let main = Arc::new(MainWaker {
            shared: Arc::clone(&self.core.shared),
            woken: AtomicBool::new(true),
        });
        let waker = Waker::from(Arc::clone(&main));
        let mut cx = Context::from_waker(&waker);
        loop {
            self.core
                .begin_turn(self.core.tasks.is_idle() && !main.woken.load(Ordering::Acquire));
            self.core.run_urgent();
            let output = if main.woken.swap(false, Ordering::AcqRel) {
                self.core.has_run.set(true);
                self.core.tasks.begin_run();
                f.as_mut().poll(&mut cx)
            } else {
                Poll::Pending
            };
            self.core.end_turn();
            if let Poll::Ready(output) = output {
                return output;
            }
        }
    }

    /// Turns until [`LoopHandle::stop`], which counts even if it came before.
    pub fn run(&mut self) {
        while !self.core.shared.stopped.swap(false, Ordering::SeqCst) {
            self.core.begin_turn(self.core.tasks.is_idle());
            self.core.end_turn();
        }
    }
}

impl Drop for EventLoop {
    fn drop(&mut self) {
        self.core.shut_down();
        drop(CURRENT.with(|current| current.take()));
    }
}

impl std::fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let driver = self.core.driver.borrow().name();
        f.debug_struct("EventLoop")
            .field("driver", &driver)
            .finish_non_exhaustive()
    }
}

/// The waker of the future that `block_on` runs.
struct MainWaker {
    shared: Arc<Shared>,
    woken: AtomicBool,
}

impl std::task::Wake for MainWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        let in_loop = try_with_core(|core| Arc::ptr_eq(&core.shared, &self.shared));
        if in_loop != Some(true) {
            self.shared.notify();
        }
    }
}

/// Runs `f` on this thread's loop, if there is one.
#[inline]
pub(crate) fn try_with_core<R>(f: impl FnOnce(&Rc<Core>) -> R) -> Option<R> {
    CURRENT.with(|current| current.borrow().as_ref().map(f))
}

/// Runs `f` on this thread's loop.
#[inline]
pub(crate) fn with_core<R>(f: impl FnOnce(&Rc<Core>) -> R) -> R {
    try_with_core(f).expect("no event loop on this thread: build an EventLoop first")
}

/// This thread's loop, for an operation that can fail.
pub(crate) fn core() -> io::Result<Rc<Core>> {
    try_with_core(Rc::clone)
        .ok_or_else(|| io::Error::other("no event loop on this thread: build an EventLoop first"))
}

/// The network that this thread's loop simulates, if it does.
pub(crate) fn network() -> Option<Rc<Network>> {
    try_with_core(|core| core.network.clone()).flatten()
}

/// The handle of this thread's loop.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn current() -> LoopHandle {
    LoopHandle {
        shared: with_core(|core| Arc::clone(&core.shared)),
    }
}

/// Starts a task on this thread's loop. It first runs in this turn, or in the next.
///
/// # Panics
///
/// If there is no loop on this thread.
#[track_caller]
pub fn spawn<T: 'static>(f: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let origin = Location::caller();
    with_core(|core| task::spawn(core, f, Urgency::Normal, origin))
}

/// Starts a task that, when woken, runs before all others of the turn: for what must be known
/// before any request of the turn is answered.
///
/// # Panics
///
/// If there is no loop on this thread.
#[track_caller]
pub fn spawn_urgent<T: 'static>(f: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let origin = Location::caller();
    with_core(|core| task::spawn(core, f, Urgency::Urgent, origin))
}

/// The time of this thread's loop: read once a turn.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn now() -> Instant {
    with_core(|core| core.now())
}

/// The same in whole milliseconds since the loop was built.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn now_ms() -> u64 {
    with_core(|core| core.now_ms())
}

/// The number of the turn of this thread's loop.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn turn() -> u64 {
    with_core(|core| core.turn.get())
}
