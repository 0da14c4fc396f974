//! What is done wrong is told clearly: what, where, and what to do.

mod common;

use std::io::ErrorKind;
use std::time::Duration;

use revolve_reactor::{
    Address, DescriptorLimit, DriverKind, EventLoop, ListenOptions, Listener, SendQueue, Stream,
    TcpClient, TcpServer, splice, timeout,
};

use common::any_port;

const KINDS: [DriverKind; 5] = [
    DriverKind::Epoll,
    DriverKind::IoUring,
    DriverKind::Poll,
    DriverKind::Select,
    DriverKind::Portable,
];

#[test]
fn a_stream_of_another_loop_is_refused_instead_of_waiting_for_ever() {
    for kind in KINDS {
        let build = || EventLoop::builder().driver(kind).build();
        let Ok(mut first) = build() else {
            continue;
        };
        let (stream, other, listener) = first.block_on(async {
            let (stream, other) = Stream::pair().expect("a pair");
            let fd = Listener::bind(&any_port(), &ListenOptions::default()).expect("bind");
            (stream, other, Listener::from_fd(fd).expect("register"))
        });
        drop(first);
        build().expect("a second loop").block_on(async {
            let patience = Duration::from_secs(60);
            let much = SendQueue::from(bytes::Bytes::from(vec![0; 16 << 20]));
            let errors = [
                timeout(patience, stream.recv())
                    .await
                    .map(|got| got.map(drop)),
                timeout(patience, stream.send(much))
                    .await
                    .map(|sent| sent.0),
                timeout(patience, stream.readable()).await,
                timeout(patience, listener.accept())
                    .await
                    .map(|got| got.map(drop)),
                timeout(patience, splice(&stream, &other))
                    .await
                    .map(|got| got.map(drop)),
            ];
            for error in errors {
                let error = error.expect("it hangs").expect_err("an error").to_string();
                assert!(
                    error.contains("event loop") && error.contains("has ended"),
                    "{error}"
                );
            }
        });
    }
}

#[test]
fn a_second_loop_of_a_thread_is_refused() {
    let _first = EventLoop::new().expect("a loop");
    let error = EventLoop::new().expect_err("a second one");
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(error.to_string(), "this thread has an event loop already");
}

#[test]
fn an_address_in_use_is_named() {
    let serve = |address: Address| {
        let server = TcpServer::builder().bind(address);
        server.serve(|_, _| async {})
    };
    let first = serve(any_port()).expect("a free port");
    let address = first.addresses()[0].clone();
    let error = serve(address.clone()).expect_err("it is taken");
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot listen on {address}: ")),
        "{text}"
    );
}

#[test]
fn no_time_at_all_is_refused_where_it_would_never_do() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let client = TcpClient::new(vec![any_port()]).timeout(Duration::ZERO);
        let error = client.connect().await.expect_err("no time");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("time"), "{error}");
    });
}

#[test]
fn the_limit_of_descriptors_can_be_asked_and_raised() {
    let before = DescriptorLimit::current();
    let after = DescriptorLimit::raise().expect("up to the hard limit");
    assert_eq!((after.soft, after.hard), (before.hard, before.hard));
}

/// Fails to compile if one of the types can be sent to another thread.
macro_rules! stay_on_their_thread {
    ($($loop_local:ty),+ $(,)?) => {
        $(const _: fn() = || {
            trait Ambiguous<A> {
                fn has_one_answer() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct IfSend;
            impl<T: ?Sized + Send> Ambiguous<IfSend> for T {}
            let _ = <$loop_local as Ambiguous<_>>::has_one_answer;
        };)+
    };
}

stay_on_their_thread! {
    EventLoop, Stream, Listener, SendQueue, revolve_reactor::Buffer, revolve_reactor::Chunk,
    revolve_reactor::UdpSocket, revolve_reactor::UnixDatagram, revolve_reactor::Readable,
    revolve_reactor::Sleep, revolve_reactor::Interval, revolve_reactor::JoinHandle<()>,
    revolve_reactor::Outbox, revolve_reactor::Recv<'static>, revolve_reactor::Send<'static>,
    revolve_reactor::Accept<'static>, revolve_reactor::Registration, revolve_reactor::local::Notify,
    revolve_reactor::local::Cancellation, revolve_reactor::local::OneSender<()>,
    revolve_reactor::local::OneReceiver<()>, revolve_reactor::local::QueueSender<()>,
    revolve_reactor::local::QueueReceiver<()>,
}

const fn goes_anywhere<T: Send + Sync>() {}

const _: () = {
    goes_anywhere::<revolve_reactor::LoopHandle>();
    goes_anywhere::<revolve_reactor::PoolHandle>();
    goes_anywhere::<revolve_reactor::Semaphore>();
};
