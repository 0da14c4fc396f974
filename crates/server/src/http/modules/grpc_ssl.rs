//! `grpc_pass grpcs://`: how the connection to a gRPC server is secured.
//!
//! ```nginx
//! grpc_pass                    grpcs://backend.example.org:443;
//! grpc_ssl_server_name         on;
//! grpc_ssl_verify              on;
//! grpc_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;
//! ```

use crate::http::modules::Module;
use crate::http::modules::passing_ssl;
pub(crate) use crate::http::modules::passing_ssl::{PassSslSettings, RawPassSsl};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_grpc_module",
    directives: passing_ssl::rows!("grpc", grpc_ssl),
    ..Module::EMPTY
};
