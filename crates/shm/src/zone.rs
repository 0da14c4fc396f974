//! A memory file with a header that says what is in it.
//!
//! The header takes the first 256 bytes: magic, version, kind, size, schema, the fields of the kind,
//! the PID namespace, the hash keys, and a checksum over all of that. It never changes after the
//! zone is made, and nobody but its maker sees the zone before.

use std::hash::Hasher;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use siphasher::sip::SipHasher13;

use crate::error::ZoneError;
use crate::identity;
use crate::map::Mapping;
use crate::words::{Word, load, store};

/// "revolve " and a byte for the order of bytes: another order reads another number.
const MAGIC: u64 = u64::from_ne_bytes(*b"revolve\x01");
/// Raised with every change of the layout of any kind.
pub(crate) const VERSION: u64 = 2;

pub(crate) const HEADER_WORDS: usize = 32;
/// Numbers that describe one kind, such as the count of its elements.
pub(crate) const FIELDS: usize = 6;

const AT_MAGIC: usize = 0;
const AT_VERSION: usize = 1;
const AT_KIND: usize = 2;
const AT_BYTES: usize = 3;
const AT_SCHEMA: usize = 4;
const AT_NAMESPACE: usize = 5;
const AT_HASH_KEYS: usize = 6;
const AT_FIELDS: usize = 8;
const AT_CHECKSUM: usize = HEADER_WORDS - 1;

/// Names are cut here: memfd_create(2) takes 249 bytes, of which we take some.
const NAME_BYTES_MAX: usize = 200;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Table = 1,
    Counters = 2,
    Array = 3,
}

#[derive(Debug)]
pub(crate) struct Zone {
    file: OwnedFd,
    mapping: Mapping,
}

impl Zone {
    /// Makes a zone with a body of zeros.
    pub(crate) fn create(
        name: &str,
        kind: Kind,
        schema: u64,
        fields: [u64; FIELDS],
        body_words: Option<usize>,
    ) -> Result<Self, ZoneError> {
        let bytes = body_words
            .and_then(|words| words.checked_add(HEADER_WORDS)?.checked_mul(8))
            .filter(|bytes| *bytes <= isize::MAX as usize)
            .ok_or(ZoneError::Options("larger than memory can be"))?;
        let file = memory_file(name)?;
        rustix::fs::ftruncate(&file, bytes as u64).map_err(system("ftruncate"))?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(system("fcntl"))?;
        let mapping = Mapping::new(file.as_fd(), bytes).map_err(mmap_failed)?;
        let zone = Self { file, mapping };
        zone.write_header(kind, schema, fields)?;
        Ok(zone)
    }

    fn write_header(
        &self,
        kind: Kind,
        schema: u64,
        fields: [u64; FIELDS],
    ) -> Result<(), ZoneError> {
        let header = self.header();
        store(&header[AT_MAGIC], MAGIC);
        store(&header[AT_VERSION], VERSION);
        store(&header[AT_KIND], kind as u64);
        store(&header[AT_BYTES], self.bytes() as u64);
        store(&header[AT_SCHEMA], schema);
        store(&header[AT_NAMESPACE], identity::pid_namespace());
        for word in &header[AT_HASH_KEYS..AT_FIELDS] {
            store(word, random()?);
        }
        for (word, field) in header[AT_FIELDS..].iter().zip(fields) {
            store(word, field);
        }
        store(&header[AT_CHECKSUM], checksum(header));
        Ok(())
    }

    /// Maps the zone behind `file`, if it is one of this kind, schema and version.
    pub(crate) fn open(file: OwnedFd, kind: Kind, schema: u64) -> Result<Self, ZoneError> {
        let stat = rustix::fs::fstat(&file).map_err(system("fstat"))?;
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| ZoneError::NotAZone)?;
        if !seals.contains(SealFlags::SHRINK | SealFlags::GROW) {
            return Err(ZoneError::Unsealed);
        }
        let bytes = usize::try_from(stat.st_size).map_err(|_| ZoneError::NotAZone)?;
        if bytes < HEADER_WORDS * 8 || !bytes.is_multiple_of(8) {
            return Err(ZoneError::NotAZone);
        }
        let mapping = Mapping::new(file.as_fd(), bytes).map_err(mmap_failed)?;
        let zone = Self { file, mapping };
        zone.check_header(kind, schema)?;
        Ok(zone)
    }

    fn check_header(&self, kind: Kind, schema: u64) -> Result<(), ZoneError> {
        let header = self.header();
        if load(&header[AT_MAGIC]) != MAGIC {
            return Err(ZoneError::NotAZone);
        }
        let found = load(&header[AT_VERSION]);
        if found != VERSION {
            let expected = VERSION;
            return Err(ZoneError::Version { found, expected });
        }
        if load(&header[AT_CHECKSUM]) != checksum(header) {
            return Err(ZoneError::Damaged);
        }
        same("kind", load(&header[AT_KIND]), kind as u64)?;
        same("size", load(&header[AT_BYTES]), self.bytes() as u64)?;
        same("schema", load(&header[AT_SCHEMA]), schema)?;
        let (found, expected) = (load(&header[AT_NAMESPACE]), identity::pid_namespace());
        if found != expected && found != 0 && expected != 0 {
            return Err(ZoneError::PidNamespace { found, expected });
        }
        Ok(())
    }

    fn header(&self) -> &[Word] {
        &self.mapping.words()[..HEADER_WORDS]
    }

    pub(crate) fn fields(&self) -> [u64; FIELDS] {
        std::array::from_fn(|at| load(&self.header()[AT_FIELDS + at]))
    }

    pub(crate) fn hash_keys(&self) -> (u64, u64) {
        let header = self.header();
        (load(&header[AT_HASH_KEYS]), load(&header[AT_HASH_KEYS + 1]))
    }

    /// What the kind keeps.
    #[inline]
    pub(crate) fn body(&self) -> &[Word] {
        &self.mapping.words()[HEADER_WORDS..]
    }

    pub(crate) fn bytes(&self) -> usize {
        self.mapping.words().len() * 8
    }

    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// An error if a number of the zone is not what is expected.
pub(crate) fn same(what: &'static str, found: u64, expected: u64) -> Result<(), ZoneError> {
    if found == expected {
        return Ok(());
    }
    Err(ZoneError::Layout {
        what,
        found,
        expected,
    })
}

fn memory_file(name: &str) -> Result<OwnedFd, ZoneError> {
    let kept: String = name
        .chars()
        .filter(|c| !c.is_control())
        .take(NAME_BYTES_MAX / 4)
        .collect();
    let name = format!("revolve:{kept}");
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 know no executable bit to take away.
    rustix::fs::memfd_create(&*name, flags | MemfdFlags::NOEXEC_SEAL)
        .or_else(|error| match error {
            Errno::INVAL => rustix::fs::memfd_create(&*name, flags),
            other => Err(other),
        })
        .map_err(system("memfd_create"))
}

fn random() -> Result<u64, ZoneError> {
    let mut bytes = [0; 8];
    let flags = rustix::rand::GetRandomFlags::empty();
    // Up to 256 bytes come whole once the kernel's generator is ready (getrandom(2)).
    rustix::rand::getrandom(&mut bytes[..], flags).map_err(system("getrandom"))?;
    Ok(u64::from_ne_bytes(bytes))
}

fn checksum(header: &[Word]) -> u64 {
    let mut hasher = SipHasher13::new();
    for word in &header[..AT_CHECKSUM] {
        hasher.write(&load(word).to_ne_bytes());
    }
    hasher.finish()
}

fn system(call: &'static str) -> impl Fn(Errno) -> ZoneError {
    move |errno| ZoneError::System {
        call,
        source: errno.into(),
    }
}

fn mmap_failed(source: io::Error) -> ZoneError {
    ZoneError::System {
        call: "mmap",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS_A: [u64; FIELDS] = [1, 2, 3, 4, 5, 6];

    fn zone() -> Zone {
        Zone::create("test", Kind::Array, 7, FIELDS_A, Some(64)).unwrap()
    }

    fn reopened(zone: &Zone) -> Result<Zone, ZoneError> {
        let file = zone.descriptor().try_clone_to_owned().unwrap();
        Zone::open(file, Kind::Array, 7)
    }

    #[test]
    fn what_is_made_can_be_opened_and_is_the_same_memory() {
        let zone = zone();
        let again = reopened(&zone).unwrap();
        assert_eq!(again.fields(), FIELDS_A);
        assert_eq!(again.hash_keys(), zone.hash_keys());
        assert_ne!(zone.hash_keys(), (0, 0));
        assert_eq!(zone.body().len(), 64);
        store(&zone.body()[63], 99);
        assert_eq!(load(&again.body()[63]), 99);
    }

    #[test]
    fn lines_begin_at_lines() {
        let zone = zone();
        assert_eq!(zone.body().as_ptr() as usize % 128, 0);
    }

    #[test]
    fn another_layout_is_refused_and_said() {
        let zone = zone();
        let file = || zone.descriptor().try_clone_to_owned().unwrap();
        let error = Zone::open(file(), Kind::Table, 7).unwrap_err();
        assert!(matches!(
            error,
            ZoneError::Layout {
                what: "kind",
                found: 3,
                expected: 1
            }
        ));
        let error = Zone::open(file(), Kind::Array, 8).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shared zone has another layout: schema is 7, expected 8"
        );
    }

    #[test]
    fn another_version_is_refused_before_its_checksum_is_looked_at() {
        let zone = zone();
        store(&zone.header()[AT_VERSION], VERSION + 1);
        let error = reopened(&zone).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the shared zone has layout version 3, this program has 2"
        );
    }

    #[test]
    fn every_word_of_the_header_counts() {
        for at in 0..HEADER_WORDS {
            let zone = zone();
            let was = load(&zone.header()[at]);
            store(&zone.header()[at], was ^ 1 << (at % 64));
            let error = reopened(&zone).unwrap_err();
            let expected = match at {
                AT_MAGIC => matches!(error, ZoneError::NotAZone),
                AT_VERSION => matches!(error, ZoneError::Version { .. }),
                _ => matches!(error, ZoneError::Damaged),
            };
            assert!(expected, "word {at}: {error}");
        }
    }

    #[test]
    fn another_pid_namespace_is_refused() {
        let zone = zone();
        let header = zone.header();
        store(&header[AT_NAMESPACE], identity::pid_namespace() + 1);
        store(&header[AT_CHECKSUM], checksum(header));
        assert!(matches!(
            reopened(&zone),
            Err(ZoneError::PidNamespace { .. })
        ));
        store(&header[AT_NAMESPACE], 0);
        store(&header[AT_CHECKSUM], checksum(header));
        assert!(reopened(&zone).is_ok());
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        let (pipe, _other) = rustix::pipe::pipe().unwrap();
        assert!(matches!(
            Zone::open(pipe, Kind::Array, 7),
            Err(ZoneError::NotAZone)
        ));
        let file = memory_file("bare").unwrap();
        rustix::fs::ftruncate(&file, 4096).unwrap();
        let again = file.try_clone().unwrap();
        assert!(matches!(
            Zone::open(again, Kind::Array, 7),
            Err(ZoneError::Unsealed)
        ));
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).unwrap();
        assert!(matches!(
            Zone::open(file, Kind::Array, 7),
            Err(ZoneError::NotAZone)
        ));
    }

    #[test]
    fn the_file_keeps_its_size() {
        let zone = zone();
        let size = zone.bytes() as u64;
        assert_eq!(
            rustix::fs::ftruncate(zone.descriptor(), size - 8),
            Err(Errno::PERM)
        );
        assert_eq!(
            rustix::fs::ftruncate(zone.descriptor(), size + 8),
            Err(Errno::PERM)
        );
    }

    #[test]
    fn too_large_is_an_error() {
        for words in [None, Some(usize::MAX), Some(usize::MAX / 8)] {
            let error = Zone::create("large", Kind::Array, 0, FIELDS_A, words).unwrap_err();
            assert!(matches!(error, ZoneError::Options(_)));
        }
        let error = Zone::create(
            "large",
            Kind::Array,
            0,
            FIELDS_A,
            Some(isize::MAX as usize / 16),
        );
        assert!(matches!(error.unwrap_err(), ZoneError::System { .. }));
    }

    #[test]
    fn any_name_will_do() {
        for name in ["", "a/b", "nul\0", &"long ".repeat(100), &"ä".repeat(300)] {
            assert!(Zone::create(name, Kind::Array, 0, FIELDS_A, Some(1)).is_ok());
        }
    }
}
