//! Echo servers as processes of their own: started, pinned, asked for their CPU time, ended.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::contenders::Kind;
use super::load::Load;
use super::process::{self, SERVER_CPU};

/// A running server on the server's CPU, ended when dropped.
pub(super) struct Echo {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    child: Child,
}

/// What one measurement found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    /// CPU time of the server a message.
    pub(super) cpu_us: f64,
    /// The part of it that was not the kernel's, as it is sampled by the clock's ticks.
    pub(super) user_share: f64,
    pub(super) messages_per_s: f64,
    pub(super) p99_us: f64,
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

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
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

    /// Lets `load` run against this server.
    pub(super) fn measure(&self, load: &mut Load, length: Duration) -> Result<Figures, String> {
        let pid = self.child.id();
        let user = |(user, system): (u64, u64)| (user, user + system);
        let (cpu_ns, ticks) = (process::cpu_ns(&[pid])?, process::cpu_ticks(pid)?);
        let answered = load.run(length);
        let (cpu_ns_after, ticks_after) = (process::cpu_ns(&[pid])?, process::cpu_ticks(pid)?);
        let mut answered = answered.map_err(|error| format!("{}: {error}", self.name))?;
        let (before, after) = (user(ticks), user(ticks_after));
        let messages = answered.messages.max(1) as f64;
        let p99_us = super::table::percentile(&mut answered.taken_us, 0.99);
        Ok(Figures {
            cpu_us: (cpu_ns_after - cpu_ns) as f64 / 1e3 / messages,
            user_share: (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64,
            messages_per_s: messages / answered.length.as_secs_f64(),
            p99_us: p99_us.unwrap_or(f64::NAN),
        })
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

/// What the echo benches are asked for on the command line.
pub(super) struct Asked {
    pub(super) rounds: usize,
    pub(super) length: Duration,
    pub(super) build: bool,
    /// Count instructions instead of time.
    pub(super) instructions: bool,
    /// Cases with messages of so many bytes alone.
    bytes: Option<usize>,
    /// Cases with so many connections alone.
    connections: Option<usize>,
    /// Servers of this kind alone.
    kind: Option<Kind>,
}

impl Asked {
    /// Reads `--rounds N`, `--seconds S` (a fraction too), `--bytes N`, `--connections N`, `--kind K`,
    /// `--instructions` and `--no-build`.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut asked = Self {
            rounds: 5,
            length: Duration::from_secs(1),
            build: true,
            instructions: false,
            bytes: None,
            connections: None,
            kind: None,
        };
        let mut words = arguments.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--no-build" => asked.build = false,
                "--instructions" => asked.instructions = true,
                "--rounds" => asked.rounds = super::options::number(word, words.next())?,
                "--seconds" => {
                    let seconds = words.next().and_then(|text| text.parse().ok());
                    let length = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
                    asked.length = length.ok_or("--seconds needs a number")?;
                }
                "--bytes" => asked.bytes = Some(super::options::number(word, words.next())?),
                "--connections" => {
                    asked.connections = Some(super::options::number(word, words.next())?);
                }
                "--kind" => {
                    let kind = words.next().and_then(Kind::from_name);
                    asked.kind = Some(kind.ok_or("--kind needs epoll or io_uring")?);
                }
                other => {
                    let known = "--rounds N, --seconds S, --bytes N, --connections N, --kind K, \
                                 --instructions, --no-build";
                    return Err(format!("`{other}` is none of {known}"));
                }
            }
        }
        Ok(asked)
    }

    /// Whether a case with such messages over so many connections is asked for.
    pub(super) fn wants(&self, bytes: usize, connections: usize) -> bool {
        self.bytes.is_none_or(|asked| asked == bytes)
            && self.connections.is_none_or(|asked| asked == connections)
    }

    /// Whether servers of a kind are asked for.
    pub(super) fn wants_kind(&self, kind: Kind) -> bool {
        self.kind.is_none_or(|asked| asked == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        let words: Vec<String> = line.split_whitespace().map(Into::into).collect();
        Asked::parse(&words)
    }

    #[test]
    fn options_are_read_and_mistakes_named() {
        let asked = parse("--rounds 3 --seconds 0.5 --no-build").unwrap();
        assert_eq!((asked.rounds, asked.build), (3, false));
        assert_eq!(asked.length, Duration::from_millis(500));
        let asked = parse("--bytes 64 --connections 1000 --kind io_uring").unwrap();
        assert!(asked.wants(64, 1000) && !asked.wants(64, 64) && !asked.wants(16384, 1000));
        assert!(asked.wants_kind(Kind::IoUring) && !asked.wants_kind(Kind::Epoll));
        let mistakes = [
            "--rounds 0",
            "--seconds",
            "--seconds -1",
            "--case x",
            "--kind kqueue",
        ];
        for line in mistakes {
            assert!(parse(line).is_err(), "{line}");
        }
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
