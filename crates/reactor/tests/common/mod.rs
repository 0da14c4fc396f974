//! What the tests of the reactor have in common.
#![allow(dead_code, reason = "each test program takes what it needs")]

use std::future::Future;
use std::time::Duration;

use revolve_reactor::{Address, Builder, ListenOptions, Listener, Stream, timeout};

/// No test takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a test's future on a loop of its own; a test that hangs fails.
pub(crate) fn run_on<T>(builder: Builder, test: impl Future<Output = T>) -> T {
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async { timeout(PATIENCE, test).await.expect("the test hangs") })
}

pub(crate) fn any_port() -> Address {
    Address::Inet(([127, 0, 0, 1], 0).into())
}

/// A listener on this loop, and the address that it has.
pub(crate) fn listen(address: &Address) -> (Listener, Address) {
    let fd = Listener::bind(address, &ListenOptions::default()).expect("bind");
    let listener = Listener::from_fd(fd).expect("register");
    let address = listener.local_address().expect("name");
    (listener, address)
}

/// Two ends of a TCP connection, both on this loop.
pub(crate) async fn tcp_pair() -> (Stream, Stream) {
    let (listener, address) = listen(&any_port());
    let client = Stream::connect(&address).await.expect("connect");
    let (fd, peer) = listener.accept().await.expect("accept");
    assert_eq!(peer, client.local_address().expect("name"));
    (client, Stream::from_fd(fd).expect("register"))
}

/// Receives until the end of the stream.
pub(crate) async fn recv_all(stream: &Stream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let received = stream.recv().await.expect("receive");
        if received.is_empty() {
            return all;
        }
        all.extend_from_slice(&received);
    }
}

/// Bytes that show if some are lost, doubled or in the wrong order.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 251);
    for block in 0..len.div_ceil(251) {
        bytes.extend((0..251).map(|index: u8| index ^ block as u8));
    }
    bytes.truncate(len);
    bytes
}
