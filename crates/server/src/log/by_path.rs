//! Logs whose path has variables in it: opened when a line comes, with the rights of the worker.
//!
//! Source: nginx's `ngx_http_log_script_write` and `open_log_file_cache`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foldhash::quality::RandomState;

use super::destination::{Destination, Place};
use super::file;
use super::losses::Losses;
use super::output::Output;

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
#[derive(Default)]
pub(super) struct PathLogs {
    caches: Vec<Cache>,
    losses: Rc<RefCell<Losses>>,
}

/// The files of one `open_log_file_cache`, or those that are closed at the turn's end.
struct Cache {
    limits: Option<Arc<PathLimits>>,
    entries: HashMap<Box<[u8]>, Entry, RandomState>,
}

struct Entry {
    /// Nothing where the file is not used often enough to be kept open.
    output: Option<Rc<Output>>,
    identity: Option<(u64, u64)>,
    uses: u64,
    used_at: Instant,
    checked_at: Instant,
}

impl PathLogs {
    /// The log of a path, opened if it is not open.
    ///
    /// Errors: those of [`file::open`].
    pub(super) fn get(
        &mut self,
        path: &[u8],
        limits: Option<&Arc<PathLimits>>,
        now: Instant,
    ) -> io::Result<Rc<Output>> {
        let losses = self.losses.clone();
        self.cache(limits).get(path, now, losses)
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
        self.losses.borrow_mut().note(1, reason);
    }

    /// What is to be complained about; see [`Output::complaint`].
    pub(super) fn complaint(&self, now: Instant, is_last: bool) -> Option<String> {
        self.losses.borrow_mut().complaint(now, is_last)
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
        self.losses.borrow().due_at(now)
    }

    /// Closes all files: each is opened anew with its next line.
    pub(super) fn close(&mut self) {
        self.caches.clear();
        self.losses.borrow_mut().forgive();
    }
}

impl Cache {
    fn get(
        &mut self,
        path: &[u8],
        now: Instant,
        losses: Rc<RefCell<Losses>>,
    ) -> io::Result<Rc<Output>> {
        if let Some(entry) = self.entries.get_mut(path) {
            entry.uses += 1;
            entry.used_at = now;
            let valid = self.limits.as_ref().map(|limits| limits.valid);
            if valid.is_some_and(|valid| now >= entry.checked_at + valid) {
                entry.checked_at = now;
                if identity_of(path) != entry.identity {
                    entry.output = None;
                }
            }
            if let Some(output) = &entry.output {
                return Ok(output.clone());
            }
        } else {
            self.make_room();
        }
        let name = Path::new(OsStr::from_bytes(path));
        let file = file::open(name)?;
        let identity = file.metadata().ok().as_ref().map(identity);
        let destination = Destination {
            place: Place::File(name.to_owned()),
            buffering: None,
        };
        let output = Rc::new(Output::sharing(&destination, Some(Arc::new(file)), losses));
        let entry = self.entries.entry(path.into()).or_insert(Entry {
            output: None,
            identity: None,
            uses: 1,
            used_at: now,
            checked_at: now,
        });
        entry.output = Some(output.clone());
        entry.identity = identity;
        Ok(output)
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

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn identity_of(path: &[u8]) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(OsStr::from_bytes(path)).ok()?;
    Some(identity(&metadata))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (mut logs, now) = (PathLogs::default(), Instant::now());
        for number in 0..100 {
            logs.get(&path(&folder, &number.to_string()), None, now)
                .unwrap();
        }
        assert_eq!(open_files(&logs), UNCACHED_MAX);
        logs.end_turn();
        assert_eq!(open_files(&logs), 0);
        assert!(logs.get(&path(&folder, "no/such"), None, now).is_err());
        assert_eq!(open_files(&logs), 0);
    }

    #[test]
    fn a_cache_keeps_what_was_used_last_and_often_enough() {
        let folder = tempfile::tempdir().unwrap();
        let (mut logs, start) = (PathLogs::default(), Instant::now());
        let (two, often) = (limits(2, 1), limits(9, 2));
        for (seconds, name) in ["a", "b", "a", "c"].iter().enumerate() {
            let now = start + Duration::from_secs(seconds as u64);
            logs.get(&path(&folder, name), Some(&two), now).unwrap();
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
            logs.get(&path(&folder, "d"), Some(&often), start).unwrap();
            logs.end_turn();
            assert_eq!(open_files(&logs), usize::from(uses > 0));
        }
    }

    #[test]
    fn a_file_that_was_moved_away_is_noticed_when_the_cache_looks() {
        let folder = tempfile::tempdir().unwrap();
        let (mut logs, start) = (PathLogs::default(), Instant::now());
        let limits = limits(2, 1);
        let log = path(&folder, "log");
        let first = logs.get(&log, Some(&limits), start).unwrap();
        std::fs::rename(folder.path().join("log"), folder.path().join("old")).unwrap();
        let soon = logs.get(&log, Some(&limits), start + Duration::from_secs(59));
        assert!(Rc::ptr_eq(&first, &soon.unwrap()));
        let late = logs.get(&log, Some(&limits), start + Duration::from_secs(60));
        assert!(!Rc::ptr_eq(&first, &late.unwrap()));
        assert!(folder.path().join("log").exists());
    }
}
