//! What is ordered, and of whom, as the configuration has it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use revolve_tls::Facts;

use super::account::ExternalAccount;
use crate::tls::Url;
use crate::tls::upstream::UpstreamTls;
use crate::zones::ZoneId;

/// How it is shown to an authority that a name is ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// By an answer on port 80.
    #[default]
    Http01,
    /// By a handshake on port 443.
    TlsAlpn01,
    /// By a record that a command sets.
    Dns01(DnsCommand),
}

/// The command that sets records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DnsCommand {
    pub(crate) program: PathBuf,
    /// What it is told before all else.
    pub(crate) arguments: Vec<String>,
    /// How long it may take.
    pub(crate) within: Duration,
}

impl Challenge {
    /// What authorities call it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Challenge::Http01 => "http-01",
            Challenge::TlsAlpn01 => "tls-alpn-01",
            Challenge::Dns01(_) => "dns-01",
        }
    }
}

/// An authority, as the configuration has it.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) name: String,
    /// Its directory.
    pub(crate) uri: Url,
    pub(crate) contacts: Vec<String>,
    /// How connections to it are secured.
    pub(crate) tls: Arc<UpstreamTls>,
    /// The folder for its account and its certificates.
    pub(crate) state: PathBuf,
    pub(crate) accepts_terms: bool,
    pub(crate) challenge: Challenge,
    pub(crate) external: Option<ExternalAccount>,
}

/// A certificate that a server wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The place of the issuer.
    pub(crate) issuer: usize,
    /// Whom it is to be for, at least one.
    pub(crate) names: Vec<String>,
    /// The file that it lies in, with its key.
    pub(crate) path: PathBuf,
}

/// All that is ordered.
#[derive(Debug)]
pub(crate) struct Acme {
    pub(crate) issuers: Vec<Issuer>,
    pub(crate) wanted: Vec<Wanted>,
    /// Where what challenges are answered with lies for all workers.
    pub(crate) zone: ZoneId,
}

/// A certificate that a configuration names.
#[derive(Debug, Clone)]
pub struct NamedCertificate {
    /// Its file.
    pub path: PathBuf,
    /// What is to be known of it.
    pub facts: Facts,
    /// The `acme_issuer` by which it is renewed; `None` where others see to that.
    pub acme_issuer: Option<String>,
}

impl Acme {
    /// The certificates that there are, as they lie on the disk.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = NamedCertificate> {
        self.wanted.iter().filter_map(|wanted| {
            let text = std::fs::read(&wanted.path).ok()?;
            let chain = revolve_tls::certificates(&text).ok()?;
            Some(NamedCertificate {
                path: wanted.path.clone(),
                facts: revolve_tls::facts(chain.first()?).ok()?,
                acme_issuer: Some(self.issuers[wanted.issuer].name.clone()),
            })
        })
    }
}

/// The time in seconds since 1970.
pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    })
}
