//! A lock between processes that survives its holder's death.
//!
//! A lock is two words of a zone: its owner's identity, and a futex on which others sleep.
//!
//! **Why not a robust pthread mutex.** Its layout belongs to the C library: a zone that outlives an
//! upgrade may be mapped by a program that was linked with another one. It needs unsafe code for
//! each call, and the kernel's list of held mutexes, which is per thread and breaks when a mapping
//! goes away under it. Here the layout is ours, taking a free lock is one compare-and-swap, and who
//! waits looks after the owner by itself. The price: death is noticed by looking, about a
//! millisecond late.

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::futex;
use rustix::time::Timespec;

use crate::identity;
use crate::map::futex_of;
use crate::words::Word;

/// Tries before a waiter sleeps. A hold is some tens of nanoseconds, a sleep some thousands.
const SPINS: u32 = 100;
/// The first sleep; each further one is twice as long, up to the longest. After each the owner's
/// life is looked into.
const SLEEP_FIRST: Duration = Duration::from_millis(1);
const SLEEP_MAX: Duration = Duration::from_millis(16);

#[derive(Clone, Copy)]
pub(crate) struct Lock<'a> {
    owner: &'a Word,
    /// 1 if somebody may sleep.
    sleepers: &'a AtomicU32,
}

/// A lock that is held, until dropped.
pub(crate) struct Held<'a> {
    lock: Lock<'a>,
    /// Whether the last owner died with it: what it guards must be repaired first.
    pub(crate) from_dead: bool,
}

impl<'a> Lock<'a> {
    pub(crate) fn new(owner: &'a Word, sleepers: &'a Word) -> Self {
        let sleepers = futex_of(sleepers);
        Self { owner, sleepers }
    }

    /// Takes the lock, or says how long it has waited in vain.
    #[inline]
    pub(crate) fn acquire(self, wait_max: Duration) -> Result<Held<'a>, Duration> {
        if self.take(0) {
            return Ok(self.held(false));
        }
        self.acquire_slow(wait_max)
    }

    #[cold]
    fn acquire_slow(self, wait_max: Duration) -> Result<Held<'a>, Duration> {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.owner.load(Ordering::Relaxed) == 0 && self.take(0) {
                return Ok(self.held(false));
            }
        }
        let began = Instant::now();
        let mut sleep = SLEEP_FIRST;
        loop {
            // Said before trying again, as an owner lets go before it looks: one of us sees the
            // other.
            self.sleepers.store(1, Ordering::SeqCst);
            let owner = self.owner.load(Ordering::SeqCst);
            if owner == 0 && self.take(0) {
                return Ok(self.held(false));
            }
            let waited = began.elapsed();
            let Some(left) = wait_max.checked_sub(waited).filter(|left| !left.is_zero()) else {
                return self.take_from_dead(owner).ok_or(waited);
            };
            if owner == 0 {
                continue;
            }
            self.sleep(sleep.min(left));
            sleep = SLEEP_MAX.min(sleep * 2);
            if self.owner.load(Ordering::Relaxed) == owner
                && let Some(held) = self.take_from_dead(owner)
            {
                return Ok(held);
            }
        }
    }

    fn take_from_dead(self, owner: u64) -> Option<Held<'a>> {
        (owner != 0 && !identity::is_alive(owner) && self.take(owner)).then(|| self.held(true))
    }

    #[inline]
    fn take(self, from: u64) -> bool {
        self.owner
            .compare_exchange(from, identity::own(), Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    fn held(self, from_dead: bool) -> Held<'a> {
        Held {
            lock: self,
            from_dead,
        }
    }

    fn sleep(self, time: Duration) {
        let timeout = Timespec {
            tv_sec: time.as_secs() as i64,
            tv_nsec: time.subsec_nanos().into(),
        };
        // Woken, timed out, interrupted, or no longer 1: the caller looks again in any case.
        match futex::wait(self.sleepers, futex::Flags::empty(), 1, Some(&timeout)) {
            Ok(()) | Err(rustix::io::Errno::TIMEDOUT | rustix::io::Errno::AGAIN) => {}
            Err(rustix::io::Errno::INTR) => {}
            // A sandbox may refuse futexes on shared memory; then time alone wakes us.
            Err(_) => thread::sleep(time),
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        #[cfg(test)]
        if crate::words::crash::is_dead() {
            return;
        }
        self.lock.owner.store(0, Ordering::SeqCst);
        if self.lock.sleepers.load(Ordering::SeqCst) != 0 {
            // Who wakes says again that somebody may sleep, so those behind it are not forgotten.
            // It fails for addresses that are no memory alone.
            self.lock.sleepers.store(0, Ordering::SeqCst);
            let _ = futex::wake(self.lock.sleepers, futex::Flags::empty(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_millis(40);

    #[test]
    fn a_held_lock_is_waited_for_no_longer_than_asked() {
        let (owner, sleepers) = (Word::new(0), Word::new(0));
        let lock = Lock::new(&owner, &sleepers);
        let held = lock.acquire(WAIT).unwrap();
        assert!(!held.from_dead);
        let began = Instant::now();
        let waited = lock.acquire(WAIT).err().unwrap();
        assert!(waited >= WAIT && began.elapsed() < WAIT * 25, "{waited:?}");
        assert!(lock.acquire(Duration::ZERO).is_err());
        drop(held);
        assert!(!lock.acquire(Duration::ZERO).unwrap().from_dead);
    }

    #[test]
    fn a_dead_owners_lock_is_taken_and_said_to_be() {
        let (owner, sleepers) = (Word::new(identity::tests::dead()), Word::new(0));
        let lock = Lock::new(&owner, &sleepers);
        assert!(lock.acquire(WAIT).unwrap().from_dead);
        owner.store(identity::tests::dead(), Ordering::SeqCst);
        assert!(lock.acquire(Duration::ZERO).unwrap().from_dead);
        assert!(!lock.acquire(WAIT).unwrap().from_dead);
    }

    #[test]
    fn threads_exclude_each_other() {
        let (owner, sleepers, count) = (Word::new(0), Word::new(0), Word::new(0));
        let lock = Lock::new(&owner, &sleepers);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        let _held = lock.acquire(Duration::from_secs(60)).unwrap();
                        // Two steps on purpose: the lock makes one of them.
                        count.store(count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(count.load(Ordering::Relaxed), 80_000);
    }
}
