//! `return`: an answer without content.

use revolve_conf::{Diagnostic, Directive};
use revolve_http::h1::lines::ContentLength;

use crate::config::variable::Value;
use crate::http::body::Piece;
use crate::http::modules::types;
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::Scope;

/// What `return` answers.
#[derive(Debug)]
pub(super) struct Return {
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

    pub(super) fn read(scope: &mut Scope, directive: &Directive) -> Result<Self, Diagnostic> {
        let first = &directive.args[0];
        let code = first
            .text
            .parse::<u16>()
            .ok()
            .filter(|_| first.text.len() <= 3);
        match (code, directive.args.get(1)) {
            (Some(status), text) if status <= 999 => {
                let text = text
                    .map(|word| Value::of(word, &mut scope.shared.registry))
                    .transpose()?;
                Ok(Return::new(status, text))
            }
            (None, None) if is_url(&first.text) => {
                let url = Value::of(first, &mut scope.shared.registry)?;
                Ok(Return::new(302, Some(url)))
            }
            _ => {
                let message = format!("invalid return code \"{}\"", first.text);
                Err(Diagnostic::new(first.span, message)
                    .label("expected a status from 0 to 999, or a URL alone"))
            }
        }
    }

    /// Answers as it says.
    pub(super) fn give(&self, request: &mut Request) -> Outcome {
        let Return {
            status,
            text,
            length,
        } = self;
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
            request.response.location_place = request.response.headers.count();
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
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://") || text.starts_with("$scheme")
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
        request.response.body.push(Piece::Text { start: 0, end });
    }
}
