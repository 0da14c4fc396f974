//! What operators do at noon: reload, upgrade and lose workers while clients retry nothing.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Site;
use super::upgrade::Upgraded;
use crate::support::wait::PATIENCE;
use crate::support::{Client, Load, Run, get, proc, revolve, until, until_some};

/// Connections of the load.
const CLIENTS: usize = 8;
/// Long responses that nobody reads meanwhile.
const STREAMS: usize = 100;
/// More than the sockets of both sides hold.
const STREAM_BYTES: usize = 6 << 20;

/// A site whose connections stay for as long as their clients like.
fn site() -> Site {
    let site = Site::new();
    site.folder.write("html/stream", vec![b's'; STREAM_BYTES]);
    site.folder.write("html/download", vec![b'd'; 48 << 20]);
    site
}

fn lines(round: usize) -> String {
    format!("keepalive_requests 1000000; location = /round {{ return 200 {round}; }}")
}

/// Responses that have begun, and are read to their end later.
struct Streams(Vec<Client>);

impl Streams {
    fn begin(port: u16) -> Streams {
        let begin = |_| {
            let mut client = Client::connect(port);
            client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
            client.head("200 OK");
            client
        };
        Streams((0..STREAMS).map(begin).collect())
    }

    fn finish(self) {
        for mut client in self.0 {
            let body = client.take(STREAM_BYTES).expect("the whole response");
            assert!(body == vec![b's'; STREAM_BYTES]);
        }
    }
}

/// A download that takes until `finish`.
struct Download(std::thread::JoinHandle<usize>);

impl Download {
    fn begin(port: u16) -> Download {
        let mut client = Client::connect(port);
        client.send("GET /download HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.head("200 OK");
        Download(std::thread::spawn(move || {
            let mut bytes = 0;
            // As slow as a modem for a while, and then as fast as it goes.
            while bytes < 24 << 20 {
                bytes += client.take(64 << 10).expect("more of it").len();
                std::thread::sleep(Duration::from_millis(10));
            }
            bytes + client.rest(PATIENCE).0.len()
        }))
    }

    fn finish(self) {
        assert_eq!(self.0.join().expect("the download"), 48 << 20);
    }
}

#[test]
fn two_hundred_reloads_are_not_felt() {
    let site = site();
    let top = "daemon off; worker_processes 2;";
    let config = |round| site.config(top, &lines(round));
    let server = crate::support::Server::start(&site.folder, &config(0), &[site.port]);
    let workers = server.workers_once(2);
    let load = Load::start(site.port, "/", CLIENTS);
    let (streams, download) = (Streams::begin(site.port), Download::begin(site.port));
    let mut client = Client::connect(site.port);
    let memory = || {
        workers
            .iter()
            .map(|&pid| proc::memory_bytes(pid))
            .sum::<u64>()
    };
    let mut early = 0;
    for round in 1..=200 {
        site.folder.write("nginx.conf", config(round));
        server.signal(Signal::HUP);
        let expected = round.to_string();
        until("the round is served", || {
            client.get("/round").text() == expected
        });
        if round == 10 {
            early = memory();
        }
    }
    let late = memory();
    assert_eq!(
        site.folder.count("logs/access.log", "/stream"),
        0,
        "none is finished"
    );
    download.finish();
    streams.finish();
    let tally = load.finish();
    println!("{tally:?}; memory after 10 and 200 reloads: {early} and {late} bytes");
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert_eq!(tally.connections, CLIENTS as u64, "{tally:?}");
    assert!(tally.requests > 1000, "{tally:?}");
    assert_eq!(server.workers(), workers, "the same processes");
    assert!(late * 100 <= early * 105, "{early} bytes became {late}");
}

#[test]
fn twenty_upgrades_are_not_felt() {
    let site = site();
    let server = Upgraded::start(&site, "worker_processes 2;", &lines(0));
    let load = Load::start(site.port, "/", CLIENTS);
    let download = Download::begin(site.port);
    for round in 0..20 {
        // A file of its own each time, as a package would bring.
        server.replace_binary();
        let old = server.pid();
        if round % 5 == 0 {
            let run = Run::of(server.command().arg("upgrade").args(server.arguments()));
            assert_eq!((run.err.as_str(), run.code), ("", 0), "{}", site.log());
        } else {
            server.both();
            proc::signal(old, Signal::QUIT);
        }
        assert_ne!(server.pid(), old);
        // The first one has the download to finish.
        until("the old one has ended", || {
            !site.folder.file("pid.oldbin").exists()
        });
    }
    download.finish();
    let tally = load.finish();
    println!("{tally:?}");
    assert!(tally.failures.is_empty(), "{tally:?}");
    assert_eq!(tally.connections, CLIENTS as u64, "{tally:?}");
    assert!(tally.requests > 1000, "{tally:?}");
    until("one master and its workers are left", || {
        let masters = site
            .folder
            .count("logs/error.log", "start worker processes");
        let ended = site.folder.count("logs/error.log", ": exit\n".trim_end());
        masters == 21 && ended >= 20 * 3
    });
    assert!(!site.folder.file("pid.oldbin").exists());
}

/// How long workers are killed for.
fn kill_time() -> Duration {
    let is_soak = std::env::var_os("REVOLVE_SOAK").is_some();
    Duration::from_secs(if is_soak { 60 } else { 5 })
}

#[test]
fn killed_workers_cost_their_own_connections_alone() {
    let site = Site::new();
    let server = site.start(
        "worker_processes 2;",
        "location = /pid { return 200 $pid; }",
    );
    server.workers_once(2);
    site.settle(2);
    let connect = || {
        let mut client = Client::connect(site.port);
        let pid = client.get("/pid").text();
        (client, pid)
    };
    let mut clients: Vec<(Client, String)> = (0..20).map(|_| connect()).collect();
    let descriptors = proc::descriptors(server.pid());
    let (start, mut waits, mut longest_ask) = (Instant::now(), Vec::new(), Duration::ZERO);
    while start.elapsed() < kill_time() {
        // Each lives for more than a second, so that its death is none of a crash loop.
        std::thread::sleep(Duration::from_millis(600));
        let workers = server.workers_once(2);
        // The one that was started first.
        let victim = workers[0];
        let killed = Instant::now();
        proc::kill(victim, Signal::KILL);
        let mut newcomers = Vec::new();
        until_some("a replacement serves", || {
            let asked = Instant::now();
            let (client, pid) = connect();
            longest_ask = longest_ask.max(asked.elapsed());
            let is_new = !workers.iter().any(|worker| worker.to_string() == pid);
            newcomers.push((client, pid));
            is_new.then_some(())
        });
        waits.push(killed.elapsed());
        let victim = victim.to_string();
        let (lost, kept): (Vec<_>, Vec<_>) = clients.drain(..).partition(|it| it.1 == victim);
        for (mut client, _) in lost {
            client.closed();
        }
        for (mut client, pid) in kept {
            assert_eq!(client.get("/pid").text(), pid);
            clients.push((client, pid));
        }
        clients.extend(newcomers);
        clients.truncate(40);
    }
    waits.sort();
    let (rounds, slowest) = (waits.len(), waits[waits.len() - 1]);
    // The usual one: on a busy machine anybody may have to wait for a processor once.
    let usual = waits[rounds / 2];
    println!(
        "{rounds} workers killed, a replacement served after {usual:?}, the slowest after {slowest:?}; \
         no client waited for longer than {longest_ask:?}"
    );
    assert!(usual < Duration::from_millis(500), "{waits:?}");
    server.workers_once(2);
    until("the master has nothing left of them", || {
        proc::descriptors(server.pid()) <= descriptors
    });
    assert_eq!(get(site.port, "/").text(), "home\n");
    let reload = Run::of(revolve(&site.folder).arg("-s").arg("reload"));
    assert_eq!(reload.code, 0, "{}", reload.err);
}
