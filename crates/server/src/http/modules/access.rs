//! Who may come in, by address.
//!
//! ```nginx
//! deny  192.168.1.1;
//! allow 192.168.1.0/24;
//! allow 2001:db8::/32;
//! allow unix:;
//! deny  all;
//! ```
//!
//! The first rule that names the client's address says so; where none does, it may.

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::config::scope::{HTTP, LIMIT_EXCEPT, LOCATION, SERVER, invalid_parameter};
use crate::config::setting::settings;
use crate::http::modules::core::Satisfy;
use crate::http::modules::{Module, Settings};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::log::Level;
use crate::net::cidr::Network;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_access_module",
    directives: DIRECTIVES,
    handlers: &[(Phase::Access, applies, handle)],
    ..Module::EMPTY
};

/// One `allow` or `deny`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rule {
    /// `None` for all.
    of: Option<Network>,
    may: bool,
}

settings! {
    /// `allow` and `deny`.
    pub struct AccessSettings / RawAccess {
        inherit {
            /// In the order of the file; a level that has one inherits none.
            rules: Arc<Vec<Rule>> = Arc::default(),
        }
        own {}
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION | LIMIT_EXCEPT;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "allow",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| rule(scope, directive, true),
    },
    DirectiveRow {
        name: "deny",
        contexts: ANY,
        args: Args::ONE,
        set: |scope, directive| rule(scope, directive, false),
    },
];

fn rule(scope: &mut Scope, directive: &Directive, may: bool) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    let of = match word.text.as_str() {
        "all" => None,
        "unix:" => Some(Network::Unix),
        text => match Network::parse(text) {
            Some((network, has_more)) => {
                if has_more {
                    let message = format!("low address bits of {text} are meaningless");
                    let warning = Diagnostic::new(word.span, message).warn();
                    scope.shared.diagnostics.push(warning);
                }
                Some(network)
            }
            None => {
                let expected = "expected an address, a network like 10.0.0.0/8, unix: or all";
                return Err(invalid_parameter(word, expected));
            }
        },
    };
    let rules = &mut scope.level.settings.access.rules;
    let rules = Arc::get_mut(rules.get_or_insert_default());
    let rules = rules.expect("nobody shares a level's rules while it is read");
    rules.push(Rule { of, may });
    Ok(())
}

fn applies(settings: &Settings) -> bool {
    !settings.access.rules.is_empty()
}

/// Access phase: what the first rule of the client's address says.
fn handle(request: &mut Request) -> Outcome {
    let settings = request.settings();
    let client = request.client();
    let mut rules = settings.access.rules.iter();
    let rule = rules.find(|rule| rule.of.is_none_or(|network| network.contains(client)));
    match rule {
        None => Outcome::Next,
        Some(Rule { may: true, .. }) => Outcome::Allow,
        Some(_) => {
            if settings.core.satisfy == Satisfy::All {
                request.log(Level::Error, format_args!("access forbidden by rule"));
            }
            Outcome::Finish(403)
        }
    }
}
