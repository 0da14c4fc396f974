//! Thousands of client connections held by this program.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, connect, recv, send,
    socket_with, sockopt, sockopt::Timeout,
};

/// Connections from one source address: well below the 28,000 ports that Linux deals out.
const PER_ADDRESS_MAX: usize = 10_000;
/// Descriptors that a process needs besides its connections.
pub(super) const SPARE_FILES: usize = 300;

/// Bytes of an answer's head, at most.
const HEAD_BYTES_MAX: usize = 4096;
/// How long a server may say nothing that is waited for.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The request for a path.
pub(super) fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// One blocking client connection.
pub(super) struct Client {
    socket: OwnedFd,
}

impl Client {
    /// Connects the client numbered `number`, which decides its source address: 127.0.0.1 for the
    /// first thousands, then 127.0.0.2, and so on.
    pub(super) fn connect(server: SocketAddr, number: usize) -> io::Result<Self> {
        let IpAddr::V4(ip) = server.ip() else {
            return Err(Errno::AFNOSUPPORT.into());
        };
        let flags = SocketFlags::CLOEXEC;
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        let host = u8::try_from(1 + number / PER_ADDRESS_MAX).unwrap_or(u8::MAX);
        if host > 1 {
            bind(
                &socket,
                &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0),
            )?;
        }
        sockopt::set_tcp_nodelay(&socket, true)?;
        sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(SILENCE_MAX))?;
        connect(&socket, &SocketAddrV4::new(ip, server.port()))?;
        Ok(Self { socket })
    }

    pub(super) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < bytes.len() {
            sent += send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL)?;
        }
        Ok(())
    }

    /// Reads one whole answer of `bytes` bytes.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> io::Result<()> {
        let mut filled = 0;
        while filled < buffer.len() {
            let (read, _) = recv(&self.socket, &mut buffer[filled..], RecvFlags::empty())?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            filled += read;
        }
        Ok(())
    }

    /// Asks for `path` and reads the answer to the end of its body, which it gives.
    ///
    /// # Errors
    ///
    /// The server closed the connection or answered something else than 200.
    pub(super) fn ask(&self, path: &str) -> io::Result<Vec<u8>> {
        self.send(request(path).as_bytes())?;
        let head = self.read_head()?;
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("content-length: "));
        let length = length.and_then(|length| length.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        self.receive(&mut body)?;
        if head.starts_with("HTTP/1.1 200 ") {
            return Ok(body);
        }
        Err(io::Error::other(format!(
            "the answer is {}",
            head.lines().next().unwrap_or_default()
        )))
    }

    /// Reads an answer's head, and not a byte more: its status line as it is, the names of its lines in
    /// lower case.
    pub(super) fn read_head(&self) -> io::Result<String> {
        let mut head = Vec::with_capacity(512);
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            self.receive(&mut byte)?;
            head.extend_from_slice(&byte);
            if head.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("the answer's head has no end"));
            }
        }
        let head = String::from_utf8_lossy(&head);
        let lines = head.lines().map(|line| match line.split_once(": ") {
            Some((name, value)) => format!("{}: {value}\n", name.to_ascii_lowercase()),
            None => format!("{line}\n"),
        });
        Ok(lines.collect())
    }
}

/// Connects `numbers`, and says which could not.
pub(super) fn connect_all(
    server: SocketAddr,
    numbers: std::ops::Range<usize>,
) -> Result<Vec<Client>, String> {
    let connect = |number| {
        Client::connect(server, number)
            .map_err(|error| format!("client {number} cannot connect to {server}: {error}"))
    };
    numbers.map(connect).collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn clients_come_from_several_addresses_and_see_what_the_server_does() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let near = Client::connect(address, 0).unwrap();
        let (mut server, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 1));
        let far = Client::connect(address, PER_ADDRESS_MAX).unwrap();
        let (other, peer) = listener.accept().unwrap();
        assert_eq!(peer.ip(), Ipv4Addr::new(127, 0, 0, 2));

        near.send(b"ask").unwrap();
        let mut asked = [0; 3];
        server.read_exact(&mut asked).unwrap();
        server.write_all(b"answer").unwrap();
        let mut answer = [0; 6];
        near.receive(&mut answer).unwrap();
        assert_eq!(&answer, b"answer");
        drop(other);
        assert!(far.receive(&mut answer).is_err());
    }
}
