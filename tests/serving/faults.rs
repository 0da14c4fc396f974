//! What goes wrong behind us: servers that die, stand still, stammer, or say too much.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::Site;
use crate::support::{Client, Folder, Server, Upstream, ports, proc, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A site that passes everything to one server, and answers `/own` itself.
fn before(upstream: &Upstream, more: &str) -> Site {
    Site::start(
        "",
        &format!(
            "location / {{ proxy_pass http://{}; {more} }} location /own {{ return 200 own; }}",
            upstream.address
        ),
    )
}

/// A server that says some bytes and closes.
fn saying(bytes: impl Into<Vec<u8>>) -> Upstream {
    let bytes = bytes.into();
    Upstream::start(move |mut asked, _| {
        asked.head();
        asked.say(&bytes);
    })
}

fn logs(site: &Site, line: &str) {
    until(line, || site.folder.read("logs/error.log").contains(line));
}

#[test]
fn what_is_no_whole_head_is_502() {
    let headers: String = (0..1001)
        .map(|number| format!("X-{number}: a\r\n"))
        .collect();
    for (said, line) in [
        (
            "HTTP/1.1 200 OK\r\nX-A",
            "upstream prematurely closed connection while reading response header",
        ),
        (
            "",
            "upstream prematurely closed connection while reading response header",
        ),
        (
            "\0\u{1}\u{2}",
            "upstream sent invalid status line while reading response header",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(20_000)),
            "upstream sent too big header (proxy_buffer_size bounds it) while reading",
        ),
        (
            &"HTTP/1.1 100 Continue\r\n\r\n".repeat(17),
            "upstream sent too many interim responses while reading",
        ),
        (
            &format!("HTTP/1.1 200 OK\r\n{headers}\r\n"),
            "upstream sent too many header lines while reading",
        ),
    ] {
        let upstream = saying(said);
        let site = before(&upstream, "");
        assert_eq!(Client::connect(site.port).get("/").status, 502, "{line}");
        logs(&site, line);
    }
}

#[test]
fn a_body_that_breaks_off_is_not_taken_for_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (said, line) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_owned(),
            "upstream prematurely closed connection while reading upstream",
        ),
        (
            format!("{chunked}5\r\nhal"),
            "upstream prematurely closed connection while reading upstream",
        ),
        (
            format!("{chunked}nonsense\r\n"),
            "upstream sent invalid chunked response",
        ),
        (
            format!("{chunked}1;{}\r\nx\r\n", "e".repeat(100_000)),
            "upstream sent invalid chunked response",
        ),
    ] {
        let upstream = saying(said);
        let site = before(&upstream, "");
        let mut client = Client::connect(site.port);
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(client.try_response().is_err(), "{line}");
        logs(&site, line);
    }
}

#[test]
fn what_comes_behind_an_answer_is_nobodys() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    let upstream = Upstream::start(move |mut asked, _| {
        counts.fetch_add(1, Ordering::SeqCst);
        loop {
            if asked.try_body(1).is_none() {
                return;
            }
            asked.head();
            asked.say(format!(
                "{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
            ));
        }
    });
    let site = before(&upstream, "");
    let mut client = Client::connect(site.port);
    for _ in 0..5 {
        assert_eq!(client.get("/").text(), "ok");
    }
    assert_eq!(
        asked.load(Ordering::SeqCst),
        5,
        "no such connection is used again"
    );
}

#[test]
fn connections_that_break_off() {
    let at_once = Upstream::start(|mut asked, _| {
        asked.head();
        asked.reset();
    });
    let in_the_midst = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        thread::sleep(Duration::from_millis(100));
        asked.reset();
    });
    let site = before(&at_once, "");
    assert_eq!(Client::connect(site.port).get("/").status, 502);
    logs(
        &site,
        "recv() failed (104: Connection reset by peer) while reading response header from upstream",
    );
    let site = before(&in_the_midst, "");
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.try_response().is_err());
    logs(
        &site,
        "recv() failed (104: Connection reset by peer) while reading upstream",
    );
}

#[test]
fn a_server_that_stammers_is_waited_for_and_one_that_stands_still_is_not() {
    let slow = Upstream::start(|mut asked, _| {
        asked.head();
        for byte in OK.as_bytes() {
            asked.say([*byte]);
            thread::sleep(Duration::from_millis(20));
        }
        asked.wait_closed();
    });
    let site = before(&slow, "proxy_read_timeout 300ms;");
    assert_eq!(Client::connect(site.port).get("/").text(), "ok");
    // It is connected to by its kernel alone.
    let stopped = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = stopped.local_addr().unwrap();
    let site = Site::start(
        "",
        &format!("location / {{ proxy_pass http://{address}; proxy_read_timeout 300ms; }}"),
    );
    assert_eq!(Client::connect(site.port).get("/").status, 504);
    let still = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        asked.wait_closed();
    });
    let site = before(&still, "proxy_read_timeout 300ms;");
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.try_response().is_err());
    logs(
        &site,
        "upstream timed out (110: Connection timed out) while reading upstream",
    );
}

#[test]
fn a_refusal_before_the_body_was_read_gets_through_although_the_connection_breaks() {
    let upstream = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 413 Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge");
        // What it has not read makes the kernel break the connection off.
        thread::sleep(Duration::from_millis(100));
    });
    for more in [
        "client_body_buffer_size 16m;",
        "proxy_request_buffering off;",
    ] {
        let site = before(&upstream, &format!("client_max_body_size 0; {more}"));
        let mut client = Client::connect(site.port);
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000000\r\n\r\n");
        // The answer may come while the client still sends.
        let _ = client.try_send("x".repeat(8_000_000));
        let response = client.try_response();
        let response = response.unwrap_or_else(|error| panic!("{more}: {error}"));
        assert_eq!(
            (response.status, &*response.text()),
            (413, "large"),
            "{more}"
        );
    }
}

#[test]
fn tries_are_bounded_and_a_post_is_sent_once() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = asked.clone();
    let closing = Upstream::start(move |mut asked, _| {
        asked.head();
        counts.fetch_add(1, Ordering::SeqCst);
    });
    let to = closing.address;
    let servers = "server ".to_owned() + &to.to_string() + " max_fails=0;";
    let site = Site::start(
        &format!(
            "upstream app {{ {servers} {servers} {servers} {servers} }}"
        ),
        "location / { proxy_pass http://app; } location /two { proxy_pass http://app; proxy_next_upstream_tries 2; }
         location /off { proxy_pass http://app; proxy_next_upstream off; }
         location /all { proxy_pass http://app; proxy_next_upstream error non_idempotent; }",
    );
    for (request, tries) in [
        ("GET /", 4),
        ("GET /two", 2),
        ("GET /off", 1),
        ("POST /", 1),
        ("POST /all", 4),
    ] {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "{request} HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(client.response().status, 502, "{request}");
        assert_eq!(asked.swap(0, Ordering::SeqCst), tries, "{request}");
    }
}

/// A server of ours as an application.
pub(super) struct Application {
    folder: Folder,
    pub(super) port: u16,
    server: Option<Server>,
}

impl Application {
    pub(super) fn new() -> Application {
        let folder = Folder::new();
        let port = ports::free();
        let mut application = Application {
            folder,
            port,
            server: None,
        };
        application.start();
        application
    }

    pub(super) fn start(&mut self) {
        let config = super::config(&self.folder, self.port, "", "location / { return 200 ok; }");
        self.server = Some(Server::start(&self.folder, &config, &[self.port]));
    }

    /// The processes that serve.
    pub(super) fn workers(&self) -> Vec<u32> {
        self.server.as_ref().expect("it runs").workers_once(1)
    }

    /// Has it end.
    pub(super) fn quit(&mut self) {
        let mut server = self.server.take().expect("it runs");
        server.signal(Signal::QUIT);
        assert!(server.wait().success());
    }

    /// Kills it with all its processes.
    pub(super) fn kill(&mut self) {
        let server = self.server.take().expect("it runs");
        let workers = server.workers();
        server.signal(Signal::KILL);
        for worker in workers {
            let _ = proc::try_signal(worker, Signal::KILL);
        }
        drop(server);
    }
}
