//! From the command to a server, or to a message why there is none.

use std::net::TcpListener;
use std::process::Command;

use rustix::process::Signal;

use super::Site;
use crate::support::server::REVOLVE;
use crate::support::{Run, Server, get, ports, proc, revolve, until};

/// A daemon, ended with its test.
struct Daemon(u32);

impl Drop for Daemon {
    fn drop(&mut self) {
        if proc::try_signal(self.0, Signal::TERM) {
            until("the daemon ends", || !proc::is_alive(self.0));
        }
    }
}

#[test]
fn a_daemon_serves_when_the_command_returns() {
    let site = Site::new();
    site.folder
        .write("nginx.conf", site.config("worker_processes 2;", ""));
    let run = Run::of(&mut revolve(&site.folder));
    assert_eq!((run.err.as_str(), run.out.as_str(), run.code), ("", "", 0));
    // No waiting: it is there.
    let pid: u32 = site.folder.read("pid").trim().parse().expect("a pid file");
    let daemon = Daemon(pid);
    assert_eq!(get(site.port, "/").text(), "home\n");
    assert_eq!(proc::children(daemon.0).len(), 2);
    assert_eq!(
        proc::status(pid, "PPid:"),
        Some(1).or(proc::status(pid, "PPid:"))
    );
    // It has left the terminal, and holds none of our files.
    let session = rustix::process::getsid(rustix::process::Pid::from_raw(pid as i32));
    assert_eq!(
        session.map(|session| session.as_raw_nonzero().get() as u32),
        Ok(pid)
    );
    for stream in 0..2 {
        let target = std::fs::read_link(format!("/proc/{pid}/fd/{stream}")).expect("a stream");
        assert_eq!(target.to_str(), Some("/dev/null"));
    }
    let stopped = Run::of(revolve(&site.folder).arg("-s").arg("stop"));
    assert_eq!((stopped.err.as_str(), stopped.code), ("", 0));
    until("it is gone", || !proc::is_alive(pid));
    until("its pid file is gone", || !site.folder.file("pid").exists());
    assert!(!ports::is_listening(site.port));
}

#[test]
fn a_daemon_that_cannot_start_says_so_and_returns_failure() {
    let site = Site::new();
    let taken = TcpListener::bind(("127.0.0.1", site.port)).expect("a free port");
    site.folder.write("nginx.conf", site.config("", ""));
    let run = Run::of(&mut revolve(&site.folder));
    assert_eq!(run.code, 1);
    let says = format!(
        "bind() to 127.0.0.1:{} failed (98: Address already in use)",
        site.port
    );
    assert_eq!(run.first_line(), format!("revolve: [emerg] {says}"));
    let place = format!(" --> {}/nginx.conf:", site.folder.path().display());
    assert_eq!(run.err.matches(&place).count(), 1, "{}", run.err);
    let help = format!("another program listens on port {}; `ss -ltnp", site.port);
    assert_eq!(run.err.matches(&help).count(), 1, "{}", run.err);
    assert!(
        run.err.contains("revolve: [emerg] still could not bind()"),
        "{}",
        run.err
    );
    assert!(!site.folder.file("pid").exists());
    drop(taken);
}

#[test]
fn a_server_in_the_foreground_has_its_pid_file_and_leaves_none() {
    let site = Site::new();
    let mut server = site.start("", "");
    until("the pid file", || {
        site.folder.read("pid") == format!("{}\n", server.pid())
    });
    assert_eq!(get(site.port, "/").text(), "home\n");
    server.signal(Signal::TERM);
    assert!(server.wait().success());
    assert!(!site.folder.file("pid").exists());
    assert_eq!(server.stderr(), "");
}

#[test]
fn one_process_can_do_it_all() {
    let site = Site::new();
    let mut server = site.start("master_process off;", "");
    assert_eq!(get(site.port, "/").text(), "home\n");
    assert!(server.workers().is_empty());
    site.folder.write(
        "nginx.conf",
        site.config("daemon off; master_process off;", "return 200 new;"),
    );
    server.signal(Signal::HUP);
    until("the new configuration serves", || {
        get(site.port, "/").text() == "new"
    });
    server.signal(Signal::QUIT);
    assert!(server.wait().success());
    assert!(!site.folder.file("pid").exists());
}

#[test]
fn what_cannot_be_opened_is_named() {
    let site = Site::new();
    let here = site.folder.path().display().to_string();
    let cases = [
        (
            format!("pid {here}/none/pid;\nevents {{}}\n"),
            format!("open() \"{here}/none/pid\" failed (2: No such file or directory)"),
        ),
        (
            format!("pid {here}/p;\nerror_log {here}/none/e.log;\nevents {{}}\n"),
            format!("open() \"{here}/none/e.log\" failed (2: No such file or directory)"),
        ),
        (
            format!("pid {here}/p;\nevents {{}}\nhttp {{ access_log {here}/html; }}\n"),
            format!("open() \"{here}/html\" failed (21: Is a directory)"),
        ),
        (
            format!("pid {here}/p;\nevents {{}}\nhttp {{ server {{ listen 192.0.2.1:81; }} }}\n"),
            "bind() to 192.0.2.1:81 failed (99: Cannot assign requested address)".into(),
        ),
        (
            format!("pid {here}/p;\nevents {{}}\ninclude none.conf;\n"),
            format!(
                "open() \"{here}/none.conf\" failed (2: No such file or directory) in {here}/nginx.conf:3"
            ),
        ),
        (
            format!(
                "pid {here}/p;\nevents {{}}\nhttp {{ server {{ listen unix:{here}/none/s; }} }}\n"
            ),
            format!("bind() to unix:{here}/none/s failed (2: No such file or directory)"),
        ),
    ];
    for (text, says) in cases {
        site.folder.write("nginx.conf", &text);
        for option in ["-t", "-q"] {
            let mut command = revolve(&site.folder);
            let run = Run::of(command.arg(option).arg("-g").arg("daemon off;"));
            assert!(
                run.err.contains(&format!("revolve: [emerg] {says}\n")),
                "{text}\n{}",
                run.err
            );
            assert!(!run.err.contains("panicked"), "{}", run.err);
            assert_eq!(run.code, 1, "{text}");
        }
    }
    let run = Run::of(Command::new(REVOLVE).args(["-t", "-c", "/no/such/file.conf"]));
    let says =
        "revolve: [emerg] open() \"/no/such/file.conf\" failed (2: No such file or directory)";
    assert_eq!((run.first_line(), run.code), (says, 1));
}

#[test]
fn a_folder_is_served_by_its_name_alone() {
    let site = Site::new();
    let mut command = Command::new(REVOLVE);
    command
        .arg(site.folder.file("html"))
        .arg("--port")
        .arg(site.port.to_string());
    command.current_dir(site.folder.path());
    let mut server = Server::run(&mut command, site.folder.file("stderr.txt"), &[site.port]);
    let response = get(site.port, "/");
    assert_eq!(response.text(), "home\n");
    assert_eq!(
        response.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    server.signal(Signal::INT);
    assert!(server.wait().success());

    let missing = site.folder.file("nowhere");
    let run = Run::of(Command::new(REVOLVE).arg(&missing).args(["--port", "1"]));
    assert!(run.err.contains("nowhere"), "{}", run.err);
    assert_eq!(run.code, 1);
}

#[test]
fn workers_give_up_the_rights_of_root() {
    if !proc::is_root() {
        crate::support::left_out("only root can become somebody else");
        return;
    }
    let site = Site::new();
    site.folder.write("html/private.txt", "root's own");
    site.folder.set_mode("html/private.txt", 0o600);
    site.folder.make("html/closed");
    site.folder.write("html/closed/x.txt", "x");
    site.folder.set_mode("html/closed", 0o700);
    let server = site.start("user daemon;", "");
    let worker = server.workers_once(1)[0];
    assert_eq!(proc::status(server.pid(), "Uid:"), Some(0));
    let users = std::fs::read_to_string("/etc/passwd").expect("users");
    let daemon = users
        .lines()
        .find(|line| line.starts_with("daemon:"))
        .expect("the user daemon");
    let id: u64 = daemon
        .split(':')
        .nth(2)
        .and_then(|id| id.parse().ok())
        .expect("its id");
    until("the worker is another user", || {
        proc::status(worker, "Uid:") == Some(id)
    });
    assert_ne!(proc::status(worker, "Gid:"), Some(0));
    assert_eq!(get(site.port, "/").text(), "home\n");
    for path in ["/private.txt", "/closed/x.txt"] {
        assert_eq!(get(site.port, path).status, 403, "{path}");
        let line = format!("{path}\" failed (13: Permission denied)");
        until("the reason is in the log", || site.log().contains(&line));
    }
}

#[test]
fn a_user_that_does_not_exist_is_named() {
    if !proc::is_root() {
        crate::support::left_out("only root can become somebody else");
        return;
    }
    let site = Site::new();
    let top = "daemon off; user no-such-user-here;";
    site.folder.write("nginx.conf", site.config(top, ""));
    for option in ["-t", "-q"] {
        let run = Run::of(revolve(&site.folder).arg(option));
        let says = "revolve: [emerg] getpwnam(\"no-such-user-here\") failed in ";
        let line = run.err.lines().find_map(|line| line.strip_prefix(says));
        let place = format!("{}:", site.folder.file("nginx.conf").display());
        assert!(
            line.is_some_and(|line| line.starts_with(&place)),
            "{}",
            run.err
        );
        assert_eq!(run.code, 1);
        assert!(!ports::is_listening(site.port));
    }
}

#[test]
fn a_backlog_that_the_kernel_cuts_is_said() {
    let site = Site::new();
    let limit = std::fs::read_to_string("/proc/sys/net/core/somaxconn").expect("a limit");
    let limit = limit.trim();
    let config = |backlog: &str| {
        let config = site.config("daemon off;", "");
        let listen = format!("listen 127.0.0.1:{}", site.port);
        config.replace(&listen, &format!("{listen} backlog={backlog}"))
    };
    let server = Server::start(&site.folder, &config("1000000000"), &[site.port]);
    let address = format!("127.0.0.1:{}", site.port);
    let line = format!(
        "revolve: [warn] the backlog of {address} is 1000000000, and the kernel cuts it to {limit}: \
         raise net.core.somaxconn, or set backlog={limit}\n"
    );
    until("it serves", || {
        site.log().contains("serves configuration 1")
    });
    assert_eq!(server.stderr(), line);
    assert!(site.log().contains("[warn]"), "{}", site.log());
    drop(server);
    let server = Server::start(&site.folder, &config(limit), &[site.port]);
    site.settle(2);
    assert_eq!(server.stderr(), "");
}
