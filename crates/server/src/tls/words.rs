//! The words that directives of both sides have in common: versions, ciphers, curves, commands.

use std::sync::Arc;

use revolve_conf::{Diagnostic, Directive, Span, Word};
use revolve_tls::rustls::SupportedCipherSuite;
use revolve_tls::rustls::crypto::SupportedKxGroup;

/// The versions that are spoken: TLS 1.2, and TLS 1.3.
pub(crate) type Versions = (bool, bool);

/// Reads `ssl_protocols` and its like. Those of several lines of a level are spoken, as in nginx. A warning
/// comes back for what is left out.
pub(crate) fn protocols(
    slot: &mut Option<Versions>,
    directive: &Directive,
) -> Result<Option<Diagnostic>, Diagnostic> {
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
    let mut warning = None;
    if let Some(word) = old {
        let (text, name) = (&word.text, &directive.name.text);
        let message = format!("\"{text}\" in \"{name}\" is not to be had");
        let found = Diagnostic::new(word.span, message)
            .label("all versions before TLS 1.2 are broken, and no browser speaks them");
        if !tls12 && !tls13 {
            return Err(found.help("expected TLSv1.2 or TLSv1.3"));
        }
        warning = Some(found.warn());
    }
    let (before12, before13) = slot.unwrap_or_default();
    *slot = Some((before12 || tls12, before13 || tls13));
    Ok(warning)
}

/// Reads `ssl_ciphers` and its like, with a warning for what is left out.
pub(crate) fn ciphers(
    directive: &Directive,
) -> Result<(Arc<[SupportedCipherSuite]>, Option<Diagnostic>), Diagnostic> {
    let word = &directive.args[0];
    let found = revolve_tls::ciphers(&word.text);
    if found.suites.is_empty() {
        let text = &word.text;
        let message = format!("SSL_CTX_set_cipher_list(\"{text}\") failed (no cipher match)");
        return Err(Diagnostic::new(word.span, message)
            .label(
                "none of these suites is to be had: those with ECDHE and AES-GCM or ChaCha20 are",
            )
            .help("expected a string like HIGH:!aNULL:!MD5, or EECDH+AESGCM:EECDH+CHACHA20"));
    }
    let warning = left_out(word, &directive.name.text, &found.missing);
    Ok((found.suites.into(), warning))
}

/// Reads `ssl_ecdh_curve`, with a warning for what is left out.
pub(crate) fn curves(
    word: &Word,
    name: &str,
) -> Result<(Vec<&'static dyn SupportedKxGroup>, Option<Diagnostic>), Diagnostic> {
    let found = revolve_tls::groups(&word.text);
    if found.groups.is_empty() {
        let text = &word.text;
        let message = format!("SSL_CTX_set1_curves_list(\"{text}\") failed");
        return Err(Diagnostic::new(word.span, message)
            .label("expected auto, or names like X25519MLKEM768, X25519, prime256v1, secp384r1"));
    }
    let warning = left_out(word, name, &found.missing);
    Ok((found.groups, warning))
}

fn left_out(word: &Word, name: &str, missing: &[String]) -> Option<Diagnostic> {
    if missing.is_empty() {
        return None;
    }
    let message = format!("\"{name}\" names what is not to be had");
    let missing = missing.join(", ");
    Some(
        Diagnostic::new(word.span, message)
            .label(format!("left out: {missing}"))
            .warn(),
    )
}

/// What `ssl_conf_command` and its like change. Source: OpenSSL's `SSL_CONF_cmd`(3).
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// `Ciphersuites`: the suites of TLS 1.3.
    Suites(Vec<SupportedCipherSuite>),
    /// `CipherString`: those of TLS 1.2.
    OldSuites(Arc<[SupportedCipherSuite]>),
    /// `Groups`, `Curves`.
    Groups(Vec<&'static dyn SupportedKxGroup>),
    /// `MinProtocol`, `MaxProtocol`: which of both versions are left.
    Versions(Versions),
    /// `Options ServerPreference`.
    ServerPreference(bool),
    /// `Options SessionTicket`.
    Tickets(bool),
}

/// Flags of `Options` that are so anyway, or have nothing to act on.
const OPTIONS_WITHOUT_EFFECT: [&str; 13] = [
    "AllowNoDHEKEX",
    "AntiReplay",
    "Bugs",
    "Compression",
    "EmptyFragments",
    "EncryptThenMac",
    "ExtendedMasterSecret",
    "KTLS",
    "MiddleboxCompat",
    "NoRenegotiation",
    "NoResumptionOnRenegotiation",
    "PrioritizeChaCha",
    "UnsafeLegacyServerConnect",
];

/// Reads a command.
pub(crate) fn command(directive: &Directive) -> Result<Vec<Command>, Diagnostic> {
    let (name, value) = (&directive.args[0], &directive.args[1]);
    let failed = |span: Span, why: &str| {
        let (name, value) = (&name.text, &value.text);
        let message = format!("SSL_CONF_cmd(\"{name}\", \"{value}\") failed");
        Diagnostic::new(span, message).label(why)
    };
    let one = match name.text.to_ascii_lowercase().as_str() {
        "ciphersuites" => {
            let suites = revolve_tls::suites_of_13(&value.text);
            if suites.is_empty() {
                let expected =
                    "expected names like TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
                return Err(failed(value.span, expected));
            }
            Command::Suites(suites)
        }
        "cipherstring" => {
            let suites = revolve_tls::ciphers(&value.text).suites;
            if suites.is_empty() {
                return Err(failed(value.span, "none of these suites is to be had"));
            }
            Command::OldSuites(suites.into())
        }
        "groups" | "curves" => Command::Groups(curves(value, &name.text)?.0),
        "minprotocol" => Command::Versions(match value.text.as_str() {
            "TLSv1.3" => (false, true),
            "None" | "SSLv3" | "TLSv1" | "TLSv1.1" | "TLSv1.2" => (true, true),
            _ => return Err(failed(value.span, "expected TLSv1.2 or TLSv1.3")),
        }),
        "maxprotocol" => Command::Versions(match value.text.as_str() {
            "TLSv1.2" => (true, false),
            "None" | "TLSv1.3" => (true, true),
            _ => return Err(failed(value.span, "expected TLSv1.2 or TLSv1.3")),
        }),
        "options" => return options(value, failed),
        _ => {
            let expected =
                "expected Ciphersuites, CipherString, Groups, MinProtocol, MaxProtocol or Options";
            return Err(failed(name.span, expected));
        }
    };
    Ok(vec![one])
}

fn options(
    value: &Word,
    failed: impl Fn(Span, &str) -> Diagnostic,
) -> Result<Vec<Command>, Diagnostic> {
    let mut commands = Vec::new();
    for flag in value.text.split(',').map(str::trim) {
        let (is_on, flag) = match flag.strip_prefix('-') {
            Some(flag) => (false, flag),
            None => (true, flag.strip_prefix('+').unwrap_or(flag)),
        };
        if flag.eq_ignore_ascii_case("SessionTicket") {
            commands.push(Command::Tickets(is_on));
        } else if flag.eq_ignore_ascii_case("ServerPreference") {
            commands.push(Command::ServerPreference(is_on));
        } else if !OPTIONS_WITHOUT_EFFECT
            .iter()
            .any(|known| known.eq_ignore_ascii_case(flag))
        {
            let expected =
                "expected SessionTicket, ServerPreference, or options that are so anyway";
            return Err(failed(value.span, expected));
        }
    }
    Ok(commands)
}

/// What is agreed to.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    pub(crate) versions: Versions,
    pub(crate) suites: Vec<SupportedCipherSuite>,
    pub(crate) groups: Vec<&'static dyn SupportedKxGroup>,
    pub(crate) prefers_own_ciphers: bool,
    pub(crate) has_tickets: bool,
}

impl Terms {
    /// Changes them by commands, in their order.
    pub(crate) fn apply(&mut self, commands: &[Command]) {
        let mut suites_of_13 = Vec::new();
        for command in commands {
            match command {
                Command::Suites(suites) => suites_of_13.clone_from(suites),
                Command::OldSuites(suites) => self.suites = suites.to_vec(),
                Command::Groups(groups) => self.groups.clone_from(groups),
                Command::Versions((tls12, tls13)) => {
                    self.versions.0 &= tls12;
                    self.versions.1 &= tls13;
                }
                Command::ServerPreference(is_on) => self.prefers_own_ciphers = *is_on,
                Command::Tickets(is_on) => self.has_tickets = *is_on,
            }
        }
        suites_of_13.append(&mut self.suites);
        self.suites = suites_of_13;
    }
}
