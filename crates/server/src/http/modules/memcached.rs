//! `memcached_pass`: answers that lie in memcached, by a key.
//!
//! ```nginx
//! location / {
//!     set $memcached_key "$uri?$args";
//!     memcached_pass 127.0.0.1:11211;
//!     error_page 404 502 504 = @fallback;
//! }
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::value::number;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::Method;

use crate::config::scope::{
    HTTP, IF_LOCATION, LIMIT_EXCEPT, LOCATION, SERVER, choice, invalid_value, set_once,
};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::cgi;
use crate::http::modules::passing::{self, Protocol, next};
pub(crate) use crate::http::modules::passing::{PassSettings, RawPass};
use crate::http::modules::proxy::Pass;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::proxy;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row, slot};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_memcached_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Content, applies, handle)],
    ..Module::EMPTY
};

settings! {
    /// What is asked of memcached.
    pub struct MemcachedSettings / RawMemcached {
        inherit {
            /// `memcached_gzip_flag`: the bits that say that a value is compressed, default none.
            gzip_flag: u32 = 0,
        }
        own {}
        handler {
            /// `memcached_pass`.
            pass: Option<Arc<Pass>> = None,
            /// `$memcached_key`.
            key: Option<Arc<Value>> = None,
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    row(
        LOCATION | IF_LOCATION | LIMIT_EXCEPT,
        "memcached_pass",
        Args::ONE,
        memcached_pass,
    ),
    row(ANY, "memcached_gzip_flag", Args::ONE, gzip_flag),
    row(
        ANY,
        "memcached_connect_timeout",
        Args::ONE,
        slot!(time_ms memcached_passing.connect_timeout_ms),
    ),
    row(
        ANY,
        "memcached_send_timeout",
        Args::ONE,
        slot!(time_ms memcached_passing.send_timeout_ms),
    ),
    row(
        ANY,
        "memcached_read_timeout",
        Args::ONE,
        slot!(time_ms memcached_passing.read_timeout_ms),
    ),
    row(
        ANY,
        "memcached_buffer_size",
        Args::ONE,
        slot!(size memcached_passing.head_bytes_max),
    ),
    row(
        ANY,
        "memcached_next_upstream",
        Args::ONE_MORE,
        next_upstream,
    ),
    row(ANY, "memcached_bind", Args::ONE_OR_TWO, |scope, d| {
        let bind = passing::bind(&mut scope.shared.registry, d)?;
        set_once(&mut scope.level.settings.memcached_passing.bind, bind, d)
    }),
    row(
        ANY,
        "memcached_socket_keepalive",
        Args::FLAG,
        slot!(flag memcached_passing.socket_keepalive),
    ),
    row(
        ANY,
        "memcached_next_upstream_tries",
        Args::ONE,
        slot!(number memcached_passing.tries_max),
    ),
    row(
        ANY,
        "memcached_next_upstream_timeout",
        Args::ONE,
        slot!(time_ms memcached_passing.tries_timeout_ms),
    ),
];

fn memcached_pass(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let key = Value::compile("$memcached_key", word, &mut scope.shared.registry)?;
    let pass = cgi::pass(scope, (Protocol::Memcached, &word.text), word)?;
    set_once(&mut scope.level.settings.memcached.pass, pass, directive)?;
    scope.level.settings.memcached.key = Some(Some(Arc::new(key)));
    Ok(())
}

fn gzip_flag(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let flag = number(&word.text).and_then(|flag| u32::try_from(flag).ok());
    let flag = flag.ok_or_else(|| invalid_value(word, directive, "a number of 32 bits"))?;
    set_once(
        &mut scope.level.settings.memcached.gzip_flag,
        flag,
        directive,
    )
}

fn next_upstream(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let mut bits = 0;
    for word in &directive.args {
        bits |= choice(
            word,
            [
                ("error", next::ERROR),
                ("timeout", next::TIMEOUT),
                ("invalid_response", next::INVALID_HEADER),
                ("not_found", next::HTTP_404),
                ("off", next::OFF),
            ],
        )?;
    }
    set_once(
        &mut scope.level.settings.memcached_passing.next_upstream,
        bits,
        directive,
    )
}

/// Whether the level asks memcached.
fn applies(settings: &Settings) -> bool {
    settings.memcached.pass.is_some()
}

/// Content phase: has memcached answer those who ask for something.
fn handle(request: &mut Request) -> Outcome {
    if !matches!(request.current.method, Method::Get | Method::Head) {
        return Outcome::Finish(405);
    }
    Outcome::Await(|request| Box::pin(proxy::pass(request, Protocol::Memcached)))
}
