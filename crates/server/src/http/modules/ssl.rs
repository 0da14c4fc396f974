//! TLS: certificates, and what is agreed to.
//!
//! ```nginx
//! listen 443 ssl;
//! ssl_certificate     /etc/ssl/site.crt;
//! ssl_certificate_key /etc/ssl/site.key;
//! ssl_protocols       TLSv1.2 TLSv1.3;
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Diagnostics, Directive, Secrets, Span, Word, value};
use revolve_tls::rustls::crypto::SupportedKxGroup;
use revolve_tls::rustls::{HandshakeKind, ProtocolVersion, SupportedCipherSuite};
use revolve_tls::{TlsStream, cipher_name, cipher_name_of, group_name, group_name_of};

use crate::config::scope::{
    HTTP, SERVER, Scope as _, checked_once, set_once,
};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, row, Scope, slot};
use crate::http::variables::{Builtin, text};
use crate::tls::{self, NamedFile, TlsOptions};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_ssl_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    ..Module::EMPTY
};

/// Bytes of a session in a cache, by which its size says how many it holds. Source: nginx's
/// documentation of `ssl_session_cache`: one megabyte for about 4000.
const SESSION_BYTES: u64 = 262;

settings! {
    /// TLS: certificates, and what is agreed to.
    pub struct SslSettings / RawSsl {
        inherit {
            /// `ssl_certificate`, several times.
            certificates: Vec<NamedFile> = Vec::new(),
            /// `ssl_certificate_key`, several times.
            keys: Vec<NamedFile> = Vec::new(),
            /// `ssl_protocols`, TLSv1.2 and TLSv1.3, by default both.
            protocols: (bool, bool) = (true, true),
            /// `ssl_ciphers`, of TLS 1.2, default HIGH:!aNULL:!MD5.
            suites: Arc<[SupportedCipherSuite]> =
                revolve_tls::ciphers("HIGH:!aNULL:!MD5").suites.into(),
            /// `ssl_ecdh_curve`, default auto.
            groups: Arc<[&'static dyn SupportedKxGroup]> = revolve_tls::default_groups().into(),
            /// `ssl_prefer_server_ciphers`, default off.
            prefers_own_ciphers: bool = false,
            /// `ssl_session_cache`: so many sessions, default none.
            sessions_max: usize = 0,
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
        }
        own {}
    }
}

/// Of one server: whether it has a certificate of its own, or refuses, and what it agrees to.
#[derive(Debug)]
pub(crate) struct ServerTls {
    /// None where it only refuses.
    pub(crate) config: Option<Arc<revolve_tls::rustls::ServerConfig>>,
    /// The same, where HTTP/2 is spoken too.
    pub(crate) config_with_http2: Option<Arc<revolve_tls::rustls::ServerConfig>>,
    /// `ssl_reject_handshake`.
    pub(crate) rejects: bool,
    /// Bytes of a record at most.
    pub(crate) record_bytes_max: u32,
}

impl SslSettings {
    /// What a server with these settings does; `None` where they name no certificate.
    pub(crate) fn load(
        &self,
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
            let message = format!("no \"ssl_certificate_key\" is defined for certificate \"{path}\"");
            diagnostics.push(Diagnostic::new(last.span, message).label("its key stands nowhere"));
            return None;
        }
        let options = TlsOptions {
            certificates: &self.certificates,
            keys: &self.keys,
            has_tls12: self.protocols.0,
            has_tls13: self.protocols.1,
            suites: &self.suites,
            groups: &self.groups,
            prefers_own_ciphers: self.prefers_own_ciphers,
            sessions_max: self.sessions_max,
            session_timeout_s: u32::try_from(self.session_timeout_ms / 1000).unwrap_or(u32::MAX),
            has_tickets: self.session_tickets,
            ticket_keys: &self.ticket_keys,
            takes_early_data: self.early_data,
            stapling: self.stapling_file.as_ref(),
        };
        let config = match is_loaded {
            true => Some(tls::load(&options, secrets, diagnostics)?),
            false => None,
        };
        Some(ServerTls {
            config_with_http2: config.as_deref().map(tls::with_http2),
            config,
            rejects: self.reject_handshake,
            record_bytes_max: u32::try_from(self.buffer_bytes).unwrap_or(u32::MAX),
        })
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
        TOP, "ssl_prefer_server_ciphers",
        Args::FLAG,
        slot!(flag ssl.prefers_own_ciphers),
    ),
    row(TOP, "ssl_session_cache", Args::ONE_OR_TWO, session_cache),
    row(
        TOP, "ssl_session_timeout",
        Args::ONE,
        slot!(time_ms ssl.session_timeout_ms),
    ),
    row(
        TOP, "ssl_session_tickets",
        Args::FLAG,
        slot!(flag ssl.session_tickets),
    ),
    row(TOP, "ssl_session_ticket_key", Args::ONE, session_ticket_key),
    row(TOP, "ssl_buffer_size", Args::ONE, slot!(size ssl.buffer_bytes)),
    row(
        TOP, "ssl_reject_handshake",
        Args::FLAG,
        slot!(flag ssl.reject_handshake),
    ),
    row(TOP, "ssl_early_data", Args::FLAG, slot!(flag ssl.early_data)),
    row(TOP, "ssl_dhparam", Args::ONE, dhparam),
    row(TOP, "ssl_stapling", Args::FLAG, stapling),
    row(TOP, "ssl_stapling_file", Args::ONE, stapling_file),
    row(TOP, "ssl_stapling_responder", Args::ONE, checked_once),
    row(TOP, "ssl_stapling_verify", Args::FLAG, checked_once),
    row(TOP, "ssl_trusted_certificate", Args::ONE, trusted_certificate),
];

/// The file that a word names, which nginx looks for beside its configuration.
fn file(scope: &Scope, word: &Word, directive: &Directive) -> Result<NamedFile, Diagnostic> {
    let name = directive.name.text.as_str();
    if word.text.contains('$') {
        let message = format!("variables in \"{name}\" are not supported yet");
        return Err(Diagnostic::new(word.span, message).label("expected the path of a file"));
    }
    if let Some((scheme @ ("data" | "engine" | "store"), _)) = word.text.split_once(':') {
        let message = format!("\"{scheme}:\" in \"{name}\" is not supported");
        return Err(Diagnostic::new(word.span, message).label("expected the path of a file"));
    }
    Ok(NamedFile {
        path: scope.shared.conf_prefix.join(&word.text),
        span: word.span,
    })
}

fn certificate(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let file = file(scope, &directive.args[0], directive)?;
    let certificates = &mut scope.level.settings.ssl.certificates;
    certificates.get_or_insert_default().push(file);
    Ok(())
}

fn certificate_key(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let file = file(scope, &directive.args[0], directive)?;
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

fn trusted_certificate(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let text = checked_file(scope, directive)?;
    revolve_tls::certificates(&text).map_err(|error| {
        let path = &directive.args[0].text;
        let message = format!("cannot load certificates of \"{path}\": {error}");
        Diagnostic::new(directive.args[0].span, message).label("expected certificates as PEM")
    })?;
    Ok(())
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

fn stapling(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    checked_once(scope, directive)?;
    if value::flag_of(&directive.args[0], "ssl_stapling")? {
        let warning = Diagnostic::new(directive.span, "\"ssl_stapling\" ignored")
            .label("responses are not fetched yet")
            .help("`ssl_stapling_file` staples one that was fetched");
        scope.shared().diagnostics.push(warning.warn());
    }
    Ok(())
}

fn protocols(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (mut tls12, mut tls13) = (false, false);
    let mut old = None;
    for word in &directive.args {
        match word.text.to_ascii_lowercase().as_str() {
            "tlsv1.2" => tls12 = true,
            "tlsv1.3" => tls13 = true,
            "sslv2" | "sslv3" | "tlsv1" | "tlsv1.1" => old = Some(word),
            _ => {
                let message = format!("invalid value \"{}\"", word.text);
                let expected = "expected TLSv1.2 or TLSv1.3";
                return Err(Diagnostic::new(word.span, message).label(expected));
            }
        }
    }
    if let Some(word) = old {
        let text = &word.text;
        let message = format!("\"{text}\" in \"ssl_protocols\" is not to be had");
        let found = Diagnostic::new(word.span, message)
            .label("all versions before TLS 1.2 are broken, and no browser speaks them");
        if !tls12 && !tls13 {
            return Err(found.help("expected TLSv1.2 or TLSv1.3"));
        }
        scope.shared().diagnostics.push(found.warn());
    }
    // Those of several lines of a level are spoken, as in nginx.
    let slot = &mut scope.level.settings.ssl.protocols;
    let (before12, before13) = slot.unwrap_or_default();
    *slot = Some((before12 || tls12, before13 || tls13));
    Ok(())
}

fn ciphers(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let found = revolve_tls::ciphers(&word.text);
    if found.suites.is_empty() {
        let text = &word.text;
        let message = format!("SSL_CTX_set_cipher_list(\"{text}\") failed (no cipher match)");
        return Err(Diagnostic::new(word.span, message)
            .label("none of these suites is to be had: those with ECDHE and AES-GCM or ChaCha20 are")
            .help("expected a string like HIGH:!aNULL:!MD5, or EECDH+AESGCM:EECDH+CHACHA20"));
    }
    if !found.missing.is_empty() {
        let names = found.missing.join(", ");
        let warning = Diagnostic::new(word.span, "\"ssl_ciphers\" names what is not to be had")
            .label(format!("left out: {names}"));
        scope.shared().diagnostics.push(warning.warn());
    }
    let slot = &mut scope.level.settings.ssl.suites;
    set_once(slot, found.suites.into(), directive)
}

fn ecdh_curve(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let found = revolve_tls::groups(&word.text);
    if found.groups.is_empty() {
        let text = &word.text;
        let message = format!("SSL_CTX_set1_curves_list(\"{text}\") failed");
        return Err(Diagnostic::new(word.span, message)
            .label("expected auto, or names like X25519MLKEM768, X25519, prime256v1, secp384r1"));
    }
    if !found.missing.is_empty() {
        let names = found.missing.join(", ");
        let warning = Diagnostic::new(word.span, "\"ssl_ecdh_curve\" names what is not to be had")
            .label(format!("left out: {names}"));
        scope.shared().diagnostics.push(warning.warn());
    }
    let slot = &mut scope.level.settings.ssl.groups;
    set_once(slot, found.groups.into(), directive)
}

/// `off`, `none`, `builtin[:number]`, `shared:name:size`, the last two together.
fn session_cache(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut sessions_max = 0;
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
                bytes / SESSION_BYTES
            }
            _ => return Err(wrong()),
        };
        sessions_max = sessions_max.max(usize::try_from(found).unwrap_or(usize::MAX));
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
            suite.flatten().is_some_and(|suite| text(cipher_name(suite.suite()), out))
        },
    },
    Builtin {
        name: "ssl_ciphers",
        get: |r, out| listed(r, |tls| tls.hello().cipher_suites.clone(), cipher_name_of, out),
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
        name: "ssl_server_name",
        get: |r, out| {
            established(r).is_some_and(|tls| {
                let hello = tls.hello();
                hello.server_name.as_deref().is_some_and(|name| text(name, out))
            })
        },
    },
    Builtin {
        name: "ssl_session_reused",
        get: |r, out| {
            let kind = by_connection(r, |it| it.handshake_kind());
            kind.flatten().is_some_and(|kind| {
                text(if kind == HandshakeKind::Resumed { "r" } else { "." }, out)
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
                    it.alpn_protocol().map(|name| out.extend_from_slice(name)).is_some()
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
    // No client is asked for a certificate.
    Builtin {
        name: "ssl_client_verify",
        get: |r, out| established(r).is_some() && text("NONE", out),
    },
];

/// The connection's TLS, where it speaks it.
fn established(request: &Request) -> Option<&TlsStream> {
    let tls = request.connection.stream.tls();
    tls.filter(|tls| tls.is_secure())
}

fn by_connection<T>(
    request: &Request,
    look: impl FnOnce(&revolve_tls::rustls::server::UnbufferedServerConnection) -> T,
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
    let Some(tls) = established(request) else {
        return false;
    };
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
