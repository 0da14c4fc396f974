//! Timers and deadlines in simulated time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use revolve_reactor::{Faults, SendQueue, Stream, now, sleep, spawn};

use super::{Dice, run, seeds};

const JUMPY: Faults = Faults {
    clock_jump: 300,
    ..Faults::HARMLESS
};

#[test]
fn sleeps_are_never_short_and_hours_pass_at_once() {
    let begun = Instant::now();
    for seed in seeds() {
        run(seed, JUMPY, async move {
            let mut sleepers = Vec::new();
            for number in 0..1 + seed % 10 {
                sleepers.push(spawn(async move {
                    let mut dice = Dice::new(seed ^ number << 40);
                    for _ in 0..3 {
                        let (before, asked) =
                            (now(), Duration::from_micros(dice.below(7_200_000_000)));
                        sleep(asked).await;
                        assert!(now() - before >= asked);
                    }
                }));
            }
            for sleeper in sleepers {
                sleeper.await.expect("a sleeper");
            }
        });
    }
    // A seed sleeps for hours.
    assert!(
        begun.elapsed()
            < Duration::from_millis(100) * seeds().len() as u32 + Duration::from_secs(5)
    );
}

#[test]
fn deadlines_pass_when_their_time_has_come_and_not_before() {
    for seed in seeds() {
        run(seed, JUMPY, async move {
            let (one, other) = Stream::pair().expect("a pair");
            let mut dice = Dice::new(seed);
            spawn(async move {
                for _ in 0..10 {
                    sleep(Duration::from_millis(dice.below(200))).await;
                    one.send(SendQueue::from(Bytes::from_static(b"x")))
                        .await
                        .0
                        .expect("send");
                }
            });
            let (mut dice, mut received) = (Dice::new(!seed), 0);
            loop {
                let (before, allowed) = (now(), Duration::from_micros(1 + dice.below(200_000)));
                match other.recv().within(allowed).await {
                    Ok(buffer) if buffer.is_empty() => break,
                    Ok(buffer) => received += buffer.len(),
                    Err(error) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
                        assert!(now() - before >= allowed);
                    }
                }
            }
            assert_eq!(received, 10);
        });
    }
}
