//! What is in flight when its owner goes away: storms of cancelled operations, dropped streams,
//! dropped loops and half-closed connections, on every driver. Memory that came back too early
//! would show as bytes that nobody sent; descriptors that did not come back, as a count.

mod common;

use std::cell::Cell;
use std::future::Future;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{
    Buffer, DriverKind, EventLoop, ListenOptions, Listener, SendQueue, Stream, sleep, spawn,
    splice, timeout, yield_now,
};

use common::{any_port, pattern};

const KINDS: [DriverKind; 2] = [DriverKind::Epoll, DriverKind::IoUring];

/// Tests of this file count the descriptors of the process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn event_loop(kind: DriverKind) -> EventLoop {
    let builder = EventLoop::builder().driver(kind).buffer_bytes(4096);
    builder.build().expect("a loop")
}

fn pair() -> (UnixStream, UnixStream) {
    let (one, other) = UnixStream::pair().expect("socketpair");
    one.set_nonblocking(true).expect("non-blocking");
    other.set_nonblocking(true).expect("non-blocking");
    (one, other)
}

fn stream(socket: UnixStream) -> Stream {
    Stream::from_fd(socket.into()).expect("register")
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Polls once and drops; the output, if there was one at once.
async fn touch<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Runs a test on each driver, and looks for descriptors that it left behind.
fn on_each(test: impl Fn(DriverKind)) {
    let _one = ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    for kind in KINDS {
        test(kind);
        let before = descriptors();
        test(kind);
        assert!(descriptors() <= before, "{kind:?} leaves descriptors open");
    }
}

#[test]
fn a_storm_of_cancelled_receives_loses_no_byte() {
    on_each(|kind| {
        event_loop(kind).block_on(async {
            let (one, other) = pair();
            let (mut writer, reader) = (one, stream(other));
            let sent = pattern(60_000);
            let mut received = Vec::new();
            let mut keep = |taken: Option<std::io::Result<Buffer>>| {
                if let Some(taken) = taken {
                    received.extend_from_slice(&taken.expect("receive"));
                }
            };
            for (round, part) in sent.chunks(37).enumerate() {
                keep(touch(reader.recv()).await);
                writer.write_all(part).expect("write");
                keep(touch(reader.recv()).await);
                if round % 3 != 0 {
                    yield_now().await;
                }
                touch(reader.readable()).await;
                if round % 7 == 0 {
                    let patience = Duration::from_millis(1);
                    keep(timeout(patience, reader.recv()).await.ok());
                }
            }
            drop(writer);
            loop {
                let more = reader.recv().await.expect("receive");
                if more.is_empty() {
                    break;
                }
                received.extend_from_slice(&more);
            }
            assert!(
                received == sent,
                "{} bytes of {}",
                received.len(),
                sent.len()
            );
        });
    });
}

#[test]
fn a_storm_of_cancelled_sends_keeps_its_memory_until_the_kernel_is_done() {
    on_each(|kind| {
        event_loop(kind).block_on(async {
            let (one, other) = pair();
            let (mut peer, sender) = (one, stream(other));
            let mut bytes = vec![0; 1 << 16];
            let mut total = 0;
            for round in 0..300 {
                // Memory of its own, which the allocator gives to the next round at once.
                let chunk = Bytes::from(vec![b'a' + (round % 3) as u8; 200_000]);
                touch(sender.send(SendQueue::from(chunk))).await;
                if round % 2 == 0 {
                    yield_now().await;
                }
                if round % 5 == 0 {
                    while let Ok(n) = peer.read(&mut bytes) {
                        assert!(bytes[..n].iter().all(|byte| (b'a'..=b'c').contains(byte)));
                        total += n;
                    }
                }
            }
            assert!(total > 0);
        });
    });
}

#[test]
fn streams_dropped_with_both_sides_in_flight_close_at_once() {
    on_each(|kind| {
        let mut event_loop = event_loop(kind);
        for _ in 0..50 {
            let (mut peer, sender) = event_loop.block_on(async {
                let (one, other) = pair();
                let sender = Rc::new(stream(other));
                let (receiving, sending) = (Rc::clone(&sender), Rc::clone(&sender));
                let receiver = spawn(async move { receiving.recv().await.map(drop) });
                let chunk = Bytes::from(vec![b'x'; 4 << 20]);
                let sent = spawn(async move { sending.send(SendQueue::from(chunk)).await.0 });
                sleep(Duration::from_micros(100)).await;
                receiver.cancel();
                sent.cancel();
                yield_now().await;
                yield_now().await;
                (one, sender)
            });
            // Outside of any turn: nothing else is going to tell the kernel.
            drop(sender);
            peer.set_nonblocking(false).expect("blocking");
            peer.set_read_timeout(Some(Duration::from_secs(60)))
                .expect("timeout");
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("the end comes");
            assert!(all.iter().all(|byte| *byte == b'x'));
        }
    });
}

#[test]
fn a_loop_dropped_with_everything_in_flight_gives_it_all_back() {
    on_each(|kind| {
        let mut event_loop = event_loop(kind);
        let mut peers = Vec::new();
        let dropped = Rc::new(Cell::new(0));
        event_loop.block_on(async {
            for round in 0..60 {
                let (one, other) = pair();
                let sender = Rc::new(stream(other));
                let (receiving, sending) = (Rc::clone(&sender), sender);
                let guard = Count(Rc::clone(&dropped));
                spawn(async move {
                    let _guard = guard;
                    receiving.recv().await.map(drop)
                });
                if round % 2 == 0 {
                    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
                    spawn(async move { sending.send(SendQueue::from(chunk)).await.0 });
                }
                peers.push(one);
            }
            let any = any_port();
            let fd = Listener::bind(&any, &ListenOptions::default()).expect("bind");
            let listener = Listener::from_fd(fd).expect("register");
            let address = listener.local_address().expect("name");
            spawn(async move {
                loop {
                    drop(listener.accept().await);
                }
            });
            let _connected = Stream::connect(&address).await.expect("connect");
            sleep(Duration::from_millis(1)).await;
        });
        drop(event_loop);
        assert_eq!(dropped.get(), 60);
        for mut peer in peers {
            peer.set_nonblocking(false).expect("blocking");
            peer.set_read_timeout(Some(Duration::from_secs(60)))
                .expect("timeout");
            let mut all = Vec::new();
            peer.read_to_end(&mut all).expect("the end comes");
            assert!(all.iter().all(|byte| *byte == b'x'));
        }
    });
}

struct Count(Rc<Cell<u32>>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_stream_that_outlives_its_loop_is_closed_with_it_or_after() {
    on_each(|kind| {
        let mut event_loop = event_loop(kind);
        let (mut peer, outlives) = event_loop.block_on(async {
            let (one, other) = pair();
            let reader = stream(other);
            touch(reader.recv()).await;
            yield_now().await;
            (one, reader)
        });
        drop(event_loop);
        drop(outlives);
        peer.set_nonblocking(false).expect("blocking");
        peer.set_read_timeout(Some(Duration::from_secs(60)))
            .expect("timeout");
        assert_eq!(peer.read(&mut [0]).expect("the end"), 0);
    });
}

#[test]
fn half_closed_with_operations_in_flight() {
    on_each(|kind| {
        event_loop(kind).block_on(async {
            for _ in 0..20 {
                let (one, other) = pair();
                let (one, other) = (Rc::new(stream(one)), stream(other));
                let receiving = Rc::clone(&one);
                let answer = spawn(async move { receiving.recv().await.map(|got| got.to_vec()) });
                yield_now().await;
                one.shutdown_write().expect("shutdown");
                let end = timeout(Duration::from_secs(60), other.recv()).await;
                assert!(end.expect("in time").expect("receive").is_empty());
                let queue = SendQueue::from(&b"still there"[..]);
                other.send(queue).await.0.expect("send");
                drop(other);
                let answer = answer.await.expect("the receiver").expect("receive");
                assert_eq!(answer, b"still there");
            }
        });
    });
}

#[test]
fn a_listener_that_is_given_up_hands_over_what_it_accepted() {
    on_each(|kind| {
        event_loop(kind).block_on(async {
            let any = any_port();
            let fd = Listener::bind(&any, &ListenOptions::default()).expect("bind");
            let listener = Listener::from_fd(fd).expect("register");
            let address = listener.local_address().expect("name").as_inet();
            let address = address.expect("TCP");
            touch(listener.accept()).await;
            let connect = || std::net::TcpStream::connect(address).expect("connect");
            let mut clients = Vec::new();
            let mut accepted = Vec::new();
            for _ in 0..30 {
                clients.extend([connect(), connect(), connect()]);
                let mut accept = pin!(listener.accept());
                let first = timeout(Duration::from_millis(1), accept.as_mut()).await;
                accepted.extend(first.ok().map(|first| first.expect("accept").0));
            }
            // What the kernel has accepted by now is either here, or still in the backlog.
            while let Some(more) = listener.take_accepted() {
                accepted.push(more.expect("accept").0);
            }
            while accepted.len() < clients.len() {
                let next = timeout(Duration::from_secs(60), listener.accept()).await;
                accepted.push(next.expect("none is lost").expect("accept").0);
            }
            assert!(listener.take_accepted().is_none());
        });
    });
}

#[test]
fn splicing_what_was_received_ahead_keeps_the_order() {
    on_each(|kind| {
        event_loop(kind).block_on(async {
            let (source, from) = pair();
            let (to, sink) = pair();
            let (mut source, from, to) = (source, stream(from), stream(to));
            let sink = stream(sink);
            let sent: Vec<u8> = (0..300_000).map(|at| (at % 253) as u8).collect();
            let mut parts = sent.chunks(1009);
            // A request is received and its successors come in while nobody asks.
            let mut all = Vec::new();
            source
                .write_all(parts.next().expect("a part"))
                .expect("write");
            all.extend_from_slice(&from.recv().await.expect("receive"));
            touch(from.recv()).await;
            for part in parts.by_ref().take(5) {
                source.write_all(part).expect("write");
                yield_now().await;
            }
            let splicing = spawn(async move { splice(&from, &to).await });
            let receiving = spawn(async move {
                let mut all = Vec::new();
                loop {
                    let more = sink.recv().await.expect("receive");
                    if more.is_empty() {
                        return all;
                    }
                    all.extend_from_slice(&more);
                }
            });
            for part in parts {
                source.write_all(part).expect("write");
                yield_now().await;
                yield_now().await;
            }
            drop(source);
            let moved = splicing.await.expect("the task").expect("splice");
            all.extend(receiving.await.expect("the receiver"));
            assert!(all == sent, "{} bytes of {}", all.len(), sent.len());
            assert_eq!(moved, sent.len() as u64 - 1009);
        });
    });
}

#[test]
fn a_peer_that_floods_a_task_that_does_not_ask_is_held_back() {
    on_each(|kind| {
        event_loop(kind).block_on(async {
            let (one, other) = pair();
            let (mut flood, reader) = (one, stream(other));
            touch(reader.recv()).await;
            let bytes = vec![b'f'; 64 * 1024];
            let mut sent = 0;
            for _ in 0..200 {
                if let Ok(n) = flood.write(&bytes) {
                    sent += n;
                }
                yield_now().await;
            }
            // A socket's buffers, and the few that the loop keeps.
            assert!(sent < 2 << 20, "{kind:?} took {sent} bytes");
            drop(flood);
            let mut received = 0;
            loop {
                let more = reader.recv().await.expect("receive");
                if more.is_empty() {
                    break;
                }
                received += more.len();
            }
            assert_eq!(received, sent);
        });
    });
}
