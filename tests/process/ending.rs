//! QUIT lets what is under way come to its end; TERM does not.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Client, End, ports, proc, until};

/// Larger than what the sockets of both sides hold.
const BIG_BYTES: usize = 24 << 20;

fn slow_download(site: &Site) -> Client {
    let mut client = Client::connect(site.port);
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    client.take(1000).expect("the beginning");
    client
}

#[test]
fn quit_drains_what_is_under_way_and_closes_what_idles() {
    let site = Site::new();
    site.folder.write("html/big.bin", vec![b'x'; BIG_BYTES]);
    let mut server = site.start("worker_processes 2;", "");
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(site.port)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/").text(), "home\n");
    }
    let mut slow = slow_download(&site);
    server.signal(Signal::QUIT);
    for client in &mut idle {
        assert!(client.closed() < Duration::from_secs(20));
    }
    until("nobody listens any more", || {
        !ports::is_listening(site.port)
    });
    assert!(
        server.exit_status().is_none(),
        "the download is not at its end"
    );
    let (rest, end) = slow.rest(PATIENCE);
    assert_eq!(end, End::Closed, "after {} bytes", rest.len());
    let text = String::from_utf8_lossy(&rest[..1]).into_owned();
    assert_eq!(text, "x");
    assert!(rest.len() > BIG_BYTES - 1000 && rest.iter().rev().take(1000).all(|&it| it == b'x'));
    assert!(server.wait().success());
    assert!(
        site.log()
            .contains("signal 3 (SIGQUIT) received, shutting down"),
        "{}",
        site.log()
    );
    assert!(!site.folder.file("pid").exists());
}

#[test]
fn a_request_that_arrives_while_draining_is_the_last_of_its_connection() {
    let site = Site::new();
    site.folder.write("html/big.bin", vec![b'x'; BIG_BYTES]);
    let server = site.start("", "");
    let _slow = slow_download(&site);
    let mut half = Client::connect(site.port);
    half.send("GET / HTTP/1.1\r\nHo");
    // The server has seen the half request once another on the same loop is answered.
    assert_eq!(Client::connect(site.port).get("/").text(), "home\n");
    server.signal(Signal::QUIT);
    until("nobody listens any more", || {
        !ports::is_listening(site.port)
    });
    half.send("st: x\r\n\r\n");
    let response = half.response();
    assert_eq!(
        (response.status, response.header("connection")),
        (200, Some("close"))
    );
    half.closed();
}

#[test]
fn term_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let site = Site::new();
        site.folder.write("html/big.bin", vec![b'x'; BIG_BYTES]);
        let mut server = site.start("worker_processes 2;", "");
        let workers = server.workers_once(2);
        let mut slow = slow_download(&site);
        let start = Instant::now();
        server.signal(signal);
        assert!(server.wait().success());
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{:?}",
            start.elapsed()
        );
        assert!(workers.iter().all(|&worker| !proc::is_alive(worker)));
        let (rest, end) = slow.rest(PATIENCE);
        assert_ne!(end, End::Open);
        assert!(rest.len() < BIG_BYTES);
    }
}

#[test]
fn a_drain_has_its_deadline() {
    let site = Site::new();
    site.folder.write("html/big.bin", vec![b'x'; BIG_BYTES]);
    let mut server = site.start("worker_shutdown_timeout 300ms;", "");
    let _slow = slow_download(&site);
    let start = Instant::now();
    server.signal(Signal::QUIT);
    assert!(server.wait().success());
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(250) && took < Duration::from_secs(20),
        "{took:?}"
    );
}

#[test]
fn workers_end_without_their_master() {
    let site = Site::new();
    let mut server = site.start("worker_processes 2;", "");
    let workers = server.workers_once(2);
    assert_eq!(Client::connect(site.port).get("/").text(), "home\n");
    proc::signal(server.pid(), Signal::KILL);
    server.wait();
    until("the workers end", || {
        workers.iter().all(|&worker| !proc::is_alive(worker))
    });
    assert!(!ports::is_listening(site.port));
}
