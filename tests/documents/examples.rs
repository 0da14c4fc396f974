//! Examples that run.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::sources;
use crate::support::server::REVOLVE;
use crate::support::{Client, Run, get, left_out, ports, proc, until};

/// A script that ends what it has started.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        if proc::try_signal(self.0.id(), Signal::TERM) {
            let _ = self.0.wait();
        }
    }
}

#[test]
fn two_applications_with_health_checks() {
    let has_python = Command::new("python3").arg("-c").arg("").status();
    if !has_python.is_ok_and(|status| status.success()) {
        left_out("python3 is not installed");
        return;
    }
    let [port, first, second] = [(); 3].map(|()| ports::free());
    let mut command = Command::new(sources().join("examples/upstreams/run"));
    command.args([port, first, second].map(|port| port.to_string()));
    command.env("REVOLVE", REVOLVE).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut script = Script(command.spawn().expect("a script"));
    let mut lines = BufReader::new(script.0.stdout.take().expect("it is piped")).lines();
    let mut word = || {
        let line = lines.next().expect("a line").expect("text");
        line.rsplit(' ').next().expect("a word").to_owned()
    };
    let application = word().parse::<u32>().expect("a process");
    let (_, folder) = (word(), word());
    until("it listens", || ports::is_listening(port));
    let answers = |path| {
        let mut client = Client::connect(port);
        let mut all: Vec<String> = (0..6).map(|_| client.get(path).text()).collect();
        all.sort();
        all.dedup();
        all
    };
    let mut both = vec![format!("port {first}\n"), format!("port {second}\n")];
    both.sort();
    until("both answer", || {
        get(port, "/").status == 200 && answers("/") == both
    });
    proc::signal(application, Signal::KILL);
    let socket = format!("{folder}/revolve.ctl");
    until("one is found away", || {
        let run = Run::of(Command::new(REVOLVE).args(["ctl", "upstreams", "-s", &socket]));
        run.out.contains(" unhealthy ")
    });
    assert_eq!(answers("/"), [format!("port {second}\n")]);
}

/// Starts an example's script with a port, and waits until that answers.
#[track_caller]
fn start(name: &str, port: u16) -> Script {
    let mut command = Command::new(sources().join("examples").join(name).join("run"));
    command.arg(port.to_string()).env("REVOLVE", REVOLVE);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let script = Script(command.spawn().expect("a script"));
    until("it listens", || ports::is_listening(port));
    until("it answers", || get(port, "/").status == 200);
    script
}

#[test]
fn php_by_fpm() {
    let has_php = std::fs::read_dir("/usr/sbin").is_ok_and(|folder| {
        let mut names = folder.flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with("php-fpm"))
    });
    if !has_php || !proc::is_root() {
        left_out("php-fpm is not installed, or the tests do not run as root");
        return;
    }
    let port = ports::free();
    let _script = start("php", port);
    assert_eq!(get(port, "/").text(), "GET / q=- body=0\n");
    assert_eq!(get(port, "/a/b?q=7").text(), "GET /a/b?q=7 q=7 body=0\n");
    let mut client = Client::connect(port);
    client.send("POST /form HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().text(), "POST /form q=- body=3\n");
    assert_eq!(
        get(port, "/style.css").header("content-type"),
        Some("text/css")
    );
    assert_eq!(get(port, "/none.php").status, 404);
}

#[test]
fn an_application_in_python() {
    let has_python = Command::new("python3").arg("-c").arg("").status();
    if !has_python.is_ok_and(|status| status.success()) {
        left_out("python3 is not installed");
        return;
    }
    let port = ports::free();
    let _script = start("application", port);
    assert_eq!(get(port, "/a?b").text(), "/a?b localhost 127.0.0.1 http\n");
    let mut client = Client::connect(port);
    let body = "x".repeat(100_000);
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n{body}"
    ));
    assert_eq!(client.response().text(), "100000 bytes\n");
    assert_eq!(
        get(port, "/events").text(),
        "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    );
    assert_eq!(get(port, "/static/hello.txt").text(), "hello\n");
}
