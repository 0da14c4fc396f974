//! Certificates whose names are made by variables: read when a handshake asks for them, and again where
//! their files have changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use revolve_tls::rustls::ServerConfig;
use revolve_tls::rustls::sign::CertifiedKey;

use super::recipe::Recipe;
use crate::config::variable::{Subject, Value};

/// What `ssl_certificate_cache` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CacheLimits {
    pub(crate) entries_max: usize,
    /// What was not asked for in this time is forgotten.
    pub(crate) inactive: Duration,
    /// For this time files are not looked at again.
    pub(crate) valid: Duration,
}

impl Default for CacheLimits {
    /// Files are looked at each time, and read where they have changed.
    fn default() -> Self {
        Self {
            entries_max: 256,
            inactive: Duration::from_secs(600),
            valid: Duration::ZERO,
        }
    }
}

/// The name of a file, or what would be in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedByVariable {
    pub(crate) value: Value,
    /// Where relative names lead from.
    pub(crate) folder: PathBuf,
}

/// What a name has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    File(PathBuf),
    Data(Vec<u8>),
}

impl NamedByVariable {
    fn source(&self, subject: &impl Subject) -> Source {
        use std::os::unix::ffi::OsStrExt;
        let text = self.value.evaluate(subject);
        match text.strip_prefix(b"data:") {
            Some(data) => Source::Data(data.to_vec()),
            None => Source::File(
                self.folder
                    .join(Path::new(std::ffi::OsStr::from_bytes(&text))),
            ),
        }
    }
}

/// By what a file is known not to have changed.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(metadata: &Metadata) -> Stamp {
    let it = metadata;
    (it.dev(), it.ino(), it.len(), it.mtime(), it.mtime_nsec())
}

impl Source {
    fn stamp(&self) -> Option<Stamp> {
        match self {
            Source::File(path) => std::fs::metadata(path).ok().map(|it| stamp(&it)),
            Source::Data(_) => Some(Stamp::default()),
        }
    }

    /// What nginx calls it.
    fn shown(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Data(_) => "data:...".to_owned(),
        }
    }

    fn read(&self, what: &str) -> Result<Vec<u8>, String> {
        match self {
            Source::Data(data) => Ok(data.clone()),
            Source::File(path) => std::fs::read(path).map_err(|error| {
                let (path, error) = (path.display(), revolve_conf::os_error_text(&error));
                format!("cannot load {what} \"{path}\": BIO_new_file() failed {error}")
            }),
        }
    }
}

/// A certificate and its key.
type Pair = (Source, Source);

fn load((certificate, key): &Pair, passwords: &[Vec<u8>]) -> Result<Arc<CertifiedKey>, String> {
    let chain = revolve_tls::certificates(&certificate.read("certificate")?);
    let chain = chain.map_err(|error| {
        let shown = certificate.shown();
        format!("cannot load certificate \"{shown}\": {error}")
    })?;
    let text = key.read("certificate key")?;
    let pair = revolve_tls::key_pair(chain, &text, passwords);
    pair.map(|pair| pair.certified).map_err(|error| {
        let shown = key.shown();
        format!("cannot load certificate key \"{shown}\": {error}")
    })
}

struct Entry<T> {
    pairs: Vec<Pair>,
    stamps: Vec<Option<Stamp>>,
    looked_at: Instant,
    used_at: Instant,
    made: T,
}

/// What was made of certificates, by their names; what was used last stands last.
pub(crate) struct Made<T> {
    limits: CacheLimits,
    entries: Mutex<Vec<Entry<T>>>,
}

fn stamps(pairs: &[Pair]) -> Vec<Option<Stamp>> {
    let all = pairs
        .iter()
        .flat_map(|(certificate, key)| [certificate, key]);
    all.map(Source::stamp).collect()
}

impl<T: Clone> Made<T> {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            entries: Mutex::default(),
        }
    }

    fn get(
        &self,
        pairs: Vec<Pair>,
        now: Instant,
        make: impl FnOnce(&[Pair]) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|it| now.saturating_duration_since(it.used_at) < self.limits.inactive);
        let mut fresh_stamps = None;
        if let Some(at) = entries.iter().position(|it| it.pairs == pairs) {
            let mut entry = entries.remove(at);
            let is_due = now.saturating_duration_since(entry.looked_at) >= self.limits.valid;
            if is_due {
                fresh_stamps = Some(stamps(&pairs));
                entry.looked_at = now;
            }
            if fresh_stamps
                .as_ref()
                .is_none_or(|fresh| *fresh == entry.stamps)
            {
                entry.used_at = now;
                let made = entry.made.clone();
                entries.push(entry);
                return Ok(made);
            }
        }
        // Before the files are read, so that a change meanwhile is seen the next time.
        let stamps = fresh_stamps.unwrap_or_else(|| stamps(&pairs));
        let made = make(&pairs)?;
        if entries.len() >= self.limits.entries_max {
            entries.remove(0);
        }
        entries.push(Entry {
            pairs,
            stamps,
            looked_at: now,
            used_at: now,
            made: made.clone(),
        });
        Ok(made)
    }
}

/// Certificates that each handshake names.
pub(crate) struct ByVariable {
    pairs: Vec<(NamedByVariable, NamedByVariable)>,
    passwords: Vec<Vec<u8>>,
    recipe: Recipe,
    made: Made<Arc<ServerConfig>>,
}

impl ByVariable {
    pub(super) fn new(
        pairs: Vec<(NamedByVariable, NamedByVariable)>,
        passwords: Vec<Vec<u8>>,
        recipe: Recipe,
        limits: CacheLimits,
    ) -> Self {
        Self {
            pairs,
            passwords,
            recipe,
            made: Made::new(limits),
        }
    }

    /// What a handshake is answered by.
    ///
    /// Errors: what the error log says.
    pub(crate) fn config(
        &self,
        subject: &impl Subject,
        now: Instant,
    ) -> Result<Arc<ServerConfig>, String> {
        let pairs = self.pairs.iter();
        let pairs =
            pairs.map(|(certificate, key)| (certificate.source(subject), key.source(subject)));
        self.made.get(pairs.collect(), now, |pairs| {
            let keys: Result<Vec<_>, String> = pairs
                .iter()
                .map(|pair| load(pair, &self.passwords))
                .collect();
            let built = self.recipe.build(keys?);
            built.map_err(|error| error.to_string())
        })
    }
}

impl std::fmt::Debug for ByVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByVariable")
            .field("pairs", &self.pairs)
            .finish_non_exhaustive()
    }
}

/// The key by which we show a server behind us who we are, where a request names it.
pub(crate) struct OwnKey<T> {
    pair: (NamedByVariable, NamedByVariable),
    passwords: Vec<Vec<u8>>,
    made: Made<T>,
}

impl<T: Clone> OwnKey<T> {
    pub(super) fn new(
        pair: (NamedByVariable, NamedByVariable),
        passwords: Vec<Vec<u8>>,
        limits: CacheLimits,
    ) -> Self {
        Self {
            pair,
            passwords,
            made: Made::new(limits),
        }
    }

    /// What `make` makes of the key that a request names, or has made of it.
    ///
    /// Errors: what the error log says.
    pub(super) fn of(
        &self,
        subject: &impl Subject,
        now: Instant,
        make: impl FnOnce(Option<Arc<CertifiedKey>>) -> Result<T, String>,
    ) -> Result<T, String> {
        let (certificate, key) = &self.pair;
        let pair = (certificate.source(subject), key.source(subject));
        self.made.get(vec![pair], now, |pairs| {
            let pair = &pairs[0];
            // nginx shows nothing where the name is empty.
            let is_none = certificate.value.evaluate(subject).is_empty();
            match is_none {
                true => make(None),
                false => make(Some(load(pair, &self.passwords)?)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_is_made_again_when_a_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "1").unwrap();
        let limits = CacheLimits {
            entries_max: 2,
            ..CacheLimits::default()
        };
        let made = Made::new(limits);
        let pair = |name: &str| {
            let file = Source::File(folder.path().join(name));
            vec![(file.clone(), file)]
        };
        let now = Instant::now();
        let get = |name: &str, fresh: u32| made.get(pair(name), now, |_| Ok(fresh)).unwrap();
        assert_eq!(get("a", 1), 1);
        assert_eq!(get("a", 2), 1);
        std::fs::write(&path, "22").unwrap();
        assert_eq!(get("a", 3), 3);
        assert_eq!((get("b", 4), get("c", 5)), (4, 5));
        assert_eq!(get("a", 6), 6, "there is room for two");
        let late = now + Duration::from_secs(600);
        assert_eq!(made.get(pair("a"), late, |_| Ok(7)), Ok(7));
        assert!(made.get(pair("d"), late, |_| Err("no".into())).is_err());
        assert_eq!(made.get(pair("d"), late, |_| Ok(8)), Ok(8));
    }
}
