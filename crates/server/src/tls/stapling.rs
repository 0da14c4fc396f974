//! What authorities say of our own certificates, stapled to them (`ssl_stapling`).

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use revolve_conf::{Diagnostic, Span};
use revolve_tls::Staples;
use revolve_tls::ocsp::{self, Status};
use revolve_tls::rustls::pki_types::CertificateDer;
use revolve_tls::rustls::sign::CertifiedKey;

use super::fetch::{self, Url};
use crate::net::resolver::Resolver;

/// How long an authority may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// After how many seconds it is asked again at the latest, and after a failure. Source: nginx.
const REFRESH_S: i64 = 3600;
const RETRY_S: i64 = 300;

/// A certificate that is stapled to.
struct Entry {
    /// Its place among those of its server.
    place: usize,
    key: Arc<CertifiedKey>,
    issuer: CertificateDer<'static>,
    url: Url,
    due_at_s: AtomicI64,
    is_asking: AtomicBool,
}

/// The certificates of a server that are stapled to.
pub(crate) struct Stapler {
    entries: Vec<Arc<Entry>>,
    staples: Arc<Staples>,
}

impl fmt::Debug for Stapler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stapler")
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

/// One certificate, as the configuration has it.
pub(super) struct Certificate<'a> {
    pub(super) path: &'a Path,
    pub(super) span: Span,
    pub(super) key: &'a Arc<CertifiedKey>,
}

impl Stapler {
    /// `known` are certificates among which an issuer is looked for that is not sent; `responder` is asked in
    /// place of those that the certificates name. What cannot be stapled to is warned of.
    pub(super) fn new(
        certificates: &[Certificate<'_>],
        known: &[CertificateDer<'static>],
        responder: Option<&Url>,
        staples: Arc<Staples>,
    ) -> (Self, Vec<Diagnostic>) {
        let mut warnings = Vec::new();
        let mut entries = Vec::new();
        for (place, certificate) in certificates.iter().enumerate() {
            match entry(place, certificate, known, responder) {
                Ok(entry) => entries.push(Arc::new(entry)),
                Err(why) => {
                    let path = certificate.path.display();
                    let message = format!("\"ssl_stapling\" ignored, {why} \"{path}\"");
                    let warning = Diagnostic::new(certificate.span, message)
                        .label("nothing is stapled to this certificate");
                    warnings.push(warning.warn());
                }
            }
        }
        (Self { entries, staples }, warnings)
    }

    /// Asks for what is missing or old. A handshake does not wait for it.
    pub(crate) fn refresh(
        &self,
        resolver: &Resolver,
        now_s: i64,
        say: impl Fn(String) + Clone + 'static,
    ) {
        for entry in &self.entries {
            let is_due = entry.due_at_s.load(Ordering::Relaxed) <= now_s;
            if !is_due || entry.is_asking.swap(true, Ordering::Relaxed) {
                continue;
            }
            let (entry, staples) = (entry.clone(), self.staples.clone());
            let (resolver, say) = (resolver.clone(), say.clone());
            revolve_reactor::spawn(async move {
                let next_s = match entry.ask(&resolver, &staples, now_s).await {
                    Ok(next_s) => next_s,
                    Err(why) => {
                        let url = &entry.url;
                        say(format!(
                            "{why} while requesting certificate status, responder: {url}"
                        ));
                        now_s + RETRY_S
                    }
                };
                entry.due_at_s.store(next_s, Ordering::Relaxed);
                entry.is_asking.store(false, Ordering::Relaxed);
            });
        }
    }
}

fn entry(
    place: usize,
    certificate: &Certificate<'_>,
    known: &[CertificateDer<'static>],
    responder: Option<&Url>,
) -> Result<Entry, &'static str> {
    let chain = &certificate.key.cert;
    let own = chain.first().ok_or("no certificate in")?;
    let issuer = revolve_tls::issuer_of(own, chain.iter().skip(1).chain(known));
    let issuer = issuer.ok_or("issuer certificate not found for certificate")?;
    let url = match responder {
        Some(url) => url.clone(),
        None => {
            let url = ocsp::responder(own);
            let url = url.ok_or("no OCSP responder URL in the certificate")?;
            Url::parse(&url).ok_or("invalid URL prefix in OCSP responder in the certificate")?
        }
    };
    Ok(Entry {
        place,
        key: certificate.key.clone(),
        issuer: issuer.clone().into_owned(),
        url,
        due_at_s: AtomicI64::new(0),
        is_asking: AtomicBool::new(false),
    })
}

impl Entry {
    /// When it is to be asked again, in seconds since 1970.
    async fn ask(&self, resolver: &Resolver, staples: &Staples, now_s: i64) -> Result<i64, String> {
        let own = self.key.cert.first().ok_or("no certificate")?;
        let request = ocsp::request(own, &self.issuer).ok_or("no certificate")?;
        let response = fetch::post(
            resolver,
            &self.url,
            "application/ocsp-request",
            request,
            WITHIN,
        )
        .await?;
        let answered = ocsp::read(&response, own, &self.issuer, now_s);
        let answered = answered.map_err(|error| error.to_string())?;
        if answered.status == Status::Unknown {
            return Err("certificate status \"unknown\" in the OCSP response".to_owned());
        }
        staples.set(self.place, &self.key, response);
        let next_s = answered.next_update_s.unwrap_or(i64::MAX);
        Ok(next_s.min(now_s + REFRESH_S).max(now_s + RETRY_S))
    }
}
