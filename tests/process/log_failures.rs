//! Logs that cannot be written: no request waits or fails, and what is lost is said.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use rustix::fs::{CWD, FileType, Mode};
use rustix::process::Signal;

use super::Site;
use crate::support::wait::PATIENCE;
use crate::support::{Client, get, proc, until};

/// Makes a pipe in the site's folder.
fn pipe(site: &Site) -> PathBuf {
    let path = site.folder.file("logs/pipe");
    let mode = Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).expect("a pipe");
    path
}

/// The sum of what the error log says is lost.
pub(super) fn lost(site: &Site) -> usize {
    let log = site.log();
    let said = log.lines().filter_map(|line| {
        let (rest, _) = line.strip_suffix(" lost")?.rsplit_once(" line")?;
        rest.rsplit_once(' ')?.1.parse::<usize>().ok()
    });
    said.sum()
}

#[test]
fn a_pipe_that_nobody_reads_stops_no_request_and_its_lines_are_counted() {
    let site = Site::new();
    let path = pipe(&site);
    // What a pipe and the server's own memory hold is soon less than this.
    let text = "access_log logs/pipe long; location = / { return 200; }";
    let long = format!("log_format long '$request {}';", "x".repeat(3000));
    let config = site
        .config("daemon off;", text)
        .replace("http {", &format!("http {{ {long}"));
    let mut server = crate::support::Server::start(&site.folder, &config, &[site.port]);
    let mut client = Client::connect(site.port);
    const REQUESTS: usize = 900;
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").status, 200);
    }
    let line = format!("write() to \"{}\" failed (11: ", path.display());
    until("it is said", || site.log().contains(&line));
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(File::open(path).expect("a pipe")).lines();
        let whole = |line: &String| {
            assert_eq!(line.len(), "GET / HTTP/1.1 ".len() + 3000);
        };
        lines
            .map(|line| line.expect("a line"))
            .inspect(whole)
            .count()
    });
    drop(client);
    server.signal(Signal::QUIT);
    assert!(server.wait().success());
    let read = reader.join().expect("every line is whole");
    assert!(read > 300, "{read}");
    assert_eq!(read + lost(&site), REQUESTS, "{}", site.log());
}

#[test]
fn a_pipe_loses_nothing_while_its_reader_is_away() {
    let site = Site::new();
    let path = pipe(&site);
    let _server = site.start("worker_processes 2;", "access_log logs/pipe;");
    for round in 0..3 {
        for number in 0..5 {
            get(site.port, &format!("/{round}-{number}"));
        }
        let mut reader = BufReader::new(File::open(&path).expect("a pipe"));
        // Two workers write, in no order between them.
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            let path = line.split(' ').nth(6).expect("a request");
            seen.insert(path.to_owned());
        }
        let expected: BTreeSet<String> =
            (0..5).map(|number| format!("/{round}-{number}")).collect();
        assert_eq!(seen, expected);
    }
    assert_eq!(lost(&site), 0);
}

#[test]
fn a_pipe_as_error_log_stops_nothing_either() {
    let site = Site::new();
    let path = pipe(&site);
    let config = site.config("daemon off;", "");
    let config = config.replace("logs/error.log info", "logs/pipe debug");
    let server = crate::support::Server::start(&site.folder, &config, &[site.port]);
    let mut client = Client::connect(site.port);
    for _ in 0..900 {
        assert_eq!(client.get("/nope").status, 404);
    }
    server.signal(Signal::HUP);
    server.signal(Signal::USR1);
    assert_eq!(client.get("/").text(), "home\n");
    let mut reader = BufReader::new(File::open(path).expect("a pipe"));
    let mut line = String::new();
    reader.read_line(&mut line).expect("a line");
    assert!(line.contains("[notice]"), "{line}");
}

#[test]
fn a_syslog_server_that_is_not_there_stops_no_request_and_is_heard_when_it_comes() {
    let site = Site::new();
    let here = site.folder.path().display().to_string();
    let log = format!("access_log syslog:server=unix:{here}/sock,nohostname;");
    let _server = site.start("", &log);
    let mut client = Client::connect(site.port);
    for _ in 0..300 {
        assert_eq!(client.get("/").text(), "home\n");
    }
    let line = format!(
        "connect() failed (2: No such file or directory) while logging to syslog, \
         server: unix:{here}/sock, "
    );
    until("it is said", || site.log().contains(&line));
    for _ in 0..300 {
        assert_eq!(client.get("/").text(), "home\n");
    }
    assert_eq!(
        site.folder.count("logs/error.log", &line),
        1,
        "{}",
        site.log()
    );
    for _ in 0..2 {
        let path = site.folder.file("sock");
        let server = UnixDatagram::bind(&path).expect("a socket");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
        server.set_nonblocking(true).expect("fcntl");
        let mut bytes = [0; 1024];
        until("a line arrives", || {
            assert_eq!(client.get("/").text(), "home\n");
            server.recv(&mut bytes).is_ok_and(|length| {
                let text = String::from_utf8_lossy(&bytes[..length]);
                text.starts_with("<190>") && text.contains(" nginx: 127.0.0.1 - - [")
            })
        });
        fs::remove_file(path).expect("a socket");
    }
}

#[test]
fn a_syslog_server_that_reads_nothing_stops_no_request() {
    let site = Site::new();
    let path = site.folder.file("sock");
    let server = UnixDatagram::bind(&path).expect("a socket");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).expect("chmod");
    let log = format!("access_log syslog:server=unix:{};", path.display());
    let _running = site.start("", &log);
    let mut client = Client::connect(site.port);
    const REQUESTS: usize = 1000;
    for _ in 0..REQUESTS {
        assert_eq!(client.get("/").text(), "home\n");
    }
    // They waited, and none is lost.
    let mut bytes = [0; 1024];
    server.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for _ in 0..REQUESTS {
        server.recv(&mut bytes).expect("a line");
    }
    assert_eq!(lost(&site), 0, "{}", site.log());
}

#[test]
fn files_that_requests_name_are_closed_again_and_errors_are_said_once() {
    let site = Site::new();
    site.folder.set_mode("logs", 0o777);
    let text = "access_log logs/$arg_to.log; \
                location /kept/ { open_log_file_cache max=3 inactive=1s; }";
    let server = site.start("", text);
    let worker = server.workers_once(1)[0];
    let mut client = Client::connect(site.port);
    client.get("/?to=first");
    until("it is written", || {
        site.folder.count("logs/first.log", "GET") == 1
    });
    until("it is closed", || {
        let open = proc::open_files(worker);
        !open.iter().any(|name| name.ends_with("/first.log"))
    });
    let before = proc::descriptors(worker);
    for number in 0..100 {
        client.get(&format!("/?to={number}"));
        client.get(&format!("/?to=no/{number}"));
    }
    until("all are written", || {
        (0..100).all(|number| site.folder.count(&format!("logs/{number}.log"), "GET") == 1)
    });
    until("all are closed", || proc::descriptors(worker) == before);
    let failed = site.folder.count("logs/error.log", "open() \"");
    assert_eq!(failed, 1, "{}", site.log());
    for number in 0..9 {
        client.get(&format!("/kept/?to={number}"));
    }
    let kept = proc::descriptors(worker);
    assert!(kept <= before + 3, "{before} {kept}");
    until("those that are not used any more are closed", || {
        proc::descriptors(worker) == before
    });
}
