//! `health_check` and `match`: servers of a group that are asked how they are.
//!
//! ```nginx
//! match welcome {
//!     status 200;
//!     header Content-Type ~ html;
//!     body ~ "Welcome";
//! }
//! location / {
//!     proxy_pass http://app;
//!     health_check interval=5s fails=3 passes=2 uri=/health match=welcome mandatory;
//! }
//! ```

mod asking;
mod checking;

use std::sync::Arc;
use std::time::Duration;

use revolve_conf::directive::{Args, duplicate};
use revolve_conf::value::{number, time_ms};
use revolve_conf::{Diagnostic, Directive, Span, Word};

use crate::config::regex::{Groups, Pattern};
use crate::config::scope::{HTTP, LOCATION, MATCH, invalid_parameter, set_once};
use crate::config::setting::settings;
use crate::http::Http;
use crate::http::location::Location;
use crate::http::modules::passing::Protocol;
use crate::http::modules::proxy::{HttpVersion, Target};
use crate::http::modules::upstream::Upstream;
use crate::http::modules::{Module, Settings};
use crate::http::scope::{Block, DirectiveRow, LocationMatch, Scope, row};

pub(crate) use self::checking::watch;

/// The module.
pub(crate) const MODULE: Module = Module {
    directives: DIRECTIVES,
    ..Module::EMPTY
};

/// How servers are asked.
#[derive(Debug)]
pub(crate) struct Check {
    pub(crate) interval: Duration,
    /// A random part of which is added to the interval.
    pub(crate) jitter: Duration,
    /// So many in a row make a server unhealthy, and so many healthy.
    pub(crate) fails: u32,
    pub(crate) passes: u32,
    pub(crate) uri: String,
    /// Another port than the server's own.
    pub(crate) port: Option<u16>,
    /// Whether nobody is sent to a server that has not been found healthy.
    is_mandatory: bool,
    /// Where it stands.
    span: Span,
    /// The name of the `match`, and where it was named.
    matching: Option<(String, Span)>,
}

/// A `match`.
#[derive(Debug)]
pub(crate) struct Matching {
    name: String,
    expected: Arc<Vec<Expected>>,
}

/// One line of a `match`.
#[derive(Debug)]
pub(crate) enum Expected {
    /// One of these ranges of statuses, or none of them.
    Status {
        ranges: Vec<(u16, u16)>,
        is_in: bool,
    },
    /// A header that is there, or is not.
    Header { name: String, is_there: bool },
    /// A header with a value, or another.
    HeaderIs {
        name: String,
        value: String,
        is_it: bool,
    },
    /// A header whose value a pattern matches, or does not.
    HeaderLike {
        name: String,
        pattern: Pattern,
        is_like: bool,
    },
    /// A body that a pattern matches, or does not.
    Body { pattern: Pattern, is_like: bool },
}

settings! {
    /// Health checks of the group that requests of a location are passed to.
    pub struct HealthSettings / RawHealth {
        inherit {}
        own {
            /// `health_check`.
            check: Option<Arc<Check>> = None,
        }
    }
}

const DIRECTIVES: &[DirectiveRow] = &[
    row(
        LOCATION,
        "health_check",
        Args::range(0, u16::MAX),
        |scope, d| {
            let check = Some(Arc::new(health_check(d)?));
            set_once(&mut scope.level.settings.health_check.check, check, d)
        },
    ),
    row(HTTP, "match", Args::ONE_BLOCK, matching),
    row(MATCH, "status", Args::ONE_MORE, status),
    row(MATCH, "header", Args::ONE_MORE, header),
    row(MATCH, "body", Args::TWO, body),
];

fn health_check(directive: &Directive) -> Result<Check, Diagnostic> {
    let mut check = Check {
        interval: Duration::from_secs(5),
        jitter: Duration::ZERO,
        fails: 1,
        passes: 1,
        uri: "/".into(),
        port: None,
        is_mandatory: false,
        span: directive.span,
        matching: None,
    };
    for word in &directive.args {
        let wrong = || {
            let expected = "expected interval=, jitter=, fails=, passes=, uri=, match=, port=, mandatory \
                            or persistent";
            invalid_parameter(word, expected)
        };
        let time = |text: &str| time_ms(text).map(Duration::from_millis).ok_or_else(wrong);
        let count = |text: &str| {
            let count = number(text).and_then(|count| u32::try_from(count).ok());
            count.filter(|count| *count > 0).ok_or_else(wrong)
        };
        match word.text.split_once('=') {
            Some(("interval", text)) => {
                check.interval = time(text)?;
                if check.interval.is_zero() {
                    return Err(wrong());
                }
            }
            Some(("jitter", text)) => check.jitter = time(text)?,
            Some(("fails", text)) => check.fails = count(text)?,
            Some(("passes", text)) => check.passes = count(text)?,
            Some(("uri", text)) if text.starts_with('/') => check.uri = text.to_owned(),
            Some(("port", text)) => {
                let port = text.parse().ok().filter(|port| *port > 0);
                check.port = Some(port.ok_or_else(wrong)?);
            }
            Some(("match", name)) if !name.is_empty() => {
                check.matching = Some((name.to_owned(), word.span));
            }
            None if word.text == "mandatory" => check.is_mandatory = true,
            // What was found is kept over reloads always.
            None if word.text == "persistent" => {}
            _ => return Err(wrong()),
        }
    }
    Ok(check)
}

fn matching(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let word = &directive.args[0];
    if scope.matches.iter().any(|it| it.name == word.text) {
        let message = format!("duplicate match \"{}\"", word.text);
        return Err(Diagnostic::new(word.span, message).label("one of this name is there"));
    }
    let level = Block::new(MATCH, LocationMatch::Server, Some(directive.span));
    let level = scope.nested(level, directive.block.as_deref().unwrap_or_default());
    let is_of = |kind: fn(&Expected) -> bool| level.expected.iter().filter(|it| kind(it)).count();
    if is_of(|it| matches!(it, Expected::Status { .. })) > 1
        || is_of(|it| matches!(it, Expected::Body { .. })) > 1
    {
        return Err(duplicate(directive));
    }
    scope.matches.push(Matching {
        name: word.text.clone(),
        expected: Arc::new(level.expected),
    });
    Ok(())
}

fn status(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (is_in, words) = match directive.args.split_first() {
        Some((first, rest)) if first.text == "!" => (false, rest),
        _ => (true, directive.args.as_slice()),
    };
    let range = |word: &Word| {
        let (first, last) = word
            .text
            .split_once('-')
            .unwrap_or((&word.text, &word.text));
        let status = |text: &str| {
            text.parse::<u16>()
                .ok()
                .filter(|it| (100..600).contains(it))
        };
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok((first, last)),
            _ => {
                let message = format!("invalid status \"{}\"", word.text);
                Err(Diagnostic::new(word.span, message).label("expected 200, or 200-399"))
            }
        }
    };
    let ranges = words.iter().map(range).collect::<Result<Vec<_>, _>>()?;
    scope
        .level
        .expected
        .push(Expected::Status { ranges, is_in });
    Ok(())
}

fn header(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let words: Vec<&str> = directive
        .args
        .iter()
        .map(|word| word.text.as_str())
        .collect();
    let expected = match words[..] {
        ["!", name] => Expected::Header {
            name: name.into(),
            is_there: false,
        },
        [name] => Expected::Header {
            name: name.into(),
            is_there: true,
        },
        [name, sign @ ("=" | "!="), value] => Expected::HeaderIs {
            name: name.into(),
            value: value.into(),
            is_it: sign == "=",
        },
        [name, sign @ ("~" | "!~"), source] => Expected::HeaderLike {
            name: name.into(),
            pattern: scope
                .shared
                .patterns
                .compile(&directive.args[2], source, false)?,
            is_like: sign == "~",
        },
        _ => {
            let expected = "expected NAME, ! NAME, or NAME and =, !=, ~ or !~ with a value";
            return Err(invalid_parameter(&directive.args[0], expected));
        }
    };
    scope.level.expected.push(expected);
    Ok(())
}

fn body(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let (sign, source) = (&directive.args[0], &directive.args[1]);
    let is_like = match sign.text.as_str() {
        "~" => true,
        "!~" => false,
        _ => return Err(invalid_parameter(sign, "expected ~ or !~, and a pattern")),
    };
    let pattern = scope.shared.patterns.compile(source, &source.text, false)?;
    scope
        .level
        .expected
        .push(Expected::Body { pattern, is_like });
    Ok(())
}

/// A check, of the group at a place.
#[derive(Debug)]
pub(crate) struct GroupCheck {
    pub(crate) place: usize,
    /// What is spoken with them.
    pub(crate) protocol: Protocol,
    pub(crate) check: Arc<Check>,
    /// What an answer has to be; a status from 200 to 399 where nothing is said.
    pub(crate) expected: Option<Arc<Vec<Expected>>>,
    /// The location whose way of passing requests on is taken.
    pub(crate) location: usize,
}

/// The checks of all locations; their groups are told that there are some.
pub(crate) fn collect(
    locations: &[Location],
    matches: &[Matching],
    upstreams: &mut [Upstream],
    diagnostics: &mut revolve_conf::Diagnostics,
) -> Vec<GroupCheck> {
    let mut checks = Vec::new();
    for (location, settings) in locations.iter().map(|it| &it.settings).enumerate() {
        let Some(check) = &settings.health_check.check else {
            continue;
        };
        let Some((protocol, place)) = place_of(settings) else {
            let message = "\"health_check\" needs \"proxy_pass\", or another such directive, to a group in the \
                           same location";
            diagnostics.push(Diagnostic::new(check.span, message).help("name an `upstream` there"));
            continue;
        };
        if let Some(diagnostic) = refused(protocol, settings, check) {
            diagnostics.push(diagnostic);
            continue;
        }
        let expected = match &check.matching {
            None => None,
            Some((name, span)) => match matches.iter().find(|it| it.name == *name) {
                Some(found) => Some(found.expected.clone()),
                None => {
                    let message = format!("match \"{name}\" not found");
                    diagnostics
                        .push(Diagnostic::new(*span, message).label("expected one in `http`"));
                    continue;
                }
            },
        };
        let spec = &mut upstreams[place].spec;
        spec.is_checked = true;
        spec.must_be_healthy |= check.is_mandatory;
        checks.push(GroupCheck {
            place,
            protocol,
            check: check.clone(),
            expected,
            location,
        });
    }
    checks
}

/// What is spoken at a level with which group.
fn place_of(settings: &Settings) -> Option<(Protocol, usize)> {
    const CHECKED: [Protocol; 5] = [
        Protocol::Http,
        Protocol::FastCgi,
        Protocol::Uwsgi,
        Protocol::Scgi,
        Protocol::Memcached,
    ];
    CHECKED
        .into_iter()
        .find_map(|protocol| match protocol.pass(settings)?.target {
            Target::Group { place, .. } => Some((protocol, place)),
            Target::Url(_) => None,
        })
}

/// Why a check cannot be made in this protocol, if it cannot.
fn refused(protocol: Protocol, settings: &Settings, check: &Check) -> Option<Diagnostic> {
    if protocol == Protocol::Memcached
        && let Some((_, span)) = check.matching
    {
        let message = "\"match\" is about answers of HTTP, and memcached gives none";
        return Some(Diagnostic::new(span, message).label("memcached is asked for its version"));
    }
    if protocol == Protocol::Http && settings.proxy.version == HttpVersion::Http2 {
        let message = "\"health_check\" asks by HTTP/1.1, and \"proxy_http_version\" is 2 here";
        return Some(Diagnostic::new(check.span, message).label(
            "expected it in a location of its own that passes to the same group by HTTP/1.1",
        ));
    }
    let ssl = protocol.ssl(settings).filter(|ssl| ssl.is_secure)?;
    let needs_request = ssl.loaded.as_ref().is_some_and(|tls| tls.needs_request());
    needs_request.then(|| {
        let name = protocol.name();
        let message = format!(
            "\"health_check\" has no request that \"{name}_ssl_certificate\" could be made of"
        );
        Diagnostic::new(check.span, message).label("expected a certificate without variables there")
    })
}

impl Http {
    /// The settings of a check's location.
    pub(crate) fn settings_of(&self, check: &GroupCheck) -> &Settings {
        &self.locations[check.location].settings
    }
}

/// An answer to a check.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) headers: &'a [(&'a [u8], &'a [u8])],
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The first header of a name.
    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers.iter();
        let found = headers.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| *value)
    }
}

/// Whether any of these needs a body.
pub(crate) fn needs_body(expected: Option<&Vec<Expected>>) -> bool {
    let mut all = expected.into_iter().flatten();
    all.any(|it| matches!(it, Expected::Body { .. }))
}

/// What of an answer is not as expected.
pub(crate) fn judge(expected: Option<&Vec<Expected>>, answer: &Answer<'_>) -> Result<(), String> {
    let Some(expected) = expected else {
        return match answer.status {
            200..400 => Ok(()),
            status => Err(format!("status {status}")),
        };
    };
    let like = |pattern: &Pattern, text: &[u8]| {
        matches!(pattern.captures(text, &mut Groups::new()), Ok(true))
    };
    for expected in expected {
        let (is_met, what) = match expected {
            Expected::Status { ranges, is_in } => {
                let mut ranges = ranges.iter();
                let is_one = ranges.any(|(first, last)| (*first..=*last).contains(&answer.status));
                (is_one == *is_in, format!("status {}", answer.status))
            }
            Expected::Header { name, is_there } => (
                answer.header(name).is_some() == *is_there,
                format!("header \"{name}\""),
            ),
            Expected::HeaderIs { name, value, is_it } => {
                let is_equal = answer.header(name) == Some(value.as_bytes());
                (is_equal == *is_it, format!("header \"{name}\""))
            }
            Expected::HeaderLike {
                name,
                pattern,
                is_like,
            } => {
                let found = answer
                    .header(name)
                    .is_some_and(|value| like(pattern, value));
                (found == *is_like, format!("header \"{name}\""))
            }
            Expected::Body { pattern, is_like } => {
                (like(pattern, answer.body) == *is_like, "body".to_owned())
            }
        };
        if !is_met {
            return Err(format!("{what} is not as expected"));
        }
    }
    Ok(())
}
