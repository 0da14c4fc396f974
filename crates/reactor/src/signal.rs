//! Signals as events of the loop.
//!
//! The handler sets a flag and writes a byte to a socket that the loop watches; everything else
//! happens in the loop.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::net::RecvFlags;
use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;

pub use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};

use crate::net::Readable;

/// The signals that one task waits for.
///
/// As the kernel does, several arrivals of one signal before it is looked at count as one.
pub struct Signals {
    watched: Vec<Watched>,
    arrivals: Readable,
}

struct Watched {
    signal: i32,
    arrived: Arc<AtomicBool>,
    handlers: [SigId; 2],
}

impl Signals {
    /// Catches these signals from now on, in place of their default action, until dropped (which
    /// does not bring the default action back). On a loop's thread.
    ///
    /// # Errors
    ///
    /// A signal that cannot be caught; no loop on this thread; no descriptors left.
    pub fn new(signals: &[i32]) -> io::Result<Signals> {
        let (receiver, sender) = UnixStream::pair()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        let arrivals = Readable::new(OwnedFd::from(receiver))?;
        let mut caught = Signals {
            watched: Vec::new(),
            arrivals,
        };
        for &signal in signals {
            if FORBIDDEN.contains(&signal) {
                let message = format!("signal {signal} cannot be caught");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            let arrived = Arc::new(AtomicBool::new(false));
            // Handlers run in the order of registration: the flag is set before the wake-up.
            let flag = signal_hook::flag::register(signal, Arc::clone(&arrived))?;
            let pipe = sender.try_clone().and_then(|sender| {
                signal_hook::low_level::pipe::register(signal, OwnedFd::from(sender))
            });
            match pipe {
                Ok(pipe) => caught.watched.push(Watched {
                    signal,
                    arrived,
                    handlers: [flag, pipe],
                }),
                Err(error) => {
                    signal_hook::low_level::unregister(flag);
                    return Err(error);
                }
            }
        }
        Ok(caught)
    }

    /// The next signal that arrived, in the order in which they were named to
    /// [`new`](Signals::new).
    pub async fn next(&mut self) -> i32 {
        loop {
            let arrived = self
                .watched
                .iter()
                .find(|watched| watched.arrived.swap(false, Ordering::AcqRel));
            if let Some(watched) = arrived {
                return watched.signal;
            }
            // The flags are looked at once more after the socket is seen to be empty, so that
            // none is missed.
            if self.drain() == 0 {
                // The socket cannot fail: its other ends are held by the handlers.
                let _ = self.arrivals.ready().await;
            }
        }
    }

    /// Takes the bytes of arrivals away, and says how many there were.
    fn drain(&self) -> usize {
        let mut bytes = [0; 64];
        let mut total = 0;
        loop {
            match rustix::net::recv(self.arrivals.as_fd(), &mut bytes, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return total,
                Ok((n, _)) => total += n,
                Err(Errno::INTR) => {}
                Err(_) => return total,
            }
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for watched in &self.watched {
            for handler in watched.handlers {
                signal_hook::low_level::unregister(handler);
            }
        }
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let signals: Vec<i32> = self.watched.iter().map(|watched| watched.signal).collect();
        f.debug_struct("Signals")
            .field("signals", &signals)
            .finish()
    }
}
