//! Every order in which threads may meet, of the loop's mailbox, the semaphore and the pool's queue:
//! `RUSTFLAGS="--cfg loom" cargo test -p revolve-reactor --release --test loom`.
#![cfg(loom)]
#![allow(unreachable_pub, reason = "what is public in the library is not here")]

#[path = "../src/job_queue.rs"]
#[allow(dead_code, reason = "the models use their part")]
mod job_queue;
#[path = "../src/mailbox.rs"]
mod mailbox;
#[path = "../src/semaphore.rs"]
#[allow(dead_code, reason = "the models use their part")]
mod semaphore;

/// What they take their locks and atomics from.
mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
    pub(crate) use loom::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(crate) use loom::thread::{self, Thread};
}

/// There is no loop here that a task could keep to itself.
mod give_way {
    pub(crate) fn gives_way(_: &std::task::Context<'_>) -> bool {
        false
    }
}

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use job_queue::{JobQueue, Refused};
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use mailbox::{InMailbox, Mailbox};
use semaphore::{Closed, Semaphore, block_on};

#[test]
fn no_more_than_the_permits_are_held_and_none_is_lost() {
    loom::model(|| {
        let semaphore = Semaphore::new(1);
        let inside = Arc::new(AtomicUsize::new(0));
        let work = |semaphore: Semaphore, inside: Arc<AtomicUsize>| {
            let permit = semaphore.acquire_blocking().expect("open");
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            inside.fetch_sub(1, Ordering::SeqCst);
            drop(permit);
        };
        let other = {
            let (semaphore, inside) = (semaphore.clone(), Arc::clone(&inside));
            thread::spawn(move || work(semaphore, inside))
        };
        work(semaphore.clone(), inside);
        other.join().expect("the other thread");
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn one_who_gives_up_passes_on_what_was_granted() {
    loom::model(|| {
        let semaphore = Semaphore::new(1);
        let held = semaphore.try_acquire().expect("free");
        let releasing = thread::spawn(move || drop(held));
        {
            let mut gives_up = pin!(semaphore.acquire());
            let _ = gives_up
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()));
        }
        drop(semaphore.acquire_blocking().expect("open"));
        releasing.join().expect("the other thread");
        assert_eq!((semaphore.available(), semaphore.waiting()), (1, 0));
    });
}

#[test]
fn closing_reaches_who_waits_and_who_comes() {
    loom::model(|| {
        let semaphore = Semaphore::new(0);
        let own = semaphore.clone();
        let waiting = thread::spawn(move || own.acquire_blocking().map(drop));
        semaphore.close();
        assert_eq!(waiting.join().expect("the other thread"), Err(Closed));
    });
}

#[test]
fn every_item_is_taken_once_and_the_queue_stays_bounded() {
    loom::model(|| {
        let queue = Arc::new(JobQueue::new(1));
        let own = Arc::clone(&queue);
        let taker = thread::spawn(move || {
            let mut sum = 0;
            while let Some(item) = own.pop() {
                sum += item;
            }
            sum
        });
        for item in [1, 10] {
            block_on(queue.push(item)).expect("open");
            assert!(queue.len() <= 1);
        }
        queue.close();
        assert_eq!(taker.join().expect("the taker"), 11);
    });
}

#[test]
fn an_item_is_either_refused_or_in_when_the_queue_closes() {
    loom::model(|| {
        let queue = Arc::new(JobQueue::new(1));
        let own = Arc::clone(&queue);
        let pusher = thread::spawn(move || match own.try_push(7) {
            Ok(()) => 0,
            Err(Refused::Closed(item) | Refused::Full(item)) => item,
        });
        queue.close();
        let refused = pusher.join().expect("the pusher");
        let left: i32 = queue.drain().into_iter().sum();
        assert_eq!(refused + left, 7);
        assert!(queue.pop().is_none());
    });
}

/// What a loop sleeps on: an eventfd, which is readable from a write on until it is waited for.
#[derive(Default)]
struct Event {
    writes: Mutex<u32>,
    written: Condvar,
}

impl Event {
    fn wake(&self) {
        *self.writes.lock().expect("no panic") += 1;
        self.written.notify_one();
    }

    /// Sleeps until it is readable: for ever, if a wake-up is lost, which the model reports.
    fn wait(&self) -> u32 {
        let mut writes = self.writes.lock().expect("no panic");
        while *writes == 0 {
            writes = self.written.wait(writes).expect("no panic");
        }
        std::mem::take(&mut *writes)
    }
}

/// Turns as a loop does until so many were posted, and says what came, in its order.
fn turns(mailbox: &Mailbox<Vec<u32>>, event: &Event, count: usize) -> Vec<u32> {
    let mut got = Vec::new();
    while got.len() < count {
        let slept = mailbox.may_sleep();
        if slept {
            assert_eq!(event.wait(), 1, "one wake-up for each sleep");
        }
        if mailbox.awake(slept) {
            got.extend(mailbox.take());
        }
    }
    got
}

fn post(mailbox: &Mailbox<Vec<u32>>, event: &Event, value: u32) {
    mailbox.post(|posted| posted.push(value));
    mailbox.notify(|| event.wake());
}

#[test]
fn what_is_posted_to_a_loop_that_goes_to_sleep_wakes_it() {
    loom::model(|| {
        let shared = Arc::new((Mailbox::new(), Event::default()));
        let own = Arc::clone(&shared);
        let poster = thread::spawn(move || {
            post(&own.0, &own.1, 1);
            post(&own.0, &own.1, 2);
        });
        assert_eq!(turns(&shared.0, &shared.1, 2), [1, 2]);
        poster.join().expect("the poster");
    });
}

#[test]
fn what_two_threads_post_reaches_the_loop() {
    loom::model(|| {
        let shared = Arc::new((Mailbox::new(), Event::default()));
        let posters = [1, 10].map(|value| {
            let own = Arc::clone(&shared);
            thread::spawn(move || post(&own.0, &own.1, value))
        });
        let got = turns(&shared.0, &shared.1, 2);
        assert_eq!(got.iter().sum::<u32>(), 11);
        for poster in posters {
            poster.join().expect("a poster");
        }
    });
}

#[test]
fn what_is_posted_while_it_is_taken_out_is_looked_at_again() {
    loom::model(|| {
        let shared = Arc::new((InMailbox::default(), Mailbox::new(), Event::default()));
        let work = Arc::new(AtomicUsize::new(0));
        let posters = [(); 2].map(|()| {
            let (own, work) = (Arc::clone(&shared), Arc::clone(&work));
            thread::spawn(move || {
                work.fetch_add(1, Ordering::Relaxed);
                if own.0.enter() {
                    post(&own.1, &own.2, 1);
                }
            })
        });
        // Both have counted when the loop looks for the last time, however often it does.
        let mut seen = 0;
        while seen < 2 {
            let slept = shared.1.may_sleep();
            if slept {
                shared.2.wait();
            }
            if shared.1.awake(slept) && !shared.1.take().is_empty() {
                shared.0.leave();
                seen = work.load(Ordering::Relaxed);
            }
        }
        for poster in posters {
            poster.join().expect("a poster");
        }
    });
}
