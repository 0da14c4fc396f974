//! What accepting and connecting promise.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use revolve_reactor::{
    Address, ListenOptions, Listener, SendQueue, Stream, UnixDatagram, sleep, timeout, turn,
};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType};

use super::{
    Folder, On, PATIENCE, any_port, listen, poll_once, recv_all, recv_exactly, run, turns,
};

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

/// A Unix socket with a name of its own choice, whatever that is. A short one may be another process's
/// for a while.
fn socket_named(name: Option<SocketAddrUnix>, kind: SocketType) -> OwnedFd {
    let socket = rustix::net::socket(AddressFamily::UNIX, kind, None).expect("socket");
    let begun = Instant::now();
    while let Some(Err(error)) = name.as_ref().map(|name| rustix::net::bind(&socket, name)) {
        let waited = begun.elapsed();
        assert!(error == Errno::ADDRINUSE && waited < PATIENCE, "{error}");
        thread::sleep(Duration::from_millis(1));
    }
    socket
}

/// A path of so many bytes, behind which there is no room for a NUL byte if it has 108.
fn path_of(folder: &Path, number: usize, len: usize) -> PathBuf {
    let mut path = folder.as_os_str().as_bytes().to_vec();
    path.extend_from_slice(format!("/{number}-").as_bytes());
    assert!(path.len() < len, "{}", folder.display());
    path.resize(len, b'x');
    OsString::from_vec(path).into()
}

/// Every kind of name that a Unix peer may have, and what is made of it.
fn names(folder: &Path) -> Vec<(Option<SocketAddrUnix>, Address)> {
    let mut names = vec![(None, Address::UNNAMED)];
    for (number, len) in [100, 106, 107, 108].into_iter().enumerate() {
        let path = path_of(folder, number, len);
        let raw = SocketAddrUnix::new(&path).expect("a name");
        names.push((Some(raw), Address::Unix(path)));
    }
    #[cfg(target_os = "linux")]
    for len in [0, 1, 20, 106, 107] {
        let mut name = format!("{}-{:?}", std::process::id(), std::thread::current().id());
        name.extend(std::iter::repeat_n('y', 107));
        let raw = SocketAddrUnix::new_abstract_name(&name.as_bytes()[..len]).expect("a name");
        let path = format!("\0{}", &name[..len]);
        names.push((Some(raw), Address::Unix(path.into())));
    }
    names
}

pub(crate) fn peers_may_have_any_name(on: On) {
    if on.is_in_memory() {
        return;
    }
    // The names of 0 bytes and of 1 are everybody's.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    run(on, async {
        let folder = tempfile::tempdir().expect("a folder");
        let address = Address::Unix(path_of(folder.path(), 9, 108));
        let fd = Listener::bind(&address, &ListenOptions::default()).expect("bind");
        let listener = Listener::from_fd(fd).expect("register");
        assert_eq!(listener.local_address().expect("name"), address);
        let datagrams = UnixDatagram::bind(&Address::Unix(path_of(folder.path(), 8, 107)));
        let datagrams = datagrams.expect("bind");
        let raw = |path: &Address| match path {
            Address::Unix(path) => SocketAddrUnix::new(path).expect("a name"),
            Address::Inet(inet) => panic!("{inet}"),
        };
        let here = datagrams.local_address().expect("name");
        for (name, expected) in names(folder.path()) {
            let client = socket_named(name.clone(), SocketType::STREAM);
            rustix::net::connect(&client, &raw(&address)).expect("connect");
            let (fd, peer) = listener.accept().await.expect("accept");
            assert_eq!(peer, expected);
            let stream = Stream::from_fd(fd).expect("register");
            assert_eq!(stream.peer_address().expect("name"), expected);
            assert_eq!(stream.local_address().expect("name"), address);
            drop(client);
            if let Address::Unix(path) = &expected {
                let _ = std::fs::remove_file(path);
            }
            let sender = socket_named(name, SocketType::DGRAM);
            rustix::net::sendto(&sender, b"!", SendFlags::empty(), &raw(&here)).expect("send");
            let datagram = datagrams.recv_from().await.expect("receive");
            assert_eq!(datagram.from, expected);
        }
    });
}
