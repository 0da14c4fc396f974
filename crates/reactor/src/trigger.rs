//! How a descriptor that is registered for readiness alone is told of.

/// When a [`Registration`](crate::Registration) is told that its descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// When it becomes ready, once (`EPOLLET`): what was there before and was not taken is not told
    /// again. So read, or write, until `WouldBlock` before asking again. With epoll, io_uring and the
    /// portable driver.
    Edge,
    /// In each turn in which it is ready and somebody asks. On every driver.
    Level,
    /// Once (`EPOLLONESHOT`), and not again before
    /// [`Registration::arm`](crate::Registration::arm). On every driver.
    OneShot,
    /// As [`Level`](Trigger::Level), but of several loops or processes that wait for the same thing one
    /// or some are told, not all (`EPOLLEXCLUSIVE`). With epoll and io_uring.
    Exclusive,
}

/// Which sides of a descriptor are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    /// Whether there is something to read.
    Read,
    /// Whether there is room to write.
    Write,
    /// Both.
    Both,
}

impl Interest {
    /// True if reading is asked about.
    pub fn reads(self) -> bool {
        self != Interest::Write
    }

    /// True if writing is asked about.
    pub fn writes(self) -> bool {
        self != Interest::Read
    }
}
