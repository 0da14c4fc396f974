//! Socket options that streams and listeners share.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::net::sockopt;

/// Keepalive probes of TCP (tcp(7)). What is `None` keeps the system's setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Whether to probe.
    pub enabled: bool,
    /// Time without traffic before the first probe (`TCP_KEEPIDLE`, in seconds).
    pub idle: Option<Duration>,
    /// Time between probes (`TCP_KEEPINTVL`, in seconds).
    pub interval: Option<Duration>,
    /// Probes without an answer before the connection is dropped (`TCP_KEEPCNT`).
    pub count: Option<u32>,
}

pub(crate) fn set_keepalive(fd: BorrowedFd<'_>, keepalive: &Keepalive) -> io::Result<()> {
    sockopt::set_socket_keepalive(fd, keepalive.enabled)?;
    if let Some(idle) = keepalive.idle {
        sockopt::set_tcp_keepidle(fd, idle)?;
    }
    if let Some(interval) = keepalive.interval {
        sockopt::set_tcp_keepintvl(fd, interval)?;
    }
    if let Some(count) = keepalive.count {
        sockopt::set_tcp_keepcnt(fd, count)?;
    }
    Ok(())
}
