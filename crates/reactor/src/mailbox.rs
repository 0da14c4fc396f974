//! What other threads leave for a loop, and how it sleeps without missing it.
//!
//! The loop announces that it goes to sleep; whoever posts looks whether it has. Only one wake-up
//! is made for each sleep, and none for a loop that is awake: it looks before it sleeps again.

use std::sync::PoisonError;

use super::sync::{AtomicBool, AtomicU8, Mutex, MutexGuard, Ordering};

const AWAKE: u8 = 0;
const SLEEPING: u8 = 1;
const NOTIFIED: u8 = 2;

/// Whether something lies in the mailbox, where it need lie once only, however often it is posted.
#[derive(Default)]
pub(crate) struct InMailbox(AtomicBool);

impl InMailbox {
    /// True if it does not lie there, and has to be posted.
    pub(crate) fn enter(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// It was taken out. To be called before what it stands for is looked at: whoever posts it from
    /// now on posts it anew.
    pub(crate) fn leave(&self) {
        self.0.swap(false, Ordering::AcqRel);
    }
}

/// What was posted to one loop, and whether that loop sleeps.
pub(crate) struct Mailbox<T> {
    state: AtomicU8,
    posted: Mutex<T>,
}

impl<T: Default> Mailbox<T> {
    /// An empty one, of a loop that is awake.
    pub(crate) fn new() -> Mailbox<T> {
        Mailbox {
            state: AtomicU8::new(AWAKE),
            posted: Mutex::new(T::default()),
        }
    }

    /// Announces that the loop goes to sleep; false if it was notified before. By the loop alone.
    #[inline]
    pub(crate) fn may_sleep(&self) -> bool {
        let seen = Ordering::SeqCst;
        self.state
            .compare_exchange(AWAKE, SLEEPING, seen, seen)
            .is_ok()
    }

    /// The loop is awake again; true if it was notified. By the loop alone.
    #[inline]
    pub(crate) fn awake(&self, slept: bool) -> bool {
        (slept || self.state.load(Ordering::Acquire) == NOTIFIED)
            && self.state.swap(AWAKE, Ordering::SeqCst) == NOTIFIED
    }

    /// Tells the loop to look: `wake` is called if it sleeps, once for each time that it does.
    pub(crate) fn notify(&self, wake: impl FnOnce()) {
        if self.state.swap(NOTIFIED, Ordering::SeqCst) == SLEEPING {
            wake();
        }
    }

    /// Adds to what was posted. To be followed by [`notify`](Mailbox::notify).
    pub(crate) fn post(&self, add: impl FnOnce(&mut T)) {
        add(&mut self.posted());
    }

    /// Takes all that was posted.
    pub(crate) fn take(&self) -> T {
        std::mem::take(&mut *self.posted())
    }

    fn posted(&self) -> MutexGuard<'_, T> {
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
