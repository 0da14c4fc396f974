//! What a server makes of `revolve-tls`: its certificates, and what it agrees to, from the files and the
//! words of its configuration; and the same towards servers behind it.

mod by_variable;
mod client_ocsp;
mod fetch;
mod files;
mod recipe;
pub(crate) mod sessions;
mod stapling;
mod ticket_keys;
pub(crate) mod upstream;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use revolve_conf::{Diagnostic, Diagnostics, Secrets};
use revolve_tls::rustls::ServerConfig;
use revolve_tls::rustls::sign::CertifiedKey;
use revolve_tls::{Facts, ServerOptions, Staples, Trust};

use self::by_variable::NamedByVariable;
pub(crate) use self::by_variable::{ByVariable, CacheLimits};
pub(crate) use self::client_ocsp::{AnswerZone, Answers, Checked, ClientOcsp};
pub(crate) use self::fetch::{Answer, Question, Url, ask};
use self::files::{Authorities, certificates, load_key_pair, load_trust, passwords};
pub(crate) use self::files::{NamedFile, check_certificates, read};
use self::recipe::{Recipe, SessionPlace, TicketPlace};
use self::sessions::Bound;
pub(crate) use self::stapling::Stapler;
pub(crate) use self::ticket_keys::RotatedSecrets;
pub(crate) use self::words::{Command, Terms, Versions, ciphers, command, curves, protocols};
use crate::zones::ZoneId;

/// Sessions that are kept where early data is taken and no cache is named.
const EARLY_SESSIONS: usize = 4096;

/// Early data that is taken of a client, in bytes. Source: nginx, which takes OpenSSL's default.
const EARLY_BYTES_MAX: u32 = 16384;

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
    Fixed(Fixed),
    /// Read when a handshake names them.
    ByVariable(Box<ByVariable>),
}

/// Certificates that were read with the configuration, and what is spoken behind them.
#[derive(Debug)]
pub(crate) struct Fixed {
    http1: Arc<ServerConfig>,
    with_http2: Arc<ServerConfig>,
}

impl Fixed {
    fn new(config: Arc<ServerConfig>) -> Self {
        Self {
            with_http2: with_http2(&config),
            http1: config,
        }
    }

    /// For a server that speaks HTTP/2 too, or not.
    pub(crate) fn config(&self, is_http2: bool) -> Arc<ServerConfig> {
        match is_http2 {
            true => self.with_http2.clone(),
            false => self.http1.clone(),
        }
    }
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
    /// The secrets of tickets that wait for their zone.
    pub(crate) ticket_secrets: Option<RotatedSecrets>,
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
) -> Result<Loaded, Diagnostic> {
    let (mut recipe, clients) = recipe(options, secrets)?;
    let shared = match &recipe.sessions {
        SessionPlace::Shared(table) => options.session_zone.map(|zone| (zone, table.clone())),
        _ => None,
    };
    let ticket_secrets = match &recipe.tickets {
        TicketPlace::Rotated(secrets) => Some(secrets.clone()),
        TicketPlace::Nowhere | TicketPlace::Named(_) => None,
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
            ticket_secrets,
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
        certificates: Certificates::Fixed(Fixed::new(config)),
        facts,
        clients,
        stapler,
        shared,
        ticket_secrets,
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
    let (clients, authorities) = clients(options, secrets)?.unzip();
    let terms = options.terms.clone();
    // Early data is safe against replay where sessions are kept here and used once.
    let tickets = match terms.has_tickets && !options.takes_early_data {
        true if options.ticket_keys.is_empty() => {
            TicketPlace::Rotated(RotatedSecrets::new(options.session_timeout_s))
        }
        true => TicketPlace::Named(ticket_secrets(options, secrets)?),
        false => TicketPlace::Nowhere,
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
        tickets,
        sessions,
        session_timeout_s: options.session_timeout_s,
        context: clients.iter().flat_map(|it| it.context.clone()).collect(),
    };
    Ok((recipe, clients))
}

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

fn ticket_secrets(
    options: &TlsOptions<'_>,
    secrets: &mut Secrets,
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
    Ok(keys)
}
