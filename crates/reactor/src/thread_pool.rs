//! Threads for work that blocks or computes for long, which would hold a loop up.
//!
//! Jobs wait in a bounded queue. Whoever submits more than the threads get done waits for room:
//! a task by awaiting, a thread by blocking. The result of [`run`](PoolHandle::run) comes back to
//! the loop that asked, as a task that is woken.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use crate::job_queue::{JobQueue, Refused};
use crate::semaphore::block_on;
use crate::sys::fork::Birthplace;
use crate::unwind::{discard, panic_message};

type Job = Box<dyn FnOnce() + Send>;

/// How a pool is to be built.
#[derive(Clone, Debug)]
pub struct ThreadPoolBuilder {
    threads: usize,
    queued_max: usize,
    name: String,
    stack_bytes: Option<usize>,
}

impl Default for ThreadPoolBuilder {
    fn default() -> Self {
        ThreadPoolBuilder {
            threads: thread::available_parallelism().map_or(1, usize::from),
            queued_max: 1024,
            name: "pool".to_owned(),
            stack_bytes: None,
        }
    }
}

impl ThreadPoolBuilder {
    /// Threads, at least 1. Default: one a CPU that the process may use.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Jobs that may wait for a thread, at least 1. Default 1,024.
    pub fn queued_max(mut self, jobs: usize) -> Self {
        self.queued_max = jobs.max(1);
        self
    }

    /// The threads are called so, with a number behind it. Default `pool`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Bytes of each thread's stack. Default: that of [`std::thread`], 2 MiB.
    pub fn stack_bytes(mut self, bytes: usize) -> Self {
        self.stack_bytes = Some(bytes);
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// As pthread_create(3): the system has no more threads. Those started already are ended.
    pub fn build(self) -> io::Result<ThreadPool> {
        let shared = Arc::new(Shared {
            queue: JobQueue::new(self.queued_max),
            running: AtomicUsize::new(0),
            done: AtomicU64::new(0),
            panicked: AtomicU64::new(0),
            longest_us: AtomicU64::new(0),
        });
        let mut pool = ThreadPool {
            handle: PoolHandle { shared },
            threads: Vec::with_capacity(self.threads),
            birthplace: Birthplace::here(),
        };
        for number in 0..self.threads {
            let shared = Arc::clone(&pool.handle.shared);
            let mut builder = thread::Builder::new().name(format!("{}-{number}", self.name));
            if let Some(bytes) = self.stack_bytes {
                builder = builder.stack_size(bytes);
            }
            pool.threads.push(builder.spawn(move || shared.work())?);
        }
        Ok(pool)
    }
}

struct Shared {
    queue: JobQueue<Job>,
    running: AtomicUsize,
    done: AtomicU64,
    panicked: AtomicU64,
    longest_us: AtomicU64,
}

impl Shared {
    fn work(&self) {
        while let Some(job) = self.queue.pop() {
            self.running.fetch_add(1, Ordering::Relaxed);
            let begun = Instant::now();
            let result = catch_unwind(AssertUnwindSafe(job));
            let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.longest_us.fetch_max(took_us, Ordering::Relaxed);
            self.running.fetch_sub(1, Ordering::Relaxed);
            match result {
                Ok(()) => self.done.fetch_add(1, Ordering::Relaxed),
                Err(panic) => {
                    discard(panic);
                    self.panicked.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
    }
}

/// A pool of threads, and the one that ends them. Dropping it is
/// [`shutdown(Shutdown::Discard)`](ThreadPool::shutdown). A child after fork(2) has none of the threads:
/// there, dropping or ending it does nothing.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use revolve_reactor::{EventLoop, Shutdown, ThreadPool};
///
/// let pool = ThreadPool::builder().threads(2).queued_max(100).build()?;
/// let sum = EventLoop::new()?.block_on(pool.run(|| (1..=100u64).sum::<u64>()));
/// assert_eq!(sum, Ok(5050));
/// pool.shutdown(Shutdown::Drain);
/// # Ok(())
/// # }
/// ```
pub struct ThreadPool {
    handle: PoolHandle,
    threads: Vec<thread::JoinHandle<()>>,
    birthplace: Birthplace,
}

/// What becomes of the jobs that still wait when a pool ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They are done first.
    Drain,
    /// They are dropped; who waits for their result hears [`JobError::Discarded`].
    Discard,
}

impl ThreadPool {
    /// A pool with settings of one's own.
    pub fn builder() -> ThreadPoolBuilder {
        ThreadPoolBuilder::default()
    }

    /// A pool of so many threads, at least 1, and the other defaults of [`ThreadPoolBuilder`].
    ///
    /// # Errors
    ///
    /// As [`ThreadPoolBuilder::build`].
    pub fn new(threads: usize) -> io::Result<ThreadPool> {
        ThreadPool::builder().threads(threads).build()
    }

    /// A handle for those who submit, on any thread.
    pub fn handle(&self) -> PoolHandle {
        self.handle.clone()
    }

    /// Takes no more jobs, and returns when the threads have ended. Blocks the calling thread for
    /// as long as running jobs (with [`Shutdown::Drain`] the waiting ones, too) take.
    pub fn shutdown(mut self, how: Shutdown) {
        self.end(how);
    }

    fn end(&mut self, how: Shutdown) {
        if self.birthplace.is_elsewhere() {
            // One of the threads may have held the queue's lock when they were left behind.
            self.threads.drain(..).for_each(std::mem::forget);
            return;
        }
        let queue = &self.handle.shared.queue;
        queue.close();
        if how == Shutdown::Discard {
            drop(queue.drain());
        }
        let own = thread::current().id();
        for thread in self.threads.drain(..) {
            // A pool that is dropped by one of its own jobs cannot wait for that one.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }
}

impl Deref for ThreadPool {
    type Target = PoolHandle;

    fn deref(&self) -> &PoolHandle {
        &self.handle
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.end(Shutdown::Discard);
    }
}

impl fmt::Debug for ThreadPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ThreadPool")
            .field("threads", &self.threads.len())
            .field("stats", &self.stats())
            .finish()
    }
}

/// A way to give jobs to a [`ThreadPool`], from any thread. Cheap to clone. It keeps no thread
/// alive: once the pool has ended, it says so.
#[derive(Clone)]
pub struct PoolHandle {
    shared: Arc<Shared>,
}

impl PoolHandle {
    /// Gives a job to the pool if there is room for it in the queue. A job that panics costs
    /// no more than itself.
    ///
    /// # Errors
    ///
    /// [`SubmitError::Full`] and [`SubmitError::Closed`] give the job back.
    pub fn try_submit<F: FnOnce() + Send + 'static>(&self, job: F) -> Result<(), SubmitError<F>> {
        // The job is boxed only once it is known to be taken, so that it can be given back.
        let slot = Arc::new(Mutex::new(Some(job)));
        let own = Arc::clone(&slot);
        let take = |slot: &Mutex<Option<F>>| lock(slot).take();
        let boxed: Job = Box::new(move || {
            if let Some(job) = lock(&own).take() {
                job();
            }
        });
        let refused = match self.shared.queue.try_push(boxed) {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        let job = take(&slot).expect("a job that was refused has not run");
        Err(match refused {
            Refused::Full(_) => SubmitError::Full(job),
            Refused::Closed(_) => SubmitError::Closed(job),
        })
    }

    /// Gives a job to the pool, and waits for room in the queue while there is none. Dropping the
    /// future before it is ready drops the job.
    ///
    /// # Errors
    ///
    /// [`JobError::Discarded`] if the pool has ended.
    pub async fn submit(&self, job: impl FnOnce() + Send + 'static) -> Result<(), JobError> {
        let pushed = self.shared.queue.push(Box::new(job)).await;
        pushed.map_err(|_| JobError::Discarded)
    }

    /// As [`submit`](PoolHandle::submit), but blocks the thread. Not on a loop's thread, and not
    /// in a job of the same pool: both might wait for themselves.
    ///
    /// # Errors
    ///
    /// [`JobError::Discarded`] if the pool has ended.
    pub fn submit_blocking(&self, job: impl FnOnce() + Send + 'static) -> Result<(), JobError> {
        block_on(self.submit(job))
    }

    /// Runs `f` on a thread of the pool, and gives what it returns to the task that awaits this,
    /// on that task's loop. Waits for room in the queue while there is none.
    ///
    /// Dropping the future discards the job if no thread has begun with it; one that runs runs on,
    /// and its result is dropped.
    ///
    /// # Errors
    ///
    /// [`JobError`]: `f` panicked, or the pool ended before `f` was run.
    pub async fn run<T, F>(&self, f: F) -> Result<T, JobError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, asked) = ask();
        let job: Job = Box::new(move || {
            if !answer.is_wanted() {
                return;
            }
            match catch_unwind(AssertUnwindSafe(f)) {
                Ok(value) => answer.give(Ok(value)),
                Err(panic) => {
                    answer.give(Err(panicked(&*panic)));
                    resume_unwind(panic);
                }
            }
        });
        match self.shared.queue.push(job).await {
            Ok(()) => asked.await,
            Err(_) => Err(JobError::Discarded),
        }
    }

    /// What the pool has done, and is doing.
    pub fn stats(&self) -> PoolStats {
        let shared = &self.shared;
        PoolStats {
            queued: shared.queue.len(),
            waiting: shared.queue.waiting(),
            running: shared.running.load(Ordering::Relaxed),
            done: shared.done.load(Ordering::Relaxed),
            panicked: shared.panicked.load(Ordering::Relaxed),
            longest: Duration::from_micros(shared.longest_us.load(Ordering::Relaxed)),
        }
    }
}

impl fmt::Debug for PoolHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolHandle")
            .field("stats", &self.stats())
            .finish()
    }
}

/// What a pool has done, and is doing. The numbers are read one after the other, so that they
/// need not be of one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Jobs that wait for a thread.
    pub queued: usize,
    /// Submitters that wait for room in the queue.
    pub waiting: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that have ended well; those that nobody wanted any more included.
    pub done: u64,
    /// Jobs that have panicked.
    pub panicked: u64,
    /// The longest time that a job took.
    pub longest: Duration,
}

/// Why [`try_submit`](PoolHandle::try_submit) did not take a job; here it is again.
pub enum SubmitError<F> {
    /// As many jobs wait as may.
    Full(F),
    /// The pool has ended.
    Closed(F),
}

impl<F> SubmitError<F> {
    /// The job.
    pub fn into_job(self) -> F {
        match self {
            SubmitError::Full(job) | SubmitError::Closed(job) => job,
        }
    }
}

impl<F> fmt::Debug for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::Full(_) => "Full",
            SubmitError::Closed(_) => "Closed",
        })
    }
}

impl<F> fmt::Display for SubmitError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubmitError::Full(_) => "the queue of the thread pool is full",
            SubmitError::Closed(_) => "the thread pool has ended",
        })
    }
}

impl<F> std::error::Error for SubmitError<F> {}

/// Why a job has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobError {
    /// It panicked, with this message.
    Panicked(String),
    /// The pool ended before the job was run.
    Discarded,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JobError::Panicked(message) => write!(f, "the job panicked: {message}"),
            JobError::Discarded => f.write_str("the thread pool ended before the job was run"),
        }
    }
}

impl std::error::Error for JobError {}

fn panicked(panic: &(dyn Any + Send)) -> JobError {
    JobError::Panicked(panic_message(panic).to_owned())
}

/// The place where a job leaves its result for the task that waits.
struct Exchange<T> {
    result: Option<Result<T, JobError>>,
    waker: Option<Waker>,
    /// The one who asked is gone.
    abandoned: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn ask<T>() -> (Answer<T>, Asked<T>) {
    let exchange = Arc::new(Mutex::new(Exchange {
        result: None,
        waker: None,
        abandoned: false,
    }));
    (Answer(Arc::clone(&exchange)), Asked(exchange))
}

/// The job's end. Dropped without an answer, it says that the job was discarded.
struct Answer<T>(Arc<Mutex<Exchange<T>>>);

impl<T> Answer<T> {
    fn is_wanted(&self) -> bool {
        !lock(&self.0).abandoned
    }

    fn give(&self, result: Result<T, JobError>) {
        let mut exchange = lock(&self.0);
        if exchange.abandoned || exchange.result.is_some() {
            drop(exchange);
            drop(result);
            return;
        }
        exchange.result = Some(result);
        let waker = exchange.waker.take();
        drop(exchange);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Drop for Answer<T> {
    fn drop(&mut self) {
        // After an answer was given and taken, nobody looks at this any more.
        self.give(Err(JobError::Discarded));
    }
}

/// The asker's end.
struct Asked<T>(Arc<Mutex<Exchange<T>>>);

impl<T> Future for Asked<T> {
    type Output = Result<T, JobError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let new = cx.waker().clone();
        let mut exchange = lock(&self.0);
        if let Some(result) = exchange.result.take() {
            exchange.abandoned = true;
            return Poll::Ready(result);
        }
        let former = exchange.waker.replace(new);
        drop(exchange);
        drop(former);
        Poll::Pending
    }
}

impl<T> Drop for Asked<T> {
    fn drop(&mut self) {
        let mut exchange = lock(&self.0);
        exchange.abandoned = true;
        let left = (exchange.result.take(), exchange.waker.take());
        drop(exchange);
        drop(left);
    }
}
