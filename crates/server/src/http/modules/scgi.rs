//! `scgi_pass`: requests answered by an application that speaks SCGI.
//!
//! ```nginx
//! location / {
//!     include scgi_params;
//!     scgi_pass 127.0.0.1:4000;
//! }
//! ```

use revolve_conf::directive::Args;

use crate::config::scope::{
    HTTP, IF_LOCATION, LIMIT_EXCEPT, LOCATION, SERVER, checked_once, set_once,
};
use crate::http::modules::cgi;
pub(crate) use crate::http::modules::cgi::{CgiSettings, RawCgi};
use crate::http::modules::passing::{self, Protocol};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, row, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_scgi_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = passing::rows!(
    "scgi",
    scgi_passing,
    [
        row(
            LOCATION | IF_LOCATION | LIMIT_EXCEPT,
            "scgi_pass",
            Args::ONE,
            |scope, d| {
                let pass = cgi::pass(scope, (Protocol::Scgi, &d.args[0].text), &d.args[0])?;
                set_once(&mut scope.level.settings.scgi_cgi.pass, pass, d)
            }
        ),
        row(ANY, "scgi_param", Args::TWO_OR_THREE, |scope, d| {
            let params = &mut scope.level.settings.scgi_cgi.params;
            cgi::add_param(params, &mut scope.shared.registry, d)
        }),
    ]
);

/// Whether the level passes requests on.
fn applies(settings: &Settings) -> bool {
    settings.scgi_cgi.pass.is_some()
}

/// Content phase: has the application answer.
fn handle(_: &mut Request) -> Outcome {
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::Scgi)))
}
