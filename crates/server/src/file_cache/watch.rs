//! The directories that cached paths lead through, watched by inotify(7).

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::mem::MaybeUninit;
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
    /// flag tells whether contents of the files in it are watched too.
    by_path: HashMap<PathBuf, (i32, bool), RandomState>,
}

#[derive(Default)]
struct Folder {
    names: HashMap<Rc<[u8]>, HashSet<EntryId, RandomState>, RandomState>,
}

impl Watch {
    /// An instance of its own; fails where the user's limit of instances is reached.
    pub(super) fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self {
            fd,
            folders: HashMap::default(),
            by_path: HashMap::default(),
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
                    let last = rest.as_os_str().is_empty() && pending.is_empty();
                    dependencies.extend(self.depend(&at, name, last, entry)?);
                    let next = at.join(name);
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
        let wd = match self.by_path.get(folder) {
            Some((wd, contents)) if *contents || !last => *wd,
            _ => {
                if !reports_changes(rustix::fs::statfs(folder)?.f_type) {
                    return Err(Errno::OPNOTSUPP);
                }
                let wd = match inotify::add_watch(&self.fd, folder, mask(last)) {
                    Ok(wd) => wd,
                    // A file stands where a folder is named: its own name is watched already.
                    Err(Errno::NOTDIR) => return Ok(None),
                    Err(error) => return Err(error),
                };
                self.by_path.insert(folder.to_owned(), (wd, last));
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
                    changes
                        .entries
                        .extend(folder.names.get(name.to_bytes()).into_iter().flatten());
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
        self.folders.remove(&wd);
        self.by_path.retain(|_, (known, _)| *known != wd);
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
                self.forget(*wd);
            }
        }
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
