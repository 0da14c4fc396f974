//! What UDP and Unix datagram sockets promise.

use std::rc::Rc;
use std::time::Duration;

use revolve_reactor::{Address, UdpSocket, UnixDatagram, sleep, spawn, timeout, turn, yield_now};

use super::{Folder, On, any_port, run};

fn two() -> (UdpSocket, UdpSocket, Address, Address) {
    let (one, other) = (
        UdpSocket::bind(&any_port()).expect("bind"),
        UdpSocket::bind(&any_port()).expect("bind"),
    );
    let (a, b) = (
        one.local_address().expect("name"),
        other.local_address().expect("name"),
    );
    (one, other, a, b)
}

pub(crate) fn datagrams_keep_their_bounds_and_their_sender(on: On) {
    run(on, async {
        let (one, other, one_address, other_address) = two();
        for bytes in [&b"first"[..], b"", b"third"] {
            one.send_to(bytes, &other_address).await.expect("send");
        }
        for bytes in [&b"first"[..], b"", b"third"] {
            let datagram = other.recv_from().await.expect("receive");
            assert_eq!(&datagram.bytes[..], bytes);
            assert_eq!(datagram.from, one_address);
            assert!(!datagram.truncated);
        }
        // Waiting before the datagram comes, and after a first that was waited for.
        for number in 0..3u8 {
            let sent = async {
                sleep(Duration::from_millis(3)).await;
                one.send_to(&[number], &other_address).await
            };
            let mut sent = std::pin::pin!(sent);
            let mut received = std::pin::pin!(other.recv_from());
            let mut done = false;
            let datagram = std::future::poll_fn(|cx| {
                if !done && sent.as_mut().poll(cx).is_ready() {
                    done = true;
                }
                received.as_mut().poll(cx)
            })
            .await;
            assert_eq!(&datagram.expect("receive").bytes[..], [number]);
        }
    });
}

pub(crate) fn a_datagram_longer_than_a_buffer_says_so(on: On) {
    run(on, async {
        let (one, other, _, other_address) = two();
        one.send_to(&[7; 512], &other_address).await.expect("send");
        one.send_to(&[8; 513], &other_address).await.expect("send");
        let whole = other.recv_from().await.expect("receive");
        assert_eq!((whole.bytes.len(), whole.truncated), (512, false));
        let cut = other.recv_from().await.expect("receive");
        assert_eq!((cut.bytes.len(), cut.truncated), (512, true));
        let huge = one.send_to(&[0; 70_000], &other_address).await;
        assert!(huge.is_err(), "longer than UDP carries");
    });
}

pub(crate) fn batches_arrive_in_order_with_their_senders(on: On) {
    for family in ["127.0.0.1:0", "[::1]:0"] {
        run(on, async {
            let any = Address::Inet(family.parse().expect("an address"));
            let one = UdpSocket::bind(&any).expect("bind");
            let other = UdpSocket::bind(&any).expect("bind");
            let (from, to) = (
                one.local_address().expect("name"),
                other.local_address().expect("name"),
            );
            let batch: Vec<(Vec<u8>, Address)> = (0..40u8)
                .map(|number| (vec![number; usize::from(number) * 15], to.clone()))
                .collect();
            let (sent, result) = one.send_batch(&batch).await;
            assert_eq!(sent, 40, "{result:?}");
            let mut received = Vec::new();
            let mut calls = 0;
            while received.len() < 40 {
                let count = other.recv_batch(&mut received, 100).await.expect("batch");
                assert!((1..=16).contains(&count));
                calls += 1;
            }
            assert!(on.is_in_memory() || calls <= 10, "{calls} calls");
            for (datagram, (bytes, _)) in received.iter().zip(&batch) {
                let len = bytes.len().min(512);
                assert_eq!(&datagram.bytes[..], &bytes[..len]);
                assert_eq!(datagram.truncated, bytes.len() > 512);
                assert_eq!(datagram.from, from);
            }
        });
    }
}

pub(crate) fn a_connected_socket_hears_its_peer_alone_and_that_nobody_is_there(on: On) {
    run(on, async {
        let (one, other, one_address, other_address) = two();
        let stranger = UdpSocket::bind(&any_port()).expect("bind");
        one.connect(&other_address).expect("connect");
        stranger.send_to(b"no", &one_address).await.expect("send");
        one.send(b"yes").await.expect("send");
        let heard = other.recv_from().await.expect("receive");
        other
            .send_to(&heard.bytes, &heard.from)
            .await
            .expect("send");
        assert_eq!(&one.recv_from().await.expect("receive").bytes[..], b"yes");
        drop(other);
        one.send(b"gone").await.expect("send");
        let refused = one.recv_from().await.expect_err("nobody is there");
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        assert!(one.connect(&Address::Unix("/x".into())).is_err());
    });
}

pub(crate) fn a_flood_of_datagrams_does_not_keep_the_loop(on: On) {
    run(on, async {
        let (one, other, _, other_address) = two();
        other.set_recv_buffer(1 << 20).expect("option");
        let batch: Vec<(&[u8], Address)> = vec![(b"x", other_address); 500];
        let begun = turn();
        assert_eq!(one.send_batch(&batch).await.0, 500);
        assert!(turn() >= begun + 500 / 80, "sent without giving way");
        let begun = turn();
        for _ in 0..500 {
            other.recv_from().await.expect("receive");
        }
        assert!(turn() >= begun + 500 / 64, "received without giving way");
    });
}

pub(crate) fn a_receive_that_is_given_up_loses_nothing(on: On) {
    run(on, async {
        let (one, other, _, other_address) = two();
        for _ in 0..3 {
            let short = Duration::from_millis(2);
            assert!(timeout(short, other.recv_from()).await.is_err());
            one.send_to(b"x", &other_address).await.expect("send");
            assert_eq!(&other.recv_from().await.expect("receive").bytes[..], b"x");
        }
    });
}

pub(crate) fn sockets_share_an_address_when_bound_so(on: On) {
    run(on, async {
        let first = UdpSocket::bind_shared(&any_port()).expect("bind");
        let address = first.local_address().expect("name");
        let _second = UdpSocket::bind_shared(&address).expect("bind");
        let alone = UdpSocket::bind(&address).expect_err("in use");
        assert_eq!(alone.kind(), std::io::ErrorKind::AddrInUse);
    });
}

pub(crate) fn multicast_groups_are_joined_once_and_left_once(on: On) {
    run(on, async {
        let socket = UdpSocket::bind(&any_port()).expect("bind");
        let group = std::net::Ipv4Addr::new(239, 255, 77, 77);
        let by = std::net::Ipv4Addr::LOCALHOST;
        socket
            .leave_multicast_v4(&group, &by)
            .expect_err("not joined");
        socket.join_multicast_v4(&group, &by).expect("join");
        socket
            .join_multicast_v4(&group, &by)
            .expect_err("joined twice");
        socket.leave_multicast_v4(&group, &by).expect("leave");
        socket
            .leave_multicast_v4(&group, &by)
            .expect_err("left twice");
        let not_a_group = std::net::Ipv4Addr::LOCALHOST;
        socket
            .join_multicast_v4(&not_a_group, &by)
            .expect_err("no group");
    });
}

pub(crate) fn a_unix_sender_waits_while_the_queue_is_full(on: On) {
    run(on, async {
        let folder = Folder::new(on);
        let path = folder.address("socket");
        let receiver = UnixDatagram::bind(&path).expect("bind");
        let sender = UnixDatagram::unbound().expect("socket");
        let full = loop {
            if let Err(error) = sender.send_to(&[0; 100], &path) {
                break error;
            }
        };
        assert_eq!(full.kind(), std::io::ErrorKind::WouldBlock);
        sender.connect(&path).expect("connect");
        let sending = spawn(async move {
            for number in 1..=1000u16 {
                sender.send(&number.to_be_bytes()).await.expect("send");
            }
        });
        for _ in 0..5 {
            yield_now().await;
        }
        assert!(!sending.is_finished(), "nothing held it back");
        let mut last = 0u16;
        while last < 1000 {
            let datagram = receiver.recv_from().await.expect("receive");
            assert!(datagram.from.is_unnamed());
            if datagram.bytes.len() == 2 {
                last += 1;
                assert_eq!(&datagram.bytes[..], last.to_be_bytes());
            }
        }
        sending.await.expect("the sender");
    });
}

pub(crate) fn unix_datagrams_name_their_sender(on: On) {
    run(on, async {
        let folder = Folder::new(on);
        let path = |name: &str| folder.address(name);
        let one = Rc::new(UnixDatagram::bind(&path("one")).expect("bind"));
        let other = UnixDatagram::bind(&path("other")).expect("bind");
        one.send_to(b"hello", &path("other")).expect("send");
        let datagram = other.recv_from().await.expect("receive");
        assert_eq!(
            (&datagram.bytes[..], &datagram.from),
            (&b"hello"[..], &path("one"))
        );
        let missing = one
            .send_to(b"x", &path("nobody"))
            .expect_err("no such path");
        assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
        assert!(one.send_to(b"x", &any_port()).is_err());
        assert!(UnixDatagram::bind(&any_port()).is_err());
        assert!(UdpSocket::bind(&path("udp")).is_err());
    });
}
