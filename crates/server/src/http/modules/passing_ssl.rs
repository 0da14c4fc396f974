//! What all protocols have in common by which requests are passed on over TLS; no module by itself.

use std::sync::Arc;

use revolve_conf::{Diagnostic, Diagnostics, Secrets, Span};
use revolve_tls::rustls::SupportedCipherSuite;

use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::Settings;
use crate::http::modules::passing::Protocol;
use crate::http::modules::proxy::{HttpVersion, Target};
use crate::tls::upstream::{UpstreamOptions, UpstreamTls};
use crate::tls::{CacheLimits, Command, NamedFile, Terms, Versions};

settings! {
    /// How connections to servers behind us are secured.
    pub struct PassSslSettings / RawPassSsl {
        inherit {
            /// `*_ssl_certificate`.
            certificate: Option<NamedFile> = None,
            /// `*_ssl_certificate_key`.
            key: Option<NamedFile> = None,
            /// `*_ssl_certificate_cache`, default off: files are looked at each time.
            cache: CacheLimits = CacheLimits::default(),
            /// `*_ssl_password_file`.
            password_file: Option<NamedFile> = None,
            /// `*_ssl_protocols`, by default both.
            protocols: Versions = (true, true),
            /// `*_ssl_ciphers`, of TLS 1.2, default DEFAULT.
            suites: Arc<[SupportedCipherSuite]> = revolve_tls::ciphers("DEFAULT").suites.into(),
            /// `*_ssl_conf_command`; a level that has one inherits none.
            commands: Vec<Command> = Vec::new(),
            /// `*_ssl_name`, default the host.
            name: Option<Arc<Value>> = None,
            /// `*_ssl_server_name`, default off.
            sends_name: bool = false,
            /// `*_ssl_session_reuse`, default on.
            resumes: bool = true,
            /// `*_ssl_verify`, default off.
            verifies: bool = false,
            /// Where that stands.
            verify_span: Option<Span> = None,
            /// `*_ssl_verify_depth`, default 1.
            depth_max: u64 = 1,
            /// `*_ssl_trusted_certificate`.
            trusted: Option<NamedFile> = None,
            /// `*_ssl_crl`.
            crl: Option<NamedFile> = None,
        }
        own {
            /// What these come to, where they are needed; known when all have been read.
            loaded: Option<Arc<UpstreamTls>> = None,
        }
        handler {
            /// Whether the level passes requests to a URL of the scheme that has TLS.
            is_secure: bool = false,
        }
    }
}

/// What levels come to that say the same, by what they say.
pub(crate) type Known = Vec<(String, Arc<UpstreamTls>)>;

impl PassSslSettings {
    /// Reads the files and puts them together. `protocol` is what the directives begin with, and
    /// `protocols` what is spoken above TLS, where a server is told that by ALPN.
    pub(crate) fn load(
        &mut self,
        (protocol, protocols): (&str, &'static [&'static [u8]]),
        known: &mut Known,
        secrets: &mut Secrets,
        diagnostics: &mut Diagnostics,
    ) {
        if !self.check(protocol, diagnostics) {
            return;
        }
        let options = self.options(protocols);
        let said = format!("{options:?}");
        if let Some((_, loaded)) = known.iter().find(|(known, _)| *known == said) {
            self.loaded = Some(loaded.clone());
            return;
        }
        if let Some(loaded) = UpstreamTls::load(options, secrets, diagnostics) {
            known.push((said, loaded.clone()));
            self.loaded = Some(loaded);
        }
    }

    fn check(&self, protocol: &str, diagnostics: &mut Diagnostics) -> bool {
        let diagnostic = match (&self.certificate, &self.key) {
            (Some(certificate), None) => {
                let path = certificate.path.display();
                let message = format!(
                    "no \"{protocol}_ssl_certificate_key\" is defined for certificate \"{path}\""
                );
                Diagnostic::new(certificate.span, message).label("its key stands nowhere")
            }
            _ if self.verifies && self.trusted.is_none() => {
                let message =
                    format!("no {protocol}_ssl_trusted_certificate for {protocol}_ssl_verify");
                Diagnostic::new(self.verify_span, message)
                    .label("nobody is trusted, so that no server could be asked")
                    .help("`/etc/ssl/certs/ca-certificates.crt` has those that Debian trusts")
            }
            _ => return true,
        };
        diagnostics.push(diagnostic);
        false
    }

    fn options(&self, protocols: &'static [&'static [u8]]) -> UpstreamOptions<'_> {
        let mut terms = Terms {
            versions: self.protocols,
            suites: self.suites.to_vec(),
            groups: revolve_tls::default_groups(),
            prefers_own_ciphers: false,
            has_tickets: true,
        };
        terms.apply(&self.commands);
        UpstreamOptions {
            terms,
            key: self.certificate.as_ref().zip(self.key.as_ref()),
            passwords: self.password_file.as_ref(),
            cache: self.cache,
            protocols,
            sends_name: self.sends_name,
            resumes: self.resumes,
            trusted: self.trusted.as_ref(),
            crl: self.crl.as_ref(),
            verifies: self.verifies,
            depth_max: usize::try_from(self.depth_max).unwrap_or(usize::MAX),
        }
    }
}

/// Makes of the settings of a level what its connections need, if it has any to servers with TLS.
pub(crate) fn load(
    settings: &mut Settings,
    known: &mut Known,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) {
    for protocol in [Protocol::Http, Protocol::Grpc, Protocol::Uwsgi] {
        let pass = protocol.pass(settings);
        // A URL that each request makes for itself may have either scheme.
        let is_made = pass.is_some_and(|pass| matches!(pass.target, Target::Url(_)));
        let (is_passed, name) = (pass.is_some(), protocol.name());
        let speaks_h2 = match protocol {
            Protocol::Http => settings.proxy.version == HttpVersion::Http2,
            protocol => protocol == Protocol::Grpc,
        };
        let above: &[&[u8]] = if speaks_h2 { &[b"h2"] } else { &[] };
        if let Some(ssl) = protocol.ssl_mut(settings)
            && is_passed
            && (is_made || ssl.is_secure)
        {
            ssl.load((name, above), known, secrets, diagnostics);
        }
    }
}

/// The directives that set these, of one protocol.
macro_rules! rows {
    ($protocol:literal, $group:ident) => {{
        use revolve_conf::directive::Args;

        use $crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
        use $crate::config::variable::Value;
        use $crate::http::modules::ssl::{certificate_cache, file, file_by_variable, warn};
        use $crate::http::scope::{row, slot};
        use $crate::tls;

        const ANY: u32 = HTTP | SERVER | LOCATION;
        &[
            row(ANY, concat!($protocol, "_ssl_certificate"), Args::ONE, |scope, d| {
                let file = file_by_variable(scope, d)?;
                set_once(&mut scope.level.settings.$group.certificate, Some(file), d)
            }),
            row(ANY, concat!($protocol, "_ssl_certificate_key"), Args::ONE, |scope, d| {
                let file = file_by_variable(scope, d)?;
                set_once(&mut scope.level.settings.$group.key, Some(file), d)
            }),
            row(
                ANY,
                concat!($protocol, "_ssl_certificate_cache"),
                Args::ONE_TO_THREE,
                |scope, d| {
                    let limits = certificate_cache(d)?;
                    set_once(&mut scope.level.settings.$group.cache, limits, d)
                }
            ),
            row(ANY, concat!($protocol, "_ssl_password_file"), Args::ONE, |scope, d| {
                let file = file(scope, &d.args[0], d)?;
                set_once(&mut scope.level.settings.$group.password_file, Some(file), d)
            }),
            row(ANY, concat!($protocol, "_ssl_protocols"), Args::ONE_MORE, |scope, d| {
                let warning = tls::protocols(&mut scope.level.settings.$group.protocols, d)?;
                warn(scope, warning);
                Ok(())
            }),
            row(ANY, concat!($protocol, "_ssl_ciphers"), Args::ONE, |scope, d| {
                let (suites, warning) = tls::ciphers(d)?;
                warn(scope, warning);
                set_once(&mut scope.level.settings.$group.suites, suites, d)
            }),
            row(ANY, concat!($protocol, "_ssl_conf_command"), Args::TWO, |scope, d| {
                let commands = tls::command(d)?;
                let slot = &mut scope.level.settings.$group.commands;
                slot.get_or_insert_default().extend(commands);
                Ok(())
            }),
            row(ANY, concat!($protocol, "_ssl_name"), Args::ONE, |scope, d| {
                let value = Value::of(&d.args[0], &mut scope.shared.registry)?;
                let value = Some(std::sync::Arc::new(value));
                set_once(&mut scope.level.settings.$group.name, value, d)
            }),
            row(
                ANY,
                concat!($protocol, "_ssl_server_name"),
                Args::FLAG,
                slot!(flag $group.sends_name),
            ),
            row(
                ANY,
                concat!($protocol, "_ssl_session_reuse"),
                Args::FLAG,
                slot!(flag $group.resumes),
            ),
            row(ANY, concat!($protocol, "_ssl_verify"), Args::FLAG, |scope, d| {
                let is_on = revolve_conf::value::flag_of(&d.args[0], &d.name.text)?;
                scope.level.settings.$group.verify_span = Some(Some(d.span));
                set_once(&mut scope.level.settings.$group.verifies, is_on, d)
            }),
            row(
                ANY,
                concat!($protocol, "_ssl_verify_depth"),
                Args::ONE,
                slot!(number $group.depth_max),
            ),
            row(ANY, concat!($protocol, "_ssl_trusted_certificate"), Args::ONE, |scope, d| {
                let file = file(scope, &d.args[0], d)?;
                set_once(&mut scope.level.settings.$group.trusted, Some(file), d)
            }),
            row(ANY, concat!($protocol, "_ssl_crl"), Args::ONE, |scope, d| {
                let file = file(scope, &d.args[0], d)?;
                set_once(&mut scope.level.settings.$group.crl, Some(file), d)
            }),
        ]
    }};
}
pub(crate) use rows;
