//! When there is too little: descriptors, connections, room on the disk.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Site, config};
use crate::support::server::REVOLVE;
use crate::support::wait::PATIENCE;
use crate::support::{Client, End, Folder, Server, get, ports, proc, until};

/// Starts a server that may open 64 files.
fn with_64_descriptors(folder: Folder, http: &str) -> Site {
    let port = ports::free();
    folder.write("html/index.html", "home\n");
    folder.write("nginx.conf", config(&folder, port, http, ""));
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg("ulimit -n 64; exec \"$0\" -p \"$1\" -c nginx.conf");
    command
        .arg(REVOLVE)
        .arg(folder.path())
        .current_dir(folder.path());
    let server = Server::run(&mut command, folder.file("stderr.txt"), &[port]);
    Site {
        folder,
        port,
        server,
    }
}

#[test]
fn with_64_descriptors_200_clients_are_served_in_turn() {
    let site = with_64_descriptors(Folder::new(), "keepalive_timeout 60s;");
    let worker = site.worker();
    let start = Instant::now();
    let served: usize = std::thread::scope(|scope| {
        let client = || {
            // Each keeps its connection when it has been served: the idle ones must give way.
            let mut client = Client::connect(site.port);
            client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
            let response = client.try_response();
            let good = response.is_ok_and(|response| response.text() == "home\n");
            (client, usize::from(good))
        };
        let clients: Vec<_> = (0..200).map(|_| scope.spawn(client)).collect();
        let done: Vec<_> = clients
            .into_iter()
            .map(|it| it.join().expect("a client"))
            .collect();
        done.iter().map(|(_, good)| good).sum()
    });
    assert_eq!(served, 200, "all are served in turn");
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(proc::descriptors(worker) <= 64);
    assert_eq!(get(site.port, "/").text(), "home\n", "it recovers");
    assert_eq!(site.worker(), worker);
}

#[test]
fn with_64_busy_clients_nothing_spins_and_the_next_is_served_when_one_goes() {
    let site = with_64_descriptors(Folder::new(), "client_header_timeout 60s;");
    let worker = site.worker();
    // None of these idles: each has begun a request.
    let mut busy: Vec<Client> = Vec::new();
    for _ in 0..150 {
        let mut client = Client::connect(site.port);
        // Those that are turned away may be closed already.
        let _ = client.try_send("GET / HTTP/1.1\r\n");
        busy.push(client);
    }
    let before = proc::cpu_time(worker);
    std::thread::sleep(Duration::from_millis(1500));
    let spent = proc::cpu_time(worker) - before;
    assert!(
        spent < Duration::from_millis(500),
        "{spent:?} of processor time in 1.5 s of waiting"
    );
    drop(busy);
    until("it recovers", || {
        let mut client = Client::connect(site.port);
        client.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client
            .try_response()
            .is_ok_and(|response| response.text() == "home\n")
    });
    assert_eq!(site.worker(), worker);
    assert!(
        site.folder
            .count("logs/error.log", "24: Too many open files")
            < 20,
        "no flood of lines"
    );
}

#[test]
fn idle_connections_give_way_at_worker_connections() {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let port = ports::free();
    let text = config(&folder, port, "keepalive_timeout 60s;", "");
    let text = text.replace("worker_connections 1024;", "worker_connections 16;");
    let server = Server::start(&folder, &text, &[port]);
    let site = Site {
        folder,
        port,
        server,
    };
    let mut clients = Vec::new();
    for _ in 0..60 {
        let mut client = Client::connect(site.port);
        assert_eq!(client.get("/").text(), "home\n");
        clients.push(client);
    }
    assert!(
        site.folder
            .read("logs/error.log")
            .contains("worker_connections are not enough")
    );
}

#[test]
fn of_those_that_idle_a_share_gives_way_longest_idle_first() {
    const KEPT: usize = 40;
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let port = ports::free();
    let text = config(&folder, port, "keepalive_timeout 600s;", "");
    let connections = format!("worker_connections {KEPT};");
    let text = text.replace("worker_connections 1024;", &connections);
    let server = Server::start(&folder, &text, &[port]);
    server.workers_once(1);
    let kept = || {
        let mut client = Client::connect(port);
        assert_eq!(client.get("/").text(), "home\n");
        client
    };
    let mut clients: Vec<Client> = std::iter::repeat_with(kept).take(KEPT).collect();
    // From then on they are those that make way.
    std::thread::sleep(Duration::from_millis(1300));
    let mut one_more = Client::connect(port);
    assert_eq!(one_more.get("/").text(), "home\n");
    let ends = clients
        .iter_mut()
        .map(|it| it.rest(Duration::from_millis(20)).1);
    let ends: Vec<End> = ends.collect();
    let closed = ends.iter().filter(|end| **end != End::Open).count();
    assert!((1..=KEPT / 8).contains(&closed), "{closed} of {KEPT}");
    assert!(
        ends[..closed].iter().all(|end| *end != End::Open),
        "{ends:?}"
    );
    // Those are served that stay, and so is who comes back.
    for client in &mut clients[closed..] {
        assert_eq!(client.get("/").text(), "home\n");
    }
}

#[test]
fn a_full_disk_under_the_access_log_stops_no_request() {
    let site = Site::start("access_log /dev/full;", "");
    let mut client = Client::connect(site.port);
    for _ in 0..500 {
        assert_eq!(client.get("/").text(), "home\n");
    }
    let line = "write() to \"/dev/full\" failed (28: No space left on device)";
    until("it is complained about", || {
        site.folder.count("logs/error.log", line) > 0
    });
    for _ in 0..500 {
        assert_eq!(client.get("/").text(), "home\n");
    }
    assert_eq!(
        site.folder.count("logs/error.log", line),
        1,
        "once a minute"
    );
}

#[test]
fn a_full_disk_under_the_error_log_stops_no_request() {
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let port = ports::free();
    let text = config(&folder, port, "", "");
    let log = format!("{}/logs/error.log", folder.path().display());
    let server = Server::start(&folder, &text.replace(&log, "/dev/full"), &[port]);
    let site = Site {
        folder,
        port,
        server,
    };
    let mut client = Client::connect(site.port);
    for _ in 0..100 {
        assert_eq!(client.get("/nope").status, 404);
        assert_eq!(client.get("/").text(), "home\n");
    }
    until("the access log is complete", || {
        site.folder.count("logs/access.log", "404 GET /nope") == 100
    });
}
