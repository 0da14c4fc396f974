//! What workers run in: environment, folder, priority, limits, rights.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::Site;
use crate::support::{Run, get, proc, revolve, until, until_some};

fn environment(pid: u32) -> Vec<String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).expect("a process");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.split_terminator('\0').map(str::to_owned).collect()
}

#[test]
fn workers_get_what_is_configured_and_nothing_else() {
    let site = Site::new();
    let here = site.folder.path().display();
    let top = format!(
        "daemon off; env GIVEN; env MADE=a=b; env MISSING; working_directory {here};\n\
         worker_rlimit_core 3m; worker_threads 2;"
    );
    let mut command = revolve(&site.folder);
    command
        .env("GIVEN", "1")
        .env("SECRET", "2")
        .env("TZ", "UTC");
    site.folder.write("nginx.conf", site.config(&top, ""));
    let stderr = site.folder.file("stderr.txt");
    let server = crate::support::Server::run(&mut command, stderr, &[site.port]);
    let worker = server.workers_once(1)[0];
    assert_eq!(get(site.port, "/").text(), "home\n");
    let given = environment(worker);
    for variable in ["GIVEN=1", "MADE=a=b", "TZ=UTC"] {
        assert!(given.iter().any(|it| it == variable), "{given:?}");
    }
    let is_foreign = |it: &&String| {
        ["SECRET=", "MISSING", "PATH="]
            .iter()
            .any(|n| it.starts_with(n))
    };
    assert_eq!(given.iter().find(is_foreign), None);
    let folder = fs::read_link(format!("/proc/{worker}/cwd")).expect("its folder");
    assert_eq!(
        folder,
        site.folder.path().canonicalize().expect("our folder")
    );
    let limits = fs::read_to_string(format!("/proc/{worker}/limits")).expect("its limits");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    assert_eq!(
        core.and_then(|line| line.split_whitespace().nth(4)),
        Some("3145728")
    );
    assert_eq!(proc::status(worker, "NoNewPrivs:"), Some(1));
}

#[test]
fn workers_of_root_have_its_priority_and_none_of_its_rights() {
    if !proc::is_root() {
        crate::support::left_out("only root can become somebody else");
        return;
    }
    let site = Site::new();
    let server = site.start("user daemon; worker_priority 7; worker_threads 2;", "");
    let worker = server.workers_once(1)[0];
    assert_eq!(get(site.port, "/").text(), "home\n");
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
        assert_eq!(proc::status(worker, set), Some(0), "{set}");
    }
    let groups = fs::read_to_string(format!("/proc/{worker}/status")).expect("its status");
    let groups = groups.lines().find(|line| line.starts_with("Groups:"));
    let groups: Vec<&str> = groups.map_or(vec![], |line| line.split_whitespace().skip(1).collect());
    assert!(!groups.is_empty() && !groups.contains(&"0"), "{groups:?}");
    let threads = fs::read_dir(format!("/proc/{worker}/task")).expect("its threads");
    for thread in threads.flatten() {
        let stat = fs::read_to_string(thread.path().join("stat")).expect("a thread");
        let fields = stat.rsplit(") ").next().expect("fields").split_whitespace();
        assert_eq!(fields.into_iter().nth(16), Some("7"), "{stat}");
    }
}

#[test]
fn workers_that_cannot_be_replaced_go_on() {
    let site = Site::new();
    let server = site.start("", "return 200 old;");
    let workers = server.workers_once(1);
    let top = "daemon off; working_directory /no/such;";
    site.folder
        .write("nginx.conf", site.config(top, "return 200 new;"));
    server.signal(Signal::HUP);
    let says = "chdir(\"/no/such\") failed (2: No such file or directory)";
    until("the log says why", || site.log().contains(says));
    assert_eq!(get(site.port, "/").text(), "old");
    assert!(proc::is_alive(workers[0]));
    let top = "daemon off; working_directory /;";
    site.folder
        .write("nginx.conf", site.config(top, "return 200 new;"));
    server.signal(Signal::HUP);
    until("the new one serves", || get(site.port, "/").text() == "new");
    until("the old one ends", || !proc::is_alive(workers[0]));
    assert_eq!(server.workers_once(1).len(), 1);
}

#[test]
fn host_names_are_looked_up_and_unknown_ones_named() {
    let site = Site::new();
    let config = site.config(
        "daemon off; worker_processes 2;",
        "return 200 $server_port;",
    );
    let config = config.replace("listen 127.0.0.1:", "listen localhost:");
    let server = crate::support::Server::start(&site.folder, &config, &[site.port]);
    server.workers_once(2);
    assert_eq!(get(site.port, "/").text(), site.port.to_string());
    let unknown = config.replace("localhost:", "no-such-host.invalid:");
    site.folder.write("nginx.conf", unknown);
    let run = Run::of(revolve(&site.folder).arg("-t"));
    let says = "host not found in \"no-such-host.invalid:";
    assert!(run.err.contains(says) && run.code == 1, "{}", run.err);
    server.signal(Signal::HUP);
    until("the log says so", || site.log().contains(says));
    assert_eq!(get(site.port, "/").text(), site.port.to_string());
}

#[test]
fn processes_have_the_titles_of_nginx() {
    let site = Site::new();
    let server = site.start("", "");
    let worker = server.workers_once(1)[0];
    let title = |pid: u32| {
        let bytes = fs::read(format!("/proc/{pid}/cmdline")).expect("a process");
        String::from_utf8_lossy(&bytes)
            .replace('\0', " ")
            .trim_end()
            .to_owned()
    };
    let here = site.folder.path().display();
    let binary = crate::support::server::REVOLVE;
    let master = format!("revolve: master process {binary} -p {here} -c nginx.conf");
    assert_eq!(title(server.pid()), master);
    assert_eq!(title(worker), "revolve: worker process");
    // The new binary is called by the same name.
    server.signal(Signal::USR2);
    until("the new master serves", || {
        let pid = site.folder.read("pid");
        !pid.is_empty() && pid.trim() != server.pid().to_string()
    });
    let new: u32 = site.folder.read("pid").trim().parse().expect("a pid");
    assert_eq!(title(new), master);
    proc::signal(new, Signal::TERM);
    until("it ends", || {
        site.folder.read("pid").trim() == server.pid().to_string()
    });
}

#[test]
fn root_serves_where_nobody_may_change_groups() {
    if !proc::has_user_namespaces() {
        return;
    }
    let site = Site::new();
    site.folder
        .write("nginx.conf", site.config("daemon off; user root;", ""));
    let plain = revolve(&site.folder);
    let mut command = Command::new("unshare");
    // The namespace of such a container: one user, and setgroups(2) denied.
    command.args(["--user", "--map-root-user"]);
    command.current_dir(site.folder.path());
    command.arg(plain.get_program()).args(plain.get_args());
    let stderr = site.folder.file("stderr.txt");
    let server = crate::support::Server::run(&mut command, stderr, &[site.port]);
    site.settle(1);
    assert_eq!(get(site.port, "/").text(), "home\n");
    let line = until_some("the worker says so", || {
        let log = site.log();
        let line = log.lines().find(|it| it.contains("initgroups(root, 0)"));
        line.map(str::to_owned)
    });
    assert!(
        line.contains("[warn] ") && line.contains("denies it"),
        "{line}"
    );
    let worker = server.workers_once(1)[0];
    assert_eq!(proc::status(worker, "NoNewPrivs:"), Some(1));
}

#[test]
fn a_folder_that_cannot_be_watched_is_said_once() {
    if !proc::has_user_namespaces() {
        return;
    }
    let site = Site::new();
    site.folder.write("html/sub/x.txt", "x");
    site.folder
        .write("nginx.conf", site.config("daemon off; user root;", ""));
    let plain = revolve(&site.folder);
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "sh", "-c"]);
    command.arg("echo 2 >/proc/sys/user/max_inotify_watches && exec \"$@\"");
    command
        .arg("sh")
        .arg(plain.get_program())
        .args(plain.get_args());
    command.current_dir(site.folder.path());
    let stderr = site.folder.file("stderr.txt");
    let _server = crate::support::Server::run(&mut command, stderr, &[site.port]);
    site.settle(1);
    for _ in 0..3 {
        assert_eq!(get(site.port, "/").text(), "home\n");
        assert_eq!(get(site.port, "/sub/x.txt").text(), "x");
    }
    let warning = "[warn] ";
    until("it is said", || {
        site.log().contains("raise fs.inotify.max_user_watches")
    });
    let log = site.log();
    let lines = log
        .lines()
        .filter(|line| line.contains("inotify_add_watch()"));
    let lines: Vec<&str> = lines.collect();
    assert!(lines.len() == 1 && lines[0].contains(warning), "{log}");
}
