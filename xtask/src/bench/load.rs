//! The load of the echo benches: connections with one message in flight each, beside idle ones.

use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

const EVENTS_MAX: usize = 512;
/// How long a wait lasts at most: between two looks at the clock.
const WAIT_MS: i64 = 100;
/// Idle connections between two that make a round trip: below the backlog of every server.
const ROUND_TRIP_EACH: usize = 64;
const ACCEPTED_WITHIN: Duration = Duration::from_secs(20);
/// Connections to an echo server.
pub(super) struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<TcpStream>,
    message: Vec<u8>,
    space: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the present message that are sent, and that have come back.
    sent: usize,
    received: usize,
}

impl Load {
    /// Connects `active` connections that will send messages of `message_bytes`.
    ///
    /// # Errors
    ///
    /// A server that refuses, or descriptors that run out.
    pub(super) fn connect(
        server: SocketAddr,
        active: usize,
        message_bytes: usize,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut connections = Vec::new();
        for number in 0..active {
            let stream = TcpStream::connect(server)?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let flags = EventFlags::IN | EventFlags::OUT | EventFlags::ET;
            epoll::add(&epoll, &stream, EventData::new_u64(number as u64), flags)?;
            connections.push(Connection {
                stream,
                sent: 0,
                received: 0,
            });
        }
        let mut load = Self {
            epoll,
            connections,
            idle: Vec::new(),
            message: (0..message_bytes).map(|at| at as u8).collect(),
            space: vec![0; 64 * 1024],
        };
        for connection in &mut load.connections {
            connection.send(&load.message)?;
        }
        Ok(load)
    }

    /// Opens connections that send nothing until there are `idle` of them. Every few, one makes a
    /// round trip first: then all before it are accepted, and the listener's backlog never
    /// overflows, which would cost a second each time.
    ///
    /// # Errors
    ///
    /// As [`connect`](Load::connect).
    pub(super) fn idle(&mut self, server: SocketAddr, idle: usize) -> io::Result<()> {
        while self.idle.len() < idle {
            let mut stream = TcpStream::connect(server)?;
            if self.idle.len().is_multiple_of(ROUND_TRIP_EACH) {
                stream.set_read_timeout(Some(ACCEPTED_WITHIN))?;
                stream.write_all(b"?")?;
                stream.read_exact(&mut [0])?;
            }
            self.idle.push(stream);
        }
        Ok(())
    }

    /// Echoes for `length`: each answer that is whole is followed by the next message at once. Gives
    /// the messages that came back, and how long it took.
    ///
    /// # Errors
    ///
    /// A connection that ended, or brought back something else than was sent.
    pub(super) fn run(&mut self, length: Duration) -> io::Result<(u64, Duration)> {
        self.run_until(|_, took| took >= length)
    }

    /// As [`run`](Load::run), but for so many messages and a few more.
    ///
    /// # Errors
    ///
    /// As `run`; `TimedOut` when they take longer than `length_max`.
    pub(super) fn run_messages(
        &mut self,
        messages: u64,
        length_max: Duration,
    ) -> io::Result<(u64, Duration)> {
        let answered =
            self.run_until(|answered, took| answered >= messages || took >= length_max)?;
        if answered.0 < messages {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(answered)
    }

    fn run_until(&mut self, over: impl Fn(u64, Duration) -> bool) -> io::Result<(u64, Duration)> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: WAIT_MS * 1_000_000,
        };
        let (begin, mut messages) = (Instant::now(), 0);
        loop {
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&wait)) {
                Err(Errno::INTR) => continue,
                waited => waited?,
            };
            // Read once for all that is ready: what the load does itself is not to be measured.
            let now = Instant::now();
            for event in ready {
                let connection = &mut self.connections[event.data.u64() as usize];
                connection.send(&self.message)?;
                if connection.recv(&self.message, &mut self.space)? {
                    messages += 1;
                    connection.send(&self.message)?;
                }
            }
            if over(messages, now - begin) {
                return Ok((messages, now - begin));
            }
        }
    }
}

impl Connection {
    /// Sends what is left of the message, as far as it goes.
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        while self.sent < message.len() {
            match self.stream.write(&message[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives what there is; true if the message is back, and the next one may be sent.
    fn recv(&mut self, message: &[u8], space: &mut [u8]) -> io::Result<bool> {
        while self.received < message.len() {
            let received = match self.stream.read(space) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(received) => received,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            let expected = message.get(self.received..self.received + received);
            if expected != Some(&space[..received]) {
                return Err(io::Error::other("the echo differs from the message"));
            }
            self.received += received;
        }
        (self.sent, self.received) = (0, 0);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that says `answer` of what it is told.
    fn server(answer: fn(&mut [u8])) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut space = [0; 1000];
                    while let Ok(n @ 1..) = stream.read(&mut space) {
                        answer(&mut space[..n]);
                        stream.write_all(&space[..n]).unwrap();
                    }
                });
            }
        });
        address
    }

    #[test]
    fn messages_of_many_pieces_are_counted_once_each() {
        let address = server(|_| ());
        let mut load = Load::connect(address, 3, 100_000).unwrap();
        load.idle(address, 5).unwrap();
        let answered = load.run(Duration::from_millis(200)).unwrap();
        assert!(answered.0 >= 3 && answered.1 >= Duration::from_millis(200));
    }

    #[test]
    fn a_server_that_answers_something_else_is_found_out() {
        let address = server(|bytes| bytes.reverse());
        let mut load = Load::connect(address, 1, 64).unwrap();
        assert!(load.run(Duration::from_secs(5)).is_err());
    }
}
