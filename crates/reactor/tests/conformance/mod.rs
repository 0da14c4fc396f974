//! What an operation promises: tests as functions of what a loop runs on.
#![allow(dead_code, reason = "a simulation runs those that hold under faults")]

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use revolve_reactor::{
    Address, Builder, DriverKind, EventLoop, ListenOptions, Listener, Simulation, Stream, timeout,
    yield_now,
};

pub(crate) mod accepting;
pub(crate) mod cancelling;
pub(crate) mod fairness;
pub(crate) mod receiving;
pub(crate) mod sending;
pub(crate) mod waking;

/// Bytes of a buffer in the tests: small, so that few bytes fill several.
const BUFFER_BYTES: usize = 512;

/// What a loop runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct On {
    pub(crate) kind: DriverKind,
    pub(crate) simulation: Option<Simulation>,
}

impl From<DriverKind> for On {
    fn from(kind: DriverKind) -> On {
        On {
            kind,
            simulation: None,
        }
    }
}

impl From<Simulation> for On {
    fn from(simulation: Simulation) -> On {
        On {
            kind: DriverKind::Sim,
            simulation: Some(simulation),
        }
    }
}

impl On {
    fn builder(self) -> Builder {
        let builder = EventLoop::builder().driver(self.kind);
        match self.simulation {
            Some(simulation) => builder.simulation(simulation),
            None => builder,
        }
    }

    /// True if sockets exist in memory: what the kernel does with them is not to be seen then.
    fn is_in_memory(self) -> bool {
        self.simulation
            .is_some_and(|simulation| simulation.in_memory)
    }

    /// So many in memory, where thousands of seeds make up for it, or else of the kernel's.
    fn many(self, in_memory: usize, of_the_kernel: usize) -> usize {
        if self.is_in_memory() {
            in_memory
        } else {
            of_the_kernel
        }
    }

    /// More bytes than any socket takes at once.
    fn much(self) -> usize {
        self.many(100_000, 16 << 20)
    }
}

/// Whether this system has the driver. The default one must be there.
pub(crate) fn exists(on: On) -> bool {
    let kind = on.kind;
    match on.builder().build() {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
            assert_ne!(kind, DriverKind::default());
            eprintln!("{kind} is not tested: {error}");
            false
        }
    }
}

/// Runs a test's future on a loop of its own; a test that hangs fails.
fn run<T>(on: On, test: impl Future<Output = T>) -> T {
    let builder = on.builder().buffer_bytes(BUFFER_BYTES);
    let mut event_loop = builder.build().expect("a loop");
    event_loop.block_on(async {
        timeout(Duration::from_secs(120), test)
            .await
            .expect("the test hangs")
    })
}

fn any_port() -> Address {
    Address::Inet(([127, 0, 0, 1], 0).into())
}

/// Two ends of a TCP connection, both on this loop.
async fn tcp_pair() -> (Stream, Stream) {
    let fd = Listener::bind(&any_port(), &ListenOptions::default()).expect("bind");
    let listener = Listener::from_fd(fd).expect("register");
    let client = Stream::connect(&listener.local_address().expect("name"))
        .await
        .expect("connect");
    let (fd, peer) = listener.accept().await.expect("accept");
    assert_eq!(peer, client.local_address().expect("name"));
    (client, Stream::from_fd(fd).expect("register"))
}

/// Two ends of a Unix connection, both on this loop.
async fn unix_pair() -> (Stream, Stream) {
    Stream::pair().expect("a pair")
}

/// Receives until the end of the stream.
async fn recv_all(stream: &Stream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let received = stream.recv().await.expect("receive");
        if received.is_empty() {
            return all;
        }
        all.extend_from_slice(&received);
    }
}

/// Receives exactly so many bytes, in however many pieces they come.
async fn recv_exactly(stream: &Stream, count: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < count {
        let received = stream.recv().max(count - all.len()).await.expect("receive");
        assert!(!received.is_empty(), "the end after {} bytes", all.len());
        all.extend_from_slice(&received);
    }
    all
}

/// Polls once; `None` if the future is pending.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}

/// Lets some turns of the loop pass.
async fn turns(count: usize) {
    for _ in 0..count {
        yield_now().await;
    }
}

/// Bytes that show if some are lost, doubled or in the wrong order.
fn pattern(len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 251);
    for block in 0..len.div_ceil(251) {
        bytes.extend((0..251).map(|index: u8| index ^ block as u8));
    }
    bytes.truncate(len);
    bytes
}
