//! A non-blocking connection that echoes: what all models but the blocking one have in common.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// Bytes that one receive takes at most, as in the reactor: 16 KiB do not fill it. One such space serves
/// all connections.
pub(crate) const SPACE_BYTES: usize = 16 * 1024 + 512;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wants {
    Recv,
    /// The peer has not taken what was sent: nothing is received before it has.
    Send,
}

pub(crate) struct Connection {
    stream: TcpStream,
    unsent: Vec<u8>,
    pub(crate) wants: Wants,
}

impl Connection {
    /// All connections that wait to be accepted from a non-blocking listener.
    pub(crate) fn accept(listener: &TcpListener) -> io::Result<Vec<Connection>> {
        let mut accepted = Vec::new();
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true)?;
                    accepted.push(Connection {
                        stream,
                        unsent: Vec::new(),
                        wants: Wants::Recv,
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(accepted),
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Echoes what there is. Returns when the socket is drained, which a receive that does not fill
    /// the space says (unless the peer has hung up: then the end is still to come), or when it
    /// takes no more.
    ///
    /// # Errors
    ///
    /// The connection has ended, well or not: it is to be closed.
    pub(crate) fn echo(&mut self, space: &mut [u8], hung_up: bool) -> io::Result<()> {
        loop {
            if !self.unsent.is_empty() {
                match self.stream.write(&self.unsent) {
                    Ok(sent) => drop(self.unsent.drain(..sent)),
                    Err(error) => return self.blocked(error, Wants::Send),
                }
                continue;
            }
            let received = match self.stream.read(space) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(received) => received,
                Err(error) => return self.blocked(error, Wants::Recv),
            };
            let sent = match self.stream.write(&space[..received]) {
                Ok(sent) => sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            self.unsent.extend_from_slice(&space[sent..received]);
            if sent == received && received < space.len() && !hung_up {
                self.wants = Wants::Recv;
                return Ok(());
            }
        }
    }

    fn blocked(&mut self, error: io::Error, wants: Wants) -> io::Result<()> {
        self.wants = wants;
        match error.kind() {
            ErrorKind::WouldBlock => Ok(()),
            _ => Err(error),
        }
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
