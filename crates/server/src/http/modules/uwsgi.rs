//! `uwsgi_pass`: requests answered by an application behind uWSGI.
//!
//! ```nginx
//! location / {
//!     include uwsgi_params;
//!     uwsgi_pass unix:/run/uwsgi/app.sock;
//! }
//! ```

use revolve_conf::directive::Args;
use revolve_conf::value::number;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{
    HTTP, IF_LOCATION, LIMIT_EXCEPT, LOCATION, SERVER, checked_once, invalid_value, set_once,
};
use crate::config::setting::settings;
use crate::http::modules::cgi;
pub(crate) use crate::http::modules::cgi::{CgiSettings, RawCgi};
use crate::http::modules::passing::{self, Protocol};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_uwsgi_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// How uwsgi is spoken.
    pub struct UwsgiSettings / RawUwsgi {
        inherit {
            /// `uwsgi_modifier1`, default 0: an application of WSGI.
            modifier1: u8 = 0,
            /// `uwsgi_modifier2`, default 0.
            modifier2: u8 = 0,
            /// `uwsgi_string`: what follows the parameters.
            string: String = String::new(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = passing::rows!(
    "uwsgi",
    uwsgi_passing,
    [
        row(
            LOCATION | IF_LOCATION | LIMIT_EXCEPT,
            "uwsgi_pass",
            Args::ONE,
            uwsgi_pass
        ),
        row(ANY, "uwsgi_param", Args::TWO_OR_THREE, |scope, d| {
            let params = &mut scope.level.settings.uwsgi_cgi.params;
            cgi::add_param(params, &mut scope.shared.registry, d)
        }),
        row(ANY, "uwsgi_modifier1", Args::ONE, |scope, d| {
            modifier(&mut scope.level.settings.uwsgi.modifier1, d)
        }),
        row(ANY, "uwsgi_modifier2", Args::ONE, |scope, d| {
            modifier(&mut scope.level.settings.uwsgi.modifier2, d)
        }),
        row(ANY, "uwsgi_string", Args::ONE, |scope, d| {
            let text = d.args[0].text.clone();
            set_once(&mut scope.level.settings.uwsgi.string, text, d)
        }),
    ]
);

fn uwsgi_pass(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let (is_secure, text) = split_scheme(&word.text);
    // Variables are split when a request has made something of them.
    let text = if word.text.contains('$') {
        &word.text
    } else {
        text
    };
    let pass = cgi::pass(scope, (Protocol::Uwsgi, text), word)?;
    scope.level.settings.uwsgi_ssl.is_secure = Some(is_secure);
    set_once(&mut scope.level.settings.uwsgi_cgi.pass, pass, directive)
}

/// Splits an address into whether its scheme has TLS, and what follows that, which may stand alone.
pub(crate) fn split_scheme(text: &str) -> (bool, &str) {
    match text.strip_prefix("suwsgi://") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("uwsgi://").unwrap_or(text)),
    }
}

fn modifier(slot: &mut Option<u8>, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let value = number(&word.text).and_then(|value| u8::try_from(value).ok());
    let value = value.ok_or_else(|| invalid_value(word, directive, "a number from 0 to 255"))?;
    set_once(slot, value, directive)
}

/// Whether the level passes requests on.
fn applies(settings: &Settings) -> bool {
    settings.uwsgi_cgi.pass.is_some()
}

/// Content phase: has the application answer.
fn handle(_: &mut Request) -> Outcome {
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::Uwsgi)))
}
