//! TLS towards servers behind us: what is agreed to, who is trusted, and by what we show who we are.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use revolve_conf::{Diagnostic, Diagnostics, Secrets, Span};
use revolve_tls::rustls::ClientConfig;
use revolve_tls::rustls::pki_types::{DnsName, ServerName};
use revolve_tls::{ClientOptions, TlsStream, Trust, Usage, VerifyError};

use super::by_variable::{CacheLimits, OwnKey};
use super::files::{NamedFile, load_key_pair, load_trust, passwords};
use super::words::Terms;
use crate::config::variable::Subject;

/// What directives say.
#[derive(Debug)]
pub(crate) struct UpstreamOptions<'a> {
    pub(crate) terms: Terms,
    pub(crate) key: Option<(&'a NamedFile, &'a NamedFile)>,
    pub(crate) passwords: Option<&'a NamedFile>,
    /// How it is kept where variables name it.
    pub(crate) cache: CacheLimits,
    /// What is spoken above TLS, as ALPN names it.
    pub(crate) protocols: &'static [&'static [u8]],
    pub(crate) sends_name: bool,
    pub(crate) resumes: bool,
    pub(crate) trusted: Option<&'a NamedFile>,
    pub(crate) crl: Option<&'a NamedFile>,
    pub(crate) verifies: bool,
    pub(crate) depth_max: usize,
}

/// How connections to servers behind us are secured at a level of the configuration.
pub(crate) struct UpstreamTls {
    /// No other has it: connections are kept for those who secure them alike.
    pub(crate) id: u64,
    pub(crate) config: Arc<ClientConfig>,
    /// Whom to trust, where servers are judged.
    trust: Option<Arc<Trust>>,
    /// By what we show who we are, where each request names it, and what is agreed to besides.
    own_key: Option<Box<(OwnKey<Arc<UpstreamTls>>, ClientOptions)>>,
}

/// Why a server is not taken.
#[derive(Debug)]
pub(crate) enum Untrusted {
    /// Its certificate is not good.
    Certificate(VerifyError),
    /// It is for others.
    Name,
}

impl UpstreamTls {
    /// Reads the files. What is wrong goes to the diagnostics.
    pub(crate) fn load(
        options: UpstreamOptions<'_>,
        secrets: &mut Secrets,
        diagnostics: &mut Diagnostics,
    ) -> Option<Arc<Self>> {
        Self::try_load(options, secrets, diagnostics)
            .map_err(|diagnostic| diagnostics.push(diagnostic))
            .ok()
            .map(Arc::new)
    }

    fn try_load(
        options: UpstreamOptions<'_>,
        secrets: &mut Secrets,
        diagnostics: &mut Diagnostics,
    ) -> Result<Self, Diagnostic> {
        let key = match options.key {
            Some((certificate, key)) if certificate.value.is_none() && key.value.is_none() => {
                let files = (certificate, key);
                Some(load_key_pair(files, options.passwords, secrets, diagnostics)?.certified)
            }
            _ => None,
        };
        let trust = match (options.verifies, options.trusted) {
            (true, Some(file)) => {
                let crl = options.crl;
                {
                    let depth_max = options.depth_max;
                    let (trust, _) = load_trust(Some(file), None, crl, depth_max, secrets)?;
                    Some(Arc::new(trust))
                }
            }
            _ => None,
        };
        let span = options.key.map(|(certificate, _)| certificate.span);
        let own_key = match options.key {
            Some((certificate, file)) if key.is_none() => {
                let passwords = passwords(options.passwords, secrets)?;
                let named = (certificate.named(), file.named());
                Some(OwnKey::new(named, passwords, options.cache))
            }
            _ => None,
        };
        let agreed = ClientOptions {
            key,
            has_tls12: options.terms.versions.0,
            has_tls13: options.terms.versions.1,
            suites: options.terms.suites,
            groups: options.terms.groups,
            protocols: options.protocols.iter().map(|it| it.to_vec()).collect(),
            sends_name: options.sends_name,
            resumes: options.resumes,
        };
        let config = agreed.clone().build();
        Ok(Self {
            id: next_id(),
            config: config.map_err(|error| contradiction(span, &error))?,
            trust,
            own_key: own_key.map(|own_key| Box::new((own_key, agreed))),
        })
    }

    /// The same for a request, which may name by what we show who we are.
    ///
    /// Errors: what the error log says.
    pub(crate) fn of(
        self: &Arc<Self>,
        subject: &impl Subject,
        now: Instant,
    ) -> Result<Arc<Self>, String> {
        let Some((own_key, agreed)) = self.own_key.as_deref() else {
            return Ok(self.clone());
        };
        own_key.of(subject, now, |key| {
            let agreed = ClientOptions {
                key,
                ..agreed.clone()
            };
            Ok(Arc::new(Self {
                id: next_id(),
                config: agreed.build().map_err(|error| error.to_string())?,
                trust: self.trust.clone(),
                own_key: None,
            }))
        })
    }

    /// Whether each request says by what we show who we are.
    pub(crate) fn needs_request(&self) -> bool {
        self.own_key.is_some()
    }

    /// Judges the server at the other end, after the handshake: what it has shown now, or when the session
    /// began that was resumed.
    pub(crate) fn judge(
        &self,
        stream: &TlsStream,
        name: &str,
        now_s: i64,
    ) -> Result<(), Untrusted> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        let judged = stream.with_connection(|it| {
            let chain = it.peer_certificates().unwrap_or_default();
            let judged = trust.judge(chain, Usage::Server, now_s);
            judged.map_err(Untrusted::Certificate)?;
            match chain.first() {
                Some(own) if revolve_tls::is_for_host(own, name) => Ok(()),
                _ => Err(Untrusted::Name),
            }
        });
        judged.unwrap_or(Err(Untrusted::Name))
    }
}

/// A number that no other has.
fn next_id() -> u64 {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    NEXT_ID.fetch_add(1, Ordering::Relaxed)
}

fn contradiction(span: Option<Span>, error: &revolve_tls::rustls::Error) -> Diagnostic {
    let message = format!("TLS to upstreams cannot be set up as configured: {error}");
    Diagnostic::new(span, message)
}

/// The name that a server is asked for, and by which sessions with it are kept. What cannot be the name of
/// a host is not asked for: an address stands for it, which no server is told (RFC 6066, 3).
pub(crate) fn server_name(name: &str) -> ServerName<'static> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    if let Ok(address) = name.parse::<IpAddr>() {
        return ServerName::IpAddress(address.into());
    }
    match DnsName::try_from(name.to_owned()) {
        Ok(name) => ServerName::DnsName(name),
        Err(_) => {
            let mut hasher = DefaultHasher::new();
            name.hash(&mut hasher);
            let address = Ipv6Addr::from_bits(u128::from(hasher.finish()));
            ServerName::IpAddress(IpAddr::from(address).into())
        }
    }
}

impl fmt::Debug for UpstreamTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamTls")
            .field("id", &self.id)
            .field("verifies", &self.trust.is_some())
            .finish_non_exhaustive()
    }
}
