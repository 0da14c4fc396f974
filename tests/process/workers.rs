//! Workers that die.

use std::time::Instant;

use rustix::process::Signal;

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Client, get, proc, until};

#[test]
fn a_killed_worker_is_replaced_and_serves() {
    let site = Site::new();
    let server = site.start("", "");
    let mut last = server.workers_once(1)[0];
    for _ in 0..3 {
        let mut client = Client::connect(site.port);
        assert_eq!(client.get("/").text(), "home\n");
        let start = Instant::now();
        proc::kill(last, Signal::KILL);
        client.closed();
        // Clients wait in the socket's queue meanwhile: none is refused.
        assert_eq!(get(site.port, "/").text(), "home\n");
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        let workers = server.workers_once(1);
        assert_ne!(workers[0], last);
        let line = format!("worker process {last} exited on signal 9");
        until("the log has it", || site.log().contains(&line));
        last = workers[0];
    }
}

#[test]
fn the_others_serve_on_when_one_dies() {
    let site = Site::new();
    let server = site.start("worker_processes 2;", "return 200 $pid;");
    let workers = server.workers_once(2);
    until("both serve", || {
        site.folder
            .count("logs/error.log", "serves configuration 1")
            == 2
    });
    let mut clients: Vec<(Client, String)> = (0..40)
        .map(|_| {
            let mut client = Client::connect(site.port);
            let pid = client.get("/").text();
            (client, pid)
        })
        .collect();
    let victim = workers[0].to_string();
    proc::kill(workers[0], Signal::KILL);
    let (lost, kept): (Vec<_>, Vec<_>) = clients.drain(..).partition(|(_, pid)| *pid == victim);
    assert!(!lost.is_empty() && !kept.is_empty(), "both had connections");
    for (mut client, pid) in kept {
        assert_eq!(client.get("/").text(), pid);
    }
    for (mut client, _) in lost {
        client.closed();
    }
    server.workers_once(2);
}

#[test]
fn every_worker_gets_its_clients() {
    let site = Site::new();
    let server = site.start("worker_processes 4;", "return 200 $pid;");
    let workers = server.workers_once(4);
    let mut clients = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    until("each worker has served", || {
        let mut client = Client::connect(site.port);
        seen.insert(client.get("/").text());
        clients.push(client);
        seen.len() == workers.len()
    });
    let expected: std::collections::BTreeSet<String> = workers.iter().map(u32::to_string).collect();
    assert_eq!(seen, expected);
}
