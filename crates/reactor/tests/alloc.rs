//! What the steady state allocates: nothing. And what an idle connection owns.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use revolve_reactor::{DriverKind, EventLoop, SendQueue, Stream, now, spawn, yield_now};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static LIVE_BYTES: Cell<i64> = const { Cell::new(0) };
}

/// Counts what its thread asks for, and hands it on.
struct Counting;

fn count(allocations: u64, bytes: i64) {
    ALLOCATIONS.with(|counter| counter.set(counter.get() + allocations));
    LIVE_BYTES.with(|counter| counter.set(counter.get() + bytes));
}

// SAFETY: every call is handed on to the system's allocator as it came; the counters are cells
// of the thread without a destructor, and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const IDLE_MAX: Duration = Duration::from_secs(60);

async fn echo(stream: Stream) {
    while let Ok(received) = stream.recv().deadline(now() + IDLE_MAX).await {
        if received.is_empty() {
            return;
        }
        let sent = stream
            .send(SendQueue::from(received))
            .stall_max(IDLE_MAX)
            .await;
        if sent.0.is_err() {
            return;
        }
    }
}

#[test]
fn an_echo_allocates_nothing_in_the_steady_state() {
    for kind in [DriverKind::Epoll, DriverKind::IoUring] {
        echo_allocates_nothing(kind);
    }
}

fn echo_allocates_nothing(kind: DriverKind) {
    let mut event_loop = EventLoop::builder().driver(kind).build().expect("a loop");
    event_loop.block_on(async {
        let clients: Vec<Stream> = (0..16)
            .map(|_| {
                let (client, server) = Stream::pair().expect("a pair");
                spawn(echo(server));
                client
            })
            .collect();
        let exchange = async || {
            for client in &clients {
                client
                    .send(SendQueue::from(&b"sixteen of these"[..]))
                    .await
                    .0
                    .expect("send");
            }
            for client in &clients {
                let received = client
                    .recv()
                    .deadline(now() + IDLE_MAX)
                    .await
                    .expect("receive");
                assert_eq!(received.len(), 16);
            }
        };
        for _ in 0..10 {
            exchange().await;
        }
        let before = ALLOCATIONS.with(Cell::get);
        for _ in 0..1000 {
            exchange().await;
        }
        assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0, "{kind:?}");
    });
}

#[test]
fn an_idle_connection_owns_at_most_512_bytes() {
    for kind in [DriverKind::Epoll, DriverKind::IoUring] {
        idle_connection_owns_little(kind);
    }
}

fn idle_connection_owns_little(kind: DriverKind) {
    const CONNECTIONS: usize = 400;
    let mut event_loop = EventLoop::builder().driver(kind).build().expect("a loop");
    event_loop.block_on(async {
        // The first ones pay for what the loop keeps, buffers and tables.
        let (client, server) = Stream::pair().expect("a pair");
        spawn(echo(server));
        let hello = SendQueue::from(&b"hello"[..]);
        client.send(hello).await.0.expect("send");
        client.recv().await.expect("receive");
        let mut clients = Vec::new();
        let mut grow = async || {
            for _ in 0..CONNECTIONS / 2 {
                let (client, server) = std::os::unix::net::UnixStream::pair().expect("socketpair");
                server.set_nonblocking(true).expect("non-blocking");
                let server = Stream::from_fd(server.into()).expect("register");
                spawn(echo(server));
                clients.push(client);
                yield_now().await;
            }
        };
        let before = LIVE_BYTES.with(Cell::get);
        grow().await;
        grow().await;
        yield_now().await;
        let bytes = LIVE_BYTES.with(Cell::get) - before - 4 * CONNECTIONS as i64;
        let each = bytes / CONNECTIONS as i64;
        println!("{kind:?}: {each} bytes for an idle connection");
        assert!(each > 0 && each <= 512, "{kind:?}: {each} bytes");
    });
}
