//! What was said in each room, in a file of its own. Files block, so that all of this runs on the
//! pool but for [`Writer`], which collects on a room's loop what is to be written.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use revolve_reactor::{now, spawn};

use crate::hall::Shared;

/// Bytes that wait to be written, of all rooms of a loop, at most: a disk that is too slow loses
/// lines, and the statistics say how many.
const UNWRITTEN_BYTES_MAX: usize = 4 << 20;
/// Between two complaints about a disk that cannot be written.
const COMPLAIN_AGAIN: Duration = Duration::from_secs(60);
/// How far back the history looks.
const TAIL_BYTES_MAX: u64 = 64 * 1024;

/// A folder of files, one a room.
#[derive(Clone, Debug)]
pub(crate) struct Archive {
    folder: PathBuf,
}

impl Archive {
    /// Makes the folder where it is missing.
    pub(crate) fn open(folder: &Path) -> io::Result<Archive> {
        fs::create_dir_all(folder)?;
        Ok(Archive {
            folder: folder.into(),
        })
    }

    /// A room's name is a file's name: it has letters, digits, `-` and `_` alone.
    fn path(&self, room: &str) -> PathBuf {
        self.folder.join(format!("{room}.log"))
    }

    fn append(&self, room: &str, lines: &[u8]) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let mut file = options.create(true).append(true).open(self.path(room))?;
        file.write_all(lines)
    }

    /// The last `lines` lines, as far as `bytes_max` bytes hold them. Blocks.
    pub(crate) fn tail(&self, room: &str, lines: u16, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut file = match fs::File::open(self.path(room)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            opened => opened?,
        };
        let len = file.metadata()?.len();
        let skipped = len.saturating_sub(TAIL_BYTES_MAX);
        file.seek(SeekFrom::Start(skipped))?;
        let mut tail = Vec::new();
        file.take(TAIL_BYTES_MAX).read_to_end(&mut tail)?;
        let whole: Vec<&[u8]> = tail.split_inclusive(|&byte| byte == b'\n').collect();
        // The first may be half of a line, and the last be under way.
        let whole = &whole[usize::from(skipped > 0).min(whole.len())..];
        let whole = whole.iter().filter(|line| line.ends_with(b"\n"));
        let (mut chosen, mut bytes) = (Vec::new(), 0);
        for line in whole.rev().take(lines.into()) {
            bytes += line.len();
            if bytes > bytes_max {
                break;
            }
            chosen.push(*line);
        }
        chosen.reverse();
        Ok(chosen.concat())
    }
}

/// Collects the lines of a loop's rooms, and has the pool write them: what comes in while the disk
/// is busy goes with the next write.
#[derive(Default)]
pub(crate) struct Writer {
    unwritten: RefCell<BTreeMap<Arc<str>, Vec<u8>>>,
    bytes: Cell<usize>,
    busy: Cell<bool>,
    /// When a failure was last said.
    complained: Cell<Option<Instant>>,
}

impl Writer {
    /// Notes what was said. Costs no more than a copy.
    pub(crate) fn note(
        self: &Rc<Self>,
        shared: &Arc<Shared>,
        room: &Arc<str>,
        number: u64,
        from: &str,
        text: &str,
    ) {
        let Some(archive) = &shared.archive else {
            return;
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let at_ms = since.map_or(0, |since| since.as_millis());
        // One message is one line, whatever is in it.
        let text = text.replace(char::is_control, " ");
        let line = format!("{number}\t{at_ms}\t{from}\t{text}\n");
        if self.bytes.get() + line.len() > UNWRITTEN_BYTES_MAX {
            shared.archive_lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.bytes.set(self.bytes.get() + line.len());
        let mut unwritten = self.unwritten.borrow_mut();
        let lines = unwritten.entry(Arc::clone(room)).or_default();
        lines.extend_from_slice(line.as_bytes());
        if !self.busy.replace(true) {
            let (archive, shared) = (archive.clone(), Arc::clone(shared));
            drop(spawn(write(Rc::clone(self), archive, shared)));
        }
    }

    /// True when all is written.
    pub(crate) fn is_idle(&self) -> bool {
        !self.busy.get()
    }
}

async fn write(writer: Rc<Writer>, archive: Archive, shared: Arc<Shared>) {
    loop {
        let lines = writer.unwritten.take();
        writer.bytes.set(0);
        if lines.is_empty() {
            writer.busy.set(false);
            return;
        }
        let folder = archive.clone();
        // The lines that were lost, and why the last of them were.
        let job = move || {
            let (mut lost, mut last) = (0, None);
            for (room, lines) in lines {
                if let Err(error) = folder.append(&room, &lines) {
                    lost += lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
                    last = Some(error);
                }
            }
            (lost, last)
        };
        if let Ok((lost, Some(error))) = shared.pool.run(job).await {
            shared.archive_lost.fetch_add(lost, Ordering::Relaxed);
            let long_ago = |at: Instant| now().duration_since(at) >= COMPLAIN_AGAIN;
            if writer.complained.get().is_none_or(long_ago) {
                writer.complained.set(Some(now()));
                let folder = archive.folder.display();
                let line = format!("the archive in {folder} is not written: {error}");
                shared.console.say(line);
            }
        }
    }
}
