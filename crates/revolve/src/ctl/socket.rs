//! The control socket's file.

use std::fs::Permissions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use revolve_conf::os_error_text;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Clients that may wait to be accepted.
const BACKLOG: i32 = 16;

/// A control socket's file. It goes when this is dropped, unless another server's lies there.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// Listens at `path`, for this user alone.
///
/// A socket that lies there, of a server that died or of one that this one replaces, makes way in
/// one step: at no moment is there none.
pub(crate) fn listen(path: &Path) -> Result<(SocketFile, OwnedFd), String> {
    let failed = |error: io::Error| {
        let (shown, reason) = (path.display(), os_error_text(&error));
        format!(
            "the control socket \"{shown}\" could not be opened {reason}, \"revolve ctl\" will not reach this server"
        )
    };
    if path
        .symlink_metadata()
        .is_ok_and(|it| !it.file_type().is_socket())
    {
        return Err(failed(io::ErrorKind::AlreadyExists.into()));
    }
    bind(path).map_err(failed)
}

fn bind(path: &Path) -> io::Result<(SocketFile, OwnedFd)> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let temporary = PathBuf::from(name);
    // Left by a process of this number that died between two steps.
    let _ = std::fs::remove_file(&temporary);
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(&temporary)?)?;
    let published = publish(&socket, &temporary, path);
    if published.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    Ok((published?, socket))
}

/// Nobody can connect before `listen`, so that the mode holds from the first client on.
fn publish(socket: &OwnedFd, temporary: &Path, path: &Path) -> io::Result<SocketFile> {
    std::fs::set_permissions(temporary, Permissions::from_mode(0o600))?;
    rustix::net::listen(socket, BACKLOG)?;
    let inode = inode(temporary)?;
    std::fs::rename(temporary, path)?;
    Ok(SocketFile {
        path: path.to_owned(),
        inode,
    })
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = path.symlink_metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}

impl SocketFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|there| there == self.inode) {
            // It may go between the look and this; then there is nothing to do.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_later_server_has_the_path_and_the_earlier_leaves_it_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ctl");
        let (first, first_fd) = listen(&path).unwrap();
        let mode = path.symlink_metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (second, second_fd) = listen(&path).unwrap();
        drop((first, first_fd));
        UnixStream::connect(&path).unwrap();
        drop(second_fd);
        // The second dies without cleaning up: its file stays, and makes way for a third.
        std::mem::forget(second);
        assert!(UnixStream::connect(&path).is_err());
        let (third, _third_fd) = listen(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(third);
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_in_the_way_stays_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ctl");
        std::fs::write(&path, "precious").unwrap();
        let error = listen(&path).unwrap_err();
        assert!(error.contains("/x.ctl\" could not be opened"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        let long = folder.path().join("x".repeat(120));
        assert!(listen(&long).unwrap_err().contains("could not be opened"));
        assert!(listen(&folder.path().join("no/x.ctl")).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
