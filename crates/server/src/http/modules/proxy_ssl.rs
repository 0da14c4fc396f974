//! `proxy_pass https://`: how the connection to the other server is secured.
//!
//! ```nginx
//! proxy_pass                    https://backend.example.org;
//! proxy_ssl_server_name         on;
//! proxy_ssl_verify              on;
//! proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
//! ```

use revolve_conf::{Diagnostics, Secrets};

use crate::http::modules::passing_ssl::{self, Known};
pub(crate) use crate::http::modules::passing_ssl::{PassSslSettings, RawPassSsl};
use crate::http::modules::proxy::Target;
use crate::http::modules::{Module, Settings};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_proxy_module",
    directives: passing_ssl::rows!("proxy", proxy_ssl),
    ..Module::EMPTY
};

/// Makes of the settings of a level what its connections need, if it has any to servers with TLS.
pub(crate) fn load(
    settings: &mut Settings,
    known: &mut Known,
    secrets: &mut Secrets,
    diagnostics: &mut Diagnostics,
) {
    let target = settings.proxy.pass.as_ref().map(|pass| &pass.target);
    let is_needed = match target {
        Some(Target::Url(_)) => true,
        Some(Target::Group { .. }) => settings.proxy_ssl.is_secure,
        None => false,
    };
    if is_needed {
        settings.proxy_ssl.load("proxy", known, secrets, diagnostics);
    }
}
