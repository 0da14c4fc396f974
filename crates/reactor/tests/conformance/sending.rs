//! What a send promises.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::signal::SIGPIPE;
use revolve_reactor::{
    Buffer, Chunk, Listener, SendQueue, Stream, UdpSocket, now, sleep, spawn, splice, timeout, turn,
};

use super::{
    On, PATIENCE, pattern, poll_once, recv_all, recv_exactly, run, tcp_pair, turns, unix_pair,
};

pub(crate) fn partial_writes_resume_where_they_stopped(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let sent = Bytes::from(pattern(on.much()));
            let chunk = sent.clone();
            let sending = spawn(async move {
                let mut queue = SendQueue::new();
                queue.push(chunk.slice(..100));
                queue.push(chunk.slice(100..on.much() / 2));
                queue.push(chunk.slice(on.much() / 2..));
                let (result, queue) = sender.send(queue).await;
                result.expect("send");
                assert!(queue.is_empty() && queue.chunks() == 0);
            });
            assert!(recv_all(&receiver).await == sent);
            sending.await.expect("the sender");
        }
    });
}

pub(crate) fn many_chunks_are_gathered(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let sent = Bytes::from(pattern(7 * 1000));
            for chunks in [2, 8, 9, 64, 65, 1000] {
                let mut queue = SendQueue::new();
                for index in 0..chunks {
                    queue.push(sent.slice(index * 7..(index + 1) * 7));
                }
                assert_eq!((queue.chunks(), queue.bytes()), (chunks, 7 * chunks as u64));
                sender.send(queue).await.0.expect("send");
                let received = recv_exactly(&receiver, 7 * chunks).await;
                assert_eq!(received, sent[..7 * chunks]);
            }
        }
    });
}

/// A file with this content. Nobody changes it, so that all seeds may send the same one.
fn file(bytes: &[u8]) -> Arc<File> {
    static FILES: Mutex<BTreeMap<Vec<u8>, Arc<File>>> = Mutex::new(BTreeMap::new());
    let mut files = FILES.lock().expect("no panic");
    if let Some(file) = files.get(bytes) {
        return Arc::clone(file);
    }
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).expect("write");
    let file = Arc::new(file);
    files.insert(bytes.to_vec(), Arc::clone(&file));
    file
}

pub(crate) fn every_kind_of_chunk_arrives_in_order(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let sending = spawn(async move {
                let mut buffer = Buffer::take();
                buffer.fill(b"xx of the pool, ");
                buffer.advance(3);
                let mut queue = SendQueue::new();
                queue.push(&b"static, "[..]);
                queue.push(buffer);
                queue.push(Chunk::File {
                    file: file(b"0123 of a file, 89"),
                    offset: 5,
                    len: 11,
                });
                queue.push(Bytes::from_static(b"shared, "));
                queue.push(Chunk::File {
                    file: file(b"and a file"),
                    offset: 0,
                    len: 10,
                });
                sender.send(queue).await.0.expect("send");
            });
            let text = b"static, of the pool, of a file, shared, and a file";
            assert_eq!(recv_all(&receiver).await, text);
            sending.await.expect("the sender");
        }
    });
}

pub(crate) fn file_ranges_are_sent_in_portions(on: On) {
    run(on, async {
        let (sender, receiver) = tcp_pair().await;
        let (offset, len) = (on.many(123, 12_345), on.many(50_000, 1_000_000));
        let content = pattern(offset + len + 100);
        let range = content[offset..offset + len].to_vec();
        let sending = spawn(async move {
            let begun = turn();
            let mut queue = SendQueue::new();
            queue.file_bytes_per_turn_max(len as u64 / 100);
            queue.push(&b"head"[..]);
            let (offset, len) = (offset as u64, len as u64);
            queue.push(Chunk::File {
                file: file(&content),
                offset,
                len,
            });
            sender.send(queue).await.0.expect("send");
            turn() - begun
        });
        let received = recv_all(&receiver).await;
        assert!(received[..4] == *b"head" && received[4..] == range);
        assert!(sending.await.expect("the sender") >= 99);
    });
}

pub(crate) fn a_file_that_shrank_is_an_error(on: On) {
    run(on, async {
        let (sender, receiver) = tcp_pair().await;
        let chunk = Chunk::File {
            file: file(b"short"),
            offset: 0,
            len: 100,
        };
        let (result, queue) = sender.send(SendQueue::from(chunk)).await;
        assert_eq!(
            result.expect_err("an error").kind(),
            ErrorKind::UnexpectedEof
        );
        assert_eq!(queue.bytes(), 95);
        drop(sender);
        assert_eq!(recv_all(&receiver).await, b"short");
    });
}

pub(crate) fn sending_to_a_closed_peer_is_an_error(on: On) {
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            drop(receiver);
            turns(2).await;
            let mut error = None;
            for _ in 0..100 {
                match sender.send(SendQueue::from(&b"anybody?"[..])).await.0 {
                    Ok(()) => turns(1).await,
                    Err(failed) => {
                        error = Some(failed.kind());
                        break;
                    }
                }
            }
            let expected = [
                Some(ErrorKind::BrokenPipe),
                Some(ErrorKind::ConnectionReset),
            ];
            assert!(expected.contains(&error), "{error:?}");
        }
    });
}

pub(crate) fn a_stalled_send_times_out(on: On) {
    run(on, async {
        for (sender, _receiver) in [tcp_pair().await, unix_pair().await] {
            let begun = now();
            let queue = SendQueue::from(Bytes::from(pattern(on.much())));
            let (result, queue) = sender
                .send(queue)
                .stall_max(Duration::from_millis(30))
                .await;
            assert_eq!(result.expect_err("a stall").kind(), ErrorKind::TimedOut);
            assert!(now() - begun >= Duration::from_millis(30));
            assert!(!queue.is_empty() && queue.bytes() < on.much() as u64);
        }
    });
}

/// Receives a little at a time, with pauses.
async fn recv_slowly(stream: &Stream, total: usize, pause: Duration) {
    let mut received = 0;
    while received < total {
        let portion_end = (received + total / 10).min(total);
        while received < portion_end {
            received += stream.recv().await.expect("receive").len();
        }
        sleep(pause).await;
    }
}

pub(crate) fn a_slow_send_that_moves_does_not_time_out(on: On) {
    run(on, async {
        let (sender, receiver) = unix_pair().await;
        let much = on.much().min(4 << 20);
        let receiving = spawn(async move {
            recv_slowly(&receiver, much, Duration::from_millis(250)).await;
        });
        let begun = now();
        let queue = SendQueue::from(Bytes::from(pattern(much)));
        sender
            .send(queue)
            .stall_max(Duration::from_secs(2))
            .await
            .0
            .expect("no stall");
        receiving.await.expect("the receiver");
        assert!(
            now() - begun >= Duration::from_millis(2400),
            "too fast to prove anything"
        );
    });
}

pub(crate) fn an_empty_queue_is_sent_at_once(on: On) {
    run(on, async {
        let (sender, _receiver) = tcp_pair().await;
        let sent = poll_once(&mut sender.send(SendQueue::new())).await;
        assert!(sent.is_some_and(|(result, _)| result.is_ok()));
    });
}

pub(crate) fn the_queue_comes_back_for_use_again(on: On) {
    run(on, async {
        let (sender, receiver) = tcp_pair().await;
        let mut queue = SendQueue::new();
        for round in 0..50u8 {
            queue.push(Bytes::copy_from_slice(&[round; 10]));
            queue.push(&b"!"[..]);
            let (result, again) = sender.send(queue).await;
            result.expect("send");
            queue = again;
            let received = recv_exactly(&receiver, 11).await;
            assert_eq!(
                (received.len(), received[9], received[10]),
                (11, round, b'!')
            );
        }
    });
}

pub(crate) fn a_chunk_is_on_its_way_before_its_future_is_polled(on: On) {
    run(on, async {
        let bytes = pattern(on.much());
        let in_a_file = Chunk::File {
            file: file(&bytes),
            offset: 0,
            len: bytes.len() as u64,
        };
        for chunk in [Chunk::from(Bytes::from(bytes.clone())), in_a_file] {
            let (sender, receiver) = unix_pair().await;
            let sending = sender.send_all(chunk);
            assert!(recv_exactly(&receiver, bytes.len()).await == bytes);
            sending.await.expect("send");
            sender.send_all(&b"more"[..]).await.expect("send");
            assert_eq!(recv_exactly(&receiver, 4).await, b"more");
        }
    });
}

pub(crate) fn a_chunk_that_is_given_up_arrives_up_to_somewhere(on: On) {
    run(on, async {
        let sent = pattern(on.much());
        let (sender, receiver) = unix_pair().await;
        let mut sending = sender.send_all(Bytes::from(sent.clone()));
        assert!(poll_once(&mut sending).await.is_none());
        turns(2).await;
        let refused = sender.send_all(&b"another"[..]).await.unwrap_err();
        assert!(refused.to_string().contains("pending"), "{refused}");
        drop(sending);
        drop(sender);
        let received = recv_all(&receiver).await;
        assert!(received.len() < sent.len() && sent.starts_with(&received));
    });
}

/// A program that leaves `SIGPIPE` at its default ends with it.
pub(crate) fn a_peer_that_is_gone_raises_no_signal(on: On) {
    let raised = Arc::new(AtomicBool::new(false));
    let heard = signal_hook::flag::register(SIGPIPE, Arc::clone(&raised)).expect("a handler");
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(&pattern(100_000)).expect("write");
    let file = Arc::new(file);
    run(on, async {
        for (sender, receiver) in [tcp_pair().await, unix_pair().await] {
            let _ = receiver.set_linger_reset();
            drop(receiver);
            turns(2).await;
            let mut failed = 0;
            while failed < 3 {
                let file = Arc::clone(&file);
                let queue = SendQueue::from(Chunk::File {
                    file,
                    offset: 0,
                    len: 100_000,
                });
                failed += u32::from(sender.send(queue).await.0.is_err());
            }
            let (client, front) = tcp_pair().await;
            client
                .send_all(Bytes::from(pattern(1000)))
                .await
                .expect("send");
            splice(&front, &sender).await.expect_err("nobody is there");
        }
    });
    signal_hook::low_level::unregister(heard);
    assert!(!raised.load(Ordering::SeqCst));
}

/// Sockets of std block, and one that did would stop the loop when it is full, or empty.
pub(crate) fn a_blocking_socket_does_not_stop_the_loop(on: On) {
    if on.is_in_memory() {
        return;
    }
    let (ended, ends) = mpsc::channel();
    let tried = thread::spawn(move || {
        run(on, async {
            let (one, other) = UnixStream::pair().expect("a pair");
            let one = Stream::from_fd(one.into()).expect("register");
            let other = Stream::from_fd(other.into()).expect("register");
            let sent = pattern(on.much());
            let bytes = Bytes::from(sent.clone());
            let sending = spawn(async move {
                one.send_all(bytes.slice(..1000)).await.expect("send");
                one.send(SendQueue::from(bytes.slice(1000..))).await.0
            });
            assert!(recv_all(&other).await == sent);
            sending.await.expect("the sender").expect("send");

            let short = Duration::from_millis(5);
            let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
            let to = udp.local_addr().expect("name");
            let udp = UdpSocket::from_fd(udp.into()).expect("register");
            udp.send_to(b"!", &to.into()).await.expect("send");
            udp.recv_from().await.expect("receive");
            timeout(short, udp.recv_from()).await.expect_err("no more");

            let (unix, peer) = UnixDatagram::pair().expect("a pair");
            peer.send(b"!").expect("send");
            let unix = revolve_reactor::UnixDatagram::from_fd(unix.into()).expect("register");
            unix.recv_from().await.expect("receive");
            timeout(short, unix.recv_from()).await.expect_err("no more");

            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            let address = listener.local_addr().expect("name");
            let listener = Listener::from_fd(listener.into()).expect("register");
            listener.set_accept_budget(16);
            for _ in 0..5 {
                let _client = TcpStream::connect(address).expect("connect");
                listener.accept().await.expect("accept");
            }
            timeout(short, listener.accept())
                .await
                .expect_err("no more");
        });
        ended.send(()).expect("the test waits");
    });
    ends.recv_timeout(PATIENCE).expect("the loop stands still");
    tried.join().expect("the thread");
}
