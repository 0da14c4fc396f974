//! Header lines added by the configuration.
//!
//! ```nginx
//! add_header X-Frame-Options DENY always;
//! expires 30d;                 # or epoch, max, off, modified +1h, @3h
//! ```

use std::sync::Arc;

use revolve_conf::directive::Args;
use revolve_conf::{Diagnostic, Directive};
use revolve_http::h1::writer;

use crate::config::scope::{
    HTTP, IF_LOCATION, LOCATION, SERVER, choice, invalid_parameter, set_once,
};
use crate::config::setting::Inherit;
use crate::config::variable::Value;
use crate::http::modules::Module;
use crate::http::modules::Settings;
use crate::http::phase::Outcome;
use crate::http::request::Request;
use crate::http::scope::{DirectiveRow, Scope, row};

/// The module.
pub(crate) const MODULE: Module = Module {
    name: "http_headers_filter_module",
    directives: DIRECTIVES,
    header_filters: &[(applies, filter)],
    ..Module::EMPTY
};

/// One `add_header`.
#[derive(Debug)]
pub(crate) struct AddedHeader {
    name: Vec<u8>,
    what: Added,
    always: bool,
}

/// What an `add_header` adds.
#[derive(Debug)]
enum Added {
    /// In place of the response's own `Last-Modified`.
    LastModified(Value),
    /// In place of the response's own `ETag`.
    ETag(Value),
    /// The whole line, the same for all responses.
    Line(Vec<u8>),
    Value(Value),
}

impl Added {
    fn new(name: &[u8], value: Value) -> Self {
        if name.eq_ignore_ascii_case(b"last-modified") {
            return Self::LastModified(value);
        }
        if name.eq_ignore_ascii_case(b"etag") {
            return Self::ETag(value);
        }
        match value.as_literal() {
            Some(text) if !text.is_empty() => {
                let mut line = Vec::new();
                writer::header(&mut line, name, text);
                Self::Line(line)
            }
            _ => Self::Value(value),
        }
    }
}

/// `expires`.
#[derive(Debug, Clone, Default)]
pub(crate) enum Expires {
    /// Nothing is said.
    #[default]
    Off,
    /// `Thu, 01 Jan 1970 00:00:01 GMT` and `no-cache`.
    Epoch,
    /// The far future, and ten years.
    Max,
    /// So many seconds from now; negative for no caching.
    Access(i64),
    /// So many seconds from the file's last change.
    Modified(i64),
    /// At this second of the day, local time.
    Daily(i64),
    /// Decided for each request by a variable.
    Variable(Value),
    /// `modified` and a value that is a time for each request.
    VariableModified(Value),
}

/// `add_header_inherit`: what a level takes over of the lines of the one around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Inheritance {
    /// All, where it has none of its own.
    #[default]
    On,
    /// None.
    Off,
    /// All, behind its own.
    Merge,
}

/// What is added at a level.
type Lines = Arc<Vec<Arc<AddedHeader>>>;

impl Inheritance {
    fn apply(self, own: Option<Lines>, parent: Option<&Lines>) -> Lines {
        let inherited = parent.filter(|_| self != Self::Off).cloned();
        match (own, inherited) {
            (Some(own), Some(inherited)) if self == Self::Merge => {
                Arc::new(own.iter().chain(inherited.iter()).cloned().collect())
            }
            (own, inherited) => own.or(inherited).unwrap_or_default(),
        }
    }
}

/// Header lines added by the configuration.
#[derive(Debug, Default)]
pub(crate) struct HeaderSettings {
    /// `add_header`.
    added: Lines,
    /// `add_header_inherit`, default on.
    added_inherit: Inheritance,
    /// `add_trailer`.
    trailers: Lines,
    /// `add_trailer_inherit`, default on.
    trailers_inherit: Inheritance,
    /// `expires`, default off.
    expires: Expires,
}

/// The same as they are written.
#[derive(Debug, Default)]
pub(crate) struct RawHeaders {
    added: Option<Lines>,
    added_inherit: Option<Inheritance>,
    trailers: Option<Lines>,
    trailers_inherit: Option<Inheritance>,
    expires: Option<Expires>,
}

impl Inherit for RawHeaders {
    type Merged = HeaderSettings;

    /// How lines are inherited is inherited itself.
    fn merge(self, parent: Option<&HeaderSettings>) -> HeaderSettings {
        let of_added = parent.map(|parent| parent.added_inherit);
        let of_added = self.added_inherit.or(of_added).unwrap_or_default();
        let of_trailers = parent.map(|parent| parent.trailers_inherit);
        let of_trailers = self.trailers_inherit.or(of_trailers).unwrap_or_default();
        let expires = parent.map(|parent| &parent.expires).cloned();
        HeaderSettings {
            added: of_added.apply(self.added, parent.map(|parent| &parent.added)),
            added_inherit: of_added,
            trailers: of_trailers.apply(self.trailers, parent.map(|parent| &parent.trailers)),
            trailers_inherit: of_trailers,
            expires: self.expires.or(expires).unwrap_or_default(),
        }
    }
}

const ANY: u32 = HTTP | SERVER | LOCATION;

const DIRECTIVES: &[DirectiveRow] = &[
    DirectiveRow {
        name: "add_header",
        contexts: ANY | IF_LOCATION,
        args: Args::range(2, 3),
        set: add_header,
    },
    DirectiveRow {
        name: "add_trailer",
        contexts: ANY | IF_LOCATION,
        args: Args::range(2, 3),
        set: add_header,
    },
    row(
        ANY | IF_LOCATION,
        "add_header_inherit",
        Args::ONE,
        |scope, d| {
            let value = inheritance(d)?;
            set_once(&mut scope.level.settings.headers.added_inherit, value, d)
        },
    ),
    row(
        ANY | IF_LOCATION,
        "add_trailer_inherit",
        Args::ONE,
        |scope, d| {
            let value = inheritance(d)?;
            set_once(&mut scope.level.settings.headers.trailers_inherit, value, d)
        },
    ),
    DirectiveRow {
        name: "expires",
        contexts: ANY | IF_LOCATION,
        args: Args::ONE_OR_TWO,
        set: expires,
    },
];

fn add_header(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let always = match directive.args.get(2) {
        None => false,
        Some(word) if word.text == "always" => true,
        Some(word) => return Err(invalid_parameter(word, "expected always, or nothing")),
    };
    let name = directive.args[0].text.as_bytes().to_vec();
    let value = Value::of(&directive.args[1], &mut scope.shared.registry)?;
    let settings = &mut scope.level.settings.headers;
    let is_trailer = directive.name.text == "add_trailer";
    let list = match is_trailer {
        true => &mut settings.trailers,
        false => &mut settings.added,
    };
    let list = list.get_or_insert_with(Arc::default);
    let list = Arc::get_mut(list).expect("nobody shares a level's headers while it is read");
    list.push(Arc::new(AddedHeader {
        what: match is_trailer {
            true => Added::Value(value),
            false => Added::new(&name, value),
        },
        name,
        always,
    }));
    Ok(())
}

/// The choices of `add_header_inherit` and `add_trailer_inherit`.
fn inheritance(directive: &Directive) -> Result<Inheritance, Diagnostic> {
    let choices = [
        ("on", Inheritance::On),
        ("off", Inheritance::Off),
        ("merge", Inheritance::Merge),
    ];
    choice(&directive.args[0], choices)
}

fn expires(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let first = &directive.args[0];
    let wrong = |word: &revolve_conf::Word| {
        let what = match word.text.strip_prefix('@') {
            Some(_) if directive.args.len() > 1 => {
                "daily time cannot be used with \"modified\" parameter"
            }
            Some(time) if revolve_conf::value::time_s(time).is_some() => {
                "daily time value must be less than 24 hours"
            }
            _ => "invalid value",
        };
        Diagnostic::new(word.span, format!("\"expires\" directive {what}"))
            .label("expected epoch, max, off, a time like 30d or -1, @ and a time of day, or modified and a time")
    };
    let value = match directive.args.get(1) {
        Some(word) if first.text == "modified" && word.text.contains('$') => {
            Expires::VariableModified(Value::of(word, &mut scope.shared.registry)?)
        }
        Some(word) if first.text == "modified" => {
            Expires::Modified(signed_s(&word.text).ok_or_else(|| wrong(word))?)
        }
        Some(word) => return Err(wrong(word)),
        None if first.text.contains('$') => {
            Expires::Variable(Value::of(first, &mut scope.shared.registry)?)
        }
        None => parse_expires(&first.text).ok_or_else(|| wrong(first))?,
    };
    set_once(&mut scope.level.settings.headers.expires, value, directive)
}

fn parse_expires(text: &str) -> Option<Expires> {
    Some(match text {
        "epoch" => Expires::Epoch,
        "max" => Expires::Max,
        "off" => Expires::Off,
        text => match text.strip_prefix('@') {
            Some(time) => {
                let seconds = i64::try_from(revolve_conf::value::time_s(time)?).ok()?;
                if seconds > 86_400 {
                    return None;
                }
                Expires::Daily(seconds)
            }
            None => Expires::Access(signed_s(text)?),
        },
    })
}

fn signed_s(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    Some(sign * i64::try_from(revolve_conf::value::time_s(text)?).ok()?)
}

/// Whether the level adds lines.
pub(crate) fn applies(settings: &Settings) -> bool {
    !settings.headers.added.is_empty()
        || !settings.headers.trailers.is_empty()
        || !matches!(settings.headers.expires, Expires::Off)
}

/// Header filter: `expires` and `add_header`.
pub(crate) fn filter(request: &mut Request) -> Outcome {
    // No head of a subrequest leaves.
    if request.current.is_subrequest {
        return Outcome::Next;
    }
    let site = request.site.share();
    let settings = &site.locations[request.current.location as usize]
        .settings
        .headers;
    let usual = is_usual(request.response.status);
    if usual {
        apply_expires(request, &settings.expires);
    }
    for header in settings.added.iter().filter(|it| usual || it.always) {
        add(request, header);
    }
    if settings.trailers.iter().any(|it| usual || it.always) {
        request.response.expects_trailers = true;
    }
    Outcome::Next
}

/// Evaluates `add_trailer` once the body has been sent.
///
/// Source: nginx's `ngx_http_trailers_filter`.
pub(crate) fn fill_trailers(request: &mut Request) {
    // Those that an upstream has sent come first.
    for (name, value) in request.state.proxy.trailers.take().iter() {
        request.response.trailers.push(name, value);
    }
    let trailers = Arc::clone(&request.settings().headers.trailers);
    let usual = is_usual(request.response.status);
    for trailer in trailers.iter().filter(|it| usual || it.always) {
        let Added::Value(value) = &trailer.what else {
            continue;
        };
        let text = value.evaluate(request);
        if !text.is_empty() {
            request.response.trailers.push(&trailer.name, &text);
        }
    }
}

fn is_usual(status: u16) -> bool {
    matches!(
        status,
        200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308
    )
}

fn add(request: &mut Request, header: &AddedHeader) {
    let value = match &header.what {
        Added::Line(line) => {
            let headers = &mut request.response.headers;
            return headers.push_line(line, header.name.len());
        }
        Added::LastModified(value) | Added::ETag(value) | Added::Value(value) => value,
    };
    let mut text = request.take_spare();
    value.append(request, &mut text);
    let response = &mut request.response;
    match &header.what {
        Added::LastModified(_) => response.replace_last_modified(&text),
        Added::ETag(_) => response.headers.replace(b"ETag", &text),
        _ if text.is_empty() => {}
        _ => response.headers.push(&header.name, &text),
    }
    request.give_spare(text);
}

fn apply_expires(request: &mut Request, expires: &Expires) {
    let now_s = request.site.logs.clock().unix_s();
    let (at_s, age_s) = match expires {
        Expires::Off => return,
        Expires::Variable(value) => {
            let text = value.evaluate(request);
            if let Some(parsed) = std::str::from_utf8(&text).ok().and_then(parse_expires) {
                apply_expires(request, &parsed);
            }
            return;
        }
        Expires::VariableModified(value) => {
            let text = value.evaluate(request);
            if let Some(seconds) = std::str::from_utf8(&text).ok().and_then(signed_s) {
                apply_expires(request, &Expires::Modified(seconds));
            }
            return;
        }
        Expires::Epoch => return push_expires(request, 1, "no-cache"),
        // nginx's "max": the end of 2037, and ten years.
        Expires::Max => return push_expires(request, 2_145_916_555, "max-age=315360000"),
        Expires::Access(0) | Expires::Modified(0) => {
            return push_expires(request, now_s, "max-age=0");
        }
        Expires::Access(seconds) => (now_s + seconds, *seconds),
        Expires::Modified(seconds) => match request.response.last_modified {
            Some(modified) => (modified.unix_s + seconds, modified.unix_s + seconds - now_s),
            // What has no time of last change is as old as the answer.
            None => return apply_expires(request, &Expires::Access(*seconds)),
        },
        Expires::Daily(second) => {
            let at = request.site.logs.clock().next_daily(*second);
            (at, at - now_s)
        }
    };
    if age_s < 0 || matches!(expires, Expires::Modified(seconds) if *seconds < 0) {
        return push_expires(request, at_s, "no-cache");
    }
    let mut max_age = request.take_spare();
    max_age.extend_from_slice(b"max-age=");
    max_age.extend_from_slice(itoa::Buffer::new().format(age_s).as_bytes());
    push_expires(request, at_s, &max_age);
    request.give_spare(max_age);
}

fn push_expires(request: &mut Request, at_s: i64, cache_control: impl AsRef<[u8]>) {
    let date = request.site.logs.clock().http_date(at_s);
    let headers = &mut request.response.headers;
    headers.push(b"Expires", &date);
    headers.push(b"Cache-Control", cache_control.as_ref());
}
