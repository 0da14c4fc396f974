//! Tasks, turns, hooks and signals.

use std::cell::{Cell, RefCell};
use std::future::pending;
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use revolve_reactor::signal::{SIGUSR1, SIGUSR2, Signals};
use revolve_reactor::{
    Elapsed, EventLoop, JoinError, SendQueue, Stream, current, now, on_task_panic, on_turn_end,
    sleep, sleep_until, spawn, spawn_urgent, timeout, turn, yield_now,
};

fn run<T>(test: impl Future<Output = T>) -> T {
    EventLoop::new().expect("a loop").block_on(test)
}

/// Notes when it is dropped.
struct Dropped(Rc<Cell<bool>>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

#[test]
fn a_thread_has_one_loop_at_a_time() {
    let first = EventLoop::new().expect("a loop");
    let error = EventLoop::new().expect_err("a second loop");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    drop(first);
    EventLoop::new().expect("a loop after the first");
}

#[test]
fn block_on_takes_futures_that_borrow() {
    let text = String::from("borrowed");
    assert_eq!(run(async { text.len() }), 8);
}

#[test]
fn a_handle_gives_the_result_and_can_be_dropped() {
    run(async {
        assert_eq!(spawn(async { 7 }).await, Ok(7));
        let done = Rc::new(Cell::new(false));
        let flag = Rc::clone(&done);
        drop(spawn(async move { flag.set(true) }));
        yield_now().await;
        assert!(done.get());
    });
}

#[test]
fn a_cancelled_task_is_dropped_without_running_on() {
    run(async {
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let task = spawn(async move {
            let _guard = guard;
            pending::<()>().await;
        });
        yield_now().await;
        assert!(!task.is_finished());
        task.cancel();
        assert!(task.is_finished());
        yield_now().await;
        assert!(dropped.get());
        assert_eq!(task.await, Err(JoinError::Cancelled));
    });
}

#[test]
fn a_panic_costs_its_task_alone_and_is_reported() {
    run(async {
        let messages = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&messages);
        on_task_panic(move |message| heard.borrow_mut().push(message.to_owned()));
        let other = spawn(async {
            yield_now().await;
            "alive"
        });
        let number = 3;
        assert_eq!(
            spawn(async move { panic!("number {number}") }).await,
            Err::<(), _>(JoinError::Panicked)
        );
        assert_eq!(other.await, Ok("alive"));
        assert_eq!(*messages.borrow(), ["number 3"]);
    });
}

#[test]
fn what_a_panic_carries_may_panic_when_it_is_dropped() {
    struct Bomb(u32);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Bomb(self.0 - 1));
            }
        }
    }
    run(async {
        let failed = spawn(async { std::panic::panic_any(Bomb(2)) }).await;
        assert_eq!(failed, Err::<(), _>(JoinError::Panicked));
        assert_eq!(spawn(async { "alive" }).await, Ok("alive"));
    });
}

#[test]
fn urgent_tasks_run_before_the_others_of_the_turn() {
    run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let at = now() + Duration::from_millis(10);
        let mut tasks = Vec::new();
        for number in 0..3 {
            let order = Rc::clone(&order);
            tasks.push(spawn(async move {
                sleep_until(at).await;
                order.borrow_mut().push(number);
            }));
        }
        let first = Rc::clone(&order);
        spawn_urgent(async move {
            sleep_until(at).await;
            first.borrow_mut().push(100);
        });
        for task in tasks {
            task.await.expect("a task");
        }
        assert_eq!(order.borrow()[0], 100, "{order:?}");
        assert_eq!(order.borrow().len(), 4);
    });
}

#[test]
fn time_stands_still_within_a_turn() {
    run(async {
        let (time, number) = (now(), turn());
        thread::sleep(Duration::from_millis(3));
        assert_eq!((now(), turn()), (time, number));
        yield_now().await;
        assert!(now() >= time + Duration::from_millis(3));
        assert_eq!(turn(), number + 1);
    });
}

#[test]
fn hooks_run_after_the_tasks_of_each_turn_until_they_are_dropped() {
    run(async {
        let log = Rc::new(RefCell::new(String::new()));
        let hook_log = Rc::clone(&log);
        let hook = on_turn_end(move || hook_log.borrow_mut().push('|'));
        for letter in ['a', 'b'] {
            let log = Rc::clone(&log);
            spawn(async move {
                log.borrow_mut().push(letter);
                yield_now().await;
                log.borrow_mut().push(letter);
            });
        }
        yield_now().await;
        yield_now().await;
        drop(hook);
        yield_now().await;
        // The future of block_on runs before the tasks of its turn.
        assert_eq!(*log.borrow(), "ab|ab|");
    });
}

#[test]
fn a_hook_may_add_and_remove_hooks() {
    run(async {
        let added = Rc::new(RefCell::new(None));
        let calls = Rc::new(Cell::new(0));
        let (place, count) = (Rc::clone(&added), Rc::clone(&calls));
        let hook = on_turn_end(move || {
            let count = Rc::clone(&count);
            let inner = on_turn_end(move || count.set(count.get() + 1));
            let former = place.borrow_mut().replace(inner);
            drop(former);
        });
        for _ in 0..5 {
            yield_now().await;
        }
        drop(hook);
        drop(added.borrow_mut().take());
        let called = calls.get();
        assert!(called > 0);
        yield_now().await;
        assert_eq!(calls.get(), called);
    });
}

#[test]
fn a_timeout_drops_what_took_too_long() {
    run(async {
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let slow = async move {
            let _guard = guard;
            sleep(Duration::from_secs(60)).await;
        };
        assert_eq!(timeout(Duration::from_millis(5), slow).await, Err(Elapsed));
        assert!(dropped.get());
        assert_eq!(timeout(Duration::from_secs(60), async { 1 }).await, Ok(1));
    });
}

#[test]
fn a_sleep_can_be_moved_both_ways() {
    run(async {
        let begun = now();
        let mut sleep = sleep(Duration::from_secs(60));
        assert_eq!(
            timeout(Duration::from_millis(5), &mut sleep).await,
            Err(Elapsed)
        );
        sleep.reset(now() + Duration::from_millis(20));
        sleep.await;
        assert!((20..5000).contains(&(now() - begun).as_millis()));
    });
}

#[test]
fn stop_ends_run_even_if_it_came_before() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.handle().stop();
    event_loop.run();
    let handle = event_loop.handle();
    let stopper = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        handle.stop();
    });
    event_loop.run();
    stopper.join().expect("the other thread");
}

#[test]
fn dropping_the_loop_drops_its_tasks_wherever_they_wait() {
    let drops: Vec<Rc<Cell<bool>>> = (0..4).map(|_| Rc::default()).collect();
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let guard = |index: usize| Dropped(Rc::clone(&drops[index]));
        let asleep = guard(0);
        let sleeper = spawn(async move {
            let _guard = asleep;
            sleep(Duration::from_secs(60)).await;
        });
        let joining = guard(1);
        spawn(async move {
            let _guard = joining;
            sleeper.await
        });
        let (one, _other) = std::os::unix::net::UnixStream::pair().expect("socketpair");
        one.set_nonblocking(true).expect("non-blocking");
        let stream = revolve_reactor::Stream::from_fd(one.into()).expect("register");
        let receiving = guard(2);
        spawn(async move {
            let _guard = receiving;
            // Pending: the other end lives as long as this task.
            let _other = _other;
            stream.recv().await.map(|_| ())
        });
        let never_run = guard(3);
        yield_now().await;
        spawn(async move { drop(never_run) });
    });
    drop(event_loop);
    assert!(drops.iter().all(|dropped| dropped.get()), "{drops:?}");
}

#[test]
fn waking_a_task_of_a_loop_that_is_gone_does_no_harm() {
    let (sender, receiver) = std::sync::mpsc::channel::<std::task::Waker>();
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        spawn(std::future::poll_fn::<(), _>(move |cx| {
            sender.send(cx.waker().clone()).expect("the test receives");
            std::task::Poll::Pending
        }));
        yield_now().await;
        yield_now().await;
    });
    let waker = receiver.recv().expect("the task ran");
    let handle = event_loop.handle();
    drop(event_loop);
    let ran = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&ran);
    thread::spawn(move || {
        waker.wake_by_ref();
        drop(waker);
        handle.run_in_loop(move || flag.store(true, Ordering::Relaxed));
        handle.stop();
    })
    .join()
    .expect("the other thread");
    assert!(!ran.load(Ordering::Relaxed));
}

#[test]
fn a_task_that_other_threads_wake_again_and_again_misses_nothing() {
    const WAKES: u32 = 20_000;
    run(async {
        let done = Arc::new(AtomicU32::new(0));
        let (sender, receiver) = std::sync::mpsc::channel::<std::task::Waker>();
        let counted = Arc::clone(&done);
        let task = spawn(std::future::poll_fn(move |cx| {
            if counted.load(Ordering::Relaxed) == 2 * WAKES {
                return std::task::Poll::Ready(());
            }
            let _ = sender.send(cx.waker().clone());
            std::task::Poll::Pending
        }));
        yield_now().await;
        yield_now().await;
        let waker = receiver.recv().expect("the task ran");
        let wakers = [waker.clone(), waker];
        let threads = wakers.map(|waker| {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                for _ in 0..WAKES {
                    done.fetch_add(1, Ordering::Relaxed);
                    waker.wake_by_ref();
                }
            })
        });
        let ended = timeout(Duration::from_secs(60), task).await;
        assert_eq!(ended, Ok(Ok(())), "the last wake-up was lost");
        for thread in threads {
            thread.join().expect("a waking thread");
        }
    });
}

#[test]
fn an_operation_wakes_whoever_polled_it_last() {
    /// Counts, and wakes nobody else.
    struct Counting(AtomicU32);
    impl std::task::Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run(async {
        let (one, other) = Stream::pair().expect("socketpair");
        let counting = Arc::new(Counting(AtomicU32::new(0)));
        let waker = std::task::Waker::from(Arc::clone(&counting));
        let own = spawn(async move {
            let mut receiving = std::pin::pin!(other.recv());
            // With the waker of the task, then with another, then with its own again.
            let polled = std::future::poll_fn(|cx| {
                let own = receiving.as_mut().poll(cx).is_pending();
                let mut foreign = std::task::Context::from_waker(&waker);
                let foreign = receiving.as_mut().poll(&mut foreign).is_pending();
                std::task::Poll::Ready((own, foreign))
            });
            assert_eq!(polled.await, (true, true));
            while counting.0.load(Ordering::Relaxed) == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            receiving.await.map(|received| received.to_vec())
        });
        yield_now().await;
        one.send_all(&b"x"[..]).await.expect("send");
        assert_eq!(own.await.expect("the task").expect("receive"), b"x");
    });
}

#[test]
fn a_task_may_cancel_itself_and_end_in_the_same_run() {
    run(async {
        let handle: Rc<RefCell<Option<revolve_reactor::JoinHandle<()>>>> = Rc::default();
        let place = Rc::clone(&handle);
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let task = spawn(async move {
            let _guard = guard;
            if let Some(own) = &*place.borrow() {
                own.cancel();
            }
            pending::<()>().await;
        });
        *handle.borrow_mut() = Some(task);
        yield_now().await;
        yield_now().await;
        assert!(dropped.get());
        let task = handle.borrow_mut().take().expect("the handle");
        assert_eq!(task.await, Err(JoinError::Cancelled));
        assert_eq!(spawn(async { 1 }).await, Ok(1), "its place is free");
    });
}

#[test]
fn a_destructor_that_panics_costs_its_task_alone() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    run(async {
        let messages = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&messages);
        on_task_panic(move |message| heard.borrow_mut().push(message.to_owned()));
        let bomb = Bomb;
        let task = spawn(async move {
            let _bomb = bomb;
            pending::<()>().await;
        });
        yield_now().await;
        task.cancel();
        yield_now().await;
        yield_now().await;
        assert_eq!(*messages.borrow(), ["in a destructor"]);
        assert_eq!(spawn(async { "alive" }).await, Ok("alive"));
    });
}

#[test]
fn signals_are_events_and_arrivals_are_merged() {
    run(async {
        let mut signals = Signals::new(&[SIGUSR1, SIGUSR2]).expect("caught");
        let raise = |signal| signal_hook::low_level::raise(signal).expect("raise");
        for _ in 0..3 {
            raise(SIGUSR2);
            assert_eq!(signals.next().await, SIGUSR2);
        }
        raise(SIGUSR2);
        raise(SIGUSR2);
        raise(SIGUSR1);
        assert_eq!(signals.next().await, SIGUSR1);
        assert_eq!(signals.next().await, SIGUSR2);
        assert!(
            timeout(Duration::from_millis(10), signals.next())
                .await
                .is_err()
        );
        let raiser = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            signal_hook::low_level::raise(SIGUSR1).expect("raise");
        });
        assert_eq!(signals.next().await, SIGUSR1);
        raiser.join().expect("the other thread");
        assert!(Signals::new(&[9]).is_err());
    });
}

#[test]
fn functions_posted_from_the_loop_run_in_the_loop() {
    run(async {
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        current().run_in_loop(move || flag.store(true, Ordering::Relaxed));
        assert!(!ran.load(Ordering::Relaxed));
        yield_now().await;
        assert!(ran.load(Ordering::Relaxed));
    });
}

/// Panics when it is woken.
struct WakesBadly;

impl std::task::Wake for WakesBadly {
    fn wake(self: Arc<Self>) {
        panic!("a bad waker");
    }
}

/// Bytes whose owner panics when they are dropped.
struct Sour;

impl AsRef<[u8]> for Sour {
    fn as_ref(&self) -> &[u8] {
        b"sour"
    }
}

impl Drop for Sour {
    fn drop(&mut self) {
        panic!("a bad owner");
    }
}

#[test]
fn a_panic_outside_of_any_task_costs_nobody_else() {
    run(async {
        let messages = Rc::new(RefCell::new(Vec::new()));
        let heard = Rc::clone(&messages);
        on_task_panic(move |message| heard.borrow_mut().push(message.to_owned()));
        let calls = Rc::new(Cell::new(0));
        let counted = Rc::clone(&calls);
        let hook = on_turn_end(move || {
            counted.set(counted.get() + 1);
            assert!(counted.get() != 1, "a bad hook");
        });
        let after = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&after);
        current().run_in_loop(|| panic!("a bad function"));
        current().run_in_loop(move || flag.store(true, Ordering::Relaxed));
        yield_now().await;
        yield_now().await;
        assert!(after.load(Ordering::Relaxed));
        assert!(calls.get() >= 2, "a hook that has panicked stays");
        drop(hook);

        // A timer, an operation and a yield that wake something bad beside something good.
        let bad = std::task::Waker::from(Arc::new(WakesBadly));
        let mut cx = std::task::Context::from_waker(&bad);
        let at = now() + Duration::from_millis(2);
        let mut timer = Box::pin(sleep_until(at));
        assert!(timer.as_mut().poll(&mut cx).is_pending());
        let (one, other) = Stream::pair().expect("a pair");
        let mut receive = Box::pin(other.recv());
        assert!(receive.as_mut().poll(&mut cx).is_pending());
        let mut gives_way = Box::pin(yield_now());
        assert!(gives_way.as_mut().poll(&mut cx).is_pending());
        let beside = spawn(sleep_until(at));
        one.send_all(&b"sweet"[..]).await.expect("send");
        sleep(Duration::from_millis(5)).await;
        beside.await.expect("the other sleeper");
        assert_eq!(&receive.await.expect("receive")[..], b"sweet");

        // More than a socket takes at once, so that the loop drops it and not the task.
        let mut queue = SendQueue::from(bytes::Bytes::from(vec![b's'; 8 << 20]));
        queue.push(bytes::Bytes::from_owner(Sour));
        let sending = spawn(async move { one.send(queue).await.0 });
        let mut received = 0;
        while received < (8 << 20) + 4 {
            received += other.recv().await.expect("receive").len();
        }
        sending.await.expect("the sender lives").expect("send");

        let mut messages = messages.take();
        messages.sort();
        messages.dedup();
        let expected = [
            "a hook at a turn's end: a bad hook",
            "a posted function: a bad function",
            "the owner of bytes that were sent: a bad owner",
            "a waker: a bad waker",
        ];
        for line in expected {
            assert!(
                messages.iter().any(|message| message == line),
                "{messages:?}"
            );
        }
    });
}

#[test]
fn a_hook_for_panics_that_panics_costs_nothing() {
    run(async {
        on_task_panic(|message| panic!("worse than {message}"));
        let failed = spawn(async { panic!("bad") }).await;
        assert_eq!(failed, Err::<(), _>(JoinError::Panicked));
        current().run_in_loop(|| panic!("a bad function"));
        yield_now().await;
        assert_eq!(spawn(async { "alive" }).await, Ok("alive"));
    });
}
