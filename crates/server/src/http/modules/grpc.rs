//! `grpc_pass`: calls passed on to gRPC servers.
//!
//! ```nginx
//! server {
//!     listen 443 ssl;
//!     http2 on;
//!     location /helloworld.Greeter/ {
//!         grpc_pass grpc://127.0.0.1:50051;
//!     }
//! }
//! ```
//!
//! Source: nginx's `ngx_http_grpc_module`. The request goes by HTTP/2 ([`proxy`]), its body as it comes; the
//! status of the call comes in the trailers of the answer, which are always passed. `grpc_web on`, which
//! nginx does not have, takes calls of browsers, too.

use std::sync::Arc;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, IF_LOCATION, LOCATION, SERVER};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::cgi;
use crate::http::modules::passing::{self, Protocol};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::proxy::Pass;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_grpc_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// How gRPC is spoken.
    pub struct GrpcSettings / RawGrpc {
        inherit {
            /// `grpc_set_header`; a level that has one inherits none.
            set_headers: Arc<Vec<(String, Value)>> = Arc::default(),
            /// `grpc_web`, default off.
            web: bool = false,
        }
        own {}
        handler {
            /// `grpc_pass`.
            pass: Option<Arc<Pass>> = None,
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = passing::rows!(
    streaming "grpc",
    grpc_passing,
    [
        row(LOCATION | IF_LOCATION, "grpc_pass", Args::ONE, grpc_pass),
        row(ANY, "grpc_set_header", Args::TWO, |scope, d| {
            let value = Value::of(&d.args[1], &mut scope.shared.registry)?;
            let headers = &mut scope.level.settings.grpc.set_headers;
            let headers = headers.get_or_insert_with(Arc::default);
            Arc::get_mut(headers)
                .expect("nobody shares a level's headers while it is read")
                .push((d.args[0].text.clone(), value));
            Ok(())
        }),
        row(ANY, "grpc_web", Args::FLAG, slot!(flag grpc.web)),
    ]
);

fn grpc_pass(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    if scope.level.settings.grpc.pass.is_some() {
        return Err(duplicate(directive));
    }
    let word = &directive.args[0];
    let text = match word.text.contains('$') {
        // Its scheme is made by the request, too.
        true => word.text.as_str(),
        false => {
            let (is_secure, rest) = split_scheme(&word.text);
            scope.level.settings.grpc_ssl.is_secure = Some(is_secure);
            rest
        }
    };
    let pass = cgi::pass(scope, (Protocol::Grpc, text), word)?;
    scope.level.settings.grpc.pass = Some(pass);
    Ok(())
}

/// Splits an address into whether its scheme has TLS, and what follows that. One without a scheme has none.
pub(crate) fn split_scheme(text: &str) -> (bool, &str) {
    let behind = |scheme: &str| {
        let head = text.get(..scheme.len())?;
        head.eq_ignore_ascii_case(scheme)
            .then(|| &text[scheme.len()..])
    };
    match (behind("grpcs://"), behind("grpc://")) {
        (Some(rest), _) => (true, rest),
        (None, rest) => (false, rest.unwrap_or(text)),
    }
}

/// Whether the level passes calls on.
fn applies(settings: &Settings) -> bool {
    settings.grpc.pass.is_some()
}

/// Content phase: has the server answer.
fn handle(_: &mut Request) -> Outcome {
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::Grpc)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_says_whether_there_is_tls() {
        for (text, split) in [
            ("grpc://a:1", (false, "a:1")),
            ("GRPCS://a:1", (true, "a:1")),
            ("a:1", (false, "a:1")),
            ("grpc", (false, "grpc")),
            ("unix:/run/a.sock", (false, "unix:/run/a.sock")),
            ("grpcs://unix:/run/a.sock", (true, "unix:/run/a.sock")),
        ] {
            assert_eq!(split_scheme(text), split);
        }
    }
}
