//! A counting semaphore that tasks await and threads block on.
//!
//! Both wait in one line, first come first served: a waiting thread is a waker that unparks it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::PoisonError;
use std::task::{Context, Poll, Wake, Waker};

use super::give_way::gives_way;
use super::sync::{Arc, Mutex, MutexGuard, Thread, thread};

/// A counting semaphore (Dijkstra's; compare sem_overview(7)). Cheap to clone; every clone counts
/// the same permits. From any thread.
///
/// Permits are granted in the order in which they were asked for: who wants many is not overtaken
/// by those who want few. A task that takes free ones again and again gives way to the others of its loop
/// after 128 of them.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// use revolve_reactor::{EventLoop, Semaphore};
///
/// let semaphore = Semaphore::new(1);
/// EventLoop::new()?.block_on(async {
///     let permit = semaphore.acquire().await.expect("not closed");
///     assert!(semaphore.try_acquire().is_none());
///     drop(permit);
///     assert_eq!(semaphore.available(), 1);
/// });
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Semaphore {
    state: Arc<Mutex<State>>,
}

struct State {
    permits: usize,
    closed: bool,
    next_ticket: u64,
    /// Who waits, in order.
    waiting: BTreeMap<u64, Waiter>,
    /// Who was granted its permits and has not taken them yet.
    granted: BTreeSet<u64>,
}

struct Waiter {
    wanted: usize,
    waker: Waker,
}

impl State {
    fn take(&mut self, wanted: usize) -> bool {
        let free = !self.closed && self.waiting.is_empty() && self.permits >= wanted;
        if free {
            self.permits -= wanted;
        }
        free
    }

    /// Serves the line as far as the permits go, and gives the wakers of those served.
    fn grant(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            if first.get().wanted > self.permits {
                break;
            }
            let (ticket, waiter) = first.remove_entry();
            self.permits -= waiter.wanted;
            self.granted.insert(ticket);
            woken.push(waiter.waker);
        }
        woken
    }
}

impl Semaphore {
    /// A semaphore with so many permits.
    pub fn new(permits: usize) -> Semaphore {
        Semaphore {
            state: Arc::new(Mutex::new(State {
                permits,
                closed: false,
                next_ticket: 0,
                waiting: BTreeMap::new(),
                granted: BTreeSet::new(),
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Permits that nobody has.
    pub fn available(&self) -> usize {
        self.state().permits
    }

    /// How many wait for permits.
    pub fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Takes a permit if one is free and nobody waits for one.
    pub fn try_acquire(&self) -> Option<Permit> {
        self.try_acquire_many(1)
    }

    /// Takes so many permits at once if they are free and nobody waits.
    pub fn try_acquire_many(&self, wanted: usize) -> Option<Permit> {
        let taken = self.state().take(wanted);
        taken.then(|| self.permit(wanted))
    }

    /// Waits for a permit. To be awaited, on any loop; dropping the future leaves the line.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the semaphore is closed.
    pub fn acquire(&self) -> Acquire {
        self.acquire_many(1)
    }

    /// Waits for so many permits at once: for ever, if there will never be as many.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the semaphore is closed.
    pub fn acquire_many(&self, wanted: usize) -> Acquire {
        Acquire {
            semaphore: self.clone(),
            wanted,
            ticket: None,
        }
    }

    /// Waits for a permit by blocking this thread. Not on a loop's thread: the loop would stand
    /// still, and with it perhaps who holds the permit.
    ///
    /// # Errors
    ///
    /// [`Closed`] once the semaphore is closed.
    pub fn acquire_blocking(&self) -> Result<Permit, Closed> {
        block_on(self.acquire())
    }

    /// Adds permits, above the number that there was in the beginning if need be.
    pub fn add_permits(&self, permits: usize) {
        let woken = {
            let mut state = self.state();
            state.permits = state.permits.saturating_add(permits);
            state.grant()
        };
        woken.into_iter().for_each(Waker::wake);
    }

    /// Grants nothing any more; who waits is told [`Closed`]. Permits that are held stay valid.
    pub fn close(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(|waiter| waiter.waker.wake());
    }

    /// True once [`close`](Semaphore::close) was called.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn permit(&self, permits: usize) -> Permit {
        Permit {
            semaphore: self.clone(),
            permits,
        }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Semaphore")
            .field("available", &state.permits)
            .field("waiting", &state.waiting.len())
            .field("closed", &state.closed)
            .finish()
    }
}

/// The semaphore was closed: it grants nothing any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the semaphore is closed")
    }
}

impl std::error::Error for Closed {}

/// Permits of a [`Semaphore`], given back when this is dropped, on any thread.
#[must_use = "a permit that is dropped is given back at once"]
#[derive(Debug)]
pub struct Permit {
    semaphore: Semaphore,
    permits: usize,
}

impl Permit {
    /// How many permits this holds.
    pub fn permits(&self) -> usize {
        self.permits
    }

    /// Takes the permits out of circulation; [`Semaphore::add_permits`] can bring them back.
    pub fn forget(mut self) {
        self.permits = 0;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.permits > 0 {
            self.semaphore.add_permits(self.permits);
        }
    }
}

/// Waits for permits. Made by [`Semaphore::acquire`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Acquire {
    semaphore: Semaphore,
    wanted: usize,
    ticket: Option<u64>,
}

impl Future for Acquire {
    type Output = Result<Permit, Closed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let acquire = &mut *self;
        let new = cx.waker().clone();
        let mut state = acquire.semaphore.state();
        let Some(ticket) = acquire.ticket else {
            if state.closed {
                return Poll::Ready(Err(Closed));
            }
            // A loop that takes what is free again and again would keep all others from running.
            let is_free = state.waiting.is_empty() && state.permits >= acquire.wanted;
            if is_free && gives_way(cx) {
                return Poll::Pending;
            }
            if state.take(acquire.wanted) {
                drop(state);
                return Poll::Ready(Ok(acquire.semaphore.permit(acquire.wanted)));
            }
            let ticket = state.next_ticket;
            state.next_ticket += 1;
            let waiter = Waiter {
                wanted: acquire.wanted,
                waker: new,
            };
            state.waiting.insert(ticket, waiter);
            acquire.ticket = Some(ticket);
            return Poll::Pending;
        };
        if let Some(waiter) = state.waiting.get_mut(&ticket) {
            let former = std::mem::replace(&mut waiter.waker, new);
            drop(state);
            drop(former);
            return Poll::Pending;
        }
        let granted = state.granted.remove(&ticket);
        drop(state);
        acquire.ticket = None;
        Poll::Ready(if granted {
            Ok(acquire.semaphore.permit(acquire.wanted))
        } else {
            Err(Closed)
        })
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket else {
            return;
        };
        // Leaving the line may let the next ones through.
        let mut state = self.semaphore.state();
        let left = state.waiting.remove(&ticket);
        if state.granted.remove(&ticket) {
            state.permits = state.permits.saturating_add(self.wanted);
        }
        let woken = state.grant();
        drop(state);
        drop(left);
        woken.into_iter().for_each(Waker::wake);
    }
}

/// Unparks the thread that waits.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future to its end on this thread, which sleeps meanwhile.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(std::sync::Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        thread::park();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::rc::Rc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use crate::{EventLoop, spawn, timeout, yield_now};

    #[test]
    fn permits_are_granted_in_order_and_the_greedy_are_not_overtaken() {
        let mut event_loop = EventLoop::new().unwrap();
        let order = Rc::new(std::cell::RefCell::new(Vec::new()));
        event_loop.block_on(async {
            let semaphore = Semaphore::new(2);
            let first = semaphore.try_acquire().unwrap();
            for (name, wanted) in [("many", 2), ("few", 1)] {
                let (order, acquire) = (Rc::clone(&order), semaphore.acquire_many(wanted));
                spawn(async move {
                    let permit = acquire.await.unwrap();
                    order.borrow_mut().push(name);
                    drop(permit);
                });
            }
            yield_now().await;
            assert_eq!(semaphore.waiting(), 2);
            assert!(semaphore.try_acquire().is_none(), "the line was jumped");
            drop(first);
            while order.borrow().len() < 2 {
                yield_now().await;
            }
            assert_eq!(*order.borrow(), ["many", "few"]);
            assert_eq!(semaphore.available(), 2);
        });
    }

    #[test]
    fn giving_up_gives_back_what_was_granted_and_lets_the_next_through() {
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.block_on(async {
            let semaphore = Semaphore::new(1);
            let held = semaphore.acquire().await.unwrap();
            let mut gives_up = Box::pin(semaphore.acquire());
            let mut greedy = Box::pin(semaphore.acquire_many(5));
            let short = Duration::from_millis(2);
            assert!(timeout(short, gives_up.as_mut()).await.is_err());
            assert!(timeout(short, greedy.as_mut()).await.is_err());
            let next = spawn(semaphore.acquire());
            yield_now().await;
            drop(held);
            drop(gives_up);
            assert!(!next.is_finished(), "the one that wants five is before it");
            drop(greedy);
            drop(
                timeout(Duration::from_secs(5), next)
                    .await
                    .unwrap()
                    .unwrap(),
            );
            yield_now().await;
            assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
        });
    }

    #[test]
    fn whoever_takes_free_permits_without_end_lets_the_loop_turn() {
        let mut event_loop = EventLoop::new().unwrap();
        let handle = event_loop.handle();
        let takes = async {
            let semaphore = Semaphore::new(1);
            let begun = crate::turn();
            let mut taken = 0;
            while crate::turn() < begun + 5 && taken < 1_000_000 {
                drop(semaphore.acquire().await.unwrap());
                taken += 1;
            }
            taken
        };
        // In a task, and in the future that the loop was given.
        let in_task = event_loop.spawn(takes);
        assert!(event_loop.block_on(in_task).unwrap() < 10_000);
        let semaphore = Semaphore::new(1);
        let taken = event_loop.block_on(async {
            let mut taken = 0;
            while handle.stats().turns < 20 && taken < 1_000_000 {
                drop(semaphore.acquire().await.unwrap());
                taken += 1;
            }
            taken
        });
        assert!(taken < 10_000, "{taken}");
    }

    #[test]
    fn threads_and_tasks_wait_in_one_line() {
        let mut event_loop = EventLoop::new().unwrap();
        let semaphore = Semaphore::new(3);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let permit = semaphore.acquire_blocking().unwrap();
                        let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                });
            }
            event_loop.block_on(async {
                for _ in 0..200 {
                    let permit = semaphore.acquire().await.unwrap();
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    yield_now().await;
                    inside.fetch_sub(1, Ordering::SeqCst);
                    drop(permit);
                }
            });
        });
        assert!((1..=3).contains(&most.load(Ordering::SeqCst)));
        assert_eq!((semaphore.available(), semaphore.waiting()), (3, 0));
    }

    #[test]
    fn closing_tells_those_who_wait() {
        let semaphore = Semaphore::new(0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| semaphore.acquire_blocking().map(drop));
            while semaphore.waiting() == 0 {
                std::thread::yield_now();
            }
            semaphore.close();
            assert_eq!(waiting.join().unwrap(), Err(Closed));
        });
        semaphore.add_permits(1);
        assert!(semaphore.try_acquire().is_none());
        assert!(semaphore.is_closed());
    }

    #[test]
    fn forgotten_permits_do_not_come_back() {
        let semaphore = Semaphore::new(2);
        semaphore.try_acquire_many(2).unwrap().forget();
        assert_eq!(semaphore.available(), 0);
        semaphore.add_permits(1);
        assert_eq!(semaphore.try_acquire().unwrap().permits(), 1);
    }
}
