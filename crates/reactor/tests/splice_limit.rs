//! Splicing when no descriptor is left for a pipe. The limit is the process's: this file has one
//! test.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use revolve_reactor::{DriverKind, EventLoop, SendQueue, Stream, spawn, splice, timeout};

/// More than two sockets and a pipe hold.
const MUCH: usize = 4 << 20;

async fn send(stream: &Stream, bytes: &'static [u8]) {
    stream.send(SendQueue::from(bytes)).await.0.expect("send");
}

/// Sources and sinks of a splice that runs.
fn spliced() -> (Rc<Stream>, Stream) {
    let (source, from) = Stream::pair().expect("a pair");
    let (to, sink) = Stream::pair().expect("a pair");
    spawn(async move { splice(&from, &to).await.map(drop) });
    (Rc::new(source), sink)
}

async fn expect(sink: &Stream, bytes: &[u8]) {
    let received = timeout(Duration::from_secs(60), sink.recv()).await;
    let received = received.expect("it hangs").expect("receive");
    assert_eq!(&received[..], bytes);
}

#[test]
fn without_a_pipe_bytes_pass_through_a_buffer() {
    for kind in [
        DriverKind::Epoll,
        DriverKind::Poll,
        DriverKind::Portable,
        DriverKind::IoUring,
    ] {
        let Ok(mut event_loop) = EventLoop::builder().driver(kind).build() else {
            continue;
        };
        event_loop.block_on(async {
            let (source, sink) = spliced();
            send(&source, b"through a pipe").await;
            expect(&sink, b"through a pipe").await;
            // Another one takes the pipe, and holds it while its sink does not read.
            let (other, _stuck) = spliced();
            let much = Bytes::from(vec![0; MUCH]);
            let sending = spawn(async move { other.send(SendQueue::from(much)).await.0 });
            timeout(Duration::from_millis(50), sending)
                .await
                .expect_err("it is stuck");
            let mut held: Vec<OwnedFd> = Vec::new();
            while let Ok(fd) = std::fs::File::open("/dev/null") {
                held.push(fd.into());
                assert!(held.len() < 1 << 20, "no limit of descriptors");
            }
            for _ in 0..3 {
                send(&source, b"through a buffer").await;
                expect(&sink, b"through a buffer").await;
            }
            drop(held);
            send(&source, b"a pipe again").await;
            expect(&sink, b"a pipe again").await;
            source.shutdown_write().expect("shutdown");
            expect(&sink, b"").await;
        });
    }
}
