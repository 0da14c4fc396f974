//! What a server makes of `revolve-tls`: its certificates, and what it agrees to, from the files and the
//! words of its configuration; and the same towards servers behind it.

mod by_variable;
mod client_ocsp;
mod fetch;
mod recipe;
pub(crate) mod sessions;
mod stapling;
pub(crate) mod upstream;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revolve_conf::{Diagnostic, Diagnostics, Secrets, Span};
use revolve_tls::rustls::ServerConfig;
use revolve_tls::rustls::pki_types::CertificateDer;
use revolve_tls::rustls::sign::CertifiedKey;
use revolve_tls::{Facts, KeyError, KeyPair, ServerOptions, Staples, Trust};

use self::by_variable::NamedByVariable;
pub(crate) use self::by_variable::{ByVariable, CacheLimits};
pub(crate) use self::client_ocsp::{AnswerZone, Answers, Checked, ClientOcsp};
pub(crate) use self::fetch::Url;
use self::recipe::{Recipe, SessionPlace};
use self::sessions::Bound;
pub(crate) use self::stapling::Stapler;
pub(crate) use self::words::{Command, Terms, Versions, ciphers, command, curves, protocols};
use crate::config::variable::Value;
use crate::zones::ZoneId;

/// Sessions that are kept where early data is taken and no cache is named.
const EARLY_SESSIONS: usize = 4096;

/// Early data that is taken of a client, in bytes. Source: nginx, which takes OpenSSL's default.
const EARLY_BYTES_MAX: u32 = 16384;

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
    fn named(&self) -> NamedByVariable {
        use std::os::unix::ffi::OsStrExt;
        let literal = || Value::literal(self.path.as_os_str().as_bytes());
        NamedByVariable {
            value: self.value.clone().unwrap_or_else(literal),
            folder: self.path.clone(),
        }
    }
}

/// Whether clients show who they are (`ssl_verify_client`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verify {
    /// They are not asked.
    Off,
    /// They have to.
    On,
    /// What they show has to be good.
    Optional,
    /// The same, but that nobody has to know who has issued it.
    OptionalNoCa,
}

/// What a `server` says of asking authorities.
#[derive(Debug)]
pub(crate) struct OcspOptions {
    /// Whether answers about its own certificates are stapled to them.
    pub(crate) staples: bool,
    /// Who is asked in place of whom the certificates name.
    pub(crate) stapling_responder: Option<Url>,
    /// Which of clients' certificates are asked about, where, and where answers are kept.
    pub(crate) checked: Checked,
    pub(crate) responder: Option<Url>,
    pub(crate) zone: Option<ZoneId>,
}

/// What a `server` says of its TLS.
#[derive(Debug)]
pub(crate) struct TlsOptions<'a> {
    pub(crate) certificates: &'a [NamedFile],
    /// Their keys, in the same order.
    pub(crate) keys: &'a [NamedFile],
    /// Passwords that open them, one a line.
    pub(crate) passwords: Option<&'a NamedFile>,
    pub(crate) terms: Terms,
    /// The zone that sessions are kept in, or how many the worker keeps; 0 for none.
    pub(crate) session_zone: Option<ZoneId>,
    pub(crate) sessions_max: usize,
    pub(crate) session_timeout_s: u32,
    /// Files of keys for tickets, the first of which seals.
    pub(crate) ticket_keys: &'a [NamedFile],
    pub(crate) takes_early_data: bool,
    pub(crate) compresses_certificates: bool,
    /// How certificates are kept that variables name.
    pub(crate) cache: CacheLimits,
    /// An OCSP response of its own.
    pub(crate) stapling: Option<&'a NamedFile>,
    pub(crate) ocsp: OcspOptions,
    pub(crate) verify: Verify,
    /// Authorities that clients are asked for, and those that are trusted besides.
    pub(crate) client_certificate: Option<&'a NamedFile>,
    pub(crate) trusted_certificate: Option<&'a NamedFile>,
    pub(crate) crl: Option<&'a NamedFile>,
    pub(crate) depth_max: usize,
}

/// How clients are judged.
#[derive(Debug)]
pub(crate) struct ClientTrust {
    pub(crate) trust: Trust,
    /// Who asks whether their certificates were revoked.
    pub(crate) ocsp: Option<ClientOcsp>,
    /// What is alike where clients are judged alike: who was taken by the one is taken by the other.
    pub(crate) context: Vec<u8>,
}

/// The certificates of a server.
#[derive(Debug)]
pub(crate) enum Certificates {
    /// Read with the configuration.
    Fixed(Arc<ServerConfig>),
    /// Read when a handshake names them.
    ByVariable(Box<ByVariable>),
}

/// What comes of the files and words.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) certificates: Certificates,
    /// What is to be known of those that were read, by their files.
    pub(crate) facts: Vec<(PathBuf, Facts)>,
    /// Where clients show who they are.
    pub(crate) clients: Option<ClientTrust>,
    /// Who asks authorities about the certificates.
    pub(crate) stapler: Option<Stapler>,
    /// The zone of sessions, and who waits for it.
    pub(crate) shared: Option<(ZoneId, Bound)>,
}

/// Reads the files, and puts together what rustls is told. What is wrong goes to the diagnostics.
pub(crate) fn load(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Option<Loaded> {
    match try_load(options, secrets, diagnostics) {
        Ok(loaded) => Some(loaded),
        Err(diagnostic) => {
            diagnostics.push(diagnostic);
            None
        }
    }
}

fn try_load(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Result<Loaded, Diagnostic> {
    let (mut recipe, clients) = recipe(options, secrets)?;
    let shared = match &recipe.sessions {
        SessionPlace::Shared(table) => options.session_zone.map(|zone| (zone, table.clone())),
        _ => None,
    };
    if let Some(pairs) = by_variable(options) {
        let passwords = passwords(options.passwords, secrets)?;
        let limits = options.cache;
        let named = ByVariable::new(pairs, passwords, recipe, limits);
        return Ok(Loaded {
            certificates: Certificates::ByVariable(Box::new(named)),
            facts: Vec::new(),
            clients,
            stapler: None,
            shared,
        });
    }
    let mut keys = Vec::new();
    let mut facts = Vec::new();
    for (certificate, key) in options.certificates.iter().zip(options.keys) {
        let files = (certificate, key);
        let pair = load_key_pair(files, options.passwords, secrets, diagnostics)?;
        keys.push(pair.certified);
        facts.push((certificate.path.clone(), pair.facts));
    }
    if let Some(file) = options.stapling {
        let response = read(file, secrets, "ssl_stapling_file")?;
        for key in &mut keys {
            Arc::make_mut(key).ocsp = Some(response.clone());
        }
    }
    let stapler = match options.ocsp.staples && options.stapling.is_none() {
        true => Some(stapler(options, &keys, &mut recipe, secrets, diagnostics)?),
        false => None,
    };
    let span = options.certificates.first().map(|file| file.span);
    let config = recipe.build(keys).map_err(|error| {
        let message = format!("TLS cannot be set up as configured: {error}");
        Diagnostic::new(span, message)
    })?;
    Ok(Loaded {
        certificates: Certificates::Fixed(config),
        facts,
        clients,
        stapler,
        shared,
    })
}

/// Who asks authorities about these certificates, and gives what they say to the recipe.
fn stapler(
    options: &TlsOptions<'_>,
    keys: &[Arc<CertifiedKey>],
    recipe: &mut Recipe,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) -> Result<Stapler, Diagnostic> {
    let known = match options.trusted_certificate {
        Some(file) => certificates(file, secrets)?,
        None => Vec::new(),
    };
    let certificates = options.certificates.iter().zip(keys);
    let certificates: Vec<_> = certificates
        .map(|(file, key)| stapling::Certificate {
            path: &file.path,
            span: file.span,
            key,
        })
        .collect();
    let staples = Arc::<Staples>::default();
    recipe.options.staples = Some(staples.clone());
    let responder = options.ocsp.stapling_responder.as_ref();
    let (stapler, warnings) = Stapler::new(&certificates, &known, responder, staples);
    for warning in warnings {
        diagnostics.push(warning);
    }
    Ok(stapler)
}

/// The pairs whose names variables make; where one is, all are.
fn by_variable(options: &TlsOptions<'_>) -> Option<Vec<(NamedByVariable, NamedByVariable)>> {
    let mut files = options.certificates.iter().chain(options.keys);
    if files.all(|file| file.value.is_none()) {
        return None;
    }
    let pairs = options.certificates.iter().zip(options.keys);
    Some(
        pairs
            .map(|(certificate, key)| (certificate.named(), key.named()))
            .collect(),
    )
}

/// What is agreed to, and how clients are judged.
fn recipe(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
) -> Result<(Recipe, Option<ClientTrust>), Diagnostic> {
    let span = options.certificates.first().map(|file| file.span);
    let (clients, authorities) = clients(options, secrets)?.unzip();
    let terms = options.terms.clone();
    // Early data is safe against replay where sessions are kept here and used once.
    let ticket_secrets = match terms.has_tickets && !options.takes_early_data {
        true => ticket_secrets(options, secrets, span)?,
        false => Vec::new(),
    };
    let sessions = match (options.session_zone, options.sessions_max) {
        (Some(_), _) => SessionPlace::Shared(Default::default()),
        (None, most) if options.takes_early_data => SessionPlace::Worker(most.max(EARLY_SESSIONS)),
        (None, 0) => SessionPlace::Nowhere,
        (None, most) => SessionPlace::Worker(most),
    };
    let agreed = ServerOptions {
        has_tls12: terms.versions.0,
        has_tls13: terms.versions.1,
        suites: terms.suites,
        groups: terms.groups,
        prefers_own_ciphers: terms.prefers_own_ciphers,
        protocols: vec![
            b"http/1.1".to_vec(),
            b"http/1.0".to_vec(),
            b"http/0.9".to_vec(),
        ],
        authorities,
        compresses_certificates: options.compresses_certificates,
        early_data_bytes_max: match options.takes_early_data {
            true => EARLY_BYTES_MAX,
            false => 0,
        },
        ..ServerOptions::default()
    };
    let recipe = Recipe {
        options: agreed,
        ticket_secrets,
        sessions,
        session_timeout_s: options.session_timeout_s,
        context: clients.iter().flat_map(|it| it.context.clone()).collect(),
    };
    Ok((recipe, clients))
}

/// The names of authorities, as DER.
type Authorities = Vec<Vec<u8>>;

/// How clients are judged, and the names of whom they are asked for.
fn clients(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
) -> Result<Option<(ClientTrust, Authorities)>, Diagnostic> {
    if options.verify == Verify::Off {
        return Ok(None);
    }
    let (asked, known) = (options.client_certificate, options.trusted_certificate);
    let (trust, authorities) = load_trust(asked, known, options.crl, options.depth_max, secrets)?;
    let ocsp = &options.ocsp;
    let mut context = vec![
        options.verify as u8,
        options.crl.is_some().into(),
        ocsp.checked as u8,
    ];
    context.extend(
        ocsp.responder
            .iter()
            .flat_map(|url| url.to_string().into_bytes()),
    );
    context.extend_from_slice(&options.depth_max.to_be_bytes());
    for file in [asked, known, options.crl].into_iter().flatten() {
        let content = read(file, secrets, "")?;
        context.extend_from_slice(&content.len().to_be_bytes());
        context.extend_from_slice(&content);
    }
    let ocsp = (ocsp.checked != Checked::Nothing)
        .then(|| ClientOcsp::new(ocsp.checked, ocsp.responder.clone(), ocsp.zone));
    let context = revolve_tls::digest(&context);
    let clients = ClientTrust {
        trust,
        ocsp,
        context,
    };
    Ok(Some((clients, authorities)))
}

/// Reads certificates, so that what is wrong with them is said.
pub(crate) fn check_certificates(
    file: &NamedFile,
    secrets: &mut Secrets,
) -> Result<(), Diagnostic> {
    certificates(file, secrets).map(|_| ())
}

fn certificates(
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

fn ticket_secrets(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
    span: Option<Span>,
) -> Result<Vec<Vec<u8>>, Diagnostic> {
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
    Ok(keys)
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
