//! Where configuration text comes from: the disk, or a record of what was once read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Gives the files that a configuration names.
pub trait Files {
    /// The whole content of one file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;

    /// The paths that match a shell pattern, in the order of their bytes. A pattern that matches
    /// nothing gives none; one without `*`, `?` and `[` is never asked for.
    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>>;
}

/// The files on disk.
#[derive(Copy, Clone, Debug, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Ok(crate::glob::expand(pattern))
    }
}

/// Passes everything on to other [`Files`], and keeps a record of what they gave.
pub struct Recorded<'a> {
    inner: &'a mut dyn Files,
    snapshot: Snapshot,
}

impl<'a> Recorded<'a> {
    /// An empty record.
    pub fn new(inner: &'a mut dyn Files) -> Self {
        Recorded {
            inner,
            snapshot: Snapshot::default(),
        }
    }

    /// The record of all that was read.
    pub fn into_snapshot(self) -> Snapshot {
        self.snapshot
    }
}

impl Files for Recorded<'_> {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = self.inner.read(path)?;
        self.snapshot.files.insert(path.to_owned(), bytes.clone());
        Ok(bytes)
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        let paths = self.inner.glob(pattern)?;
        self.snapshot
            .globs
            .insert(pattern.to_owned(), paths.clone());
        Ok(paths)
    }
}

/// Every file that a configuration read, and every pattern that it asked about: enough to read
/// the same configuration again elsewhere, where the disk has changed or is out of reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, Vec<u8>>,
    globs: BTreeMap<String, Vec<PathBuf>>,
}

/// The first bytes of an encoded snapshot; the last one is the version of the format.
const MAGIC: &[u8; 8] = b"RVLVSNP\x01";

impl Snapshot {
    /// Adds a file, or replaces it.
    pub fn insert_file(&mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.files.insert(path.into(), bytes);
    }

    /// Adds the answer to a pattern, or replaces it.
    pub fn insert_glob(&mut self, pattern: impl Into<String>, paths: Vec<PathBuf>) {
        self.globs.insert(pattern.into(), paths);
    }

    /// The recorded content of a file.
    pub fn file(&self, path: &Path) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// All recorded files, in the order of their paths.
    pub fn files(&self) -> impl Iterator<Item = (&Path, &[u8])> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_path(), bytes.as_slice()))
    }

    /// The snapshot as bytes, for [`Snapshot::decode`].
    ///
    /// The format is a magic number with a version, then the files and then the patterns, each
    /// list behind its length; numbers are 32 bits, little-endian, and strings stand behind their
    /// length in bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        put_number(&mut out, self.files.len());
        for (path, bytes) in &self.files {
            put_bytes(&mut out, path.as_os_str().as_bytes());
            put_bytes(&mut out, bytes);
        }
        put_number(&mut out, self.globs.len());
        for (pattern, paths) in &self.globs {
            put_bytes(&mut out, pattern.as_bytes());
            put_number(&mut out, paths.len());
            for path in paths {
                put_bytes(&mut out, path.as_os_str().as_bytes());
            }
        }
        out
    }

    /// The snapshot that [`Snapshot::encode`] wrote. Any bytes may be given.
    pub fn decode(bytes: &[u8]) -> Result<Snapshot, DecodeError> {
        let rest = bytes.strip_prefix(MAGIC).ok_or(DecodeError::Version)?;
        let mut reader = Reader { rest };
        let mut snapshot = Snapshot::default();
        for _ in 0..reader.number()? {
            let path = reader.path()?;
            let bytes = reader.bytes()?.to_vec();
            snapshot.files.insert(path, bytes);
        }
        for _ in 0..reader.number()? {
            let pattern = std::str::from_utf8(reader.bytes()?).map_err(|_| DecodeError::NotUtf8)?;
            let mut paths = Vec::new();
            for _ in 0..reader.number()? {
                paths.push(reader.path()?);
            }
            snapshot.globs.insert(pattern.to_owned(), paths);
        }
        if reader.rest.is_empty() {
            Ok(snapshot)
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

fn put_number(out: &mut Vec<u8>, number: usize) {
    let number = u32::try_from(number).expect("a configuration is smaller than 4 GiB");
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len());
    out.extend_from_slice(bytes);
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn number(&mut self) -> Result<usize, DecodeError> {
        let (number, rest) = self
            .rest
            .split_first_chunk()
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*number) as usize)
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.number()?;
        let (bytes, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn path(&mut self) -> Result<PathBuf, DecodeError> {
        Ok(PathBuf::from(OsStr::from_bytes(self.bytes()?)))
    }
}

/// Why bytes are not an encoded [`Snapshot`].
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// They do not begin as this version's snapshots do.
    Version,
    /// They end too early.
    Truncated,
    /// They go on after the end.
    Trailing,
    /// A pattern is not UTF-8.
    NotUtf8,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Version => "not a configuration snapshot of this version",
            DecodeError::Truncated => "the configuration snapshot ends too early",
            DecodeError::Trailing => "bytes follow the configuration snapshot",
            DecodeError::NotUtf8 => "a pattern in the configuration snapshot is not UTF-8",
        })
    }
}

impl std::error::Error for DecodeError {}

/// The files of a [`Snapshot`]; whatever it does not hold does not exist.
#[derive(Clone, Debug)]
pub struct SnapshotFiles {
    snapshot: Snapshot,
}

impl SnapshotFiles {
    /// Replays `snapshot`.
    pub fn new(snapshot: Snapshot) -> Self {
        SnapshotFiles { snapshot }
    }
}

/// What a system call says of a file that does not exist.
fn not_found() -> io::Error {
    const ENOENT: i32 = 2;
    io::Error::from_raw_os_error(ENOENT)
}

impl Files for SnapshotFiles {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        self.snapshot.files.get(path).cloned().ok_or_else(not_found)
    }

    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>> {
        Ok(self
            .snapshot
            .globs
            .get(pattern)
            .cloned()
            .unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_replays_what_was_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, "user x;").unwrap();
        let pattern = format!("{}/*.conf", folder.path().display());
        let mut disk = DiskFiles;
        let mut recorded = Recorded::new(&mut disk);
        assert_eq!(recorded.glob(&pattern).unwrap(), [path.as_path()]);
        recorded.read(&path).unwrap();
        assert!(recorded.read(&folder.path().join("b.conf")).is_err());
        let snapshot = recorded.into_snapshot();
        std::fs::remove_file(&path).unwrap();

        let mut files = SnapshotFiles::new(Snapshot::decode(&snapshot.encode()).unwrap());
        assert_eq!(files.glob(&pattern).unwrap(), [path.as_path()]);
        assert_eq!(files.read(&path).unwrap(), b"user x;");
        let error = files.read(&folder.path().join("b.conf")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn damaged_snapshots_are_refused() {
        let mut snapshot = Snapshot::default();
        snapshot.insert_file("/a", b"x".to_vec());
        snapshot.insert_glob("/*", vec!["/a".into()]);
        let bytes = snapshot.encode();
        assert_eq!(Snapshot::decode(&bytes), Ok(snapshot));
        for end in MAGIC.len()..bytes.len() {
            assert_eq!(Snapshot::decode(&bytes[..end]), Err(DecodeError::Truncated));
        }
        assert_eq!(Snapshot::decode(&bytes[..7]), Err(DecodeError::Version));
        assert_eq!(
            Snapshot::decode(&[&bytes[..], b"x"].concat()),
            Err(DecodeError::Trailing)
        );
        let mut other = bytes.clone();
        other[7] = 2;
        assert_eq!(Snapshot::decode(&other), Err(DecodeError::Version));
        let huge = [&MAGIC[..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Snapshot::decode(&huge), Err(DecodeError::Truncated));
    }
}
