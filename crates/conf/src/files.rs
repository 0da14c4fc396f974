//! Where configuration text comes from: the disk, or a record of what was once read.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::secrets::{Secret, Secrets};

/// Gives the files that a configuration names.
pub trait Files {
    /// The whole content of one file.
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;

    /// The paths that match a shell pattern, in the order of their bytes. A pattern that matches
    /// nothing gives none; one without `*`, `?` and `[` is never asked for.
    fn glob(&mut self, pattern: &str) -> io::Result<Vec<PathBuf>>;

    /// Who answers for the host names in directives; [`Files::keep_host_names`] gets it back.
    fn host_names(&mut self) -> HostNames;

    /// Takes note of the host names that were asked about.
    fn keep_host_names(&mut self, _names: HostNames) {}

    /// Who gives secret files; [`Files::keep_secrets`] gets it back. There are none unless an
    /// implementation says so.
    fn secrets(&mut self) -> Secrets {
        Secrets::default()
    }

    /// Takes note of the secret files that were read.
    fn keep_secrets(&mut self, _secrets: Secrets) {}
}

/// Answers for host names: the system's resolver, asked once a name, or a record of its answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostNames {
    known: BTreeMap<String, Vec<IpAddr>>,
    asks: bool,
    /// How many names the resolver did not know.
    failed: usize,
}

/// After so many names that the resolver did not know it is not asked any more: each may take seconds,
/// and the configuration is refused anyway.
const FAILED_NAMES_MAX: usize = 30;

impl HostNames {
    /// Asks the system's resolver, and waits for its answer.
    pub fn of_system() -> Self {
        HostNames {
            known: BTreeMap::new(),
            asks: true,
            failed: 0,
        }
    }

    /// The addresses of a host, each once, in the order of the answer.
    ///
    /// # Errors
    ///
    /// A host that the resolver does not know, or that is not in the record.
    pub fn addresses(&mut self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Some(known) = self.known.get(host) {
            return Ok(known.clone());
        }
        if !self.asks || self.failed == FAILED_NAMES_MAX {
            return Err(not_found());
        }
        let mut addresses = Vec::new();
        let answer = (host, 0).to_socket_addrs();
        for address in answer.inspect_err(|_| self.failed += 1)? {
            if !addresses.contains(&address.ip()) {
                addresses.push(address.ip());
            }
        }
        self.known.insert(host.to_owned(), addresses.clone());
        Ok(addresses)
    }
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

    fn host_names(&mut self) -> HostNames {
        HostNames::of_system()
    }

    fn secrets(&mut self) -> Secrets {
        Secrets::of_disk()
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

    fn host_names(&mut self) -> HostNames {
        self.inner.host_names()
    }

    fn keep_host_names(&mut self, names: HostNames) {
        self.snapshot.hosts = names.known;
    }

    fn secrets(&mut self) -> Secrets {
        self.inner.secrets()
    }

    fn keep_secrets(&mut self, secrets: Secrets) {
        self.snapshot.secrets = secrets.known;
    }
}

/// Every file that a configuration read, and every pattern and host name that it asked about:
/// enough to read the same configuration again elsewhere, where the disk or the answers of the
/// resolver have changed or are out of reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<PathBuf, Vec<u8>>,
    globs: BTreeMap<String, Vec<PathBuf>>,
    hosts: BTreeMap<String, Vec<IpAddr>>,
    /// Apart from the files, which people are shown.
    secrets: BTreeMap<PathBuf, Secret>,
}

/// The first bytes of an encoded snapshot; the last one is the version of the format.
const MAGIC: &[u8; 8] = b"RVLVSNP\x04";

impl Snapshot {
    /// Adds a file, or replaces it.
    pub fn insert_file(&mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.files.insert(path.into(), bytes);
    }

    /// Adds the answer to a pattern, or replaces it.
    pub fn insert_glob(&mut self, pattern: impl Into<String>, paths: Vec<PathBuf>) {
        self.globs.insert(pattern.into(), paths);
    }

    /// Adds the addresses of a host name, or replaces them.
    pub fn insert_host(&mut self, name: impl Into<String>, addresses: Vec<IpAddr>) {
        self.hosts.insert(name.into(), addresses);
    }

    /// Adds a secret file, or replaces it.
    pub fn insert_secret(&mut self, path: impl Into<PathBuf>, bytes: Vec<u8>) {
        self.secrets.insert(path.into(), Secret(bytes));
    }

    /// The secret files that are others than in a snapshot of before, in the order of their paths, and
    /// whether that one had them. What is in them stays here.
    pub fn changed_secrets<'a>(
        &'a self,
        before: &'a Snapshot,
    ) -> impl Iterator<Item = (&'a Path, bool)> {
        self.secrets.iter().filter_map(|(path, secret)| {
            let known = before.secrets.get(path);
            (known != Some(secret)).then_some((path.as_path(), known.is_some()))
        })
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
    /// The format is a magic number with a version, then the files, the patterns, the hosts and the secret
    /// files, each list behind its length; numbers are 32 bits, little-endian, and strings stand behind their
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
        put_number(&mut out, self.hosts.len());
        for (name, addresses) in &self.hosts {
            put_bytes(&mut out, name.as_bytes());
            put_number(&mut out, addresses.len());
            for address in addresses {
                put_bytes(&mut out, address.to_string().as_bytes());
            }
        }
        put_number(&mut out, self.secrets.len());
        for (path, secret) in &self.secrets {
            put_bytes(&mut out, path.as_os_str().as_bytes());
            put_bytes(&mut out, &secret.0);
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
            let pattern = reader.text()?;
            let mut paths = Vec::new();
            for _ in 0..reader.number()? {
                paths.push(reader.path()?);
            }
            snapshot.globs.insert(pattern.to_owned(), paths);
        }
        for _ in 0..reader.number()? {
            let name = reader.text()?;
            let mut addresses = Vec::new();
            for _ in 0..reader.number()? {
                addresses.push(reader.text()?.parse().map_err(|_| DecodeError::Address)?);
            }
            snapshot.hosts.insert(name.to_owned(), addresses);
        }
        for _ in 0..reader.number()? {
            let path = reader.path()?;
            let secret = Secret(reader.bytes()?.to_vec());
            snapshot.secrets.insert(path, secret);
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

    fn text(&mut self) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| DecodeError::NotUtf8)
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
    /// A pattern or a host name is not UTF-8.
    NotUtf8,
    /// A host's address is none.
    Address,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DecodeError::Version => "not a configuration snapshot of this version",
            DecodeError::Truncated => "the configuration snapshot ends too early",
            DecodeError::Trailing => "bytes follow the configuration snapshot",
            DecodeError::NotUtf8 => "a name in the configuration snapshot is not UTF-8",
            DecodeError::Address => "an address in the configuration snapshot is malformed",
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

    fn host_names(&mut self) -> HostNames {
        HostNames {
            known: self.snapshot.hosts.clone(),
            asks: false,
            failed: 0,
        }
    }

    fn secrets(&mut self) -> Secrets {
        Secrets::recorded(self.snapshot.secrets.clone())
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
    fn a_host_is_asked_for_once_and_then_known() {
        let mut disk = DiskFiles;
        let mut recorded = Recorded::new(&mut disk);
        let mut names = recorded.host_names();
        let answer = names.addresses("localhost").unwrap();
        assert!(answer.iter().all(IpAddr::is_loopback) && !answer.is_empty());
        names
            .known
            .insert("localhost".into(), vec![[192, 0, 2, 1].into()]);
        assert_eq!(
            names.addresses("localhost").unwrap(),
            [IpAddr::from([192, 0, 2, 1])]
        );
        recorded.keep_host_names(names);
        let snapshot = recorded.into_snapshot();

        let mut files = SnapshotFiles::new(Snapshot::decode(&snapshot.encode()).unwrap());
        let mut names = files.host_names();
        assert_eq!(
            names.addresses("localhost").unwrap(),
            [IpAddr::from([192, 0, 2, 1])]
        );
        let error = names.addresses("other.invalid").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn damaged_snapshots_are_refused() {
        let mut snapshot = Snapshot::default();
        snapshot.insert_file("/a", b"x".to_vec());
        snapshot.insert_glob("/*", vec!["/a".into()]);
        snapshot.insert_host("x", vec![[127, 0, 0, 1].into()]);
        snapshot.insert_secret("/key", b"secret".to_vec());
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
        other[7] = 1;
        assert_eq!(Snapshot::decode(&other), Err(DecodeError::Version));
        let huge = [&MAGIC[..], &u32::MAX.to_le_bytes()].concat();
        assert_eq!(Snapshot::decode(&huge), Err(DecodeError::Truncated));
    }

    #[test]
    fn secret_files_are_recorded_apart_and_shown_to_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "hidden").unwrap();
        let mut disk = DiskFiles;
        let mut recorded = Recorded::new(&mut disk);
        let mut secrets = recorded.secrets();
        assert_eq!(secrets.read(&path).unwrap(), b"hidden");
        assert!(secrets.read(&folder.path().join("none")).is_err());
        recorded.keep_secrets(secrets);
        let snapshot = recorded.into_snapshot();
        assert_eq!(snapshot.files().count(), 0);
        assert!(!format!("{snapshot:?}").contains("hidden"));
        std::fs::remove_file(&path).unwrap();
        let mut files = SnapshotFiles::new(Snapshot::decode(&snapshot.encode()).unwrap());
        let mut secrets = files.secrets();
        assert_eq!(secrets.read(&path).unwrap(), b"hidden");
        let mut changed = snapshot.clone();
        assert_eq!(changed.changed_secrets(&snapshot).count(), 0);
        changed.insert_secret(&path, b"another".to_vec());
        assert_eq!(
            changed.changed_secrets(&snapshot).collect::<Vec<_>>(),
            [(path.as_path(), true)]
        );
    }
}
