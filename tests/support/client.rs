//! A raw client: it sends any bytes, and reads what comes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::wait::PATIENCE;

/// How a connection ended.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The server closed it.
    Closed,
    /// The server reset it.
    Reset,
    /// It did not end while we looked.
    Open,
}

/// A response, read by its framing.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// The status line and the header lines, with the empty line at the end.
    pub(crate) head: String,
    /// The body, without chunk sizes.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header, by its lower-case name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| {
            let found = line.split(':').next().unwrap_or_default();
            found.eq_ignore_ascii_case(name)
        };
        let line = self.head.lines().skip(1).find(named)?;
        line.split_once(": ").map(|(_, value)| value)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    /// Connects to a port of the loopback address.
    #[track_caller]
    pub(crate) fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
        Client::over(stream)
    }

    /// A connection that is there already.
    pub(crate) fn over(stream: TcpStream) -> Client {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        Client {
            stream,
            unread: Vec::new(),
        }
    }

    /// Sends all of these bytes.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).expect("the server takes the bytes");
    }

    /// Sends all of these bytes, if the server still takes them.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Says that no more is sent.
    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("shutdown");
    }

    /// Sends a GET on a connection that stays, and reads the response.
    #[track_caller]
    pub(crate) fn get(&mut self, path: &str) -> Response {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        self.response()
    }

    /// Reads the response to anything but HEAD.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("a response")
    }

    /// Reads the response to anything but HEAD; an error where the connection ends before it does.
    pub(crate) fn try_response(&mut self) -> io::Result<Response> {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        let mut response = Response {
            status: status.ok_or_else(|| io::Error::other(format!("no response: {head}")))?,
            head,
            body: Vec::new(),
        };
        response.body = self.body(&response)?;
        Ok(response)
    }

    /// Reads a head that no body follows.
    #[track_caller]
    pub(crate) fn read_head(&mut self) -> Response {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().expect("a head");
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).into_owned();
        let status = head.get(9..12).and_then(|code| code.parse().ok());
        Response {
            status: status.expect("a status"),
            head,
            body: Vec::new(),
        }
    }

    /// Reads a head, and leaves the body for later.
    #[track_caller]
    pub(crate) fn head(&mut self, status: &str) {
        let end = loop {
            if let Some(at) = find(&self.unread, b"\r\n\r\n") {
                break at + 4;
            }
            self.more().expect("a head");
        };
        let head: Vec<u8> = self.unread.drain(..end).collect();
        let head = String::from_utf8_lossy(&head);
        assert_eq!(head.get(9..9 + status.len()), Some(status), "{head}");
    }

    fn body(&mut self, response: &Response) -> io::Result<Vec<u8>> {
        if response.status < 200 || [204, 304].contains(&response.status) {
            return Ok(Vec::new());
        }
        if response.header("transfer-encoding") == Some("chunked") {
            return self.chunks();
        }
        let length = response.header("content-length").map(str::parse::<usize>);
        match length {
            Some(Ok(length)) => self.take(length),
            Some(Err(error)) => Err(io::Error::other(error)),
            None => {
                while self.more().is_ok() {}
                Ok(std::mem::take(&mut self.unread))
            }
        }
    }

    fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(at) = find(&self.unread, b"\r\n") {
                    break at + 2;
                }
                self.more()?;
            };
            let line = self.take(end)?;
            let text = String::from_utf8_lossy(&line);
            let size = usize::from_str_radix(text.trim_end(), 16).map_err(io::Error::other)?;
            let chunk = self.take(size + 2)?;
            body.extend_from_slice(&chunk[..size]);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    /// Reads so many bytes.
    pub(crate) fn take(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.more()?;
        }
        Ok(self.unread.drain(..count).collect())
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        // A read with a timeout ends early where a stopped machine goes on.
        let count = loop {
            match self.stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        match count {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.unread.extend_from_slice(&buffer[..count]);
                Ok(())
            }
        }
    }

    /// Reads until the server ends the connection, or nothing has come for `quiet`.
    pub(crate) fn rest(&mut self, quiet: Duration) -> (Vec<u8>, End) {
        self.stream
            .set_read_timeout(Some(quiet))
            .expect("a timeout");
        let end = loop {
            match self.more() {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::UnexpectedEof => break End::Closed,
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => break End::Open,
                    _ => break End::Reset,
                },
            }
        };
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout");
        (std::mem::take(&mut self.unread), end)
    }

    /// Waits for the server to end the connection without another byte, and says how long that
    /// took.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> Duration {
        let start = Instant::now();
        let (bytes, end) = self.rest(PATIENCE);
        assert_ne!(end, End::Open, "the server does not close");
        assert_eq!(
            String::from_utf8_lossy(&bytes),
            "",
            "the server closes in silence"
        );
        start.elapsed()
    }
}

/// One GET on a connection of its own.
#[track_caller]
pub(crate) fn get(port: u16, path: &str) -> Response {
    let mut client = Client::connect(port);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    client.response()
}

/// Where `needle` begins in `bytes`.
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
