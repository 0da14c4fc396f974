//! Socket options that `rustix` does not have.
#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What the kernel reports of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round-trip time, in microseconds (nginx `$tcpinfo_rtt`).
    pub rtt_us: u32,
    /// Its variance, in microseconds (`$tcpinfo_rttvar`).
    pub rttvar_us: u32,
    /// Congestion window, in segments (`$tcpinfo_snd_cwnd`).
    pub snd_cwnd: u32,
    /// Receive window that is advertised, in bytes (`$tcpinfo_rcv_space`).
    pub rcv_space: u32,
    /// Bytes received so far; `None` where the system does not count them (Linux does).
    pub received_bytes: Option<u64>,
    /// Bytes sent so far that the peer has acknowledged; `None` as above.
    pub acked_bytes: Option<u64>,
}

/// `TCP_INFO` of tcp(7); an error for a socket that is not TCP, or where there is no such option.
#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
pub(crate) fn tcp_info(_: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    Err(io::ErrorKind::Unsupported.into())
}

/// `TCP_INFO` of tcp(7); an error for a socket that is not TCP, or where there is no such option.
#[cfg(any(target_os = "linux", target_os = "freebsd"))]
pub(crate) fn tcp_info(fd: BorrowedFd<'_>) -> io::Result<TcpInfo> {
    let mut info = std::mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut len = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: `info` is valid for writes of `len` bytes, and the kernel writes no more.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the structure holds integers alone, for which zeroes are valid, and the kernel
    // overwrote a prefix of it.
    let info = unsafe { info.assume_init() };
    Ok(TcpInfo {
        rtt_us: info.tcpi_rtt,
        rttvar_us: info.tcpi_rttvar,
        snd_cwnd: info.tcpi_snd_cwnd,
        rcv_space: info.tcpi_rcv_space,
        received_bytes: byte_counts(&info).map(|(received, _)| received),
        acked_bytes: byte_counts(&info).map(|(_, acked)| acked),
    })
}

#[cfg(target_os = "linux")]
fn byte_counts(info: &libc::tcp_info) -> Option<(u64, u64)> {
    Some((info.tcpi_bytes_received, info.tcpi_bytes_acked))
}

#[cfg(target_os = "freebsd")]
fn byte_counts(_: &libc::tcp_info) -> Option<(u64, u64)> {
    None
}

/// `TCP_DEFER_ACCEPT` of tcp(7): a connection is accepted once it has sent something, or after
/// about so many seconds.
#[cfg(target_os = "linux")]
pub(crate) fn set_defer_accept(fd: BorrowedFd<'_>, seconds: i32) -> io::Result<()> {
    set_tcp(fd, libc::TCP_DEFER_ACCEPT, seconds)
}

/// Linux alone defers connections by a socket option.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set_defer_accept(_: BorrowedFd<'_>, _: i32) -> io::Result<()> {
    let message = "this system cannot defer the accepting of connections";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// `TCP_NOPUSH` of tcp(4): send full segments only.
#[cfg(not(target_os = "linux"))]
pub(crate) fn set_nopush(fd: BorrowedFd<'_>, on: bool) -> io::Result<()> {
    set_tcp(fd, libc::TCP_NOPUSH, on.into())
}

/// `TCP_FASTOPEN` of tcp(7): the length of the queue of connections that have not completed the
/// handshake.
pub(crate) fn set_fastopen(fd: BorrowedFd<'_>, queue_len: i32) -> io::Result<()> {
    set_tcp(fd, libc::TCP_FASTOPEN, queue_len)
}

fn set_tcp(fd: BorrowedFd<'_>, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    let value: *const libc::c_int = &value;
    // SAFETY: `value` points to `len` readable bytes for the time of the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, option, value.cast(), len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
