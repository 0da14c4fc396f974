//! Operations that are given up at any moment.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{Faults, SendQueue, Stream, sleep, spawn, timeout, yield_now};

use super::{Dice, run, seeds};

/// Clock jumps make time run out where it otherwise would not.
const FAULTS: Faults = Faults {
    clock_jump: 100,
    ..Faults::HARMLESS
};

/// Begins a receive, lets turns pass, and drops it without looking at what became of it. Gives what
/// it brought at once, out of what one before it had left.
async fn give_up_unseen(stream: &Stream, turns: u64) -> Vec<u8> {
    let mut receive = pin!(stream.recv());
    let at_once = poll_fn(|cx| Poll::Ready(receive.as_mut().poll(cx))).await;
    if let Poll::Ready(result) = at_once {
        return result.expect("receive").to_vec();
    }
    for _ in 0..turns {
        yield_now().await;
    }
    Vec::new()
}

#[test]
fn cancelled_receives_lose_no_byte() {
    let mut cancelled = 0;
    for seed in seeds() {
        cancelled += run(seed, FAULTS, async move {
            let (one, other) = Stream::pair().expect("a pair");
            let mut dice = Dice::new(seed);
            let sent: Vec<u8> = (0..5).flat_map(|_| dice.bytes()).collect();
            let bytes = Bytes::from(sent.clone());
            spawn(async move {
                for start in (0..bytes.len()).step_by(100) {
                    let part = bytes.slice(start..bytes.len().min(start + 100));
                    one.send(SendQueue::from(part)).await.0.expect("send");
                    sleep(Duration::from_millis(dice.below(3))).await;
                }
            });
            let (mut dice, mut received, mut cancelled) = (Dice::new(!seed), Vec::new(), 0u64);
            loop {
                if dice.below(2) == 0 {
                    received.extend(give_up_unseen(&other, dice.below(4)).await);
                }
                let bytes_max = 1 + dice.below(600) as usize;
                let receive = other.recv().max(bytes_max);
                match timeout(Duration::from_millis(dice.below(3)), receive).await {
                    Ok(result) => {
                        let buffer = result.expect("receive");
                        assert!(buffer.len() <= bytes_max);
                        if buffer.is_empty() {
                            break;
                        }
                        received.extend_from_slice(&buffer);
                    }
                    Err(_) => cancelled += 1,
                }
            }
            assert_eq!(received, sent);
            cancelled
        });
    }
    assert!(seeds().len() < 100 || cancelled > 0);
}

#[test]
fn cancelled_sends_leave_a_beginning_of_what_was_sent() {
    let (mut cancelled, mut whole) = (0, 0);
    for seed in seeds() {
        run(seed, FAULTS, async {
            let (one, other) = Stream::pair().expect("a pair");
            let mut dice = Dice::new(seed);
            let sent = Bytes::from((0..8).flat_map(|_| dice.bytes()).collect::<Vec<_>>());
            let sending = sent.clone();
            let sender = spawn(async move {
                let send = one.send(SendQueue::from(sending));
                let allowed = Duration::from_millis(dice.below(3));
                timeout(allowed, send).await.is_ok()
            });
            let mut received = Vec::new();
            loop {
                let buffer = other.recv().await.expect("receive");
                if buffer.is_empty() {
                    break;
                }
                received.extend_from_slice(&buffer);
            }
            assert_eq!(received, sent[..received.len()]);
            if sender.await.expect("the sender") {
                assert_eq!(received.len(), sent.len());
                whole += 1;
            } else {
                cancelled += 1;
            }
        });
    }
    assert!(cancelled + whole < 100 || (cancelled > 0 && whole > 0));
}
