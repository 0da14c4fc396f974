//! What a server is told: its keys, and what it agrees to.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::crypto::SupportedKxGroup;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ProducesTickets, ResolvesServerCert,
    StoresServerSessions,
};
use rustls::sign::CertifiedKey;
use rustls::{DistinguishedName, ServerConfig, SupportedCipherSuite};

use crate::ciphers::default_groups;
use crate::schemes;
use crate::signatures::AnyChain;
use crate::versions::{provider, versions};

/// What a server agrees to.
#[derive(Clone)]
pub struct ServerOptions {
    /// Its keys with their certificates; of those that a client can check, the first that signs with
    /// ECDSA or EdDSA, else the first.
    pub keys: Vec<Arc<CertifiedKey>>,
    /// Whether it speaks TLS 1.2, by default it does.
    pub has_tls12: bool,
    /// Whether it speaks TLS 1.3, by default it does.
    pub has_tls13: bool,
    /// The suites of TLS 1.2, its favourite first.
    pub suites: Vec<SupportedCipherSuite>,
    /// The groups of the key exchange, its favourite first.
    pub groups: Vec<&'static dyn SupportedKxGroup>,
    /// Whether its order of suites counts, and not the client's; default no.
    pub prefers_own_ciphers: bool,
    /// The protocols above TLS, its favourite first; none by default.
    pub protocols: Vec<Vec<u8>>,
    /// Who seals tickets; none by default.
    pub tickets: Option<Arc<dyn ProducesTickets>>,
    /// Who keeps sessions; none by default.
    pub sessions: Option<Arc<dyn StoresServerSessions>>,
    /// Whose certificates clients are asked for, as DER of their names; by default clients are asked for
    /// none. Whether what they show is good is not judged here.
    pub authorities: Option<Vec<Vec<u8>>>,
    /// What authorities say of the certificates, which may come while the server is in use; nothing by
    /// default.
    pub staples: Option<Arc<Staples>>,
    /// Whether certificates are sent compressed to clients that take that; default no.
    pub compresses_certificates: bool,
    /// Early data that is taken, in bytes; none by default. It needs `sessions`, and no `tickets`: what is
    /// kept here is used once, so that nothing is replayed.
    pub early_data_bytes_max: u32,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            has_tls12: true,
            has_tls13: true,
            suites: crate::ciphers::ciphers("DEFAULT").suites,
            groups: default_groups(),
            prefers_own_ciphers: false,
            protocols: Vec::new(),
            tickets: None,
            sessions: None,
            authorities: None,
            staples: None,
            compresses_certificates: false,
            early_data_bytes_max: 0,
        }
    }
}

impl ServerOptions {
    /// What rustls is told.
    ///
    /// # Errors
    ///
    /// Options that leave nothing to agree on.
    pub fn build(self) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = provider(&self.suites, self.groups);
        let versions = versions(self.has_tls12, self.has_tls13);
        let verifier: Arc<dyn ClientCertVerifier> = match self.authorities {
            None => Arc::new(NoClientAuth),
            Some(names) => {
                let names = names.into_iter().map(DistinguishedName::from).collect();
                let algorithms = provider.signature_verification_algorithms;
                Arc::new(AnyChain::asking_for(algorithms, names))
            }
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Keys {
                keys: self.keys.iter().map(|key| schemes::noting(key)).collect(),
                staples: self.staples,
            }));
        if !self.compresses_certificates {
            config.cert_compressors.clear();
        }
        // What clients send is never taken out of anything: it could be larger than it looks.
        config.cert_decompressors.clear();
        config.ignore_client_order = self.prefers_own_ciphers;
        config.alpn_protocols = self.protocols;
        config.session_storage = self
            .sessions
            .unwrap_or_else(|| Arc::new(NoServerSessionStorage {}));
        config.max_early_data_size = self.early_data_bytes_max;
        config.send_half_rtt_data = self.early_data_bytes_max > 0;
        match self.tickets {
            Some(tickets) => config.ticketer = tickets,
            // Without anywhere to keep a session, none is offered.
            None if !config.session_storage.can_cache() => config.send_tls13_tickets = 0,
            None => {}
        }
        Ok(Arc::new(config))
    }
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerOptions")
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// What authorities say of the certificates of a server (OCSP), each by the place of its key.
#[derive(Default)]
pub struct Staples(RwLock<Vec<Option<Arc<CertifiedKey>>>>);

impl Staples {
    /// From now on this response goes with the key of that place. Any thread may call it.
    pub fn set(&self, place: usize, key: &CertifiedKey, response: Vec<u8>) {
        let stapled = CertifiedKey {
            ocsp: Some(response),
            ..key.clone()
        };
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() <= place {
            all.resize(place + 1, None);
        }
        all[place] = Some(schemes::noting(&stapled));
    }

    fn get(&self, place: usize) -> Option<Arc<CertifiedKey>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(place).cloned().flatten()
    }
}

impl fmt::Debug for Staples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staples").finish_non_exhaustive()
    }
}

struct Keys {
    keys: Vec<Arc<CertifiedKey>>,
    staples: Option<Arc<Staples>>,
}

impl ResolvesServerCert for Keys {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        // A client of TLS 1.2 says by its suites, too, whose signatures it takes.
        let takes_others = hello.cipher_suites().iter().any(|suite| {
            let name = crate::ciphers::cipher_name(*suite);
            name.starts_with("TLS_") || name.starts_with("ECDHE-ECDSA")
        });
        let fitting = |place: &usize| self.keys[*place].key.choose_scheme(schemes).is_some();
        let is_rsa =
            |place: usize| self.keys[place].key.algorithm() == rustls::SignatureAlgorithm::RSA;
        let places = 0..self.keys.len();
        let mut others = places
            .clone()
            .filter(|place| takes_others && !is_rsa(*place));
        // Where none fits, rustls finds that out by any, and says so in the alert.
        let found = others
            .find(fitting)
            .or_else(|| places.clone().find(fitting))
            .or_else(|| places.clone().next())?;
        let stapled = self.staples.as_ref().and_then(|staples| staples.get(found));
        Some(stapled.unwrap_or_else(|| self.keys[found].clone()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Keys").field(&self.keys.len()).finish()
    }
}
