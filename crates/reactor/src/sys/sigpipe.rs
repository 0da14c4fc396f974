//! No `SIGPIPE` of the loop's own doing.
//!
//! send(2) can be told not to raise it; sendfile(2) and splice(2) cannot, and a peer that has reset its
//! connection would end a process that has left that signal at its default. So the loop's thread blocks
//! the signal as long as it has a loop. Programs that `std::process::Command` starts begin with an
//! empty mask as ever.
#![cfg_attr(target_os = "linux", allow(unsafe_code))]

#[cfg(target_os = "linux")]
pub(crate) use linux::Blocked;

#[cfg(target_os = "linux")]
mod linux {
    use std::marker::PhantomData;
    use std::mem::zeroed;
    use std::ptr::null_mut;

    use libc::{SIG_BLOCK, SIG_UNBLOCK, SIGPIPE, sigset_t};

    /// The signal is blocked on this thread until this is dropped.
    #[derive(Debug)]
    pub(crate) struct Blocked {
        was_blocked: bool,
        was_pending: bool,
        local: PhantomData<*const ()>,
    }

    fn only_sigpipe() -> sigset_t {
        // SAFETY: a set of integers, which sigemptyset writes as well.
        unsafe {
            let mut set: sigset_t = zeroed();
            libc::sigemptyset(&raw mut set);
            libc::sigaddset(&raw mut set, SIGPIPE);
            set
        }
    }

    impl Blocked {
        /// Blocks it. What these calls can fail with is a set or a number that does not exist.
        pub(crate) fn here() -> Blocked {
            let set = only_sigpipe();
            // SAFETY: the sets are valid and live across the calls; the masks are this thread's.
            unsafe {
                let (mut before, mut pending): (sigset_t, sigset_t) = (zeroed(), zeroed());
                libc::pthread_sigmask(SIG_BLOCK, &raw const set, &raw mut before);
                libc::sigpending(&raw mut pending);
                Blocked {
                    was_blocked: libc::sigismember(&raw const before, SIGPIPE) == 1,
                    was_pending: libc::sigismember(&raw const pending, SIGPIPE) == 1,
                    local: PhantomData,
                }
            }
        }
    }

    impl Drop for Blocked {
        /// What the loop has raised meanwhile is taken before the mask is what it was.
        fn drop(&mut self) {
            let set = only_sigpipe();
            // SAFETY: as above; a timeout of zero does not wait.
            unsafe {
                if !self.was_pending {
                    let at_once: libc::timespec = zeroed();
                    libc::sigtimedwait(&raw const set, null_mut(), &raw const at_once);
                }
                if !self.was_blocked {
                    libc::pthread_sigmask(SIG_UNBLOCK, &raw const set, null_mut());
                }
            }
        }
    }
}

/// Sockets have `SO_NOSIGPIPE` elsewhere, and files are sent through memory.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(crate) struct Blocked;

#[cfg(not(target_os = "linux"))]
impl Blocked {
    pub(crate) fn here() -> Blocked {
        Blocked
    }
}
