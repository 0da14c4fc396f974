//! Much at once behind us: thousands of clients on a dead server, servers that come and go, disks and ports that
//! run out. The sizes are for every day; with `REVOLVE_NIGHTLY` set they are those that have to hold.

use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::faults::Application;
use super::{Site, config};
use crate::support::{Client, Folder, Run, Server, Upstream, get, ports, proc, revolve, until};

/// So many every day, and so many at night.
pub(super) fn sized(daily: usize, nightly: usize) -> usize {
    match std::env::var_os("REVOLVE_NIGHTLY") {
        Some(_) => nightly,
        None => daily,
    }
}

/// A site with room for so many clients and as many connections to servers.
fn roomy(clients: usize, http: &str, server: &str) -> Site {
    proc::raise_open_files();
    let folder = Folder::new();
    folder.write("html/index.html", "home\n");
    let port = ports::free();
    let connections = format!("worker_connections {};", clients * 2 + 500);
    let text = config(&folder, port, http, server);
    let text = text.replace("worker_connections 1024;", &connections);
    let server = Server::start(&folder, &text, &[port]);
    Site {
        folder,
        port,
        server,
    }
}

#[test]
fn many_clients_of_a_dead_server_get_their_errors_and_disturb_nobody() {
    let count = sized(500, 10_000);
    let address = format!("127.0.0.1:{}", ports::free());
    // One where nobody listens, and one whose kernel alone answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let still = silent.local_addr().unwrap();
    let site = roomy(
        count,
        &format!("upstream gone {{ server {address}; }}"),
        &format!(
            "location /gone {{ proxy_pass http://gone; }}
             location /still {{ proxy_pass http://{still}; proxy_read_timeout 2s; proxy_connect_timeout 2s; }}
             location /own {{ return 200 own; }}"
        ),
    );
    let worker = site.worker();
    for (path, status) in [("/gone", 502), ("/still", 504)] {
        let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(site.port)).collect();
        for client in &mut clients {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        }
        assert_eq!(get(site.port, "/own").text(), "own");
        for client in &mut clients {
            assert_eq!(client.response().status, status, "{path}");
        }
        drop(clients);
        until("nothing is left of them", || proc::descriptors(worker) < 60);
    }
    assert_eq!(get(site.port, "/own").text(), "own");
    assert_eq!(site.worker(), worker);
}

#[test]
fn a_storm_of_retries_stays_within_its_budget() {
    let asked = Arc::new(AtomicUsize::new(0));
    let failing = || {
        let asked = asked.clone();
        Upstream::start(move |mut it, _| {
            if it.try_head().is_some() {
                asked.fetch_add(1, Ordering::SeqCst);
            }
        })
    };
    let all = [failing(), failing(), failing()];
    let servers: String = all
        .iter()
        .map(|it| format!("server {} max_fails=0; ", it.address))
        .collect();
    let site = Site::start(
        &format!("upstream app {{ proxy_retry_budget 10% min=5; {servers} }}"),
        "location / { proxy_pass http://app; }",
    );
    let (threads, each) = (20, sized(20, 200));
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..each {
                    assert_eq!(get(site.port, "/").status, 502);
                }
            });
        }
    });
    let (requests, tries) = (threads * each, asked.load(Ordering::SeqCst));
    // What is counted is a span and the one before; each span that begins may spend its least once more.
    let most = requests + requests / 10 + 5 * 20;
    assert!(
        (requests + 5..=most).contains(&tries),
        "{tries} tries of {requests} requests"
    );
}

#[test]
fn no_request_is_lost_while_one_of_three_servers_is_taken_down_and_up() {
    let rounds = sized(10, 100);
    let mut applications: Vec<Application> = (0..3).map(|_| Application::new()).collect();
    let servers: String = applications
        .iter()
        .map(|it| format!("server 127.0.0.1:{} fail_timeout=1s; ", it.port))
        .collect();
    let site = Site::start(
        &format!("upstream app {{ {servers} }}"),
        "location / { proxy_pass http://app; }",
    );
    let load = crate::support::Load::start(site.port, "/", 8);
    for round in 0..rounds {
        let application = &mut applications[round % 3];
        // By turns it dies, and is told to go.
        match round % 2 {
            0 => application.kill(),
            _ => application.quit(),
        }
        thread::sleep(Duration::from_millis(30));
        application.start();
    }
    let tally = load.finish();
    assert!(tally.failures.is_empty(), "{:?}", tally.failures);
    assert!(tally.requests > rounds as u64, "{}", tally.requests);
}

#[test]
fn reloads_lose_no_websocket() {
    let count = sized(100, 1000);
    let upstream = Upstream::switching();
    let site = roomy(
        count,
        "",
        &format!(
            "location / {{ proxy_pass http://{}; proxy_set_header Upgrade $http_upgrade;
             proxy_set_header Connection upgrade; }}",
            upstream.address
        ),
    );
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients {
        client.send(
            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        );
        assert_eq!(client.response().status, 101);
    }
    for number in 2..5 {
        site.server.signal(Signal::HUP);
        let line = format!("serves configuration {number}");
        until(&line, || site.folder.read("logs/error.log").contains(&line));
        for (number, client) in clients.iter_mut().enumerate() {
            let said = format!("{number:04}");
            client.send(&said);
            assert_eq!(client.take(4).unwrap(), said.as_bytes());
        }
    }
}

#[test]
fn a_server_that_is_stopped_is_left_and_taken_again() {
    let applications: Vec<Application> = (0..2).map(|_| Application::new()).collect();
    let servers: String = applications
        .iter()
        .map(|it| format!("server 127.0.0.1:{} fail_timeout=1s; ", it.port))
        .collect();
    let site = Site::start(
        &format!("upstream app {{ {servers} }}"),
        "location / { proxy_pass http://app; proxy_read_timeout 300ms; proxy_connect_timeout 300ms;
         add_header X-Upstream $upstream_addr; }",
    );
    let first = format!("127.0.0.1:{}", applications[0].port);
    let asks_first = || {
        let answer = Client::connect(site.port).get("/");
        assert_eq!((answer.status, &*answer.text()), (200, "ok"));
        answer.header("x-upstream") == Some(&first)
    };
    until("both are asked", asks_first);
    let workers = applications[0].workers();
    workers
        .iter()
        .for_each(|pid| proc::signal(*pid, Signal::STOP));
    for _ in 0..10 {
        assert!(!asks_first(), "the one that stands still has not answered");
    }
    workers
        .iter()
        .for_each(|pid| proc::signal(*pid, Signal::CONT));
    until("it is asked again", asks_first);
}

/// Runs `revolve` in namespaces of its own, where `script` is run before; `$1` is the folder.
fn within(namespaces: &str, script: &str, site: (&Folder, u16), ports: &[u16]) -> Option<Server> {
    let (folder, _) = site;
    let mut probe = Command::new("unshare");
    probe.args([namespaces, "sh", "-c", script, "sh"]);
    if !proc::is_root() || Run::of(probe.arg(folder.path())).code != 0 {
        crate::support::left_out("no namespace of its own with what the test needs");
        return None;
    }
    let server = revolve(folder);
    let mut command = Command::new("unshare");
    let script = format!("{script} && shift && exec \"$@\"");
    command.args([namespaces, "sh", "-c", &script, "sh"]);
    command.arg(folder.path()).arg(server.get_program());
    command.args(server.get_args()).args(["-c", "nginx.conf"]);
    command.current_dir(folder.path());
    Some(Server::run(&mut command, folder.file("stderr.txt"), ports))
}

#[test]
fn a_temporary_folder_that_is_full_is_said_and_costs_that_request_alone() {
    let upstream = Upstream::start(|mut asked, _| {
        while let Some(head) = asked.try_head() {
            let length = head
                .lines()
                .find_map(|it| it.strip_prefix("Content-Length: "));
            asked.body(length.unwrap().parse().unwrap());
            asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let (folder, port) = (Folder::new(), ports::free());
    folder.make("logs");
    folder.make("small");
    let small = folder.path().join("small").display().to_string();
    let text = config(
        &folder,
        port,
        "",
        &format!(
            "client_max_body_size 100m; client_body_temp_path {small};
             location / {{ proxy_pass http://{}; }}",
            upstream.address
        ),
    );
    folder.write("nginx.conf", text);
    let script = "mount -t tmpfs -o size=512k,mode=777 tmpfs \"$1/small\"";
    let Some(_server) = within("--mount", script, (&folder, port), &[port]) else {
        return;
    };
    let post = |bytes: usize| {
        let mut client = Client::connect(port);
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {bytes}\r\n\r\n"
        ));
        // Whoever is refused in the midst of it may see that.
        let _ = client.try_send("x".repeat(bytes));
        client.try_response().map(|it| it.status)
    };
    for _ in 0..3 {
        let status = post(4_000_000);
        assert!(status.as_ref().is_ok_and(|it| *it == 500), "{status:?}");
        // What was written is gone again: the next one finds room.
        assert_eq!(post(300_000).unwrap(), 200);
    }
    let log = folder.read("logs/error.log");
    assert!(log.contains("(28: No space left on device)"), "{log}");
}

#[test]
fn ports_that_run_out_are_said_with_what_to_do() {
    let (folder, port) = (Folder::new(), ports::free());
    folder.make("logs");
    let socket = folder.file("socket");
    // Who asks is answered by the byte, so that the connections are all in use at once.
    let inner = 8081;
    let text = config(
        &folder,
        inner,
        "",
        "limit_rate 10; location / { return 200 aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; }",
    );
    let outer = format!(
        "server {{ listen unix:{}; location / {{ proxy_pass http://127.0.0.1:{inner}; }}
         location /own {{ return 200 own; }} }}",
        socket.display()
    );
    let end = text.rfind("}\n").unwrap();
    let text = format!("{}{outer}\n}}\n", &text[..end]);
    folder.write("nginx.conf", text);
    let script = "ip link set lo up && echo '40000 40003' > /proc/sys/net/ipv4/ip_local_port_range";
    let Some(_server) = within("--net", script, (&folder, port), &[]) else {
        return;
    };
    until("it listens", || UnixStream::connect(&socket).is_ok());
    let ask = |path: &str| {
        use std::io::{Read, Write};
        let mut stream = UnixStream::connect(&socket).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let statuses: Vec<String> = thread::scope(|scope| {
        let asked: Vec<_> = (0..10).map(|_| scope.spawn(|| ask("/"))).collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let of = |status: &str| statuses.iter().filter(|it| *it == status).count();
    assert_eq!((of("200"), of("502")), (4, 6), "{statuses:?}");
    assert_eq!(ask("/own"), "200");
    assert_eq!(ask("/"), "200", "what was in use serves again");
    let log = folder.read("logs/error.log");
    let line = "connect() failed (99: Cannot assign requested address) while connecting to upstream; no \
                local address or port is free: let more connections be kept (keepalive), widen \
                net.ipv4.ip_local_port_range";
    assert!(log.contains(line), "{log}");
}
