//! Telling tasks to come to an end, which they do in their own way.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::notify::{Notified, Notify};
use super::select::{Either, select};

/// Asks tasks to end, and lets each of them say its last word; [`JoinHandle::cancel`] drops a task
/// where it waits. Cheap to clone: every clone asks, and hears. Loop-local.
///
/// [`JoinHandle::cancel`]: crate::JoinHandle::cancel
///
/// ```
/// use std::time::Duration;
/// use revolve_reactor::local::Cancellation;
/// use revolve_reactor::{EventLoop, Stream, spawn, timeout};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let (stream, peer) = Stream::pair()?;
///     let cancellation = Cancellation::new();
///     let asked = cancellation.clone();
///     let task = spawn(async move {
///         while let Ok(received) = asked.or(stream.recv()).await {
///             drop(received);
///         }
///         stream.send_all(&b"bye"[..]).await
///     });
///     cancellation.cancel();
///     // It has so long for its last word.
///     if timeout(Duration::from_secs(1), task).await.is_err() {
///         eprintln!("it did not end by itself");
///     }
///     assert_eq!(&peer.recv().await?[..], b"bye");
///     Ok(())
/// })
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Cancellation {
    shared: Rc<Shared>,
}

#[derive(Default)]
struct Shared {
    is_cancelled: Cell<bool>,
    told: Notify,
}

/// What was waited for was cancelled first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WasCancelled;

impl fmt::Display for WasCancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task was asked to end")
    }
}

impl std::error::Error for WasCancelled {}

impl Cancellation {
    /// One that has asked nobody yet.
    pub fn new() -> Cancellation {
        Cancellation::default()
    }

    /// Asks all who hear to end. Nothing takes it back.
    pub fn cancel(&self) {
        if !self.shared.is_cancelled.replace(true) {
            self.shared.told.notify_all();
        }
    }

    /// True once it was asked.
    pub fn is_cancelled(&self) -> bool {
        self.shared.is_cancelled.get()
    }

    /// Waits until it is asked; ready at once from then on.
    pub fn cancelled(&self) -> Cancelled<'_> {
        Cancelled {
            is_cancelled: &self.shared.is_cancelled,
            told: self.shared.told.notified(),
        }
    }

    /// The output of a future, unless it is asked to end first: the future is dropped then, where it
    /// waits, and the task goes on.
    ///
    /// # Errors
    ///
    /// [`WasCancelled`], which comes first where both are so.
    pub async fn or<F: Future>(&self, future: F) -> Result<F::Output, WasCancelled> {
        match select(self.cancelled(), future).await {
            Either::First(()) => Err(WasCancelled),
            Either::Second(output) => Ok(output),
        }
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation")
            .field("is_cancelled", &self.is_cancelled())
            .finish()
    }
}

/// Waits until it is asked. Made by [`Cancellation::cancelled`].
#[must_use = "futures do nothing unless awaited"]
#[derive(Debug)]
pub struct Cancelled<'a> {
    is_cancelled: &'a Cell<bool>,
    told: Notified<'a>,
}

impl Future for Cancelled<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_cancelled.get() {
            return Poll::Ready(());
        }
        Pin::new(&mut self.told).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::future::pending;

    use super::*;
    use crate::{EventLoop, spawn, yield_now};

    #[test]
    fn tasks_that_are_asked_say_their_last_word() {
        EventLoop::new().unwrap().block_on(async {
            let words = Rc::new(RefCell::new(Vec::new()));
            let cancellation = Cancellation::new();
            let mut tasks = Vec::new();
            for number in 0..3 {
                let (words, asked) = (Rc::clone(&words), cancellation.clone());
                tasks.push(spawn(async move {
                    assert_eq!(asked.or(pending::<()>()).await, Err(WasCancelled));
                    yield_now().await;
                    words.borrow_mut().push(number);
                }));
            }
            assert_eq!(cancellation.or(yield_now()).await, Ok(()));
            assert!(!cancellation.is_cancelled());
            cancellation.cancel();
            cancellation.cancel();
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(*words.borrow(), [0, 1, 2]);
            // Whoever asks later hears it at once, and before what is ready as well.
            cancellation.cancelled().await;
            assert_eq!(cancellation.or(async {}).await, Err(WasCancelled));
        });
    }
}
