//! A server behind the server under test, whose answers a test writes byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use super::wait::PATIENCE;

/// A connection that the server under test has made.
pub(crate) struct Asked {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Asked {
    /// Reads until the empty line behind a head, and gives that head.
    #[track_caller]
    pub(crate) fn head(&mut self) -> String {
        self.try_head().expect("the request ended within its head")
    }

    /// The same; nothing where the other side closes before.
    pub(crate) fn try_head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = super::client::find(&self.bytes, b"\r\n\r\n") {
                let rest = self.bytes.split_off(end + 4);
                let head = std::mem::replace(&mut self.bytes, rest);
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// Reads so many bytes of a body.
    #[track_caller]
    pub(crate) fn body(&mut self, len: usize) -> Vec<u8> {
        let body = self.try_body(len);
        body.expect("the request ended within its body")
    }

    /// The same; nothing where the other side closes before.
    pub(crate) fn try_body(&mut self, len: usize) -> Option<Vec<u8>> {
        while self.bytes.len() < len {
            if !self.more() {
                return None;
            }
        }
        let rest = self.bytes.split_off(len);
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    /// What has come, once anything has; nothing at the end.
    pub(crate) fn any(&mut self) -> Option<Vec<u8>> {
        while self.bytes.is_empty() {
            if !self.more() {
                return None;
            }
        }
        Some(std::mem::take(&mut self.bytes))
    }

    /// The connection itself, of which nothing was read.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Breaks the connection off, without an end.
    pub(crate) fn reset(self) {
        let at_once = Some(Duration::ZERO);
        rustix::net::sockopt::set_socket_linger(&self.stream, at_once).expect("a socket");
    }

    /// Where the connection comes from.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.stream.peer_addr().expect("a connected socket")
    }

    /// Answers with these bytes.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have closed, which a test may want.
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Waits until the other side closes; what it sends before is dropped.
    pub(crate) fn wait_closed(&mut self) {
        while self.more() {}
    }

    fn more(&mut self) -> bool {
        let mut memory = [0; 16 * 1024];
        match self.stream.read(&mut memory) {
            Ok(0) | Err(_) => false,
            Ok(read) => {
                self.bytes.extend_from_slice(&memory[..read]);
                true
            }
        }
    }
}

/// A listening socket on a port of its own.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    heads: Receiver<String>,
}

impl Upstream {
    /// Serves each connection by `serve`, in a thread of its own. What `serve` gives back is kept for
    /// [`Upstream::seen`].
    pub(crate) fn start(
        serve: impl Fn(Asked, &Sender<String>) + Send + Sync + Clone + 'static,
    ) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        let (sender, heads) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = stream.set_read_timeout(Some(PATIENCE));
                let (serve, sender) = (serve.clone(), sender.clone());
                let bytes = Vec::new();
                thread::spawn(move || serve(Asked { stream, bytes }, &sender));
            }
        });
        Upstream { address, heads }
    }

    /// Answers each request of a connection with the same bytes.
    pub(crate) fn answering(answer: impl Into<Vec<u8>>) -> Upstream {
        let answer = answer.into();
        Upstream::start(move |mut asked, seen| {
            loop {
                while super::client::find(&asked.bytes, b"\r\n\r\n").is_none() {
                    if !asked.more() {
                        return;
                    }
                }
                let _ = seen.send(asked.head());
                asked.say(&answer);
            }
        })
    }

    /// Switches to another protocol, and says back what it hears, four bytes at a time.
    pub(crate) fn switching() -> Upstream {
        Upstream::start(|mut asked, _| {
            if asked.try_head().is_none() {
                return;
            }
            asked.say(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
            );
            while let Some(said) = asked.try_body(4) {
                asked.say(said);
            }
        })
    }

    /// The next head, or whatever a connection has noted.
    #[track_caller]
    pub(crate) fn seen(&self) -> String {
        let seen = self.heads.recv_timeout(PATIENCE);
        seen.expect("the upstream is asked")
    }

    /// The next one, if there is any by now.
    pub(crate) fn try_seen(&self) -> Option<String> {
        self.heads.try_recv().ok()
    }

    /// Whether nothing more is noted for a moment.
    pub(crate) fn is_quiet(&self) -> bool {
        self.heads.recv_timeout(Duration::from_millis(200)).is_err()
    }
}
