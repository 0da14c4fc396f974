//! Lines that are held back are written in time, and on every occasion to let go of them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use flate2::read::MultiGzDecoder;
use rustix::process::Signal;

use super::Site;
use crate::support::{Client, get, until};

/// A log that holds its lines back.
const HELD: &str = "access_log logs/held.log combined buffer=64k;";

fn held(site: &Site, words: &str) -> usize {
    site.folder.count("logs/held.log", words)
}

#[test]
fn lines_that_are_held_back_are_written_at_the_end() {
    for (top, signal) in [
        ("", Signal::QUIT),
        ("", Signal::TERM),
        ("worker_threads 2;", Signal::QUIT),
        ("worker_threads 2;", Signal::TERM),
        ("master_process off;", Signal::QUIT),
        ("master_process off;", Signal::TERM),
    ] {
        let site = Site::new();
        let mut server = site.start(top, HELD);
        let mut clients: Vec<Client> = (0..4).map(|_| Client::connect(site.port)).collect();
        for client in &mut clients {
            assert_eq!(client.get("/here").status, 404);
        }
        assert_eq!(held(&site, "/here"), 0, "{top}");
        server.signal(signal);
        assert!(server.wait().success());
        assert_eq!(held(&site, "/here"), 4, "{top} {signal:?}");
    }
}

#[test]
fn lines_that_are_held_back_are_written_when_it_is_time() {
    let site = Site::new();
    let log = "access_log logs/held.log combined buffer=64k flush=200ms;";
    let _server = site.start("", log);
    for number in 0..3 {
        get(site.port, &format!("/{number}"));
        until("it is written though nobody asks for more", || {
            held(&site, &format!("/{number} ")) == 1
        });
    }
}

#[test]
fn a_reload_writes_what_was_held_back_also_where_the_log_goes() {
    let site = Site::new();
    let server = site.start("", HELD);
    for (round, log) in [(1, HELD), (2, "access_log logs/other.log;")] {
        get(site.port, "/before");
        assert_eq!(held(&site, "/before"), round - 1);
        let text = format!("{log} location = /{round} {{ return 200 new; }}");
        site.folder
            .write("nginx.conf", site.config("daemon off;", &text));
        server.signal(Signal::HUP);
        until("it is written", || held(&site, "/before") == round);
        until("the other is in force", || {
            get(site.port, &format!("/{round}")).text() == "new"
        });
    }
}

#[test]
fn a_request_that_outlives_its_configuration_is_logged_where_it_began() {
    let site = Site::new();
    site.folder.write("html/large", vec![b'x'; 8 << 20]);
    for log in ["access_log logs/held.log;", HELD] {
        let server = site.start("", log);
        let mut slow = TcpStream::connect(("127.0.0.1", site.port)).expect("a connection");
        slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
            .expect("a request");
        slow.peek(&mut [0]).expect("the response has begun");
        let text = "access_log off; location = /new { return 200 new; }";
        site.folder
            .write("nginx.conf", site.config("daemon off;", text));
        server.signal(Signal::HUP);
        until("it is in force", || get(site.port, "/new").text() == "new");
        assert_eq!(held(&site, "/large"), 0);
        let response = Client::over(slow).response();
        assert_eq!(response.body.len(), 8 << 20);
        until("it is logged", || held(&site, "/large") == 1);
        fs::remove_file(site.folder.file("logs/held.log")).expect("a log");
    }
}

/// How often logs are moved away while requests come, and how many ask.
const MOVES: usize = 12;
const CLIENTS: usize = 4;

#[test]
fn no_line_is_lost_or_cut_while_logs_are_moved_away_under_load() {
    let site = Site::new();
    site.folder.set_mode("logs", 0o777);
    let logs = "access_log logs/now.log; access_log logs/held.log combined buffer=4k; \
                access_log logs/small.log.gz combined gzip buffer=4k flush=50ms; \
                access_log logs/by-$request_method.log; open_log_file_cache max=4;";
    let mut server = site.start("worker_processes 2;", logs);
    let (is_over, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let (is_over, asked) = (&is_over, &asked);
    thread::scope(|scope| {
        let ask = |client: usize| {
            let (mut connection, mut count) = (Client::connect(site.port), 0);
            while !is_over.load(Ordering::Relaxed) {
                let path = format!("/c{client}-{count}-end");
                assert_eq!(connection.get(&path).status, 404);
                asked.fetch_add(1, Ordering::Relaxed);
                count += 1;
                // A connection serves so many by default.
                if count % 900 == 0 {
                    connection = Client::connect(site.port);
                }
            }
        };
        for client in 0..CLIENTS {
            scope.spawn(move || ask(client));
        }
        for number in 0..MOVES {
            let before = asked.load(Ordering::Relaxed);
            until("requests come", || {
                asked.load(Ordering::Relaxed) > before + 50
            });
            for log in ["now.log", "held.log", "small.log.gz", "by-GET.log"] {
                let then = site.folder.file(&format!("logs/{number}.{log}"));
                let now = site.folder.file(&format!("logs/{log}"));
                until("the log is there", || fs::rename(&now, &then).is_ok());
            }
            server.signal(Signal::USR1);
            let again = site.folder.file("logs/now.log");
            until("the logs are opened anew", || again.exists());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    server.signal(Signal::QUIT);
    assert!(server.wait().success());
    let asked = asked.load(Ordering::Relaxed);
    for log in ["now.log", "held.log", "small.log.gz", "by-GET.log"] {
        let mut seen = BTreeSet::new();
        for line in all(&site, log).lines() {
            let is_whole = line.starts_with("127.0.0.1 - - [") && line.ends_with(" \"-\" \"-\"");
            assert!(is_whole, "{log}: {line}");
            let (_, rest) = line.split_once("\"GET /c").expect("a request");
            let (name, _) = rest.split_once("-end HTTP/1.1\" 404 ").expect("a status");
            assert!(seen.insert(name.to_owned()), "{log}: {name} twice");
        }
        assert_eq!(seen.len(), asked, "{log}");
    }
}

/// All lines of a log, of the files that were moved away too.
fn all(site: &Site, log: &str) -> String {
    let old = (0..MOVES).map(|number| format!("logs/{number}.{log}"));
    let mut text = String::new();
    for name in old.chain([format!("logs/{log}")]) {
        let bytes = fs::read(site.folder.file(&name)).unwrap_or_default();
        if log.ends_with(".gz") && !bytes.is_empty() {
            let decoded = MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text);
            decoded.unwrap_or_else(|error| panic!("{name}: {error}"));
        } else {
            text += &String::from_utf8(bytes).expect("text");
        }
    }
    text
}
