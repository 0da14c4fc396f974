//! What the protocols have in common that tell an application of a request as CGI does; no module by
//! itself.

use std::sync::Arc;

use revolve_conf::{Diagnostic, Directive, Word};

use crate::config::scope::invalid_parameter;
use crate::config::setting::settings;
use crate::config::variable::{Registry, Value};
use crate::http::modules::passing::Protocol;
use crate::http::modules::proxy::{Pass, Target};
use crate::http::scope::Scope;

/// One `*_param`.
#[derive(Debug)]
pub(crate) struct Param {
    pub(crate) name: String,
    pub(crate) value: Value,
    /// Whether it is left out where its value is empty.
    pub(crate) if_not_empty: bool,
}

settings! {
    /// Whom an application is told of, and where it is.
    pub struct CgiSettings / RawCgi {
        inherit {
            /// `*_param`; a level that has one inherits none.
            params: Arc<Vec<Param>> = Arc::default(),
        }
        own {}
        handler {
            /// `*_pass`.
            pass: Option<Arc<Pass>> = None,
        }
    }
}

/// Where requests are passed to by a protocol whose requests have no URI; `text` is the address, the name
/// of a group, or variables.
pub(crate) fn pass(
    scope: &mut Scope,
    (protocol, text): (Protocol, &str),
    word: &Word,
) -> Result<Option<Arc<Pass>>, Diagnostic> {
    let target = match text.contains('$') {
        true => Target::Url(Value::compile(text, word, &mut scope.shared.registry)?),
        false => Target::Group {
            place: scope.upstreams.mention(text, protocol.port(), word),
            host: text.to_owned(),
            uri: None,
        },
    };
    let replaced = 0;
    Ok(Some(Arc::new(Pass { target, replaced })))
}

/// Adds a parameter.
pub(crate) fn add_param(
    params: &mut Option<Arc<Vec<Param>>>,
    registry: &mut Registry,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let if_not_empty = match directive.args.get(2) {
        None => false,
        Some(word) if word.text == "if_not_empty" => true,
        Some(word) => return Err(invalid_parameter(word, "expected if_not_empty, or nothing")),
    };
    let param = Param {
        name: directive.args[0].text.clone(),
        value: Value::of(&directive.args[1], registry)?,
        if_not_empty,
    };
    let params = params.get_or_insert_with(Arc::default);
    Arc::get_mut(params)
        .expect("nobody shares a level's parameters while it is read")
        .push(param);
    Ok(())
}
