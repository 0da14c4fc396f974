//! `revolve upgrade`: has the running master replaced by the binary that is on disk now.
//!
//! It does what an operator would do by hand with nginx (USR2, look, WINCH, look, QUIT), and leaves
//! the old master in its place where the new one does not come to serve.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use revolve_conf::os_error_text;
use rustix::process::{Pid, Signal};

use crate::process::is_alive;
use crate::source::Source;
use crate::version::PROGRAM;
use crate::{pid_file, report, service};

/// How long the master may take until it does anything about the signal.
const REACTION: Duration = Duration::from_secs(5);
/// How long the new master may take until it serves; the old one gives it up a little sooner.
const PATIENCE: Duration = Duration::from_secs(65);
/// How long the new master must serve alone before the old one is let go.
const PROOF: Duration = Duration::from_secs(1);
/// How long the old master's end is waited for. It may take as long as its longest download.
const FAREWELL: Duration = Duration::from_secs(3);
/// Between two looks at the pid file.
const PAUSE: Duration = Duration::from_millis(10);

/// Finds the master by the configuration's pid file, and has it replaced.
pub(crate) fn run(source: &Source, quiet: bool) -> ExitCode {
    let loaded = source.load();
    report::print(&loaded);
    let Some(config) = loaded.config else {
        let shown = source.paths.config.display();
        eprintln!("{PROGRAM}: the configuration file {shown} is wrong, nothing was changed");
        return ExitCode::FAILURE;
    };
    let first = config.base.process_log.first();
    let error_log = first.and_then(|target| config.base.logs.get(target.file)?.path());
    let upgrade = Upgrade::find(
        service::pid_path(config.process()),
        error_log.map_or("syslog".into(), |path| path.display().to_string()),
        quiet,
    );
    match upgrade.and_then(|upgrade| upgrade.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{PROGRAM}: [error] {error}");
            ExitCode::FAILURE
        }
    }
}

struct Upgrade {
    pid_path: PathBuf,
    error_log: String,
    old: Pid,
    quiet: bool,
}

impl Upgrade {
    fn find(pid_path: PathBuf, error_log: String, quiet: bool) -> Result<Upgrade, String> {
        let old = pid_file::master(&pid_path)?;
        if let Ok(other) = pid_file::read(&pid_file::old(&pid_path))
            && is_alive(other)
        {
            return Err(format!(
                "an upgrade is under way already: end the old master process {other} or the new \
                 one {old} first (kill -QUIT)"
            ));
        }
        Ok(Upgrade {
            pid_path,
            error_log,
            old,
            quiet,
        })
    }

    fn why(&self) -> String {
        format!("its error log says why ({})", self.error_log)
    }

    fn say(&self, message: &str) {
        if !self.quiet {
            println!("{PROGRAM}: {message}");
        }
    }

    fn run(&self) -> Result<(), String> {
        let old = self.old;
        let before = stamp(&self.pid_path);
        signal(old, Signal::USR2)?;
        self.say(&format!(
            "master process {old} was told to start the new binary"
        ));
        let new = self.successor(before)?;
        self.say(&format!("new master process {new} serves"));
        signal(old, Signal::WINCH)?;
        let start = Instant::now();
        while start.elapsed() < PROOF {
            if !is_alive(new) || pid_file::read(&self.pid_path) != Ok(new) {
                return Err(format!(
                    "new master process {new} has ended, the old one {old} serves again; {}",
                    self.why()
                ));
            }
            std::thread::sleep(PAUSE);
        }
        signal(old, Signal::QUIT)?;
        let start = Instant::now();
        while is_alive(old) && start.elapsed() < FAREWELL {
            std::thread::sleep(PAUSE);
        }
        if is_alive(old) {
            self.say(&format!(
                "old master process {old} ends with the last of its connections"
            ));
        } else {
            self.say(&format!("old master process {old} has ended"));
        }
        Ok(())
    }

    /// Waits until the pid file is the new master's, which is when that serves.
    fn successor(&self, before: Option<Stamp>) -> Result<Pid, String> {
        let old = self.old;
        let start = Instant::now();
        loop {
            // Looked at first: what is read later can only be newer.
            let seen = stamp(&self.pid_path);
            let named = pid_file::read(&self.pid_path);
            let is_same = named == Ok(old);
            match named {
                Ok(new) if new != old => return Ok(new),
                _ if !is_alive(old) => {
                    return Err(format!("master process {old} has ended meanwhile"));
                }
                // It got its name back: the new binary is gone.
                Ok(_) if seen.is_some() && seen != before => {
                    return Err(format!(
                        "the new binary did not come to serve, the old master process {old} serves \
                         on; {}",
                        self.why()
                    ));
                }
                _ => {}
            }
            if is_same && start.elapsed() > REACTION {
                return Err(format!(
                    "master process {old} has not started a new binary; {}",
                    self.why()
                ));
            }
            if start.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(format!(
                    "no new master serves after {seconds} s; look for two masters and end one"
                ));
            }
            std::thread::sleep(PAUSE);
        }
    }
}

/// What changes about a file when it gets another name, even its first one again.
#[derive(PartialEq, Eq)]
struct Stamp(u64, i64, i64);

fn stamp(path: &Path) -> Option<Stamp> {
    let of = |it: std::fs::Metadata| Stamp(it.ino(), it.ctime(), it.ctime_nsec());
    std::fs::metadata(path).map(of).ok()
}

fn signal(pid: Pid, signal: Signal) -> Result<(), String> {
    rustix::process::kill_process(pid, signal).map_err(|error| {
        let (number, reason) = (signal.as_raw(), os_error_text(&error.into()));
        format!("kill({pid}, {number}) failed {reason}")
    })
}
