//! Time.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

/// Timers of this thread's loop, for hyper's timeouts (`header_read_timeout`, `keep_alive_interval`).
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopTimer;

thread_local! {
    /// The sleeps themselves, by number. hyper wants a sleep to be `Send`, which a loop's timer is
    /// not: hyper gets its number, and the timer stays on its thread, as the connection does.
    static SLEEPS: RefCell<BTreeMap<u64, revolve_reactor::Sleep>> = const { RefCell::new(BTreeMap::new()) };
    static NEXT_NUMBER: Cell<u64> = const { Cell::new(0) };
}

impl Timer for LoopTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        asleep(revolve_reactor::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        asleep(revolve_reactor::sleep_until(deadline))
    }
}

fn asleep(sleep: revolve_reactor::Sleep) -> Pin<Box<dyn Sleep>> {
    let number = NEXT_NUMBER.get();
    NEXT_NUMBER.set(number + 1);
    SLEEPS.with_borrow_mut(|all| all.insert(number, sleep));
    Box::pin(Numbered(number))
}

/// The number of a sleep of this thread.
struct Numbered(u64);

impl Sleep for Numbered {}

impl Future for Numbered {
    type Output = ();

    /// # Panics
    ///
    /// On another thread than the one that it was made on.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        SLEEPS.with_borrow_mut(|all| {
            let sleep = all.get_mut(&self.0);
            let sleep = sleep.expect("a connection stays on the thread of its loop");
            Pin::new(sleep).poll(cx)
        })
    }
}

impl Drop for Numbered {
    fn drop(&mut self) {
        // A thread that ends has dropped its sleeps already.
        let sleep = SLEEPS.try_with(|all| all.borrow_mut().remove(&self.0));
        drop(sleep);
    }
}
