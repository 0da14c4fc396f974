//! What tasks of one loop need of each other, in any order of events.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::local::{Cancellation, Either, Notify, oneshot, queue, select};
use revolve_reactor::{Faults, Stream, sleep, spawn, timeout, yield_now};

use super::{Dice, run, seeds};

/// Some time passes, or a turn, or nothing.
async fn dawdle(dice: &mut Dice) {
    match dice.below(4) {
        0 => sleep(Duration::from_millis(dice.below(5))).await,
        1 => yield_now().await,
        _ => {}
    }
}

/// What was sent is received once and in order, and what a sender gave up at most once.
#[test]
fn a_queue_loses_nothing_and_keeps_the_order() {
    for seed in seeds() {
        run(seed, Faults::HARMLESS, async move {
            let (sender, mut receiver) = queue(1 + (seed % 4) as usize);
            let sent = Rc::new(RefCell::new(Vec::new()));
            for producer in 0..3 {
                let (sender, sent) = (sender.clone(), Rc::clone(&sent));
                spawn(async move {
                    let mut dice = Dice::new(seed ^ producer << 32);
                    for number in 0..20 {
                        let value = (producer, number);
                        let patience = Duration::from_millis(1 + dice.below(4));
                        let sending = timeout(patience, sender.send(value));
                        match sending.await {
                            Ok(Ok(())) => sent.borrow_mut().push((value, true)),
                            Ok(Err(_)) => return,
                            Err(_) => sent.borrow_mut().push((value, false)),
                        }
                        dawdle(&mut dice).await;
                    }
                });
            }
            drop(sender);
            let (mut dice, mut received) = (Dice::new(!seed), Vec::new());
            loop {
                // A receive that is given up loses nothing.
                let short = Duration::from_millis(dice.below(3));
                match timeout(short, receiver.recv()).await {
                    Ok(Some(value)) => received.push(value),
                    Ok(None) => break,
                    Err(_) => {}
                }
                dawdle(&mut dice).await;
            }
            for producer in 0..3 {
                let of = |&&(by, _): &&(u64, u64)| by == producer;
                let got: Vec<_> = received.iter().filter(of).collect();
                assert!(got.is_sorted_by(|one, next| one.1 < next.1), "{got:?}");
            }
            for (value, is_sure) in &*sent.borrow() {
                assert!(!is_sure || received.contains(value), "{value:?} is lost");
            }
        });
    }
}

/// Whoever waits for a count to be reached hears of it, though others give up on the way.
#[test]
fn a_notification_is_not_lost() {
    for seed in seeds() {
        run(seed, Faults::HARMLESS, async move {
            let (left, changed) = (Rc::new(Cell::new(30)), Rc::new(Notify::new()));
            let mut takers = Vec::new();
            for taker in 0..3 {
                let (left, changed) = (Rc::clone(&left), Rc::clone(&changed));
                takers.push(spawn(async move {
                    let mut dice = Dice::new(seed ^ taker << 40);
                    let mut taken = 0;
                    while taken < 10 {
                        let patience = Duration::from_millis(dice.below(3));
                        let never = sleep(Duration::from_secs(3600));
                        let notified = timeout(patience, changed.notified());
                        if let Either::First(Ok(())) = select(notified, never).await {
                            taken += 1;
                            left.set(left.get() - 1);
                        }
                    }
                }));
            }
            // As many as are asked for; what nobody waits for is kept, once.
            let mut dice = Dice::new(!seed);
            while left.get() > 0 {
                changed.notify_one();
                dawdle(&mut dice).await;
                yield_now().await;
            }
            for taker in takers {
                taker.await.expect("a taker");
            }
        });
    }
}

/// Tasks that are asked to end send their last word, and the peer hears it before the end.
#[test]
fn a_last_word_is_said() {
    for seed in seeds() {
        run(seed, Faults::HARMLESS, async move {
            let cancellation = Cancellation::new();
            let (mut peers, mut answers) = (Vec::new(), Vec::new());
            for _ in 0..3 {
                let (stream, peer) = Stream::pair().expect("a pair");
                let (answer, answered) = oneshot();
                let asked = cancellation.clone();
                spawn(async move {
                    let mut received = 0;
                    while let Ok(bytes) = asked.or(stream.recv()).await {
                        received += bytes.expect("receive").len();
                    }
                    stream.send_all(&b"bye"[..]).await.expect("send");
                    answer.send(received).expect("somebody asks");
                    // What was not received would reset the connection, and the last word with it.
                    stream.shutdown_write().expect("shut down");
                    while stream.recv().await.is_ok_and(|rest| !rest.is_empty()) {}
                });
                peers.push(peer);
                answers.push(answered);
            }
            let mut dice = Dice::new(seed);
            for peer in &peers {
                peer.send_all(&b"some"[..]).await.expect("send");
                dawdle(&mut dice).await;
            }
            cancellation.cancel();
            for (peer, answered) in peers.iter().zip(answers) {
                assert!(answered.await.expect("it answers") <= 4);
                let mut heard = Vec::new();
                loop {
                    let bytes = peer.recv().await.expect("receive");
                    if bytes.is_empty() {
                        break;
                    }
                    heard.extend_from_slice(&bytes);
                }
                assert_eq!(heard, b"bye");
            }
        });
    }
}
