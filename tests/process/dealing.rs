//! Connections are dealt evenly between worker processes.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Client, Server, get, proc, until};

const WORKERS: usize = 4;
const THREADS: usize = 8;
const CONNECTIONS: usize = 480;

/// Connects in a burst; by worker, the connections that it has then.
fn burst(port: u16) -> BTreeMap<String, Vec<Client>> {
    proc::raise_open_files();
    let connect = || {
        let clients = (0..CONNECTIONS / THREADS).map(|_| Client::connect(port));
        clients.collect::<Vec<_>>()
    };
    let clients: Vec<Client> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(connect)).collect();
        let clients = threads.into_iter().map(|thread| thread.join().unwrap());
        clients.flatten().collect()
    });
    let mut by_worker: BTreeMap<String, Vec<Client>> = BTreeMap::new();
    for mut client in clients {
        let pid = client.get("/pid").text();
        by_worker.entry(pid).or_default().push(client);
    }
    by_worker
}

fn is_even(by_worker: &BTreeMap<String, Vec<Client>>, workers: usize) -> bool {
    let even = CONNECTIONS / workers;
    let mut counts = by_worker.values().map(Vec::len);
    by_worker.len() == workers && counts.all(|count| count.abs_diff(even) * 10 <= even)
}

#[track_caller]
fn assert_even(by_worker: &BTreeMap<String, Vec<Client>>, workers: usize) {
    let counts: Vec<usize> = by_worker.values().map(Vec::len).collect();
    assert!(is_even(by_worker, workers), "{counts:?}");
}

/// Connects in bursts until one was dealt evenly: a worker that gets no turn on a busy machine has no
/// say while a burst lasts, but not again and again.
#[track_caller]
fn even_burst(port: u16, workers: usize) -> BTreeMap<String, Vec<Client>> {
    const TRIES: usize = 5;
    for _ in 1..TRIES {
        let by_worker = burst(port);
        if is_even(&by_worker, workers) {
            return by_worker;
        }
        drop(by_worker);
        until_gone(port);
    }
    let by_worker = burst(port);
    assert_even(&by_worker, workers);
    by_worker
}

fn until_gone(port: u16) {
    until("all have gone", || {
        get(port, "/status")
            .text()
            .starts_with("Active connections: 1 ")
    });
}

const PID: &str = "location = /pid { return 200 $pid; } location = /status { stub_status; }";

/// Starts the server, and waits until all workers serve.
fn start(site: &Site, top: &str) -> Server {
    let server = site.start(&format!("worker_processes {WORKERS}; {top}"), PID);
    until("all serve", || serving(site) == WORKERS);
    server
}

/// How many workers have said that they serve.
fn serving(site: &Site) -> usize {
    site.log().matches("serves configuration").count()
}

#[test]
fn a_burst_is_dealt_evenly() {
    let site = Site::new();
    let _server = start(&site, "");
    for _ in 0..3 {
        drop(even_burst(site.port, WORKERS));
        until_gone(site.port);
    }
}

#[test]
fn a_burst_is_dealt_evenly_between_workers_of_several_loops() {
    let site = Site::new();
    let _server = start(&site, "worker_threads 2;");
    even_burst(site.port, WORKERS);
}

#[test]
fn a_new_worker_gets_its_share() {
    let site = Site::new();
    let server = start(&site, "");
    let workers = server.workers_once(WORKERS);
    let mut by_worker = even_burst(site.port, WORKERS);
    proc::kill(workers[0], Signal::KILL);
    let lost = by_worker.remove(&workers[0].to_string()).unwrap().len();
    until("there is another", || {
        let now = server.workers();
        now.len() == WORKERS && !now.contains(&workers[0]) && serving(&site) > WORKERS
    });
    // As many as were lost come again, one by one: all go where there are fewest.
    for _ in 0..lost {
        let mut client = Client::connect(site.port);
        let pid = client.get("/pid").text();
        by_worker.entry(pid).or_default().push(client);
    }
    assert_even(&by_worker, WORKERS);
}

#[test]
fn a_worker_that_stands_still_keeps_few_from_being_served() {
    let site = Site::new();
    let server = start(&site, "");
    let workers = server.workers_once(WORKERS);
    proc::signal(workers[0], Signal::STOP);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients {
        client.send("GET /pid HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    until("all are served but its share", || {
        clients.retain_mut(|client| client.rest(Duration::from_millis(5)).0.is_empty());
        clients.len() <= 100 / WORKERS + 10
    });
    // They lie where its successor finds them, unless it had taken them over.
    proc::kill(workers[0], Signal::KILL);
    for mut client in clients {
        let (bytes, end) = client.rest(PATIENCE);
        assert!(
            bytes.starts_with(b"HTTP/1.1 200") || end != crate::support::End::Open,
            "served by the successor, or closed with the one that died"
        );
    }
}

#[test]
fn fewer_workers_lose_no_connection() {
    let site = Site::new();
    let server = start(&site, "");
    let port = site.port;
    let served = thread::spawn(move || {
        let served = (0..400).filter(|_| get(port, "/pid").status == 200);
        served.count()
    });
    for workers in [2, 1, 3] {
        let top = format!("daemon off; worker_processes {workers};");
        site.folder.write("nginx.conf", site.config(&top, PID));
        server.signal(Signal::HUP);
        server.workers_once(workers);
    }
    assert_eq!(served.join().unwrap(), 400);
    // A worker that was alone meanwhile deals and is dealt to again.
    until("all serve", || serving(&site) >= WORKERS + 2 + 1 + 3);
    even_burst(port, 3);
}

/// How long each of so many new connections waits for its answer, one after the other.
#[track_caller]
fn waits(port: u16, count: usize, kept: &mut Vec<Client>) -> Vec<Duration> {
    let one = || {
        let start = Instant::now();
        let mut client = Client::connect(port);
        assert_eq!(client.get("/pid").status, 200);
        kept.push(client);
        start.elapsed()
    };
    std::iter::repeat_with(one).take(count).collect()
}

/// What a client may wait that a late worker was dealt first: the patience with that one, and what a busy
/// machine adds.
const WAIT_MAX: Duration = Duration::from_secs(5);

#[test]
fn a_worker_that_stands_still_keeps_nobody_waiting() {
    for top in [
        "worker_processes 2;",
        "worker_processes 3;",
        "worker_processes 2; worker_threads 2;",
    ] {
        let site = Site::new();
        let server = site.start(top, PID);
        let count = top.as_bytes()[17] - b'0';
        until("all serve", || serving(&site) == usize::from(count));
        let workers = server.workers_once(count.into());
        proc::signal(workers[0], Signal::STOP);
        // What it takes before it stands still it has for itself.
        until("it stands still", || proc::is_stopped(workers[0]));
        let mut kept = Vec::new();
        let slowest = waits(site.port, 88, &mut kept).into_iter().max();
        assert!(slowest.is_some_and(|it| it < WAIT_MAX), "{top} {slowest:?}");
        let mut served: Vec<String> = kept.iter_mut().map(|it| it.get("/pid").text()).collect();
        served.sort();
        served.dedup();
        assert_eq!(served.len(), workers.len() - 1, "{top}");
        // It runs again, and gets its share.
        proc::signal(workers[0], Signal::CONT);
        let own = workers[0].to_string();
        until("it is dealt to", || {
            waits(site.port, 4, &mut kept);
            kept.iter_mut()
                .rev()
                .take(4)
                .any(|it| it.get("/pid").text() == own)
        });
    }
}
