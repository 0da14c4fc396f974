//! Whether clients' certificates were revoked, asked of who has issued them (`ssl_ocsp`).

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::OnceLock;

use revolve_shm::{Table, TableOptions, ZoneError};
use revolve_tls::VerifyError;
use revolve_tls::ocsp::{self, Status};
use revolve_tls::rustls::pki_types::CertificateDer;

use super::fetch::{self, Url};
use super::stapling::WITHIN;
use crate::net::resolver::Resolver;
use crate::zones::{Key, ZoneId, ZoneKind, ZoneSpec, ZoneState, key_of};

/// The directive that declares a zone of answers.
pub(crate) const ZONE: &str = "ssl_ocsp_cache";

/// Bytes of an answer in a zone, with what the table needs.
const ENTRY_BYTES: u64 = 96;
const SCHEMA: u64 = 1;

/// What `ssl_ocsp` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    /// Nothing.
    Nothing,
    /// The client's own certificate.
    Own,
    /// All of the chain.
    All,
}

/// What was answered, and until when that holds, in seconds since 1970.
type Record = [u8; 16];

/// A zone of answers.
#[derive(Debug)]
pub(crate) struct AnswerZone;

impl ZoneKind for AnswerZone {
    fn directive(&self) -> &'static str {
        ZONE
    }

    fn create(&self, spec: &ZoneSpec) -> Result<Box<dyn ZoneState>, ZoneError> {
        let entries = usize::try_from(spec.bytes / ENTRY_BYTES).unwrap_or(usize::MAX);
        let options = TableOptions::new(&spec.name)
            .entries_max(entries.max(1))
            .shards((entries / 1024).clamp(1, 64))
            .schema(SCHEMA);
        Ok(Box::new(Answers(Arc::new(Table::create(&options)?))))
    }

    fn open(&self, file: OwnedFd, _: u64) -> Result<Box<dyn ZoneState>, ZoneError> {
        Ok(Box::new(Answers(Arc::new(Table::open(file, SCHEMA)?))))
    }
}

/// A zone of answers, open.
pub(crate) struct Answers(Arc<Table<Key, Record>>);

impl fmt::Debug for Answers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answers").finish_non_exhaustive()
    }
}

impl ZoneState for Answers {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.descriptor()
    }
}

/// How clients' certificates are asked about.
pub(crate) struct ClientOcsp {
    checked: Checked,
    responder: Option<Url>,
    pub(crate) zone: Option<ZoneId>,
    answers: OnceLock<Arc<Table<Key, Record>>>,
}

impl fmt::Debug for ClientOcsp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOcsp")
            .field("checked", &self.checked)
            .finish_non_exhaustive()
    }
}

impl ClientOcsp {
    pub(super) fn new(checked: Checked, responder: Option<Url>, zone: Option<ZoneId>) -> Self {
        Self {
            checked,
            responder,
            zone,
            answers: OnceLock::new(),
        }
    }

    /// Has answers be kept in their zone, which is open now.
    pub(crate) fn bind(&self, answers: &Answers) {
        let _ = self.answers.set(answers.0.clone());
    }

    /// Asks about the certificates of a path, each of which the next has issued.
    ///
    /// Errors: the client is not taken; what the log says besides goes to `say`.
    pub(crate) async fn check(
        &self,
        path: &[CertificateDer<'static>],
        resolver: &Resolver,
        now_s: i64,
        say: impl Fn(String),
    ) -> Result<(), VerifyError> {
        let most = match self.checked {
            Checked::Nothing => 0,
            Checked::Own => 1,
            Checked::All => usize::MAX,
        };
        for pair in path.windows(2).take(most) {
            let [certificate, issuer] = pair else {
                break;
            };
            let status = match self.known(certificate, now_s) {
                Some(status) => status,
                None => match self.ask(certificate, issuer, resolver, now_s).await {
                    Ok(status) => status,
                    Err(why) => {
                        say(format!("{why} while requesting certificate status"));
                        return Err(VerifyError::OCSP_FAILED);
                    }
                },
            };
            match status {
                Status::Good => {}
                Status::Revoked => return Err(VerifyError::REVOKED),
                Status::Unknown => return Err(VerifyError::OCSP_UNKNOWN),
            }
        }
        Ok(())
    }

    async fn ask(
        &self,
        certificate: &CertificateDer<'_>,
        issuer: &CertificateDer<'_>,
        resolver: &Resolver,
        now_s: i64,
    ) -> Result<Status, String> {
        let named = || Url::parse(&ocsp::responder(certificate)?);
        let url = self.responder.clone().or_else(named);
        let url = url.ok_or("no OCSP responder URL in the certificate")?;
        let request = ocsp::request(certificate, issuer).ok_or("no certificate")?;
        let kind = "application/ocsp-request";
        let response = fetch::post(resolver, &url, kind, request, WITHIN).await;
        let response = response.map_err(|why| format!("{why}, responder: {url}"))?;
        let answered = ocsp::read(&response, certificate, issuer, now_s);
        let answered = answered.map_err(|error| error.to_string())?;
        // What says nothing of its end holds for this time alone. Source: nginx's `ngx_ssl_ocsp_cache_store`.
        if let Some(until_s) = answered.next_update_s {
            self.keep(certificate, answered.status, until_s);
        }
        Ok(answered.status)
    }

    fn known(&self, certificate: &CertificateDer<'_>, now_s: i64) -> Option<Status> {
        let table = self.answers.get()?;
        let key = key_of(certificate, |bytes| table.keyed_hash(bytes));
        let record = table.get(&key).ok()??;
        let (until_s, status) = record.split_first_chunk()?;
        (i64::from_le_bytes(*until_s) > now_s).then_some(())?;
        Some(match status.first()? {
            0 => Status::Good,
            1 => Status::Revoked,
            _ => Status::Unknown,
        })
    }

    fn keep(&self, certificate: &CertificateDer<'_>, status: Status, until_s: i64) {
        let Some(table) = self.answers.get() else {
            return;
        };
        let key = key_of(certificate, |bytes| table.keyed_hash(bytes));
        let mut record = [0; 16];
        record[..8].copy_from_slice(&until_s.to_le_bytes());
        record[8] = match status {
            Status::Good => 0,
            Status::Revoked => 1,
            Status::Unknown => 2,
        };
        // That it is not kept costs another question.
        let _ = table.insert(&key, &record);
    }
}
