//! Logs whose path has variables in it: opened when a line comes, with the rights of the worker.
//!
//! Source: nginx's `ngx_http_log_script_write` and `open_log_file_cache`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::output::Output;
use super::queue::Account;

/// How many files are open at once that no cache keeps open, in one turn of a loop.
const UNCACHED_MAX: usize = 64;

/// `open_log_file_cache`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathLimits {
    /// Files that are kept open; the one unused for longest is closed for another.
    pub files_max: usize,
    /// A file unused for so long is closed. Default: 10 s.
    pub inactive: Duration,
    /// A file is kept open from this use on. Default: 1.
    pub uses_min: u64,
    /// How often it is looked whether the file is still the one of its name. Default: 60 s.
    pub valid: Duration,
}

/// The open files of one loop.
pub(super) struct PathLogs {
    caches: Vec<Cache>,
    account: Arc<Account>,
}

/// The files of one `open_log_file_cache`, or those that are closed at the turn's end.
struct Cache {
    limits: Option<Arc<PathLimits>>,
    /// By paths with variables in them, which clients choose: under a key that they cannot know.
    entries: HashMap<Box<[u8]>, Entry>,
}

struct Entry {
    /// Nothing where the file is not used often enough to be kept open.
    output: Option<Rc<Output>>,
    uses: u64,
    used_at: Instant,
    checked_at: Instant,
}

impl PathLogs {
    /// No files yet.
    pub(super) fn new(account: Arc<Account>) -> PathLogs {
        let caches = Vec::new();
        PathLogs { caches, account }
    }

    /// The log of a path, which is opened when there is something to write.
    pub(super) fn get(
        &mut self,
        path: &[u8],
        limits: Option<&Arc<PathLimits>>,
        now: Instant,
    ) -> Rc<Output> {
        let account = self.account.clone();
        self.cache(limits).get(path, now, &account)
    }

    /// Lines that were handed over, and are not known to be written.
    pub(super) fn waiting_lines(&self) -> u64 {
        self.account.waiting_lines()
    }

    fn cache(&mut self, limits: Option<&Arc<PathLimits>>) -> &mut Cache {
        let is_it = |cache: &Cache| match (&cache.limits, limits) {
            (Some(ours), Some(theirs)) => Arc::ptr_eq(ours, theirs),
            (ours, theirs) => ours.is_none() && theirs.is_none(),
        };
        let index = match self.caches.iter().position(is_it) {
            Some(index) => index,
            None => {
                self.caches.push(Cache {
                    limits: limits.cloned(),
                    entries: HashMap::default(),
                });
                self.caches.len() - 1
            }
        };
        &mut self.caches[index]
    }

    /// Counts a line that could not be written because of `reason`.
    pub(super) fn note_loss(&self, reason: String) {
        self.account.losses().note(1, reason);
    }

    /// Counts as lost what is not written, before the process ends.
    pub(super) fn give_up(&self) {
        let reason = "logs that requests name could not be written in time".to_owned();
        let waiting_lines = self.account.waiting_lines();
        self.account.losses().note(waiting_lines, reason);
    }

    /// What is to be complained about; see [`Output::complaint`].
    pub(super) fn complaint(&self, now: Instant, is_last: bool) -> Option<String> {
        self.account.losses().complaint(now, is_last)
    }

    /// Lets go of the files that are not to be kept open. What they have to write is written
    /// before they are closed.
    pub(super) fn end_turn(&mut self) {
        for cache in &mut self.caches {
            match &cache.limits {
                None => cache.entries.clear(),
                Some(limits) if limits.uses_min > 1 => {
                    let rare = |entry: &&mut Entry| entry.uses < limits.uses_min;
                    for entry in cache.entries.values_mut().filter(rare) {
                        entry.output = None;
                    }
                }
                Some(_) => {}
            }
        }
    }

    /// Closes what has not been used for as long as its cache says.
    pub(super) fn expire(&mut self, now: Instant) {
        for cache in &mut self.caches {
            if let Some(limits) = &cache.limits {
                let inactive = limits.inactive;
                cache
                    .entries
                    .retain(|_, entry| entry.used_at + inactive > now);
            }
        }
    }

    /// When there is something to close or to complain about.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        let of_cache = |cache: &Cache| {
            let inactive = cache.limits.as_ref()?.inactive;
            let oldest = cache.entries.values().map(|entry| entry.used_at).min()?;
            Some(oldest + inactive)
        };
        let expiry = self.caches.iter().filter_map(of_cache);
        expiry.chain(self.complaint_at(now)).min()
    }

    /// When there is something to complain about.
    pub(super) fn complaint_at(&self, now: Instant) -> Option<Instant> {
        self.account.losses().due_at(now)
    }

    /// Closes all files: each is opened anew with its next line.
    pub(super) fn close(&mut self) {
        self.caches.clear();
        self.account.losses().forgive();
    }
}

impl Cache {
    fn get(&mut self, path: &[u8], now: Instant, account: &Arc<Account>) -> Rc<Output> {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.uses += 1;
            entry.used_at = now;
            let valid = self.limits.as_ref().map(|limits| limits.valid);
            let is_old = valid.is_some_and(|valid| now >= entry.checked_at + valid);
            if let Some(output) = &entry.output {
                if is_old {
                    entry.checked_at = now;
                    output.doubt();
                }
                return output.clone();
            }
        } else {
            self.make_room();
        }
        let name = PathBuf::from(OsStr::from_bytes(path));
        let output = Rc::new(Output::of_path(name, account));
        let entry = self.entries.entry(path.into()).or_insert(Entry {
            output: None,
            uses: 1,
            used_at: now,
            checked_at: now,
        });
        entry.output = Some(output.clone());
        entry.checked_at = now;
        output
    }

    /// Lets go of the file that was not used for longest, where there is no room for another.
    fn make_room(&mut self) {
        let files_max = self
            .limits
            .as_ref()
            .map_or(UNCACHED_MAX, |limits| limits.files_max);
        if self.entries.len() < files_max {
            return;
        }
        let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.used_at);
        if let Some(path) = oldest.map(|(path, _)| path.clone()) {
            self.entries.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn limits(files_max: usize, uses_min: u64) -> Arc<PathLimits> {
        Arc::new(PathLimits {
            files_max,
            inactive: Duration::from_secs(10),
            uses_min,
            valid: Duration::from_secs(60),
        })
    }

    fn open_files(logs: &PathLogs) -> usize {
        let entries = logs.caches.iter().flat_map(|cache| cache.entries.values());
        entries.filter(|entry| entry.output.is_some()).count()
    }

    fn path(folder: &tempfile::TempDir, name: &str) -> Vec<u8> {
        let path = folder.path().join(name);
        path.into_os_string().into_encoded_bytes()
    }

    #[test]
    fn without_a_cache_files_are_open_for_a_turn() {
        let folder = tempfile::tempdir().unwrap();
        let (mut logs, now) = (PathLogs::new(Account::new(None)), Instant::now());
        for number in 0..100 {
            logs.get(&path(&folder, &number.to_string()), None, now);
        }
        assert_eq!(open_files(&logs), UNCACHED_MAX);
        logs.end_turn();
        assert_eq!(open_files(&logs), 0);
    }

    #[test]
    fn a_cache_keeps_what_was_used_last_and_often_enough() {
        let folder = tempfile::tempdir().unwrap();
        let (mut logs, start) = (PathLogs::new(Account::new(None)), Instant::now());
        let (two, often) = (limits(2, 1), limits(9, 2));
        for (seconds, name) in ["a", "b", "a", "c"].iter().enumerate() {
            let now = start + Duration::from_secs(seconds as u64);
            logs.get(&path(&folder, name), Some(&two), now);
            logs.end_turn();
        }
        let kept: Vec<_> = logs.caches[0].entries.keys().cloned().collect();
        assert_eq!(kept.len(), 2);
        assert!(!kept.contains(&path(&folder, "b").into()));
        let end = start + Duration::from_secs(12);
        assert_eq!(logs.next_at(start), Some(end));
        logs.expire(end);
        assert_eq!(open_files(&logs), 1);
        logs.close();
        for uses in 0..3 {
            logs.get(&path(&folder, "d"), Some(&often), start);
            logs.end_turn();
            assert_eq!(open_files(&logs), usize::from(uses > 0));
        }
    }

    /// Writes a line to the log of a path, and waits until it is written.
    fn write(logs: &mut PathLogs, path: &[u8], limits: &Arc<PathLimits>, now: Instant) {
        let output = logs.get(path, Some(limits), now);
        output.append(&Clock::without_loop(), None, now, |out| out.push(b'x'));
        output.flush(now, false);
        while logs.waiting_lines() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_noticed_when_the_cache_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (mut logs, start) = (PathLogs::new(Account::new(None)), Instant::now());
        let (limits, log) = (limits(2, 1), path(&folder, "log"));
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        write(&mut logs, &log, &limits, start);
        std::fs::rename(folder.path().join("log"), folder.path().join("old")).unwrap();
        write(&mut logs, &log, &limits, start + Duration::from_secs(59));
        assert_eq!(read("old"), "x\nx\n");
        write(&mut logs, &log, &limits, start + Duration::from_secs(60));
        assert_eq!((read("old"), read("log")), ("x\nx\n".into(), "x\n".into()));
    }

    #[test]
    fn what_cannot_be_opened_is_lost_and_said() {
        let folder = tempfile::tempdir().unwrap();
        let (mut logs, now) = (PathLogs::new(Account::new(None)), Instant::now());
        let log = path(&folder, "no/such");
        write(&mut logs, &log, &limits(2, 1), now);
        let said = logs.complaint(now, false).unwrap();
        let name = String::from_utf8(log).unwrap();
        assert_eq!(
            said,
            format!("open() \"{name}\" failed (2: No such file or directory), 1 line is lost")
        );
    }
}
