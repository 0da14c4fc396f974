//! Connections that come and go on every driver, in every way in which they end: nothing is left of
//! them. `REVOLVE_SOAK_ROUNDS` says how often (5; a round is 32 connections).
#![cfg(target_os = "linux")]

mod common;

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{
    Address, DriverKind, EventLoop, ListenOptions, Listener, SendQueue, Stream, sleep, spawn,
    splice, timeout, yield_now,
};

use common::any_port;

const KINDS: [DriverKind; 6] = [
    DriverKind::Epoll,
    DriverKind::IoUring,
    DriverKind::Poll,
    DriverKind::Select,
    DriverKind::Portable,
    DriverKind::Sim,
];

const ROUNDS: usize = 5;
const CONNECTIONS: usize = 32;

/// What the pages of a process may grow by without being a leak: the allocator's own.
const PAGES_BYTES: usize = 32 << 20;

/// Open descriptors, but for the few pipes that a thread keeps for splicing.
fn descriptors() -> usize {
    let all = std::fs::read_dir("/proc/self/fd").expect("procfs");
    let names = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    names
        .filter(|name| !name.to_string_lossy().starts_with("pipe:"))
        .count()
}

/// Resident memory that is no file's (proc(5), `statm`).
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let mut fields = text.split(' ').map(|field| field.parse().unwrap_or(0));
    let (resident, shared): (usize, usize) =
        (fields.nth(1).unwrap_or(0), fields.next().unwrap_or(0));
    resident.saturating_sub(shared) * 4096
}

async fn serve(listener: Listener) {
    while let Ok((fd, _)) = listener.accept().await {
        let stream = Rc::new(Stream::from_fd(fd).expect("register"));
        spawn(async move {
            while let Ok(received) = stream.recv().within(Duration::from_secs(60)).await {
                if received.is_empty() || stream.send(received.into()).await.0.is_err() {
                    return;
                }
            }
        });
    }
}

/// One connection, ended in the way that its number says.
async fn converse(address: Address, number: usize) {
    let client = Stream::connect(&address).await.expect("connect");
    let message = Bytes::from(vec![number as u8; 100 + number * 997]);
    let queue = SendQueue::from(message.clone());
    client.send(queue).await.0.expect("send");
    let mut back = 0;
    while back < message.len() {
        back += client.recv().await.expect("receive").len();
    }
    match number % 6 {
        0 => client.shutdown_write().expect("half-close"),
        1 => client.set_linger_reset().expect("linger"),
        // A receive that is given up, and one in flight when its stream goes.
        2 => drop(timeout(Duration::from_millis(1), client.recv()).await),
        3 => {
            let client = Rc::new(client);
            let receiving = Rc::clone(&client);
            let receiver = spawn(async move { receiving.recv().await.map(drop) });
            yield_now().await;
            receiver.cancel();
        }
        // A send that nobody receives, given up half-way.
        4 => {
            let much = SendQueue::from(Bytes::from(vec![7; 8 << 20]));
            drop(timeout(Duration::from_millis(1), client.send(much)).await);
        }
        _ => {
            let (to, sink) = Stream::pair().expect("a pair");
            client.send((&b"spliced"[..]).into()).await.0.expect("send");
            drop(timeout(Duration::from_millis(5), splice(&client, &to)).await);
            drop(sink);
        }
    }
}

fn round(kind: DriverKind) {
    let mut event_loop = EventLoop::builder().driver(kind).build().expect("a loop");
    event_loop.block_on(async {
        let any = any_port();
        let fd = Listener::bind(&any, &ListenOptions::default()).expect("bind");
        let listener = Listener::from_fd(fd).expect("register");
        let address = listener.local_address().expect("name");
        spawn(serve(listener));
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| spawn(converse(address.clone(), number)))
            .collect();
        for client in clients {
            client.await.expect("a client");
        }
        sleep(Duration::from_millis(1)).await;
    });
}

#[test]
fn nothing_is_left_of_connections_that_have_ended() {
    let rounds = std::env::var("REVOLVE_SOAK_ROUNDS").map_or(Ok(ROUNDS), |rounds| rounds.parse());
    let rounds: usize = rounds.expect("REVOLVE_SOAK_ROUNDS: a number");
    for kind in KINDS {
        // The first ones fill the allocator's and the kernel's pools.
        (0..3).for_each(|_| round(kind));
        let before = (descriptors(), resident_bytes());
        (0..rounds).for_each(|_| round(kind));
        let after = (descriptors(), resident_bytes());
        println!("{kind}: {rounds} rounds, from {before:?} to {after:?} descriptors and bytes");
        assert_eq!(before.0, after.0, "{kind} leaves descriptors open");
        // A checked program keeps what was freed for a while, and looks for leaks by itself.
        assert!(
            std::env::var_os("ASAN_OPTIONS").is_some() || after.1 <= before.1 + PAGES_BYTES,
            "{kind} grows from {} to {} bytes",
            before.1,
            after.1
        );
    }
}
