//! The program under test, run.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Folder, ports, proc, until};

/// The binary that Cargo has just built.
pub(crate) const REVOLVE: &str = env!("CARGO_BIN_EXE_revolve");

/// How long a server may take to end before it is killed.
const END_PATIENCE: Duration = Duration::from_secs(3);

/// A run of the program that ended by itself.
pub(crate) struct Run {
    /// What it printed.
    pub(crate) out: String,
    /// What it complained of.
    pub(crate) err: String,
    /// Its exit code.
    pub(crate) code: i32,
}

impl Run {
    /// Runs a command and waits for its end, which must come.
    pub(crate) fn of(command: &mut Command) -> Run {
        // Into files: a daemon that keeps the pipe would keep us waiting.
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (out, err) = (folder.path().join("out"), folder.path().join("err"));
        command
            .stdin(Stdio::null())
            .stdout(File::create(&out).expect("a file"))
            .stderr(File::create(&err).expect("a file"));
        let mut child = command.spawn().expect("the program can be run");
        let status = wait(&mut child, super::wait::PATIENCE);
        let read = |path: &Path| {
            String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
        };
        let Some(status) = status else {
            end(&mut child);
            panic!("{command:?} did not end; it said:\n{}", read(&err));
        };
        Run {
            out: read(&out),
            err: read(&err),
            code: status.code().unwrap_or(-1),
        }
    }

    /// The first line that it complained with.
    pub(crate) fn first_line(&self) -> &str {
        self.err.lines().next().unwrap_or_default()
    }
}

/// The program with a prefix and a configuration file of its own, ready for more arguments.
pub(crate) fn revolve(folder: &Folder) -> Command {
    let mut command = Command::new(REVOLVE);
    command.current_dir(folder.path());
    command
        .arg("-p")
        .arg(folder.path())
        .arg("-c")
        .arg("nginx.conf");
    command
}

/// A server in the foreground, which ends when it is dropped.
pub(crate) struct Server {
    child: Child,
    stderr: PathBuf,
}

impl Server {
    /// Writes `config` to `nginx.conf`, starts the program on it, and waits until it listens on
    /// `ports`.
    #[track_caller]
    pub(crate) fn start(folder: &Folder, config: &str, ports: &[u16]) -> Server {
        folder.write("nginx.conf", config);
        Server::run(&mut revolve(folder), folder.file("stderr.txt"), ports)
    }

    /// Starts a command, and waits until it listens on `ports`.
    #[track_caller]
    pub(crate) fn run(command: &mut Command, stderr: PathBuf, ports: &[u16]) -> Server {
        Server::run_to(command, stderr, Stdio::null(), ports)
    }

    /// Starts a command whose standard output goes somewhere, and waits until it listens on `ports`.
    #[track_caller]
    pub(crate) fn run_to(
        command: &mut Command,
        stderr: PathBuf,
        stdout: impl Into<Stdio>,
        ports: &[u16],
    ) -> Server {
        let file = File::create(&stderr).expect("a file");
        command.stdin(Stdio::null()).stdout(stdout).stderr(file);
        let child = command.spawn().expect("the program can be run");
        let mut server = Server { child, stderr };
        until("the server listens", || {
            if let Some(status) = server.exit_status() {
                panic!("{command:?}: {status}\n{}", server.stderr());
            }
            ports.iter().all(|&port| ports::is_listening(port))
        });
        server
    }

    /// The master's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The workers' process ids.
    pub(crate) fn workers(&self) -> Vec<u32> {
        proc::children(self.pid())
    }

    /// The process ids of that many workers, as soon as they are there.
    #[track_caller]
    pub(crate) fn workers_once(&self, count: usize) -> Vec<u32> {
        until("the workers run", || self.workers().len() == count);
        self.workers()
    }

    /// Sends the master a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        proc::signal(self.pid(), signal);
    }

    /// What it has written to standard error.
    pub(crate) fn stderr(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// How the master ended, if it has.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our child")
    }

    /// Waits for the end, which must come.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let status = wait(&mut self.child, super::wait::PATIENCE);
        status.expect("the server ends")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
        // A test that has failed already says what it has to say.
        if !std::thread::panicking() {
            let said = self.stderr();
            assert!(!said.contains("panicked at"), "{said}");
        }
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our child") {
            return Some(status);
        }
        if start.elapsed() > limit {
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends a child of ours, and its children where it cannot do that itself.
fn end(child: &mut Child) {
    if !matches!(child.try_wait(), Ok(None)) {
        return;
    }
    proc::try_signal(child.id(), Signal::TERM);
    if wait(child, END_PATIENCE).is_none() {
        for pid in proc::children(child.id()) {
            proc::try_signal(pid, Signal::KILL);
        }
        // It is gone or going; there is nothing left to do about it.
        let _ = child.kill();
        let _ = child.wait();
    }
}
