//! `revolve ctl` and `-s reload`, by the control socket.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::Site;
use crate::support::server::REVOLVE;
use crate::support::{Client, Run, Server, ports, proc, revolve, until};

/// Runs `revolve ctl` against the server of a site.
fn ctl(site: &Site, arguments: &[&str]) -> Run {
    let mut command = Command::new(REVOLVE);
    let folder = site.folder.path();
    command.arg("ctl").args(arguments).arg("-p").arg(folder);
    Run::of(command.arg("-c").arg("nginx.conf"))
}

/// Starts a server, and waits until it can be asked.
#[track_caller]
fn start(site: &Site, top: &str, server: &str) -> Server {
    let started = site.start(top, server);
    until("the socket is there", || {
        site.folder.file("pid.ctl").exists()
    });
    started
}

fn json(run: &Run) -> Value {
    serde_json::from_str(&run.out).unwrap_or_else(|error| panic!("{error}: {}", run.out))
}

fn pids(answer: &Value) -> Vec<u32> {
    let workers = answer["workers"].as_array().expect("a list of workers");
    let pids = workers.iter().map(|worker| worker["pid"].as_u64());
    let mut pids: Vec<u32> = pids.map(|pid| pid.expect("a pid") as u32).collect();
    pids.sort_unstable();
    pids
}

/// Says a line to the control socket, as any program may.
fn say(site: &Site, line: &str) -> String {
    let mut stream = UnixStream::connect(site.folder.file("pid.ctl")).expect("the socket");
    stream.write_all(line.as_bytes()).expect("a line is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn status_tells_processes_loops_and_what_they_did() {
    let site = Site::new();
    let server = start(&site, "worker_processes 2; worker_threads 2;", "");
    let workers = server.workers_once(2);
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        assert_eq!(client.get("/").status, 200);
    }
    until("all serve", || ctl(&site, &["status"]).code == 0);
    let status = json(&ctl(&site, &["status", "--json"]));
    assert_eq!(pids(&status), workers);
    assert_eq!(status["master"]["pid"], server.pid());
    assert_eq!(status["state"], "serving");
    assert_eq!(status["configuration"]["generation"], 1);
    let file = site.folder.file("nginx.conf");
    assert_eq!(status["configuration"]["file"], file.to_str().unwrap());
    let address = format!("127.0.0.1:{}", site.port);
    assert_eq!(status["listeners"], serde_json::json!([address]));
    assert_eq!(
        (&status["connections"], &status["requests"]),
        (&1.into(), &3.into())
    );
    for worker in status["workers"].as_array().unwrap() {
        let loops = worker["loops"].as_array().unwrap();
        let states: Vec<&str> = loops
            .iter()
            .map(|it| it["state"].as_str().unwrap())
            .collect();
        assert_eq!(states, ["accepting", "serving", "serving"]);
        assert!(loops.iter().all(|it| it["turns"].as_u64() > Some(0)));
        assert!(worker["resident_bytes"].as_u64() > Some(100_000));
    }
    let shown = ctl(&site, &["status"]);
    assert_eq!((shown.err.as_str(), shown.code), ("", 0));
    for words in ["serving for", &address, "requests 3", "worker 1", "loop 2"] {
        assert!(shown.out.contains(words), "{words}\n{}", shown.out);
    }
    let listed = ctl(&site, &["workers"]);
    for pid in &workers {
        assert!(listed.out.contains(&pid.to_string()), "{}", listed.out);
    }
}

#[test]
fn connections_are_listed_as_far_as_asked() {
    let site = Site::new();
    let _server = start(&site, "", "");
    let empty = ctl(&site, &["connections"]);
    assert_eq!(empty.out, "no connection is open\n");
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(site.port)).collect();
    for client in &mut clients[..2] {
        assert_eq!(client.get("/").text(), "home\n");
    }
    until("all three are accepted", || {
        json(&ctl(&site, &["status", "--json"]))["connections"] == 3
    });
    let answer = json(&ctl(&site, &["connections", "--json"]));
    let listed = answer["workers"][0]["listed"].as_array().unwrap();
    let with = |state: &str| listed.iter().filter(|it| it["state"] == state).count();
    assert_eq!((with("idle"), with("new"), listed.len()), (2, 1, 3));
    let idle = listed.iter().find(|it| it["state"] == "idle").unwrap();
    assert_eq!(idle["requests"], 1);
    assert!(idle["received_bytes"].as_u64() > Some(10), "{idle}");
    assert!(idle["sent_bytes"].as_u64() > Some(10), "{idle}");
    assert!(idle["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    let bounded = ctl(&site, &["connections", "--max", "1"]);
    assert!(
        bounded.out.contains("2 more connections are open"),
        "{}",
        bounded.out
    );
    assert_eq!(
        bounded.out.matches("127.0.0.1:").count(),
        2,
        "one client and its listener"
    );
}

#[test]
fn a_stopped_worker_is_named_and_the_others_are_shown() {
    let site = Site::new();
    let server = start(&site, "worker_processes 2;", "");
    let workers = server.workers_once(2);
    until("both serve", || ctl(&site, &["status"]).code == 0);
    proc::signal(workers[0], Signal::STOP);
    // More questions than one that stands still is asked.
    let runs: Vec<Run> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..7)
            .map(|_| scope.spawn(|| ctl(&site, &["status"])))
            .collect();
        asked.into_iter().map(|it| it.join().unwrap()).collect()
    });
    for run in runs {
        let says = format!(
            "worker process {} does not answer: it is stopped",
            workers[0]
        );
        assert!(run.out.contains(&says), "{}", run.out);
        assert!(run.out.contains(&workers[1].to_string()), "{}", run.out);
        assert_eq!(run.code, 2);
    }
    site.folder.write(
        "nginx.conf",
        site.config("daemon off; worker_processes 2;", "expires 1h;"),
    );
    let reload = ctl(&site, &["reload"]);
    assert!(
        reload.out.contains("is in force in 1 worker\n"),
        "{}",
        reload.out
    );
    let says = format!("worker process {} is stopped", workers[0]);
    assert!(reload.out.contains(&says), "{}", reload.out);
    assert_eq!(reload.code, 2);
    proc::signal(workers[0], Signal::CONT);
    until("all is well again", || ctl(&site, &["status"]).code == 0);
    let status = json(&ctl(&site, &["status", "--json"]));
    assert_eq!(pids(&status), workers, "nobody was replaced");
    assert_eq!(status["workers"][0]["generation"], 2);
}

#[test]
fn a_reload_says_what_changed_and_a_refused_one_what_is_wrong() {
    let site = Site::new();
    let _server = start(&site, "", "location /a { return 200 a; }");
    let second = ports::free();
    let server = format!("listen 127.0.0.1:{second}; location /a {{ return 200 b; }}");
    let config = site.config("daemon off; worker_processes 2;", &server);
    site.folder.write("nginx.conf", config);
    let reload = Run::of(revolve(&site.folder).args(["-s", "reload"]));
    assert_eq!((reload.err.as_str(), reload.code), ("", 0));
    assert!(
        reload
            .out
            .starts_with("revolve: configuration 2 is in force in 2 workers\n"),
        "{}",
        reload.out
    );
    let listen = format!("listen 127.0.0.1:{second} added");
    for words in ["worker_processes 2 added", "location /a changed", &listen] {
        assert!(reload.out.contains(words), "{words}\n{}", reload.out);
        assert!(site.log().contains(words), "{words}\n{}", site.log());
    }
    site.folder.write(
        "nginx.conf",
        site.config("daemon off;", "retrun 200;\nroot a b;"),
    );
    let taken = format!("in {}:", site.folder.file("nginx.conf").display());
    let by_option = Run::of(revolve(&site.folder).args(["-s", "reload"]));
    let by_command = ctl(&site, &["reload"]);
    for refused in [by_option, by_command] {
        assert_eq!((refused.out.as_str(), refused.code), ("", 1));
        for words in [
            "unknown directive \"retrun\"",
            "invalid number of arguments in \"root\"",
            "nothing changed",
        ] {
            assert!(refused.err.contains(words), "{words}\n{}", refused.err);
        }
        assert!(refused.err.contains(&taken), "{}", refused.err);
    }
    assert!(site.log().contains("unknown directive \"retrun\""));
    let status = json(&ctl(&site, &["status", "--json"]));
    assert_eq!(
        status["configuration"]["generation"], 2,
        "found by a file that is wrong"
    );
    // What is wrong need not be in the file.
    let port = ports::free();
    let bound = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a port");
    let config = site.config("daemon off;", &format!("listen 127.0.0.1:{port};"));
    site.folder.write("nginx.conf", config);
    let refused = ctl(&site, &["reload", "--json"]);
    let said = json(&refused)["said"].as_str().expect("words").to_owned();
    let says = format!("revolve: [emerg] bind() to 127.0.0.1:{port} failed (98:");
    assert!(said.starts_with(&says), "{said}");
    assert_eq!(refused.code, 1);
    // And quietly.
    drop(bound);
    let quiet = Run::of(revolve(&site.folder).args(["-q", "-s", "reload"]));
    assert_eq!(
        (quiet.out.as_str(), quiet.err.as_str(), quiet.code),
        ("", "", 0)
    );
}

#[test]
fn without_its_socket_the_server_serves_and_reloads_by_signal() {
    let site = Site::new();
    site.folder.write("pid.ctl", "somebody's file");
    let _server = site.start("", "return 200 old;");
    let warning = "pid.ctl\" could not be opened";
    until("the log says so", || site.log().contains(warning));
    let status = ctl(&site, &["status"]);
    assert!(
        status.err.contains("no server listens at"),
        "{}",
        status.err
    );
    assert_eq!(status.code, 1);
    site.folder
        .write("nginx.conf", site.config("daemon off;", "return 200 new;"));
    let reload = Run::of(revolve(&site.folder).args(["-s", "reload"]));
    assert_eq!(
        (reload.out.as_str(), reload.err.as_str(), reload.code),
        ("", "", 0)
    );
    until("it is reloaded", || {
        site.log()
            .contains("signal 1 (SIGHUP) received, reconfiguring")
    });
    until("it serves", || {
        crate::support::get(site.port, "/").text() == "new"
    });
    assert_eq!(site.folder.read("pid.ctl"), "somebody's file");
    assert_eq!(site.folder.count("logs/error.log", warning), 1);
}

#[test]
fn a_link_in_the_sockets_place_is_said_once() {
    let site = Site::new();
    std::os::unix::fs::symlink("elsewhere", site.folder.file("pid.ctl")).expect("a link");
    let _server = site.start("", "");
    until("it serves", || {
        site.log().contains("serves configuration 1") && site.folder.file("pid").exists()
    });
    let reload = Run::of(revolve(&site.folder).args(["-s", "reload"]));
    assert_eq!(reload.code, 0, "{}", reload.err);
    until("it is reloaded", || {
        site.log().contains("serves configuration 2")
    });
    let warning = "pid.ctl\" could not be opened";
    assert_eq!(site.folder.count("logs/error.log", warning), 1);
    let link = std::fs::read_link(site.folder.file("pid.ctl"));
    assert_eq!(
        link.expect("it is left alone"),
        std::path::Path::new("elsewhere")
    );
}

#[test]
fn the_socket_is_its_users_alone_and_follows_the_pid_file() {
    let site = Site::new();
    let mut server = start(&site, "", "");
    let socket = site.folder.file("pid.ctl");
    let mode = socket.metadata().expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    if proc::is_root() {
        let run = Run::of(
            Command::new(REVOLVE)
                .args(["ctl", "status", "-s"])
                .arg(&socket)
                .uid(65534)
                .gid(65534),
        );
        assert!(run.err.contains("not permitted to use"), "{}", run.err);
        assert_eq!(run.code, 1);
        // Where the mode was changed, the server looks who it is.
        site.folder.set_mode("pid.ctl", 0o666);
        let run = Run::of(
            Command::new(REVOLVE)
                .args(["ctl", "reload", "-s"])
                .arg(&socket)
                .uid(65534)
                .gid(65534),
        );
        assert!(
            run.err
                .contains("not permitted: the user with number 65534"),
            "{}",
            run.err
        );
    }
    let moved = site.config("daemon off;", "").replace("/pid;", "/run.pid;");
    site.folder.write("nginx.conf", moved);
    server.signal(Signal::HUP);
    until("the socket has moved", || {
        site.folder.file("run.ctl").exists() && !socket.exists()
    });
    assert_eq!(ctl(&site, &["workers"]).code, 0);
    // Killed, it leaves its socket, and the next one takes the place.
    server.signal(Signal::KILL);
    server.wait();
    until("the workers end", || !ports::is_listening(site.port));
    let dead = ctl(&site, &["status"]);
    assert!(dead.err.contains("has died"), "{}", dead.err);
    assert_eq!(dead.code, 1);
    let mut next = Server::run(
        &mut revolve(&site.folder),
        site.folder.file("stderr.txt"),
        &[site.port],
    );
    until("it answers", || ctl(&site, &["status"]).code == 0);
    next.signal(Signal::TERM);
    next.wait();
    assert!(!site.folder.file("run.ctl").exists());
    let gone = ctl(&site, &["status"]);
    assert!(
        gone.err.contains("no server has its control socket at"),
        "{}",
        gone.err
    );
}

#[test]
fn of_two_masters_each_has_a_socket() {
    let site = Site::new();
    let mut server = start(&site, "", "");
    let master = || json(&ctl(&site, &["status", "--json"]))["master"]["pid"].clone();
    let socket = site.folder.file("pid.ctl");
    let old_socket = site.folder.file("pid.oldbin.ctl");
    let other_master = || {
        let run = Run::of(
            Command::new(REVOLVE)
                .args(["ctl", "status", "--json", "-s"])
                .arg(&old_socket),
        );
        json(&run)["master"]["pid"].clone()
    };
    assert_eq!(master(), server.pid());
    server.signal(Signal::USR2);
    until("both can be asked", || {
        old_socket.exists() && socket.exists()
    });
    let successor = master().as_u64().expect("a pid") as u32;
    assert_ne!(successor, server.pid());
    assert_eq!(other_master(), server.pid());
    // The new one is given up: the socket is the old one's again.
    proc::signal(successor, Signal::TERM);
    until("the old one has its place", || {
        !old_socket.exists() && socket.exists()
    });
    assert_eq!(master(), server.pid());
    // And tried again, and kept.
    server.signal(Signal::USR2);
    until("both can be asked", || {
        old_socket.exists() && socket.exists()
    });
    let successor = Ended(master().as_u64().expect("a pid") as u32);
    server.signal(Signal::QUIT);
    server.wait();
    assert!(!old_socket.exists());
    assert_eq!(master(), successor.0);
    assert_eq!(ctl(&site, &["reload"]).code, 0);
}

/// A process that is ended with its test.
struct Ended(u32);

impl Drop for Ended {
    fn drop(&mut self) {
        if proc::try_signal(self.0, Signal::TERM) {
            until("the process ends", || !proc::is_alive(self.0));
        }
    }
}

#[test]
fn what_is_no_command_is_answered_and_changes_nothing() {
    let site = Site::new();
    let _server = start(&site, "", "");
    for (line, says) in [
        ("dance\n", "unknown command \\\"dance\\\", expected status"),
        ("connections many\n", "invalid number of connections"),
        ("\n", "unknown command"),
        ("\u{1}\u{2}\n", "unknown command"),
        (&"x".repeat(300), "could not be read"),
    ] {
        let answer = say(&site, line);
        assert!(answer.contains(says), "{line:?}: {answer}");
        assert!(answer.starts_with("{\"error\":"), "{answer}");
    }
    let status: Value = serde_json::from_str(&say(&site, "status\r\n")).expect("JSON");
    assert_eq!(status["configuration"]["generation"], 1);
    // Whoever says nothing is in nobody's way.
    let silent: Vec<UnixStream> = (0..4)
        .map(|_| UnixStream::connect(site.folder.file("pid.ctl")).expect("the socket"))
        .collect();
    assert_eq!(ctl(&site, &["workers"]).code, 0);
    drop(silent);
}

#[test]
fn a_server_of_one_process_answers_too() {
    let site = Site::new();
    let server = start(&site, "master_process off;", "return 200 old;");
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/").text(), "old");
    let status = json(&ctl(&site, &["status", "--json"]));
    assert_eq!(pids(&status), [server.pid()]);
    assert_eq!(status["requests"], 1);
    let config = site.config("daemon off; master_process off;", "return 200 new;");
    site.folder.write("nginx.conf", config);
    let reload = ctl(&site, &["reload"]);
    assert!(
        reload.out.contains("configuration 2 is in force"),
        "{}",
        reload.out
    );
    assert_eq!(
        client.get("/").text(),
        "new",
        "in force when the command returns"
    );
}

#[test]
fn wrong_commands_and_absent_servers_have_clear_errors() {
    let site = Site::new();
    let wrong = Run::of(Command::new(REVOLVE).args(["ctl", "dance"]));
    assert!(
        wrong
            .first_line()
            .starts_with("revolve: unknown command \"dance\"")
    );
    assert_eq!(wrong.code, 1);
    let help = Run::of(Command::new(REVOLVE).args(["ctl", "-h"]));
    for words in ["status", "connections", "workers", "reload", "--json"] {
        assert!(help.out.contains(words), "{words}\n{}", help.out);
    }
    assert_eq!(help.code, 0);
    let general = Run::of(Command::new(REVOLVE).arg("help"));
    assert!(general.err.contains("revolve ctl -h"), "{}", general.err);
    let no_file = ctl(&site, &["status"]);
    assert!(
        no_file
            .err
            .contains("name the server's configuration with -c"),
        "{}",
        no_file.err
    );
    // Nobody answers there, and the client does not wait for long.
    let path = site.folder.file("mute.ctl");
    let mute = UnixListener::bind(&path).expect("a socket");
    let answering = std::thread::spawn(move || drop(mute.accept()));
    let run = Run::of(
        Command::new(REVOLVE)
            .args(["ctl", "status", "-s"])
            .arg(&path),
    );
    assert!(run.err.contains("gave no answer"), "{}", run.err);
    assert_eq!(run.code, 1);
    answering.join().expect("it accepted once");
}

#[test]
fn certificates_are_listed_and_said_before_they_expire() {
    use crate::support::tls::certificate_for;
    let folder = crate::support::Folder::new();
    certificate_for(&folder, "long", &["a.test", "b.test"], 100);
    certificate_for(&folder, "short", &["c.test"], 5);
    let port = crate::support::ports::free();
    let here = folder.path().display();
    let server = |names: &str, file: &str| {
        format!(
            "server {{ listen 127.0.0.1:{port} ssl; server_name {names}; ssl_certificate {file}.crt; ssl_certificate_key {file}.key; }}\n"
        )
    };
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\nhttp {{ access_log off;\n{}{}{}}}\n",
        server("a.test", "long"),
        server("b.test", "long"),
        server("c.test", "short"),
    );
    let _server = crate::support::Server::start(&folder, &text, &[port]);
    let ask = |more: &[&str]| {
        let mut command = Command::new(REVOLVE);
        let socket = folder.file("pid.ctl");
        command
            .args(["ctl", "certificates", "-s"])
            .arg(socket)
            .args(more);
        Run::of(&mut command)
    };
    let run = ask(&[]);
    let lines: Vec<&str> = run.out.lines().collect();
    assert_eq!(run.code, 2, "{}{}", run.out, run.err);
    assert!(
        lines[0].contains("DAYS") && lines[0].contains("ISSUER"),
        "{}",
        run.out
    );
    assert!(lines[1].contains("100  a.test, b.test"), "{}", run.out);
    assert!(
        lines[2].trim_start().starts_with("5  c.test"),
        "{}",
        run.out
    );
    let warning = format!("the certificate \"{here}/short.crt\" of c.test expires in 5 days");
    assert!(lines[3].starts_with(&warning), "{}", run.out);
    let answer = json(&ask(&["--json"]));
    assert_eq!(answer["certificates"][1]["days_left"], 5);
    until("the log says so", || {
        folder.read("logs/error.log").contains(&warning)
    });
    assert!(!folder.read("logs/error.log").contains("long.crt"));
}
