//! Certificates made for a test, and a client that speaks TLS.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use rustls::{DigitallySignedStruct, SignatureScheme, SupportedProtocolVersion, version};

use x509_parser::prelude::{FromDer, X509Certificate};

use super::Folder;
use super::wait::PATIENCE;

/// Writes `NAME.crt` and `NAME.key` for a host.
pub(crate) fn certificate(folder: &Folder, name: &str, host: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec![host.to_owned()]).expect("a certificate");
    folder.write(&format!("{name}.crt"), made.cert.pem());
    folder.write(&format!("{name}.key"), made.signing_key.serialize_pem());
    made.cert.der().clone()
}

/// Writes `NAME.crt` and `NAME.key` for some hosts, valid for so many days from now.
pub(crate) fn certificate_for(folder: &Folder, name: &str, hosts: &[&str], days: u32) {
    let hosts: Vec<String> = hosts.iter().map(|it| (*it).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(hosts).expect("hosts");
    let day = std::time::Duration::from_secs(86_400);
    params.not_before = std::time::SystemTime::now().into();
    params.not_after = (std::time::SystemTime::now() + day * days + day / 2).into();
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    folder.write(&format!("{name}.crt"), certificate.pem());
    folder.write(&format!("{name}.key"), key.serialize_pem());
}

/// Who issues certificates in a test.
pub(crate) struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// The same key.
    key: rcgen::KeyPair,
}

/// A certificate with its key, as a client has them.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) key: Vec<u8>,
}

impl Authority {
    /// One of its own, whose certificate is `NAME.crt`, and whose empty list of what it has revoked
    /// `NAME.crl`.
    pub(crate) fn new(folder: &Folder, name: &str) -> Authority {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = Authority::params(name);
        let certificate = params.self_signed(&key).expect("a certificate");
        folder.write(&format!("{name}.crt"), certificate.pem());
        let same = rcgen::KeyPair::from_pem(&key.serialize_pem()).expect("a key");
        let authority = Authority {
            key: same,
            issuer: rcgen::Issuer::new(params, key),
        };
        authority.revoke(folder, name, &[]);
        authority
    }

    fn params(name: &str) -> rcgen::CertificateParams {
        let mut params = rcgen::CertificateParams::default();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![
            rcgen::KeyUsagePurpose::KeyCertSign,
            rcgen::KeyUsagePurpose::CrlSign,
        ];
        params
    }

    /// Writes the list of what it has revoked.
    pub(crate) fn revoke(&self, folder: &Folder, name: &str, serials: &[u8]) {
        let now = rcgen::date_time_ymd(2020, 1, 1);
        let revoked = |serial: &u8| rcgen::RevokedCertParams {
            serial_number: u64::from(*serial).into(),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = rcgen::CertificateRevocationListParams {
            this_update: now,
            next_update: rcgen::date_time_ymd(2090, 1, 1),
            crl_number: 1_u64.into(),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).expect("a list");
        folder.write(&format!("{name}.crl"), list.pem().expect("PEM"));
    }

    /// Signs bytes with ECDSA and SHA-256.
    pub(crate) fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        use rcgen::SigningKey;
        self.key.sign(bytes).expect("a signature")
    }

    /// The certificate that a request asks for, if it is for these names, valid for so many days.
    pub(crate) fn sign_request(
        &self,
        request: &[u8],
        names: &[String],
        days: u32,
    ) -> Option<String> {
        let mut request = rcgen::CertificateSigningRequestParams::from_der(&request.into()).ok()?;
        let day = std::time::Duration::from_secs(86_400);
        let params = &mut request.params;
        params.not_before = (std::time::SystemTime::now() - day).into();
        params.not_after = (std::time::SystemTime::now() + day * days).into();
        params.use_authority_key_identifier_extension = true;
        let asked = request.params.subject_alt_names.iter();
        let asked: Vec<String> = asked
            .filter_map(|name| match name {
                rcgen::SanType::DnsName(name) => Some(name.to_string()),
                _ => None,
            })
            .collect();
        let issued = request.signed_by(&self.issuer).ok()?;
        (asked == names).then(|| issued.pem())
    }

    /// A certificate for a host, with this serial number; `NAME.crt` and `NAME.key`.
    pub(crate) fn issue(&self, folder: &Folder, name: &str, host: &str, serial: u8) -> Identity {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut params = rcgen::CertificateParams::new(vec![host.to_owned()]).expect("a host");
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.serial_number = Some(u64::from(serial).into());
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        folder.write(&format!("{name}.crt"), certificate.pem());
        folder.write(&format!("{name}.key"), key.serialize_pem());
        Identity {
            chain: vec![certificate.der().clone()],
            key: key.serialize_der(),
        }
    }
}

/// What clients trust, and remember of the servers that they have seen.
#[derive(Clone)]
pub(crate) struct Clients(Arc<ClientConfig>);

impl Clients {
    /// Clients that trust these, of both versions.
    pub(crate) fn trusting(certificates: &[CertificateDer<'static>]) -> Clients {
        Clients::of(certificates, &[&version::TLS13, &version::TLS12])
    }

    /// Clients that take any certificate.
    pub(crate) fn trusting_anybody() -> Clients {
        Clients::trusting(&[]).taking(Anybody::default())
    }

    /// The same, which show who they are.
    pub(crate) fn anybody_showing(
        versions: &[&'static SupportedProtocolVersion],
        identity: &Identity,
    ) -> Clients {
        Clients::showing(&[], versions, Some(identity)).taking(Anybody::default())
    }

    /// The same, and what was stapled to the certificate that they have seen last.
    pub(crate) fn noting_staples() -> (Clients, Arc<Mutex<Vec<u8>>>) {
        let anybody = Anybody::default();
        let stapled = anybody.stapled.clone();
        let mut clients = Clients::trusting(&[]).taking(anybody);
        let config = Arc::get_mut(&mut clients.0).expect("nobody else has it");
        config.resumption = Resumption::disabled();
        (clients, stapled)
    }

    fn taking(mut self, anybody: Anybody) -> Clients {
        let config = Arc::get_mut(&mut self.0).expect("nobody else has it");
        let anybody = Arc::new(anybody);
        config.dangerous().set_certificate_verifier(anybody);
        self
    }

    /// The same of some versions.
    pub(crate) fn of(
        certificates: &[CertificateDer<'static>],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Clients {
        Clients::showing(certificates, versions, None)
    }

    /// The same, which show who they are.
    pub(crate) fn showing(
        certificates: &[CertificateDer<'static>],
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Clients {
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate.clone()).expect("a certificate");
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { chain, key }) => {
                let key = PrivatePkcs8KeyDer::from(key.clone()).into();
                builder
                    .with_client_auth_cert(chain.clone(), key)
                    .expect("a pair")
            }
        };
        config.resumption = Resumption::in_memory_sessions(16);
        Clients(Arc::new(config))
    }

    /// The same clients, which offer these protocols (ALPN).
    pub(crate) fn offering(mut self, protocols: &[&[u8]]) -> Clients {
        let config = Arc::make_mut(&mut self.0);
        config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
        self
    }

    /// What rustls is told of them.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }

    /// Connects, and shakes hands for a host.
    pub(crate) fn connect(&self, port: u16, host: &'static str) -> io::Result<TlsClient> {
        self.connect_to(port, host)
    }

    /// The same for a host that is known later.
    pub(crate) fn connect_to(&self, port: u16, host: &str) -> io::Result<TlsClient> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(host.to_owned()).expect("a name");
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

/// Takes any certificate whose owner has its key.
#[derive(Debug, Default)]
struct Anybody {
    stapled: Arc<Mutex<Vec<u8>>>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        stapled: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.stapled.lock().expect("nobody panics with it") = stapled.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Not of the certificate, which may have extensions that rustls does not know.
        let parsed = X509Certificate::from_der(certificate)
            .expect("a certificate")
            .1;
        let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature_with_raw_key(message, &key, signed, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        known.supported_schemes()
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
