//! The files that directives name: certificates, keys, passwords, and whom to trust.

use std::path::{Path, PathBuf};

use revolve_conf::{Diagnostic, Diagnostics, Secrets, Span};
use revolve_tls::rustls::pki_types::CertificateDer;
use revolve_tls::{KeyError, KeyPair, Trust};

use super::by_variable::NamedByVariable;
use crate::config::variable::Value;

/// A file that a directive names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    /// Where it is; where its name has variables, the folder that relative names lead from.
    pub(crate) path: PathBuf,
    /// Its name, where that has variables.
    pub(crate) value: Option<Value>,
    pub(crate) span: Span,
}

impl NamedFile {
    /// The same as what a handshake names.
    pub(super) fn named(&self) -> NamedByVariable {
        use std::os::unix::ffi::OsStrExt;
        let literal = || Value::literal(self.path.as_os_str().as_bytes());
        NamedByVariable {
            value: self.value.clone().unwrap_or_else(literal),
            folder: self.path.clone(),
        }
    }
}

/// The names of authorities, as DER.
pub(super) type Authorities = Vec<Vec<u8>>;

/// Reads certificates, so that what is wrong with them is said.
pub(crate) fn check_certificates(
    file: &NamedFile,
    secrets: &mut Secrets,
) -> Result<(), Diagnostic> {
    certificates(file, secrets).map(|_| ())
}

pub(super) fn certificates(
    file: &NamedFile,
    secrets: &mut Secrets,
) -> Result<Vec<CertificateDer<'static>>, Diagnostic> {
    let text = read(file, secrets, "")?;
    revolve_tls::certificates(&text).map_err(|error| {
        let path = file.path.display();
        let message = format!("cannot load certificates of \"{path}\": {error}");
        Diagnostic::new(file.span, message).label("expected certificates as PEM")
    })
}

/// Reads whom to trust: the certificates of both files. Whom the first has is named to who is asked.
pub(crate) fn load_trust(
    asked: Option<&NamedFile>,
    known: Option<&NamedFile>,
    crl: Option<&NamedFile>,
    depth_max: usize,
    secrets: &mut Secrets,
) -> Result<(Trust, Authorities), Diagnostic> {
    let mut of = |file: Option<&NamedFile>| match file {
        Some(file) => certificates(file, secrets),
        None => Ok(Vec::new()),
    };
    let (asked, known) = (of(asked)?, of(known)?);
    let mut authorities: Vec<Vec<u8>> = Vec::new();
    for name in Trust::new(asked.clone(), Vec::new(), 0).subjects() {
        if !authorities.contains(&name) {
            authorities.push(name);
        }
    }
    let lists = match crl {
        None => Vec::new(),
        Some(file) => {
            let text = read(file, secrets, "")?;
            revolve_tls::revocation_lists(&text).map_err(|error| {
                let path = file.path.display();
                let message = format!("cannot load revocation lists of \"{path}\": {error}");
                Diagnostic::new(file.span, message)
                    .label("expected lists as PEM, one for each authority")
            })?
        }
    };
    let all = [asked, known].concat();
    Ok((Trust::new(all, lists, depth_max), authorities))
}

/// Reads a file for a directive.
pub(crate) fn read(
    file: &NamedFile,
    secrets: &mut Secrets,
    directive: &str,
) -> Result<Vec<u8>, Diagnostic> {
    secrets.read(&file.path).map_err(|error| {
        let path = file.path.display();
        let error = revolve_conf::os_error_text(&error);
        let message = match directive {
            "ssl_certificate" => {
                format!("cannot load certificate \"{path}\": BIO_new_file() failed {error}")
            }
            "ssl_certificate_key" => {
                format!("cannot load certificate key \"{path}\": BIO_new_file() failed {error}")
            }
            _ => format!("open() \"{path}\" failed {error}"),
        };
        Diagnostic::new(file.span, message).label("this file is read by the master, as its user")
    })
}

/// Reads a chain of certificates and its key.
pub(crate) fn load_key_pair(
    (certificate, key): (&NamedFile, &NamedFile),
    passwords_file: Option<&NamedFile>,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Result<KeyPair, Diagnostic> {
    let chain = read(certificate, secrets, "ssl_certificate")?;
    let chain = revolve_tls::certificates(&chain).map_err(|error| {
        let path = certificate.path.display();
        let message = format!("cannot load certificate \"{path}\": {error}");
        Diagnostic::new(certificate.span, message)
            .label("expected the server's certificate and those between it and its root, as PEM")
    })?;
    let text = read(key, secrets, "ssl_certificate_key")?;
    let passwords = passwords(passwords_file, secrets)?;
    let pair = revolve_tls::key_pair(chain, &text, &passwords);
    let pair = pair.map_err(|error| wrong_key(&error, certificate, key))?;
    if let Some(warning) = expired(&certificate.path, pair.facts.not_after_s) {
        let subject = &pair.facts.subject;
        diagnostics.push(
            Diagnostic::new(certificate.span, warning)
                .label(format!("it is for {subject}; browsers will refuse it"))
                .help("renew it and reload")
                .warn(),
        );
    }
    Ok(pair)
}

/// The passwords of a file, one a line.
pub(crate) fn passwords(
    file: Option<&NamedFile>,
    secrets: &mut Secrets,
) -> Result<Vec<Vec<u8>>, Diagnostic> {
    let Some(file) = file else {
        return Ok(Vec::new());
    };
    let text = read(file, secrets, "")?;
    let lines = text.split(|byte| *byte == b'\n');
    let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok(lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect())
}

fn wrong_key(error: &KeyError, certificate: &NamedFile, key: &NamedFile) -> Diagnostic {
    let path = key.path.display();
    match error {
        KeyError::Mismatch => {
            let message = format!("SSL_CTX_use_PrivateKey(\"{path}\") failed ({error})");
            Diagnostic::new(key.span, message)
                .label("this is not the key of the certificate")
                .note(
                    certificate.span,
                    "the certificate; the server's own stands first in its file",
                )
        }
        KeyError::Encrypted => {
            let message = format!("cannot load certificate key \"{path}\": {error}");
            Diagnostic::new(key.span, message)
                .label("no password that was given opens it")
                .help("name a file of passwords by `ssl_password_file`, one a line")
        }
        _ => {
            let message = format!("cannot load certificate key \"{path}\": {error}");
            Diagnostic::new(key.span, message).label("expected a private key as PEM")
        }
    }
}

fn expired(path: &Path, not_after_s: i64) -> Option<String> {
    let now = std::time::SystemTime::now();
    let now_s = now.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let has_expired = not_after_s < i64::try_from(now_s).unwrap_or(i64::MAX);
    let path = path.display();
    has_expired.then(|| format!("the certificate \"{path}\" has expired"))
}
