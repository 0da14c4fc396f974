//! A temporary folder with what one server needs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// See the module. It is removed when it is dropped.
pub(crate) struct Folder {
    folder: TempDir,
}

impl Folder {
    /// A folder with an empty `html` and an empty `logs` in it, which every user may read: a
    /// server started by root serves as somebody else.
    pub(crate) fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("revolve-test-").tempdir();
        let folder = Self {
            folder: folder.expect("a temporary folder"),
        };
        folder.set_mode(".", 0o755);
        for name in ["html", "logs"] {
            folder.make(name);
        }
        folder
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The path of something in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Makes a folder.
    pub(crate) fn make(&self, name: &str) {
        fs::create_dir_all(self.file(name)).expect("a folder");
    }

    /// Writes a file, and makes the folders that it needs.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.file(name);
        fs::create_dir_all(path.parent().expect("inside of the folder")).expect("a folder");
        fs::write(path, content).expect("writing a file");
    }

    /// The text of a file; empty where there is none (yet).
    pub(crate) fn read(&self, name: &str) -> String {
        let bytes = fs::read(self.file(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The number of lines in a file that contain `words`.
    pub(crate) fn count(&self, name: &str, words: &str) -> usize {
        let text = self.read(name);
        text.lines().filter(|line| line.contains(words)).count()
    }

    /// Sets the mode of something in it.
    pub(crate) fn set_mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.file(name), fs::Permissions::from_mode(mode)).expect("chmod");
    }
}
