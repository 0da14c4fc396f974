//! What the pollers have in common that can only tell levels, or that run on many systems.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::FileType;
use rustix::io::Errno;

use crate::channel::Kind;
use crate::sys::Wake;
use crate::trigger::Trigger;

/// A descriptor that another thread makes readable to end a wait: an eventfd on Linux, a pipe
/// elsewhere.
pub(crate) struct Alarm {
    reader: OwnedFd,
    bell: Arc<Bell>,
}

struct Bell(OwnedFd);

/// What poll(2) and select(2) can tell: levels, and a level once.
pub(crate) const TRIGGERS: [Trigger; 2] = [Trigger::Level, Trigger::OneShot];

impl Alarm {
    #[cfg(target_os = "linux")]
    pub(crate) fn new() -> io::Result<Alarm> {
        use rustix::event::{EventfdFlags, eventfd};
        let reader = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let bell = Arc::new(Bell(reader.try_clone()?));
        Ok(Alarm { reader, bell })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new() -> io::Result<Alarm> {
        let (reader, writer) = std::io::pipe()?;
        let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
        rustix::io::ioctl_fionbio(&reader, true)?;
        rustix::io::ioctl_fionbio(&writer, true)?;
        let bell = Arc::new(Bell(writer));
        Ok(Alarm { reader, bell })
    }

    pub(crate) fn wake_handle(&self) -> Arc<dyn Wake> {
        Arc::<Bell>::clone(&self.bell)
    }

    /// Makes it silent again.
    pub(crate) fn quiet(&self) {
        let mut bytes = [0; 64];
        while matches!(
            rustix::io::read(&self.reader, &mut bytes),
            Ok(64..) | Err(Errno::INTR)
        ) {}
    }
}

impl AsFd for Alarm {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

impl Wake for Bell {
    fn wake(&self) {
        // One that is full rings already, and nothing else can fail.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }
}

/// Refuses what would be ready for ever, as `epoll_ctl(2)` does.
///
/// # Errors
///
/// `EPERM` for a regular file or a folder.
pub(crate) fn check_pollable(fd: BorrowedFd<'_>, kind: Kind) -> io::Result<()> {
    if kind.is_anything() {
        let stat = rustix::fs::fstat(fd)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        if matches!(file_type, FileType::RegularFile | FileType::Directory) {
            return Err(Errno::PERM.into());
        }
    }
    Ok(())
}
