//! TLS: certificates, and what is agreed to.
//!
//! ```nginx
//! listen 443 ssl;
//! ssl_certificate     /etc/ssl/site.crt;
//! ssl_certificate_key /etc/ssl/site.key;
//! ssl_protocols       TLSv1.2 TLSv1.3;
//! ```

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Diagnostics, Directive, Secrets, Span, Word, value};
use revolve_tls::rustls::crypto::SupportedKxGroup;
use revolve_tls::rustls::{HandshakeKind, ProtocolVersion, SupportedCipherSuite};
use revolve_tls::{
    Facts, TlsStream, cipher_name, cipher_name_of, group_name, group_name_of, scheme_name,
};

use crate::config::scope::{HTTP, SERVER, Scope as _, checked_once, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::Module;
use crate::http::modules::ssl_client::SslClientSettings;
use crate::http::modules::ssl_ocsp::SslOcspSettings;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::http::variables::{Builtin, text};
use crate::tls::sessions::{Bound, SessionZone, Sessions};
use crate::tls::{
    self, Answers, CacheLimits, Command, NamedFile, Stapler, Terms, TlsOptions, Versions,
};
use crate::zones::{ZoneId, Zones};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_ssl_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    ..Module::EMPTY
};

settings! {
    /// TLS: certificates, and what is agreed to.
    pub struct SslSettings / RawSsl {
        inherit {
            /// `ssl_certificate`, several times.
            certificates: Vec<NamedFile> = Vec::new(),
            /// `ssl_certificate_key`, several times.
            keys: Vec<NamedFile> = Vec::new(),
            /// `ssl_password_file`.
            password_file: Option<NamedFile> = None,
            /// `ssl_protocols`, TLSv1.2 and TLSv1.3, by default both.
            protocols: Versions = (true, true),
            /// `ssl_ciphers`, of TLS 1.2, default HIGH:!aNULL:!MD5.
            suites: Arc<[SupportedCipherSuite]> =
                revolve_tls::ciphers("HIGH:!aNULL:!MD5").suites.into(),
            /// `ssl_ecdh_curve`, default auto.
            groups: Arc<[&'static dyn SupportedKxGroup]> = revolve_tls::default_groups().into(),
            /// `ssl_prefer_server_ciphers`, default off.
            prefers_own_ciphers: bool = false,
            /// `ssl_session_cache builtin`: so many sessions, default none.
            sessions_max: usize = 0,
            /// `ssl_session_cache shared`.
            session_zone: Option<ZoneId> = None,
            /// `ssl_session_timeout`, milliseconds, default 5 min.
            session_timeout_ms: u64 = 300_000,
            /// `ssl_session_tickets`, default on.
            session_tickets: bool = true,
            /// `ssl_session_ticket_key`, several times.
            ticket_keys: Vec<NamedFile> = Vec::new(),
            /// `ssl_buffer_size`, bytes, default 16k.
            buffer_bytes: u64 = 16384,
            /// `ssl_reject_handshake`, default off.
            reject_handshake: bool = false,
            /// `ssl_early_data`, default off.
            early_data: bool = false,
            /// `ssl_stapling_file`.
            stapling_file: Option<NamedFile> = None,
            /// `ssl_certificate_compression`, default off.
            compresses_certificates: bool = false,
            /// `ssl_certificate_cache`, default off: files are looked at each time.
            cache: CacheLimits = CacheLimits::default(),
            /// `ssl_conf_command`, several times; a level that has one inherits none.
            commands: Vec<Command> = Vec::new(),
        }
        own {}
    }
}

/// Of one server: whether it has a certificate of its own, or refuses, and what it agrees to.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// None where it only refuses.
    pub(crate) certificates: Option<tls::Certificates>,
    /// What is to be known of them, by their files.
    pub(crate) facts: Vec<(PathBuf, Facts)>,
    /// The zone of sessions, and who waits for it.
    shared: Option<(ZoneId, Bound)>,
    /// The secrets of tickets, where they are ours.
    ticket_secrets: Option<tls::RotatedSecrets>,
    /// How it judges clients; None where they are not asked who they are.
    pub(crate) clients: Option<tls::ClientTrust>,
    /// Who asks authorities about its certificates.
    pub(crate) stapler: Option<Stapler>,
    /// `ssl_reject_handshake`.
    pub(crate) rejects: bool,
    /// Bytes of a record at most.
    pub(crate) record_bytes_max: u32,
}

impl ServerTls {
    /// Has sessions and secrets be kept in their zones, which are open now.
    pub(crate) fn bind(&self, zones: &Zones) {
        if let Some((zone, bound)) = &self.shared {
            bound.bind(zones.state::<Sessions>(*zone));
        }
        if let Some(secrets) = &self.ticket_secrets {
            secrets.bind(zones.secrets());
        }
        let ocsp = self
            .clients
            .as_ref()
            .and_then(|clients| clients.ocsp.as_ref());
        if let Some(ocsp) = ocsp
            && let Some(zone) = ocsp.zone
        {
            ocsp.bind(zones.state::<Answers>(zone));
        }
    }
}

impl SslSettings {
    /// What a server with these settings does; `None` where they name no certificate.
    pub(crate) fn load(
        &self,
        (clients, ocsp): (&SslClientSettings, &SslOcspSettings),
        secrets: &mut Secrets,
        diagnostics: &mut Diagnostics,
    ) -> Option<ServerTls> {
        let is_loaded = !self.certificates.is_empty();
        if !is_loaded && !self.reject_handshake {
            return None;
        }
        if self.keys.len() < self.certificates.len() {
            let last = self.certificates.last()?;
            let path = last.path.display();
            let message =
                format!("no \"ssl_certificate_key\" is defined for certificate \"{path}\"");
            diagnostics.push(Diagnostic::new(last.span, message).label("its key stands nowhere"));
            return None;
        }
        if !clients.check(ocsp, diagnostics) {
            return None;
        }
        let loaded = match is_loaded {
            true => Some(tls::load(
                &self.options(clients, ocsp),
                secrets,
                diagnostics,
            )?),
            false => None,
        };
        let mut server = ServerTls {
            certificates: None,
            facts: Vec::new(),
            shared: None,
            ticket_secrets: None,
            stapler: None,
            clients: None,
            rejects: self.reject_handshake,
            record_bytes_max: u32::try_from(self.buffer_bytes).unwrap_or(u32::MAX),
        };
        if let Some(loaded) = loaded {
            server.certificates = Some(loaded.certificates);
            server.facts = loaded.facts;
            server.shared = loaded.shared;
            server.ticket_secrets = loaded.ticket_secrets;
            server.clients = loaded.clients;
            server.stapler = loaded.stapler;
        }
        Some(server)
    }

    fn options<'a>(
        &'a self,
        clients: &'a SslClientSettings,
        ocsp: &SslOcspSettings,
    ) -> TlsOptions<'a> {
        let mut terms = Terms {
            versions: self.protocols,
            suites: self.suites.to_vec(),
            groups: self.groups.to_vec(),
            prefers_own_ciphers: self.prefers_own_ciphers,
            has_tickets: self.session_tickets,
        };
        terms.apply(&self.commands);
        TlsOptions {
            certificates: &self.certificates,
            keys: &self.keys,
            passwords: self.password_file.as_ref(),
            terms,
            session_zone: self.session_zone,
            sessions_max: self.sessions_max,
            session_timeout_s: u32::try_from(self.session_timeout_ms / 1000).unwrap_or(u32::MAX),
            ticket_keys: &self.ticket_keys,
            takes_early_data: self.early_data,
            compresses_certificates: self.compresses_certificates,
            cache: self.cache,
            stapling: self.stapling_file.as_ref(),
            ocsp: ocsp.options(),
            verify: clients.verify,
            client_certificate: clients.certificate.as_ref(),
            trusted_certificate: clients.trusted.as_ref(),
            crl: clients.crl.as_ref(),
            depth_max: usize::try_from(clients.depth_max).unwrap_or(usize::MAX),
        }
    }
}

/// nginx's words where a server is to speak TLS and has no certificate.
pub(crate) fn no_certificate(span: Option<Span>) -> Diagnostic {
    let message = "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive";
    Diagnostic::new(span, message)
        .label("this server is reached by TLS")
        .help("add `ssl_certificate` and `ssl_certificate_key`, or `ssl_reject_handshake on`")
}

const TOP: u32 = HTTP | SERVER;

const DIRECTIVES: &[DirectiveRow] = &[
    row(TOP, "ssl_certificate", Args::ONE, certificate),
    row(TOP, "ssl_certificate_key", Args::ONE, certificate_key),
    row(TOP, "ssl_protocols", Args::ONE_MORE, protocols),
    row(TOP, "ssl_ciphers", Args::ONE, ciphers),
    row(TOP, "ssl_ecdh_curve", Args::ONE, ecdh_curve),
    row(
        TOP,
        "ssl_prefer_server_ciphers",
        Args::FLAG,
        slot!(flag ssl.prefers_own_ciphers),
    ),
    row(TOP, "ssl_session_cache", Args::ONE_OR_TWO, session_cache),
    row(
        TOP,
        "ssl_session_timeout",
        Args::ONE,
        slot!(time_ms ssl.session_timeout_ms),
    ),
    row(
        TOP,
        "ssl_session_tickets",
        Args::FLAG,
        slot!(flag ssl.session_tickets),
    ),
    row(TOP, "ssl_session_ticket_key", Args::ONE, session_ticket_key),
    row(
        TOP,
        "ssl_buffer_size",
        Args::ONE,
        slot!(size ssl.buffer_bytes),
    ),
    row(
        TOP,
        "ssl_reject_handshake",
        Args::FLAG,
        slot!(flag ssl.reject_handshake),
    ),
    row(
        TOP,
        "ssl_early_data",
        Args::FLAG,
        slot!(flag ssl.early_data),
    ),
    row(TOP, "ssl_dhparam", Args::ONE, dhparam),
    row(TOP, "ssl_stapling_file", Args::ONE, stapling_file),
    row(
        TOP,
        "ssl_certificate_compression",
        Args::FLAG,
        slot!(flag ssl.compresses_certificates),
    ),
    row(
        TOP,
        "ssl_certificate_cache",
        Args::ONE_TO_THREE,
        |scope, d| {
            let limits = certificate_cache(d)?;
            set_once(&mut scope.level.settings.ssl.cache, limits, d)
        },
    ),
    row(TOP, "ssl_password_file", Args::ONE, |scope, d| {
        let file = file(scope, &d.args[0], d)?;
        set_once(&mut scope.level.settings.ssl.password_file, Some(file), d)
    }),
    row(TOP, "ssl_conf_command", Args::TWO, |scope, d| {
        let commands = tls::command(d)?;
        let slot = &mut scope.level.settings.ssl.commands;
        slot.get_or_insert_default().extend(commands);
        Ok(())
    }),
];

/// The file that a word names, which nginx looks for beside its configuration.
pub(crate) fn file(
    scope: &Scope,
    word: &Word,
    directive: &Directive,
) -> Result<NamedFile, Diagnostic> {
    let name = directive.name.text.as_str();
    if word.text.contains('$') {
        let message = format!("variables in \"{name}\" are not supported");
        return Err(Diagnostic::new(word.span, message).label("expected the path of a file"));
    }
    if let Some((scheme @ ("data" | "engine" | "store"), _)) = word.text.split_once(':') {
        let message = format!("\"{scheme}:\" in \"{name}\" is not supported");
        return Err(Diagnostic::new(word.span, message).label("expected the path of a file"));
    }
    Ok(NamedFile {
        path: scope.shared.conf_prefix.join(&word.text),
        value: None,
        span: word.span,
    })
}

/// The same of a file whose name may have variables in it, or which is the content itself (`data:`).
pub(crate) fn file_by_variable(
    scope: &mut Scope,
    directive: &Directive,
) -> Result<NamedFile, Diagnostic> {
    let word = &directive.args[0];
    if !word.text.contains('$') && !word.text.starts_with("data:") {
        return file(scope, word, directive);
    }
    Ok(NamedFile {
        path: scope.shared.conf_prefix.clone(),
        value: Some(Value::of(word, &mut scope.shared.registry)?),
        span: word.span,
    })
}

/// `off`, or `max=`, `inactive=` and `valid=`.
pub(crate) fn certificate_cache(directive: &Directive) -> Result<CacheLimits, Diagnostic> {
    let mut limits = CacheLimits::default();
    let mut has_max = false;
    for word in &directive.args {
        let wrong = || invalid_parameter(word, "expected off, or max=, inactive= and valid=");
        let time = |text: &str| {
            value::time_ms(text)
                .map(Duration::from_millis)
                .ok_or_else(wrong)
        };
        match word.text.split_once('=') {
            None if word.text == "off" && directive.args.len() == 1 => return Ok(limits),
            Some(("max", most)) => {
                let most = value::number(most)
                    .filter(|most| *most > 0)
                    .ok_or_else(wrong)?;
                limits.entries_max = usize::try_from(most).unwrap_or(usize::MAX);
                limits.inactive = limits.inactive.min(Duration::from_secs(10));
                limits.valid = limits.valid.max(Duration::from_secs(60));
                has_max = true;
            }
            Some(("inactive", text)) => limits.inactive = time(text)?,
            Some(("valid", text)) => limits.valid = time(text)?,
            _ => return Err(wrong()),
        }
    }
    if !has_max {
        let name = &directive.name.text;
        let message = format!("\"{name}\" must have the \"max\" parameter");
        return Err(
            Diagnostic::new(directive.span, message).label("expected max=, the certificates kept")
        );
    }
    Ok(limits)
}

fn certificate(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let file = file_by_variable(scope, directive)?;
    let certificates = &mut scope.level.settings.ssl.certificates;
    certificates.get_or_insert_default().push(file);
    Ok(())
}

fn certificate_key(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let file = file_by_variable(scope, directive)?;
    let keys = &mut scope.level.settings.ssl.keys;
    keys.get_or_insert_default().push(file);
    Ok(())
}

fn session_ticket_key(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let file = file(scope, &directive.args[0], directive)?;
    let keys = &mut scope.level.settings.ssl.ticket_keys;
    keys.get_or_insert_default().push(file);
    Ok(())
}

fn stapling_file(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let file = file(scope, &directive.args[0], directive)?;
    let slot = &mut scope.level.settings.ssl.stapling_file;
    set_once(slot, Some(file), directive)
}

/// Reads the file, so that what is wrong with it is said; what is in it, nothing asks yet.
fn checked_file(scope: &mut Scope, directive: &Directive) -> Result<Vec<u8>, Diagnostic> {
    let file = file(scope, &directive.args[0], directive)?;
    checked_once(scope, directive)?;
    tls::read(&file, &mut scope.shared.secrets, &directive.name.text)
}

fn dhparam(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let text = checked_file(scope, directive)?;
    let word = &directive.args[0];
    if !text.windows(13).any(|window| window == b"DH PARAMETERS") {
        let path = &word.text;
        let message = format!("PEM_read_bio_DHparams(\"{path}\") failed");
        return Err(Diagnostic::new(word.span, message).label("it holds no DH PARAMETERS"));
    }
    let warning = Diagnostic::new(word.span, "\"ssl_dhparam\" has no effect")
        .label("no suite with DHE is to be had, whose parameters these are")
        .help("clients that know DHE know ECDHE, too");
    scope.shared().diagnostics.push(warning.warn());
    Ok(())
}

fn protocols(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let warning = tls::protocols(&mut scope.level.settings.ssl.protocols, directive)?;
    warn(scope, warning);
    Ok(())
}

fn ciphers(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (suites, warning) = tls::ciphers(directive)?;
    warn(scope, warning);
    set_once(&mut scope.level.settings.ssl.suites, suites, directive)
}

fn ecdh_curve(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (groups, warning) = tls::curves(&directive.args[0], &directive.name.text)?;
    warn(scope, warning);
    set_once(
        &mut scope.level.settings.ssl.groups,
        groups.into(),
        directive,
    )
}

/// Takes note of a warning, if there is one.
pub(crate) fn warn(scope: &mut Scope, warning: Option<Diagnostic>) {
    if let Some(warning) = warning {
        scope.shared().diagnostics.push(warning);
    }
}

/// `off`, `none`, `builtin[:number]`, `shared:name:size`, the last two together.
fn session_cache(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut sessions_max = 0;
    let mut zone = None;
    for word in &directive.args {
        let wrong = || {
            let message = format!("invalid session cache \"{}\"", word.text);
            Diagnostic::new(word.span, message)
                .label("expected off, none, builtin or shared:name:size")
        };
        let mut parts = word.text.split(':');
        let found = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some("off" | "none"), None, None, None) => 0,
            (Some("builtin"), None, None, None) => 20_480,
            (Some("builtin"), Some(number), None, None) => {
                value::number(number).ok_or_else(wrong)?
            }
            (Some("shared"), Some(name), Some(bytes), None) if !name.is_empty() => {
                let bytes = value::size(bytes).ok_or_else(wrong)?;
                // Source: nginx's `8 * ngx_pagesize`.
                if bytes < 8 * 4096 {
                    let message = format!("session cache \"{}\" is too small", word.text);
                    return Err(Diagnostic::new(word.span, message).label("expected 32k at least"));
                }
                zone = Some((name, bytes, word));
                continue;
            }
            _ => return Err(wrong()),
        };
        sessions_max = sessions_max.max(usize::try_from(found).unwrap_or(usize::MAX));
    }
    if let Some((name, bytes, word)) = zone {
        let zones = &mut scope.shared.zones;
        let zone = zones.declare_shared((name, bytes), SessionZone, word)?;
        scope.level.settings.ssl.session_zone = Some(Some(zone));
    } else {
        scope.level.settings.ssl.session_zone = Some(None);
    }
    let slot = &mut scope.level.settings.ssl.sessions_max;
    set_once(slot, sessions_max, directive)
}

const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "ssl_protocol",
        get: |r, out| {
            let version = by_connection(r, |it| it.protocol_version());
            let name = match version.flatten() {
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                _ => return false,
            };
            text(name, out)
        },
    },
    Builtin {
        name: "ssl_cipher",
        get: |r, out| {
            let suite = by_connection(r, |it| it.negotiated_cipher_suite());
            suite
                .flatten()
                .is_some_and(|suite| text(cipher_name(suite.suite()), out))
        },
    },
    Builtin {
        name: "ssl_ciphers",
        get: |r, out| {
            listed(
                r,
                |tls| tls.hello().cipher_suites.clone(),
                cipher_name_of,
                out,
            )
        },
    },
    Builtin {
        name: "ssl_curve",
        get: |r, out| {
            let group = by_connection(r, |it| it.negotiated_key_exchange_group());
            let name = group.flatten().and_then(|group| group_name(group.name()));
            name.is_some_and(|name| text(name, out))
        },
    },
    Builtin {
        name: "ssl_curves",
        get: |r, out| listed(r, |tls| tls.hello().groups.clone(), group_name_of, out),
    },
    Builtin {
        name: "ssl_sigalg",
        get: |r, out| scheme(r, |tls| tls.own_scheme(), out),
    },
    Builtin {
        name: "ssl_client_sigalg",
        get: |r, out| scheme(r, |tls| tls.peer_scheme(), out),
    },
    // No key for ECH is to be had, so that it was never tried.
    Builtin {
        name: "ssl_ech_status",
        get: |_, _| false,
    },
    Builtin {
        name: "ssl_ech_outer_server_name",
        get: |_, _| false,
    },
    Builtin {
        name: "ssl_sigalgs",
        get: |r, out| {
            listed(
                r,
                |tls| tls.hello().signature_schemes.clone(),
                |_| None,
                out,
            )
        },
    },
    Builtin {
        name: "ssl_server_name",
        get: |r, out| {
            r.connection.stream.tls().is_some_and(|tls| {
                let hello = tls.hello();
                hello
                    .server_name
                    .as_deref()
                    .is_some_and(|name| text(name, out))
            })
        },
    },
    Builtin {
        name: "ssl_session_reused",
        get: |r, out| {
            let kind = by_connection(r, |it| it.handshake_kind());
            kind.flatten().is_some_and(|kind| {
                text(
                    if kind == HandshakeKind::Resumed {
                        "r"
                    } else {
                        "."
                    },
                    out,
                )
            })
        },
    },
    Builtin {
        name: "ssl_session_id",
        get: |_, _| false,
    },
    Builtin {
        name: "ssl_alpn_protocol",
        get: |r, out| {
            established(r).is_some_and(|tls| {
                tls.with_connection(|it| {
                    it.alpn_protocol()
                        .map(|name| out.extend_from_slice(name))
                        .is_some()
                })
                .unwrap_or(false)
            })
        },
    },
    Builtin {
        name: "ssl_early_data",
        get: |r, out| {
            let tls = r.connection.stream.tls();
            tls.is_some_and(|tls| tls.has_early_data() && !tls.is_established() && text("1", out))
        },
    },
];

/// A signature scheme, by its name in IANA's registry of TLS.
fn scheme(request: &Request, of: fn(&TlsStream) -> Option<u16>, out: &mut Vec<u8>) -> bool {
    let scheme = established(request).and_then(of);
    scheme
        .and_then(scheme_name)
        .is_some_and(|name| text(name, out))
}

/// The connection's TLS, where it speaks it.
pub(crate) fn established(request: &Request) -> Option<&TlsStream> {
    let tls = request.connection.stream.tls();
    tls.filter(|tls| tls.is_secure())
}

fn by_connection<T>(
    request: &Request,
    look: impl FnOnce(&revolve_tls::rustls::CommonState) -> T,
) -> Option<T> {
    established(request)?.with_connection(look)
}

/// Names with colons between them; what has none is shown as a number.
fn listed(
    request: &Request,
    list: fn(&TlsStream) -> Vec<u16>,
    name: fn(u16) -> Option<&'static str>,
    out: &mut Vec<u8>,
) -> bool {
    use std::io::Write as _;
    // The name of a certificate may ask for it before the handshake.
    let Some(tls) = request.connection.stream.tls() else {
        return false;
    };
    if tls.hello().cipher_suites.is_empty() {
        return false;
    }
    for (at, number) in list(tls).into_iter().enumerate() {
        if at > 0 {
            out.push(b':');
        }
        match name(number) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            None => {
                let _ = write!(out, "0x{number:04x}");
            }
        }
    }
    true
}
