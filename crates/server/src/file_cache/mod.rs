//! The coherent cache of files of one loop.
//!
//! A small file is served from memory, a large one from a descriptor that stays open, and what
//! is not there is known not to be there, without a system call. A change on disk is still seen
//! by the next request: inotify(7) tells of every directory on the way, its queue is drained
//! before the tasks of a turn run, and a `stat` once a second stands behind it.

mod entry;
mod links;
mod marks;
mod watch;

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::io::Errno;

use revolve_http::h1::lines::ContentLength;

pub(crate) use entry::{Content, FileEntry, Form, Found, place};
use entry::{Identity, Probe, is_absence};
pub(crate) use links::{Refused, open as open_without_links};
use marks::Marks;
use watch::{Dependency, EntryId, Watch};

/// How long an entry is believed before a `stat` is asked, whatever inotify says.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A larger file that may not enter is sent out of its descriptor.
const OUTSIDE_BYTES_MAX: u64 = 16 << 10;

/// How long what could not be cached is not tried again, in seconds.
const REFUSED_S: u32 = 10;

/// Bounds of the cache of one loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Paths, those that are not there included; 0 turns the cache off.
    pub entries_max: usize,
    /// Bytes of contents in all, and of what was made of them.
    pub bytes_max: u64,
    /// A larger file is not held in memory: its descriptor is.
    pub file_bytes_max: u64,
    /// Descriptors held open.
    pub descriptors_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries_max: 10_000,
            bytes_max: 64 << 20,
            file_bytes_max: 64 << 10,
            descriptors_max: 256,
        }
    }
}

/// The cache.
pub(crate) struct FileCache {
    limits: Cell<Limits>,
    inner: RefCell<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By paths, which clients choose: under a key that they cannot know (SipHash).
    entries: HashMap<Box<[u8]>, Entry>,
    paths: HashMap<EntryId, Box<[u8]>, foldhash::fast::RandomState>,
    /// Candidates for eviction, oldest first; one that was used since gets a second chance.
    queue: VecDeque<EntryId>,
    next_id: EntryId,
    bytes: u64,
    /// Bytes of other forms of files, also of those that have left the cache and are still being sent.
    form_bytes: Rc<Cell<u64>>,
    descriptors: usize,
    watch: Option<Watch>,
    /// What was asked for while the cache was full. Where more files are asked for than it holds, or a
    /// crawler asks for each of them once, most of what enters is never asked for again, and has driven
    /// out what was: the second time in a while is soon enough.
    asked: Marks,
    /// What could not be cached: a file of several names, a folder that cannot be watched. To find that out
    /// costs far more than to serve the file.
    refused: Marks,
    /// What was found last and may not enter. It holds for the rest of the turn, whose requests were all
    /// read before, because one request asks several times (`try_files`, and who serves the file).
    last: Option<(Box<[u8]>, Found)>,
    /// Whether a folder could not be watched because there are too many watches, and that was told.
    watches_run_out: Option<bool>,
    /// The folder outside of which nothing is opened.
    within: Option<PathBuf>,
}

struct Entry {
    id: EntryId,
    found: Found,
    identity: Option<Identity>,
    /// Until when it is believed without a `stat`.
    valid_until: Cell<Instant>,
    used: Cell<bool>,
    dependencies: Vec<Dependency>,
}

impl FileCache {
    /// A cache; without inotify it holds nothing and every lookup asks the disk.
    ///
    /// The second value is why inotify is missing, to be logged once.
    pub(crate) fn new(limits: Limits) -> (Self, Option<io::Error>) {
        let (watch, error) = match Watch::new() {
            Ok(watch) => (Some(watch), None),
            Err(error) => (None, Some(error)),
        };
        let inner = RefCell::new(Inner {
            watch,
            ..Inner::default()
        });
        (
            Self {
                limits: Cell::new(limits),
                inner,
            },
            error,
        )
    }

    /// Takes new bounds, as a reload brings them.
    pub(crate) fn set_limits(&self, limits: Limits) {
        if self.limits.replace(limits) != limits {
            self.inner.borrow_mut().clear();
        }
    }

    /// Serves only what lies in this folder, wherever symbolic links lead; `None` for no such bound.
    pub(crate) fn set_within(&self, folder: Option<&Path>) {
        // The kernel names files without links on the way.
        let folder = folder.map(|it| it.canonicalize().unwrap_or_else(|_| it.to_owned()));
        let mut inner = self.inner.borrow_mut();
        if inner.within != folder {
            inner.clear();
            inner.last = None;
            inner.within = folder;
        }
    }

    /// The folder outside of which nothing is opened.
    pub(crate) fn within(&self) -> Option<PathBuf> {
        self.inner.borrow().within.clone()
    }

    /// This loop has changed something on disk itself: who asks in the same turn sees that, too.
    pub(crate) fn note_change(&self) {
        self.drain();
        self.inner.borrow_mut().last = None;
    }

    /// The queue of changes, for the loop to wait on; [`FileCache::drain`] reads it.
    pub(crate) fn watch_descriptor(&self) -> Option<io::Result<OwnedFd>> {
        self.inner.borrow().watch.as_ref().map(Watch::descriptor)
    }

    /// Drops what changed on disk. Called before the tasks of a turn whenever the queue is ready.
    pub(crate) fn drain(&self) {
        let mut inner = self.inner.borrow_mut();
        let Some(watch) = &mut inner.watch else {
            return;
        };
        let changes = watch.drain();
        if changes.lost {
            inner.clear();
            return;
        }
        for id in changes.entries {
            inner.remove(id);
        }
    }

    /// Forgets what holds for this turn alone. The answer is whether there are now as many watches as the
    /// user may have, the first time that a folder was without for it.
    pub(crate) fn end_turn(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        if inner.last.is_some() {
            inner.last = None;
        }
        let is_first = inner.watches_run_out == Some(false);
        if is_first {
            inner.watches_run_out = Some(true);
        }
        is_first
    }

    /// Closes the descriptors that the cache holds, somebody needs them more; false if it holds
    /// none.
    pub(crate) fn close_descriptors(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        inner.last = None;
        let holding: Vec<EntryId> = inner
            .entries
            .values()
            .filter(|entry| entry.found.holds_descriptor())
            .map(|entry| entry.id)
            .collect();
        for id in &holding {
            inner.remove(*id);
        }
        !holding.is_empty()
    }

    /// What is at a path.
    pub(crate) fn lookup(&self, path: &[u8]) -> Found {
        let now = revolve_reactor::now();
        if let Some(entry) = self.inner.borrow().entries.get(path) {
            // A file that is sent out of its descriptor is as long as it is now, whatever has been heard.
            let is_same = entry.found.has_its_length();
            if is_same && now < entry.valid_until.get() {
                entry.used.set(true);
                return entry.found.clone();
            }
            if is_same && Identity::of(path) == entry.identity {
                entry.valid_until.set(now + CHECK_INTERVAL);
                entry.used.set(true);
                return entry.found.clone();
            }
        }
        self.inner.borrow_mut().remove_path(path);
        match self.fill(path, now) {
            // What is held open to be fast makes way for what is asked for now.
            Found::Missing(Errno::MFILE | Errno::NFILE) if self.close_descriptors() => {
                self.fill(path, now)
            }
            found => found,
        }
    }

    /// What is at a path, unless a link lies on its way that is refused ([`Errno::LOOP`]). The first
    /// `trusted_bytes` of the path are not looked at. It is asked for anew each time.
    pub(crate) fn lookup_without_links(
        &self,
        path: &[u8],
        refused: Refused,
        trusted_bytes: usize,
    ) -> Found {
        let bytes_max = self.limits.get().file_bytes_max.min(OUTSIDE_BYTES_MAX);
        let inner = self.inner.borrow();
        let opened = links::open(path, refused, trusted_bytes);
        Probe::of_opened(opened, bytes_max, inner.within.as_deref()).found
    }

    /// Keeps another form of a file beside it for as long as the file is in the cache; what is used
    /// less makes way for it.
    pub(crate) fn keep_form(&self, file: &FileEntry, key: u64, bytes: Bytes) -> Form {
        let length = ContentLength::new(bytes.len() as u64);
        let form = (bytes, length);
        if file.may_keep_forms() {
            file.add_form(key, form.clone());
            self.inner.borrow_mut().evict(&self.limits.get());
        }
        form
    }

    fn fill(&self, path: &[u8], now: Instant) -> Found {
        let limits = self.limits.get();
        let inner = &mut *self.inner.borrow_mut();
        if let Some(found) = inner.find_outside(path, &limits) {
            return found;
        }
        let id = inner.next_id;
        inner.next_id += 1;
        // The folders are watched before the file is read, so that no change falls between.
        let watchable = limits.entries_max > 0 && path.first() == Some(&b'/');
        let dependencies = match &mut inner.watch {
            Some(watch) if watchable => {
                let covered = watch.cover(Path::new(OsStr::from_bytes(path)), id);
                if covered.as_ref().is_err_and(|error| *error == Errno::NOSPC) {
                    inner.watches_run_out.get_or_insert(false);
                }
                covered.ok()
            }
            _ => None,
        };
        let Some(dependencies) = dependencies else {
            if watchable && inner.watch.is_some() {
                inner.refuse(path, &limits);
            }
            return Probe::of(path, 0, inner.within.as_deref()).found;
        };
        let mut probe = Probe::of(path, limits.file_bytes_max, inner.within.as_deref());
        probe.cacheable &= !probe.found.is_file() || !entry::is_mounted(path);
        let full = probe.found.holds_descriptor() && inner.has_no_descriptor(&limits);
        if !probe.cacheable || full {
            if let Some(watch) = &mut inner.watch {
                watch.release(id, &dependencies);
            }
            if !full {
                inner.refuse(path, &limits);
            }
            return probe.found;
        }
        let found = probe.found.clone();
        if let Found::File(file) = &found {
            file.count_forms(&inner.form_bytes);
        }
        inner.bytes += found.bytes_held();
        inner.descriptors += usize::from(found.holds_descriptor());
        let entry = Entry {
            id,
            found: probe.found,
            identity: probe.identity,
            valid_until: Cell::new(now + CHECK_INTERVAL),
            used: Cell::new(false),
            dependencies,
        };
        inner.paths.insert(id, path.into());
        inner.entries.insert(path.into(), entry);
        inner.queue.push_back(id);
        inner.evict(&limits);
        found
    }
}

impl Inner {
    /// Whether something would have to leave for another entry.
    fn is_crowded(&self, limits: &Limits) -> bool {
        let is_crowded = self.entries.len() >= limits.entries_max
            || self.bytes_held() >= limits.bytes_max - limits.bytes_max / 16;
        is_crowded && limits.entries_max > 0
    }

    fn bytes_held(&self) -> u64 {
        self.bytes + self.form_bytes.get()
    }

    fn has_no_descriptor(&self, limits: &Limits) -> bool {
        self.descriptors >= limits.descriptors_max
    }

    /// Whether a path may enter for all that is there already.
    fn has_room_for(&mut self, path: &[u8], limits: &Limits) -> bool {
        let room = limits.entries_max;
        !self.is_crowded(limits) || self.asked.mark(path, now_s(), room).is_some()
    }

    fn is_refused(&self, path: &[u8]) -> bool {
        let refused_at = self.refused.marked_at(path);
        refused_at.is_some_and(|at_s| now_s().wrapping_sub(at_s) < REFUSED_S)
    }

    fn refuse(&mut self, path: &[u8], limits: &Limits) {
        self.refused.mark(path, now_s(), limits.entries_max);
    }

    /// What is at a path that may not enter the cache now; `None` where it may.
    fn find_outside(&mut self, path: &[u8], limits: &Limits) -> Option<Found> {
        if let Some((last, found)) = &self.last
            && **last == *path
        {
            return Some(found.clone());
        }
        let may_enter = !self.is_refused(path) && self.has_room_for(path, limits);
        if may_enter && !self.has_no_descriptor(limits) {
            return None;
        }
        let bytes_max = limits.file_bytes_max.min(OUTSIDE_BYTES_MAX);
        let found = Probe::of(path, bytes_max, self.within.as_deref()).found;
        if may_enter && !found.holds_descriptor() {
            return None;
        }
        if !matches!(found, Found::Missing(error) if !is_absence(error)) {
            self.last = Some((path.into(), found.clone()));
        }
        Some(found)
    }

    fn remove(&mut self, id: EntryId) {
        if let Some(path) = self.paths.remove(&id)
            && let Some(entry) = self.entries.remove(&path)
        {
            self.account(entry);
        }
    }

    fn remove_path(&mut self, path: &[u8]) {
        if let Some(entry) = self.entries.remove(path) {
            self.paths.remove(&entry.id);
            self.account(entry);
        }
    }

    fn account(&mut self, entry: Entry) {
        self.bytes -= entry.found.bytes_held();
        self.descriptors -= usize::from(entry.found.holds_descriptor());
        if let Some(watch) = &mut self.watch {
            watch.release(entry.id, &entry.dependencies);
        }
    }

    fn evict(&mut self, limits: &Limits) {
        while self.entries.len() > limits.entries_max || self.bytes_held() > limits.bytes_max {
            let Some(id) = self.queue.pop_front() else {
                return;
            };
            let Some(path) = self.paths.get(&id) else {
                continue;
            };
            let used = self
                .entries
                .get(path)
                .is_some_and(|entry| entry.used.replace(false));
            if used {
                self.queue.push_back(id);
            } else {
                self.remove(id);
            }
        }
        // Entries that a change removed leave their place in the queue behind.
        if self.queue.len() > 2 * self.entries.len() + 64 {
            let paths = &self.paths;
            self.queue.retain(|id| paths.contains_key(id));
        }
    }

    fn clear(&mut self) {
        let ids: Vec<EntryId> = self.paths.keys().copied().collect();
        for id in ids {
            self.remove(id);
        }
        self.queue.clear();
    }
}

fn now_s() -> u32 {
    (revolve_reactor::now_ms() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use revolve_reactor::EventLoop;

    use super::*;

    fn bytes(path: &Path) -> &[u8] {
        path.as_os_str().as_bytes()
    }

    #[test]
    fn what_cannot_be_cached_is_not_tried_again_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "text").expect("a file");
        std::fs::hard_link(&path, folder.path().join("b.txt")).expect("a link");
        let mut event_loop = EventLoop::new().expect("a loop");
        event_loop.block_on(async {
            let (cache, _) = FileCache::new(Limits::default());
            for _ in 0..3 {
                assert!(matches!(cache.lookup(bytes(&path)), Found::File(_)));
                cache.end_turn();
            }
            let inner = cache.inner.borrow();
            assert_eq!((inner.next_id, inner.entries.len()), (1, 0));
        });
    }

    #[test]
    fn a_full_cache_lets_in_what_is_asked_for_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |number: usize| folder.path().join(format!("{number}.txt"));
        (0..8).for_each(|number| std::fs::write(path(number), "text").expect("a file"));
        let mut event_loop = EventLoop::new().expect("a loop");
        event_loop.block_on(async {
            let limits = Limits {
                entries_max: 4,
                ..Limits::default()
            };
            let (cache, _) = FileCache::new(limits);
            let ask = |number: usize| {
                let found = cache.lookup(bytes(&path(number)));
                assert!(matches!(found, Found::File(_)));
                cache
                    .inner
                    .borrow()
                    .entries
                    .contains_key(bytes(&path(number)))
            };
            assert!((0..4).all(ask));
            // Asked for twice by one request it is no more wanted than asked for once.
            assert!(!ask(4) && !ask(4));
            cache.end_turn();
            assert!(ask(4));
            assert_eq!(cache.inner.borrow().entries.len(), 4);
        });
    }

    #[test]
    fn another_form_of_a_file_is_kept_beside_it_and_goes_with_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |number: usize| folder.path().join(format!("{number}.txt"));
        (0..4).for_each(|number| std::fs::write(path(number), [b'x'; 100]).expect("a file"));
        let mut event_loop = EventLoop::new().expect("a loop");
        event_loop.block_on(async {
            let limits = Limits {
                bytes_max: 400,
                ..Limits::default()
            };
            let (cache, _) = FileCache::new(limits);
            let file = |number| match cache.lookup(bytes(&path(number))) {
                Found::File(file) => file,
                other => panic!("{other:?}"),
            };
            let first = file(0);
            cache.keep_form(&first, 1, Bytes::from_static(&[1; 50]));
            assert_eq!(file(0).form(1).expect("it is kept").1.bytes, 50);
            assert!(first.form(2).is_none());
            drop(first);
            assert_eq!(cache.inner.borrow().form_bytes.get(), 50);
            // All files and this form would be too much.
            for number in 1..4 {
                let other = file(number);
                cache.end_turn();
                let other = if other.may_keep_forms() {
                    other
                } else {
                    file(number)
                };
                cache.keep_form(&other, 1, Bytes::from_static(&[2; 50]));
            }
            assert!(cache.inner.borrow().bytes_held() <= 400);
            cache.set_limits(Limits::default());
            assert_eq!(cache.inner.borrow().bytes_held(), 0);
            let off = Limits {
                entries_max: 0,
                ..limits
            };
            cache.set_limits(off);
            assert!(!file(0).may_keep_forms());
        });
    }
}
