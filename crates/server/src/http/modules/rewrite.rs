//! `return`: an answer without content.
//!
//! ```nginx
//! return 301 https://example.org$request_uri;
//! return 200 "ok\n";
//! return 404;
//! return 444;                  # close without a word
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};

use crate::http::modules::{Module};
use crate::config::scope::{LOCATION, SERVER};
use crate::config::setting::settings;
use crate::config::variable::Value;
use crate::http::modules::{Settings, types};
use crate::http::phase::{Outcome, Phase};
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use revolve_http::h1::lines::ContentLength;

/// The module, without nginx's name, from which tools would take that all of `ngx_http_rewrite_module` is here.
pub(crate) const MODULE: Module = Module {
    directives: DIRECTIVES,
    handlers: &[(Phase::ServerRewrite, applies, handle), (Phase::Rewrite, applies, handle)],
    ..Module::EMPTY
};

/// What `return` answers.
#[derive(Debug)]
pub(crate) struct Return {
    status: u16,
    text: Option<Value>,
    /// The text's length, where no variable is in it.
    length: Option<ContentLength>,
}

impl Return {
    fn new(status: u16, text: Option<Value>) -> Self {
        let literal = text.as_ref().map_or(Some(&b""[..]), Value::as_literal);
        let length = literal.map(|text| ContentLength::new(text.len() as u64));
        Self {
            status,
            text,
            length,
        }
    }
}

settings! {
    /// `return`.
    pub struct RewriteSettings / RawRewrite {
        inherit {}
        own {
            /// The first `return` of the level; those after it are never reached.
            answer: Option<Arc<Return>> = None,
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "return",
    contexts: SERVER | LOCATION,
    args: Args::ONE_OR_TWO,
    set: set_return,
}];

fn set_return(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let first = &directive.args[0];
    let code = first
        .text
        .parse::<u16>()
        .ok()
        .filter(|_| first.text.len() <= 3);
    let answer = match (code, directive.args.get(1)) {
        (Some(status), text) if status <= 999 => {
            let text = text
                .map(|word| Value::of(word, &mut scope.shared.registry))
                .transpose()?;
            Return::new(status, text)
        }
        (None, None) if is_url(&first.text) => {
            Return::new(302, Some(Value::of(first, &mut scope.shared.registry)?))
        }
        _ => {
            let message = format!("invalid return code \"{}\"", first.text);
            return Err(Diagnostic::new(first.span, message)
                .label("expected a status from 0 to 999, or a URL alone"));
        }
    };
    let slot = &mut scope.level.settings.rewrite.answer;
    if slot.is_none() {
        *slot = Some(Some(Arc::new(answer)));
    }
    Ok(())
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || text.starts_with("$scheme")
}

/// Whether the level has a `return`.
pub(crate) fn applies(settings: &Settings) -> bool {
    settings.rewrite.answer.is_some()
}

/// Rewrite phases: answers as the level's `return` says.
pub(crate) fn handle(request: &mut Request) -> Outcome {
    let site = request.site.share();
    let settings = &site.locations[request.current.location as usize].settings;
    let Some(Return {
        status,
        text,
        length,
    }) = settings.rewrite.answer.as_deref()
    else {
        return Outcome::Next;
    };
    let plain = text
        .as_ref()
        .is_none_or(|text| text.as_literal() == Some(b""));
    if *status >= 400 && plain {
        return Outcome::Finish(*status);
    }
    if let Err(status) = request.discard_body() {
        return Outcome::Finish(status);
    }
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        let mut location = std::mem::take(&mut request.response.location);
        location.clear();
        if let Some(text) = text {
            text.append(request, &mut location);
        }
        request.response.location = location;
        request.response.has_location = true;
        return Outcome::Finish(*status);
    }
    request.response.clear_content();
    request.response.status = *status;
    if let Some(text) = text {
        append_text(request, text);
    }
    let response = &mut request.response;
    let length = length.unwrap_or_else(|| ContentLength::new(response.body_bytes()));
    response.content_length = Some(length);
    types::set_content_type(request);
    Outcome::Respond
}

fn append_text(request: &mut Request, text: &Value) {
    if let Some(literal) = text.as_literal() {
        if !literal.is_empty() {
            request.response.push_text(literal);
        }
        return;
    }
    let mut bytes = std::mem::take(&mut request.response.text);
    text.append(request, &mut bytes);
    let end = bytes.len();
    request.response.text = bytes;
    if end > 0 {
        request
            .response
            .body
            .push(crate::http::body::Piece::Text { start: 0, end });
    }
}
