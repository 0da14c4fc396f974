//! Takes away what nobody has asked for lately, and what is more than there may be.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use super::folder::Folder;

/// What there may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: Option<u64>,
    /// What is to stay free on the disk.
    pub(crate) free_min: u64,
}

/// The right to manage a folder: one loop of all workers has it. It goes with its process.
#[derive(Debug)]
pub(crate) struct Office {
    _held: File,
}

impl Office {
    /// Takes it, where nobody has it.
    pub(crate) fn take(folder: &Folder) -> Option<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        // Where there is no folder, there is nothing to manage.
        let file = options.open(folder.path.join(".manager")).ok()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Self { _held: file })
    }
}

/// A file that is kept.
#[derive(Debug)]
struct Kept {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

/// One round through a folder, a step at a time.
#[derive(Debug)]
pub(crate) struct Round {
    folders: Vec<PathBuf>,
    open: Option<std::fs::ReadDir>,
    depth: usize,
    kept: Vec<Kept>,
    /// Once all is known: whether what is too much has been chosen.
    is_chosen: bool,
    excess: Vec<PathBuf>,
}

/// What was begun and is locked by nobody for this long belongs to a process that is gone.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

impl Round {
    pub(crate) fn new(folder: &Folder) -> Self {
        Self {
            folders: vec![folder.path.clone()],
            open: None,
            depth: folder.path.components().count() + folder.levels.len(),
            kept: Vec::new(),
            is_chosen: false,
            excess: Vec::new(),
        }
    }

    /// Looks at, or takes away, so many files at most; whether there is more to do.
    pub(crate) fn step(&mut self, folder: &Folder, bounds: &Bounds, files: usize) -> bool {
        for _ in 0..files {
            if !self.look_at_next(folder) {
                if !std::mem::replace(&mut self.is_chosen, true) {
                    self.choose(&folder.path, bounds);
                }
                let Some(path) = self.excess.pop() else {
                    return false;
                };
                let _ = std::fs::remove_file(path);
            }
        }
        true
    }

    /// Looks at a file; false where there is no other.
    fn look_at_next(&mut self, folder: &Folder) -> bool {
        let Some(open) = &mut self.open else {
            let Some(next) = self.folders.pop() else {
                return false;
            };
            self.open = std::fs::read_dir(next).ok();
            return true;
        };
        match open.next() {
            None => self.open = None,
            Some(Ok(entry)) => {
                // What cannot be looked at has gone meanwhile.
                let _ = self.look_at(folder, &entry);
            }
            Some(Err(_)) => {}
        }
        true
    }

    fn look_at(&mut self, folder: &Folder, entry: &std::fs::DirEntry) -> io::Result<()> {
        let path = entry.path();
        let stat = entry.metadata()?;
        if stat.is_dir() {
            if path.components().count() <= self.depth {
                self.folders.push(path);
            }
            return Ok(());
        }
        let used = stat.modified()?;
        let unused = SystemTime::now().duration_since(used).unwrap_or_default();
        match path.extension().and_then(|it| it.to_str()) {
            Some("answer") if unused >= folder.inactive => std::fs::remove_file(path),
            Some("answer") => {
                let bytes = stat.blocks() * 512;
                self.kept.push(Kept { used, bytes, path });
                Ok(())
            }
            Some("tmp" | "lock") if unused >= LEFT_BEHIND && is_left_behind(&path) => {
                std::fs::remove_file(path)
            }
            _ => Ok(()),
        }
    }

    /// Chooses what is too much: what was used longest ago.
    fn choose(&mut self, folder: &Path, bounds: &Bounds) {
        let total: u64 = self.kept.iter().map(|it| it.bytes).sum();
        let mut excess = total.saturating_sub(bounds.bytes_max.unwrap_or(u64::MAX));
        if bounds.free_min > 0
            && let Ok(disk) = rustix::fs::statvfs(folder)
        {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            excess = excess.max(bounds.free_min.saturating_sub(free));
        }
        let mut kept = std::mem::take(&mut self.kept);
        if excess == 0 {
            return;
        }
        kept.sort_unstable_by_key(|it| it.used);
        let mut freed = 0;
        let chosen = kept.into_iter().take_while(|it| {
            let is_needed = freed < excess;
            freed += it.bytes;
            is_needed
        });
        self.excess = chosen.map(|it| it.path).collect();
        self.excess.reverse();
    }
}

/// Whether nobody holds a file. Whoever looks holds it for a moment, which costs a fetcher one more look.
fn is_left_behind(path: &Path) -> bool {
    File::open(path)
        .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok())
}

#[cfg(test)]
mod tests {
    use std::fs::FileTimes;

    use super::*;
    use crate::http::cache::record::{Kind, Record};
    use crate::http::cache::{Key, Writing};

    fn write(folder: &Folder, name: &str, bytes: usize) -> Writing {
        let key = Key::of(name.as_bytes().to_vec());
        let record = Record {
            kind: Kind::Answer,
            status: 200,
            valid_until: 0,
            updating_s: 0,
            error_s: 0,
            generation: 0,
            body_bytes: 0,
            vary: Vec::new(),
            key: key.text.clone(),
            head: Vec::new(),
        };
        let mut writing = folder.create(&key, record).unwrap();
        writing.write(&vec![b'x'; bytes]).unwrap();
        writing
    }

    fn run(folder: &Folder, bounds: &Bounds) {
        let mut round = Round::new(folder);
        while round.step(folder, bounds, 3) {}
    }

    fn ago(seconds: u64) -> FileTimes {
        FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(seconds))
    }

    #[test]
    fn what_is_unused_and_what_is_too_much_goes() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = Folder {
            path: temporary.path().to_owned(),
            levels: vec![1, 1],
            inactive: Duration::from_secs(500),
        };
        let there = |name: &str| {
            folder
                .find(&Key::of(name.as_bytes().to_vec()))
                .unwrap()
                .is_some()
        };
        for age in 1..=6 {
            let writing = write(&folder, &format!("{age}"), 10_000);
            let file = writing.file.clone();
            writing.finish().unwrap();
            file.set_times(ago(age * 100)).unwrap();
        }
        // Neither what is no answer, nor what is being written.
        std::fs::write(temporary.path().join("other"), "x").unwrap();
        let under_way = write(&folder, "way", 10);
        let old = ago(9999);
        under_way.file.set_times(old).unwrap();
        let left = temporary.path().join("x.1.0.tmp");
        std::fs::write(&left, "x").unwrap();
        File::options()
            .write(true)
            .open(&left)
            .unwrap()
            .set_times(old)
            .unwrap();
        let none = Bounds {
            bytes_max: None,
            free_min: 0,
        };
        assert!(Office::take(&folder).is_some());
        let held = Office::take(&folder);
        assert!(held.is_some() && Office::take(&folder).is_none());
        run(&folder, &none);
        assert!(!left.exists() && under_way.temporary.exists());
        assert!(temporary.path().join("other").exists());
        let names = ["1", "2", "3", "4", "5", "6"];
        // To look at them is to use them.
        let paths =
            names.map(|name| Key::of(name.as_bytes().to_vec()).path(&folder.path, &folder.levels));
        assert_eq!(
            paths.each_ref().map(|it| it.exists()),
            [true, true, true, true, false, false]
        );
        let bounds = Bounds {
            bytes_max: Some(30_000),
            ..none
        };
        run(&folder, &bounds);
        assert_eq!(
            paths.each_ref().map(|it| it.exists()),
            [true, true, false, false, false, false]
        );
        assert!(there("1"));
        let bounds = Bounds {
            free_min: u64::MAX,
            ..none
        };
        run(&folder, &bounds);
        assert!(paths.iter().all(|it| !it.exists()));
        under_way.finish().unwrap();
        assert!(there("way"));
    }
}
