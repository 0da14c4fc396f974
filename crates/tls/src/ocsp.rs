//! Asking an authority whether it has revoked a certificate. Source: RFC 6960.

use std::fmt;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::der::{Elements, OCTETS, OID, SEQUENCE, element, time_s, written};
use crate::signatures::is_signed_by;

/// How far the clocks of others may differ from ours, in seconds. Source: nginx's `OCSP_check_validity`.
const CLOCK_SKEW_S: i64 = 300;

const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 26];
const SHA256: &[u8] = &[0x60, 0x86, 0x48, 1, 101, 3, 4, 2, 1];
const BASIC: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1];
const INTEGER: u8 = 2;
const ENUMERATED: u8 = 10;
const GENERALIZED_TIME: u8 = 24;
/// Context-specific tags, primitive and constructed.
const PRIMITIVE: u8 = 0x80;
const CONSTRUCTED: u8 = 0xa0;

/// What an authority says of a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It has not revoked it.
    Good,
    /// It has.
    Revoked,
    /// It does not know it.
    Unknown,
}

/// An answer that is to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// What it says.
    pub status: Status,
    /// Until when it is to be believed, in seconds since 1970, if it says so.
    pub next_update_s: Option<i64>,
}

/// Why an answer is not to be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OcspError {
    /// It is no answer.
    Malformed,
    /// The authority says that it cannot answer, by this number.
    Unsuccessful(u8),
    /// It is about another certificate.
    OtherCertificate,
    /// It is signed by nobody who may.
    Signature,
    /// It is too old, or not valid yet.
    Time,
}

impl fmt::Display for OcspError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("the OCSP response is malformed"),
            Self::Unsuccessful(number) => write!(f, "OCSP response not successful ({number})"),
            Self::OtherCertificate => {
                f.write_str("certificate status not found in the OCSP response")
            }
            Self::Signature => f.write_str("OCSP response is not signed by who may"),
            Self::Time => f.write_str("OCSP response is too old, or not valid yet"),
        }
    }
}

impl std::error::Error for OcspError {}

/// Where a certificate says that its authority is to be asked, by HTTP.
pub fn responder(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    certificate.extensions().iter().find_map(|extension| {
        let ParsedExtension::AuthorityInfoAccess(access) = extension.parsed_extension() else {
            return None;
        };
        access
            .accessdescs
            .iter()
            .find_map(|it| match &it.access_location {
                GeneralName::URI(url)
                    if it.access_method.to_id_string() == "1.3.6.1.5.5.7.48.1" =>
                {
                    Some((*url).to_owned())
                }
                _ => None,
            })
    })
}

/// A certificate and who has issued it.
struct Asked<'a> {
    serial: &'a [u8],
    issuer: X509Certificate<'a>,
}

fn asked<'a>(
    certificate: &'a CertificateDer<'_>,
    issuer: &'a CertificateDer<'_>,
) -> Option<Asked<'a>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let (_, issuer) = X509Certificate::from_der(issuer).ok()?;
    let serial = certificate.raw_serial();
    Some(Asked { serial, issuer })
}

impl Asked<'_> {
    /// What names the certificate: its issuer's name and key, hashed, and its number.
    fn name_and_key(
        &self,
        algorithm: &'static digest::Algorithm,
    ) -> (digest::Digest, digest::Digest) {
        let key = &self.issuer.public_key().subject_public_key.data;
        (
            digest::digest(algorithm, self.issuer.subject().as_raw()),
            digest::digest(algorithm, key),
        )
    }

    /// Whether a `CertID` is of this certificate.
    fn is_named_by(&self, id: &[u8]) -> Option<bool> {
        let mut id = Elements(id);
        let algorithm = match Elements(id.take(SEQUENCE)?).take(OID)? {
            SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            SHA256 => &digest::SHA256,
            _ => return Some(false),
        };
        let (name, key) = self.name_and_key(algorithm);
        Some(
            id.take(OCTETS)? == name.as_ref()
                && id.take(OCTETS)? == key.as_ref()
                && id.take(INTEGER)? == self.serial,
        )
    }
}

/// What an authority is asked of a certificate that it has issued; `None` where one of them is none.
pub fn request(certificate: &CertificateDer<'_>, issuer: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let asked = asked(certificate, issuer)?;
    let (name, key) = asked.name_and_key(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    let algorithm = written(SEQUENCE, &[&written(OID, &[SHA1]), &[5, 0]]);
    let id = written(
        SEQUENCE,
        &[
            &algorithm,
            &written(OCTETS, &[name.as_ref()]),
            &written(OCTETS, &[key.as_ref()]),
            &written(INTEGER, &[asked.serial]),
        ],
    );
    // CertID, Request, requestList, TBSRequest, OCSPRequest.
    Some((0..4).fold(id, |inside, _| written(SEQUENCE, &[&inside])))
}

/// Reads what an authority says of a certificate that it has issued, at a time in seconds since 1970.
///
/// # Errors
///
/// Why that is not to be believed.
pub fn read(
    response: &[u8],
    certificate: &CertificateDer<'_>,
    issuer: &CertificateDer<'_>,
    now_s: i64,
) -> Result<Answered, OcspError> {
    let asked = asked(certificate, issuer).ok_or(OcspError::Malformed)?;
    let mut outer = Elements(element(response).ok_or(OcspError::Malformed)?.0);
    match outer.take(ENUMERATED).ok_or(OcspError::Malformed)? {
        [0] => {}
        other => {
            let number = other.first().copied().unwrap_or(u8::MAX);
            return Err(OcspError::Unsuccessful(number));
        }
    }
    let basic = basic(&mut outer).ok_or(OcspError::Malformed)?;
    if !is_signed(basic, &asked, now_s) {
        return Err(OcspError::Signature);
    }
    let single = single(basic, &asked).ok_or(OcspError::Malformed)?;
    let single = single.ok_or(OcspError::OtherCertificate)?;
    let is_early = single.this_update_s > now_s + CLOCK_SKEW_S;
    let is_late = single
        .next_update_s
        .is_some_and(|at| at < now_s - CLOCK_SKEW_S);
    if is_early || is_late {
        return Err(OcspError::Time);
    }
    Ok(Answered {
        status: single.status,
        next_update_s: single.next_update_s,
    })
}

/// The `BasicOCSPResponse` of what follows the status, as a whole.
fn basic<'a>(outer: &mut Elements<'a>) -> Option<&'a [u8]> {
    let mut bytes = Elements(Elements(outer.take(CONSTRUCTED)?).take(SEQUENCE)?);
    (bytes.take(OID)? == BASIC).then_some(())?;
    bytes.take(OCTETS)
}

/// Whether it is signed by the issuer, or by somebody whom that has appointed.
fn is_signed(basic: &[u8], asked: &Asked<'_>, now_s: i64) -> bool {
    if is_signed_by(basic, asked.issuer.public_key()) {
        return true;
    }
    let certificates = || {
        let mut parts = Elements(element(basic)?.0);
        let (_, _, _) = (parts.whole()?, parts.whole()?, parts.whole()?);
        Elements(parts.take(CONSTRUCTED)?).take(SEQUENCE)
    };
    let mut certificates = Elements(certificates().unwrap_or_default());
    // One is enough, and more than a few are a waste of our time.
    for _ in 0..4 {
        let Some(der) = certificates.whole() else {
            return false;
        };
        if is_appointed(der, asked, now_s, basic).unwrap_or(false) {
            return true;
        }
    }
    false
}

fn is_appointed(der: &[u8], asked: &Asked<'_>, now_s: i64, basic: &[u8]) -> Option<bool> {
    let (_, signer) = X509Certificate::from_der(der).ok()?;
    let usage = signer.extended_key_usage().ok()??;
    let validity = signer.validity();
    Some(
        usage.value.ocsp_signing
            && validity.not_before.timestamp() <= now_s
            && validity.not_after.timestamp() >= now_s
            && signer.issuer().as_raw() == asked.issuer.subject().as_raw()
            && is_signed_by(signer.as_raw(), asked.issuer.public_key())
            && is_signed_by(basic, signer.public_key()),
    )
}

struct Single {
    status: Status,
    this_update_s: i64,
    next_update_s: Option<i64>,
}

/// What is said of the certificate; nothing where others are spoken of alone.
fn single(basic: &[u8], asked: &Asked<'_>) -> Option<Option<Single>> {
    let mut parts = Elements(element(basic)?.0);
    let mut data = Elements(parts.take(SEQUENCE)?);
    if data.0.first() == Some(&CONSTRUCTED) {
        data.next()?;
    }
    // By its name, or by the hash of its key.
    data.next()?;
    data.take(GENERALIZED_TIME)?;
    let mut all = Elements(data.take(SEQUENCE)?);
    while !all.0.is_empty() {
        let mut one = Elements(all.take(SEQUENCE)?);
        if !asked.is_named_by(one.take(SEQUENCE)?)? {
            continue;
        }
        let status = match one.next()? {
            (PRIMITIVE, _) => Status::Good,
            (0xa1, _) => Status::Revoked,
            (0x82, _) => Status::Unknown,
            _ => return None,
        };
        let this_update_s = time_s(one.take(GENERALIZED_TIME)?)?;
        let next_update_s = match one.take(CONSTRUCTED) {
            Some(next) => Some(time_s(Elements(next).take(GENERALIZED_TIME)?)?),
            None => None,
        };
        return Some(Some(Single {
            status,
            this_update_s,
            next_update_s,
        }));
    }
    Some(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn certificate() -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["a.test".into()]).unwrap();
        made.cert.der().clone()
    }

    #[test]
    fn a_request_names_its_certificate() {
        let own = certificate();
        let request = request(&own, &own).unwrap();
        let mut id = &request[..];
        for _ in 0..4 {
            id = element(id).unwrap().0;
        }
        let asked = asked(&own, &own).unwrap();
        assert_eq!(asked.is_named_by(element(id).unwrap().0), Some(true));
        let other = certificate();
        let other = super::asked(&other, &other).unwrap();
        assert_eq!(other.is_named_by(element(id).unwrap().0), Some(false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let own = certificate();
            prop_assert!(read(&bytes, &own, &own, 0).is_err());
        }

        /// The outside is sound, and what is in it is anything.
        #[test]
        fn any_answer_is_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let own = certificate();
            let parts = written(SEQUENCE, &[&written(SEQUENCE, &[&bytes]), &bytes, &bytes]);
            let kind = written(OID, &[BASIC]);
            for basic in [&bytes, &parts] {
                let inside = written(SEQUENCE, &[&kind, &written(OCTETS, &[basic])]);
                let status = written(ENUMERATED, &[&[0]]);
                let answer = written(SEQUENCE, &[&status, &written(CONSTRUCTED, &[&inside])]);
                prop_assert_eq!(read(&answer, &own, &own, 0), Err(OcspError::Signature));
                let asked = asked(&own, &own).unwrap();
                let _ = single(basic, &asked);
            }
        }
    }
}
