//! The files of a cache: looked up, written under another name, locked while they are fetched.

use std::fs::{DirBuilder, File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustix::fs::{FlockOperation, flock};

use super::key::Key;
use super::record::{PREFIX_BYTES, RECORD_BYTES_MAX, Record};

/// What is read of a file at first: most records with a small body.
const FIRST_BYTES: usize = 16 * 1024;

/// Where answers are kept.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// How many digits name the folders at each level.
    pub(crate) levels: Vec<usize>,
    /// For how long nobody need have asked for what is taken away.
    pub(crate) inactive: Duration,
}

/// An answer that is kept.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) record: Record,
    pub(crate) file: Arc<File>,
    /// Where the body begins.
    pub(crate) body_at: u64,
    /// The body, where it has been read with the record.
    pub(crate) body: Option<Bytes>,
}

impl Folder {
    /// What is kept for a key. It counts as used.
    ///
    /// Errors: those of open(2) and read(2), but that nothing is there.
    pub(crate) fn find(&self, key: &Key) -> io::Result<Option<Found>> {
        let file = match File::open(key.path(&self.path, &self.levels)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let stat = file.metadata()?;
        let Some((record, bytes, body_at)) = read(&file)? else {
            return Ok(None);
        };
        let is_whole = stat.len().checked_sub(body_at as u64) == Some(record.body_bytes);
        if !is_whole || record.key != key.text {
            return Ok(None);
        }
        self.note_use(&file, stat.modified()?);
        let body = Bytes::from(bytes).slice(body_at..);
        Ok(Some(Found {
            body: (body.len() as u64 == record.body_bytes).then_some(body),
            record,
            file: Arc::new(file),
            body_at: body_at as u64,
        }))
    }

    /// When a file was used is written into it now and then, as the manager need not know it so well.
    fn note_use(&self, file: &File, noted: SystemTime) {
        let now = SystemTime::now();
        let often = (self.inactive / 10).min(Duration::from_secs(60));
        if now
            .duration_since(noted)
            .is_ok_and(|passed| passed >= often)
        {
            // Where it cannot be noted, the file goes sooner.
            let _ = file.set_times(FileTimes::new().set_modified(now));
        }
    }

    /// Begins to write an answer.
    ///
    /// Errors: those of open(2), mkdir(2) and write(2).
    pub(crate) fn create(&self, key: &Key, record: Record) -> io::Result<Writing> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let path = key.path(&self.path, &self.levels);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let extension = format!("{}.{number}.tmp", std::process::id());
        let temporary = path.with_extension(extension);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = open_in_folder(&options, &temporary)?;
        let writing = Writing {
            file: Arc::new(file),
            temporary,
            path,
            body_at: record.encode().len() as u64,
            record,
        };
        // It tells the manager that somebody is writing, and goes with the process.
        let _ = flock(&*writing.file, FlockOperation::NonBlockingLockExclusive);
        writing.write_record()?;
        Ok(writing)
    }

    /// Writes an answer that has come already.
    ///
    /// Errors: as of [`Folder::create`].
    pub(crate) fn put(&self, key: &Key, record: Record) -> io::Result<()> {
        self.create(key, record)?.finish()
    }

    /// Writes another record over one of the same length: its numbers have changed.
    ///
    /// Errors: those of open(2) and write(2).
    pub(crate) fn renew(&self, key: &Key, record: &Record) -> io::Result<()> {
        let path = key.path(&self.path, &self.levels);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let bytes = record.encode();
        let mut prefix = [0; PREFIX_BYTES];
        file.read_exact_at(&mut prefix, 0)?;
        // Another may have put another answer there meanwhile.
        if Record::len_of(&prefix) == Some(bytes.len())
            && file.metadata()?.len() == bytes.len() as u64 + record.body_bytes
        {
            file.write_all_at(&bytes, 0)?;
        }
        Ok(())
    }

    /// Takes an answer away; whether there was one.
    ///
    /// Errors: those of unlink(2), but that nothing is there.
    pub(crate) fn remove(&self, key: &Key) -> io::Result<bool> {
        match std::fs::remove_file(key.path(&self.path, &self.levels)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tries to become the one that fetches an answer. One that has been at it for longer than `age` is no
    /// longer waited for: then the next one begins, too, and counts from now. `None`: another is at it.
    ///
    /// Errors: those of open(2) and flock(2).
    pub(crate) fn lock(&self, key: &Key, age: Duration) -> io::Result<Option<Lock>> {
        let path = key.path(&self.path, &self.levels).with_extension("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        loop {
            let file = open_in_folder(&options, &path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let began = file.metadata()?.modified()?;
                    let passed = SystemTime::now().duration_since(began).unwrap_or_default();
                    if passed < age {
                        return Ok(None);
                    }
                    touch(&file)?;
                    return Ok(Some(Lock { held: None }));
                }
                Err(error) => return Err(error.into()),
            }
            // Whoever held it before may have taken the file away after it was opened here.
            let is_same = std::fs::metadata(&path)
                .is_ok_and(|there| file.metadata().is_ok_and(|own| own.ino() == there.ino()));
            if is_same {
                touch(&file)?;
                return Ok(Some(Lock {
                    held: Some((file, path)),
                }));
            }
        }
    }
}

fn touch(file: &File) -> io::Result<()> {
    file.set_times(FileTimes::new().set_modified(SystemTime::now()))
}

/// The record of a file, the bytes that were read, and where the body begins among them.
fn read(file: &File) -> io::Result<Option<(Record, Vec<u8>, usize)>> {
    // A record that is being renewed at this moment may be read in the midst of that.
    for _ in 0..3 {
        let mut bytes = read_first(file, FIRST_BYTES)?;
        let Some(len) = Record::len_of(&bytes) else {
            return Ok(None);
        };
        if len > bytes.len() {
            bytes = read_first(file, len)?;
        }
        if let Some(record) = Record::decode(&bytes) {
            return Ok(Some((record, bytes, len)));
        }
    }
    Ok(None)
}

fn read_first(file: &File, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len.min(RECORD_BYTES_MAX)];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Opens a file that may be new, and makes the folders on its way.
fn open_in_folder(options: &OpenOptions, path: &Path) -> io::Result<File> {
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(path);
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(folder)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// An answer that is being written.
#[derive(Debug)]
pub(crate) struct Writing {
    pub(crate) file: Arc<File>,
    pub(crate) body_at: u64,
    pub(crate) temporary: PathBuf,
    record: Record,
    path: PathBuf,
}

impl Writing {
    fn write_record(&self) -> io::Result<()> {
        self.file.write_all_at(&self.record.encode(), 0)
    }

    /// Adds to the body.
    ///
    /// Errors: those of write(2). What was written before is still there.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let at = self.body_at + self.record.body_bytes;
        self.file.write_all_at(bytes, at)?;
        self.record.body_bytes += bytes.len() as u64;
        Ok(())
    }

    /// The answer is whole, and found from now on.
    ///
    /// Errors: those of write(2) and rename(2).
    pub(crate) fn finish(self) -> io::Result<()> {
        if self.record.body_bytes > 0 {
            self.write_record()?;
        }
        std::fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        // Where it got its name, there is nothing left of it here.
        let _ = std::fs::remove_file(&self.temporary);
        let _ = flock(&*self.file, FlockOperation::NonBlockingUnlock);
    }
}

/// Being the one that fetches an answer.
#[derive(Debug)]
pub(crate) struct Lock {
    /// Nothing where another is at it, too, and takes the file away.
    held: Option<(File, PathBuf)>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some((_, path)) = &self.held {
            // Before the file is closed, so that nobody else holds it then.
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::cache::record::Kind;

    fn record(key: &Key, head: &str) -> Record {
        Record {
            kind: Kind::Answer,
            status: 200,
            valid_until: 5,
            updating_s: 0,
            error_s: 0,
            generation: 0,
            body_bytes: 0,
            vary: Vec::new(),
            key: key.text.clone(),
            head: head.as_bytes().to_vec(),
        }
    }

    fn folder(path: &Path) -> Folder {
        Folder {
            path: path.join("cache"),
            levels: vec![1, 2],
            inactive: Duration::from_secs(600),
        }
    }

    fn files(folder: &Folder) -> usize {
        let mut left = vec![folder.path.clone()];
        let mut files = 0;
        while let Some(path) = left.pop() {
            for entry in std::fs::read_dir(path).unwrap().map(Result::unwrap) {
                match entry.file_type().unwrap().is_dir() {
                    true => left.push(entry.path()),
                    false => files += 1,
                }
            }
        }
        files
    }

    #[test]
    fn an_answer_is_found_once_it_is_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let key = Key::of(b"a".to_vec());
        assert!(folder.find(&key).unwrap().is_none());
        let mut writing = folder.create(&key, record(&key, "head")).unwrap();
        writing.write(b"bo").unwrap();
        writing.write(b"dy").unwrap();
        assert!(folder.find(&key).unwrap().is_none());
        writing.finish().unwrap();
        let found = folder.find(&key).unwrap().unwrap();
        assert_eq!(found.body.unwrap(), "body");
        assert_eq!(found.record.head, b"head");
        let mut renewed = found.record.clone();
        renewed.valid_until = 99;
        folder.renew(&key, &renewed).unwrap();
        assert_eq!(folder.find(&key).unwrap().unwrap().record, renewed);
        // Large ones stay in their file.
        let mut writing = folder
            .create(&key, record(&key, &"h".repeat(20_000)))
            .unwrap();
        writing.write(&[b'x'; 50_000]).unwrap();
        writing.finish().unwrap();
        let found = folder.find(&key).unwrap().unwrap();
        assert!(found.body.is_none());
        assert_eq!(
            (found.record.body_bytes, found.record.head.len()),
            (50_000, 20_000)
        );
        assert_eq!(files(&folder), 1);
        assert!(folder.remove(&key).unwrap());
        assert!(!folder.remove(&key).unwrap());
        drop(folder.create(&key, record(&key, "")).unwrap());
        assert_eq!(files(&folder), 0);
    }

    #[test]
    fn what_is_cut_or_another_s_is_not_found() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let key = Key::of(b"a".to_vec());
        let mut writing = folder.create(&key, record(&key, "head")).unwrap();
        writing.write(b"body").unwrap();
        writing.finish().unwrap();
        let path = key.path(&folder.path, &folder.levels);
        let whole = std::fs::read(&path).unwrap();
        for end in 0..whole.len() {
            std::fs::write(&path, &whole[..end]).unwrap();
            assert!(folder.find(&key).unwrap().is_none(), "{end}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(folder.find(&key).unwrap().is_some());
        let mut other = record(&key, "head");
        other.key = b"b".to_vec();
        folder.put(&key, other).unwrap();
        assert!(folder.find(&key).unwrap().is_none());
    }

    #[test]
    fn one_fetches_at_a_time_unless_it_takes_too_long() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = folder(temporary.path());
        let key = Key::of(b"a".to_vec());
        let age = Duration::from_secs(60);
        let first = folder.lock(&key, age).unwrap().unwrap();
        assert!(folder.lock(&key, age).unwrap().is_none());
        // The next one of those that wait no longer is the one that is waited for.
        std::thread::sleep(Duration::from_millis(50));
        let age = Duration::from_millis(40);
        let second = folder.lock(&key, age).unwrap().unwrap();
        assert!(folder.lock(&key, age).unwrap().is_none());
        drop(second);
        assert!(folder.lock(&key, age).unwrap().is_none());
        drop(first);
        assert!(folder.lock(&key, age).unwrap().is_some());
        assert_eq!(files(&folder), 0);
    }
}
