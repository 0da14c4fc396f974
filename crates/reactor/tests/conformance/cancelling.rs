//! What dropping an operation promises.

use bytes::Bytes;
use revolve_reactor::{SendQueue, Stream, spawn};

use super::{On, pattern, poll_once, recv_all, recv_exactly, run, tcp_pair, turns, unix_pair};

async fn send(stream: &Stream, bytes: &'static [u8]) {
    stream.send(SendQueue::from(bytes)).await.0.expect("send");
}

pub(crate) fn a_cancelled_receive_loses_no_bytes(on: On) {
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            let mut receive = other.recv();
            assert!(poll_once(&mut receive).await.is_none());
            drop(receive);
            send(&one, b"kept").await;
            turns(3).await;
            assert_eq!(recv_exactly(&other, 4).await, b"kept");
        }
    });
}

pub(crate) fn a_receive_cancelled_after_it_completed_loses_no_bytes(on: On) {
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            let mut receive = other.recv();
            assert!(poll_once(&mut receive).await.is_none());
            send(&one, b"first ").await;
            turns(3).await;
            drop(receive);
            send(&one, b"second").await;
            other.readable().await.expect("readable");
            drop(one);
            assert_eq!(recv_all(&other).await, b"first second");
        }
    });
}

pub(crate) fn an_interrupted_receive_loses_no_bytes(on: On) {
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            // Nothing is pending: nothing happens.
            other.interrupt_recv();
            let other = std::rc::Rc::new(other);
            let receiver = std::rc::Rc::clone(&other);
            let receiving = spawn(async move { receiver.recv().await });
            turns(3).await;
            other.interrupt_recv();
            let received = receiving.await.expect("the task ends");
            let error = received.expect_err("nothing came");
            assert_eq!(error.kind(), std::io::ErrorKind::Interrupted);
            send(&one, b"kept").await;
            turns(3).await;
            assert_eq!(recv_exactly(&other, 4).await, b"kept");
        }
    });
}

pub(crate) fn a_stream_that_is_handed_over_keeps_its_bytes(on: On) {
    if on.is_in_memory() {
        // No other process could have it.
        return;
    }
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            let mut receive = other.recv();
            assert!(poll_once(&mut receive).await.is_none());
            // It is under way.
            turns(3).await;
            let early = other.hand_over(|_| panic!("a receive is pending"));
            assert_eq!(early.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            drop(receive);
            send(&one, b"kept").await;
            turns(3).await;
            let mut copy = None;
            let passed = other.hand_over(|fd| {
                copy = Some(fd.try_clone_to_owned()?);
                Ok(())
            });
            let taker = match passed {
                Ok(()) => {
                    drop(other);
                    Stream::from_fd(copy.expect("it was passed")).expect("a stream")
                }
                // What was received ahead is here.
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    assert!(copy.is_none());
                    other
                }
            };
            assert_eq!(recv_exactly(&taker, 4).await, b"kept");
            send(&taker, b"answer").await;
            drop(taker);
            assert_eq!(recv_all(&one).await, b"answer");
        }
    });
}

pub(crate) fn what_was_left_behind_is_given_out_within_the_limit(on: On) {
    run(on, async {
        let (one, other) = tcp_pair().await;
        let mut receive = other.recv();
        assert!(poll_once(&mut receive).await.is_none());
        send(&one, b"0123456789").await;
        turns(3).await;
        drop(receive);
        let mut all = Vec::new();
        while all.len() < 10 {
            let received = other.recv().max(4).await.expect("receive");
            assert!((1..=4).contains(&received.len()));
            all.extend_from_slice(&received);
        }
        assert_eq!(all, b"0123456789");
    });
}

pub(crate) fn a_cancelled_send_leaves_the_stream_usable(on: On) {
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            let much = Bytes::from(pattern(on.much()));
            let mut sending = one.send(SendQueue::from(much.clone()));
            assert!(poll_once(&mut sending).await.is_none());
            drop(sending);
            let receiving = spawn(async move { recv_all(&other).await });
            send(&one, b"the end").await;
            drop(one);
            let received = receiving.await.expect("the receiver");
            let (before, end) = received.split_at(received.len() - 7);
            assert_eq!(end, b"the end");
            assert!(before.len() < much.len() && *before == much[..before.len()]);
        }
    });
}

pub(crate) fn dropping_a_stream_closes_it(on: On) {
    run(on, async {
        for (one, other) in [tcp_pair().await, unix_pair().await] {
            let waiting = spawn(async move {
                let received = one.recv().await;
                unreachable!("cancelled before anything came: {received:?}");
            });
            turns(2).await;
            waiting.cancel();
            assert_eq!(recv_all(&other).await, b"");
        }
    });
}

pub(crate) fn late_events_do_not_reach_a_successor(on: On) {
    if on.is_in_memory() {
        return;
    }
    run(on, async {
        for _ in 0..50 {
            let (one, other) = unix_pair().await;
            send(&one, b"for the one that is gone").await;
            // A duplicate keeps the socket open, and its events coming, when the place of the
            // stream is taken again.
            let duplicate = other.as_fd().try_clone_to_owned().expect("dup");
            drop(other);
            let (successor, silent) = unix_pair().await;
            let mut receive = successor.recv();
            assert!(poll_once(&mut receive).await.is_none());
            turns(2).await;
            drop(one);
            turns(2).await;
            assert!(poll_once(&mut receive).await.is_none());
            assert!(!successor.is_peer_closed() && !silent.is_peer_closed());
            drop(duplicate);
        }
    });
}
