//! Tasks.

use hyper::rt::Executor;

/// Spawns on this thread's loop what hyper runs beside a connection (the streams of HTTP/2). The
/// futures need not be `Send`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopExecutor;

impl<F: Future + 'static> Executor<F> for LoopExecutor {
    /// # Panics
    ///
    /// If there is no loop on this thread.
    fn execute(&self, future: F) {
        // The task runs on by itself.
        drop(revolve_reactor::spawn(async move {
            future.await;
        }));
    }
}
