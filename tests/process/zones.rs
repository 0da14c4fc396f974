//! State that the workers share, through reloads and deaths.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::Site;
use crate::support::wait::comes;
use crate::support::{Client, Server, get, proc, until};

/// More than the kernel's buffers take, so that a client which does not read keeps its request
/// under way.
const LARGE_BYTES: u64 = 64 << 20;

/// A site with a file too large for a client that does not read, and lines in `http`.
struct Zoned {
    site: Site,
    server: Server,
}

impl Zoned {
    fn config(site: &Site, top: &str, http: &str, server: &str) -> String {
        let config = site.config(&format!("daemon off; {top}"), server);
        config.replacen("server {", &format!("{http}\nserver {{"), 1)
    }

    #[track_caller]
    fn start(top: &str, http: &str, server: &str) -> Zoned {
        let site = Site::new();
        site.folder.write("html/large", "");
        let large = std::fs::File::options()
            .write(true)
            .open(site.folder.file("html/large"));
        large.unwrap().set_len(LARGE_BYTES).unwrap();
        let config = Zoned::config(&site, top, http, server);
        let server = Server::start(&site.folder, &config, &[site.port]);
        Zoned { site, server }
    }

    fn reload(&self, top: &str, http: &str, server: &str) {
        let config = Zoned::config(&self.site, top, http, server);
        self.site.folder.write("nginx.conf", config);
        self.server.signal(Signal::HUP);
    }

    /// Reloads, and waits until all workers have said that they serve this configuration.
    #[track_caller]
    fn reloaded(&self, top: &str, http: &str, server: &str, generation: u64, workers: usize) {
        self.reload(top, http, server);
        let line = format!("serves configuration {generation}\n");
        until("the workers have it", || {
            self.site.log().matches(&line).count() == workers
        });
    }

    /// Begins to ask for the large file: the status, and the connection, whose request stays
    /// under way if that is 200.
    #[track_caller]
    fn hold(&self, path: &str) -> (String, Client) {
        let mut client = Client::connect(self.site.port);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let head = client.take(12).expect("a response");
        (String::from_utf8_lossy(&head[9..]).into_owned(), client)
    }

    /// Holds as many as are let in; their connections.
    fn fill(&self, path: &str) -> Vec<Client> {
        let mut held = Vec::new();
        loop {
            match self.hold(path) {
                (status, client) if status == "200" => held.push(client),
                (status, _) => {
                    assert_eq!(status, "503");
                    return held;
                }
            }
        }
    }

    fn status(&self) -> Status {
        Status::of(&get(self.site.port, "/status").text())
    }

    /// The numbers once no connection is left but the one that asks.
    #[track_caller]
    fn settled(&self) -> Status {
        until("all connections are taken back", || {
            let status = self.status();
            (status.active, status.writing, status.reading) == (1, 1, 0)
        });
        self.status()
    }
}

/// The numbers of `stub_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Status {
    active: u64,
    accepts: u64,
    handled: u64,
    requests: u64,
    reading: u64,
    writing: u64,
    waiting: u64,
}

impl Status {
    #[track_caller]
    fn of(text: &str) -> Status {
        let numbers: Vec<u64> = text
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let [
            active,
            accepts,
            handled,
            requests,
            reading,
            writing,
            waiting,
        ] = numbers[..]
        else {
            panic!("{text}");
        };
        Status {
            active,
            accepts,
            handled,
            requests,
            reading,
            writing,
            waiting,
        }
    }
}

const STATUS: &str = "location = /status { stub_status; } location = /pid { return 200 $pid; }";

#[test]
fn numbers_are_of_all_workers() {
    let zoned = Zoned::start("worker_processes 3;", "", STATUS);
    let before = zoned.settled();
    // Idle ones, one that sends half a head, one whose answer is under way.
    let mut idle: Vec<Client> = (0..20).map(|_| Client::connect(zoned.site.port)).collect();
    for client in &mut idle {
        assert_eq!(client.get("/").text(), "home\n");
    }
    let mut half = Client::connect(zoned.site.port);
    half.send("GET / HTTP/1.1\r\nHo");
    let (status, held) = zoned.hold("/large");
    assert_eq!(status, "200");
    until("all are counted", || {
        let now = zoned.status();
        (now.active, now.reading, now.writing, now.waiting) == (23, 1, 2, 20)
    });
    let now = zoned.status();
    assert!(now.accepts >= before.accepts + 22 && now.handled == now.accepts);
    assert!(now.requests >= before.requests + 22);
    let asked = zoned.site.log();
    assert!(!asked.contains("[alert]"), "{asked}");
    drop((idle, half, held));
    zoned.settled();
}

#[test]
fn numbers_outlive_reloads_and_workers() {
    let top = "worker_processes 2;";
    let zoned = Zoned::start(top, "", STATUS);
    let mut idle: Vec<(Client, String)> = (0..20)
        .map(|_| {
            let mut client = Client::connect(zoned.site.port);
            let pid = client.get("/pid").text();
            (client, pid)
        })
        .collect();
    until("all are counted", || zoned.status().active == 21);
    zoned.reloaded(top, "", STATUS, 2, 2);
    let before = zoned.status();
    assert_eq!(before.active, 21, "a reload closes nothing");
    // One that has some: a worker that was slow to start may have none.
    let victim: u32 = idle[0].1.parse().unwrap();
    let lost = idle.iter().filter(|(_, pid)| *pid == victim.to_string());
    let lost = lost.count() as u64;
    assert!(lost > 0);
    proc::kill(victim, Signal::KILL);
    until("what it had is taken back", || {
        zoned.status().active == 21 - lost
    });
    let after = zoned.status();
    assert!(after.accepts > before.accepts && after.requests > before.requests);
    idle.retain(|(_, pid)| *pid != victim.to_string());
    for (client, pid) in &mut idle {
        assert_eq!(client.get("/pid").text(), *pid);
    }
    // TERM of a worker is a death like any other: it is replaced, and its row with it.
    let victim = zoned.server.workers_once(2)[0];
    proc::kill(victim, Signal::TERM);
    drop(idle);
    zoned.settled();
}

const LIMIT: &str = "limit_conn_zone $server_addr zone=one:64k;";
const LIMITED: &str = "location = /status { stub_status; } location /small { limit_conn one 6; \
     try_files /index.html =404; } location / { limit_conn one 6; }";

#[test]
fn a_limit_is_of_all_workers_and_outlives_reloads() {
    let top = "worker_processes 3;";
    let zoned = Zoned::start(top, LIMIT, LIMITED);
    let mut held = zoned.fill("/large");
    assert_eq!(held.len(), 6);
    zoned.reloaded(top, LIMIT, LIMITED, 2, 3);
    assert_eq!(get(zoned.site.port, "/small").status, 503);
    // Requests of before the reload give back what they took then.
    held.truncate(4);
    until("two are given back", || {
        get(zoned.site.port, "/small").status == 200
    });
    until("two fit", || {
        let more = zoned.fill("/large");
        more.len() == 2
    });
    until("the log says so", || {
        let log = zoned.site.log();
        log.contains("[error]") && log.contains("limiting connections by zone \"one\", client: ")
    });
}

#[test]
fn what_a_killed_worker_held_is_given_back() {
    let zoned = Zoned::start("worker_processes 3;", LIMIT, LIMITED);
    let held = zoned.fill("/large");
    assert_eq!(held.len(), 6);
    for pid in zoned.server.workers_once(3) {
        proc::kill(pid, Signal::KILL);
    }
    until("all is given back", || {
        zoned.server.workers().len() == 3 && get(zoned.site.port, "/small").status == 200
    });
    until("six fit again", || zoned.fill("/large").len() == 6);
    drop(held);
    zoned.settled();
}

/// Says that it is over when it is dropped.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn zones_are_sound_after_workers_were_killed_under_load() {
    let zoned = Zoned::start("worker_processes 3;", LIMIT, LIMITED);
    let master = zoned.server.pid();
    zoned.site.settle(3);
    let descriptors = proc::open_files(master);
    let is_over = AtomicBool::new(false);
    let ending = Ending(&is_over);
    let answered = AtomicU64::new(0);
    let port = zoned.site.port;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let mut client = Client::connect(port);
                    while !is_over.load(Ordering::Relaxed) {
                        let sent = client.try_send("GET /small HTTP/1.1\r\nHost: a\r\n\r\n");
                        match sent.and_then(|()| client.try_response()) {
                            Ok(response) => assert!([200, 503].contains(&response.status)),
                            Err(_) => break,
                        }
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // Also if this fails: else the others would go on, and be waited for.
        let ending = ending;
        for round in 0..12 {
            let mut workers = Vec::new();
            until("all workers run", || {
                workers = zoned.server.workers();
                workers.len() == 3
            });
            let before = answered.load(Ordering::Relaxed);
            until("requests are answered", || {
                answered.load(Ordering::Relaxed) > before + 20
            });
            proc::try_signal(workers[round % 3], Signal::KILL);
            thread::sleep(Duration::from_millis(20));
        }
        drop(ending);
    });
    zoned.server.workers_once(3);
    let status = zoned.settled();
    assert!(status.requests > answered.load(Ordering::Relaxed));
    let held = zoned.fill("/large");
    assert_eq!(held.len(), 6, "nothing is left of the dead");
    drop(held);
    zoned.settled();
    // The same number: those that it had of the first workers are others now.
    let mut now = Vec::new();
    let is_same = comes(|| {
        now = proc::open_files(master);
        now.len() == descriptors.len()
    });
    assert!(
        is_same,
        "something of the dead is left: {descriptors:?} {now:?}"
    );
}

#[test]
fn a_zone_of_another_size_is_made_anew_and_one_of_another_key_refused() {
    let top = "worker_processes 2;";
    let zoned = Zoned::start(top, LIMIT, LIMITED);
    let held = zoned.fill("/large");
    assert_eq!(held.len(), 6);
    let larger = LIMIT.replace("64k", "128k");
    zoned.reloaded(top, &larger, LIMITED, 2, 2);
    assert_eq!(get(zoned.site.port, "/small").status, 200);
    let line = "the shared memory zone \"one\" is made anew: its size was 65536 and is 131072";
    until("the log says so", || zoned.site.log().contains(line));
    zoned.reload(top, &larger.replace("$server_addr", "$host"), LIMITED);
    let line = "limit_conn_zone \"one\" uses the \"$host\" key while previously it used the \
                \"$server_addr\" key";
    until("the log says why not", || zoned.site.log().contains(line));
    assert_eq!(zoned.fill("/large").len(), 6);
    // What began in the old zone ends there.
    drop(held);
    zoned.settled();
    assert_eq!(zoned.fill("/large").len(), 6);
}

#[test]
fn without_a_master_all_is_the_same() {
    let zoned = Zoned::start("master_process off;", LIMIT, LIMITED);
    let held = zoned.fill("/large");
    assert_eq!(held.len(), 6);
    zoned.reload(
        "master_process off;",
        LIMIT,
        &format!("{LIMITED} return 204;"),
    );
    until("the reload is in force", || {
        get(zoned.site.port, "/status").status == 204
    });
    zoned.reload("master_process off;", LIMIT, LIMITED);
    until("the reload is in force", || {
        get(zoned.site.port, "/small").status == 503
    });
    drop(held);
    zoned.settled();
    assert_eq!(zoned.fill("/large").len(), 6);
}

#[test]
fn threads_of_a_worker_count_together() {
    let zoned = Zoned::start("worker_processes 2; worker_threads 2;", LIMIT, LIMITED);
    let held = zoned.fill("/large");
    assert_eq!(held.len(), 6);
    until("all are counted", || {
        let status = zoned.status();
        (status.active, status.writing) == (7, 7)
    });
    drop(held);
    zoned.settled();
}

#[test]
fn a_rate_is_of_all_workers_and_outlives_reloads_and_deaths() {
    let top = "worker_processes 3;";
    let http = "limit_req_zone $server_addr zone=rate:64k rate=1r/m;";
    let server = "location / { limit_req zone=rate burst=9 nodelay; }";
    let zoned = Zoned::start(top, http, server);
    let ask = || get(zoned.site.port, "/").status;
    for _ in 0..10 {
        assert_eq!(ask(), 200);
    }
    assert_eq!(ask(), 503);
    zoned.reloaded(top, http, server, 2, 3);
    assert_eq!(ask(), 503);
    for pid in zoned.server.workers_once(3) {
        proc::kill(pid, Signal::KILL);
    }
    assert_eq!(ask(), 503);
    // A larger zone is a new one.
    let larger = http.replace("64k", "65k");
    zoned.reload(top, &larger, server);
    until("the new zone is in force", || ask() == 200);
}

#[test]
fn a_full_zone_refuses_new_keys_and_says_so() {
    let http = "limit_conn_zone $arg_k zone=one:32k;";
    proc::raise_open_files();
    let zoned = Zoned::start(
        "worker_processes 2;",
        http,
        "location / { limit_conn one 1; }",
    );
    // 32k are 512 states as nginx counts; some more are let in because keys do not spread evenly.
    let mut clients = Vec::new();
    let full = (0..800).find(|key| {
        let mut client = Client::connect(zoned.site.port);
        client.send(format!(
            "GET /large?k={key} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let head = client.take(12).expect("a response");
        clients.push(client);
        head.ends_with(b"503")
    });
    let full = full.expect("at some time the zone is full");
    assert!((512..=600).contains(&full), "{full}");
    until("the log says so", || {
        let log = zoned.site.log();
        log.contains("[crit]") && log.contains("no memory in limit_conn_zone \"one\"")
    });
    // A key that is there is still judged by its number.
    assert_eq!(zoned.hold("/large?k=0").0, "503");
    clients.clear();
    until("there is room again", || {
        zoned.hold("/large?k=another").0 == "200"
    });
}
