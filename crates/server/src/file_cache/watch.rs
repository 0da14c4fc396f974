//! The directories that cached paths lead through, watched by inotify(7).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
use std::ops::Bound;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use foldhash::fast::RandomState;
use rustix::fs::FsWord;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

/// Number of a cached path, as the cache counts them.
pub(super) type EntryId = u64;

/// Links followed on one path, as the kernel limits them (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// What came out of the queue.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Cached paths that something on their way changed.
    pub entries: HashSet<EntryId, RandomState>,
    /// Whether events were lost, so that everything is in doubt.
    pub lost: bool,
}

/// A name in a watched folder that a cached path depends on.
#[derive(Debug)]
pub(super) struct Dependency {
    wd: i32,
    name: Rc<[u8]>,
}

/// An inotify instance, and which cached paths depend on which names.
pub(super) struct Watch {
    fd: OwnedFd,
    folders: HashMap<i32, Folder, RandomState>,
    /// Folders that are watched already, so that filling the cache asks the kernel once; the
    /// flag tells whether contents of the files in it are watched too. Sorted, so that those below
    /// another lie together.
    by_path: BTreeMap<Box<[u8]>, (i32, bool)>,
    /// Folders that nothing depended on any more, oldest first; some may be needed again by now. To
    /// make watches and end them for each request would cost far more than the request.
    idle: VecDeque<i32>,
}

/// Folders that are watched though nothing depends on them.
const IDLE_MAX: usize = 256;

#[derive(Default)]
struct Folder {
    /// By what paths it is known.
    paths: Vec<Box<[u8]>>,
    /// By names, which clients choose: under a key that they cannot know (SipHash).
    names: HashMap<Rc<[u8]>, HashSet<EntryId, RandomState>>,
}

impl Watch {
    /// An instance of its own; fails where the user's limit of instances is reached.
    pub(super) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            fd,
            folders: HashMap::default(),
            by_path: BTreeMap::new(),
            idle: VecDeque::new(),
        })
    }

    /// A second descriptor of the same queue, to wait on.
    pub(super) fn descriptor(&self) -> io::Result<OwnedFd> {
        self.fd.as_fd().try_clone_to_owned()
    }

    /// Watches every directory on the way to `path`, links followed, for `entry`.
    ///
    /// Where a component is missing, its folder is watched for the name; that makes "not there"
    /// cacheable too. Fails where the limit of watches is reached, a folder may not be read, or
    /// a filesystem on the way does not report its changes.
    pub(super) fn cover(&mut self, path: &Path, entry: EntryId) -> Result<Vec<Dependency>, Errno> {
        let mut dependencies = Vec::new();
        match self.walk(path, entry, &mut dependencies) {
            Ok(()) => Ok(dependencies),
            Err(error) => {
                self.release(entry, &dependencies);
                Err(error)
            }
        }
    }

    fn walk(
        &mut self,
        path: &Path,
        entry: EntryId,
        dependencies: &mut Vec<Dependency>,
    ) -> Result<(), Errno> {
        let mut pending: Vec<PathBuf> = vec![path.to_owned()];
        let mut at = PathBuf::from("/");
        let mut links = 0;
        while let Some(rest) = pending.pop() {
            let mut components = rest.components();
            let Some(component) = components.next() else {
                continue;
            };
            let rest = components.as_path().to_owned();
            match component {
                Component::RootDir => at = PathBuf::from("/"),
                Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => {
                    at.pop();
                }
                Component::Normal(name) => {
                    // Behind a link to the end of a path nothing is left of that path.
                    let nothing = |path: &PathBuf| path.as_os_str().is_empty();
                    let last = nothing(&rest) && pending.iter().all(nothing);
                    dependencies.extend(self.depend(&at, name, last, entry)?);
                    let next = at.join(name);
                    // A folder that others depend on is no link: its name is watched, too, and
                    // what takes its place makes it unknown.
                    if !last && self.by_path.contains_key(bytes(&next)) {
                        at = next;
                        pending.push(rest);
                        continue;
                    }
                    match std::fs::read_link(&next) {
                        Ok(target) => {
                            links += 1;
                            if links > LINKS_MAX {
                                return Err(Errno::LOOP);
                            }
                            pending.push(rest);
                            pending.push(target);
                            continue;
                        }
                        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                        Err(_) => at = next,
                    }
                }
            }
            pending.push(rest);
        }
        Ok(())
    }

    fn depend(
        &mut self,
        folder: &Path,
        name: &OsStr,
        last: bool,
        entry: EntryId,
    ) -> Result<Option<Dependency>, Errno> {
        let wd = match self.by_path.get(bytes(folder)) {
            Some((wd, contents)) if *contents || !last => *wd,
            _ => {
                if !reports_changes(rustix::fs::statfs(folder)?.f_type) {
                    return Err(Errno::OPNOTSUPP);
                }
                let wd = match self.add(folder, last) {
                    Ok(wd) => wd,
                    // A file stands where a folder is named: its own name is watched already.
                    Err(Errno::NOTDIR) => return Ok(None),
                    Err(error) => return Err(error),
                };
                let known = self.by_path.insert(bytes(folder).into(), (wd, last));
                if known.is_none_or(|(known, _)| known != wd) {
                    let paths = &mut self.folders.entry(wd).or_default().paths;
                    paths.push(bytes(folder).into());
                }
                wd
            }
        };
        let names = &mut self.folders.entry(wd).or_default().names;
        let name = match names.get_key_value(name.as_bytes()) {
            Some((name, _)) => name.clone(),
            None => Rc::from(name.as_bytes()),
        };
        names.entry(name.clone()).or_default().insert(entry);
        Ok(Some(Dependency { wd, name }))
    }

    /// Where there are as many watches as the user may have, those that nobody needs make way.
    fn add(&mut self, folder: &Path, holds_files: bool) -> Result<i32, Errno> {
        match inotify::add_watch(&self.fd, folder, mask(holds_files)) {
            Err(Errno::NOSPC) if !self.idle.is_empty() => {
                self.end_idle(0);
                inotify::add_watch(&self.fd, folder, mask(holds_files))
            }
            added => added,
        }
    }

    /// Reads the queue until it is empty.
    pub(super) fn drain(&mut self) -> Changes {
        let mut changes = Changes::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut gone = Vec::new();
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            };
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                changes.lost = true;
            }
            let Some(folder) = self.folders.get(&event.wd()) else {
                continue;
            };
            match event.file_name() {
                Some(name) => {
                    let name = name.to_bytes();
                    let dependent = folder.names.get(name).into_iter().flatten();
                    changes.entries.extend(dependent);
                    if flags.contains(ReadFlags::ISDIR) {
                        for path in &folder.paths {
                            let path = Path::new(OsStr::from_bytes(path));
                            let moved = path.join(OsStr::from_bytes(name));
                            forget_tree(&mut self.by_path, bytes(&moved));
                        }
                    }
                }
                None => changes.entries.extend(folder.names.values().flatten()),
            }
            let own = ReadFlags::DELETE_SELF
                | ReadFlags::MOVE_SELF
                | ReadFlags::UNMOUNT
                | ReadFlags::IGNORED;
            if flags.intersects(own) {
                gone.push(event.wd());
            }
        }
        for wd in gone {
            self.forget(wd);
        }
        changes
    }

    /// A folder that went away, or is reached by another name now, is watched no longer.
    fn forget(&mut self, wd: i32) {
        self.forget_paths(wd);
        self.folders.remove(&wd);
        // The kernel may have removed it already; then there is nothing left to do.
        let _ = inotify::remove_watch(&self.fd, wd);
    }

    /// Forgets what an entry depended on, and watches that nobody needs any more.
    pub(super) fn release(&mut self, entry: EntryId, dependencies: &[Dependency]) {
        for Dependency { wd, name } in dependencies {
            let Some(folder) = self.folders.get_mut(wd) else {
                continue;
            };
            let Some(entries) = folder.names.get_mut(name) else {
                continue;
            };
            entries.remove(&entry);
            if entries.is_empty() {
                folder.names.remove(name);
            }
            if folder.names.is_empty() {
                // Nothing would tell when another folder takes its path.
                self.forget_paths(*wd);
                self.idle.push_back(*wd);
            }
        }
        self.end_idle(IDLE_MAX);
    }

    fn forget_paths(&mut self, wd: i32) {
        let folder = self.folders.get_mut(&wd);
        let paths = folder.map(|it| std::mem::take(&mut it.paths));
        for path in paths.unwrap_or_default() {
            forget_tree(&mut self.by_path, &path);
        }
    }

    /// Ends the watches of folders that nothing depends on, but for so many.
    fn end_idle(&mut self, kept: usize) {
        while self.idle.len() > kept {
            let Some(wd) = self.idle.pop_front() else {
                return;
            };
            let folder = self.folders.get(&wd);
            if folder.is_some_and(|it| it.names.is_empty()) && !self.idle.contains(&wd) {
                self.forget(wd);
            }
        }
    }
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Forgets the path of a folder, and those below it: what is watched may be reached by another path now,
/// and another folder by this one.
fn forget_tree(by_path: &mut BTreeMap<Box<[u8]>, (i32, bool)>, path: &[u8]) {
    by_path.remove(path);
    let mut start = path.to_vec();
    if !start.ends_with(b"/") {
        start.push(b'/');
    }
    let after = by_path.range::<[u8], _>((Bound::Excluded(start.as_slice()), Bound::Unbounded));
    let below = after.map(|(known, _)| known);
    let below: Vec<Box<[u8]>> = below
        .take_while(|known| known.starts_with(&start))
        .cloned()
        .collect();
    for known in below {
        by_path.remove(&known);
    }
}

/// Whether a filesystem tells inotify of every change: those whose changes may be made
/// elsewhere (network, FUSE) and those made up by the kernel do not.
pub(super) fn reports_changes(magic: FsWord) -> bool {
    // The numbers of statfs(2) and linux/magic.h.
    const SILENT: [u32; 14] = [
        0x6969,      // NFS
        0x517b,      // SMB
        0xff53_4d42, // CIFS
        0xfe53_4d42, // SMB2
        0x6573_5546, // FUSE
        0x0102_1997, // 9P
        0x00c3_6400, // Ceph
        0x5346_414f, // AFS
        0x6b41_4653, // AFS in the kernel
        0x0bd0_0bd0, // Lustre
        0x0116_1970, // GFS2
        0x7461_636f, // OCFS2
        0x9fa0,      // proc
        0x6265_6572, // sysfs
    ];
    !SILENT.contains(&(magic as u32))
}

/// What is heard of a folder: changes of the names in it, and, where files in it are cached, of
/// their contents. Watches of one folder add up, because several paths lead through it.
fn mask(holds_files: bool) -> WatchFlags {
    let names = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR
        | WatchFlags::MASK_ADD;
    if holds_files {
        names | WatchFlags::MODIFY
    } else {
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_needed_again_is_still_watched() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().canonicalize().expect("a path").join("a.txt");
        let mut watch = Watch::new().expect("inotify");
        let first = watch.cover(&path, 1).expect("it can be watched");
        let wds = |these: &[Dependency]| these.iter().map(|it| it.wd).collect::<Vec<i32>>();
        watch.release(1, &first);
        assert!(
            watch.by_path.is_empty(),
            "its paths may be those of others now"
        );
        assert_eq!(watch.idle.len(), first.len());
        let again = watch.cover(&path, 2).expect("it can be watched");
        assert_eq!(wds(&first), wds(&again));
        std::fs::write(&path, "there").expect("a file");
        assert!(watch.drain().entries.contains(&2));
        watch.release(2, &again);
        watch.end_idle(0);
        assert!(watch.folders.is_empty() && watch.idle.is_empty());
    }

    #[test]
    fn a_folder_that_another_takes_the_place_of_is_watched_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().canonicalize().expect("a path");
        let path = folder.join("a/b/c.txt");
        let make = || std::fs::create_dir_all(folder.join("a/b")).expect("folders");
        make();
        let mut watch = Watch::new().expect("inotify");
        watch.cover(&path, 1).expect("it can be watched");
        std::fs::rename(folder.join("a"), folder.join("z")).expect("rename");
        // Somebody depends on the folder by its new path before the change is known.
        watch
            .cover(&folder.join("z/b/c.txt"), 2)
            .expect("it can be watched");
        assert!(watch.drain().entries.contains(&1));
        make();
        watch.drain();
        watch.cover(&path, 3).expect("it can be watched");
        std::fs::write(&path, "there").expect("a file");
        assert!(watch.drain().entries.contains(&3));
    }
}
