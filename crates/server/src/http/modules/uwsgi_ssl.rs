//! `uwsgi_pass suwsgi://`: how the connection to an application behind uWSGI is secured.
//!
//! ```nginx
//! uwsgi_pass                    suwsgi://app.example.org:3031;
//! uwsgi_ssl_server_name         on;
//! uwsgi_ssl_verify              on;
//! uwsgi_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
//! ```

use crate::http::modules::Module;
use crate::http::modules::passing_ssl;
pub(crate) use crate::http::modules::passing_ssl::{PassSslSettings, RawPassSsl};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_uwsgi_module",
    directives: passing_ssl::rows!("uwsgi", uwsgi_ssl),
    ..Module::EMPTY
};
