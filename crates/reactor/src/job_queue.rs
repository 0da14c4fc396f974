//! The bounded queue between those who have work and the threads that do it.
//!
//! Room is counted by a [`Semaphore`], so that tasks and threads wait for it in one line; those
//! who take wait on a condition variable.

use std::collections::VecDeque;
use std::sync::PoisonError;

use super::semaphore::Semaphore;
use super::sync::{Condvar, Mutex, MutexGuard};

/// A bounded queue, closed once.
pub(crate) struct JobQueue<T> {
    room: Semaphore,
    items: Mutex<Items<T>>,
    filled: Condvar,
}

struct Items<T> {
    queue: VecDeque<T>,
    closed: bool,
}

/// Why an item was not taken; here it is again.
#[derive(Debug)]
pub(crate) enum Refused<T> {
    Full(T),
    Closed(T),
}

impl<T> JobQueue<T> {
    pub(crate) fn new(items_max: usize) -> JobQueue<T> {
        JobQueue {
            room: Semaphore::new(items_max),
            items: Mutex::new(Items {
                queue: VecDeque::new(),
                closed: false,
            }),
            filled: Condvar::new(),
        }
    }

    fn items(&self) -> MutexGuard<'_, Items<T>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.items().queue.len()
    }

    /// How many wait for room.
    pub(crate) fn waiting(&self) -> usize {
        self.room.waiting()
    }

    /// Adds an item if there is room.
    pub(crate) fn try_push(&self, item: T) -> Result<(), Refused<T>> {
        match self.room.try_acquire() {
            Some(permit) => {
                permit.forget();
                self.put(item).map_err(Refused::Closed)
            }
            None if self.room.is_closed() => Err(Refused::Closed(item)),
            None => Err(Refused::Full(item)),
        }
    }

    /// Adds an item once there is room; gives it back if the queue is closed.
    pub(crate) async fn push(&self, item: T) -> Result<(), T> {
        match self.room.acquire().await {
            Ok(permit) => {
                permit.forget();
                self.put(item)
            }
            Err(_) => Err(item),
        }
    }

    fn put(&self, item: T) -> Result<(), T> {
        let mut items = self.items();
        if items.closed {
            return Err(item);
        }
        items.queue.push_back(item);
        drop(items);
        self.filled.notify_one();
        Ok(())
    }

    /// Takes the oldest item, blocking the thread while there is none; `None` when the queue is
    /// closed and empty.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut items = self.items();
        loop {
            if let Some(item) = items.queue.pop_front() {
                drop(items);
                self.room.add_permits(1);
                return Some(item);
            }
            if items.closed {
                return None;
            }
            items = self
                .filled
                .wait(items)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes nothing more in. What is in stays to be popped.
    pub(crate) fn close(&self) {
        self.items().closed = true;
        self.room.close();
        self.filled.notify_all();
    }

    /// Takes out all that is in.
    pub(crate) fn drain(&self) -> VecDeque<T> {
        std::mem::take(&mut self.items().queue)
    }
}
