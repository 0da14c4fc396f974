//! The programs as the processes that they are.
#![allow(dead_code, reason = "each test uses its part")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// No step of a test takes longer.
pub(crate) const STEP_MAX: Duration = Duration::from_secs(120);
pub(crate) const ANY: &str = "127.0.0.1:0";

/// A program: cargo builds them above the tests, which lie in `deps`.
pub(crate) fn program(name: &str) -> PathBuf {
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    folder.pop();
    let program = folder.join(name);
    assert!(program.is_file(), "no {}", program.display());
    program
}

/// An example that runs, ended when dropped.
pub(crate) struct Example {
    pub(crate) child: Child,
    pub(crate) input: Option<ChildStdin>,
    pub(crate) output: BufReader<std::process::ChildStdout>,
    /// What it says after `listening on`.
    pub(crate) listening: String,
}

impl Example {
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Example {
        let mut command = Command::new(program(name));
        command.args(arguments);
        Example::start_command(command)
    }

    pub(crate) fn start_command(mut command: Command) -> Example {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut example = Example {
            input: child.stdin.take(),
            child,
            output,
            listening: String::new(),
        };
        let line = example.line();
        let listening = line.strip_prefix("listening on ");
        example.listening = listening.expect("an address").into();
        example
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().into()
    }

    pub(crate) fn command(&mut self, line: &str) {
        self.input
            .as_ref()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listening.parse().unwrap()
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(STEP_MAX)).unwrap();
        stream.set_write_timeout(Some(STEP_MAX)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn read(stream: &mut TcpStream, n: usize) -> Vec<u8> {
    let mut bytes = vec![0; n];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

pub(crate) fn read_line(stream: &mut TcpStream) -> String {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        line.extend(read(stream, 1));
    }
    String::from_utf8(line).unwrap()
}
