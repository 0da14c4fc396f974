//! Clients that show who they are by a certificate.
//!
//! ```nginx
//! ssl_verify_client      on;
//! ssl_client_certificate /etc/ssl/clients-ca.crt;
//! proxy_set_header       X-Client $ssl_client_s_dn;
//! ```

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Diagnostics, Span};
use revolve_tls::rustls::pki_types::CertificateDer;
use revolve_tls::{CertificateText, TlsStream};

use crate::config::scope::{HTTP, SERVER, choice, set_once};
use crate::config::setting::settings;
use crate::http::modules::ssl::{established, file};
use crate::http::modules::ssl_ocsp::SslOcspSettings;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, row, slot};
use crate::http::variables::{Builtin, number, text};
use crate::log::Level;
use crate::tls::{Checked, NamedFile, Verify};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_ssl_module",
    directives: DIRECTIVES,
    variables: VARIABLES,
    handlers: &[(Phase::PostRead, applies, check)],
    ..Module::EMPTY
};

settings! {
    /// Clients that show who they are.
    pub struct SslClientSettings / RawSslClient {
        inherit {
            /// `ssl_verify_client`, default off, with its place.
            verify: Verify = Verify::Off,
            /// Where that stands.
            verify_span: Option<Span> = None,
            /// `ssl_client_certificate`.
            certificate: Option<NamedFile> = None,
            /// `ssl_trusted_certificate`.
            trusted: Option<NamedFile> = None,
            /// `ssl_crl`.
            crl: Option<NamedFile> = None,
            /// `ssl_verify_depth`, default 1.
            depth_max: u64 = 1,
        }
        own {}
    }
}

impl SslClientSettings {
    /// Whether it is said whom to trust where that is needed.
    pub(crate) fn check(&self, ocsp: &SslOcspSettings, diagnostics: &mut Diagnostics) -> bool {
        if ocsp.checked != Checked::Nothing && self.verify == Verify::OptionalNoCa {
            let message = "\"ssl_ocsp\" is incompatible with \"ssl_verify_client optional_no_ca\"";
            let diagnostic = Diagnostic::new(ocsp.checked_span, message)
                .label("nobody can be asked about a certificate whose authority is not known");
            diagnostics.push(diagnostic);
            return false;
        }
        let is_needed = matches!(self.verify, Verify::On | Verify::Optional);
        if is_needed && self.certificate.is_none() && self.trusted.is_none() {
            let message =
                "no ssl_client_certificate or ssl_trusted_certificate for ssl_verify_client";
            let diagnostic = Diagnostic::new(self.verify_span, message)
                .label("nobody is trusted, so that no client could be let in")
                .help("name the certificates of those who issue your clients' by `ssl_client_certificate`");
            diagnostics.push(diagnostic);
            return false;
        }
        true
    }
}

const TOP: u32 = HTTP | SERVER;

const DIRECTIVES: &[DirectiveRow] = &[
    row(TOP, "ssl_verify_client", Args::ONE, |scope, d| {
        let choices = [
            ("off", Verify::Off),
            ("on", Verify::On),
            ("optional", Verify::Optional),
            ("optional_no_ca", Verify::OptionalNoCa),
        ];
        let verify = choice(&d.args[0], choices)?;
        scope.level.settings.ssl_client.verify_span = Some(Some(d.span));
        set_once(&mut scope.level.settings.ssl_client.verify, verify, d)
    }),
    row(TOP, "ssl_client_certificate", Args::ONE, |scope, d| {
        let file = file(scope, &d.args[0], d)?;
        set_once(
            &mut scope.level.settings.ssl_client.certificate,
            Some(file),
            d,
        )
    }),
    row(TOP, "ssl_trusted_certificate", Args::ONE, |scope, d| {
        let file = file(scope, &d.args[0], d)?;
        crate::tls::check_certificates(&file, &mut scope.shared.secrets)?;
        set_once(&mut scope.level.settings.ssl_client.trusted, Some(file), d)
    }),
    row(TOP, "ssl_crl", Args::ONE, |scope, d| {
        let file = file(scope, &d.args[0], d)?;
        set_once(&mut scope.level.settings.ssl_client.crl, Some(file), d)
    }),
    row(
        TOP,
        "ssl_verify_depth",
        Args::ONE,
        slot!(number ssl_client.depth_max),
    ),
];

fn applies(settings: &Settings) -> bool {
    settings.ssl_client.verify != Verify::Off
}

/// Post-read phase: whoever is to show who he is has done so.
///
/// Source: nginx's `ngx_http_process_request` and `ngx_http_set_virtual_server`; it asks only whether the
/// names are the same, not whether both servers judge alike.
fn check(request: &mut Request) -> Outcome {
    let Some(tls) = established(request) else {
        return Outcome::Next;
    };
    let http = request.http();
    let hosts = http.hosts_at(&request.connection);
    let own = http.tls_of(request.current.server, hosts);
    let own = own.and_then(|tls| tls.clients.as_ref());
    let are_alike = match (own, http.client_trust(&request.connection)) {
        (Some(own), Some(met)) => own.context == met.context,
        _ => false,
    };
    if !are_alike {
        request.log(
            Level::Info,
            format_args!(
                "client attempted to request the server name different from the one that was negotiated"
            ),
        );
        return Outcome::Finish(421);
    }
    let verify = request.settings().ssl_client.verify;
    match tls.verdict() {
        Some(Err(error)) if verify != Verify::OptionalNoCa || !error.is_unknown_authority() => {
            let number = error.number();
            request.log(
                Level::Info,
                format_args!("client SSL certificate verify error: ({number}:{error})"),
            );
            Outcome::Finish(495)
        }
        None if verify == Verify::On => {
            request.log(
                Level::Info,
                format_args!("client sent no required SSL certificate"),
            );
            Outcome::Finish(496)
        }
        _ => Outcome::Next,
    }
}

const VARIABLES: &[Builtin] = &[
    Builtin {
        name: "ssl_client_verify",
        get: |r, out| {
            established(r).is_some_and(|tls| match tls.verdict() {
                _ if !has_certificate(tls) => text("NONE", out),
                None | Some(Ok(())) => text("SUCCESS", out),
                Some(Err(error)) => text(&format!("FAILED:{error}"), out),
            })
        },
    },
    Builtin {
        name: "ssl_client_s_dn",
        get: |r, out| said(r, out, |it| it.subject()),
    },
    Builtin {
        name: "ssl_client_i_dn",
        get: |r, out| said(r, out, |it| it.issuer()),
    },
    Builtin {
        name: "ssl_client_s_dn_legacy",
        get: |r, out| said(r, out, |it| it.subject_on_one_line()),
    },
    Builtin {
        name: "ssl_client_i_dn_legacy",
        get: |r, out| said(r, out, |it| it.issuer_on_one_line()),
    },
    Builtin {
        name: "ssl_client_serial",
        get: |r, out| said(r, out, |it| it.serial()),
    },
    Builtin {
        name: "ssl_client_v_start",
        get: |r, out| said(r, out, |it| it.not_before()),
    },
    Builtin {
        name: "ssl_client_v_end",
        get: |r, out| said(r, out, |it| it.not_after()),
    },
    Builtin {
        name: "ssl_client_v_remain",
        get: |r, out| {
            let now_s = r.site.logs.clock().unix_s();
            let days = by_certificate(r, |it| Some(CertificateText::new(it)?.days_left(now_s)));
            days.is_some_and(|days| number(days, out))
        },
    },
    Builtin {
        name: "ssl_client_fingerprint",
        get: |r, out| {
            let shown = by_certificate(r, |it| Some(revolve_tls::fingerprint(it)));
            shown.is_some_and(|shown| text(&shown, out))
        },
    },
    Builtin {
        name: "ssl_client_raw_cert",
        get: |r, out| {
            let shown = by_certificate(r, |it| Some(revolve_tls::pem(it)));
            shown.is_some_and(|shown| text(&shown, out))
        },
    },
    // As a header takes it: each line but the first begins with a tab.
    Builtin {
        name: "ssl_client_cert",
        get: |r, out| {
            let shown = by_certificate(r, |it| Some(revolve_tls::pem(it)));
            shown.is_some_and(|shown| text(&shown.trim_end().replace('\n', "\n\t"), out))
        },
    },
    Builtin {
        name: "ssl_client_escaped_cert",
        get: |r, out| {
            let shown = by_certificate(r, |it| Some(revolve_tls::pem(it)));
            shown.is_some_and(|shown| text(&escaped(&shown), out))
        },
    },
];

fn has_certificate(tls: &TlsStream) -> bool {
    let has = tls.with_connection(|it| it.peer_certificates().is_some_and(|all| !all.is_empty()));
    has.unwrap_or(false)
}

/// Looks at the client's certificate, if it has shown one.
fn by_certificate<T>(
    request: &Request,
    look: impl FnOnce(&CertificateDer<'_>) -> Option<T>,
) -> Option<T> {
    let tls = established(request)?;
    tls.with_connection(|it| look(it.peer_certificates()?.first()?))?
}

fn said(
    request: &Request,
    out: &mut Vec<u8>,
    say: impl FnOnce(&CertificateText<'_>) -> String,
) -> bool {
    let said = by_certificate(request, |it| Some(say(&CertificateText::new(it)?)));
    said.is_some_and(|said| text(&said, out))
}

/// Source: nginx's `NGX_ESCAPE_URI_COMPONENT`.
fn escaped(pem: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(pem.len() + pem.len() / 4);
    for byte in pem.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}
