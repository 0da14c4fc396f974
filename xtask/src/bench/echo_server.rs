//! The echo servers that are compared, as processes of their own: started, pinned, ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::load::Load;
use super::process::{self, SERVER_CPU};

const ANY: &str = "127.0.0.1:0";

/// A server that can be started: one of the models, or the reactor on one of its drivers.
pub(super) struct Contender {
    pub(super) name: &'static str,
    example: &'static str,
    argument: &'static str,
    driver: &'static str,
}

const fn contender(
    name: &'static str,
    example: &'static str,
    argument: &'static str,
    driver: &'static str,
) -> Contender {
    Contender {
        name,
        example,
        argument,
        driver,
    }
}

/// By what the kernel tells them; the first of each is the floor of the second.
pub(super) const PAIRS: [[Contender; 2]; 2] = [
    [
        contender("epoll floor", "models", "epoll", ""),
        contender("revolve epoll", "echo", "single", "epoll"),
    ],
    [
        contender("io_uring floor", "models", "io_uring", ""),
        contender("revolve io_uring", "echo", "single", "io_uring"),
    ],
];

impl Contender {
    /// How it is started; run by `runner` (a program and its arguments) where that is not empty.
    pub(super) fn command(&self, root: &Path, runner: &[&str]) -> Command {
        let mut command = process::run_by(runner, example(root, self.example));
        command.env("REVOLVE_DRIVER", self.driver);
        command.args([self.argument, ANY]);
        command
    }
}

/// The server of one I/O model.
pub(super) fn model(root: &Path, name: &str) -> Command {
    let mut command = Command::new(example(root, "models"));
    command.args([name, ANY]);
    command
}

fn example(root: &Path, name: &str) -> PathBuf {
    target(root).join("release/examples").join(name)
}

/// A running server on the server's CPU, ended when dropped.
pub(super) struct Echo {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    child: Child,
}

impl Echo {
    /// Starts a program, which says the address that it listens on at the end of its first line.
    pub(super) fn start(name: &str, mut command: Command) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = process::on_cpu(SERVER_CPU, || command.spawn())?
            .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
        let output = child.stdout.take();
        let mut line = String::new();
        let read = output.map(|output| BufReader::new(output).read_line(&mut line));
        let address = line.split_whitespace().last();
        match address.and_then(|address| address.parse().ok()) {
            Some(address) => Ok(Self {
                name: name.into(),
                address,
                child,
            }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("{name} did not start ({read:?}): {line}"))
            }
        }
    }

    /// Asks the server to end (SIGTERM), and waits until it has; false if it does not within
    /// `length`.
    pub(super) fn end(&mut self, length: Duration) -> bool {
        process::signal(self.child.id(), Signal::TERM);
        let begun = Instant::now();
        while begun.elapsed() < length {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Lets `load` run against this server: CPU time a message in microseconds, and messages a second.
    pub(super) fn measure(&self, load: &mut Load, length: Duration) -> Result<(f64, f64), String> {
        let pid = self.child.id();
        let before_ns = process::cpu_ns(&[pid])?;
        let answered = load.run(length);
        let taken_ns = process::cpu_ns(&[pid])? - before_ns;
        let (messages, length) = answered.map_err(|error| format!("{}: {error}", self.name))?;
        let messages = messages.max(1) as f64;
        let cpu_us = taken_ns as f64 / 1e3 / messages;
        Ok((cpu_us, messages / length.as_secs_f64()))
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Cargo's target folder, wherever it was moved to.
pub(super) fn target(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Builds the examples that the benches of the reactor run.
pub(super) fn build_examples(root: &Path) -> Result<(), String> {
    let examples = ["--example", "echo", "--example", "models"];
    build(
        root,
        &[&["--package", "revolve-reactor"], &examples[..]].concat(),
    )
}

/// Runs `cargo build --release` with further arguments.
pub(super) fn build(root: &Path, arguments: &[&str]) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release"]).args(arguments);
    let status = command.current_dir(root).status();
    match status.map_err(|error| format!("cargo cannot be run: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!(
            "cargo build {} ended with {status}",
            arguments.join(" ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runner_stands_before_the_program() {
        let command = PAIRS[0][1].command(Path::new("/root"), &["valgrind", "--quiet"]);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(command.get_program(), "valgrind");
        assert!(
            words[0] == "--quiet" && words[1].ends_with("examples/echo"),
            "{words:?}"
        );
        assert_eq!(words[2], "single");
    }

    #[test]
    fn a_program_that_says_no_address_is_an_error() {
        let mut hello = Command::new("/bin/echo");
        hello.arg("hello");
        let started = Echo::start("echo", hello);
        assert!(started.err().unwrap().contains("did not start"));
        assert!(Echo::start("none", Command::new("/nowhere/none")).is_err());
    }
}
