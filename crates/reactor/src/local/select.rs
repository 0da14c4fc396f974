//! The first of two futures.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first future's output.
    First(A),
    /// The second future's output.
    Second(B),
}

pin_project! {
    /// Waits for the first of two futures. Made by [`select`].
    #[must_use = "futures do nothing unless awaited"]
    #[derive(Debug)]
    pub struct Select<A, B> {
        #[pin]
        first: A,
        #[pin]
        second: B,
    }
}

impl<A: Future, B: Future> Future for Select<A, B> {
    type Output = Either<A::Output, B::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let select = self.project();
        if let Poll::Ready(output) = select.first.poll(cx) {
            return Poll::Ready(Either::First(output));
        }
        select.second.poll(cx).map(Either::Second)
    }
}

/// Waits for the first of two futures; where both are ready, that is the one named first. The other is
/// dropped with this, which cancels it: give `pin!`ned futures by `as_mut()` where it is to go on.
///
/// ```
/// use std::time::Duration;
/// use revolve_reactor::local::{Either, Notify, select};
/// use revolve_reactor::{EventLoop, sleep};
///
/// # fn main() -> std::io::Result<()> {
/// EventLoop::new()?.block_on(async {
///     let never = Notify::new();
///     let first = select(never.notified(), sleep(Duration::from_millis(1))).await;
///     assert_eq!(first, Either::Second(()));
/// });
/// # Ok(())
/// # }
/// ```
pub fn select<A: Future, B: Future>(first: A, second: B) -> Select<A, B> {
    Select { first, second }
}
