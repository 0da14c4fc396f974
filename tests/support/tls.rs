//! Certificates made for a test, and a client that speaks TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls::{SupportedProtocolVersion, version};

use super::Folder;
use super::wait::PATIENCE;

/// Writes `NAME.crt` and `NAME.key` for a host.
pub(crate) fn certificate(folder: &Folder, name: &str, host: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
    folder.write(&format!("{name}.crt"), made.cert.pem());
    folder.write(&format!("{name}.key"), made.signing_key.serialize_pem());
    made.cert.der().clone()
}

/// What clients trust, and remember of the servers that they have seen.
#[derive(Clone)]
pub(crate) struct Clients(Arc<ClientConfig>);

impl Clients {
    /// Clients that trust these, of both versions.
    pub(crate) fn trusting(certificates: &[CertificateDer<'static>]) -> Clients {
        Clients::of(certificates, &[&version::TLS13, &version::TLS12])
    }

    /// The same of some versions.
    pub(crate) fn of(
        certificates: &[CertificateDer<'static>],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Clients {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.clone()).expect("a certificate");
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_protocol_versions(versions)
                .expect("versions")
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.resumption = Resumption::in_memory_sessions(16);
        Clients(Arc::new(config))
    }

    /// The same clients, which offer these protocols (ALPN).
    pub(crate) fn offering(mut self, protocols: &[&[u8]]) -> Clients {
        let config = Arc::make_mut(&mut self.0);
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        self
    }

    /// Connects, and shakes hands for a host.
    pub(crate) fn connect(&self, port: u16, host: &'static str) -> io::Result<TlsClient> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host).expect("a name");
        let mut connection =
            ClientConnection::new(self.0.clone(), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(TlsClient(StreamOwned::new(connection, stream)))
    }

    /// One request, and all that comes until the server says that it is done.
    #[track_caller]
    pub(crate) fn get(&self, port: u16, host: &'static str, path: &str) -> String {
        let mut client = self.connect(port, host).expect("a handshake");
        client.request(host, path, "close");
        String::from_utf8_lossy(&client.rest().expect("an end that is said")).into_owned()
    }
}

/// A connection.
pub(crate) struct TlsClient(StreamOwned<ClientConnection, TcpStream>);

impl TlsClient {
    /// Sends a request.
    #[track_caller]
    pub(crate) fn request(&mut self, host: &str, path: &str, connection: &str) {
        let text =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n");
        self.0.write_all(text.as_bytes()).expect("the server reads");
        self.0.flush().expect("the server reads");
    }

    /// All that comes until the server says that it is done; that it only ends is an error.
    pub(crate) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// What comes, until it ends so.
    #[track_caller]
    pub(crate) fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            let mut piece = [0; 1];
            self.0.read_exact(&mut piece).expect("more");
            read.push(piece[0]);
        }
        String::from_utf8_lossy(&read).into_owned()
    }

    /// The certificate that the server has shown.
    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        let chain = self.0.conn.peer_certificates()?;
        chain.first().map(AsRef::as_ref)
    }

    /// The protocol that was agreed on (ALPN).
    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.0.conn.alpn_protocol()
    }

    /// What is sent and received within TLS.
    pub(crate) fn into_inner(self) -> StreamOwned<ClientConnection, TcpStream> {
        self.0
    }

    /// Whether the server has taken up a session of before.
    pub(crate) fn is_resumed(&self) -> bool {
        self.0.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}
