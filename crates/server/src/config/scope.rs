//! What a directive's setter sees: the level being built, and what all levels share.

use std::path::{Path, PathBuf};

use revolve_conf::directive::{Row, duplicate};
use revolve_conf::{Diagnostic, Diagnostics, Directive, HostNames, Span, Word};

use crate::config::known;
use crate::config::process::ProcessConfig;
use crate::config::regex::{Pattern, Patterns};
use crate::config::variable::Registry;
use crate::http::modules::listen::Listen;
use crate::http::modules::log_format::LogFormat;
use crate::http::modules::server_name::ServerName;
use crate::http::modules::{self, RawSettings};
use crate::log::{Destination, Place};
use crate::zones::Declared;

/// The top of the file.
pub(crate) const MAIN: u32 = 1;
/// Inside `events`.
pub(crate) const EVENTS: u32 = 2;
/// Inside `http`.
pub(crate) const HTTP: u32 = 4;
/// Inside `server`.
pub(crate) const SERVER: u32 = 8;
/// Inside `location`.
pub(crate) const LOCATION: u32 = 16;

/// The contexts by their names, from the outermost inwards.
pub(crate) const CONTEXTS: [(u32, &str); 5] = [
    (MAIN, "main"),
    (EVENTS, "events"),
    (HTTP, "http"),
    (SERVER, "server"),
    (LOCATION, "location"),
];

/// A row of a module's directive table.
pub(crate) type DirectiveRow = Row<Scope>;

/// How a location is matched against the path of a request.
#[derive(Debug, Clone)]
pub(crate) enum LocationMatch {
    /// The level of the server itself, before any location was found.
    Server,
    /// `location = /x`.
    Exact(String),
    /// `location /x`, or `location ^~ /x` where `regex_follows` is false.
    Prefix {
        /// The path's beginning.
        path: String,
        /// Whether regular expressions may still win over it.
        regex_follows: bool,
    },
    /// `location ~ x` and `location ~* x`.
    Regex(Pattern),
    /// `location @x`, reached by internal redirects alone.
    Named(String),
}

/// One level of the configuration as it is being read.
#[derive(Debug)]
pub(crate) struct Level {
    /// Which of the contexts above this level is.
    pub context: u32,
    pub settings: RawSettings,
    pub matching: LocationMatch,
    pub server_names: Vec<ServerName>,
    pub listens: Vec<Listen>,
    pub children: Vec<Level>,
    /// The directives that stand here and say nothing to us.
    pub checked: Vec<String>,
    pub span: Option<Span>,
}

impl Level {
    pub(crate) fn new(context: u32, matching: LocationMatch, span: Option<Span>) -> Self {
        Self {
            context,
            settings: RawSettings::default(),
            matching,
            server_names: Vec::new(),
            listens: Vec::new(),
            children: Vec::new(),
            checked: Vec::new(),
            span,
        }
    }
}

/// The state of one reading of a configuration.
#[derive(Debug)]
pub(crate) struct Scope {
    pub level: Level,
    pub process: ProcessConfig,
    pub registry: Registry,
    pub patterns: Patterns,
    pub log_formats: Vec<LogFormat>,
    pub logs: Vec<Destination>,
    pub zones: Declared,
    pub diagnostics: Diagnostics,
    pub http: Option<Level>,
    /// Folder against which relative paths of files are resolved (`-p`).
    pub prefix: PathBuf,
    /// Answers for host names: what the master was told, its workers are told too.
    pub hosts: HostNames,
}

impl Scope {
    pub(crate) fn new(prefix: &Path, hosts: HostNames) -> Self {
        Self {
            level: Level::new(MAIN, LocationMatch::Server, None),
            process: ProcessConfig::default(),
            registry: Registry::default(),
            patterns: Patterns::default(),
            log_formats: Vec::new(),
            logs: Vec::new(),
            zones: Declared::default(),
            diagnostics: Diagnostics::default(),
            http: None,
            prefix: prefix.to_owned(),
            hosts,
        }
    }

    /// Resolves a file name against the prefix, as nginx does for everything but `include`.
    pub(crate) fn full_path(&self, name: &str) -> PathBuf {
        self.prefix.join(name)
    }

    /// The index of a log in the list of all; one place is one log.
    pub(crate) fn log_index(&mut self, place: Place) -> usize {
        match self.logs.iter().position(|known| known.place == place) {
            Some(index) => index,
            None => {
                self.logs.push(Destination {
                    place,
                    buffering: None,
                });
                self.logs.len() - 1
            }
        }
    }

    /// Reads the directives of a block into a level of its own and returns that level.
    pub(crate) fn nested(&mut self, level: Level, directives: &[Directive]) -> Level {
        let outer = std::mem::replace(&mut self.level, level);
        self.read(directives);
        std::mem::replace(&mut self.level, outer)
    }

    /// Applies each directive to the level at hand; every error is kept, none stops the rest.
    pub(crate) fn read(&mut self, directives: &[Directive]) {
        for directive in directives {
            if let Err(diagnostic) = self.apply(directive) {
                let hint = known::missing_semicolon(directive, diagnostic);
                self.diagnostics.push(hint);
            }
        }
    }

    fn apply(&mut self, directive: &Directive) -> Result<(), Diagnostic> {
        let name = directive.name.text.as_str();
        let mut found = None;
        for row in modules::rows().filter(|row| row.name == name) {
            if row.contexts & self.level.context != 0 {
                revolve_conf::directive::check(row, directive)?;
                return (row.set)(self, directive);
            }
            found = Some(row);
        }
        match found {
            Some(row) => Err(not_allowed_here(directive, row.contexts)),
            // Looking for what may have been meant costs more than to read the line.
            None if !self.diagnostics.keeps_error_at(directive.name.span) => {
                let nothing = std::iter::empty();
                Err(revolve_conf::directive::unknown(directive, nothing))
            }
            None => Err(known::unknown(directive)),
        }
    }
}

fn not_allowed_here(directive: &Directive, contexts: u32) -> Diagnostic {
    revolve_conf::directive::not_allowed(directive)
        .label(format!("expected inside {}", context_names(contexts)))
}

/// The contexts in words: "http, server or location".
fn context_names(contexts: u32) -> String {
    let names: Vec<&str> = [
        (MAIN, "the top of the file"),
        (EVENTS, "`events`"),
        (HTTP, "`http`"),
        (SERVER, "`server`"),
        (LOCATION, "`location`"),
    ]
    .iter()
    .filter(|(bit, _)| contexts & bit != 0)
    .map(|(_, name)| *name)
    .collect();
    either(&names)
}

/// "a, b or c"
fn either(names: &[&str]) -> String {
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// Sets a value that a level may set once; nginx's words for the second time.
pub(crate) fn set_once<T>(
    slot: &mut Option<T>,
    value: T,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    if slot.is_some() {
        return Err(duplicate(directive));
    }
    *slot = Some(value);
    Ok(())
}

/// Notes a directive that was checked and sets nothing; it may stand once in a level all the same.
pub(crate) fn checked_once(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    let name = &directive.name.text;
    if scope.level.checked.contains(name) {
        return Err(duplicate(directive));
    }
    scope.level.checked.push(name.clone());
    Ok(())
}

/// nginx's words for a parameter it does not know.
pub(crate) fn invalid_parameter(word: &Word, expected: &str) -> Diagnostic {
    Diagnostic::new(word.span, format!("invalid parameter \"{}\"", word.text)).label(expected)
}

/// nginx's words for a value out of its range or form.
pub(crate) fn invalid_value(word: &Word, directive: &Directive, expected: &str) -> Diagnostic {
    let message = format!("\"{}\" directive invalid value", directive.name.text);
    Diagnostic::new(word.span, message).label(format!("expected {expected}"))
}

/// The meaning of a word that is one of `choices`, in any case.
pub(crate) fn choice<T, const N: usize>(
    word: &Word,
    choices: [(&str, T); N],
) -> Result<T, Diagnostic> {
    let names = choices.each_ref().map(|(name, _)| *name);
    let mut choices = choices.into_iter();
    let chosen = choices.find(|(name, _)| word.text.eq_ignore_ascii_case(name));
    chosen.map(|(_, value)| value).ok_or_else(|| {
        let message = format!("invalid value \"{}\"", word.text);
        Diagnostic::new(word.span, message).label(format!("expected {}", either(&names)))
    })
}

/// Setters for the plain kinds of value, for the tables of the modules.
///
/// `slot!(flag core.etag)` expands to a setter that stores an `on|off` once in that field.
macro_rules! slot {
    (@set $group:ident . $field:ident, $parse:expr) => {
        |scope: &mut $crate::config::scope::Scope, directive: &::revolve_conf::Directive| {
            let value = $parse(&directive.args[0], directive.name.text.as_str())?;
            $crate::config::scope::set_once(
                &mut scope.level.settings.$group.$field,
                value.into(),
                directive,
            )
        }
    };
    (flag $group:ident . $field:ident) => {
        $crate::config::scope::slot!(@set $group.$field, ::revolve_conf::value::flag_of)
    };
    (size $group:ident . $field:ident) => {
        $crate::config::scope::slot!(@set $group.$field, ::revolve_conf::value::size_of)
    };
    (offset $group:ident . $field:ident) => {
        $crate::config::scope::slot!(@set $group.$field, ::revolve_conf::value::offset_of)
    };
    (time_ms $group:ident . $field:ident) => {
        $crate::config::scope::slot!(@set $group.$field, ::revolve_conf::value::time_ms_of)
    };
    (number $group:ident . $field:ident) => {
        $crate::config::scope::slot!(@set $group.$field, ::revolve_conf::value::number_of)
    };
}
pub(crate) use slot;

/// Accepts a number that only tunes tables which Revolve sizes by itself.
pub(crate) fn accept_number(scope: &mut Scope, directive: &Directive) -> Result<(), Diagnostic> {
    revolve_conf::value::number_of(&directive.args[0], &directive.name.text)?;
    checked_once(scope, directive)
}
