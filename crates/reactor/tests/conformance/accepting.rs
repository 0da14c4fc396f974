//! What accepting and connecting promise.

use std::io::ErrorKind;
use std::time::Duration;

use revolve_reactor::{Address, ListenOptions, Listener, SendQueue, Stream, sleep, timeout, turn};

use super::{Folder, On, any_port, listen, poll_once, recv_all, recv_exactly, run, turns};

fn listener() -> (Listener, Address) {
    listen(&any_port())
}

/// So many clients, which wait to be accepted.
async fn connected(address: &Address, count: usize) -> Vec<Stream> {
    let mut clients = Vec::new();
    for _ in 0..count {
        clients.push(Stream::connect(address).await.expect("connect"));
    }
    clients
}

pub(crate) fn every_connection_is_accepted_once(on: On) {
    run(on, async {
        for rotation in [0, 1, 8] {
            let (listener, address) = listener();
            listener.set_rotation(rotation);
            let count = on.many(10, 100);
            let clients = connected(&address, count).await;
            let mut names: Vec<_> = clients
                .iter()
                .map(|client| client.local_address().expect("name"))
                .collect();
            let mut peers = Vec::new();
            for _ in 0..count {
                let (_, peer) = listener.accept().await.expect("accept");
                peers.push(peer);
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

pub(crate) fn a_batch_is_bounded_by_its_budget(on: On) {
    run(on, async {
        let (listener, address) = listener();
        listener.set_accept_budget(4);
        let count = on.many(12, 40);
        let _clients = connected(&address, count).await;
        let mut per_turn = std::collections::BTreeMap::new();
        for _ in 0..count {
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

pub(crate) fn cancelling_an_accept_loses_no_connection(on: On) {
    run(on, async {
        let (listener, address) = listener();
        let count = on.many(10, 30);
        let _clients = connected(&address, count).await;
        let mut accepted = 0;
        while accepted < count {
            let mut accept = listener.accept();
            accepted += usize::from(poll_once(&mut accept).await.is_some());
            // The turn performs the accept, and nobody asks for its outcome any more.
            turns(2).await;
        }
        assert!(listener.take_accepted().is_none());
    });
}

pub(crate) fn a_listener_nobody_asks_does_not_keep_the_loop_awake(on: On) {
    run(on, async {
        let (listener, address) = listener();
        let _clients = connected(&address, 1).await;
        let begun = turn();
        sleep(Duration::from_millis(50)).await;
        assert!(turn() - begun < 10, "{} turns", turn() - begun);
        listener.accept().await.expect("accept");
    });
}

pub(crate) fn connecting_succeeds_over_tcp_and_unix(on: On) {
    run(on, async {
        let folder = Folder::new(on);
        let unix = folder.address("socket");
        let hidden = format!("\0revolve-conformance-{}-{:?}", std::process::id(), on.kind);
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
            assert_eq!(recv_exactly(&client, 7).await, b"welcome");
            assert!(on.is_in_memory() || client.tcp_info().is_some() != address.is_unix());
        }
    });
}

pub(crate) fn connecting_is_refused(on: On) {
    run(on, async {
        let (listener, address) = listener();
        drop(listener);
        let error = Stream::connect(&address).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let nowhere = Address::Unix("/nonexistent/socket".into());
        let error = Stream::connect(&nowhere).await.expect_err("no such path");
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
}

pub(crate) fn connecting_where_nobody_answers_can_be_cancelled(on: On) {
    run(on, async {
        // A listener whose backlog is full does not answer.
        let options = ListenOptions {
            backlog: 0,
            ..ListenOptions::default()
        };
        let fd = Listener::bind(&any_port(), &options).expect("bind");
        let listener = Listener::from_fd(fd).expect("register");
        let address = listener.local_address().expect("name");
        let mut connected = Vec::new();
        let mut given_up = false;
        while connected.len() < 8 && !given_up {
            match timeout(Duration::from_millis(50), Stream::connect(&address)).await {
                Ok(stream) => connected.push(stream.expect("connect")),
                Err(_) => given_up = true,
            }
        }
        assert!(given_up);
        for _ in 0..connected.len() {
            listener.accept().await.expect("accept");
        }
    });
}

pub(crate) fn a_v6_listener_names_its_peer(on: On) {
    run(on, async {
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

pub(crate) fn a_connection_can_be_turned_away(on: On) {
    let mut event_loop = on.builder().build().expect("a loop");
    event_loop.block_on(async {
        let (listener, address) = listener();
        assert!(
            !listener
                .accept_and_close_one(b"busy")
                .expect("nobody waits")
        );
        let client = Stream::connect(&address).await.expect("connect");
        assert!(listener.accept_and_close_one(b"busy").expect("accept"));
        assert_eq!(recv_all(&client).await, b"busy");
    });
}
