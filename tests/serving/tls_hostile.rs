//! Clients that speak TLS badly, or slowly.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};

use super::config;
use crate::support::tls::{Clients, certificate};
use crate::support::wait::PATIENCE;
use crate::support::{Folder, Server, ports, until};

struct Secure {
    folder: Folder,
    port: u16,
    certificate: rustls::pki_types::CertificateDer<'static>,
    _server: Server,
}

impl Secure {
    fn start() -> Secure {
        let folder = Folder::new();
        folder.write("html/index.html", "home\n");
        let certificate = certificate(&folder, "one", "one.test");
        let port = ports::free();
        let server = "server_name one.test; ssl_certificate one.crt; ssl_certificate_key one.key;";
        let text = config(&folder, port, "", server).replace(
            &format!("listen 127.0.0.1:{port};"),
            &format!("listen 127.0.0.1:{port} ssl;"),
        );
        let server = Server::start(&folder, &text, &[port]);
        Secure {
            folder,
            port,
            certificate,
            _server: server,
        }
    }

    fn clients(&self) -> Clients {
        Clients::trusting(std::slice::from_ref(&self.certificate))
    }

    #[track_caller]
    fn still_serves(&self) {
        let answer = self.clients().get(self.port, "one.test", "/");
        assert!(answer.ends_with("home\n"), "{answer}");
    }

    fn logged(&self, text: &str) {
        until("the log says so", || {
            self.folder.read("logs/error.log").contains(text)
        });
    }
}

/// Sends a byte at a time, each in a packet of its own.
struct Bytewise(TcpStream);

impl Write for Bytewise {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(first) = bytes.get(..1) else {
            return Ok(0);
        };
        self.0.write(first)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Read for Bytewise {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let len = room.len().min(1);
        self.0.read(&mut room[..len])
    }
}

#[test]
fn a_handshake_may_come_byte_by_byte() {
    let site = Secure::start();
    for version in [&TLS12, &TLS13] {
        let config = Clients::of(std::slice::from_ref(&site.certificate), &[version]).config();
        let stream = TcpStream::connect(("127.0.0.1", site.port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let name = ServerName::try_from("one.test").expect("a name");
        let connection = ClientConnection::new(config, name).expect("a client");
        let mut tls = rustls::StreamOwned::new(connection, Bytewise(stream));
        let request = b"GET / HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n";
        tls.write_all(request).expect("it reads");
        let mut answer = String::new();
        tls.read_to_string(&mut answer)
            .expect("an end that is said");
        assert!(answer.ends_with("home\n"), "{version:?} {answer}");
    }
}

/// A record after the handshake that is longer than any may be, or does not open, gets an alert and ends the
/// connection. Source: RFC 8446, 5.2.
#[test]
fn records_that_are_too_long_or_not_sound_end_their_connection() {
    let site = Secure::start();
    let too_long = [&[23, 3, 3, 0x41, 1][..], &vec![7; 16384 + 257]].concat();
    let not_sealed = [&[23, 3, 3, 0, 32][..], &[7; 32]].concat();
    for record in [&too_long, &not_sealed] {
        let client = site
            .clients()
            .connect(site.port, "one.test")
            .expect("a handshake");
        let mut inner = client.into_inner();
        // It may be closed before all is sent.
        let _ = inner.sock.write_all(record);
        let mut rest = Vec::new();
        let ended = inner.sock.read_to_end(&mut rest);
        let is_reset = ended.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionReset);
        assert!(is_reset || !rest.is_empty(), "it is told why");
    }
    site.still_serves();
}

/// Handshakes that are begun and never gone on with cost nobody else anything.
#[test]
fn handshakes_that_stand_still_hold_nobody_up() {
    let site = Secure::start();
    let begun: Vec<TcpStream> = (0..100)
        .map(|at: usize| {
            let mut stream = TcpStream::connect(("127.0.0.1", site.port)).expect("it listens");
            let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
            stream
                .write_all(&hello[..at % hello.len() + 1])
                .expect("it reads");
            stream
        })
        .collect();
    site.still_serves();
    drop(begun);
    site.still_serves();
    site.logged("peer closed connection in SSL handshake");
}

/// Many that say hello and go: each costs the server a key exchange, and at most eight go on in a turn.
#[test]
fn those_who_only_say_hello_hold_nobody_up() {
    let site = Secure::start();
    let mut hello = Vec::new();
    let config = site.clients().config();
    let name = ServerName::try_from("one.test").expect("a name");
    let mut connection = ClientConnection::new(config, name).expect("a client");
    connection.write_tls(&mut hello).expect("it says hello");
    let flood: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", site.port)).expect("it listens");
            stream.write_all(&hello).expect("it reads");
            stream
        })
        .collect();
    site.still_serves();
    drop(flood);
    site.still_serves();
}

/// A request that is cut off in its body by an end without `close_notify` is no request.
#[test]
fn an_end_without_a_word_cuts_a_request_off() {
    let site = Secure::start();
    let mut client = site
        .clients()
        .connect(site.port, "one.test")
        .expect("a handshake")
        .into_inner();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: one.test\r\nContent-Length: 100\r\n\r\nhalf")
        .expect("it reads");
    client.flush().expect("it reads");
    client
        .sock
        .shutdown(std::net::Shutdown::Write)
        .expect("a socket");
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    site.still_serves();
}
