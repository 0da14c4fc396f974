//! The floor: the least that an HTTP server on epoll can do.
//!
//! It parses nothing. Whatever one `recv` brings counts as one request, and the answer is a
//! constant of the size that nginx would send. One thread, edge-triggered, one registration per
//! connection for its whole life. What Revolve takes more than this is what a web server costs.

use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with, sockopt,
};

/// Bytes of the answer's head when none are given: about what nginx sends for a static file.
pub(super) const HEAD_BYTES: usize = 240;
/// Events taken per turn.
const EVENTS_MAX: usize = 512;
/// The token of the listening socket; connections have their descriptors' numbers plus one.
const LISTENER: u64 = 0;

/// `xtask floor PORT BODY_BYTES [HEAD_BYTES]`: serves until it is ended.
///
/// # Errors
///
/// Arguments that are no numbers, a port in use, and errors of epoll itself.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let number = |at: usize| {
        arguments
            .get(at)
            .and_then(|word| word.parse::<usize>().ok())
    };
    let port = number(0).and_then(|port| u16::try_from(port).ok());
    let (Some(port), Some(body_bytes)) = (port, number(1)) else {
        return Err("usage: cargo xtask floor PORT BODY_BYTES [HEAD_BYTES]".into());
    };
    let response = response(body_bytes, number(2).unwrap_or(HEAD_BYTES));
    let mut floor = Floor::bind(port, response)
        .map_err(|error| format!("the floor cannot listen on 127.0.0.1:{port}: {error}"))?;
    loop {
        floor
            .turn()
            .map_err(|error| format!("the floor's epoll failed: {error}"))?;
    }
}

/// A response with a head of `head_bytes` (never less than a valid head takes) and `body_bytes`.
fn response(body_bytes: usize, head_bytes: usize) -> Vec<u8> {
    let mut head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {body_bytes}\r\n\
         Connection: keep-alive\r\n"
    );
    const NAME: &str = "X-Floor: ";
    let taken = head.len() + NAME.len() + "\r\n\r\n".len();
    if head_bytes > taken {
        head.push_str(NAME);
        head.push_str(&"x".repeat(head_bytes - taken));
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    let mut response = head.into_bytes();
    response.resize(response.len() + body_bytes, b'x');
    response
}

struct Connection {
    socket: OwnedFd,
    /// Responses that are owed, the one being sent included.
    owed: usize,
    /// Bytes of the first of them that are sent.
    sent: usize,
}

struct Floor {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By token.
    connections: Vec<Option<Connection>>,
    response: Vec<u8>,
    input: Vec<u8>,
}

impl Floor {
    fn bind(port: u16, response: Vec<u8>) -> Result<Self, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        listen(&listener, 511)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let events = EventFlags::IN | EventFlags::ET;
        epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), events)?;
        let input = vec![0; 16 * 1024];
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            response,
            input,
        })
    }

    fn turn(&mut self) -> Result<(), Errno> {
        let mut space = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
        let (events, _) = match epoll::wait(&self.epoll, &mut space, None) {
            Err(Errno::INTR) => return Ok(()),
            waited => waited?,
        };
        for event in events {
            let token = event.data.u64();
            if token == LISTENER {
                self.accept();
            } else if self.serve(token as usize, event.flags).is_err() {
                self.connections[token as usize] = None;
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        loop {
            let socket = match accept_with(&self.listener, flags) {
                Ok(socket) => socket,
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                Err(_) => return,
            };
            let token = socket.as_raw_fd() as usize + 1;
            let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            // A socket that cannot be registered is closed by being dropped.
            if epoll::add(
                &self.epoll,
                &socket,
                EventData::new_u64(token as u64),
                events,
            )
            .is_ok()
            {
                if self.connections.len() <= token {
                    self.connections.resize_with(token + 1, || None);
                }
                self.connections[token] = Some(Connection {
                    socket,
                    owed: 0,
                    sent: 0,
                });
            }
        }
    }

    /// Answers what has come; an error or the end of the stream asks for the socket to be closed.
    fn serve(&mut self, token: usize, events: EventFlags) -> Result<(), Errno> {
        let Some(Some(connection)) = self.connections.get_mut(token) else {
            return Ok(());
        };
        connection.flush(&self.response)?;
        if !events.intersects(EventFlags::IN | EventFlags::RDHUP | EventFlags::HUP) {
            return Ok(());
        }
        let hung_up = events.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        loop {
            let read = match recv(&connection.socket, &mut self.input[..], RecvFlags::empty()) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((read, _)) => read,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            };
            connection.owed += 1;
            connection.flush(&self.response)?;
            // Less than a full buffer, and nobody hung up: drained, with no call more to ask.
            if read < self.input.len() && !hung_up {
                return Ok(());
            }
        }
    }
}

impl Connection {
    fn flush(&mut self, response: &[u8]) -> Result<(), Errno> {
        while self.owed > 0 {
            match send(&self.socket, &response[self.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => self.sent += sent,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
            if self.sent == response.len() {
                self.sent = 0;
                self.owed -= 1;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Duration;

    use super::*;

    /// A floor on a free port, which answers `response` until the tests' process ends.
    fn spawn(response: Vec<u8>) -> SocketAddr {
        let mut floor = Floor::bind(0, response).unwrap();
        let address = rustix::net::getsockname(&floor.listener).unwrap();
        std::thread::spawn(move || {
            loop {
                floor.turn().unwrap();
            }
        });
        SocketAddr::try_from(address).unwrap()
    }

    #[test]
    fn the_response_has_the_size_asked_for() {
        let made = response(1024, HEAD_BYTES);
        assert_eq!(made.len(), HEAD_BYTES + 1024);
        let text = String::from_utf8(made).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains("Content-Length: 1024"));
        assert_eq!(body.len(), 1024);
    }

    #[test]
    fn every_request_of_a_kept_connection_is_answered_whole() {
        // Larger than the socket's buffers, so that the answer leaves in several sends.
        let expected = response(8 * 1024 * 1024, HEAD_BYTES);
        let mut stream = TcpStream::connect(spawn(expected.clone())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let mut answer = vec![0; expected.len()];
        for _ in 0..3 {
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            stream.read_exact(&mut answer).unwrap();
            assert!(answer == expected);
        }
    }
}
