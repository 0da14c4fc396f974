//! What a thread pool promises to the loops that use it.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use revolve_reactor::{
    EventLoop, JobError, PoolHandle, Shutdown, SubmitError, ThreadPool, current, sleep, spawn,
    timeout, yield_now,
};

const LONG: Duration = Duration::from_secs(120);

/// A pool whose only thread is held until the sender is dropped or sends.
fn held_pool(queued_max: usize) -> (ThreadPool, mpsc::Sender<()>) {
    let pool = ThreadPool::builder()
        .threads(1)
        .queued_max(queued_max)
        .build()
        .expect("a pool");
    let (release, gate) = mpsc::channel::<()>();
    pool.submit_blocking(move || {
        let _ = gate.recv();
    })
    .expect("room");
    wait_for(&pool, |handle| handle.stats().running == 1);
    (pool, release)
}

fn wait_for(pool: &PoolHandle, come: impl Fn(&PoolHandle) -> bool) {
    let begun = std::time::Instant::now();
    while !come(pool) {
        assert!(begun.elapsed() < LONG, "{pool:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn results_come_back_to_the_loop_that_asked() {
    let pool = ThreadPool::new(3).expect("a pool");
    let threads: Vec<_> = (0..3u64)
        .map(|number| {
            let handle = pool.handle();
            thread::spawn(move || {
                let mut event_loop = EventLoop::new().expect("a loop");
                event_loop.block_on(timeout(LONG, async move {
                    let own = current();
                    let sum = Rc::new(Cell::new(0));
                    let tasks: Vec<_> = (0..100u64)
                        .map(|index| {
                            let (handle, own, sum) = (handle.clone(), own.clone(), Rc::clone(&sum));
                            spawn(async move {
                                let asked = thread::current().id();
                                let (value, ran_on) = handle
                                    .run(move || (index * number, thread::current().id()))
                                    .await
                                    .expect("a result");
                                assert_ne!(ran_on, asked);
                                assert_eq!(thread::current().id(), asked);
                                assert!(own.is_in_loop_thread());
                                sum.set(sum.get() + value);
                            })
                        })
                        .collect();
                    for task in tasks {
                        task.await.expect("the task");
                    }
                    assert_eq!(sum.get(), 4950 * number);
                }))
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a loop's thread").expect("in time");
    }
    pool.shutdown(Shutdown::Drain);
}

#[test]
fn a_full_queue_refuses_or_lets_wait_and_keeps_the_order() {
    let (pool, release) = held_pool(2);
    let order = Arc::new(Mutex::new(Vec::new()));
    let job = |number: usize| {
        let order = Arc::clone(&order);
        move || order.lock().expect("lock").push(number)
    };
    pool.try_submit(job(0)).expect("room for one");
    pool.try_submit(job(1)).expect("room for two");
    let refused = pool.try_submit(job(99)).expect_err("full");
    assert!(matches!(refused, SubmitError::Full(_)), "{refused:?}");
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let waiting: Vec<_> = (2..5)
            .map(|number| {
                let (handle, job) = (pool.handle(), job(number));
                spawn(async move { handle.submit(job).await })
            })
            .collect();
        sleep(Duration::from_millis(10)).await;
        assert!(waiting.iter().all(|task| !task.is_finished()));
        let stats = pool.stats();
        assert_eq!((stats.queued, stats.waiting, stats.running), (2, 3, 1));
        drop(release);
        for task in waiting {
            assert_eq!(timeout(LONG, task).await.expect("in time"), Ok(Ok(())));
        }
    });
    wait_for(&pool, |handle| handle.stats().done == 6);
    assert_eq!(*order.lock().expect("lock"), [0, 1, 2, 3, 4]);
    refused.into_job()();
    assert_eq!(order.lock().expect("lock").last(), Some(&99));
}

#[test]
fn a_job_that_panics_costs_itself_alone() {
    let pool = ThreadPool::new(1).expect("a pool");
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        for _ in 0..3 {
            let failed: Result<(), JobError> = pool.run(|| panic!("on purpose")).await;
            assert_eq!(failed, Err(JobError::Panicked("on purpose".to_owned())));
        }
        pool.submit(|| panic!("on purpose")).await.expect("room");
        assert_eq!(pool.run(|| 7).await, Ok(7));
    });
    wait_for(&pool, |handle| handle.stats().done == 1);
    assert_eq!(pool.stats().panicked, 4);
}

#[test]
fn what_a_panic_carries_may_panic_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("when dropped");
        }
    }
    let pool = ThreadPool::new(1).expect("a pool");
    pool.submit_blocking(|| std::panic::panic_any(Bomb))
        .expect("room");
    let alive = EventLoop::new().expect("a loop").block_on(pool.run(|| 1));
    assert_eq!(alive, Ok(1));
}

#[test]
fn draining_does_what_waits_and_discarding_does_not() {
    for (how, expected) in [(Shutdown::Drain, 5), (Shutdown::Discard, 0)] {
        let (pool, release) = held_pool(10);
        let ran = Arc::new(AtomicUsize::new(0));
        for _ in 0..5 {
            let ran = Arc::clone(&ran);
            pool.submit_blocking(move || {
                ran.fetch_add(1, Ordering::SeqCst);
            })
            .expect("room");
        }
        let handle = pool.handle();
        let ending = thread::spawn(move || pool.shutdown(how));
        wait_for(&handle, |handle| {
            matches!(handle.try_submit(|| ()), Err(SubmitError::Closed(_)))
        });
        drop(release);
        ending.join().expect("the end");
        assert_eq!(ran.load(Ordering::SeqCst), expected, "{how:?}");
        assert_eq!(handle.submit_blocking(|| ()), Err(JobError::Discarded));
    }
}

#[test]
fn who_waits_for_a_discarded_job_hears_of_it() {
    let (pool, release) = held_pool(1);
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let handle = pool.handle();
        let queued = spawn(async move { handle.run(|| 1).await });
        let handle = pool.handle();
        let waits = spawn(async move { handle.run(|| 2).await });
        while pool.stats().waiting < 1 {
            yield_now().await;
        }
        let ending = thread::spawn(move || pool.shutdown(Shutdown::Discard));
        assert_eq!(queued.await, Ok(Err(JobError::Discarded)));
        assert_eq!(waits.await, Ok(Err(JobError::Discarded)));
        drop(release);
        ending.join().expect("the end");
    });
}

#[test]
fn a_job_that_nobody_waits_for_any_more_is_not_run() {
    let (pool, release) = held_pool(4);
    let ran = Arc::new(AtomicUsize::new(0));
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let (handle, counter) = (pool.handle(), Arc::clone(&ran));
        let task = spawn(async move {
            handle
                .run(move || counter.fetch_add(1, Ordering::SeqCst))
                .await
        });
        while pool.stats().queued < 1 {
            yield_now().await;
        }
        task.cancel();
        yield_now().await;
        drop(release);
        assert_eq!(pool.run(|| 3).await, Ok(3));
    });
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[test]
fn the_longest_job_is_remembered() {
    let pool = ThreadPool::new(1).expect("a pool");
    let nap = Duration::from_millis(20);
    let done = EventLoop::new()
        .expect("a loop")
        .block_on(pool.run(move || thread::sleep(nap)));
    assert_eq!(done, Ok(()));
    wait_for(&pool, |handle| handle.stats().done == 1);
    assert!(pool.stats().longest >= nap);
}
