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
/// The one that has no number.
const GREEDY: u64 = u64::MAX;
/// What a greedy connection sends at once.
const GREEDY_BYTES: usize = 64 * 1024;
/// Round trips that are noted of one measurement at most.
const NOTED_MAX: usize = 4_000_000;

/// Connections to an echo server.
pub(super) struct Load {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    idle: Vec<TcpStream>,
    greedy: Option<Greedy>,
    message: Vec<u8>,
    space: Vec<u8>,
}

/// A connection that always has more to send. It takes the answers, so that the server goes on with
/// it, and does not look at them.
struct Greedy {
    stream: TcpStream,
    bytes: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// Bytes of the present message that are sent, and that have come back.
    sent: usize,
    received: usize,
    /// When it was begun, if that was in the present measurement.
    begun: Option<Instant>,
}

/// What a measurement found.
pub(super) struct Answered {
    pub(super) messages: u64,
    pub(super) length: Duration,
    /// Round trips in microseconds.
    pub(super) taken_us: Vec<f64>,
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
                begun: None,
            });
        }
        let mut load = Self {
            epoll,
            connections,
            idle: Vec::new(),
            greedy: None,
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

    /// Opens a connection that sends without end and as fast as the server takes it, until
    /// [`calm`](Load::calm).
    ///
    /// # Errors
    ///
    /// As [`connect`](Load::connect).
    pub(super) fn greed(&mut self, server: SocketAddr) -> io::Result<()> {
        let stream = TcpStream::connect(server)?;
        stream.set_nonblocking(true)?;
        // Level-triggered: there is always something to do for it.
        let flags = EventFlags::IN | EventFlags::OUT;
        epoll::add(&self.epoll, &stream, EventData::new_u64(GREEDY), flags)?;
        let bytes = vec![0; GREEDY_BYTES];
        self.greedy = Some(Greedy { stream, bytes });
        Ok(())
    }

    /// Closes that connection.
    pub(super) fn calm(&mut self) {
        self.greedy = None;
    }

    /// Echoes for `length`: each answer that is whole is followed by the next message at once.
    ///
    /// # Errors
    ///
    /// A connection that ended, or brought back something else than was sent.
    pub(super) fn run(&mut self, length: Duration) -> io::Result<Answered> {
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
    ) -> io::Result<Answered> {
        let answered =
            self.run_until(|answered, took| answered >= messages || took >= length_max)?;
        if answered.messages < messages {
            return Err(ErrorKind::TimedOut.into());
        }
        Ok(answered)
    }

    fn run_until(&mut self, over: impl Fn(u64, Duration) -> bool) -> io::Result<Answered> {
        let mut events = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_MAX];
        let wait = Timespec {
            tv_sec: 0,
            tv_nsec: WAIT_MS * 1_000_000,
        };
        let (begin, mut messages, mut taken_us) = (Instant::now(), 0, Vec::new());
        // What is in flight has waited since the last measurement: it counts, its time does not.
        self.connections.iter_mut().for_each(|one| one.begun = None);
        loop {
            let (ready, _) = match epoll::wait(&self.epoll, &mut events, Some(&wait)) {
                Err(Errno::INTR) => continue,
                waited => waited?,
            };
            // Read once for all that is ready: what the load does itself is not to be measured.
            let now = Instant::now();
            for event in ready {
                if event.data.u64() == GREEDY {
                    if let Some(greedy) = &mut self.greedy {
                        greedy.go_on(&mut self.space)?;
                    }
                    continue;
                }
                let connection = &mut self.connections[event.data.u64() as usize];
                connection.send(&self.message)?;
                if connection.recv(&self.message, &mut self.space)? {
                    messages += 1;
                    if let Some(begun) = connection.begun.replace(now)
                        && taken_us.len() < NOTED_MAX
                    {
                        taken_us.push((now - begun).as_secs_f64() * 1e6);
                    }
                    connection.send(&self.message)?;
                }
            }
            if over(messages, now - begin) {
                return Ok(Answered {
                    messages,
                    length: now - begin,
                    taken_us,
                });
            }
        }
    }
}

impl Greedy {
    /// One send and one receive, so that the load has time for its other connections.
    fn go_on(&mut self, space: &mut [u8]) -> io::Result<()> {
        let blocked = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => Ok(1),
            _ => Err(error),
        };
        let _sent = self.stream.write(&self.bytes).or_else(blocked)?;
        match self.stream.read(space).or_else(blocked)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
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
        assert!(answered.messages >= 3);
        // The first of each connection was in flight before.
        assert_eq!(answered.messages, answered.taken_us.len() as u64 + 3);
        assert!(answered.length >= Duration::from_millis(200));
    }

    #[test]
    fn a_greedy_connection_goes_on_beside_the_others() {
        let address = server(|_| ());
        let mut load = Load::connect(address, 2, 64).unwrap();
        load.greed(address).unwrap();
        let answered = load.run_messages(100, Duration::from_secs(20)).unwrap();
        assert!(answered.messages >= 100);
        load.calm();
        load.run_messages(100, Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn a_server_that_answers_something_else_is_found_out() {
        let address = server(|bytes| bytes.reverse());
        let mut load = Load::connect(address, 1, 64).unwrap();
        assert!(load.run(Duration::from_secs(5)).is_err());
    }
}
