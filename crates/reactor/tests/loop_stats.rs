//! What a loop tells of itself, and its watchdog.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use revolve_reactor::{EventLoop, Stream, current, sleep, spawn, spawn_urgent, yield_now};

#[test]
fn turns_events_tasks_and_timers_are_counted() {
    let mut event_loop = EventLoop::new().expect("a loop");
    let handle = event_loop.handle();
    assert_eq!(handle.stats(), Default::default());
    event_loop.block_on(async {
        let before = current().stats();
        for _ in 0..10 {
            yield_now().await;
        }
        let after = current().stats();
        assert_eq!(after.turns - before.turns, 10);
        assert_eq!((after.tasks_run, after.timers_fired), (0, 0));

        for _ in 0..5 {
            spawn(async {}).await.expect("the task");
            spawn_urgent(async {}).await.expect("the task");
        }
        assert_eq!(current().stats().tasks_run, 10);

        sleep(Duration::from_millis(2)).await;
        sleep(Duration::from_millis(2)).await;
        assert_eq!(current().stats().timers_fired, 2);

        let (one, other) = Stream::pair().expect("a pair");
        for _ in 0..7 {
            one.send((&b"x"[..]).into()).await.0.expect("send");
            other.recv().await.expect("receive");
        }
        assert_eq!(current().stats().ready_events, 7);
        assert_eq!(current().stats().longest_turn, Duration::ZERO);
    });
    let asked = thread::spawn(move || handle.stats())
        .join()
        .expect("a thread");
    assert_eq!(asked.tasks_run, 10);
}

#[test]
fn the_longest_turn_is_measured_and_sleep_is_none_of_it() {
    let builder = EventLoop::builder().measure_turns(true);
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async {
        sleep(Duration::from_millis(1500)).await;
        let slept = current().stats().longest_turn;
        assert!(slept < Duration::from_millis(1200), "{slept:?}");
        thread::sleep(Duration::from_millis(300));
        yield_now().await;
        let worked = current().stats().longest_turn;
        assert!(worked >= Duration::from_millis(300), "{worked:?}");
    });
}

#[test]
fn the_watchdog_names_the_task_that_holds_the_loop_once_a_turn() {
    let (tell, told) = mpsc::channel();
    let watched = thread::Builder::new().name("watched".to_owned());
    let here = watched
        .spawn(move || {
            let builder = EventLoop::builder();
            let builder = builder.watchdog(Duration::from_secs(1), move |stall| {
                let _ = tell.send(stall.clone());
                panic!("a report that panics");
            });
            let mut event_loop = builder.build().expect("a loop");
            event_loop.block_on(async {
                // Sleeping and many short turns are no stall.
                sleep(Duration::from_millis(1200)).await;
                let line = line!() + 1;
                let task = spawn(async { thread::sleep(Duration::from_millis(2500)) });
                task.await.expect("the task");
                sleep(Duration::from_millis(1200)).await;
                thread::sleep(Duration::from_millis(2500));
                line
            })
        })
        .expect("a thread");
    let line = here.join().expect("the loop's thread");
    let stalls: Vec<_> = told.iter().collect();
    assert_eq!(stalls.len(), 2, "{stalls:?}");
    let origin = stalls[0].task.expect("it was a task");
    assert_eq!((origin.file(), origin.line()), (file!(), line));
    assert_eq!(stalls[0].thread, "watched");
    assert!(stalls[0].lasted >= Duration::from_secs(1));
    assert!(
        stalls[0].to_string().contains("loop_stats.rs"),
        "{}",
        stalls[0]
    );
    assert!(stalls[1].task.is_none() && stalls[1].turn > stalls[0].turn);
}

#[test]
fn a_watchdog_does_not_watch_what_is_outside_of_the_loop() {
    let (tell, told) = mpsc::channel();
    let builder = EventLoop::builder().watchdog(Duration::from_secs(1), move |stall| {
        let _ = tell.send(stall.clone());
    });
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(yield_now());
    thread::sleep(Duration::from_millis(2500));
    event_loop.block_on(yield_now());
    drop(event_loop);
    assert!(told.iter().next().is_none());
}
