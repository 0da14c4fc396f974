//! Regular expressions of the configuration: `regex` where it can, `fancy-regex` for the
//! patterns that need look-around or back-references.
//!
//! As PCRE in nginx both see bytes and not characters: a path need not be UTF-8, and a dot that met
//! no such byte would be a hole in `location ~ ^/private/.*`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use regex_automata::nfa::thompson::NFA;
use regex_automata::util::syntax;
use revolve_conf::{Diagnostic, Word};

use crate::config::pcre::{self, Needs, Translated};

/// A compiled pattern, with its source text.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    engine: Engine,
    names: Vec<Option<String>>,
    /// Whether somebody asks for its groups.
    is_asked_for_groups: bool,
}

#[derive(Clone)]
enum Engine {
    /// With the number of its states: a match takes at most so many steps for each byte.
    Linear(regex::bytes::Regex, usize),
    Backtracking(Box<fancy_regex::Regex>, Needs),
}

/// What a pattern captured: byte ranges into the subject, group 0 first.
pub type Groups = Vec<Option<(u32, u32)>>;

/// The most steps that a pattern without look-around may need for a subject: about 200 ms. One that
/// repeats what is repeated has many states, `(?:a{1,50}){1,50}` thousands, and may be in all of them at
/// every byte.
const STEPS_MAX: usize = 8_000_000;

/// How large the parts of other patterns may be that do not look around. Each of a million steps may try
/// one.
const PART_BYTES_MAX: usize = 128 * 1024;

/// A subject shorter than this is worth no warning where it is too long for a pattern.
const LONG_SUBJECT_BYTES: usize = 2048;

/// A pattern was given up: one that backtracks after a million steps, another where it might have taken
/// more than eight million. Whether it matches is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenUp;

impl Pattern {
    /// Compiles a pattern in PCRE's syntax.
    ///
    /// Errors: why no engine takes it, for the diagnostic.
    pub fn new(source: &str, ignore_case: bool) -> Result<Self, String> {
        let Translated { text, needs } = pcre::translate(source)?;
        let engine = if needs.backtracking {
            let regex = fancy_regex::RegexBuilder::new(&text)
                .case_insensitive(ignore_case)
                .delegate_size_limit(PART_BYTES_MAX)
                .build();
            let regex = regex.map_err(|error| why_not(&error))?;
            Engine::Backtracking(Box::new(regex), needs)
        } else {
            let regex = regex::bytes::RegexBuilder::new(&text)
                .case_insensitive(ignore_case)
                .unicode(needs.characters)
                .build();
            let regex = regex.map_err(|error| why_not(&error))?;
            Engine::Linear(regex, states(&text, ignore_case, needs.characters)?)
        };
        let names: Vec<Option<String>> = match &engine {
            Engine::Linear(regex, _) => regex
                .capture_names()
                .map(|name| name.map(str::to_owned))
                .collect(),
            Engine::Backtracking(regex, _) => regex
                .capture_names()
                .map(|name| name.map(str::to_owned))
                .collect(),
        };
        Ok(Self {
            source: source.to_owned(),
            is_asked_for_groups: names.len() > 1,
            engine,
            names,
        })
    }

    /// The longest subject that is never given up, where ordinary ones may be longer.
    pub(crate) fn subject_bytes_max(&self) -> Option<usize> {
        match &self.engine {
            Engine::Linear(_, states) => {
                Some(STEPS_MAX / states).filter(|it| *it < LONG_SUBJECT_BYTES)
            }
            Engine::Backtracking(..) => None,
        }
    }

    /// The names of the groups, by index; group 0 has none.
    pub fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// Says whether `$1` to `$9` stand anywhere in the configuration: where they do not, groups without a
    /// name need not be found.
    pub(crate) fn note_numbers(&mut self, are_used: bool) {
        let has_names = self.names.iter().any(Option::is_some);
        self.is_asked_for_groups = has_names || (are_used && self.names.len() > 1);
    }

    /// Whether the subject matches; its groups, where they are asked for, go to `groups` and replace what
    /// was there.
    ///
    /// Errors: [`GivenUp`].
    pub fn captures(&self, subject: &[u8], groups: &mut Groups) -> Result<bool, GivenUp> {
        let mut take = |found: &mut dyn Iterator<Item = Option<(usize, usize)>>| {
            groups.clear();
            groups.extend(found.map(|group| group.map(|(from, to)| (from as u32, to as u32))));
        };
        match &self.engine {
            Engine::Linear(_, states) if subject.len() > STEPS_MAX / states => Err(GivenUp),
            Engine::Linear(regex, _) if !self.is_asked_for_groups => {
                let is_met = regex.is_match(subject);
                if is_met {
                    groups.clear();
                }
                Ok(is_met)
            }
            // Most of those that are tried one after the other do not match, which is found out faster
            // than what they would capture.
            Engine::Linear(regex, _) if !regex.is_match(subject) => Ok(false),
            Engine::Linear(regex, _) => {
                let found = regex.captures(subject);
                let found = found.map(|found| {
                    let ranges = found.iter();
                    take(&mut ranges.map(|group| group.map(|it| (it.start(), it.end()))));
                });
                Ok(found.is_some())
            }
            Engine::Backtracking(regex, needs) => {
                // This engine sees text. Each byte is shown to it as the character of its number,
                // unless the pattern speaks of characters.
                let latin_1: String;
                let text = match std::str::from_utf8(subject) {
                    Ok(text) if needs.characters || text.is_ascii() => text,
                    _ => {
                        latin_1 = subject.iter().map(|byte| char::from(*byte)).collect();
                        &latin_1
                    }
                };
                let Some(found) = regex.captures(text).map_err(|_| GivenUp)? else {
                    return Ok(false);
                };
                let is_as_it_was = text.len() == subject.len();
                let place = |at: usize| match is_as_it_was {
                    true => at,
                    false => text[..at].chars().count(),
                };
                let ranges = (0..found.len()).map(|index| found.get(index));
                take(&mut ranges.map(|group| group.map(|it| (place(it.start()), place(it.end())))));
                Ok(true)
            }
        }
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.source)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// The patterns of a configuration. One that stands in many servers is compiled once, and lies in memory
/// once.
#[derive(Debug)]
pub(crate) struct Patterns {
    known: HashMap<(String, bool), Pattern>,
    /// Whether a variable of this name has its value from us: no group may set it.
    is_builtin: fn(&str) -> bool,
    /// What is odd about some of them.
    pub(crate) warnings: Vec<Diagnostic>,
}

impl Patterns {
    pub(crate) fn new(is_builtin: fn(&str) -> bool) -> Self {
        Self {
            known: HashMap::new(),
            is_builtin,
            warnings: Vec::new(),
        }
    }

    /// The pattern of a directive, of which `word` is an argument.
    ///
    /// Errors: what is wrong with it, or with the variables that its groups would set.
    pub(crate) fn compile(
        &mut self,
        word: &Word,
        source: &str,
        ignore_case: bool,
    ) -> Result<Pattern, Diagnostic> {
        match self.known.entry((source.to_owned(), ignore_case)) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(place) => {
                let pattern = compile(word, source, ignore_case, self.is_builtin)?;
                if let Some(bytes) = pattern.subject_bytes_max() {
                    let message = format!("regular expression \"{source}\" repeats very much");
                    let label = format!("given up, with 500, on more than {bytes} bytes");
                    let warning = Diagnostic::new(word.span, message).label(label).warn();
                    self.warnings.push(warning);
                }
                Ok(place.insert(pattern).clone())
            }
        }
    }
}

fn compile(
    word: &Word,
    source: &str,
    ignore_case: bool,
    is_builtin: fn(&str) -> bool,
) -> Result<Pattern, Diagnostic> {
    let wrong = |reason: String| {
        let message = format!("invalid regular expression \"{source}\"");
        Diagnostic::new(word.span, message).label(reason)
    };
    let pattern = Pattern::new(source, ignore_case).map_err(wrong)?;
    let mut names: Vec<&str> = pattern.names.iter().flatten().map(String::as_str).collect();
    for name in &names {
        if name
            .bytes()
            .any(|byte| !byte.is_ascii_alphanumeric() && byte != b'_')
            || name.starts_with(|first: char| first.is_ascii_digit())
        {
            return Err(wrong(format!("{name} is no name of a group")));
        }
        // These are the ones that may be set.
        if !matches!(*name, "args" | "limit_rate") && is_builtin(name) {
            let message = format!("the duplicate \"{name}\" variable");
            let label = "a group would set this variable, which has its value already";
            return Err(Diagnostic::new(word.span, message).label(label));
        }
    }
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(wrong(format!("two groups have the name {}", pair[0]))),
        None => Ok(pattern),
    }
}

/// How many states the automaton of a pattern has; at least one.
fn states(text: &str, ignore_case: bool, characters: bool) -> Result<usize, String> {
    let syntax = syntax::Config::new()
        .case_insensitive(ignore_case)
        .unicode(characters)
        .utf8(false);
    let automaton = NFA::compiler().syntax(syntax).build(text);
    automaton
        .map(|automaton| automaton.states().len().max(1))
        .map_err(|error| why_not(&error))
}

/// The crates draw the pattern over several lines; the last one says what is wrong.
fn why_not(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or("invalid");
    match last.contains("size limit") || last.ends_with("error building NFA") {
        true => "it repeats too much: matching it would take too long".to_owned(),
        false => last.trim_start_matches("error: ").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use revolve_conf::{FileId, Span};

    use super::*;

    #[test]
    fn both_engines_capture() {
        let mut groups = Groups::new();
        let linear = Pattern::new(r"^/(?<name>\w+)\.php$", false).unwrap();
        assert_eq!(linear.captures(b"/a.php", &mut groups), Ok(true));
        assert_eq!(groups, [Some((0, 6)), Some((1, 2))]);
        let behind = Pattern::new(r"^/(?!private)(.+)$", true).unwrap();
        assert_eq!(behind.captures(b"/open", &mut groups), Ok(true));
        assert_eq!(groups[1], Some((1, 5)));
        assert_eq!(behind.captures(b"/PRIVATE", &mut groups), Ok(false));
        assert_eq!(
            behind.captures("/é\u{ff}".as_bytes(), &mut groups),
            Ok(true)
        );
        assert_eq!(groups[1], Some((1, 5)));
        assert_eq!(behind.captures(b"/\xff", &mut groups), Ok(true));
        assert_eq!(groups[1], Some((1, 2)));
        assert!(Pattern::new("(", false).is_err());
    }

    #[test]
    fn the_same_pattern_is_compiled_once() {
        let mut patterns = Patterns::new(|_| false);
        let span = Span {
            file: FileId(0),
            start: 0,
            end: 0,
        };
        let word = |text: &str| Word {
            text: text.to_owned(),
            span,
            quoted: false,
            begins_line: false,
        };
        for source in [r"\.php$", r"\.php$", "a"] {
            assert!(patterns.compile(&word(source), source, false).is_ok());
        }
        assert!(patterns.compile(&word("a"), "a", true).is_ok());
        assert!(patterns.compile(&word("("), "(", true).is_err());
        assert_eq!(patterns.known.len(), 3);
    }

    /// The first of them held a loop for 7 to 12 seconds.
    #[test]
    fn what_repeats_repetitions_is_bounded() {
        let pattern = Pattern::new("^/(?:(?:a{1,50}){1,50}){1,20}$", false).unwrap();
        let long = [b"/".as_slice(), &[b'a'; 7000], b"!"].concat();
        assert_eq!(pattern.captures(&long, &mut Groups::new()), Err(GivenUp));
        assert_eq!(pattern.captures(b"/aaa", &mut Groups::new()), Ok(true));
        let bytes_max = pattern.subject_bytes_max().unwrap();
        assert!((16..1000).contains(&bytes_max), "{bytes_max}");
        let at_limit = vec![b'a'; bytes_max];
        assert_eq!(pattern.captures(&at_limit, &mut Groups::new()), Ok(false));
        let beyond = vec![b'a'; bytes_max + 1];
        assert_eq!(pattern.captures(&beyond, &mut Groups::new()), Err(GivenUp));
        // With a look behind each of many steps would take as long.
        let error = Pattern::new("^(?!x)/(?:(?:a{1,50}){1,50}){1,20}b", false).unwrap_err();
        assert!(error.contains("repeats too much"), "{error}");
        for ordinary in [
            r"\.php$",
            r"^/(img|css|js)/[\w-]{1,64}\.(png|css|js)$",
            r"^/(?!api)\w{1,64}/$",
        ] {
            let pattern = Pattern::new(ordinary, true).unwrap();
            assert_eq!(pattern.subject_bytes_max(), None, "{ordinary}");
        }
    }

    #[test]
    fn what_takes_forever_is_given_up() {
        let pattern = Pattern::new("^((?=a)a|a)+$", false).unwrap();
        let mut subject = vec![b'a'; 64];
        assert_eq!(pattern.captures(&subject, &mut Groups::new()), Ok(true));
        subject.push(b'!');
        assert_eq!(pattern.captures(&subject, &mut Groups::new()), Err(GivenUp));
    }
}
