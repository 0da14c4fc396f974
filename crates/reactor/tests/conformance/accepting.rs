//! What accepting and connecting promise.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::time::Duration;

use revolve_reactor::{
    Address, DriverKind, EventLoop, ListenOptions, Listener, SendQueue, Stream, sleep, timeout,
    turn, yield_now,
};

use super::{any_port, poll_once, run, turns};

fn listener() -> (Listener, std::net::SocketAddr) {
    let fd = Listener::bind(&any_port(), &ListenOptions::default()).expect("bind");
    let listener = Listener::from_fd(fd).expect("register");
    let address = listener
        .local_address()
        .expect("name")
        .as_inet()
        .expect("TCP");
    (listener, address)
}

pub(crate) fn every_connection_is_accepted_once(kind: DriverKind) {
    run(kind, async {
        for rotation in [0, 1, 8] {
            let (listener, address) = listener();
            listener.set_rotation(rotation);
            let clients: Vec<TcpStream> = (0..100)
                .map(|_| TcpStream::connect(address).expect("connect"))
                .collect();
            let mut names: Vec<_> = clients
                .iter()
                .map(|client| client.local_addr().expect("name"))
                .collect();
            let mut peers = Vec::new();
            for _ in 0..100 {
                let (_, peer) = listener.accept().await.expect("accept");
                peers.push(peer.as_inet().expect("TCP"));
            }
            names.sort_unstable();
            peers.sort_unstable();
            assert_eq!(names, peers);
            assert!(
                timeout(Duration::from_millis(5), listener.accept())
                    .await
                    .is_err()
            );
        }
    });
}

pub(crate) fn a_batch_is_bounded_by_its_budget(kind: DriverKind) {
    run(kind, async {
        let (listener, address) = listener();
        listener.set_accept_budget(4);
        let _clients: Vec<TcpStream> = (0..40)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();
        let mut per_turn = std::collections::BTreeMap::new();
        for _ in 0..40 {
            listener.accept().await.expect("accept");
            *per_turn.entry(turn()).or_insert(0) += 1;
        }
        let most = per_turn.values().max().copied();
        assert!(
            most.is_some_and(|most| (2..=4).contains(&most)),
            "{per_turn:?}"
        );
    });
}

pub(crate) fn cancelling_an_accept_loses_no_connection(kind: DriverKind) {
    run(kind, async {
        let (listener, address) = listener();
        let _clients: Vec<TcpStream> = (0..30)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();
        let mut accepted = 0;
        while accepted < 30 {
            let mut accept = listener.accept();
            accepted += usize::from(poll_once(&mut accept).await.is_some());
            // The turn performs the accept, and nobody asks for its outcome any more.
            turns(2).await;
        }
        assert!(listener.take_accepted().is_none());
    });
}

pub(crate) fn a_listener_nobody_asks_does_not_keep_the_loop_awake(kind: DriverKind) {
    run(kind, async {
        let (listener, address) = listener();
        let _client = TcpStream::connect(address).expect("connect");
        let begun = turn();
        sleep(Duration::from_millis(50)).await;
        assert!(turn() - begun < 10, "{} turns", turn() - begun);
        listener.accept().await.expect("accept");
    });
}

pub(crate) fn connecting_succeeds_over_tcp_and_unix(kind: DriverKind) {
    run(kind, async {
        let folder = tempfile::tempdir().expect("a folder");
        let unix = Address::Unix(folder.path().join("socket"));
        let hidden = format!("\0revolve-conformance-{}-{kind:?}", std::process::id());
        for address in [any_port(), unix, Address::Unix(hidden.into())] {
            let fd = match Listener::bind(&address, &ListenOptions::default()) {
                // Linux alone has names that are no paths.
                Err(error) if error.kind() == ErrorKind::Unsupported => continue,
                result => result.expect("bind"),
            };
            let listener = Listener::from_fd(fd).expect("register");
            let bound = listener.local_address().expect("name");
            assert!(bound == address || !address.is_unix());
            let client = Stream::connect(&bound).await.expect("connect");
            assert_eq!(client.peer_address().expect("name"), bound);
            assert!(!client.is_peer_closed());
            let (fd, peer) = listener.accept().await.expect("accept");
            assert_eq!(peer.is_unnamed(), address.is_unix());
            let server = Stream::from_fd(fd).expect("register");
            server
                .send(SendQueue::from(&b"welcome"[..]))
                .await
                .0
                .expect("send");
            assert_eq!(&client.recv().await.expect("receive")[..], b"welcome");
            assert_eq!(client.tcp_info().is_some(), !address.is_unix());
        }
    });
}

pub(crate) fn connecting_is_refused(kind: DriverKind) {
    run(kind, async {
        let (listener, address) = listener();
        drop(listener);
        let error = Stream::connect(&address.into())
            .await
            .expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let nowhere = Address::Unix("/nonexistent/socket".into());
        let error = Stream::connect(&nowhere).await.expect_err("no such path");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

pub(crate) fn connecting_where_nobody_answers_can_be_cancelled(kind: DriverKind) {
    run(kind, async {
        // A listener whose backlog is full does not answer.
        let options = ListenOptions {
            backlog: 0,
            ..ListenOptions::default()
        };
        let fd = Listener::bind(&any_port(), &options).expect("bind");
        let address = Address::from(
            std::net::TcpListener::from(fd.try_clone().unwrap())
                .local_addr()
                .unwrap(),
        );
        let mut connected = Vec::new();
        let mut given_up = false;
        while connected.len() < 8 && !given_up {
            match timeout(Duration::from_millis(50), Stream::connect(&address)).await {
                Ok(stream) => connected.push(stream.expect("connect")),
                Err(_) => given_up = true,
            }
        }
        assert!(given_up);
        let listener = Listener::from_fd(fd).expect("register");
        for _ in 0..connected.len() {
            listener.accept().await.expect("accept");
        }
    });
}

pub(crate) fn a_v6_listener_names_its_peer(kind: DriverKind) {
    run(kind, async {
        let any = Address::Inet(std::net::SocketAddr::from((
            std::net::Ipv6Addr::LOCALHOST,
            0,
        )));
        let Ok(fd) = Listener::bind(&any, &ListenOptions::default()) else {
            eprintln!("no IPv6 on this machine");
            return;
        };
        let listener = Listener::from_fd(fd).expect("register");
        let client = Stream::connect(&listener.local_address().expect("name")).await;
        let client = client.expect("connect");
        let (_, peer) = listener.accept().await.expect("accept");
        assert_eq!(peer, client.local_address().expect("name"));
        assert!(peer.to_string().starts_with("[::1]:"), "{peer}");
    });
}

pub(crate) fn a_connection_can_be_turned_away(kind: DriverKind) {
    let mut event_loop = EventLoop::builder().driver(kind).build().expect("a loop");
    event_loop.block_on(async {
        let (listener, address) = listener();
        assert!(
            !listener
                .accept_and_close_one(b"busy")
                .expect("nobody waits")
        );
        let mut client = TcpStream::connect(address).expect("connect");
        yield_now().await;
        assert!(listener.accept_and_close_one(b"busy").expect("accept"));
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("read");
        assert_eq!(answer, "busy");
    });
}
