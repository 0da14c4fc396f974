//! Regular expressions of the configuration: `regex` where it can, `fancy-regex` for the
//! patterns that need look-around or back-references.
//!
//! As PCRE in nginx both see bytes and not characters: a path need not be UTF-8, and a dot that met
//! no such byte would be a hole in `location ~ ^/private/.*`.

use std::fmt;

use revolve_conf::{Diagnostic, Word};

use crate::modules;

/// A compiled pattern, with its source text.
#[derive(Clone)]
pub struct Pattern {
    source: String,
    engine: Engine,
    names: Vec<Option<String>>,
}

#[derive(Clone)]
enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// What a pattern captured: byte ranges into the subject, group 0 first.
pub type Groups = Vec<Option<(u32, u32)>>;

impl Pattern {
    /// Compiles a pattern in PCRE's syntax.
    ///
    /// Errors: the engine's own words, for the diagnostic.
    pub fn new(source: &str, ignore_case: bool) -> Result<Self, String> {
        let translated = translate(source);
        let linear = |unicode| {
            regex::bytes::RegexBuilder::new(&translated)
                .case_insensitive(ignore_case)
                .unicode(unicode)
                .build()
        };
        // Paths are bytes, and nginx has PCRE match them as such; a few classes are of characters alone.
        let engine = match linear(false).or_else(|_| linear(true)) {
            Ok(regex) => Engine::Linear(regex),
            Err(first) => {
                let text = if ignore_case {
                    format!("(?i){translated}")
                } else {
                    translated
                };
                let regex = fancy_regex::Regex::new(&text).map_err(|_| last_line(&first))?;
                Engine::Backtracking(Box::new(regex))
            }
        };
        let names = match &engine {
            Engine::Linear(regex) => regex
                .capture_names()
                .map(|name| name.map(str::to_owned))
                .collect(),
            Engine::Backtracking(regex) => regex
                .capture_names()
                .map(|name| name.map(str::to_owned))
                .collect(),
        };
        Ok(Self {
            source: source.to_owned(),
            engine,
            names,
        })
    }

    /// The names of the groups, by index; group 0 has none.
    pub fn names(&self) -> &[Option<String>] {
        &self.names
    }

    /// Whether the subject matches; its groups go to `groups`, replacing what was there.
    ///
    /// A pattern with look-around sees text: a subject that is not UTF-8 is shown to it byte by byte,
    /// as if it were Latin-1.
    pub fn captures(&self, subject: &[u8], groups: &mut Groups) -> bool {
        match &self.engine {
            Engine::Linear(regex) if self.names.len() == 1 => match regex.find(subject) {
                Some(found) => {
                    groups.clear();
                    groups.push(Some((found.start() as u32, found.end() as u32)));
                    true
                }
                None => false,
            },
            Engine::Linear(regex) => match regex.captures(subject) {
                Some(found) => {
                    groups.clear();
                    groups.extend(found.iter().map(|group| {
                        group.map(|group| (group.start() as u32, group.end() as u32))
                    }));
                    true
                }
                None => false,
            },
            Engine::Backtracking(regex) => {
                let latin_1: String;
                let is_text = std::str::from_utf8(subject);
                let text = match is_text {
                    Ok(text) => text,
                    Err(_) => {
                        latin_1 = subject.iter().map(|byte| char::from(*byte)).collect();
                        &latin_1
                    }
                };
                let Ok(Some(found)) = regex.captures(text) else {
                    return false;
                };
                let place = |at: usize| match is_text {
                    Ok(_) => at as u32,
                    Err(_) => text[..at].chars().count() as u32,
                };
                let found = (0..found.len()).map(|index| found.get(index));
                groups.clear();
                groups.extend(
                    found.map(|group| group.map(|it| (place(it.start()), place(it.end())))),
                );
                true
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

/// Compiles the pattern of a directive, of which `word` is an argument.
///
/// Errors: what is wrong with it, or with the variables that its groups would set.
pub(crate) fn compile(word: &Word, source: &str, ignore_case: bool) -> Result<Pattern, Diagnostic> {
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
        // `$args` is the one that may be set.
        if *name != "args" && modules::variables().any(|builtin| builtin.name == *name) {
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

/// A pattern of PCRE in the syntax of the engines, where the same text would mean something else:
/// they have sets in sets and operators between them, `\<` and `\>` are places, and `\h` is a digit.
fn translate(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut in_set = false;
    while let Some(next) = rest.chars().next() {
        let taken = match next {
            '\\' => escape(rest, in_set, &mut out),
            '[' if !in_set => {
                in_set = true;
                set_start(rest, &mut out)
            }
            '[' if rest.starts_with("[:") && rest.contains(":]") => {
                let end = rest.find(":]").map_or(rest.len(), |at| at + 2);
                out.push_str(&rest[..end]);
                end
            }
            _ => {
                let is_doubled = rest[next.len_utf8()..].starts_with(next);
                let is_operator = matches!(next, '&' | '~' | '-') && is_doubled;
                if in_set && (next == '[' || is_operator) {
                    out.push('\\');
                }
                in_set &= next != ']';
                out.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// Translates what a backslash begins; the answer is its length.
fn escape(rest: &str, in_set: bool, out: &mut String) -> usize {
    let Some(escaped) = rest[1..].chars().next() else {
        out.push('\\');
        return 1;
    };
    match escaped {
        '<' | '>' => out.push(escaped),
        'h' if in_set => out.push_str(r"\t "),
        'h' => out.push_str(r"[\t ]"),
        'H' if !in_set => out.push_str(r"[^\t ]"),
        _ => {
            out.push('\\');
            out.push(escaped);
        }
    }
    1 + escaped.len_utf8()
}

/// Translates the beginning of a set, of which a `]` there is a member; the answer is its length.
fn set_start(rest: &str, out: &mut String) -> usize {
    for (theirs, ours) in [("[^]", r"[^\]"), ("[]", r"[\]"), ("[^", "[^")] {
        if rest.starts_with(theirs) {
            out.push_str(ours);
            return theirs.len();
        }
    }
    out.push('[');
    1
}

/// The crate's message draws the pattern over several lines; the last one says what is wrong.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    text.lines()
        .last()
        .unwrap_or("invalid")
        .trim_start_matches("error: ")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_engines_capture() {
        let mut groups = Groups::new();
        let linear = Pattern::new(r"^/(?<name>\w+)\.php$", false).unwrap();
        assert!(linear.captures(b"/a.php", &mut groups));
        assert_eq!(groups, [Some((0, 6)), Some((1, 2))]);
        let bytes = Pattern::new(r"^/é(.)$", false).unwrap();
        assert!(bytes.captures(b"/\xc3\xa9\xff", &mut groups));
        let characters = Pattern::new(r"^/([é-ü])$", false).unwrap();
        assert!(characters.captures("/é".as_bytes(), &mut groups));
        let behind = Pattern::new(r"^/(?!private)(.+)$", true).unwrap();
        assert!(behind.captures(b"/open", &mut groups));
        assert_eq!(groups[1], Some((1, 5)));
        assert!(!behind.captures(b"/PRIVATE", &mut groups));
        assert!(behind.captures(b"/\xff", &mut groups));
        assert_eq!(groups[1], Some((1, 2)));
        assert!(Pattern::new("(", false).is_err());
    }

    fn matches(source: &str, subject: &[u8]) -> bool {
        let pattern = Pattern::new(source, false).unwrap();
        pattern.captures(subject, &mut Groups::new())
    }

    #[test]
    fn patterns_see_bytes() {
        assert!(matches(r"^/private/.*$", b"/private/\xff"));
        assert!(matches("^/[^a]$", b"/\xff"));
        assert!(!matches(r"^/\w$", "/\u{e4}".as_bytes()));
        assert!(!matches("^/.$", "/\u{e4}".as_bytes()));
        assert!(matches("^/\u{e4}$", "/\u{e4}".as_bytes()));
        assert!(matches(r"^/\p{L}$", "/\u{e4}".as_bytes()));
        assert!(matches("^/[\u{e4}]$", "/\u{e4}".as_bytes()));
    }

    #[test]
    fn sets_are_those_of_pcre() {
        for (source, subject, is_met) in [
            ("^[a&&b]$", "&", true),
            ("^[a&&b]$", "a", true),
            ("^[[a]]$", "[]", true),
            ("^[[a]]$", "a", false),
            ("^[]a]+$", "]a", true),
            ("^[^]a]+$", "b]", false),
            ("^[[:alpha:]_]+$", "a_", true),
            ("^[a~~]$", "~", true),
            (r"^[\]\[]+$", "[]", true),
            (r"\<a\>", "<a>", true),
            (r"\<a\>", "a", false),
            (r"^\h[\h]\H$", " \ta", true),
            (r"^\h$", "a", false),
            (r"^\d{2}\.[0-9-]+$", "12.3-4", true),
        ] {
            assert_eq!(
                matches(source, subject.as_bytes()),
                is_met,
                "{source} {subject}"
            );
        }
    }
}
