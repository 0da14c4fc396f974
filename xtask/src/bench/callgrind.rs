//! Instructions that a process executes in user space, counted by valgrind's callgrind.
//!
//! A server is run twice, for few requests and for many, and the difference is divided by the
//! difference: what starting up and connecting costs falls out. Time plays no part, so that a busy
//! machine gives the same figures.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::tools;

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
    }
}
