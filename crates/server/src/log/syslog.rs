//! Logs that go to a syslog server, a datagram a line.
//!
//! Source: RFC 3164, as nginx's `ngx_syslog.c` writes it.

use std::io::{self, ErrorKind, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use revolve_reactor::Address;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType,
};

use super::level::Level;
use crate::clock::Clock;

/// How long a server that cannot be reached is left alone.
const CONNECT_PAUSE: Duration = Duration::from_secs(1);

/// The facilities of RFC 3164 (4.1.1) in their order, by the names that nginx gives them.
pub(crate) const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "intern", "lpr", "news", "uucp", "clock", "authpriv",
    "ftp", "ntp", "audit", "alert", "cron", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
];

/// The facility where none is named: `local7`.
pub(crate) const FACILITY: u8 = 23;

/// A syslog server, and how lines are presented to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyslogServer {
    /// Its address: UDP, or a Unix datagram socket.
    pub address: Address,
    /// The facility's number. Default: 23, `local7`.
    pub facility: u8,
    /// The severity of lines that have none of their own, as those of access logs. Default: info.
    pub severity: Level,
    /// The name before each line. Default: `nginx`, as filters expect it.
    pub tag: String,
    /// Whether lines say the machine's name. Default: yes.
    pub names_host: bool,
}

impl SyslogServer {
    /// Appends what stands before a line: `<190>Nov 22 11:00:00 host nginx: `.
    pub(crate) fn append_header(&self, clock: &Clock, level: Option<Level>, out: &mut Vec<u8>) {
        let severity = level.unwrap_or(self.severity);
        let priority = u16::from(self.facility) * 8 + severity as u16;
        let _ = write!(out, "<{priority}>");
        clock.syslog_time(out);
        if self.names_host {
            out.push(b' ');
            out.extend_from_slice(clock.host_name());
        }
        let _ = write!(out, " {}: ", self.tag);
    }
}

/// The socket to a server. It is made when the first line is sent, with the rights of whoever
/// sends it, and made anew when the server was.
#[derive(Debug)]
pub(crate) struct SyslogSocket {
    address: Address,
    socket: Option<OwnedFd>,
    failed_at: Option<(Instant, ErrorKind, Option<i32>)>,
    call: &'static str,
    lost: u64,
}

impl SyslogSocket {
    /// A socket that is not connected yet.
    pub(crate) fn new(address: Address) -> Self {
        Self {
            address,
            socket: None,
            failed_at: None,
            call: "send()",
            lost: 0,
        }
    }

    /// The system call that failed last.
    pub(crate) fn call(&self) -> &'static str {
        self.call
    }

    /// How many datagrams did not arrive although they were sent, as was heard since this was
    /// asked last.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Sends a datagram.
    ///
    /// Errors: `WouldBlock` if the server takes none now, those of connect(2) and send(2).
    pub(crate) fn send(&mut self, datagram: &[u8]) -> io::Result<usize> {
        let was_connected = self.socket.is_some();
        match self.try_send(datagram) {
            Err(error) if was_connected && is_gone(&error) => {
                // UDP tells of an earlier datagram that nobody listens (udp(7)). A Unix server
                // that has started again has another socket by the same name.
                self.lost += u64::from(!self.address.is_unix());
                self.try_send(datagram)
            }
            result => result,
        }
    }

    fn try_send(&mut self, datagram: &[u8]) -> io::Result<usize> {
        if self.socket.is_none() {
            self.call = "connect()";
            self.socket = Some(self.connect()?);
        }
        self.call = "send()";
        let Some(socket) = &self.socket else {
            return Err(ErrorKind::NotConnected.into());
        };
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(socket, datagram, flags) {
            Ok(sent_bytes) => Ok(sent_bytes),
            Err(error) => {
                let error = match io::Error::from(error) {
                    // The interface's queue is full, which is no different.
                    error if error.raw_os_error() == Some(NO_BUFFERS) => {
                        ErrorKind::WouldBlock.into()
                    }
                    error => error,
                };
                // That a datagram is too long is no fault of the socket, and a UDP socket that was
                // told of the fate of an earlier datagram is good for the next.
                let stays = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
                    || error.raw_os_error() == Some(MESSAGE_TOO_LONG)
                    || !self.address.is_unix();
                if !stays {
                    self.socket = None;
                }
                Err(error)
            }
        }
    }

    fn connect(&mut self) -> io::Result<OwnedFd> {
        if let Some((at, kind, code)) = self.failed_at
            && at.elapsed() < CONNECT_PAUSE
        {
            return Err(code.map_or_else(|| kind.into(), io::Error::from_raw_os_error));
        }
        let connected = connect(&self.address);
        self.failed_at = match &connected {
            Ok(_) => None,
            Err(error) => Some((Instant::now(), error.kind(), error.raw_os_error())),
        };
        connected
    }
}

const NO_BUFFERS: i32 = rustix::io::Errno::NOBUFS.raw_os_error();
const MESSAGE_TOO_LONG: i32 = rustix::io::Errno::MSGSIZE.raw_os_error();

/// Whether the server's socket was closed.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::NotConnected
    )
}

fn connect(address: &Address) -> io::Result<OwnedFd> {
    let (family, address) = match address {
        Address::Inet(inet) if inet.is_ipv4() => (AddressFamily::INET, SocketAddrAny::from(*inet)),
        Address::Inet(inet) => (AddressFamily::INET6, SocketAddrAny::from(*inet)),
        Address::Unix(path) => {
            let path: &Path = path;
            (
                AddressFamily::UNIX,
                SocketAddrAny::from(SocketAddrUnix::new(path)?),
            )
        }
    };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn the_header_of_a_line() {
        let clock = Clock::without_loop();
        let mut server = SyslogServer {
            address: Address::Unix("/dev/log".into()),
            facility: FACILITY,
            severity: Level::Info,
            tag: "nginx".into(),
            names_host: false,
        };
        let mut out = Vec::new();
        server.append_header(&clock, None, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("<190>"), "{text}");
        assert!(text.ends_with(" nginx: "), "{text}");
        assert_eq!(text.len(), "<190>Nov  1 11:00:00 nginx: ".len());
        server.names_host = true;
        let mut out = Vec::new();
        server.append_header(&clock, Some(Level::Emerg), &mut out);
        let text = String::from_utf8(out).unwrap();
        let host = String::from_utf8(clock.host_name().to_vec()).unwrap();
        assert!(text.starts_with("<184>"), "{text}");
        assert!(text.ends_with(&format!(" {host} nginx: ")), "{text}");
    }

    #[test]
    fn a_server_that_starts_again_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let server = UnixDatagram::bind(&path).unwrap();
        let mut socket = SyslogSocket::new(Address::Unix(path.clone()));
        assert_eq!(socket.send(b"one").unwrap(), 3);
        drop(server);
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        assert_eq!(socket.send(b"two").unwrap(), 3);
        let mut bytes = [0; 9];
        assert_eq!(server.recv(&mut bytes).unwrap(), 3);
        assert_eq!(&bytes[..3], b"two");
    }

    #[test]
    fn a_server_that_is_not_there_is_an_error_and_one_that_is_full_would_block() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut socket = SyslogSocket::new(Address::Unix(path.clone()));
        for _ in 0..3 {
            let error = socket.send(b"x").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!(socket.call(), "connect()");
        }
        let _server = UnixDatagram::bind(&path).unwrap();
        let mut socket = SyslogSocket::new(Address::Unix(path));
        let error = loop {
            if let Err(error) = socket.send(b"x") {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_udp_port_where_nobody_listens_costs_an_error_and_no_more() {
        let address = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut socket = SyslogSocket::new(Address::Inet(address));
        for _ in 0..100 {
            assert_eq!(socket.send(b"x").unwrap(), 1);
        }
        assert!((90..=100).contains(&socket.take_lost()));
        let server = UdpSocket::bind(address).unwrap();
        assert_eq!(socket.send(b"yy").unwrap(), 2);
        let mut bytes = [0; 9];
        server.recv(&mut bytes).unwrap();
    }
}
