//! The command line of a daemon: outputs and exit codes are those of nginx.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::daemon::{Daemon, kill, program, run};
use crate::support::ports;
use crate::support::wait::PATIENCE;

#[test]
fn version_build_and_help() {
    let version = format!("revolve version: revolve/{}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(run(&["-v"]), (version.clone(), 0));
    let (text, code) = run(&["-V"]);
    assert_eq!(code, 0);
    let build = text.strip_prefix(&version).unwrap();
    assert!(
        build.starts_with(
            "built with AWS-LC\nTLS SNI support enabled\nconfigure arguments: --prefix="
        ),
        "{build}"
    );
    for option in ["-h", "-?", "--help"] {
        let (text, code) = run(&[option]);
        assert_eq!(code, 0);
        assert!(
            text.starts_with(&format!("{version}Usage: revolve [-?hvVtTq]")),
            "{text}"
        );
    }
}

#[test]
fn wrong_options_are_refused() {
    let refused = |line: &str| (format!("revolve: {line}\n"), 1);
    assert_eq!(run(&["-x"]), refused("invalid option: \"x\""));
    assert_eq!(
        run(&["-s", "bogus"]),
        refused("invalid option: \"-s bogus\"")
    );
    assert_eq!(run(&["-c"]), refused("option \"-c\" requires file name"));
    let missing = refused("cannot serve \"/no/such\" (2: No such file or directory)");
    assert_eq!(run(&["/no/such"]), missing);
}

#[test]
fn a_test_says_ok_or_what_is_wrong() {
    let server = Daemon::new("");
    let config = server.config();
    let ok = format!(
        "revolve: the configuration file {config} syntax is ok\n\
         revolve: configuration file {config} test is successful\n"
    );
    assert_eq!(server.command(&["-t"]), (ok, 0));
    assert_eq!(server.command(&["-t", "-q"]), (String::new(), 0));
    assert!(!server.path("pid").exists());
    std::fs::write(&config, "events {").unwrap();
    let (errors, code) = server.command(&["-t"]);
    assert_eq!(code, 1);
    let first =
        format!("revolve: [emerg] unexpected end of file, expecting \"}}\" in {config}:1\n");
    assert!(errors.starts_with(&first), "{errors}");
    let last = format!("revolve: configuration file {config} test failed\n");
    assert!(errors.ends_with(&last), "{errors}");
}

#[test]
fn a_test_while_the_server_runs_is_fine() {
    let server = Daemon::started("");
    assert_eq!(server.command(&["-tq"]), (String::new(), 0));
    assert_eq!(server.ask().unwrap().1, "one");
}

#[test]
fn a_missing_file_is_named() {
    let expected =
        "revolve: [emerg] open() \"/no/such.conf\" failed (2: No such file or directory)\n";
    assert_eq!(run(&["-c", "/no/such.conf"]), (expected.to_owned(), 1));
    let tested = format!("{expected}revolve: configuration file /no/such.conf test failed\n");
    assert_eq!(run(&["-t", "-c", "/no/such.conf"]), (tested, 1));
}

#[test]
fn a_dump_holds_every_file_once() {
    let server = Daemon::new("include part.conf;");
    std::fs::write(
        server.path("part.conf"),
        "worker_processes 1; # caf\u{e9}\n",
    )
    .unwrap();
    let output = program()
        .args(["-T", "-q", "-c", &server.config()])
        .output()
        .unwrap();
    assert!(output.status.success());
    let config = std::fs::read_to_string(server.config()).unwrap();
    let expected = format!(
        "# configuration file {}:\n{config}\n# configuration file {}:\n{}\n",
        server.config(),
        server.path("part.conf").display(),
        "worker_processes 1; # caf\u{e9}\n",
    );
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_signal_without_a_master_fails() {
    let server = Daemon::new("");
    let pid = server.path("pid");
    let pid = pid.display();
    let error =
        format!("revolve: [error] open() \"{pid}\" failed (2: No such file or directory)\n");
    assert_eq!(server.command(&["-s", "stop"]), (error, 1));
    std::fs::write(server.path("pid"), "nonsense\n").unwrap();
    let error = format!("revolve: [error] invalid PID number \"nonsense\" in \"{pid}\"\n");
    assert_eq!(server.command(&["-s", "stop"]), (error, 1));
    // Above the largest process id of Linux.
    std::fs::write(server.path("pid"), "99999999\n").unwrap();
    let error = "revolve: [alert] kill(99999999, 1) failed (3: No such process)\n";
    assert_eq!(server.command(&["-s", "reload"]), (error.to_owned(), 1));
    std::fs::remove_file(server.path("pid")).unwrap();
}

#[test]
fn globals_come_before_the_file() {
    let server = Daemon::new("");
    let (errors, code) = server.command(&["-t", "-g", "daemon off"]);
    assert_eq!(code, 1);
    let first = "revolve: [emerg] unexpected end of parameter, expecting \";\" in command line\n";
    assert!(errors.starts_with(first), "{errors}");
    assert_eq!(
        server
            .command(&["-tq", "-g", "daemon off; master_process off;"])
            .1,
        0
    );
}

/// A server in the foreground, which ends with the test.
struct Foreground(std::process::Child);

impl Drop for Foreground {
    fn drop(&mut self) {
        kill(self.0.id(), Signal::TERM);
        self.0.wait().unwrap();
    }
}

#[test]
fn a_folder_is_served_in_the_foreground() {
    let folder = tempfile::tempdir().unwrap();
    // A name that would be several words in a configuration.
    let site = folder.path().join("a; \"b\" {c}");
    std::fs::create_dir(&site).unwrap();
    // Where we are root somebody else serves it.
    let passable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), passable).unwrap();
    std::fs::write(site.join("index.html"), "hello").unwrap();
    let port = ports::free();
    let mut command = program();
    command
        .args([site.to_str().unwrap(), "--port", &port.to_string()])
        .stdout(Stdio::piped());
    let mut server = Foreground(command.spawn().unwrap());
    let mut output = BufReader::new(server.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let site = site.canonicalize().unwrap();
    let expected = format!(
        "Revolve serves {} on http://127.0.0.1:{port}/\n",
        site.display()
    );
    assert_eq!(line, expected);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let kind = "Content-Type: text/html; charset=utf-8\r\n";
    assert!(answer.contains(kind), "{answer}");
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    line.clear();
    output.read_line(&mut line).unwrap();
    assert!(line.contains("\"GET / HTTP/1.0\" 200 5 "), "{line}");
    kill(server.0.id(), Signal::INT);
    assert!(server.0.wait().unwrap().success());
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let path = folder.path().to_str().unwrap();
    let (errors, code) = run(&[path, "--port", &port.to_string()]);
    assert_eq!(code, 1);
    let bind = format!("bind() to 127.0.0.1:{port} failed (98: Address already in use)");
    assert!(
        errors.starts_with(&format!("revolve: [emerg] {bind}\n")),
        "{errors}"
    );
    let other = port.checked_add(1).unwrap_or(8081);
    assert!(errors.ends_with(&format!(" --port {other}\n")), "{errors}");
}
