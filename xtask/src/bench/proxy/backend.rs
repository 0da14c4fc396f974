//! The bare upstream that every proxy of the bench stands before.
//!
//! One thread on epoll. It reads just enough of HTTP to know where a request ends, and answers out of
//! memory: what it costs is the same whoever asks.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, accept_with, bind, listen, recv,
    send, socket_with, sockopt,
};

use crate::bench::process::{self, LOAD_CPU};

/// Its port of 127.0.0.1.
pub(in crate::bench) const PORT: u16 = 18290;
/// Events taken per turn.
const EVENTS_MAX: usize = 512;
/// The token of the listening socket; connections have their descriptors' numbers plus one.
const LISTENER: u64 = 0;
/// A head that is longer has no end.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const START_MAX: Duration = Duration::from_secs(10);

/// The upstream as a process of its own, on the load's CPU; ended when dropped.
pub(super) struct Backend(Child);

impl Backend {
    pub(super) fn start() -> Result<Self, String> {
        let own = std::env::current_exe();
        let own = own.map_err(|error| format!("this program's own path is not known: {error}"))?;
        let mut command = Command::new(own);
        command
            .args(["backend", &PORT.to_string()])
            .stdin(Stdio::null());
        let child = process::on_cpu(LOAD_CPU, || command.spawn())?;
        let backend = Self(child.map_err(|error| format!("the upstream does not start: {error}"))?);
        let until = Instant::now() + START_MAX;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).is_err() {
            if Instant::now() > until {
                return Err(format!("the upstream does not listen on port {PORT}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(backend)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `xtask backend PORT`: serves until it is ended.
///
/// # Errors
///
/// An argument that is no number, a port in use, and errors of epoll itself.
pub(crate) fn main(arguments: &[String]) -> Result<(), String> {
    let port = arguments.first().and_then(|word| word.parse().ok());
    let port = port.ok_or("usage: cargo xtask backend PORT")?;
    let say = |error: io::Error| format!("the upstream on 127.0.0.1:{port}: {error}");
    // Each client and each proxy has a connection of its own here.
    let _ = process::raise_open_files(40_000);
    let mut serving = Serving::bind(port).map_err(|error| say(error.into()))?;
    loop {
        serving.turn().map_err(|error| say(error.into()))?;
    }
}

/// What is answered, whole.
struct Answers {
    kib: Vec<u8>,
    mib: Vec<u8>,
    taken: Vec<u8>,
    /// To the key of RFC 6455's example, which the bench's clients send.
    switched: Vec<u8>,
}

impl Answers {
    fn new() -> Self {
        Self {
            kib: answer(&[b'x'; 1 << 10]),
            mib: answer(&vec![b'x'; 1 << 20]),
            taken: answer(b"ok"),
            switched: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
                        Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
                .to_vec(),
        }
    }
}

fn answer(body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: bare\r\nDate: Tue, 01 Dec 2026 12:00:00 GMT\r\n\
         Content-Type: text/html\r\nContent-Length: {length}\r\n\
         Last-Modified: Tue, 01 Dec 2026 11:00:00 GMT\r\nETag: \"5f-1\"\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// Where a connection is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Now {
    Head,
    /// So many bytes of a body are to come.
    Body(usize),
    /// The answer is being sent.
    Sending(usize),
    /// It is another protocol's.
    Switched,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Kib,
    Mib,
    Taken,
    Switched,
}

struct Connection {
    socket: OwnedFd,
    head: Vec<u8>,
    now: Now,
    which: Which,
    closes: bool,
}

struct Serving {
    epoll: OwnedFd,
    listener: OwnedFd,
    /// By token.
    connections: Vec<Option<Connection>>,
    answers: Answers,
    input: Vec<u8>,
}

impl Serving {
    fn bind(port: u16) -> Result<Self, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
        sockopt::set_socket_reuseaddr(&listener, true)?;
        bind(&listener, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port))?;
        listen(&listener, 4096)?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            listener,
            connections: Vec::new(),
            answers: Answers::new(),
            input: vec![0; 256 * 1024],
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
                continue;
            }
            let Some(Some(connection)) = self.connections.get_mut(token as usize) else {
                continue;
            };
            if connection.serve(&self.answers, &mut self.input).is_err() {
                self.connections[token as usize] = None;
            }
        }
        Ok(())
    }

    fn accept(&mut self) {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        while let Ok(socket) = accept_with(&self.listener, flags) {
            let token = socket.as_raw_fd() as usize + 1;
            let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
            let data = EventData::new_u64(token as u64);
            if epoll::add(&self.epoll, &socket, data, events).is_err() {
                continue;
            }
            if self.connections.len() <= token {
                self.connections.resize_with(token + 1, || None);
            }
            self.connections[token] = Some(Connection {
                socket,
                head: Vec::new(),
                now: Now::Head,
                which: Which::Kib,
                closes: false,
            });
        }
    }
}

impl Connection {
    /// Goes on as far as the socket allows; an error asks for it to be closed.
    fn serve(&mut self, answers: &Answers, input: &mut [u8]) -> Result<(), Errno> {
        loop {
            self.flush(answers)?;
            if matches!(self.now, Now::Sending(_)) {
                return Ok(());
            }
            match recv(&self.socket, &mut *input, RecvFlags::empty()) {
                Ok((0, _)) => return Err(Errno::PIPE),
                Ok((read, _)) => self.take(&input[..read])?,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        match self.now {
            Now::Switched => {}
            Now::Body(left) => self.take_body(left, bytes.len()),
            Now::Head => {
                self.head.extend_from_slice(bytes);
                let end = self.head.windows(4).position(|it| it == b"\r\n\r\n");
                let Some(end) = end.map(|at| at + 4) else {
                    return match self.head.len() > HEAD_BYTES_MAX {
                        true => Err(Errno::MSGSIZE),
                        false => Ok(()),
                    };
                };
                let length = self.read_head(end)?;
                let got = self.head.len() - end;
                self.head.clear();
                self.take_body(length, got);
            }
            Now::Sending(_) => return Err(Errno::PROTO),
        }
        Ok(())
    }

    fn take_body(&mut self, left: usize, got: usize) {
        self.now = match left.saturating_sub(got) {
            0 => Now::Sending(0),
            left => Now::Body(left),
        };
    }

    /// The length of the body behind this head.
    fn read_head(&mut self, end: usize) -> Result<usize, Errno> {
        let text = String::from_utf8_lossy(&self.head[..end]).to_ascii_lowercase();
        let value = |name: &str| {
            let mut lines = text.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
        };
        if value("transfer-encoding:").is_some() {
            return Err(Errno::PROTO);
        }
        let line = text.lines().next().unwrap_or_default();
        self.which = match () {
            () if value("upgrade:").is_some() => Which::Switched,
            () if line.starts_with("post ") => Which::Taken,
            () if line.contains(" /1m") => Which::Mib,
            () => Which::Kib,
        };
        self.closes =
            line.ends_with("http/1.0") || value("connection:").is_some_and(|it| it == "close");
        Ok(value("content-length:")
            .and_then(|it| it.parse().ok())
            .unwrap_or(0))
    }

    fn flush(&mut self, answers: &Answers) -> Result<(), Errno> {
        let Now::Sending(mut sent) = self.now else {
            return Ok(());
        };
        let answer = match self.which {
            Which::Kib => &answers.kib,
            Which::Mib => &answers.mib,
            Which::Taken => &answers.taken,
            Which::Switched => &answers.switched,
        };
        while sent < answer.len() {
            match send(&self.socket, &answer[sent..], SendFlags::NOSIGNAL) {
                Ok(more) => sent += more,
                Err(Errno::AGAIN) => {
                    self.now = Now::Sending(sent);
                    return Ok(());
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        if self.closes {
            return Err(Errno::PIPE);
        }
        self.now = match self.which {
            Which::Switched => Now::Switched,
            _ => Now::Head,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn requests_are_answered_one_after_the_other_and_another_protocol_stays() {
        let mut serving = Serving::bind(0).unwrap();
        let address = rustix::net::getsockname(&serving.listener).unwrap();
        let address = SocketAddr::try_from(address).unwrap();
        std::thread::spawn(move || while serving.turn().is_ok() {});
        let mut stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let answers = Answers::new();
        let mut ask = |request: &[u8], expected: &[u8]| {
            stream.write_all(request).unwrap();
            let mut got = vec![0; expected.len()];
            stream.read_exact(&mut got).unwrap();
            assert!(got == expected, "{}", String::from_utf8_lossy(request));
        };
        ask(b"GET /1k HTTP/1.1\r\nHost: x\r\n\r\n", &answers.kib);
        ask(b"GET /1m HTTP/1.1\r\nHost: x\r\n\r\n", &answers.mib);
        ask(
            b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            &answers.taken,
        );
        ask(
            b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n",
            &answers.switched,
        );
        stream.write_all(b"anything").unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        assert!(
            stream.read(&mut [0; 8]).is_err(),
            "nothing comes, and it stays open"
        );
    }
}
