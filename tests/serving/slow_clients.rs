//! Clients that take their time, and what it costs the others.

use std::time::{Duration, Instant};

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Client, End, get, until};

const SLOW: usize = 200;

#[test]
fn clients_that_send_a_byte_at_a_time_are_timed_out_and_cost_nobody_else() {
    let site = Site::start("client_header_timeout 1s;", "");
    let mut slow: Vec<Client> = (0..SLOW).map(|_| Client::connect(site.port)).collect();
    let request = b"GET /slow HTTP/1.1\r\nHost: x\r\nX: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy";
    let start = Instant::now();
    let mut waits = Vec::new();
    for byte in request {
        for client in &mut slow {
            // Once it is timed out nobody listens to it.
            let _ = client.try_send([*byte]);
        }
        let asked = Instant::now();
        assert_eq!(get(site.port, "/").status, 200);
        waits.push(asked.elapsed());
        if start.elapsed() > Duration::from_millis(1300) {
            break;
        }
    }
    // Not the slowest: a machine that has other things to do makes anybody wait once.
    waits.sort();
    let usual = waits[waits.len() / 2];
    assert!(
        usual < Duration::from_millis(500),
        "other clients waited {waits:?}"
    );
    for client in &mut slow {
        let (bytes, end) = client.rest(PATIENCE);
        assert_eq!(bytes, b"", "a client that is timed out hears nothing");
        assert_ne!(end, End::Open);
    }
    let took = start.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(20),
        "{took:?}"
    );
    until("each is logged", || {
        site.folder.count("logs/access.log", "408 ") == SLOW
    });
    let line = "client timed out (110: Connection timed out) while reading client request";
    until("and why", || {
        site.folder.count("logs/error.log", line) == SLOW
    });
}

#[test]
fn a_client_that_says_nothing_is_closed_without_a_line() {
    let site = Site::start("client_header_timeout 300ms;", "");
    let mut silent = Client::connect(site.port);
    let waited = silent.closed();
    assert!(
        waited > Duration::from_millis(200) && waited < Duration::from_secs(20),
        "{waited:?}"
    );
    assert_eq!(get(site.port, "/").status, 200);
    until("the other is logged", || {
        site.folder.count("logs/access.log", "200 ") == 1
    });
    assert_eq!(site.folder.count("logs/access.log", "408"), 0);
}

#[test]
fn a_head_that_is_cut_by_a_half_close_is_closed() {
    let site = Site::start("", "");
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHo");
    client.half_close();
    client.closed();
    until("it is logged", || {
        site.folder.count("logs/access.log", "400 GET / HTTP/1.1") == 1
    });
}

#[test]
fn a_half_closed_client_gets_all_its_answers() {
    let site = Site::start("", "");
    site.folder.write("html/big.bin", vec![b'x'; 3 << 20]);
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\nGET /big.bin HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client.half_close();
    assert_eq!(client.response().text(), "home\n");
    assert_eq!(client.response().body.len(), 3 << 20);
    assert_eq!(client.response().text(), "home\n");
    client.closed();
}

#[test]
fn a_client_that_stops_reading_is_closed_after_send_timeout() {
    let site = Site::start("send_timeout 2s;", "");
    site.folder.write("html/big.bin", vec![b'x'; 24 << 20]);
    let mut client = Client::connect(site.port);
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    let line = "client timed out (110: Connection timed out) while sending response to client";
    until("it is given up", || {
        site.folder.count("logs/error.log", line) == 1
    });
    until("and logged", || {
        site.folder.count("logs/access.log", "200 GET /big.bin") == 1
    });
    let (bytes, end) = client.rest(PATIENCE);
    assert_ne!(end, End::Open);
    assert!(bytes.len() < 24 << 20);
    // A client that reads slowly, but reads, is not given up.
    let mut client = Client::connect(site.port);
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut taken = 0;
    while taken < 24 << 20 {
        let part = (2 << 20).min((24 << 20) - taken);
        client.take(part).expect("more of it");
        taken += part;
        crate::support::wait::stays(Duration::from_millis(100), || true);
    }
}

#[test]
fn a_slow_body_is_not_waited_for_for_ever() {
    let site = Site::start(
        "client_body_timeout 300ms; lingering_timeout 300ms; lingering_time 1s;",
        "location /ok { return 200 ok; }",
    );
    let mut client = Client::connect(site.port);
    client.send("POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(client.response().text(), "ok");
    assert!(client.closed() < Duration::from_secs(20));
}
