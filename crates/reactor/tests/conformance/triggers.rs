//! What a registration for readiness promises under each trigger.

use std::io::{ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use revolve_reactor::{
    DriverKind, Interest, Registration, Semaphore, Trigger, current, sleep, timeout, turn,
};

use super::{On, PATIENCE, exists, run};

const ALL: [Trigger; 4] = [
    Trigger::Edge,
    Trigger::Level,
    Trigger::OneShot,
    Trigger::Exclusive,
];

/// Long enough for a loop to have looked.
const SHORT: Duration = Duration::from_millis(10);

/// Whether a driver has a trigger.
fn has(on: On, trigger: Trigger) -> bool {
    let everywhere = [Trigger::Level, Trigger::OneShot].contains(&trigger);
    everywhere
        || match on.kind {
            DriverKind::Epoll | DriverKind::IoUring => true,
            DriverKind::Portable => trigger == Trigger::Edge,
            _ => false,
        }
}

fn register(fd: impl AsFd, interest: Interest, trigger: Trigger) -> Registration {
    let fd = fd.as_fd().try_clone_to_owned().expect("dup");
    Registration::new(fd, interest, trigger).expect("register")
}

fn pipe() -> (PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    rustix::io::ioctl_fionbio(&reader, true).expect("non-blocking");
    (reader, writer)
}

fn drain(reader: &mut impl Read) {
    let mut bytes = vec![0; 1 << 16];
    while reader.read(&mut bytes).is_ok_and(|read| read > 0) {}
}

/// Nothing is told.
async fn silent(registration: &Registration) {
    let told = timeout(SHORT, registration.event()).await;
    assert!(told.is_err(), "{told:?}");
}

/// Reading is told.
async fn readable(registration: &Registration) {
    let told = timeout(PATIENCE, registration.event()).await;
    let told = told.expect("it is told").expect("watched");
    assert!(told.readable && !told.writable, "{told:?}");
}

pub(crate) fn a_trigger_that_a_driver_has_not_is_refused(on: On) {
    run(on, async {
        for trigger in ALL {
            let (reader, _writer) = pipe();
            let made = Registration::new(reader.into(), Interest::Read, trigger);
            if has(on, trigger) {
                made.expect("register");
                continue;
            }
            let error = made.expect_err("not to be had");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(text.contains(&format!("no {trigger:?} trigger")), "{text}");
        }
        for trigger in ALL.into_iter().filter(|&trigger| has(on, trigger)) {
            let file: OwnedFd = tempfile::tempfile().expect("a file").into();
            Registration::new(file, Interest::Both, trigger).expect_err("always ready");
        }
    });
}

pub(crate) fn an_edge_is_told_once(on: On) {
    if !has(on, Trigger::Edge) {
        return;
    }
    run(on, async {
        let (mut reader, mut writer) = pipe();
        let edge = register(&reader, Interest::Read, Trigger::Edge);
        silent(&edge).await;
        writer.write_all(b"some").expect("write");
        readable(&edge).await;
        // It was not drained, and is not told again; what comes then is.
        silent(&edge).await;
        writer.write_all(b"more").expect("write");
        readable(&edge).await;
        silent(&edge).await;
        drain(&mut reader);
        silent(&edge).await;
        // What is told while nobody asks is kept, also for one who gives up first.
        writer.write_all(b"!").expect("write");
        sleep(SHORT).await;
        readable(&edge).await;
        silent(&edge).await;
        drop(writer);
        let told = edge.event().await.expect("watched");
        assert!(told.readable, "the end is there to be read: {told:?}");
    });
}

pub(crate) fn a_level_is_told_as_long_as_it_lasts(on: On) {
    run(on, async {
        for trigger in [Trigger::Level, Trigger::Exclusive] {
            if !has(on, trigger) {
                continue;
            }
            let (mut reader, mut writer) = pipe();
            let level = register(&reader, Interest::Read, trigger);
            silent(&level).await;
            writer.write_all(b"some").expect("write");
            let mut turns = Vec::new();
            for _ in 0..5 {
                readable(&level).await;
                turns.push(turn());
            }
            assert!(turns.is_sorted_by(|one, next| one < next), "{turns:?}");
            // It does not keep awake a loop where nobody asks, and is told to one who asks later.
            let begun = turn();
            sleep(Duration::from_millis(50)).await;
            assert!(turn() - begun < 10, "{} turns", turn() - begun);
            readable(&level).await;
            drain(&mut reader);
            silent(&level).await;
            writer.write_all(b"!").expect("write");
            readable(&level).await;
        }
    });
}

pub(crate) fn a_one_shot_is_told_when_it_is_armed(on: On) {
    run(on, async {
        let (mut reader, mut writer) = pipe();
        let one_shot = register(&reader, Interest::Read, Trigger::OneShot);
        writer.write_all(b"some").expect("write");
        readable(&one_shot).await;
        writer.write_all(b"more").expect("write");
        silent(&one_shot).await;
        one_shot.arm().expect("arm");
        readable(&one_shot).await;
        drain(&mut reader);
        writer.write_all(b"!").expect("write");
        silent(&one_shot).await;
        drain(&mut reader);
        one_shot.arm().expect("arm");
        silent(&one_shot).await;
        writer.write_all(b"!").expect("write");
        readable(&one_shot).await;

        // Both sides count as one.
        let (one, mut other) = UnixStream::pair().expect("a pair");
        let both = register(&one, Interest::Both, Trigger::OneShot);
        let told = both.event().await.expect("watched");
        assert!(told.writable && !told.readable, "{told:?}");
        other.write_all(b"!").expect("write");
        silent(&both).await;
        both.arm().expect("arm");
        let told = both.event().await.expect("watched");
        assert!(told.writable && told.readable, "{told:?}");
        silent(&both).await;
    });
}

pub(crate) fn a_write_side_is_told_when_there_is_room(on: On) {
    run(on, async {
        for trigger in ALL.into_iter().filter(|&trigger| has(on, trigger)) {
            let (mut one, mut other) = UnixStream::pair().expect("a pair");
            for end in [&one, &other] {
                end.set_nonblocking(true).expect("non-blocking");
            }
            let writable = register(&one, Interest::Write, trigger);
            let told = writable.event().await.expect("watched");
            assert!(told.writable && !told.readable, "{trigger:?}: {told:?}");
            while one.write(&[0; 4096]).is_ok() {}
            if trigger == Trigger::OneShot {
                writable.arm().expect("arm");
            }
            silent(&writable).await;
            drain(&mut other);
            let told = timeout(PATIENCE, writable.event()).await;
            let told = told.expect("it is told").expect("watched");
            assert!(told.writable && !told.readable, "{trigger:?}: {told:?}");
            let again = timeout(SHORT, writable.event()).await;
            let tells_again = matches!(trigger, Trigger::Level | Trigger::Exclusive);
            assert_eq!(again.is_ok(), tells_again, "{trigger:?}");
        }
    });
}

pub(crate) fn the_other_end_that_closes_is_told(on: On) {
    run(on, async {
        for trigger in ALL.into_iter().filter(|&trigger| has(on, trigger)) {
            let (one, other) = UnixStream::pair().expect("a pair");
            let watched = register(&one, Interest::Read, trigger);
            drop(other);
            let told = timeout(PATIENCE, watched.event()).await;
            let told = told.expect("it is told").expect("watched");
            assert!(told.readable, "{trigger:?}: {told:?}");
            let tells = !matches!(on.kind, DriverKind::Select);
            assert_eq!(told.closed, tells, "{trigger:?}: {told:?}");
        }
    });
}

pub(crate) fn a_second_who_asks_is_refused(on: On) {
    run(on, async {
        let (reader, _writer) = pipe();
        let level = register(&reader, Interest::Read, Trigger::Level);
        let mut first = level.event();
        assert!(super::poll_once(&mut first).await.is_none());
        level.event().await.expect_err("another one asks");
    });
}

/// Of several loops that sleep, one is woken or some are, and not all of them each time.
pub(crate) fn an_exclusive_wakes_one_of_several_loops(on: On) {
    const LOOPS: usize = 4;
    const ROUNDS: usize = 20;
    if !has(on, Trigger::Exclusive) || !exists(on) {
        return;
    }
    let (mut reader, mut writer) = pipe();
    let woken = Arc::new(AtomicUsize::new(0));
    let asleep = Arc::new(Barrier::new(LOOPS + 1));
    let end = Semaphore::new(0);
    let loops: Vec<_> = (0..LOOPS)
        .map(|_| {
            let fd = OwnedFd::from(reader.try_clone().expect("dup"));
            let (woken, asleep, end) = (Arc::clone(&woken), Arc::clone(&asleep), end.clone());
            thread::spawn(move || {
                run(on, async {
                    let watched = Registration::new(fd, Interest::Read, Trigger::Exclusive);
                    let watched = watched.expect("register");
                    let waiting = revolve_reactor::spawn(async move {
                        loop {
                            watched.event().await.expect("watched");
                            woken.fetch_add(1, Ordering::SeqCst);
                            // Whoever wrote takes it away again.
                            sleep(SHORT * 2).await;
                        }
                    });
                    let handle = current();
                    assert!(handle.is_in_loop_thread());
                    asleep.wait();
                    end.acquire().await.expect("open").forget();
                    waiting.cancel();
                });
            })
        })
        .collect();
    asleep.wait();
    let mut total = 0;
    for _ in 0..ROUNDS {
        thread::sleep(SHORT * 4);
        woken.store(0, Ordering::SeqCst);
        writer.write_all(b"!").expect("write");
        let begun = Instant::now();
        while woken.load(Ordering::SeqCst) == 0 {
            assert!(begun.elapsed() < PATIENCE, "nobody is woken");
            thread::yield_now();
        }
        thread::sleep(SHORT / 2);
        drain(&mut reader);
        total += woken.load(Ordering::SeqCst);
    }
    end.add_permits(LOOPS);
    for one in loops {
        one.join().expect("a loop");
    }
    assert!(total < ROUNDS * LOOPS, "{total} wake-ups");
}
