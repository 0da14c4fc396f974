//! Waiting for a time.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use pin_project_lite::pin_project;

use crate::event_loop::{self, Core, TimerOwner};
use crate::timer_queue::TimerKey;

/// Ready when its time has come, to the millisecond and never early. Made by [`sleep`] and
/// [`sleep_until`].
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    core: Rc<Core>,
    deadline_ms: u64,
    timer: Option<TimerKey>,
}

impl Sleep {
    fn new(core: Rc<Core>, at: Instant) -> Sleep {
        let deadline_ms = core.tick_ms(at);
        Sleep {
            core,
            deadline_ms,
            timer: None,
        }
    }

    /// Moves the time; a busy deadline that moves later costs next to nothing.
    pub fn reset(&mut self, at: Instant) {
        self.deadline_ms = self.core.tick_ms(at);
        if let Some(key) = self.timer {
            self.core.timers.borrow_mut().set(key, self.deadline_ms);
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.core.now_ms() >= self.deadline_ms {
            return Poll::Ready(());
        }
        let waiter = self.core.tasks.waiter(cx.waker());
        let deadline_ms = self.deadline_ms;
        let mut former = None;
        let timer = self.timer;
        let key = {
            let mut timers = self.core.timers.borrow_mut();
            match timer {
                Some(key) => {
                    if let Some(owner) = timers.owner_mut(key) {
                        former = Some(std::mem::replace(owner, TimerOwner::Task(Some(waiter))));
                    }
                    timers.set(key, deadline_ms);
                    key
                }
                None => timers.insert(TimerOwner::Task(Some(waiter)), deadline_ms),
            }
        };
        drop(former);
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            let owner = self.core.timers.borrow_mut().remove(key);
            drop(owner);
        }
    }
}

impl std::fmt::Debug for Sleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline_ms", &self.deadline_ms)
            .finish()
    }
}

/// Ready after `duration`, counted from this moment, which costs a look at the clock:
/// [`sleep_until`] with the turn's time does without.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn sleep(duration: Duration) -> Sleep {
    event_loop::with_core(|core| {
        let far = Duration::from_secs(u32::MAX.into());
        Sleep::new(Rc::clone(core), core.ask_clock() + duration.min(far))
    })
}

/// Ready at `at`.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn sleep_until(at: Instant) -> Sleep {
    event_loop::with_core(|core| Sleep::new(Rc::clone(core), at))
}

/// The time given to [`timeout`] passed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time allowed has passed")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(_: Elapsed) -> Self {
        std::io::ErrorKind::TimedOut.into()
    }
}

pin_project! {
    /// A future that may take only so long. Made by [`timeout`].
    #[must_use = "futures do nothing unless awaited"]
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        sleep: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let timeout = self.project();
        if let Poll::Ready(output) = timeout.future.poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(timeout.sleep).poll(cx).map(|()| Err(Elapsed))
    }
}

/// Runs a future for at most `duration`, counted from this moment: [`Elapsed`] if that passes first.
/// The future is polled before that is said, so that what is ready by then counts. The future is dropped with what this returns.
///
/// # Panics
///
/// If there is no loop on this thread.
pub fn timeout<F: Future>(duration: Duration, future: F) -> Timeout<F> {
    Timeout {
        future,
        sleep: sleep(duration),
    }
}
