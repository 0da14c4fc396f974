//! Certificates and keys as files hold them (PEM).

use std::sync::Arc;

use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::KeyError;
use crate::names::CertificateText;
use crate::{encrypted, pem};

/// What is to be known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for, as its distinguished name is written.
    pub subject: String,
    /// Who has issued it.
    pub issuer: String,
    /// The hosts and addresses that it is for.
    pub names: Vec<String>,
    /// From when to when it is valid, in seconds since 1970.
    pub not_before_s: i64,
    /// See [`not_before_s`](Self::not_before_s).
    pub not_after_s: i64,
}

/// A chain of certificates, and the key of the first of them.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// What rustls signs with.
    pub certified: Arc<CertifiedKey>,
    /// Of the first certificate.
    pub facts: Facts,
}

/// What OpenSSL calls a certificate.
const CERTIFICATE_LABELS: [&str; 3] = ["CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE"];

/// The certificates of a text, the server's own first.
///
/// # Errors
///
/// See [`KeyError`].
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let mut found = Vec::new();
    for section in pem::sections(text)? {
        if !CERTIFICATE_LABELS.contains(&section.label.as_str()) {
            continue;
        }
        let der = section.content;
        let parsed = X509Certificate::from_der(&der);
        let (rest, _) = parsed.map_err(|_| KeyError::MalformedCertificate(found.len() + 1))?;
        // What follows it in a "TRUSTED CERTIFICATE" is what OpenSSL is told to make of it.
        let len = der.len() - rest.len();
        found.push(CertificateDer::from(der[..len].to_vec()));
    }
    match found.is_empty() {
        true => Err(KeyError::NoCertificate),
        false => Ok(found),
    }
}

/// The lists of revoked certificates of a text, as DER.
///
/// # Errors
///
/// See [`KeyError`].
pub fn revocation_lists(text: &[u8]) -> Result<Vec<Vec<u8>>, KeyError> {
    use x509_parser::prelude::CertificateRevocationList;
    let mut found = Vec::new();
    for section in pem::sections(text)? {
        if section.label == "X509 CRL" {
            let parsed = CertificateRevocationList::from_der(&section.content);
            parsed.map_err(|_| KeyError::MalformedList(found.len() + 1))?;
            found.push(section.content);
        }
    }
    match found.is_empty() {
        true => Err(KeyError::NoList),
        false => Ok(found),
    }
}

/// The key of a text, which one of the passwords opens where it is encrypted.
fn private_key(text: &[u8], passwords: &[Vec<u8>]) -> Result<PrivateKeyDer<'static>, KeyError> {
    for section in pem::sections(text)? {
        let is_encrypted = encrypted::is_encrypted_by_header(&section);
        let der = |section: &pem::Section| match is_encrypted {
            true => encrypted::open_by_header(section, passwords),
            false => Ok(section.content.clone()),
        };
        return Ok(match section.label.as_str() {
            "PRIVATE KEY" => PrivatePkcs8KeyDer::from(section.content).into(),
            "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(der(&section)?).into(),
            "EC PRIVATE KEY" => PrivateSec1KeyDer::from(der(&section)?).into(),
            "ENCRYPTED PRIVATE KEY" => {
                let der = encrypted::open_pkcs8(&section.content, passwords)?;
                PrivatePkcs8KeyDer::from(der).into()
            }
            _ => continue,
        });
    }
    Err(KeyError::NoKey)
}

/// What is to be known of a certificate.
///
/// # Errors
///
/// What is not a certificate.
pub fn facts(certificate: &CertificateDer<'_>) -> Result<Facts, KeyError> {
    let parsed = X509Certificate::from_der(certificate);
    let (_, parsed) = parsed.map_err(|_| KeyError::MalformedCertificate(1))?;
    Ok(Facts {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        names: CertificateText::new(certificate).map_or(Vec::new(), |it| it.hosts()),
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
    })
}

/// The identifier of the key that a certificate was signed by, and its serial number as DER has it: by these
/// an authority knows it (RFC 9773, 4.1). `None` where it names no such key.
pub fn issuer_key_and_serial(certificate: &CertificateDer<'_>) -> Option<(Vec<u8>, Vec<u8>)> {
    use x509_parser::extensions::ParsedExtension;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let extensions = parsed.extensions().iter();
    let mut keys = extensions.filter_map(|it| match it.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.as_ref(),
        _ => None,
    });
    Some((keys.next()?.0.to_vec(), parsed.raw_serial().to_vec()))
}

/// Puts a chain and a key together, as their files hold them. A key that is encrypted is opened by the first
/// of the passwords that does.
///
/// # Errors
///
/// See [`KeyError`].
pub fn key_pair(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
    passwords: &[Vec<u8>],
) -> Result<KeyPair, KeyError> {
    let first = chain.first().ok_or(KeyError::NoCertificate)?;
    let facts = facts(first)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private_key(key, passwords)?)
        .map_err(|error| KeyError::UnsupportedKey(error.to_string()))?;
    let parsed = X509Certificate::from_der(first);
    let (_, parsed) = parsed.map_err(|_| KeyError::MalformedCertificate(1))?;
    // Not by rustls, which refuses certificates of X.509's first version that people have.
    let is_its_own = key
        .public_key()
        .is_none_or(|public| *public == *parsed.public_key().raw);
    if !is_its_own {
        return Err(KeyError::Mismatch);
    }
    Ok(KeyPair {
        certified: Arc::new(CertifiedKey::new(chain, key)),
        facts,
    })
}
