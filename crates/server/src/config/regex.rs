//! Regular expressions of the configuration: `regex` where it can, `fancy-regex` for the
//! patterns that need look-around or back-references.

use std::fmt;

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
        let build = |unicode| {
            regex::bytes::RegexBuilder::new(source)
                .case_insensitive(ignore_case)
                .unicode(unicode)
                .build()
        };
        // Paths are bytes, and nginx has PCRE match them as such; a few patterns need characters.
        let linear = build(false).or_else(|_| build(true));
        let engine = match linear {
            Ok(regex) => Engine::Linear(regex),
            Err(first) => {
                let text = if ignore_case {
                    format!("(?i){source}")
                } else {
                    source.to_owned()
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
    /// A pattern with look-around sees text alone: a subject that is not UTF-8 does not match.
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
                let Ok(text) = std::str::from_utf8(subject) else {
                    return false;
                };
                match regex.captures(text) {
                    Ok(Some(found)) => {
                        groups.clear();
                        groups.extend((0..found.len()).map(|index| {
                            found
                                .get(index)
                                .map(|group| (group.start() as u32, group.end() as u32))
                        }));
                        true
                    }
                    _ => false,
                }
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
        assert!(!behind.captures(b"/\xff", &mut groups));
        assert!(Pattern::new("(", false).is_err());
    }
}
