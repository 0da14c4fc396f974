//! Certificates and keys as files hold them (PEM).

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject, SectionKind};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// What is to be known of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whom it is for, as its distinguished name is written.
    pub subject: String,
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

/// Why certificates or a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The text holds no certificate.
    NoCertificate,
    /// What is marked as a certificate is none, counted from 1.
    MalformedCertificate(usize),
    /// The text holds no private key.
    NoKey,
    /// The key is encrypted, and no password opens it.
    Encrypted,
    /// A section of the text is not closed, or is not base64.
    MalformedPem,
    /// A key of a kind or a size that is not to be had.
    UnsupportedKey(String),
    /// The key is not that of the certificate.
    Mismatch,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCertificate => f.write_str("it holds no certificate"),
            Self::MalformedCertificate(number) => {
                write!(f, "certificate {number} in it is malformed")
            }
            Self::NoKey => f.write_str("it holds no private key"),
            Self::Encrypted => f.write_str("the key is encrypted"),
            Self::MalformedPem => f.write_str("it is not well-formed PEM"),
            Self::UnsupportedKey(reason) => write!(f, "the key cannot be used ({reason})"),
            Self::Mismatch => f.write_str("key values mismatch"),
        }
    }
}

impl std::error::Error for KeyError {}

/// The certificates of a text, the server's own first.
///
/// # Errors
///
/// See [`KeyError`].
pub fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, KeyError> {
    let mut found = Vec::new();
    for section in pem_sections(text)? {
        if let Section::Certificate(der) = section {
            let parsed = X509Certificate::from_der(&der);
            let (rest, _) = parsed.map_err(|_| KeyError::MalformedCertificate(found.len() + 1))?;
            // What follows it in a "TRUSTED CERTIFICATE" is what OpenSSL is told to make of it.
            let len = der.len() - rest.len();
            found.push(CertificateDer::from(der[..len].to_vec()));
        }
    }
    match found.is_empty() {
        true => Err(KeyError::NoCertificate),
        false => Ok(found),
    }
}

enum Section {
    Certificate(Vec<u8>),
    Key(PrivateKeyDer<'static>),
    EncryptedKey,
}

/// The sections of a text that mean something here.
fn pem_sections(text: &[u8]) -> Result<Vec<Section>, KeyError> {
    // rustls' reader knows the labels of its own kinds alone.
    let text = String::from_utf8_lossy(text)
        .replace("TRUSTED CERTIFICATE-----", "CERTIFICATE-----")
        .replace("X509 CERTIFICATE-----", "CERTIFICATE-----");
    let mut found = Vec::new();
    if text.contains("ENCRYPTED PRIVATE KEY-----") || text.contains("Proc-Type: 4,ENCRYPTED") {
        found.push(Section::EncryptedKey);
        if !text.contains("BEGIN CERTIFICATE-----") {
            return Ok(found);
        }
    }
    for item in <(SectionKind, Vec<u8>)>::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = match item {
            Ok(item) => item,
            Err(pem::Error::NoItemsFound) => break,
            Err(_) => return Err(KeyError::MalformedPem),
        };
        match kind {
            SectionKind::Certificate => found.push(Section::Certificate(der)),
            SectionKind::PrivateKey => {
                found.push(Section::Key(PrivatePkcs8KeyDer::from(der).into()));
            }
            SectionKind::RsaPrivateKey => {
                found.push(Section::Key(PrivatePkcs1KeyDer::from(der).into()));
            }
            SectionKind::EcPrivateKey => {
                found.push(Section::Key(PrivateSec1KeyDer::from(der).into()));
            }
            _ => {}
        }
    }
    Ok(found)
}

/// The key of a text.
fn private_key(text: &[u8]) -> Result<PrivateKeyDer<'static>, KeyError> {
    let mut is_encrypted = false;
    for section in pem_sections(text)? {
        match section {
            Section::Key(key) => return Ok(key),
            Section::EncryptedKey => is_encrypted = true,
            Section::Certificate(_) => {}
        }
    }
    Err(match is_encrypted {
        true => KeyError::Encrypted,
        false => KeyError::NoKey,
    })
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
        not_before_s: parsed.validity().not_before.timestamp(),
        not_after_s: parsed.validity().not_after.timestamp(),
    })
}

/// Puts a chain and a key together, as their files hold them.
///
/// # Errors
///
/// See [`KeyError`].
pub fn key_pair(chain: Vec<CertificateDer<'static>>, key: &[u8]) -> Result<KeyPair, KeyError> {
    let first = chain.first().ok_or(KeyError::NoCertificate)?;
    let facts = facts(first)?;
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&private_key(key)?)
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
