//! What authorities say of certificates: stapled to our own, and asked of clients'.
//!
//! ```nginx
//! ssl_stapling            on;
//! ssl_verify_client       on;
//! ssl_client_certificate  /etc/ssl/clients-ca.crt;
//! ssl_ocsp                on;
//! ssl_ocsp_cache          shared:ocsp:1m;
//! ```

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, Span, value};

use crate::config::scope::{HTTP, SERVER, checked_once, choice, set_once};
use crate::config::setting::settings;
use crate::http::modules::Module;
use crate::http::scope::{DirectiveRow, Scope, row, slot};
use crate::tls::{AnswerZone, Checked, OcspOptions, Url};
use crate::zones::ZoneId;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_ssl_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

settings! {
    /// What authorities say of certificates.
    pub struct SslOcspSettings / RawSslOcsp {
        inherit {
            /// `ssl_stapling`, default off.
            staples: bool = false,
            /// `ssl_stapling_responder`.
            stapling_responder: Option<Url> = None,
            /// `ssl_ocsp`, default off.
            checked: Checked = Checked::Nothing,
            /// Where that stands.
            checked_span: Option<Span> = None,
            /// `ssl_ocsp_responder`.
            responder: Option<Url> = None,
            /// `ssl_ocsp_cache`, default off.
            zone: Option<ZoneId> = None,
        }
        own {}
    }
}

impl SslOcspSettings {
    /// What a server does by these.
    pub(crate) fn options(&self) -> OcspOptions {
        OcspOptions {
            staples: self.staples,
            stapling_responder: self.stapling_responder.clone(),
            checked: self.checked,
            responder: self.responder.clone(),
            zone: self.zone,
        }
    }
}

const TOP: u32 = HTTP | SERVER;

const DIRECTIVES: &[DirectiveRow] = &[
    row(
        TOP,
        "ssl_stapling",
        Args::FLAG,
        slot!(flag ssl_ocsp.staples),
    ),
    row(TOP, "ssl_stapling_responder", Args::ONE, |scope, d| {
        let url = url(d)?;
        set_once(
            &mut scope.level.settings.ssl_ocsp.stapling_responder,
            Some(url),
            d,
        )
    }),
    // Nothing is stapled that is not verified.
    row(TOP, "ssl_stapling_verify", Args::FLAG, checked_once),
    row(TOP, "ssl_ocsp", Args::ONE, |scope, d| {
        let choices = [
            ("off", Checked::Nothing),
            ("on", Checked::All),
            ("leaf", Checked::Own),
        ];
        let checked = choice(&d.args[0], choices)?;
        scope.level.settings.ssl_ocsp.checked_span = Some(Some(d.span));
        set_once(&mut scope.level.settings.ssl_ocsp.checked, checked, d)
    }),
    row(TOP, "ssl_ocsp_responder", Args::ONE, |scope, d| {
        let url = url(d)?;
        set_once(&mut scope.level.settings.ssl_ocsp.responder, Some(url), d)
    }),
    row(TOP, "ssl_ocsp_cache", Args::ONE, ocsp_cache),
];

fn url(directive: &Directive) -> Result<Url, Diagnostic> {
    let word = &directive.args[0];
    Url::parse(&word.text).ok_or_else(|| {
        let (name, text) = (&directive.name.text, &word.text);
        let message = format!("invalid URL prefix in \"{text}\" of \"{name}\"");
        Diagnostic::new(word.span, message).label("expected http://host[:port][/path]")
    })
}

fn ocsp_cache(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let slot = &mut scope.level.settings.ssl_ocsp.zone;
    if word.text == "off" {
        return set_once(slot, None, directive);
    }
    let wrong = || {
        let message = format!("invalid OCSP cache \"{}\"", word.text);
        Diagnostic::new(word.span, message).label("expected off or shared:name:size")
    };
    let parts = word
        .text
        .strip_prefix("shared:")
        .and_then(|it| it.split_once(':'));
    let (name, bytes) = parts
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(wrong)?;
    let bytes = value::size(bytes).ok_or_else(wrong)?;
    if bytes < 8 * 4096 {
        let message = format!("OCSP cache \"{}\" is too small", word.text);
        return Err(Diagnostic::new(word.span, message).label("expected 32k at least"));
    }
    let zones = &mut scope.shared.zones;
    let zone = zones.declare_shared((name, bytes), AnswerZone, word)?;
    set_once(slot, Some(zone), directive)
}
