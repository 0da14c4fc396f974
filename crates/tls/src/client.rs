//! What a client is told: what it agrees to, and by what it shows who it is.

use std::fmt;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{SupportedKxGroup, aws_lc_rs};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, SupportedCipherSuite};

use crate::ciphers::default_groups;
use crate::signatures::AnyChain;
use crate::versions::{provider, versions};

/// Sessions that a client keeps, of as many servers.
const SESSIONS_MAX: usize = 256;

/// What a client agrees to.
#[derive(Clone)]
pub struct ClientOptions {
    /// By what it shows who it is, where a server asks; nothing by default.
    pub key: Option<Arc<CertifiedKey>>,
    /// Whether it speaks TLS 1.2, by default it does.
    pub has_tls12: bool,
    /// Whether it speaks TLS 1.3, by default it does.
    pub has_tls13: bool,
    /// The suites of TLS 1.2, its favourite first.
    pub suites: Vec<SupportedCipherSuite>,
    /// The groups of the key exchange, its favourite first.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// The protocols above TLS, its favourite first; none by default.
    pub protocols: Vec<Vec<u8>>,
    /// Whether the server is told which name is asked for, by default it is.
    pub sends_name: bool,
    /// Whether sessions are kept and resumed, by default they are.
    pub resumes: bool,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            key: None,
            has_tls12: true,
            has_tls13: true,
            suites: crate::ciphers::ciphers("DEFAULT").suites,
            groups: default_groups(),
            protocols: Vec::new(),
            sends_name: true,
            resumes: true,
        }
    }
}

impl ClientOptions {
    /// What rustls is told. The server's certificate is taken as it is, as long as the server has its key:
    /// whoever connects judges it afterwards.
    ///
    /// # Errors
    ///
    /// Options that leave nothing to agree on.
    pub fn build(self) -> Result<Arc<ClientConfig>, rustls::Error> {
        let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
        let provider = provider(&self.suites, self.groups);
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions(self.has_tls12, self.has_tls13))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyChain::new(algorithms)));
        let mut config = match self.key {
            None => builder.with_no_client_auth(),
            Some(key) => {
                let single: Arc<dyn ResolvesClientCert> = Arc::new(SingleCertAndKey::from(key));
                builder.with_client_cert_resolver(single)
            }
        };
        config.cert_compressors.clear();
        config.cert_decompressors.clear();
        config.alpn_protocols = self.protocols;
        config.enable_sni = self.sends_name;
        config.resumption = match self.resumes {
            true => Resumption::in_memory_sessions(SESSIONS_MAX),
            false => Resumption::disabled(),
        };
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("has_key", &self.key.is_some())
            .finish_non_exhaustive()
    }
}
