//! `proxy_pass https://`: how the connection to the other server is secured.
//!
//! ```nginx
//! proxy_pass                    https://backend.example.org;
//! proxy_ssl_server_name         on;
//! proxy_ssl_verify              on;
//! proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
//! ```

use crate::http::modules::Module;
use crate::http::modules::passing_ssl;
pub(crate) use crate::http::modules::passing_ssl::{PassSslSettings, RawPassSsl};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_proxy_module",
    directives: passing_ssl::rows!("proxy", proxy_ssl),
    ..Module::EMPTY
};
