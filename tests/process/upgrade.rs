//! USR2: another binary takes over while both serve.

use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;

use super::Site;
use crate::support::server::REVOLVE;
use crate::support::{Client, End, Run, Upstream, get, ports, proc, until, until_some};

/// A daemon that runs from a binary of its own, which can be replaced.
pub(super) struct Upgraded<'a> {
    site: &'a Site,
}

impl<'a> Upgraded<'a> {
    /// Starts it, and returns when it serves.
    #[track_caller]
    pub(super) fn start(site: &'a Site, top: &str, server: &str) -> Upgraded<'a> {
        let started = Upgraded { site };
        site.folder.write("nginx.conf", site.config(top, server));
        started.replace_binary();
        let run = Run::of(started.command().args(started.arguments()));
        assert_eq!((run.err.as_str(), run.code), ("", 0));
        started
    }

    fn binary(&self) -> PathBuf {
        self.site.folder.file("revolve")
    }

    /// Puts a new copy of the program in the place of the one that runs.
    pub(super) fn replace_binary(&self) {
        let new = self.site.folder.file("revolve.new");
        // Through the shell: a file that a thread of ours holds open for writing while another
        // thread forks cannot be executed.
        let copied = Run::of(Command::new("cp").arg(REVOLVE).arg(&new));
        assert_eq!(copied.code, 0, "{}", copied.err);
        std::fs::rename(new, self.binary()).expect("a new binary");
    }

    /// Puts these bytes in the place of the program.
    fn break_binary(&self, script: &str) {
        let new = self.site.folder.file("revolve.new");
        let run = Run::of(
            Command::new("sh")
                .args(["-c", "printf %s \"$1\" > \"$2\"; chmod 755 \"$2\""])
                .arg("sh")
                .arg(script)
                .arg(&new),
        );
        assert_eq!(run.code, 0, "{}", run.err);
        std::fs::rename(new, self.binary()).expect("a new binary");
    }

    /// The program that was last put there.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(self.binary());
        command.current_dir(self.site.folder.path());
        command
    }

    /// Its prefix and configuration.
    pub(super) fn arguments(&self) -> Vec<String> {
        let prefix = self.site.folder.path().display().to_string();
        ["-p", &prefix, "-c", "nginx.conf"]
            .map(str::to_owned)
            .to_vec()
    }

    /// The process in the pid file.
    #[track_caller]
    pub(super) fn pid(&self) -> u32 {
        self.named("pid").expect("a pid file")
    }

    fn named(&self, file: &str) -> Option<u32> {
        self.site.folder.read(file).trim().parse().ok()
    }

    /// Has the binary replaced, up to where both serve: the old master and the new one.
    #[track_caller]
    pub(super) fn both(&self) -> (u32, u32) {
        let old = self.pid();
        proc::signal(old, Signal::USR2);
        until("the new master serves", || {
            self.named("pid").is_some_and(|pid| pid != old)
        });
        assert_eq!(self.named("pid.oldbin"), Some(old));
        (old, self.pid())
    }

    fn workers(&self, master: u32, other: u32) -> Vec<u32> {
        let children = proc::children(master).into_iter();
        children.filter(|&pid| pid != other).collect()
    }
}

impl Drop for Upgraded<'_> {
    fn drop(&mut self) {
        for file in ["pid.oldbin", "pid"] {
            if let Some(pid) = self.named(file)
                && proc::try_signal(pid, Signal::TERM)
            {
                until("the daemon ends", || !proc::is_alive(pid));
            }
        }
    }
}

#[test]
fn both_serve_and_the_old_one_can_be_let_go() {
    let site = Site::new();
    let socket = site.folder.file("socket").display().to_string();
    let lines = format!("listen unix:{socket} reuseport; return 200 $pid;");
    let server = Upgraded::start(&site, "worker_processes 2;", &lines);
    let inode = |path: &str| {
        use std::os::unix::fs::MetadataExt;
        std::fs::metadata(path).expect("the socket").ino()
    };
    let before = inode(&socket);
    let mut client = Client::connect(site.port);
    let old_worker = client.get("/").text();
    let (old, new) = server.both();
    assert_eq!(client.get("/").text(), old_worker, "its connection stays");
    assert_eq!(server.workers(old, new).len(), 2);
    assert_eq!(server.workers(new, old).len(), 2);
    // Neither of them starts a third one.
    for master in [old, new] {
        proc::signal(master, Signal::USR2);
    }
    until("both refuse", || {
        site.folder
            .count("logs/error.log", "the changing binary signal is ignored")
            == 2
    });
    proc::signal(old, Signal::QUIT);
    until("the old one ends", || !proc::is_alive(old));
    let worker: u32 = client.get("/").text().parse().expect("a pid");
    assert!(
        server.workers(new, old).contains(&worker),
        "its connection stays"
    );
    until("its pid file is gone", || {
        !site.folder.file("pid.oldbin").exists()
    });
    assert_eq!(server.pid(), new);
    let worker: u32 = get(site.port, "/").text().parse().expect("a pid");
    assert!(server.workers(new, old).contains(&worker));
    assert_eq!(inode(&socket), before, "the same Unix socket");
    std::os::unix::net::UnixStream::connect(&socket).expect("somebody listens there");
    // The next one may be upgraded in its turn.
    let (second, third) = server.both();
    assert_eq!(second, new);
    proc::signal(second, Signal::TERM);
    until("the second one ends", || !proc::is_alive(second));
    assert_eq!(server.pid(), third);
    assert!(inode(&socket) == before);
}

#[test]
fn websockets_stay_as_long_as_the_old_workers_do() {
    let upstream = Upstream::switching();
    let site = Site::new();
    let lines = format!(
        "location / {{ proxy_pass http://{}; proxy_set_header Upgrade $http_upgrade;
         proxy_set_header Connection upgrade; }} location = /pid {{ return 200 $pid; }}",
        upstream.address
    );
    let server = Upgraded::start(&site, "worker_processes 2;", &lines);
    let mut clients: Vec<Client> = (0..100).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients {
        client.send(
            "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        );
        assert_eq!(client.response().status, 101);
    }
    let mut all_are_there = || {
        for (number, client) in clients.iter_mut().enumerate() {
            let said = format!("{number:04}");
            client.send(&said);
            assert_eq!(client.take(4).unwrap(), said.as_bytes());
        }
    };
    let (old, new) = server.both();
    all_are_there();
    proc::signal(old, Signal::QUIT);
    until("new connections go to the new workers", || {
        let worker = get(site.port, "/pid").text().parse::<u32>();
        worker.is_ok_and(|it| server.workers(new, old).contains(&it))
    });
    all_are_there();
    assert!(proc::is_alive(old), "its workers have what they serve");
    drop(clients);
    until("the old one ends", || !proc::is_alive(old));
}

/// Upgrades with connections in every state; each is there afterwards.
#[track_caller]
fn upgrade_with_connections(top: &str) {
    let site = Site::new();
    let lines = "location / { return 200 \"$pid $connection_requests\"; } \
                 location = /status { stub_status; access_log off; }";
    let server = Upgraded::start(&site, top, lines);
    let connect = || Client::connect(site.port);
    let mut used: Vec<Client> = std::iter::repeat_with(connect).take(40).collect();
    for client in &mut used {
        assert!(client.get("/").text().ends_with(" 1"));
    }
    let mut fresh: Vec<Client> = std::iter::repeat_with(connect).take(10).collect();
    let mut half = connect();
    half.send("GET / HTTP/1.1\r\n");
    let status = || get(site.port, "/status").text();
    until("all are there", || {
        let text = status();
        text.contains("Reading: 1 ") && text.starts_with("Active connections: 52 ")
    });
    let (old, new) = server.both();
    let old_workers = server.workers(old, new);
    proc::signal(old, Signal::QUIT);
    until("the workers are told", || {
        let told = site.log().matches("gracefully shutting down").count();
        told == old_workers.len()
    });
    // What has begun is ended where it began; after that the connection goes, too.
    half.send("Host: x\r\n\r\n");
    let text = half.response().text();
    let served_by_old = old_workers.iter().any(|pid| text == format!("{pid} 1"));
    assert!(served_by_old, "{text}");
    until("the old one ends", || !proc::is_alive(old));
    let workers = server.workers(new, old);
    let check = |client: &mut Client, requests: u32| {
        let response = client.get("/");
        let text = response.text();
        let expected = |pid: &u32| text == format!("{pid} {requests}");
        assert!(workers.iter().any(expected), "{text}, {workers:?}");
    };
    used.iter_mut().for_each(|client| check(client, 2));
    fresh.iter_mut().for_each(|client| check(client, 1));
    check(&mut half, 2);
    let text = status();
    assert!(text.starts_with("Active connections: 52 "), "{text}");
    let numbers = text.lines().nth(2).unwrap_or_default();
    let numbers: Vec<&str> = numbers.split_whitespace().collect();
    assert_eq!(numbers[0], numbers[1], "accepted and handled: {text}");
}

#[test]
fn connections_stay_when_the_binary_is_replaced() {
    upgrade_with_connections("worker_processes 2;");
}

#[test]
fn connections_stay_where_threads_serve() {
    upgrade_with_connections("worker_threads 2;");
}

#[test]
fn who_always_has_a_request_under_way_is_told_in_the_end() {
    let site = Site::new();
    let server = Upgraded::start(&site, "", "return 200 $pid;");
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\n");
    let (old, new) = server.both();
    let worker = server.workers(old, new)[0].to_string();
    proc::signal(old, Signal::QUIT);
    until("the client is told", || {
        // The end of a request, and the beginning of another.
        client.send("Host: x\r\n\r\nGET / HTTP/1.1\r\n");
        let response = client.response();
        assert_eq!(response.text(), worker);
        response.header("connection") == Some("close")
    });
    client.closed();
    until("the old one ends", || !proc::is_alive(old));
}

#[test]
fn the_old_one_can_be_brought_back() {
    let site = Site::new();
    let server = Upgraded::start(&site, "worker_processes 2;", "return 200 $pid;");
    let (old, new) = server.both();
    proc::signal(old, Signal::WINCH);
    until("the old workers end", || {
        server.workers(old, new).is_empty()
    });
    let worker: u32 = get(site.port, "/").text().parse().expect("a pid");
    assert!(server.workers(new, old).contains(&worker));
    // Not read again: the old binary may not know what the new one does.
    site.folder.write("nginx.conf", "nothing of use");
    proc::signal(old, Signal::HUP);
    until("the old workers are there again", || {
        server.workers(old, new).len() == 2
    });
    proc::signal(new, Signal::QUIT);
    until("the new one ends", || !proc::is_alive(new));
    until("the pid file has its name again", || {
        server.named("pid") == Some(old)
    });
    assert!(!site.folder.file("pid.oldbin").exists());
    let worker: u32 = get(site.port, "/").text().parse().expect("a pid");
    assert!(server.workers(old, new).contains(&worker));
}

#[test]
fn a_new_one_that_dies_alone_gives_the_place_back() {
    let site = Site::new();
    let server = Upgraded::start(&site, "", "return 200 $pid;");
    let (old, new) = server.both();
    proc::signal(old, Signal::WINCH);
    until("the old workers end", || {
        server.workers(old, new).is_empty()
    });
    proc::signal(new, Signal::KILL);
    until("the pid file has its name again", || {
        server.named("pid") == Some(old)
    });
    until("the old one has workers again", || {
        server.workers(old, new).len() == 1
    });
    let worker = server.workers(old, new)[0].to_string();
    until("it serves", || get(site.port, "/").text() == worker);
}

/// A program in the place of the new one (the real one by its name), a configuration, and what the
/// old master's log says of it.
type Broken = (Option<&'static str>, String, &'static str);

fn broken(good: &str) -> Vec<Broken> {
    let config = good.to_owned();
    let with = |line: &str| format!("{line}\n{config}");
    let elsewhere = config.replace("listen ", "listen 192.0.2.1:80; listen ");
    vec![
        (
            None,
            config.clone(),
            "execve() failed while executing new binary process \"",
        ),
        (
            Some("not a program"),
            config.clone(),
            "(8: Exec format error)",
        ),
        (
            Some("#!/bin/sh\nexit 0\n"),
            config.clone(),
            "exited with code 0",
        ),
        (
            Some("#!/bin/sh\necho no libfoo.so >&2; exit 127\n"),
            config.clone(),
            ": no libfoo.so",
        ),
        (
            Some("#!/bin/sh\nkill -SEGV $$\n"),
            config.clone(),
            "exited on signal 11",
        ),
        (
            Some("revolve"),
            with("no_such_directive on;"),
            ": revolve: [emerg] unknown directive \"no_such_directive\"",
        ),
        (
            Some("revolve"),
            elsewhere,
            "bind() to 192.0.2.1:80 failed (99:",
        ),
        (
            Some("revolve"),
            config.replace("/pid;", "/no/pid;"),
            "/no/pid\" failed (2: No such file or directory)",
        ),
        (
            Some("revolve"),
            with("working_directory /no/such;"),
            "chdir(\"/no/such\") failed (2: No such file or directory)",
        ),
    ]
}

#[test]
fn a_new_binary_that_cannot_start_leaves_the_old_one_serving() {
    let site = Site::new();
    let server = Upgraded::start(&site, "", "return 200 $pid;");
    let old = server.pid();
    let workers = proc::children(old);
    let config = site.folder.read("nginx.conf");
    let good = site.folder.file("good");
    std::fs::rename(server.binary(), &good).expect("the binary has another name");
    let cases = broken(&config);
    for (attempt, (binary, config, says)) in cases.into_iter().enumerate() {
        let _ = std::fs::remove_file(server.binary());
        match binary {
            Some("revolve") => server.replace_binary(),
            Some(script) => server.break_binary(script),
            None => {}
        }
        site.folder.write("nginx.conf", config);
        let begin = site.log().len();
        proc::signal(old, Signal::USR2);
        until(&format!("the log says {says}"), || {
            site.log()[begin..].contains(says)
        });
        until("the old one has its pid file", || {
            server.named("pid") == Some(old) && !site.folder.file("pid.oldbin").exists()
        });
        assert_eq!(proc::children(old), workers, "attempt {attempt}");
        assert_eq!(get(site.port, "/").text(), workers[0].to_string());
    }
    // The command says that it did not come to pass, too.
    let mut command = Command::new(&good);
    let run = Run::of(command.arg("upgrade").args(server.arguments()));
    assert_eq!(run.code, 1);
    assert!(
        run.err.contains("serves on; its error log says why"),
        "{}",
        run.err
    );
}

#[test]
fn a_master_in_the_foreground_is_upgraded_too() {
    let site = Site::new();
    let mut server = site.start("worker_processes 1;", "return 200 $pid;");
    // It listens before it takes signals.
    server.workers_once(1);
    let old = server.pid();
    server.signal(Signal::USR2);
    until("the new master serves", || {
        let pid = site.folder.read("pid");
        !pid.is_empty() && pid.trim() != old.to_string()
    });
    let new: u32 = site.folder.read("pid").trim().parse().expect("a pid");
    server.signal(Signal::QUIT);
    assert!(server.wait().success());
    assert_eq!(proc::children(new).len(), 1);
    let worker = proc::children(new)[0].to_string();
    assert_eq!(get(site.port, "/").text(), worker);
    proc::signal(new, Signal::TERM);
    until("it ends", || !proc::is_alive(new));
    assert!(!ports::is_listening(site.port));
}

#[test]
fn a_download_that_began_before_is_finished_by_the_old_workers() {
    let site = Site::new();
    let size = 24 << 20;
    site.folder.write("html/big.bin", vec![b'x'; size]);
    let server = Upgraded::start(&site, "", "");
    let old = server.pid();
    let mut client = Client::connect(site.port);
    client.send("GET /big.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.head("200 OK");
    let run = Run::of(server.command().arg("upgrade").args(server.arguments()));
    assert_eq!((run.err.as_str(), run.code), ("", 0), "{}", site.log());
    assert!(
        run.out.contains("ends with the last of its connections"),
        "{}",
        run.out
    );
    assert!(proc::is_alive(old));
    let (rest, end) = client.rest(crate::support::wait::PATIENCE);
    assert_eq!((rest.len(), end), (size, End::Closed));
    until("the old one ends", || !proc::is_alive(old));
}

/// Has the old master start a program that does not come to serve, and gives both.
#[track_caller]
fn hanging(server: &Upgraded, site: &Site) -> (u32, u32) {
    let old = server.pid();
    let workers = proc::children(old);
    proc::signal(old, Signal::USR2);
    let new = until_some("the new binary runs", || {
        let mut children = proc::children(old).into_iter();
        children.find(|pid| !workers.contains(pid))
    });
    until("the old one has made way", || {
        site.folder.file("pid.oldbin.ctl").exists()
    });
    (old, new)
}

#[track_caller]
fn nothing_stays(site: &Site, new: u32) {
    until("the new one ends with it", || !proc::is_alive(new));
    until("nobody listens", || !ports::is_listening(site.port));
    for name in ["pid", "pid.oldbin", "pid.ctl", "pid.oldbin.ctl"] {
        until(name, || !site.folder.file(name).exists());
    }
}

#[test]
fn a_new_binary_that_hangs_ends_with_the_old_one() {
    for signal in [Signal::TERM, Signal::QUIT] {
        let site = Site::new();
        let server = Upgraded::start(&site, "", "return 200 $pid;");
        let program = site.folder.file("kept");
        std::fs::rename(server.binary(), &program).expect("the binary has another name");
        server.break_binary("#!/bin/sh\nexec sleep 600\n");
        let (old, new) = hanging(&server, &site);
        let named = format!("the old master process is {old} (");
        let command = |words: &[&str]| {
            let mut command = Command::new(&program);
            command.current_dir(site.folder.path());
            Run::of(command.args(words).args(server.arguments()))
        };
        for name in ["reload", "stop", "reopen"] {
            let run = command(&["-s", name]);
            assert_eq!(run.code, 1);
            let says = run.err.contains(&named) && run.err.contains("/pid.oldbin\")");
            assert!(says, "{name}: {}", run.err);
        }
        assert!(command(&["upgrade"]).err.contains(&named));
        assert!(command(&["ctl", "status"]).err.contains(&named));
        proc::signal(old, signal);
        until("the old one ends", || !proc::is_alive(old));
        nothing_stays(&site, new);
        let log = site.log();
        assert!(
            log.contains("does not serve yet, and ends with this one"),
            "{log}"
        );
        assert!(!log.contains("[alert]"), "{log}");
    }
}

#[test]
fn a_new_one_that_does_not_serve_yet_ends_with_a_killed_parent() {
    let site = Site::new();
    let server = Upgraded::start(&site, "", "return 200 $pid;");
    // Its configuration never comes to an end.
    let run = Run::of(Command::new("mkfifo").arg(site.folder.file("endless")));
    assert_eq!(run.code, 0, "{}", run.err);
    let config = site.folder.read("nginx.conf");
    site.folder
        .write("nginx.conf", format!("{config}\ninclude endless;\n"));
    let (old, new) = hanging(&server, &site);
    let _writer = until_some("it reads that", || {
        let mut options = std::fs::File::options();
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
        let options = options.write(true).custom_flags(nonblocking.cast_signed());
        options.open(site.folder.file("endless")).ok()
    });
    proc::signal(old, Signal::KILL);
    until("the new one ends with it", || !proc::is_alive(new));
    until("nobody listens", || !ports::is_listening(site.port));
    // Left behind, as by any master that is killed.
    for name in ["pid.oldbin", "pid.oldbin.ctl"] {
        assert!(site.folder.file(name).exists());
    }
}
