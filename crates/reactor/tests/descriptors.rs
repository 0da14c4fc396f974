//! A listener at the limit of descriptors. The limit is the process's: this file has one test.

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use revolve_reactor::{EventLoop, sleep, turn};

use common::{any_port, listen};

/// EMFILE of errno(3): the process has too many descriptors.
const EMFILE: i32 = 24;

#[test]
fn at_the_limit_connections_are_turned_away_and_later_accepted_again() {
    let mut event_loop = EventLoop::new().expect("a loop");
    event_loop.block_on(async {
        let (listener, address) = listen(&any_port());
        let address = address.as_inet().expect("TCP");
        let mut clients: Vec<TcpStream> = (0..3)
            .map(|_| TcpStream::connect(address).expect("connect"))
            .collect();

        let mut held: Vec<OwnedFd> = Vec::new();
        while let Ok(fd) = std::fs::File::open("/dev/null") {
            held.push(fd.into());
            assert!(held.len() < 1 << 20, "no limit of descriptors");
        }
        let error = listener.accept().await.expect_err("no descriptor is left");
        assert_eq!(error.raw_os_error(), Some(EMFILE));

        // Nobody asks for the connections that wait, and the loop does not spin on them.
        let begun = turn();
        sleep(Duration::from_millis(50)).await;
        assert!(turn() - begun < 10, "{} turns", turn() - begun);

        for client in &mut clients[..2] {
            assert!(
                listener
                    .accept_and_close_one(b"too many")
                    .expect("the reserve")
            );
            let mut answer = String::new();
            client.read_to_string(&mut answer).expect("read");
            assert_eq!(answer, "too many");
        }
        held.clear();
        let (_, peer) = listener.accept().await.expect("accept");
        assert_eq!(peer.as_inet(), clients[2].local_addr().ok());
    });
}
