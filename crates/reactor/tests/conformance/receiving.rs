//! What a receive promises.

use std::io::ErrorKind;
use std::time::Duration;

use revolve_reactor::{SendQueue, Stream, now, sleep, spawn};

use super::{
    BUFFER_BYTES, On, pattern, poll_once, recv_all, recv_exactly, run, tcp_pair, turns, unix_pair,
    yield_now,
};

async fn send(stream: &Stream, bytes: &[u8]) {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    stream.send(SendQueue::from(bytes)).await.0.expect("send");
}

pub(crate) fn fragments_come_together(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let sent = pattern(2000);
            let fragments = sent.clone();
            let sending = spawn(async move {
                let mut left = &fragments[..];
                let mut size = 1;
                while !left.is_empty() {
                    let (now, later) = left.split_at(size.min(left.len()));
                    send(&sender, now).await;
                    left = later;
                    size = size % 17 + 1;
                    yield_now().await;
                }
            });
            assert_eq!(recv_all(&receiver).await, sent);
            sending.await.expect("the sender");
        }
    });
}

pub(crate) fn what_was_sent_before_the_receive_needs_no_new_edge(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let sent = pattern(BUFFER_BYTES * 5 + 7);
            send(&sender, &sent).await;
            turns(3).await;
            let mut all = Vec::new();
            while all.len() < sent.len() {
                all.extend_from_slice(&receiver.recv().await.expect("receive"));
            }
            assert_eq!(all, sent);
            assert!(poll_once(&mut receiver.recv()).await.is_none());
            send(&sender, b"more").await;
            assert_eq!(recv_exactly(&receiver, 4).await, b"more");
        }
    });
}

/// More streams than a loop keeps buffers, with more than a buffer each.
pub(crate) fn streams_that_want_more_buffers_than_there_are_take_turns(on: On) {
    run(on, async {
        let mut tasks = Vec::new();
        for number in 0..on.many(10, 200) {
            let (sender, receiver) = unix_pair().await;
            let sent = pattern(BUFFER_BYTES * 3 + number);
            send(&sender, &sent).await;
            tasks.push(spawn(async move {
                assert_eq!(recv_exactly(&receiver, sent.len()).await, sent);
                recv_exactly(&receiver, 5).await
            }));
            tasks.push(spawn(async move {
                turns(5).await;
                send(&sender, b"again").await;
                sender.recv().await.expect("the end").to_vec()
            }));
        }
        for (at, task) in tasks.into_iter().enumerate() {
            let received = task.await.expect("a task");
            assert_eq!(&received[..], if at % 2 == 0 { &b"again"[..] } else { b"" });
        }
    });
}

pub(crate) fn bytes_that_fill_buffers_exactly_are_followed_by_the_end(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let sent = pattern(BUFFER_BYTES * 2);
            send(&sender, &sent).await;
            drop(sender);
            assert_eq!(recv_all(&receiver).await, sent);
        }
    });
}

pub(crate) fn the_end_behind_bytes_is_not_missed(on: On) {
    run(on, async {
        for turns_before in 0..3 {
            for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
                let receiving = spawn(async move {
                    turns(turns_before).await;
                    recv_all(&receiver).await
                });
                send(&sender, b"last words").await;
                drop(sender);
                assert_eq!(receiving.await.expect("the receiver"), b"last words");
            }
        }
    });
}

pub(crate) fn the_end_alone_is_an_empty_buffer_again_and_again(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            drop(sender);
            for _ in 0..3 {
                assert!(receiver.recv().await.expect("receive").is_empty());
            }
            assert!(receiver.is_peer_closed());
        }
    });
}

pub(crate) fn half_closed_streams_still_send(on: On) {
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            send(&one, b"question").await;
            one.shutdown_write().expect("shutdown");
            assert_eq!(recv_all(&other).await, b"question");
            assert!(other.is_peer_closed());
            assert!(!one.is_peer_closed());
            send(&other, b"answer").await;
            drop(other);
            assert_eq!(recv_all(&one).await, b"answer");
        }
    });
}

pub(crate) fn a_reset_is_an_error(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        one.set_linger_reset().expect("linger");
        let receiving = spawn(async move {
            let error = other.recv().await.expect_err("a reset");
            assert!(other.is_peer_closed());
            error.kind()
        });
        yield_now().await;
        drop(one);
        assert_eq!(receiving.await, Ok(ErrorKind::ConnectionReset));
    });
}

pub(crate) fn a_hang_up_is_the_end(on: On) {
    run(on, async {
        let (one, other) = unix_pair().await;
        let receiving = spawn(async move { recv_all(&other).await });
        yield_now().await;
        drop(one);
        assert_eq!(receiving.await, Ok(Vec::new()));
    });
}

pub(crate) fn at_most_so_many_bytes_are_received(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        send(&one, b"0123456789").await;
        let first = other.recv().max(4).await.expect("receive");
        assert!((1..=4).contains(&first.len()) && first[..] == b"0123"[..first.len()]);
        let rest = recv_exactly(&other, 10 - first.len()).await;
        assert_eq!(rest, b"0123456789"[first.len()..]);
        assert!(poll_once(&mut other.recv()).await.is_none());
    });
}

pub(crate) fn a_deadline_passes_and_the_stream_lives_on(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        for _ in 0..2 {
            let begun = now();
            let deadline = begun + Duration::from_millis(20);
            let error = other
                .recv()
                .deadline(deadline)
                .await
                .expect_err("a deadline");
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            assert!(now() >= deadline && now() - begun < Duration::from_secs(60));
        }
        let begun = now();
        let error = other
            .recv()
            .within(Duration::from_millis(20))
            .await
            .expect_err("a deadline");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!((20..5000).contains(&(now() - begun).as_millis()));
        send(&one, b"late").await;
        let deadline = now() + Duration::from_secs(60);
        let late = other.recv().deadline(deadline).await.expect("receive");
        assert!(!late.is_empty() && b"late".starts_with(&late));
    });
}

pub(crate) fn a_deadline_that_moves_does_not_pass(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        let begun = now();
        spawn(async move {
            for _ in 0..7 {
                sleep(Duration::from_millis(200)).await;
                send(&one, b"x").await;
            }
        });
        for _ in 0..7 {
            let received = other.recv().deadline(now() + Duration::from_secs(1)).await;
            assert_eq!(received.expect("no deadline passes").len(), 1);
        }
        assert!(now() - begun >= Duration::from_millis(1400));
        assert!(other.recv().await.expect("receive").is_empty());
    });
}

pub(crate) fn readable_takes_nothing(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        assert!(poll_once(&mut other.readable()).await.is_none());
        send(&one, b"here").await;
        other.readable().await.expect("readable");
        other.readable().await.expect("readable still");
        assert_eq!(recv_exactly(&other, 4).await, b"here");
        drop(one);
        other.readable().await.expect("the end is readable");
        assert!(other.recv().await.expect("receive").is_empty());
    });
}

pub(crate) fn a_second_receive_is_refused(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        let mut first = other.recv();
        assert!(poll_once(&mut first).await.is_none());
        let error = other.recv().await.expect_err("a second receive");
        assert!(error.to_string().contains("another receive"), "{error}");
        send(&one, b"for the first").await;
        let received = first.await.expect("receive");
        let rest = recv_exactly(&other, 13 - received.len()).await;
        assert_eq!([&received[..], &rest].concat(), b"for the first");
    });
}
