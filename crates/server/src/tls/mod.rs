//! What a server makes of `revolve-tls`: its certificates, and what it agrees to, from the files and the
//! words of its configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revolve_conf::{Diagnostic, Diagnostics, Secrets, Span};
use revolve_tls::rustls::crypto::SupportedKxGroup;
use revolve_tls::rustls::server::{ServerSessionMemoryCache, StoresServerSessions};
use revolve_tls::rustls::sign::CertifiedKey;
use revolve_tls::rustls::{ServerConfig, SupportedCipherSuite};
use revolve_tls::{KeyError, ServerOptions, Tickets};

/// Sessions that are kept where early data is taken and no cache is named.
const EARLY_SESSIONS: usize = 4096;

/// Early data that is taken of a client, in bytes. Source: nginx, which takes OpenSSL's default.
const EARLY_BYTES_MAX: u32 = 16384;

/// A file that a directive names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamedFile {
    pub(crate) path: PathBuf,
    pub(crate) span: Span,
}

/// What a `server` says of its TLS.
#[derive(Debug)]
pub(crate) struct TlsOptions<'a> {
    pub(crate) certificates: &'a [NamedFile],
    /// Their keys, in the same order.
    pub(crate) keys: &'a [NamedFile],
    pub(crate) has_tls12: bool,
    pub(crate) has_tls13: bool,
    pub(crate) suites: &'a [SupportedCipherSuite],
    pub(crate) groups: &'a [&'static dyn SupportedKxGroup],
    pub(crate) prefers_own_ciphers: bool,
    /// Sessions that are kept; 0 for none.
    pub(crate) sessions_max: usize,
    pub(crate) session_timeout_s: u32,
    pub(crate) has_tickets: bool,
    /// Files of keys for tickets, the first of which seals.
    pub(crate) ticket_keys: &'a [NamedFile],
    pub(crate) takes_early_data: bool,
    /// An OCSP response of its own.
    pub(crate) stapling: Option<&'a NamedFile>,
}

/// Reads the files, and puts together what rustls is told. What is wrong goes to the diagnostics.
pub(crate) fn load(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<ServerConfig>> {
    match try_load(options, secrets, diagnostics) {
        Ok(config) => Some(config),
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            None
        }
    }
}

/// The same, for where HTTP/2 is spoken too: it is what both sides would rather have.
pub(crate) fn with_http2(config: &ServerConfig) -> Arc<ServerConfig> {
    let mut config = config.clone();
    config.alpn_protocols.insert(0, b"h2".to_vec());
    Arc::new(config)
}

fn try_load(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Result<Arc<ServerConfig>, Diagnostic> {
    let mut keys = Vec::new();
    for (certificate, key) in options.certificates.iter().zip(options.keys) {
        keys.push(key_pair(certificate, key, secrets, diagnostics)?);
    }
    if let Some(file) = options.stapling {
        let response = read(file, secrets, "ssl_stapling_file")?;
        for key in &mut keys {
            Arc::make_mut(key).ocsp = Some(response.clone());
        }
    }
    let span = options.certificates.first().map(|file| file.span);
    let context = context(&keys);
    let sessions_max = match options.takes_early_data {
        true => options.sessions_max.max(EARLY_SESSIONS),
        false => options.sessions_max,
    };
    let sessions = (sessions_max > 0)
        .then(|| ServerSessionMemoryCache::new(sessions_max) as Arc<dyn StoresServerSessions>);
    // Early data is safe against replay where sessions are kept here and used once.
    let tickets = match options.has_tickets && !options.takes_early_data {
        true => Some(tickets(options, &context, secrets, span)?),
        false => None,
    };
    let built = ServerOptions {
        keys,
        has_tls12: options.has_tls12,
        has_tls13: options.has_tls13,
        suites: options.suites.to_vec(),
        groups: options.groups.to_vec(),
        prefers_own_ciphers: options.prefers_own_ciphers,
        protocols: vec![
            b"http/1.1".to_vec(),
            b"http/1.0".to_vec(),
            b"http/0.9".to_vec(),
        ],
        tickets: tickets.map(|tickets| Arc::new(tickets) as _),
        sessions,
        early_data_bytes_max: match options.takes_early_data {
            true => EARLY_BYTES_MAX,
            false => 0,
        },
    };
    built.build().map_err(|error| {
        let message = format!("TLS cannot be set up as configured: {error}");
        Diagnostic::new(span, message)
    })
}

/// What sessions are bound to: the certificates of their server.
fn context(keys: &[Arc<CertifiedKey>]) -> Vec<u8> {
    let certificates = keys.iter().filter_map(|key| key.cert.first());
    certificates.fold(Vec::new(), |mut all, certificate| {
        all.extend_from_slice(certificate);
        all
    })
}

fn tickets(
    options: &TlsOptions<'_>,
    context: &[u8],
    secrets: &mut Secrets,
    span: Option<Span>,
) -> Result<Tickets, Diagnostic> {
    let mut keys = Vec::new();
    for file in options.ticket_keys {
        let key = read(file, secrets, "ssl_session_ticket_key")?;
        if ![48, 80].contains(&key.len()) {
            let path = file.path.display();
            let message = format!("\"{path}\" must be 48 or 80 bytes");
            let len = key.len();
            return Err(Diagnostic::new(file.span, message)
                .label(format!("it has {len} bytes"))
                .help("`openssl rand 80` makes one"));
        }
        keys.push(key);
    }
    if keys.is_empty() {
        let seed = secrets.seed().map_err(|error| {
            let message = format!("no key for session tickets: {error}");
            Diagnostic::new(span, message)
        })?;
        keys.push(seed);
    }
    let tickets = Tickets::new(&keys, context, options.session_timeout_s);
    tickets.ok_or_else(|| Diagnostic::new(span, "no key for session tickets can be made"))
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

fn key_pair(
    certificate: &NamedFile,
    key: &NamedFile,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Result<Arc<CertifiedKey>, Diagnostic> {
    let chain = read(certificate, secrets, "ssl_certificate")?;
    let chain = revolve_tls::certificates(&chain).map_err(|error| {
        let path = certificate.path.display();
        let message = format!("cannot load certificate \"{path}\": {error}");
        Diagnostic::new(certificate.span, message)
            .label("expected the server's certificate and those between it and its root, as PEM")
    })?;
    let text = read(key, secrets, "ssl_certificate_key")?;
    let pair = revolve_tls::key_pair(chain, &text);
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
    Ok(pair.certified)
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
                .label("keys with a password cannot be read yet")
                .help("`openssl pkey -in this -out that` writes it without; keep that readable by root alone")
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
