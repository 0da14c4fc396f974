//! Streams put together: spliced, written by many, connected again and again.

mod common;

use std::io::ErrorKind;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use revolve_reactor::{
    Backoff, EventLoop, JoinHandle, ListenOptions, Listener, Outbox, OutboxError, SendQueue,
    Spliced, Stream, TcpClient, sleep, spawn, splice, splice_both, yield_now,
};

use common::{any_port, listen, pattern, run_on, tcp_pair};

fn run<T>(test: impl Future<Output = T>) -> T {
    run_on(EventLoop::builder(), test)
}

fn receive_all(stream: Rc<Stream>, nap_ms: u64) -> JoinHandle<Vec<u8>> {
    spawn(async move {
        let mut all = Vec::new();
        loop {
            let received = stream.recv().await.expect("receive");
            if received.is_empty() {
                return all;
            }
            all.extend_from_slice(&received);
            if nap_ms > 0 && all.len() % 7 == 0 {
                sleep(Duration::from_millis(nap_ms)).await;
            }
        }
    })
}

fn send_all(stream: Rc<Stream>, bytes: Vec<u8>) -> JoinHandle<()> {
    spawn(async move {
        stream
            .send(Bytes::from(bytes).into())
            .await
            .0
            .expect("send");
        stream.shutdown_write().expect("half-close");
    })
}

#[test]
fn a_splice_moves_everything_both_ways_and_closes_each_half() {
    run(async {
        let ((client, front), (back, server)) = (tcp_pair().await, tcp_pair().await);
        let (client, server) = (Rc::new(client), Rc::new(server));
        let (up, down) = (pattern(3_000_000), pattern(5_000_001));
        let sent = [
            send_all(Rc::clone(&client), up.clone()),
            send_all(Rc::clone(&server), down.clone()),
        ];
        let at_server = receive_all(server, 1);
        let at_client = receive_all(client, 0);
        let spliced = splice_both(&front, &back).await.expect("splice");
        assert_eq!(
            spliced,
            Spliced {
                forth: 3_000_000,
                back: 5_000_001
            }
        );
        for sent in sent {
            sent.await.expect("sent");
        }
        assert!(at_server.await.expect("received") == up);
        assert!(at_client.await.expect("received") == down);
    });
}

#[test]
fn a_splice_takes_along_what_a_given_up_receive_has_left() {
    run(async {
        let ((client, front), (back, server)) = (tcp_pair().await, tcp_pair().await);
        client.send((&b"first "[..]).into()).await.0.expect("send");
        {
            let mut recv = front.recv();
            let pending = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(std::pin::Pin::new(&mut recv).poll(cx).is_pending())
            });
            assert!(pending.await);
            // Received by the loop, and not taken by the task.
            for _ in 0..5 {
                yield_now().await;
            }
        }
        client.send((&b"second"[..]).into()).await.0.expect("send");
        client.shutdown_write().expect("half-close");
        assert_eq!(splice(&front, &back).await.expect("splice"), 12);
        let all = receive_all(Rc::new(server), 0).await.expect("received");
        assert_eq!(all, b"first second");
    });
}

#[test]
fn buffers_are_as_large_as_what_comes() {
    run(async {
        let (sender, receiver) = tcp_pair().await;
        let received = async |bytes: usize| {
            let sent = bytes::Bytes::from(pattern(bytes));
            sender.send_all(sent).await.expect("send");
            let mut capacities = Vec::new();
            let mut left = bytes;
            while left > 0 {
                let buffer = receiver.recv().await.expect("receive");
                left -= buffer.len();
                capacities.push(buffer.capacity());
            }
            capacities
        };
        const SMALL: usize = 2048;
        const LARGE: usize = 16 * 1024 + 512;
        assert_eq!(received(100).await, [SMALL]);
        assert_eq!(received(SMALL + 100).await, [SMALL, SMALL], "the rest fits");
        assert_eq!(received(SMALL + 100).await, [LARGE]);
        assert_eq!(received(LARGE).await, [LARGE]);
        // What is little moves into a small buffer; after two of them, none other is taken.
        assert_eq!(received(100).await, [SMALL]);
        assert_eq!(received(SMALL + 100).await, [LARGE]);
        assert_eq!(received(100).await, [SMALL]);
        assert_eq!(received(100).await, [SMALL]);
        assert_eq!(received(SMALL + 100).await, [SMALL, SMALL]);
    });
}

#[test]
fn a_slow_reader_slows_the_sender_down() {
    run(async {
        let ((client, front), (back, server)) = (tcp_pair().await, tcp_pair().await);
        for stream in [&client, &front, &back, &server] {
            stream.set_send_buffer(16 * 1024).expect("option");
            stream.set_recv_buffer(16 * 1024).expect("option");
        }
        let client = Rc::new(client);
        let bytes = pattern(4_000_000);
        let sent = send_all(client, bytes.clone());
        let spliced = spawn(async move { splice(&front, &back).await });
        sleep(Duration::from_millis(50)).await;
        assert!(!sent.is_finished(), "4 MB went into sockets of some KB");
        let received = receive_all(Rc::new(server), 0).await.expect("received");
        assert!(received == bytes);
        assert_eq!(spliced.await.expect("task").expect("splice"), 4_000_000);
    });
}

#[test]
fn a_splice_to_a_peer_that_is_gone_is_an_error() {
    run(async {
        let ((client, front), (back, server)) = (tcp_pair().await, tcp_pair().await);
        server.set_linger_reset().expect("option");
        drop(server);
        sleep(Duration::from_millis(5)).await;
        client
            .send(SendQueue::from(Bytes::from(pattern(100_000))))
            .await
            .0
            .expect("send");
        let error = splice(&front, &back).await.expect_err("nobody is there");
        assert!(
            matches!(
                error.kind(),
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ),
            "{error:?}"
        );
    });
}

fn small_buffers(one: &Stream, other: &Stream) {
    one.set_send_buffer(8 * 1024).expect("option");
    other.set_recv_buffer(8 * 1024).expect("option");
}

#[test]
fn an_outbox_is_bounded_and_tells_when_there_is_room() {
    run(async {
        let (one, other) = tcp_pair().await;
        small_buffers(&one, &other);
        let outbox = Outbox::new(one, 300_000);
        let chunk = Bytes::from(pattern(10_000));
        let mut pushed = 0;
        let refused = loop {
            match outbox.push(chunk.clone()) {
                Ok(()) => pushed += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(&refused, OutboxError::Full(chunk) if chunk.len() == 10_000),
            "{refused:?}"
        );
        assert_eq!(
            (pushed, outbox.bytes(), outbox.bytes_most()),
            (30, 300_000, 300_000)
        );
        let received = receive_all(Rc::new(other), 0);
        outbox.writable_below(100_000).await.expect("sent");
        assert!(
            outbox.bytes() <= 100_000 && outbox.bytes() > 0,
            "{outbox:?}"
        );
        outbox.push(chunk.clone()).expect("room again");
        outbox.writable_below(0).await.expect("sent");
        assert_eq!(outbox.bytes(), 0);
        outbox.stream().shutdown_write().expect("half-close");
        let expected: Vec<u8> = (0..31).flat_map(|_| chunk.to_vec()).collect();
        assert!(received.await.expect("received") == expected);
    });
}

#[test]
fn what_a_turn_pushes_goes_out_together() {
    run(async {
        let (one, other) = tcp_pair().await;
        let outbox = Outbox::new(one, 1000);
        for word in ["a", "b", "c"] {
            outbox.push(word.as_bytes()).expect("room");
        }
        assert_eq!(&other.recv().await.expect("receive")[..], b"abc");
        outbox.push(&b"again"[..]).expect("room");
        assert_eq!(&other.recv().await.expect("receive")[..], b"again");
    });
}

#[test]
fn an_outbox_whose_peer_is_gone_or_stands_still_fails() {
    run(async {
        let (one, other) = tcp_pair().await;
        small_buffers(&one, &other);
        let outbox = Outbox::new(one, 10_000_000).stall_max(Duration::from_millis(30));
        outbox.push(Bytes::from(pattern(5_000_000))).expect("room");
        let waiting = outbox.clone();
        let waiting = spawn(async move { waiting.writable_below(0).await });
        let stalled = waiting.await.expect("task").expect_err("nobody reads");
        assert_eq!(stalled.kind(), ErrorKind::TimedOut);
        let refused = outbox.push(&b"x"[..]).expect_err("it has failed");
        assert!(
            matches!(refused, OutboxError::Failed(ErrorKind::TimedOut)),
            "{refused:?}"
        );
        assert_eq!(outbox.bytes(), 0, "it holds on to what is never sent");
        drop(other);
    });
}

#[test]
fn an_aborted_outbox_closes_the_connection_when_dropped() {
    run(async {
        let (one, other) = tcp_pair().await;
        small_buffers(&one, &other);
        let outbox = Outbox::new(one, 10_000_000);
        outbox.push(Bytes::from(pattern(5_000_000))).expect("room");
        for _ in 0..5 {
            yield_now().await;
        }
        outbox.abort();
        outbox.abort();
        assert!(outbox.push(&b"x"[..]).is_err());
        drop(outbox);
        let received = receive_all(Rc::new(other), 0).await.expect("received");
        assert!(!received.is_empty() && received.len() < 5_000_000);
    });
}

#[test]
fn a_client_tries_its_addresses_in_order() {
    run(async {
        let (_, gone) = listen(&any_port());
        let (_listener, there) = listen(&any_port());
        let client = TcpClient::new(vec![gone.clone(), there.clone()]);
        let stream = client.connect().await.expect("the second answers");
        assert_eq!(stream.peer_address().expect("name"), there);
        let refused = TcpClient::new(vec![gone.clone()]).connect().await;
        let refused = refused.expect_err("nobody is there");
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(
            refused.to_string().starts_with(&gone.to_string()),
            "{refused}"
        );
    });
}

#[test]
fn a_client_tries_again_until_the_server_is_there() {
    run(async {
        let (_, gone) = listen(&any_port());
        let quick = Backoff::new(Duration::from_millis(5), Duration::from_millis(10));
        let client = TcpClient::new(vec![gone.clone()])
            .backoff(quick)
            .attempts_max(4);
        let begun = Instant::now();
        client.connect().await.expect_err("nobody is there");
        // 5, 10 and 10 ms, and half of each at least.
        assert!(
            begun.elapsed() >= Duration::from_millis(12),
            "{:?}",
            begun.elapsed()
        );
        let waiting = spawn(async move { client.attempts_max(0).connect().await });
        sleep(Duration::from_millis(40)).await;
        assert!(!waiting.is_finished());
        let (_listener, _) = listen(&gone);
        waiting.await.expect("task").expect("it is there now");
    });
}

#[test]
fn a_client_that_cannot_connect_says_why() {
    run(async {
        let none = TcpClient::new(Vec::new()).attempts_max(0).connect().await;
        assert_eq!(
            none.expect_err("no address").kind(),
            ErrorKind::InvalidInput
        );
        let zero = TcpClient::new(vec![any_port()])
            .timeout(Duration::ZERO)
            .connect()
            .await;
        assert_eq!(zero.expect_err("no time").kind(), ErrorKind::InvalidInput);
        // A Unix listener whose backlog is full answers at once; over TCP it is silent.
        let options = ListenOptions {
            backlog: 1,
            ..ListenOptions::default()
        };
        let full = Listener::bind(&any_port(), &options).expect("bind");
        let full = Listener::from_fd(full).expect("register");
        let client = TcpClient::new(vec![full.local_address().expect("name")])
            .timeout(Duration::from_millis(20));
        let mut held = Vec::new();
        let late = loop {
            match client.connect().await {
                Ok(stream) => held.push(stream),
                Err(error) => break error,
            }
            assert!(held.len() < 100, "the backlog has no end");
        };
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    });
}
