//! What the budgets promise to the other connections.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{SendQueue, sleep, spawn, turn};

use super::{BUFFER_BYTES, On, pattern, recv_all, run, tcp_pair, unix_pair};

/// Bytes that wait to be received before the test begins.
const FLOOD: usize = 100 * BUFFER_BYTES;

pub(crate) fn a_flood_is_received_one_buffer_a_turn(on: On) {
    run(on, async {
        let (one, other) = unix_pair().await;
        one.send(SendQueue::from(Bytes::from(pattern(FLOOD))))
            .await
            .0
            .expect("send");
        let mut last_turn = turn();
        for _ in 0..100 {
            assert_eq!(other.recv().await.expect("receive").len(), BUFFER_BYTES);
            assert_eq!(turn(), last_turn + 1);
            last_turn = turn();
        }
    });
}

pub(crate) fn a_flood_does_not_starve_the_others(on: On) {
    run(on, async {
        let (flood, flooded) = unix_pair().await;
        flood
            .send(SendQueue::from(Bytes::from(pattern(FLOOD))))
            .await
            .0
            .expect("send");
        let received = Rc::new(Cell::new(0));
        let counting = Rc::clone(&received);
        spawn(async move {
            while let Ok(buffer) = flooded.recv().await {
                counting.set(counting.get() + buffer.len());
            }
        });
        let (one, other) = tcp_pair().await;
        for _ in 0..10 {
            let before = received.get();
            one.send(SendQueue::from(&b"ping"[..]))
                .await
                .0
                .expect("send");
            assert_eq!(other.recv().await.expect("receive").len(), 4);
            let meanwhile = received.get() - before;
            assert!(
                meanwhile <= 3 * BUFFER_BYTES,
                "{meanwhile} bytes went before"
            );
        }
        assert!(
            received.get() < FLOOD,
            "the flood ended too soon to prove anything"
        );
    });
}

pub(crate) fn a_large_send_is_spread_over_turns(on: On) {
    let builder = on.builder().send_budget_bytes(1000);
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async {
        let (one, other) = unix_pair().await;
        let sent = Bytes::from(pattern(64 * 1000));
        let chunks = sent.clone();
        let sending = spawn(async move {
            let mut queue = SendQueue::new();
            // More than one gathered call takes, each call more than the budget.
            for index in 0..640 {
                queue.push(chunks.slice(index * 100..(index + 1) * 100));
            }
            let begun = turn();
            one.send(queue).await.0.expect("send");
            turn() - begun
        });
        assert_eq!(recv_all(&other).await, sent);
        assert!(sending.await.expect("the sender") >= 9);
    });
}

pub(crate) fn an_idle_loop_sleeps(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        let waiting = spawn(async move { other.recv().await.map(|buffer| buffer.len()) });
        one.send(SendQueue::from(&b"x"[..])).await.0.expect("send");
        assert!(matches!(waiting.await, Ok(Ok(1))));
        let begun = turn();
        sleep(Duration::from_millis(100)).await;
        assert!(turn() - begun < 10, "{} turns", turn() - begun);
    });
}
