//! What a directive's setter sees: the block being read, and what all blocks share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use revolve_conf::directive::{Row, duplicate};
use revolve_conf::{Diagnostic, Diagnostics, Directive, HostNames, Secrets, Word};

use crate::config::known;
use crate::config::regex::Patterns;
use crate::config::thread_pool::ThreadPools;
use crate::config::variable::Registry;
use crate::log::{Destination, ErrorTarget, Place};
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
/// Inside an `if` of a `server`.
pub(crate) const IF_SERVER: u32 = 32;
/// Inside an `if` of a `location`.
pub(crate) const IF_LOCATION: u32 = 64;
/// Inside `upstream`.
pub(crate) const UPSTREAM: u32 = 1 << 8;
/// Inside `limit_except`.
pub(crate) const LIMIT_EXCEPT: u32 = 128;
/// Inside `match`.
pub(crate) const MATCH: u32 = 1 << 9;

/// The contexts by their names, from the outermost inwards.
pub(crate) const CONTEXTS: [(u32, &str); 10] = [
    (MAIN, "main"),
    (EVENTS, "events"),
    (HTTP, "http"),
    (SERVER, "server"),
    (LOCATION, "location"),
    (UPSTREAM, "upstream"),
    (MATCH, "match"),
    (IF_SERVER, "if in server"),
    (IF_LOCATION, "if in location"),
    (LIMIT_EXCEPT, "limit_except"),
];

/// What the whole configuration knows, besides the directives of one block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vocabulary {
    /// What is to be said of a directive that may not stand in this context.
    pub(crate) refuse: fn(&Directive) -> Diagnostic,
    /// Whether a variable of this name has its value from us, and may not be set.
    pub(crate) is_builtin: fn(&str) -> bool,
    /// Whether a module of nginx's, by the name that it has there, is built in.
    pub(crate) has_module: fn(&str) -> bool,
}

/// What all blocks share while a configuration is read.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: Registry,
    pub(crate) patterns: Patterns,
    pub(crate) logs: Vec<Destination>,
    /// `error_log` of the top of the file, which every block inherits.
    pub(crate) error_log: Arc<Vec<ErrorTarget>>,
    pub(crate) zones: Declared,
    /// `thread_pool`.
    pub(crate) thread_pools: ThreadPools,
    pub(crate) diagnostics: Diagnostics,
    /// Folder against which relative paths of files are resolved (`-p`).
    pub(crate) prefix: PathBuf,
    /// Answers for host names: what the master was told, its workers are told too.
    pub(crate) hosts: HostNames,
    /// Keys, certificates and passwords: what the master read, its workers are given.
    pub(crate) secrets: Secrets,
    /// Folder of the configuration file, against which nginx resolves the names of such files.
    pub(crate) conf_prefix: PathBuf,
    pub(crate) vocabulary: Vocabulary,
}

impl Shared {
    pub(crate) fn new(prefix: &Path, hosts: HostNames, vocabulary: Vocabulary) -> Self {
        Self {
            registry: Registry::default(),
            patterns: Patterns::new(vocabulary.is_builtin),
            logs: Vec::new(),
            error_log: Arc::default(),
            zones: Declared::default(),
            thread_pools: ThreadPools::default(),
            diagnostics: Diagnostics::default(),
            prefix: prefix.to_owned(),
            hosts,
            secrets: Secrets::default(),
            conf_prefix: prefix.to_owned(),
            vocabulary,
        }
    }

    /// What is to be said of a directive that may not stand where it does.
    fn refuse(&self, directive: &Directive) -> Diagnostic {
        match self.diagnostics.keeps_error_at(directive.name.span) {
            true => (self.vocabulary.refuse)(directive),
            // Looking for what may have been meant costs more than to read the line.
            false => revolve_conf::directive::unknown(directive, std::iter::empty()),
        }
    }

    /// Takes note of what is wrong with a directive.
    pub(crate) fn note_error(&mut self, directive: &Directive, diagnostic: Diagnostic) {
        let hint = known::missing_semicolon(directive, diagnostic);
        self.diagnostics.push(hint);
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
}

/// A kind of block as it is read: what its directives set, and which they are.
pub(crate) trait Scope: Sized + 'static {
    /// The directives of this kind of block.
    fn rows() -> impl Iterator<Item = &'static Row<Self>>;

    /// Which of the contexts above the block at hand is.
    fn context(&self) -> u32;

    /// What all blocks share.
    fn shared(&mut self) -> &mut Shared;

    /// The directives of the block at hand that were checked and set nothing.
    fn checked(&mut self) -> &mut Vec<String>;

    /// Applies each directive to the block at hand; every error is kept, none stops the rest.
    fn read(&mut self, directives: &[Directive]) {
        for directive in directives {
            if let Err(diagnostic) = self.apply(directive) {
                self.shared().note_error(directive, diagnostic);
            }
        }
    }

    /// Applies one directive.
    fn apply(&mut self, directive: &Directive) -> Result<(), Diagnostic> {
        let name = directive.name.text.as_str();
        let context = self.context();
        let mut rows = Self::rows();
        match rows.find(|row| row.contexts & context != 0 && row.name == name) {
            Some(row) => {
                revolve_conf::directive::check(row, directive)?;
                (row.set)(self, directive)
            }
            None => Err(self.shared().refuse(directive)),
        }
    }
}

/// The error for a directive that has its place elsewhere.
pub(crate) fn not_allowed_here(directive: &Directive, contexts: u32) -> Diagnostic {
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
        (UPSTREAM, "`upstream`"),
        (MATCH, "`match`"),
        (IF_SERVER, "`if` in `server`"),
        (IF_LOCATION, "`if` in `location`"),
        (LIMIT_EXCEPT, "`limit_except`"),
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
pub(crate) fn checked_once(
    scope: &mut impl Scope,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    let name = &directive.name.text;
    if scope.checked().contains(name) {
        return Err(duplicate(directive));
    }
    scope.checked().push(name.clone());
    Ok(())
}

/// Accepts a size that has nothing to set here.
pub(crate) fn checked_size(
    scope: &mut impl Scope,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    revolve_conf::value::size_of(&directive.args[0], &directive.name.text)?;
    checked_once(scope, directive)
}

/// Accepts a number that only tunes tables which Revolve sizes by itself.
pub(crate) fn accept_number(
    scope: &mut impl Scope,
    directive: &Directive,
) -> Result<(), Diagnostic> {
    revolve_conf::value::number_of(&directive.args[0], &directive.name.text)?;
    checked_once(scope, directive)
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
