//! A server's stream against rustls' own client, in any fragmentation.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use revolve_reactor::{Chunk, DriverKind, EventLoop, SendQueue, Stream, spawn, yield_now};
use revolve_tls::rustls::client::Resumption;
use revolve_tls::rustls::pki_types::ServerName;
use revolve_tls::rustls::version::{TLS12, TLS13};
use revolve_tls::rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig,
    SupportedProtocolVersion, crypto::aws_lc_rs,
};
use revolve_tls::{
    AcceptError, Choice, ClientHello, ClientOptions, ConnectError, ServerOptions, Tickets,
    TlsStream, Trust, Usage, VerifyError, certificates, is_for_host, key_pair,
};

struct Site {
    server: Arc<ServerConfig>,
    roots: RootCertStore,
}

fn site() -> Site {
    site_with(|_| {})
}

fn site_with(change: impl FnOnce(&mut ServerOptions)) -> Site {
    let made = rcgen::generate_simple_self_signed(vec!["one.example".into()]).unwrap();
    let chain = certificates(made.cert.pem().as_bytes()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(chain[0].clone()).unwrap();
    let pair = key_pair(chain, made.signing_key.serialize_pem().as_bytes(), &[]).unwrap();
    let tickets = Tickets::new(&[b"secret"], b"one", 300).unwrap();
    let mut options = ServerOptions {
        keys: vec![pair.certified],
        tickets: Some(Arc::new(tickets)),
        ..ServerOptions::default()
    };
    change(&mut options);
    Site {
        server: options.build().unwrap(),
        roots,
    }
}

impl Site {
    fn client_config(&self, version: &'static SupportedProtocolVersion) -> ClientConfig {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(8);
        config
    }
}

/// A client on the loop of its server, which sends so many bytes at a time.
struct Client {
    tls: RefCell<ClientConnection>,
    stream: Stream,
    fragment: usize,
    opened: RefCell<Vec<u8>>,
    is_ended: Cell<bool>,
}

impl Client {
    fn new(config: &Arc<ClientConfig>, stream: Stream, fragment: usize) -> Self {
        let name = ServerName::try_from("one.example").unwrap();
        let tls = ClientConnection::new(config.clone(), name).unwrap();
        Self {
            tls: RefCell::new(tls),
            stream,
            fragment,
            opened: RefCell::default(),
            is_ended: Cell::new(false),
        }
    }

    async fn flush(&self) -> io::Result<()> {
        let mut out = Vec::new();
        while self.tls.borrow().wants_write() {
            self.tls.borrow_mut().write_tls(&mut out)?;
        }
        for piece in out.chunks(self.fragment) {
            let chunk = Chunk::Bytes(piece.to_vec().into());
            self.stream.send(SendQueue::from(chunk)).await.0?;
            yield_now().await;
        }
        Ok(())
    }

    /// Takes what the server has sent; false at the end of the stream.
    async fn take(&self) -> io::Result<bool> {
        let received = self.stream.recv().within(Duration::from_secs(20)).await?;
        let mut tls = self.tls.borrow_mut();
        let mut rest = &received[..];
        while !rest.is_empty() {
            tls.read_tls(&mut rest)?;
            tls.process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match tls.reader().read_to_end(&mut self.opened.borrow_mut()) {
                Ok(_) => self.is_ended.set(true),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(!received.is_empty())
    }

    async fn handshake(&self) -> io::Result<()> {
        loop {
            self.flush().await?;
            if !self.tls.borrow().is_handshaking() {
                return Ok(());
            }
            if !self.take().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(32 * 1024) {
            self.tls.borrow_mut().writer().write_all(piece)?;
            self.flush().await?;
        }
        Ok(())
    }

    /// So many bytes, or fewer where the server says that it is done.
    async fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        while self.opened.borrow().len() < len && !self.is_ended.get() {
            if !self.take().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let mut opened = self.opened.borrow_mut();
        let len = len.min(opened.len());
        Ok(opened.drain(..len).collect())
    }
}

fn soon() -> std::time::Instant {
    revolve_reactor::now() + Duration::from_secs(20)
}

/// Sends back what comes, until the client is done.
async fn echo(tls: &TlsStream) -> io::Result<()> {
    loop {
        let received = tls.recv().within(Duration::from_secs(20)).await?;
        if received.is_empty() {
            return Ok(());
        }
        let sent = tls.try_send(&received)?;
        let mut queue = SendQueue::new();
        let mut rest = received;
        rest.advance(sent);
        queue.push(Chunk::Buffer(rest));
        tls.send(queue).await.0?;
    }
}

/// Runs it where sending is tried at once, and where the driver sends with the turn, which is epoll again
/// where the kernel refuses io_uring.
fn on_loop<F: Future<Output = ()> + 'static>(run: impl Fn() -> F) {
    for driver in [DriverKind::Epoll, DriverKind::IoUring] {
        let mut event_loop = EventLoop::builder().driver(driver).build().unwrap();
        event_loop.block_on(run());
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 % 251) as u8).collect()
}

async fn round_trip(
    site: &Site,
    config: &Arc<ClientConfig>,
    fragment: usize,
    len: usize,
) -> Option<HandshakeKind> {
    let (ours, theirs) = Stream::pair().unwrap();
    let server = site.server.clone();
    let serving = spawn(async move {
        let tls = TlsStream::new(ours);
        tls.accept(|_| Choice::Accept(server), soon())
            .await
            .unwrap();
        assert_eq!(tls.hello().server_name.as_deref(), Some("one.example"));
        echo(&tls).await.unwrap();
    });
    let client = Client::new(config, theirs, fragment);
    client.handshake().await.unwrap();
    client.send(&bytes(len)).await.unwrap();
    assert_eq!(client.read(len).await.unwrap(), bytes(len));
    client.tls.borrow_mut().send_close_notify();
    client.flush().await.unwrap();
    // The server says that it is done, too: without that this would be an error.
    assert_eq!(client.read(1).await.unwrap(), b"");
    serving.await.unwrap();
    client.tls.into_inner().handshake_kind()
}

#[test]
fn both_versions_work_in_any_fragmentation() {
    on_loop(|| async {
        let site = site();
        for version in [&TLS12, &TLS13] {
            for fragment in [1, 2, 5, 6, 100, 1 << 20] {
                let config = Arc::new(site.client_config(version));
                let len = if fragment < 10 { 300 } else { 100_000 };
                let kind = round_trip(&site, &config, fragment, len).await;
                assert!(
                    matches!(
                        kind,
                        Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
                    ),
                    "{kind:?}"
                );
                let kind = round_trip(&site, &config, fragment, 10).await;
                assert_eq!(kind, Some(HandshakeKind::Resumed), "{version:?}");
            }
        }
    });
}

#[test]
fn a_file_is_sealed_as_memory_is_and_its_truncation_is_seen() {
    on_loop(|| async {
        let site = site();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes(70_000)).unwrap();
        let file = Arc::new(file);
        let (ours, theirs) = Stream::pair().unwrap();
        let server = site.server.clone();
        let sending = spawn(async move {
            let tls = TlsStream::new(ours);
            tls.accept(|_| Choice::Accept(server), soon())
                .await
                .unwrap();
            let mut queue = SendQueue::new();
            queue.push(&b"head"[..]);
            let (offset, len) = (10, 60_000);
            queue.push(Chunk::File {
                file: file.clone(),
                offset,
                len,
            });
            queue.push(&b"tail"[..]);
            tls.send(queue).await.0.unwrap();
            let (offset, len) = (60_000, 20_000);
            let queue = SendQueue::from(Chunk::File { file, offset, len });
            let (result, left) = tls.send(queue).await;
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert!(left.bytes() > 0);
        });
        let client = Client::new(&Arc::new(site.client_config(&TLS13)), theirs, 1 << 20);
        client.handshake().await.unwrap();
        let expected = [b"head", &bytes(70_000)[10..60_010], b"tail"].concat();
        assert_eq!(client.read(60_008).await.unwrap(), expected);
        // What was cut off does not end as if it were complete.
        let error = loop {
            if let Err(error) = client.read(1 << 20).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        sending.await.unwrap();
    });
}

#[test]
fn an_end_without_a_word_is_an_error() {
    on_loop(|| async {
        let site = site();
        let (ours, theirs) = Stream::pair().unwrap();
        let server = site.server.clone();
        let serving = spawn(async move {
            let tls = TlsStream::new(ours);
            tls.accept(|_| Choice::Accept(server), soon())
                .await
                .unwrap();
            assert_eq!(&tls.recv().await.unwrap()[..], b"half");
            let error = tls.recv().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        });
        let client = Client::new(&Arc::new(site.client_config(&TLS13)), theirs, 1 << 20);
        client.handshake().await.unwrap();
        client.send(b"half").await.unwrap();
        client.stream.shutdown_write().unwrap();
        serving.await.unwrap();
    });
}

#[test]
fn what_is_not_tls_or_not_sound_is_told_apart() {
    on_loop(|| async {
        let site = site();
        let first: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\n",
            &[0x16, 3, 1, 0, 5, 2, 0, 0, 1, 0],
            &[0x16, 3, 1, 0xff, 0xff, 1],
            &[0x80, 0x2e, 1, 3, 1],
            &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
        ];
        for (case, first) in first.into_iter().enumerate() {
            let (ours, theirs) = Stream::pair().unwrap();
            let server = site.server.clone();
            let accepting = spawn(async move {
                let tls = TlsStream::new(ours);
                let accepted = tls.accept(|_| Choice::Accept(server), soon()).await;
                (tls, accepted.unwrap_err())
            });
            theirs.send(SendQueue::from(first)).await.0.unwrap();
            theirs.shutdown_write().unwrap();
            let (tls, error) = accepting.await.unwrap();
            match (case, error) {
                (0, AcceptError::NotTls(received)) => {
                    assert_eq!(received, first);
                    tls.send(SendQueue::from(&b"in the clear"[..]))
                        .await
                        .0
                        .unwrap();
                    assert_eq!(&theirs.recv().await.unwrap()[..], b"in the clear");
                    assert!(tls.recv().await.unwrap().is_empty());
                }
                (1.., AcceptError::Tls(_) | AcceptError::Closed) => {
                    drop(tls);
                    let alert = theirs.recv().await.unwrap();
                    assert!(alert.is_empty() || alert[0] == 21, "{case}: {alert:?}");
                }
                (_, error) => panic!("{case}: {error:?}"),
            }
        }
    });
}

#[test]
fn garbage_after_the_handshake_is_an_error_with_an_alert() {
    on_loop(|| async {
        let site = site();
        let (ours, theirs) = Stream::pair().unwrap();
        let server = site.server.clone();
        let serving = spawn(async move {
            let tls = TlsStream::new(ours);
            tls.accept(|_| Choice::Accept(server), soon())
                .await
                .unwrap();
            let error = tls.recv().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            assert_eq!(
                tls.recv().await.unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
            let (sent, _) = tls.send(SendQueue::from(&b"x"[..])).await;
            assert_eq!(sent.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
        let client = Client::new(&Arc::new(site.client_config(&TLS13)), theirs, 1 << 20);
        client.handshake().await.unwrap();
        let record = [&[23, 3, 3, 0, 40][..], &[7; 40]].concat();
        let queue = SendQueue::from(Chunk::Bytes(record.into()));
        client.stream.send(queue).await.0.unwrap();
        serving.await.unwrap();
        let error = client.read(1).await.unwrap_err();
        assert!(error.to_string().contains("BadRecordMac"), "{error}");
    });
}

#[test]
fn keys_change_while_bytes_flow() {
    on_loop(|| async {
        let site = site();
        let (ours, theirs) = Stream::pair().unwrap();
        let server = site.server.clone();
        let serving = spawn(async move {
            let tls = TlsStream::new(ours);
            tls.accept(|_| Choice::Accept(server), soon())
                .await
                .unwrap();
            echo(&tls).await.unwrap();
        });
        let client = Client::new(&Arc::new(site.client_config(&TLS13)), theirs, 3);
        client.handshake().await.unwrap();
        for _ in 0..5 {
            client.tls.borrow_mut().refresh_traffic_keys().unwrap();
            client.send(b"some bytes").await.unwrap();
            assert_eq!(client.read(10).await.unwrap(), b"some bytes");
        }
        client.tls.borrow_mut().send_close_notify();
        client.flush().await.unwrap();
        serving.await.unwrap();
    });
}

#[test]
fn a_client_may_be_refused_by_its_name() {
    on_loop(|| async {
        let site = site();
        let (ours, theirs) = Stream::pair().unwrap();
        let accepting = spawn(async move {
            let tls = TlsStream::new(ours);
            let accepted = tls.accept(|_| Choice::Refuse(112), soon()).await;
            assert!(matches!(accepted, Err(AcceptError::Refused(112))));
        });
        let client = Client::new(&Arc::new(site.client_config(&TLS13)), theirs, 7);
        let error = client.handshake().await.unwrap_err();
        assert!(error.to_string().contains("UnrecognisedName"), "{error}");
        accepting.await.unwrap();
    });
}

#[test]
fn a_handshake_that_stands_still_ends() {
    on_loop(|| async {
        let site = site();
        let (ours, theirs) = Stream::pair().unwrap();
        theirs
            .send(SendQueue::from(&[0x16, 3, 1][..]))
            .await
            .0
            .unwrap();
        let tls = TlsStream::new(ours);
        let soon = revolve_reactor::now() + Duration::from_millis(20);
        let accepted = tls
            .accept(|_| Choice::Accept(site.server.clone()), soon)
            .await;
        let Err(AcceptError::Io(error)) = accepted else {
            panic!("{accepted:?}");
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    });
}

/// `Rc` is what a connection's task and its server share.
#[test]
fn a_stream_is_shared_on_its_loop() {
    on_loop(|| async {
        let (ours, _theirs) = Stream::pair().unwrap();
        let tls = Rc::new(TlsStream::new(ours));
        let other = tls.clone();
        assert!(!other.is_established());
    });
}

/// A way out of brotli that says that it was asked.
#[derive(Debug)]
struct Noting(std::sync::atomic::AtomicUsize);

impl revolve_tls::rustls::compress::CertDecompressor for Noting {
    fn decompress(
        &self,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<(), revolve_tls::rustls::compress::DecompressionFailed> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        revolve_tls::rustls::compress::BROTLI_DECOMPRESSOR.decompress(input, out)
    }

    fn algorithm(&self) -> revolve_tls::rustls::CertificateCompressionAlgorithm {
        revolve_tls::rustls::CertificateCompressionAlgorithm::Brotli
    }
}

#[test]
fn certificates_are_compressed_where_that_is_wanted() {
    on_loop(|| async {
        for is_wanted in [false, true] {
            let site = site_with(|options| options.compresses_certificates = is_wanted);
            let noting: &'static Noting = Box::leak(Box::new(Noting(Default::default())));
            let mut config = site.client_config(&TLS13);
            config.cert_decompressors = vec![noting];
            round_trip(&site, &Arc::new(config), 1 << 20, 10).await;
            let asked = noting.0.load(std::sync::atomic::Ordering::Relaxed);
            assert_eq!(asked, usize::from(is_wanted));
        }
    });
}

fn now_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs() as i64
}

/// Sends so much, and reads it back.
async fn ask(tls: TlsStream, sent: Vec<u8>) {
    let tls = Rc::new(tls);
    let sending = spawn({
        let (tls, sent) = (tls.clone(), sent.clone());
        async move {
            tls.send(SendQueue::from(Chunk::Bytes(sent.into())))
                .await
                .0
                .unwrap()
        }
    });
    let mut received = Vec::new();
    while received.len() < sent.len() {
        received.extend_from_slice(&tls.recv().await.unwrap());
    }
    assert_eq!(received, sent);
    sending.await.unwrap();
    tls.shutdown_write().unwrap();
    assert!(tls.recv().await.unwrap().is_empty());
    assert!(tls.has_ended());
}

#[test]
fn both_sides_may_be_ours() {
    on_loop(|| async {
        let site = site();
        for (has_tls12, has_tls13) in [(true, false), (false, true)] {
            let options = ClientOptions {
                has_tls12,
                has_tls13,
                ..ClientOptions::default()
            };
            let config = options.build().unwrap();
            for round in 0..3 {
                let (ours, theirs) = Stream::pair().unwrap();
                let server = site.server.clone();
                let serving = spawn(async move {
                    let tls = TlsStream::new(ours);
                    let choose = |_: &ClientHello| Choice::Accept(server);
                    tls.accept(choose, soon()).await.unwrap();
                    echo(&tls).await.unwrap();
                });
                let tls = TlsStream::new(theirs);
                let name = ServerName::try_from("one.example").unwrap();
                tls.connect(config.clone(), name, soon()).await.unwrap();
                let kind = tls.with_connection(|it| it.handshake_kind()).flatten();
                assert_eq!(kind == Some(HandshakeKind::Resumed), round > 0);
                tls.judge(|chain| {
                    assert!(is_for_host(&chain[0], "one.example"));
                    let own = vec![chain[0].clone().into_owned()];
                    Trust::new(own, Vec::new(), 1).judge(chain, Usage::Server, now_s())?;
                    Trust::default().judge(chain, Usage::Server, now_s())
                });
                assert_eq!(tls.verdict(), Some(Err(VerifyError(18))));
                ask(tls, bytes(100_000)).await;
                serving.await.unwrap();
            }
        }
    });
}

#[test]
fn a_server_that_is_none_is_an_error() {
    on_loop(|| async {
        for answer in [
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            &[21, 3, 3, 0, 2, 2, 40],
            b"",
        ] {
            let (ours, theirs) = Stream::pair().unwrap();
            ours.send(SendQueue::from(answer)).await.0.unwrap();
            ours.shutdown_write().unwrap();
            let tls = TlsStream::new(theirs);
            let name = ServerName::try_from("one.example").unwrap();
            let options = ClientOptions::default();
            let error = tls
                .connect(options.build().unwrap(), name, soon())
                .await
                .unwrap_err();
            let is_as_expected = match answer.is_empty() {
                true => matches!(error, ConnectError::Closed),
                false => matches!(error, ConnectError::Tls(_)),
            };
            assert!(is_as_expected, "{error:?}");
        }
    });
}
