//! The adaptor to `futures-io`, driven through its traits alone.
#![cfg(feature = "futures-io")]

mod common;

use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_io::{AsyncRead, AsyncWrite};
use revolve_reactor::{EventLoop, Stream, StreamIo, spawn, timeout};

use common::{pattern, run_on};

/// Both ends of a stream on this loop.
fn pair() -> (Rc<Stream>, Rc<Stream>) {
    let (one, other) = Stream::pair().expect("a pair");
    (Rc::new(one), Rc::new(other))
}

fn run<T>(test: impl Future<Output = T>) -> T {
    run_on(EventLoop::builder(), test)
}

async fn read(io: &mut (impl AsyncRead + Unpin), into: &mut [u8]) -> std::io::Result<usize> {
    poll_fn(|cx| Pin::new(&mut *io).poll_read(cx, into)).await
}

async fn write_all(io: &mut (impl AsyncWrite + Unpin), mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let written = poll_fn(|cx| Pin::new(&mut *io).poll_write(cx, bytes)).await;
        bytes = &bytes[written.expect("write")..];
    }
}

#[test]
fn megabytes_pass_in_pieces_of_any_size() {
    run(async {
        let (one, other) = pair();
        let bytes = pattern(3_000_000);
        let sent = bytes.clone();
        let writer = spawn(async move {
            let mut io = StreamIo::new(one);
            write_all(&mut io, &sent).await;
            poll_fn(|cx| Pin::new(&mut io).poll_flush(cx))
                .await
                .expect("flush");
            poll_fn(|cx| Pin::new(&mut io).poll_close(cx))
                .await
                .expect("close");
            let mut end = [0; 1];
            assert_eq!(read(&mut io, &mut end).await.expect("the other end"), 0);
        });
        let mut io = StreamIo::new(other);
        let mut received = Vec::new();
        let mut piece = [0; 30_000];
        for size in (1..=30_000).cycle().step_by(997) {
            let count = read(&mut io, &mut piece[..size]).await.expect("read");
            if count == 0 {
                break;
            }
            received.extend_from_slice(&piece[..count]);
        }
        assert!(received == bytes);
        assert_eq!(read(&mut io, &mut []).await.expect("nothing"), 0);
        drop(io);
        writer.await.expect("the writer");
    });
}

#[test]
fn slices_are_written_together() {
    run(async {
        let (one, other) = pair();
        let mut io = StreamIo::new(one);
        let slices = [
            IoSlice::new(b"one "),
            IoSlice::new(b""),
            IoSlice::new(b"two"),
        ];
        let written = poll_fn(|cx| Pin::new(&mut io).poll_write_vectored(cx, &slices)).await;
        assert_eq!(written.expect("write"), 7);
        assert_eq!(&other.recv().await.expect("receive")[..], b"one two");
    });
}

#[test]
fn a_read_that_is_given_up_loses_nothing_and_frees_the_stream() {
    run(async {
        let (one, other) = pair();
        let mut io = StreamIo::new(Rc::clone(&one));
        let mut byte = [0; 1];
        let short = Duration::from_millis(5);
        assert!(timeout(short, read(&mut io, &mut byte)).await.is_err());
        assert!(one.recv().await.is_err(), "two receive at once");
        drop(io);
        other.send((&b"x"[..]).into()).await.0.expect("send");
        assert_eq!(&one.recv().await.expect("receive")[..], b"x");
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_is_an_error() {
    run(async {
        let (one, other) = pair();
        drop(other);
        let mut io = StreamIo::new(one);
        let written = poll_fn(|cx| Pin::new(&mut io).poll_write(cx, b"x")).await;
        assert_eq!(
            written.expect_err("gone").kind(),
            std::io::ErrorKind::BrokenPipe
        );
    });
}
