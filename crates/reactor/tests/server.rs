//! Reactors and the TCP server, with clients that block.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use revolve_reactor::{AcceptMode, Address, Deal, Reactors, SendQueue, Serving, Stream, TcpServer};

use common::any_port;

async fn echo(stream: Stream, _peer: Address) {
    while let Ok(received) = stream.recv().await {
        if received.is_empty() || stream.send(SendQueue::from(received)).await.0.is_err() {
            return;
        }
    }
}

fn serve(mode: AcceptMode, loops: usize) -> (Serving, std::net::SocketAddr) {
    let any = any_port();
    let server = TcpServer::builder()
        .bind(any)
        .loops(loops)
        .accept(mode)
        .serve(echo);
    let server = server.expect("serve");
    let address = server.addresses()[0].as_inet().expect("TCP");
    (server, address)
}

fn ask(client: &mut TcpStream) {
    client.write_all(b"are you there?").expect("write");
    let mut answer = [0; 14];
    client.read_exact(&mut answer).expect("read");
    assert_eq!(&answer, b"are you there?");
}

/// Waits for what other threads are about to bring about.
fn eventually(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never comes");
        thread::sleep(Duration::from_millis(1));
    }
}

const MAIN: AcceptMode = AcceptMode::MainReactor {
    deal: Deal::RoundRobin,
};

#[test]
fn every_shape_serves_and_stops() {
    let shapes = [
        MAIN,
        AcceptMode::MainReactor {
            deal: Deal::LeastConnections,
        },
        AcceptMode::PerReactor { reuse_port: true },
        AcceptMode::PerReactor { reuse_port: false },
    ];
    for shape in shapes {
        let (server, address) = serve(shape, 3);
        let mut clients: Vec<TcpStream> = (0..30)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();
        for client in &mut clients {
            ask(client);
        }
        assert_eq!(server.connections().iter().sum::<usize>(), 30, "{shape:?}");
        clients.truncate(10);
        eventually(|| server.connections().iter().sum::<usize>() == 10);
        server.stop();
        server.join().expect("no thread panicked");
        for client in &mut clients {
            assert!(!matches!(client.read(&mut [0]), Ok(1..)), "{shape:?}");
        }
        assert!(TcpStream::connect(address).is_err(), "{shape:?}");
    }
}

/// Long-lived connections over four reactors differ by at most a tenth from an even share.
fn assert_even(server: &Serving, total: usize) {
    let connections = server.connections();
    let share = total / connections.len();
    for &count in &connections {
        assert!(count.abs_diff(share) * 10 <= share, "{connections:?}");
    }
}

#[test]
fn a_main_reactor_deals_evenly() {
    for deal in [Deal::RoundRobin, Deal::LeastConnections] {
        let (server, address) = serve(AcceptMode::MainReactor { deal }, 4);
        let mut clients = Vec::new();
        for _ in 0..200 {
            clients.push(TcpStream::connect(address).expect("connect"));
        }
        eventually(|| server.connections().iter().sum::<usize>() == 200);
        assert_even(&server, 200);
    }
}

#[test]
fn reactors_that_share_a_listener_take_turns() {
    let (server, address) = serve(AcceptMode::PerReactor { reuse_port: false }, 4);
    let mut clients = Vec::new();
    for _ in 0..400 {
        let mut client = TcpStream::connect(address).expect("connect");
        ask(&mut client);
        clients.push(client);
    }
    assert_even(&server, 400);
}

#[test]
fn a_storm_of_connections_is_shared_evenly() {
    let (server, address) = serve(AcceptMode::PerReactor { reuse_port: false }, 4);
    let mut clients = Vec::new();
    for _ in 0..400 {
        clients.push(TcpStream::connect(address).expect("connect"));
    }
    eventually(|| server.connections().iter().sum::<usize>() == 400);
    assert_even(&server, 400);
}

#[test]
fn least_connections_fills_up_the_emptier_reactor() {
    let reactors = Reactors::spawn(2, "test", |_| {}).expect("reactors");
    let reactors = reactors.with_deal(Deal::LeastConnections);
    let leases = Arc::new(std::sync::Mutex::new(Vec::new()));
    let deal = || {
        let leases = Arc::clone(&leases);
        let fd = tempfile::tempfile().expect("a file").into();
        reactors.deal(fd, move |_, lease| leases.lock().expect("lock").push(lease))
    };
    let dealt: Vec<usize> = (0..10).map(|_| deal()).collect();
    assert_eq!(reactors.connections(), [5, 5]);
    eventually(|| leases.lock().expect("lock").len() == 10);
    // Five connections of one reactor end.
    let mut kept = Vec::new();
    for (number, lease) in dealt.iter().zip(leases.lock().expect("lock").drain(..)) {
        if *number == 0 {
            kept.push(lease);
        }
    }
    // Leases come in the order of the reactors' turns: what counts is that some are gone.
    eventually(|| reactors.connections().iter().sum::<usize>() == 5);
    let before = reactors.connections();
    let emptier = usize::from(before[1] < before[0]);
    assert_eq!(deal(), emptier);
}

/// A reactor whose thread a task holds keeps nobody waiting.
#[test]
fn what_a_reactor_leaves_lying_is_dealt_to_another() {
    for deal in [Deal::RoundRobin, Deal::LeastConnections] {
        let reactors = Reactors::spawn(2, "test", |_| {}).expect("reactors");
        let reactors = reactors.with_deal(deal);
        let (held, is_held) = std::sync::mpsc::channel();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let first = reactors.handles().next().expect("a reactor");
        first.run_in_loop(move || {
            held.send(()).expect("the test hears");
            let _ = released.recv();
        });
        is_held.recv().expect("it is held");
        let (served, serves) = std::sync::mpsc::channel();
        let deal = || {
            let served = served.clone();
            let fd = tempfile::tempfile().expect("a file").into();
            reactors.deal(fd, move |_, lease| {
                let name = thread::current().name().map(str::to_owned);
                served.send((name, lease)).expect("the test hears");
            })
        };
        let dealt: Vec<usize> = (0..10).map(|_| deal()).collect();
        assert!(dealt.contains(&0), "{dealt:?}");
        let patience = Duration::from_secs(60);
        let mut leases = Vec::new();
        for _ in 0..10 {
            let (name, lease) = serves.recv_timeout(patience).expect("all are served");
            assert_eq!(name.as_deref(), Some("test-1"));
            leases.push(lease);
        }
        assert_eq!(reactors.connections(), [0, 10]);
        drop(leases);
        // The one that is held gets no more until it has looked.
        assert!((0..4).all(|_| deal() == 1));
        drop(release);
        eventually(|| deal() == 0);
    }
}

#[test]
fn reactors_run_what_they_are_given_on_their_own_threads() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&begun);
    let reactors = Reactors::spawn(3, "sub", move |number| {
        let name = thread::current().name().map(str::to_owned);
        assert_eq!(name, Some(format!("sub-{number}")));
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let reactors = reactors.expect("reactors");
    assert_eq!((begun.load(Ordering::Relaxed), reactors.len()), (3, 3));
    let (sender, receiver) = std::sync::mpsc::channel();
    for handle in reactors.handles() {
        let sender = sender.clone();
        handle.run_in_loop(move || {
            sender
                .send(thread::current().name().map(str::to_owned))
                .expect("the test receives");
        });
    }
    let mut names: Vec<_> = (0..3).map(|_| receiver.recv().expect("a name")).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            Some("sub-0".into()),
            Some("sub-1".into()),
            Some("sub-2".into())
        ]
    );
    reactors.stop();
    reactors.join().expect("no thread panicked");
}

#[test]
fn a_panic_in_one_connection_leaves_the_others_alone() {
    let any = any_port();
    let server = TcpServer::builder()
        .bind(any)
        .serve(async |stream: Stream, peer: Address| {
            let received = stream.recv().await.expect("receive");
            assert!(&received[..] != b"are you dead??", "killed by {peer}");
            drop(stream.send(SendQueue::from(received)).await);
            echo(stream, peer).await;
        });
    let server = server.expect("serve");
    let address = server.addresses()[0].as_inet().expect("TCP");
    let mut survivor = TcpStream::connect(address).expect("connect");
    ask(&mut survivor);
    let mut killer = TcpStream::connect(address).expect("connect");
    killer.write_all(b"are you dead??").expect("write");
    assert_eq!(killer.read(&mut [0]).expect("read"), 0);
    ask(&mut survivor);
    eventually(|| server.connections() == [1]);
}

/// A handler that panics before it has given its future would, where it is called by who accepts, leave
/// nobody to accept.
#[test]
fn a_handler_that_panics_at_once_leaves_the_others_alone() {
    let each = |reuse_port| AcceptMode::PerReactor { reuse_port };
    for mode in [MAIN, each(false), each(true)] {
        let calls = AtomicUsize::new(0);
        let server = TcpServer::builder().bind(any_port()).accept(mode).serve(
            move |stream: Stream, peer: Address| {
                let call = calls.fetch_add(1, Ordering::Relaxed);
                assert!(call != 1, "killed by {peer}");
                echo(stream, peer)
            },
        );
        let server = server.expect("serve");
        let address = server.addresses()[0].as_inet().expect("TCP");
        let mut survivor = TcpStream::connect(address).expect("connect");
        ask(&mut survivor);
        let mut killer = TcpStream::connect(address).expect("connect");
        assert_eq!(killer.read(&mut [0]).expect("read"), 0);
        ask(&mut survivor);
        ask(&mut TcpStream::connect(address).expect("connect"));
        eventually(|| server.connections() == [1]);
    }
}

#[test]
fn an_address_in_use_is_an_error() {
    let (server, _) = serve(MAIN, 1);
    let taken = server.addresses()[0].clone();
    let error = TcpServer::builder()
        .bind(taken)
        .serve(echo)
        .expect_err("in use");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
