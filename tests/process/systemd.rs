//! Under systemd: notifications, watchdog, socket activation. The manager is played by the test.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::Site;
use crate::support::server::REVOLVE;
use crate::support::{Client, Server, get, proc, revolve, until, wait};

/// The manager's end of `NOTIFY_SOCKET`.
struct Manager {
    socket: UnixDatagram,
}

impl Manager {
    fn at(path: &Path) -> Manager {
        Manager::of(UnixDatagram::bind(path).expect("a socket"))
    }

    fn of(socket: UnixDatagram) -> Manager {
        let patience = Some(wait::PATIENCE);
        socket.set_read_timeout(patience).expect("a timeout");
        Manager { socket }
    }

    /// The next message that is no sign of life.
    fn next(&self) -> String {
        loop {
            let message = self.any();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    fn any(&self) -> String {
        let mut bytes = [0; 1024];
        let length = self.socket.recv(&mut bytes).expect("a message in time");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Waits for a message that begins so.
    fn expect(&self, start: &str) -> String {
        let message = self.next();
        assert!(message.starts_with(start), "{start}: {message}");
        message
    }
}

fn start(site: &Site, top: &str, name: &str, command: &mut Command) -> Server {
    let config = site.config(&format!("daemon off; {top}"), "return 200 old;");
    site.folder.write("nginx.conf", config);
    command.env("NOTIFY_SOCKET", name);
    Server::run(command, site.folder.file("stderr.txt"), &[site.port])
}

#[test]
fn the_manager_hears_of_start_reload_and_end() {
    let site = Site::new();
    let path = site.folder.file("notify");
    let manager = Manager::at(&path);
    let name = path.to_str().expect("a plain path");
    let mut server = start(
        &site,
        "worker_processes 2;",
        name,
        &mut revolve(&site.folder),
    );
    let ready = manager.expect("READY=1\nSTATUS=serving configuration 1");
    assert!(ready.contains("worker_processes 2"), "{ready}");
    assert_eq!(get(site.port, "/").text(), "old");
    for worker in server.workers() {
        let environment = std::fs::read(format!("/proc/{worker}/environ")).expect("its own");
        let environment = String::from_utf8_lossy(&environment);
        assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    }
    let config = site.config("daemon off; worker_processes 2;", "return 200 new;");
    site.folder.write("nginx.conf", config);
    server.signal(Signal::HUP);
    let reloading = manager.expect("RELOADING=1\nMONOTONIC_USEC=");
    let time = reloading
        .lines()
        .nth(1)
        .and_then(|line| line.split('=').nth(1));
    assert!(
        time.is_some_and(|time| time.parse::<u64>().is_ok_and(|it| it > 0)),
        "{reloading}"
    );
    manager.expect("READY=1\nSTATUS=serving configuration 2");
    // Ready means that every worker serves it.
    for _ in 0..8 {
        assert_eq!(get(site.port, "/").text(), "new");
    }
    site.folder.write("nginx.conf", "nonsense");
    server.signal(Signal::HUP);
    manager.expect("RELOADING=1\n");
    manager.expect("READY=1\nSTATUS=serving configuration 2");
    server.signal(Signal::QUIT);
    manager.expect("STOPPING=1\n");
    server.wait();
}

#[test]
fn an_abstract_socket_and_a_server_of_one_process_will_do() {
    let site = Site::new();
    let name = format!("revolve-test-{}-{}", std::process::id(), site.port);
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let manager = Manager::of(UnixDatagram::bind_addr(&address).expect("a socket"));
    let name = format!("@{name}");
    let mut server = start(
        &site,
        "master_process off;",
        &name,
        &mut revolve(&site.folder),
    );
    manager.expect("READY=1\n");
    server.signal(Signal::HUP);
    manager.expect("RELOADING=1\n");
    manager.expect("READY=1\nSTATUS=serving configuration 2");
    server.signal(Signal::TERM);
    manager.expect("STOPPING=1\n");
    server.wait();
}

#[test]
fn the_watchdog_is_fed_while_the_master_turns() {
    let site = Site::new();
    let path = site.folder.file("notify");
    let manager = Manager::at(&path);
    let mut command = revolve(&site.folder);
    command.env("WATCHDOG_USEC", "200000");
    let server = start(
        &site,
        "",
        path.to_str().expect("a plain path"),
        &mut command,
    );
    let fed = |times: usize| {
        let messages = std::iter::from_fn(|| Some(manager.any()));
        messages
            .filter(|it| it == "WATCHDOG=1\n")
            .take(times)
            .count()
    };
    assert_eq!(fed(3), 3);
    // A master that stands still says nothing: that is what the watchdog is for.
    server.signal(Signal::STOP);
    let short = Some(Duration::from_millis(400));
    manager.socket.set_read_timeout(short).expect("a timeout");
    let mut bytes = [0; 64];
    // What it had said before it stopped.
    while manager.socket.recv(&mut bytes).is_ok() {}
    server.signal(Signal::CONT);
    let patience = Some(wait::PATIENCE);
    manager
        .socket
        .set_read_timeout(patience)
        .expect("a timeout");
    assert_eq!(fed(1), 1);
}

#[test]
fn a_new_binary_becomes_the_main_process_when_the_old_one_leaves() {
    let site = Site::new();
    let path = site.folder.file("notify");
    let manager = Manager::at(&path);
    let name = path.to_str().expect("a plain path");
    let mut server = start(&site, "", name, &mut revolve(&site.folder));
    manager.expect("READY=1\n");
    server.signal(Signal::USR2);
    let pid = || site.folder.read("pid").trim().parse::<u32>().unwrap_or(0);
    until("the new one has the pid file", || {
        ![0, server.pid()].contains(&pid())
    });
    server.signal(Signal::QUIT);
    let successor = pid();
    assert_eq!(manager.next(), format!("MAINPID={successor}\n"));
    // Of the new one, which would not have been heard before.
    manager.expect("READY=1\n");
    server.wait();
    proc::signal(successor, Signal::TERM);
    manager.expect("STOPPING=1\n");
    until("it ends", || !proc::is_alive(successor));
}

#[test]
fn without_a_manager_that_listens_the_server_serves() {
    let site = Site::new();
    let gone = site.folder.file("gone");
    let name = gone.to_str().expect("a plain path");
    let server = start(&site, "", name, &mut revolve(&site.folder));
    until("the log says so", || {
        site.log()
            .contains("telling systemd READY=1 failed (2: No such file or directory)")
    });
    assert_eq!(get(site.port, "/").text(), "old");
    drop(server);
    let strange = start(&site, "", "vsock:2:1234", &mut revolve(&site.folder));
    until("the log says so", || {
        site.log()
            .contains("notification socket \"vsock:2:1234\" cannot be used")
    });
    drop(strange);
}

/// A command that starts the program with two descriptors as systemd hands them over.
fn activated(site: &Site, first: impl Into<OwnedFd>, second: impl Into<OwnedFd>) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = "exec 3<&0 4>&1 </dev/null >/dev/null; \
                  LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    command.args(["-c", script, "sh", REVOLVE, "-p"]);
    command.arg(site.folder.path()).args(["-c", "nginx.conf"]);
    command.stdin(Stdio::from(first.into()));
    command.stdout(Stdio::from(second.into()));
    command
}

/// As `Server::run`, which would replace the descriptors.
fn run(site: &Site, mut command: Command) -> (std::process::Child, impl Fn() -> String) {
    let stderr = site.folder.file("stderr.txt");
    let file = std::fs::File::create(&stderr).expect("a file");
    let child = command
        .stderr(file)
        .spawn()
        .expect("the program can be run");
    (child, move || {
        std::fs::read_to_string(&stderr).unwrap_or_default()
    })
}

fn end(mut child: std::process::Child) {
    proc::signal(child.id(), Signal::TERM);
    let status = child.wait().expect("our child");
    assert!(status.success(), "{status}");
}

#[test]
fn sockets_that_systemd_opened_are_served_and_left_to_it() {
    let site = Site::new();
    let tcp = TcpListener::bind(("127.0.0.1", site.port)).expect("a free port");
    let path = site.folder.file("site.sock");
    let unix = UnixListener::bind(&path).expect("a path");
    // A client that came before the server did.
    let mut early = Client::connect(site.port);
    early.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let server = format!("listen unix:{}; return 200 here;", path.display());
    let config = site.config("daemon off; worker_processes 2;", &server);
    site.folder.write("nginx.conf", config);
    let copy = |fd: &TcpListener| fd.try_clone().expect("a copy");
    let command = activated(&site, copy(&tcp), unix.try_clone().expect("a copy"));
    let (child, said) = run(&site, command);
    assert_eq!(early.response().text(), "here");
    let mut client = UnixStream::connect(&path).expect("somebody listens");
    client
        .write_all(
            b"GET / HTTP/1.0

",
        )
        .expect("a request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("here"), "{answer}");
    assert_eq!(said(), "");
    end(child);
    assert!(path.exists(), "systemd goes on listening there");
    // And starts the server again for the next client.
    let mut next = Client::connect(site.port);
    next.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let (child, said) = run(&site, activated(&site, tcp, unix));
    assert_eq!(next.response().text(), "here");
    assert_eq!(said(), "");
    end(child);
}

#[test]
fn a_new_binary_leaves_the_sockets_to_systemd_too() {
    let site = Site::new();
    let tcp = TcpListener::bind(("127.0.0.1", site.port)).expect("a free port");
    let path = site.folder.file("site.sock");
    let unix = UnixListener::bind(&path).expect("a path");
    let server = format!("listen unix:{}; return 200 here;", path.display());
    site.folder
        .write("nginx.conf", site.config("daemon off;", &server));
    let (mut old, said) = run(&site, activated(&site, tcp, unix));
    let pid = || site.folder.read("pid").trim().parse::<u32>().unwrap_or(0);
    // The connection waits in the socket until it serves.
    assert_eq!(get(site.port, "/").text(), "here");
    proc::signal(old.id(), Signal::USR2);
    until("the new one serves", || {
        site.folder.file("pid").exists() && ![0, old.id()].contains(&pid())
    });
    let new = pid();
    proc::signal(old.id(), Signal::QUIT);
    assert!(old.wait().expect("our child").success());
    proc::signal(new, Signal::TERM);
    until("it ends", || !proc::is_alive(new));
    assert_eq!(said(), "");
    assert!(path.exists(), "systemd goes on listening there");
}

#[test]
fn descriptors_that_do_not_fit_are_said() {
    let site = Site::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address");
    let (half, _other_half) = UnixDatagram::pair().expect("a pair");
    site.folder
        .write("nginx.conf", site.config("daemon off;", "return 200 here;"));
    let (child, said) = run(&site, activated(&site, other, half));
    until("the server serves", || {
        crate::support::ports::is_listening(site.port)
    });
    assert_eq!(get(site.port, "/").text(), "here");
    let said = said();
    let no_listen = format!("systemd listens on {address} for us, and no \"listen\"");
    for words in [
        &no_listen,
        "descriptor 4 of LISTEN_FDS is not a stream socket",
    ] {
        assert!(said.contains(words), "{words}\n{said}");
    }
    end(child);
}
