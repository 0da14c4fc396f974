//! The life of a daemon: start, signals, reload, death and end.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::daemon::{Daemon, ask_on, kill, program, status_field};
use crate::support::wait::PATIENCE;
use crate::support::{proc, until_some};

#[test]
fn a_daemon_serves_when_the_command_returns_and_quit_ends_it() {
    let server = Daemon::started("worker_processes 2;");
    let (_, word) = server.ask().unwrap();
    assert_eq!(word, "one");
    assert_eq!(server.workers().len(), 2);
    let master = server.master().unwrap();
    assert_eq!(server.command(&["-s", "quit"]), (String::new(), 0));
    server.is_gone(master);
    assert!(!server.path("pid").exists());
    assert!(server.ask().is_none());
    let log = server.log();
    for line in [
        "start worker processes",
        "start worker process ",
        "exited with code 0",
        "exit\n",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
}

#[test]
fn a_reload_keeps_processes_and_connections() {
    let server = Daemon::started("worker_processes 2;");
    let workers = server.workers();
    let mut open = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let (pid, word) = ask_on(&mut open).unwrap();
    assert_eq!(word, "one");
    for round in 0..20 {
        let word = format!("round-{round}");
        server.configure("worker_processes 2;", &word);
        assert_eq!(server.command(&["-s", "reload"]), (String::new(), 0));
        server.answers(&word);
        // The connection stays, and its next request is answered by the new configuration as
        // soon as its own worker has that.
        until_some(&word, || {
            (ask_on(&mut open).unwrap() == (pid, word.clone())).then_some(())
        });
    }
    assert_eq!(server.workers(), workers);
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_reported_whole() {
    let server = Daemon::started("");
    let workers = server.workers();
    std::fs::write(server.path("x.conf"), "events {\nhttp { }\n}\n}\n;").unwrap();
    let (errors, code) = server.command(&["-s", "reload"]);
    assert_eq!(code, 1, "{errors}");
    assert!(errors.starts_with("revolve: [emerg] "), "{errors}");
    server.signal(Signal::HUP);
    server.logged("nothing changed");
    let log = server.log();
    assert!(
        log.contains("[emerg] ") && log.contains("unexpected \"}\" in "),
        "{log}"
    );
    assert!(log.contains("unexpected \";\" in "), "{log}");
    // The snippet is there too, with the words underlined.
    assert!(log.contains("no block is open here"), "{log}");
    assert_eq!(server.ask().unwrap().1, "one");
    assert_eq!(server.workers(), workers);
}

#[test]
fn the_count_of_workers_follows_the_configuration() {
    let server = Daemon::started("worker_processes 1;");
    let first = server.workers();
    server.configure("worker_processes 3;", "more");
    server.signal(Signal::HUP);
    until_some("three workers", || {
        (server.workers().len() == 3).then_some(())
    });
    assert!(server.workers().contains(&first[0]));
    server.configure("worker_processes 1;", "fewer");
    server.signal(Signal::HUP);
    until_some("the first worker alone", || {
        (server.workers() == first).then_some(())
    });
    server.answers("fewer");
}

#[test]
fn a_dead_worker_is_replaced_at_once() {
    let server = Daemon::started("worker_processes 2;");
    let before = server.workers();
    // Not within its first second, which would count as a quick death.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    kill(before[0], Signal::KILL);
    let after = until_some("another worker", || {
        let now = server.workers();
        (now.len() == 2 && !now.contains(&before[0])).then_some(now)
    });
    assert!(after.contains(&before[1]));
    server.logged(&format!("worker process {} exited on signal 9", before[0]));
    // The replacement has the configuration, and serves.
    let new = *after.iter().find(|pid| !before.contains(pid)).unwrap();
    until_some("an answer of the new worker", || {
        server
            .ask()
            .filter(|(pid, word)| *pid == new && word == "one")
    });
}

#[test]
fn workers_that_die_at_once_are_replaced_more_and_more_slowly() {
    let server = Daemon::started("worker_processes 1;");
    let mut seen = BTreeSet::new();
    until_some("a pause", || {
        for worker in server.workers() {
            seen.insert(worker);
            kill(worker, Signal::KILL);
        }
        server
            .log()
            .contains("the next start is in 200 ms")
            .then_some(())
    });
    assert!(seen.len() >= 3, "{seen:?}");
    // Left alone it comes back.
    server.answers("one");
}

#[test]
fn workers_end_when_their_master_is_killed() {
    let server = Daemon::started("worker_processes 2;");
    let workers = server.workers();
    server.signal(Signal::KILL);
    for worker in workers {
        until_some("the worker's end", || {
            (!proc::is_alive(worker)).then_some(())
        });
    }
}

#[test]
fn a_stopped_worker_does_not_keep_the_master_from_ending() {
    let server = Daemon::started("worker_processes 2;");
    let master = server.master().unwrap();
    let workers = server.workers();
    kill(workers[0], Signal::STOP);
    server.signal(Signal::TERM);
    server.is_gone(master);
    assert!(workers.iter().all(|&worker| !proc::is_alive(worker)));
}

#[test]
fn logs_are_reopened() {
    let server = Daemon::started("worker_processes 2;");
    std::fs::rename(server.path("error.log"), server.path("old.log")).unwrap();
    std::fs::rename(server.path("access.log"), server.path("old.access.log")).unwrap();
    assert_eq!(server.command(&["-s", "reopen"]), (String::new(), 0));
    until_some("new logs", || {
        (server.path("error.log").exists() && server.path("access.log").exists()).then_some(())
    });
    let master = server.master().unwrap();
    server.command(&["-s", "stop"]);
    server.is_gone(master);
    assert!(server.log().ends_with("exit\n"), "{}", server.log());
    let old = std::fs::read_to_string(server.path("old.log")).unwrap();
    assert!(
        old.contains("reopening logs") && !old.contains("exit\n"),
        "{old}"
    );
}

#[test]
fn the_pid_file_follows_the_configuration() {
    let server = Daemon::started("");
    let master = server.master().unwrap();
    let text = std::fs::read_to_string(server.config()).unwrap();
    std::fs::write(server.config(), text.replace("/pid;", "/pid2;")).unwrap();
    server.signal(Signal::HUP);
    until_some("the new file", || {
        server.path("pid2").exists().then_some(())
    });
    until_some("the old file's end", || {
        (!server.path("pid").exists()).then_some(())
    });
    kill(master, Signal::TERM);
    server.is_gone(master);
    assert!(!server.path("pid2").exists());
}

#[test]
fn one_process_alone_serves_reloads_and_ends() {
    let server = Daemon::started("master_process off;");
    let master = server.master().unwrap();
    assert!(server.workers().is_empty());
    assert_eq!(server.ask().unwrap(), (master, "one".to_owned()));
    server.configure("master_process off;", "two");
    server.signal(Signal::HUP);
    server.answers("two");
    server.signal(Signal::QUIT);
    server.is_gone(master);
    assert!(!server.path("pid").exists());
}

#[test]
fn root_gives_its_workers_to_the_user() {
    if status_field(std::process::id(), "Uid").as_deref() != Some("0") {
        crate::support::left_out("only root can choose the workers' user");
        return;
    }
    let server = Daemon::started("user daemon daemon;");
    let worker = server.workers()[0];
    assert_eq!(status_field(worker, "Uid").as_deref(), Some("1"));
    assert_eq!(status_field(worker, "Gid").as_deref(), Some("1"));
    assert_eq!(
        status_field(worker, "CapEff").as_deref(),
        Some("0000000000000000")
    );
    // Another user needs other processes; the old ones finish and go.
    server.configure("user nobody nogroup;", "two");
    server.signal(Signal::HUP);
    server.answers("two");
    until_some("the old worker's end", || {
        (!proc::is_alive(worker)).then_some(())
    });
    assert_ne!(
        status_field(server.workers()[0], "Uid").as_deref(),
        Some("1")
    );
}

#[test]
fn limits_and_processors_are_set() {
    let server =
        Daemon::started("worker_processes 1;\nworker_rlimit_nofile 777;\nworker_cpu_affinity 1;");
    let worker = server.workers()[0];
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some("777"), "{line}");
    assert_eq!(
        status_field(worker, "Cpus_allowed_list").as_deref(),
        Some("0")
    );
}

#[test]
fn an_address_in_use_is_told_and_nothing_stays() {
    let server = Daemon::new("");
    let _taken = std::net::TcpListener::bind(("127.0.0.1", server.port)).unwrap();
    let (errors, code) = server.command(&[]);
    assert_eq!(code, 1);
    let line = format!(
        "bind() to 127.0.0.1:{} failed (98: Address already in use)",
        server.port
    );
    assert_eq!(
        errors
            .matches(&format!("revolve: [emerg] {line}\n"))
            .count(),
        5,
        "{errors}"
    );
    assert!(
        errors.ends_with("revolve: [emerg] still could not bind()\n"),
        "{errors}"
    );
    assert!(!server.path("pid").exists());
}

#[test]
fn workers_that_cannot_serve_at_all_end_the_start() {
    // So low that a worker cannot even take what it is handed.
    let server = Daemon::new("worker_rlimit_nofile 3;");
    let (errors, code) = server.command(&[]);
    assert_eq!(code, 1, "{errors}");
    assert!(
        errors.contains("[emerg] the worker processes could not start\n"),
        "{errors}"
    );
    server.logged("exited with code ");
    assert!(!server.path("pid").exists());
}

#[test]
fn a_log_that_cannot_be_opened_is_told() {
    let server = Daemon::new("error_log /no/such/folder/x;");
    let (errors, code) = server.command(&[]);
    let expected = "revolve: [emerg] open() \"/no/such/folder/x\" failed \
                    (2: No such file or directory)\n";
    assert_eq!((errors.as_str(), code), (expected, 1));
}

#[test]
fn a_daemon_lets_go_of_the_terminal() {
    let server = Daemon::new("");
    let mut command = program();
    let child = command
        .args(["-c", &server.config()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    // These end only when nobody holds the pipes any more.
    let mut text = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    assert_eq!(text, "");
    assert_eq!(server.ask().unwrap().1, "one");
    let session = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .nth(3)
            .unwrap()
            .to_owned()
    };
    let master = server.master().unwrap();
    assert_eq!(session(master), master.to_string());
}

#[test]
fn a_foreground_master_ends_on_interrupt() {
    let server = Daemon::new("");
    let mut child = program()
        .args(["-c", &server.config(), "-g", "daemon off;"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    server.answers("one");
    assert_eq!(server.master(), Some(child.id()));
    server.signal(Signal::INT);
    let started = std::time::Instant::now();
    assert!(child.wait().unwrap().success());
    assert!(started.elapsed() < PATIENCE);
    assert!(!server.path("pid").exists());
}

#[test]
fn a_unix_socket_is_made_taken_over_and_removed() {
    let server = Daemon::new("");
    let socket = server.path("socket");
    let text = std::fs::read_to_string(server.config()).unwrap();
    let listen = format!("listen 127.0.0.1:{};", server.port);
    let unix = format!("{listen} listen unix:{};", socket.display());
    std::fs::write(server.config(), text.replace(&listen, &unix)).unwrap();
    // A file that a dead server left behind is no hindrance.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(server.command(&[]), (String::new(), 0));
    std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let master = server.master().unwrap();
    server.configure("", "two");
    server.signal(Signal::HUP);
    until_some("the socket's end", || (!socket.exists()).then_some(()));
    server.answers("two");
    server.signal(Signal::QUIT);
    server.is_gone(master);
}

#[test]
fn copies_of_a_socket_are_dealt_to_the_workers() {
    let server = Daemon::new("worker_processes 3;");
    let text = std::fs::read_to_string(server.config()).unwrap();
    let listen = format!("listen 127.0.0.1:{}", server.port);
    std::fs::write(
        server.config(),
        text.replace(&listen, &format!("{listen} reuseport")),
    )
    .unwrap();
    assert_eq!(server.command(&[]), (String::new(), 0));
    let workers: BTreeSet<u32> = server.workers().into_iter().collect();
    let mut seen = BTreeSet::new();
    until_some("an answer of each", || {
        seen.insert(server.ask().unwrap().0);
        (seen == workers).then_some(())
    });
}
