//! `log_format`: the form of a log's lines.
//!
//! ```nginx
//! log_format timed escape=json '{"uri":"$request_uri","s":$request_time}';
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive, Span, Word};

use crate::config::scope::HTTP;
use crate::config::variable::{Part, Registry, Subject as _, Value};
use crate::http::modules::Module;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope};
use crate::log::escape;

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_log_module",
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// nginx's predefined format.
const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status \
                        $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

/// How values of variables are made fit for a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    /// `\xHH` for quotes, backslashes and bytes outside of printable ASCII; `-` for no value.
    Default,
    /// As in a JSON string; nothing for no value.
    Json,
    /// As they are; nothing for no value.
    None,
}

/// A named form of a line.
#[derive(Debug)]
pub(crate) struct LogFormat {
    name: String,
    format: Arc<Format>,
}

/// The form of a line.
#[derive(Debug)]
pub(crate) struct Format {
    escape: Escape,
    value: Value,
}

const DIRECTIVES: &[DirectiveRow] = &[DirectiveRow {
    name: "log_format",
    contexts: HTTP,
    args: Args::TWO_MORE,
    set: log_format,
}];

fn log_format(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = &directive.args[0];
    if name.text == "combined"
        || scope
            .log_formats
            .iter()
            .any(|known| known.name == name.text)
    {
        let message = format!("duplicate \"log_format\" name \"{}\"", name.text);
        return Err(
            Diagnostic::new(name.span, message).label("a format of this name is there already")
        );
    }
    let mut words = &directive.args[1..];
    let mut escape = Escape::Default;
    if let Some(kind) = words[0].text.strip_prefix("escape=") {
        escape = match kind {
            "default" => Escape::Default,
            "json" => Escape::Json,
            "none" => Escape::None,
            _ => {
                let message = format!("unknown log format escaping \"{kind}\"");
                return Err(
                    Diagnostic::new(words[0].span, message).label("expected default, json or none")
                );
            }
        };
        words = &words[1..];
    }
    let Some(first) = words.first() else {
        return Err(Diagnostic::new(
            directive.span,
            "invalid number of arguments in \"log_format\" directive",
        )
        .label("expected the text of a line"));
    };
    let text: String = words.iter().map(|word| word.text.as_str()).collect();
    let value = Value::compile(&text, first, &mut scope.shared.registry)?;
    let format = Arc::new(Format { escape, value });
    scope.log_formats.push(LogFormat {
        name: name.text.clone(),
        format,
    });
    Ok(())
}

/// The format of a name; `combined` where there is none.
pub(crate) fn find(
    scope: &mut Scope,
    name: Option<&Word>,
    place: Span,
) -> Result<Arc<Format>, Diagnostic> {
    let wanted = name.map_or("combined", |word| word.text.as_str());
    if let Some(known) = scope.log_formats.iter().find(|known| known.name == wanted) {
        return Ok(known.format.clone());
    }
    if wanted == "combined" {
        let format = Arc::new(combined(&mut scope.shared.registry));
        scope.log_formats.push(LogFormat {
            name: wanted.to_owned(),
            format: format.clone(),
        });
        return Ok(format);
    }
    let span = name.map_or(place, |word| word.span);
    let diagnostic = Diagnostic::new(span, format!("unknown log format \"{wanted}\""))
        .label("expected the name of a log_format that stands above");
    let known = scope
        .log_formats
        .iter()
        .map(|format| format.name.as_str())
        .chain(["combined"]);
    Err(match revolve_conf::directive::suggest(wanted, known) {
        Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
        None if wanted.contains('=') => {
            diagnostic.help(format!("a format stands before it: `combined {wanted}`"))
        }
        None => diagnostic,
    })
}

/// nginx's predefined format.
pub(crate) fn combined(registry: &mut Registry) -> Format {
    let value = Value::builtin(COMBINED, registry);
    Format {
        escape: Escape::Default,
        value,
    }
}

impl Format {
    /// Appends the line of a request, without its end.
    pub(crate) fn append(&self, request: &Request, out: &mut Vec<u8>) {
        for part in self.value.parts() {
            match part {
                Part::Literal(text) => out.extend_from_slice(text),
                Part::Group(index) => {
                    let start = out.len();
                    request.append_group(*index, out);
                    self.escape_tail(out, start);
                }
                Part::Variable(id) => {
                    let start = out.len();
                    if request.append_variable(*id, out) {
                        self.escape_tail(out, start);
                    } else if self.escape == Escape::Default {
                        out.push(b'-');
                    }
                }
            }
        }
    }

    /// Escapes what was appended from `start` on, where it needs to be.
    fn escape_tail(&self, out: &mut Vec<u8>, start: usize) {
        match self.escape {
            Escape::None => {}
            Escape::Default => escape::as_default(out, start),
            Escape::Json => escape::as_json(out, start),
        }
    }
}
