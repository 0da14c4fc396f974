//! What a send promises.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{Buffer, Chunk, SendQueue, Stream, now, sleep, spawn, turn};

use super::{On, pattern, poll_once, recv_all, recv_exactly, run, tcp_pair, turns, unix_pair};

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
