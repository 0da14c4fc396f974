//! The pid file: how `-s` and other tools find the master.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use revolve_conf::os_error_text;
use rustix::process::Pid;

/// Writes this process's id.
pub(crate) fn write(path: &Path) -> Result<(), String> {
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        let written = writeln!(file, "{}", std::process::id());
        if written.is_err() {
            // On a full disk: an empty file would be in the way of whoever looks for a master.
            let _ = std::fs::remove_file(path);
        }
        written
    };
    write().map_err(|error| failed("open", path, &error))
}

/// Whether the file could be written; it is left as it is, and not made.
pub(crate) fn check(path: &Path) -> Result<(), String> {
    let is_new = !path.exists();
    let opened = OpenOptions::new().append(true).create(true).open(path);
    opened.map_err(|error| failed("open", path, &error))?;
    match is_new.then(|| std::fs::remove_file(path)) {
        // Another test at the same time has removed it.
        Some(Err(error)) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("unlink", path, &error))
        }
        _ => Ok(()),
    }
}

/// Removes the file.
pub(crate) fn remove(path: &Path) -> Result<(), String> {
    std::fs::remove_file(path).map_err(|error| failed("unlink", path, &error))
}

/// What nginx adds to the name while a new binary is tried.
const OLD: &str = ".oldbin";

/// The name of an old master's pid file while a new binary has the first one.
pub(crate) fn old(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(OLD);
    name.into()
}

/// Gives the file another name. The error says `when` that was tried.
pub(crate) fn rename(from: &Path, to: &Path, when: &str) -> Result<(), String> {
    std::fs::rename(from, to).map_err(|error| {
        let (from, to) = (from.display(), to.display());
        let reason = os_error_text(&error);
        format!("rename() {from} to {to} failed {when} {reason}")
    })
}

/// The process id in the file, or nginx's words for what is wrong with it.
pub(crate) fn read(path: &Path) -> Result<Pid, String> {
    let bytes = std::fs::read(path).map_err(|error| failed("open", path, &error))?;
    let text = String::from_utf8_lossy(&bytes);
    let text = text.trim_end_matches(['\r', '\n']);
    let number = text.parse().ok().filter(|&number: &i32| number > 0);
    let invalid = || format!("invalid PID number \"{text}\" in \"{}\"", path.display());
    number.and_then(Pid::from_raw).ok_or_else(invalid)
}

fn failed(call: &str, path: &Path, error: &io::Error) -> String {
    format!(
        "{call}() \"{}\" failed {}",
        path.display(),
        os_error_text(error)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let missing = read(&path).unwrap_err();
        assert!(
            missing.ends_with("/pid\" failed (2: No such file or directory)"),
            "{missing}"
        );
        check(&path).unwrap();
        assert!(!path.exists());
        write(&path).unwrap();
        check(&path).unwrap();
        assert_eq!(
            read(&path).unwrap().as_raw_nonzero().get() as u32,
            std::process::id()
        );
        for wrong in ["", "\n", "x\n", "-5\n", "0\n", "12 13\n", "99999999999\n"] {
            std::fs::write(&path, wrong).unwrap();
            assert!(
                read(&path).unwrap_err().starts_with("invalid PID number"),
                "{wrong:?}"
            );
        }
        remove(&path).unwrap();
        assert!(remove(&path).unwrap_err().starts_with("unlink() \""));
        assert!(write(&folder.path().join("no/pid")).is_err());
    }
}
