//! Tasks that last as long as their loop: accepting, hearing other processes, answering operators.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{JoinError, JoinHandle, sleep, spawn};

/// The pause before a task is begun again that has panicked, so that one which does so at once does not
/// take the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// A task that is begun again where it panics.
#[derive(Debug)]
pub struct LastingTask {
    /// Watches the other one.
    watching: JoinHandle<()>,
    running: Rc<RefCell<JoinHandle<()>>>,
}

impl LastingTask {
    /// Cancels it: it is not polled again.
    pub fn cancel(&self) {
        self.watching.cancel();
        self.running.borrow().cancel();
    }
}

/// Spawns a task on this thread's loop, and spawns it again where it panics. The loop has said that by
/// then (see [`revolve_reactor::on_task_panic`]); what the task held is dropped, and nothing else ends
/// by it.
///
/// # Panics
///
/// Where no event loop runs.
pub fn spawn_lasting<F>(mut begin: impl FnMut() -> F + 'static) -> LastingTask
where
    F: Future<Output = ()> + 'static,
{
    let running = Rc::new(RefCell::new(spawn(begin())));
    let watched = running.clone();
    let watching = spawn(async move {
        while ended(&watched).await == Err(JoinError::Panicked) {
            sleep(PAUSE).await;
            let next = spawn(begin());
            *watched.borrow_mut() = next;
        }
    });
    LastingTask { watching, running }
}

async fn ended(task: &RefCell<JoinHandle<()>>) -> Result<(), JoinError> {
    poll_fn(|cx| Pin::new(&mut *task.borrow_mut()).poll(cx)).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use revolve_reactor::{EventLoop, on_task_panic, yield_now};

    use super::*;

    #[test]
    fn what_panics_is_said_and_begun_again_until_it_ends() {
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.block_on(async {
            let (begun, said) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let count = said.clone();
            on_task_panic(move |message| {
                assert!(message.contains("once more"), "{message}");
                count.set(count.get() + 1);
            });
            let counted = begun.clone();
            let task = spawn_lasting(move || {
                let begun = counted.clone();
                async move {
                    begun.set(begun.get() + 1);
                    yield_now().await;
                    assert!(begun.get() == 3, "once more");
                }
            });
            while !task.watching.is_finished() {
                yield_now().await;
            }
            assert_eq!((begun.get(), said.get()), (3, 2));
        });
    }

    #[test]
    fn what_is_cancelled_is_not_polled_again() {
        let mut event_loop = EventLoop::new().unwrap();
        event_loop.block_on(async {
            let polled = Rc::new(Cell::new(0));
            let counted = polled.clone();
            let task = spawn_lasting(move || {
                let polled = counted.clone();
                async move {
                    loop {
                        polled.set(polled.get() + 1);
                        yield_now().await;
                    }
                }
            });
            while polled.get() < 3 {
                yield_now().await;
            }
            task.cancel();
            let then = polled.get();
            for _ in 0..3 {
                yield_now().await;
            }
            assert_eq!(polled.get(), then);
        });
    }
}
