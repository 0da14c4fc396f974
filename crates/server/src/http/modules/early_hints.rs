//! `early_hints`: answers of an upstream with the status 103, passed on before its final one.
//!
//! ```nginx
//! map $http_sec_fetch_mode $early_hints {
//!     navigate 1;
//! }
//! location / {
//!     early_hints $early_hints;
//!     proxy_pass http://app;
//! }
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_http::Version;

use crate::config::scope::{HTTP, LOCATION, SERVER, set_once};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::row;

/// The module.
pub(crate) const MODULE: Module = Module {
    directives: &[row(
        HTTP | SERVER | LOCATION,
        "early_hints",
        Args::ONE_MORE,
        |scope, d| {
            let registry = &mut scope.shared.registry;
            let values = d.args.iter().map(|word| Value::of(word, registry));
            let values = Arc::new(values.collect::<Result<_, _>>()?);
            set_once(&mut scope.level.settings.early_hints.conditions, values, d)
        },
    )],
    ..Module::EMPTY
};

settings! {
    /// Whether early hints are passed on.
    pub struct EarlyHintSettings / RawEarlyHints {
        inherit {
            /// `early_hints`: where one of these is neither empty nor 0, they are.
            conditions: Arc<Vec<Value>> = Arc::default(),
        }
        own {}
    }
}

/// Whether the client of a request is told of early hints: by HTTP/1.0 it would take them for the answer.
pub(crate) fn are_wanted(request: &Request) -> bool {
    let conditions = &request.settings().early_hints.conditions;
    let is_set = |value: &Value| {
        let value = value.evaluate(request);
        !value.is_empty() && value != b"0"
    };
    !conditions.is_empty()
        && request.version() == Version::HTTP_11
        && !request.current.is_subrequest
        && conditions.iter().any(is_set)
}
