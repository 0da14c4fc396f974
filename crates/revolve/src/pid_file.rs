//! The pid file: how `-s` and other tools find the master.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use revolve_conf::os_error_text;
use rustix::process::Pid;

use crate::{paths, process};

/// Writes this process's id, where [`claim`] finds nobody.
pub(crate) fn write(path: &Path) -> Result<(), String> {
    claim(path)?;
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

/// Whether this process may write the file: nobody lives whose it is. The error says whose it is, and
/// what to do.
pub(crate) fn claim(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let us = rustix::process::getpid();
    if let Some(master) = process::of_control_socket(path).filter(|&it| it != us) {
        return Err(format!(
            "already running (pid {master}): it answers beside \"{shown}\""
        ));
    }
    if let Some(pid) = holder(path).filter(|&pid| process::is_master(pid)) {
        return Err(format!("already running (pid {pid}): \"{shown}\" names it"));
    }
    foreign(path).map_or(Ok(()), Err)
}

/// What is to be said where the file is that of a living process which is none of ours.
pub(crate) fn foreign(path: &Path) -> Option<String> {
    let pid = holder(path).filter(|&pid| !process::is_master(pid))?;
    let (shown, process) = (path.display(), process::shown(pid));
    let other = paths::PID;
    Some(format!(
        "\"{shown}\" is the pid file of process {process}, which is no Revolve, and is left as it \
         is: name another one, such as \"pid {other};\", at the top of the configuration"
    ))
}

/// The living process that the file names and that may have written it; `None` if that is this one.
///
/// A process that began after the file was written has the number by chance.
fn holder(path: &Path) -> Option<Pid> {
    let pid = read(path).ok()?;
    (pid != rustix::process::getpid() && process::is_alive(pid) && !is_older(path, pid))
        .then_some(pid)
}

/// Whether the file is older than the process.
fn is_older(path: &Path, pid: Pid) -> bool {
    let written = std::fs::metadata(path).and_then(|it| it.modified());
    written.is_ok_and(|written| process::began_after(pid, written))
}

/// The master that a pid file and the control socket beside it stand for. Without either, the error
/// is that of the file.
pub(crate) fn master(path: &Path) -> Result<Pid, String> {
    if let Some(master) = process::of_control_socket(path) {
        return Ok(master);
    }
    let shown = path.display();
    let pid = match read(path) {
        Ok(pid) => pid,
        Err(error) => return Err(with_old_master(path, error)),
    };
    if !process::is_alive(pid) {
        // Whoever signals it is told so by the kernel.
        return Ok(pid);
    }
    if !process::is_master(pid) {
        return Err(format!(
            "\"{shown}\" names process {}, which is no master process of Revolve: it gets no \
             signal",
            process::shown(pid)
        ));
    }
    if is_older(path, pid) {
        return Err(format!(
            "\"{shown}\" names process {}, which began after that was written and is another \
             server's: it gets no signal",
            process::shown(pid)
        ));
    }
    Ok(pid)
}

/// An error that no master was found, with the one that makes way for a new binary, if there is.
pub(crate) fn with_old_master(path: &Path, error: String) -> String {
    let old = old(path);
    let named = || read(&old).ok().filter(|&it| process::is_master(it));
    match process::of_control_socket(&old).or_else(named) {
        Some(master) => format!(
            "{error}: a new binary is being tried and does not serve yet, the old master process \
             is {master} (\"{}\")",
            old.display()
        ),
        None => error,
    }
}

/// Removes the file, if it names this process.
pub(crate) fn remove(path: &Path) -> Result<(), String> {
    not_ours(path).map_or(Ok(()), Err)?;
    std::fs::remove_file(path).map_err(|error| failed("unlink", path, &error))
}

/// What is to be said where the file that was ours names another process by now.
fn not_ours(path: &Path) -> Option<String> {
    let pid = read(path)
        .ok()
        .filter(|&it| it != rustix::process::getpid())?;
    Some(format!(
        "\"{}\" names process {} by now, and is left as it is",
        path.display(),
        process::shown(pid)
    ))
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
    not_ours(from).map_or(Ok(()), Err)?;
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
