//! Files that are nobody's business: keys, passwords, and what belongs to them.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The content of a secret file. Printing it for people to debug shows how long it is, and no more.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Gives the secret files that directives name: from the disk, or out of a record of what was once read.
///
/// They are kept apart from the text of a configuration, so that nobody who prints that prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    pub(crate) known: BTreeMap<PathBuf, Secret>,
    reads: bool,
}

impl Secrets {
    /// Those on the disk, each read once.
    pub fn of_disk() -> Self {
        Secrets {
            reads: true,
            ..Secrets::default()
        }
    }

    /// Those of a record.
    pub(crate) fn recorded(known: BTreeMap<PathBuf, Secret>) -> Self {
        Secrets {
            known,
            reads: false,
        }
    }

    /// The whole content of a file.
    ///
    /// # Errors
    ///
    /// As reading a file; `NotFound` for one that is not in the record.
    pub fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(Secret(bytes)) = self.known.get(path) {
            return Ok(bytes.clone());
        }
        if !self.reads {
            return Err(io::ErrorKind::NotFound.into());
        }
        let bytes = std::fs::read(path)?;
        self.known.insert(path.to_owned(), Secret(bytes.clone()));
        Ok(bytes)
    }
}
