//! HUP: a new configuration, in the same workers.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use rustix::process::Signal;

use super::Site;
use crate::support::{Client, Run, Server, get, ports, proc, revolve, until};

#[test]
fn the_next_request_of_an_open_connection_sees_the_new_configuration() {
    let site = Site::new();
    let server = site.start("worker_processes 2;", "return 200 old;");
    let workers = server.workers_once(2);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").text(), "old");
    }
    site.folder.write(
        "nginx.conf",
        site.config("daemon off; worker_processes 2;", "return 200 new;"),
    );
    let reload = Run::of(revolve(&site.folder).arg("-s").arg("reload"));
    assert_eq!((reload.err.as_str(), reload.code), ("", 0));
    for client in &mut clients {
        until("the connection serves the new configuration", || {
            client.get("/").text() == "new"
        });
    }
    assert_eq!(server.workers(), workers, "the same processes");
    assert!(
        site.log().contains("[notice]") && site.log().contains(", reconfiguring"),
        "{}",
        site.log()
    );
}

#[test]
fn a_hundred_reloads_lose_no_request_and_no_memory_of_it() {
    let site = Site::new();
    let server = site.start("worker_processes 2;", "return 200 0;");
    let workers = server.workers_once(2);
    let descriptors = |pid| crate::support::proc::descriptors(pid);
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/").status, 200);
    site.settle(2);
    let before: Vec<usize> = workers.iter().map(|&pid| descriptors(pid)).collect();
    for round in 1..=100 {
        let text = format!("return 200 {round};");
        site.folder.write(
            "nginx.conf",
            site.config("daemon off; worker_processes 2;", &text),
        );
        server.signal(Signal::HUP);
        let expected = round.to_string();
        until("the round is served", || client.get("/").text() == expected);
        assert_eq!(get(site.port, "/").status, 200);
    }
    assert_eq!(server.workers(), workers);
    until("no descriptor is left over", || {
        let after = workers.iter().map(|&pid| descriptors(pid));
        after
            .zip(&before)
            .all(|(after, before)| after <= before + 3)
    });
}

#[test]
fn a_bad_configuration_changes_nothing() {
    let site = Site::new();
    let server = site.start("", "return 200 old;");
    let workers = server.workers_once(1);
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/").text(), "old");
    let bad = site.config("daemon off;", "retrun 200 new;\nroot a b;");
    site.folder.write("nginx.conf", &bad);
    server.signal(Signal::HUP);
    let place = format!("in {}", site.folder.file("nginx.conf").display());
    for words in [
        "unknown directive \"retrun\"",
        "invalid number of arguments in \"root\" directive",
    ] {
        let line = format!("{words} {place}:");
        until("the log has it", || site.log().contains(&line));
    }
    assert_eq!(client.get("/").text(), "old");
    assert_eq!(server.workers(), workers);
    // A port that somebody else has is no reason to stop serving either.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let text = format!("return 200 new; listen 127.0.0.1:{port};");
    site.folder
        .write("nginx.conf", site.config("daemon off;", &text));
    server.signal(Signal::HUP);
    let line = format!("bind() to 127.0.0.1:{port} failed (98: Address already in use)");
    until("the log has it", || site.log().contains(&line));
    assert_eq!(client.get("/").text(), "old");
    // And the next good one is taken.
    site.folder
        .write("nginx.conf", site.config("daemon off;", "return 200 new;"));
    server.signal(Signal::HUP);
    until("the good one is served", || client.get("/").text() == "new");
    assert_eq!(server.workers(), workers);
}

#[test]
fn listeners_come_and_go() {
    let site = Site::new();
    let server = site.start("", "return 200 $server_port;");
    let workers = server.workers_once(1);
    let second = ports::free();
    let mut first_client = Client::connect(site.port);
    assert_eq!(first_client.get("/").text(), site.port.to_string());
    let both = format!("listen 127.0.0.1:{second}; return 200 $server_port;");
    site.folder
        .write("nginx.conf", site.config("daemon off;", &both));
    server.signal(Signal::HUP);
    until("the new port is open", || ports::is_listening(second));
    assert_eq!(get(second, "/").text(), second.to_string());
    assert_eq!(first_client.get("/").text(), site.port.to_string());
    let alone = site.config("daemon off;", "return 200 $server_port;");
    let alone = alone.replace(
        &format!("listen 127.0.0.1:{};", site.port),
        &format!("listen 127.0.0.1:{second};"),
    );
    site.folder.write("nginx.conf", alone);
    server.signal(Signal::HUP);
    until("the old port is closed", || !ports::is_listening(site.port));
    assert_eq!(get(second, "/").text(), second.to_string());
    assert_eq!(server.workers(), workers);
}

#[test]
fn the_number_of_workers_follows() {
    let site = Site::new();
    let server = site.start("worker_processes 1;", "");
    let first = server.workers_once(1);
    for count in [3, 2] {
        let top = format!("daemon off; worker_processes {count};");
        site.folder.write("nginx.conf", site.config(&top, ""));
        server.signal(Signal::HUP);
        let workers = server.workers_once(count);
        assert!(workers.contains(&first[0]), "those that can stay, stay");
        assert_eq!(get(site.port, "/").text(), "home\n");
    }
}

#[test]
fn a_download_goes_on_through_a_reload() {
    let site = Site::new();
    let size = 24 << 20;
    site.folder.write("html/big.bin", vec![b'x'; size]);
    let server = site.start("", "");
    let mut client = Client::connect(site.port);
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\n\r\n");
    let start = client.take(1000).expect("the beginning");
    site.folder
        .write("nginx.conf", site.config("daemon off;", "return 200 new;"));
    server.signal(Signal::HUP);
    until("the new configuration is served", || {
        get(site.port, "/").text() == "new"
    });
    let head = crate::support::client::find(&start, b"\r\n\r\n").expect("a head") + 4;
    let rest = client.take(size - (1000 - head)).expect("all of it");
    assert!(rest.iter().all(|&byte| byte == b'x'));
    assert_eq!(client.get("/").text(), "new");
}

#[test]
fn a_backlog_is_changed_where_it_is() {
    let site = Site::new();
    let config = |backlog: u32| {
        let config = site.config("daemon off;", "");
        let listen = format!("listen 127.0.0.1:{}", site.port);
        config.replace(&listen, &format!("{listen} backlog={backlog}"))
    };
    let server = Server::start(&site.folder, &config(1), &[site.port]);
    let worker = server.workers_once(1)[0];
    site.settle(1);
    proc::signal(worker, Signal::STOP);
    let address = SocketAddr::from(([127, 0, 0, 1], site.port));
    let connect = |patience| TcpStream::connect_timeout(&address, patience);
    let mut waiting = Vec::new();
    let first_refused = (0..40).find(|_| match connect(Duration::from_millis(300)) {
        Ok(stream) => {
            waiting.push(stream);
            false
        }
        Err(_) => true,
    });
    // The kernel takes one more than it is told.
    assert!(
        first_refused.is_some_and(|place| place >= 1),
        "{first_refused:?}"
    );
    site.folder.write("nginx.conf", config(64));
    server.signal(Signal::HUP);
    until("it is taken", || site.log().contains("configuration 2: "));
    // The worker has heard nothing of it: the socket is the master's, too.
    for _ in 0..20 {
        waiting.push(connect(crate::support::wait::PATIENCE).expect("there is room"));
    }
    proc::signal(worker, Signal::CONT);
    assert_eq!(get(site.port, "/").text(), "home\n");
}
