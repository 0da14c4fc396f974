//! A daemon, which is found by its pid file, with a configuration that says who answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use super::server::REVOLVE;
use super::wait::PATIENCE;
use super::{ports, proc, until_some};

/// The program, ready for arguments.
pub(crate) fn program() -> Command {
    let mut command = Command::new(REVOLVE);
    command.stdin(Stdio::null());
    command
}

/// What a command that ends by itself printed on standard error, and its exit code.
pub(crate) fn run(args: &[&str]) -> (String, i32) {
    said(program().args(args).output().unwrap())
}

fn said(output: Output) -> (String, i32) {
    (
        String::from_utf8(output.stderr).unwrap(),
        output.status.code().unwrap_or(-1),
    )
}

/// A daemon with a configuration file.
pub(crate) struct Daemon {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Daemon {
    /// A folder with a configuration, not yet started. `main` is added to the top of the file.
    pub(crate) fn new(main: &str) -> Daemon {
        let server = Daemon {
            folder: tempfile::tempdir().unwrap(),
            port: ports::free(),
        };
        server.configure(main, "one");
        server
    }

    /// A server that has started and serves.
    pub(crate) fn started(main: &str) -> Daemon {
        let server = Daemon::new(main);
        let (errors, code) = server.command(&[]);
        assert_eq!((errors.as_str(), code), ("", 0));
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("x.conf").display().to_string()
    }

    /// Writes the configuration: every request is answered with the worker's process id and
    /// `word`.
    pub(crate) fn configure(&self, main: &str, word: &str) {
        let folder = self.folder.path().display();
        let port = self.port;
        let text = format!(
            "pid {folder}/pid;\nerror_log {folder}/error.log info;\n{main}\nevents {{ }}\n\
             http {{\n    access_log {folder}/access.log;\n    server {{\n        \
             listen 127.0.0.1:{port};\n        \
             location / {{ return 200 \"$pid {word}\"; }}\n    }}\n}}\n"
        );
        std::fs::write(self.path("x.conf"), text).unwrap();
    }

    /// Runs `revolve -c …` with further arguments.
    pub(crate) fn command(&self, args: &[&str]) -> (String, i32) {
        let config = self.config();
        // Its standard error is a file: a daemon that kept it open would keep a pipe waiting.
        let errors = self.path("stderr");
        let output = std::fs::File::create(&errors).unwrap();
        let mut command = program();
        let status = command
            .args(["-c", &config])
            .args(args)
            .stdout(std::process::Stdio::null())
            .stderr(output)
            .status()
            .unwrap();
        (
            std::fs::read_to_string(errors).unwrap(),
            status.code().unwrap_or(-1),
        )
    }

    pub(crate) fn master(&self) -> Option<u32> {
        std::fs::read_to_string(self.path("pid"))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.master().unwrap(), signal);
    }

    pub(crate) fn workers(&self) -> Vec<u32> {
        proc::children(self.master().unwrap())
    }

    /// The worker's process id and the word of the answer to a new connection.
    pub(crate) fn ask(&self) -> Option<(u32, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        ask_on(&mut stream)
    }

    /// Waits until new connections are answered with `word`.
    pub(crate) fn answers(&self, word: &str) {
        until_some(word, || self.ask().filter(|(_, found)| found == word));
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("error.log")).unwrap_or_default()
    }

    pub(crate) fn logged(&self, text: &str) {
        until_some(text, || self.log().contains(text).then_some(()));
    }

    /// Waits until the master is gone.
    pub(crate) fn is_gone(&self, master: u32) {
        until_some("the master's end", || {
            (!proc::is_alive(master)).then_some(())
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let Some(master) = self.master() else { return };
        let workers = proc::children(master);
        kill(master, Signal::KILL);
        workers
            .into_iter()
            .for_each(|worker| kill(worker, Signal::KILL));
    }
}

/// Asks once on a connection that stays open.
pub(crate) fn ask_on(stream: &mut TcpStream) -> Option<(u32, String)> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .ok()?;
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).ok().filter(|&count| count > 0)?;
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
            let (pid, word) = body.split_once(' ')?;
            return Some((pid.parse().ok()?, word.to_owned()));
        }
    }
}

/// Sends a signal to a process; one that is gone already is fine.
pub(crate) fn kill(pid: u32, signal: Signal) {
    let _ = proc::try_signal(pid, signal);
}

/// The first word after `name:` in `/proc/PID/status`.
pub(crate) fn status_field(pid: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let text = text.ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next().map(str::to_owned)
}
