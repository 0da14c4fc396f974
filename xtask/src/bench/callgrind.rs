//! Instructions that a process executes in user space, counted by valgrind's callgrind.
//!
//! A server is run twice, for few requests and for many, and the difference is divided by the
//! difference: what starting up and connecting costs falls out. Time plays no part, so that a busy
//! machine gives the same figures.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::tools;

/// How long a process that executes something may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// One run of one process.
pub(super) struct Callgrind {
    log: PathBuf,
    log_argument: String,
}

impl Callgrind {
    /// Counts what `run` does with the runner that it is given, which has ended when `run` returns.
    ///
    /// # Errors
    ///
    /// Those of `run`; valgrind is missing, or has counted nothing.
    pub(super) fn count(run: impl FnOnce(&[&str]) -> Result<(), String>) -> Result<u64, String> {
        tools::find("valgrind").ok_or_else(missing)?;
        let callgrind = Self::new();
        run(&[
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            &callgrind.log_argument,
        ])?;
        let said = std::fs::read_to_string(&callgrind.log);
        let said = said.map_err(|error| format!("{}: {error}", callgrind.log.display()))?;
        collected(&said).ok_or_else(|| format!("valgrind counted nothing:\n{said}"))
    }

    /// Counts what a process has executed so far that hears no signal under valgrind, because it waits
    /// in a system call that valgrind does not know to wait: callgrind is asked for its counts. It
    /// answers only while the process executes something, for which `busy` is called again and again.
    /// `start` starts it by the runner that it is given, and gives its number.
    ///
    /// # Errors
    ///
    /// Those of `start` and `busy`; valgrind is missing, or does not answer.
    pub(super) fn count_alive<T>(
        start: impl FnOnce(&[&str]) -> Result<(T, u32), String>,
        mut busy: impl FnMut(&mut T) -> Result<(), String>,
    ) -> Result<u64, String> {
        let control = tools::find("callgrind_control").ok_or_else(missing)?;
        let counts = Self::new().log.with_extension("counts");
        let (mut started, pid) = start(&[
            "valgrind",
            "--tool=callgrind",
            &format!("--callgrind-out-file={}", counts.display()),
            "--log-file=/dev/null",
        ])?;
        let mut asking = Command::new(control)
            .args(["--dump", &pid.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("callgrind_control: {error}"))?;
        let begun = Instant::now();
        while let Ok(None) = asking.try_wait()
            && begun.elapsed() < ANSWER_MAX
        {
            busy(&mut started)?;
        }
        let _ = asking.kill();
        let _ = asking.wait();
        drop(started);
        let _ = std::fs::remove_file(&counts);
        // The first answer of a process has this number.
        let answer = PathBuf::from(format!("{}.1", counts.display()));
        let said = std::fs::read_to_string(&answer).unwrap_or_default();
        let _ = std::fs::remove_file(&answer);
        totals(&said).ok_or_else(|| format!("callgrind in process {pid} does not answer"))
    }

    fn new() -> Self {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("revolve-callgrind-{}-{run}.log", std::process::id());
        let log = std::env::temp_dir().join(name);
        let log_argument = format!("--log-file={}", log.display());
        Self { log, log_argument }
    }
}

impl Drop for Callgrind {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.log);
    }
}

fn missing() -> String {
    "valgrind is missing. On Debian and Ubuntu: apt-get install valgrind".into()
}

/// The number behind `totals:` in a file of counts.
fn totals(counts: &str) -> Option<u64> {
    let line = counts
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("totals:"));
    line?.split_whitespace().next()?.parse().ok()
}

/// The number behind `Collected :` in what valgrind says at the end.
fn collected(said: &str) -> Option<u64> {
    let line = said.lines().find_map(|line| line.split_once("Collected :"));
    line?.1.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_valgrind_says() {
        let said = "==1== Events    : Ir\n==1== Collected : 424296\n==1== \n";
        assert_eq!(collected(said), Some(424_296));
        assert_eq!(collected("==1== killed\n"), None);
        assert_eq!(totals("fn=(1) main\n1 2\n\ntotals: 1234\n"), Some(1234));
        assert_eq!(totals("fn=(1) main\n"), None);
    }
}
