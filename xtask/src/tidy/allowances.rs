//! `xtask/tidy.allow`: what is too long today, and where unsafe code may stand.
//!
//! One exception a line, `#` begins a comment:
//!
//! ```text
//! file   crates/reactor/src/event_loop.rs 812
//! fn     crates/http/src/h1/head.rs parse_headers 74
//! unsafe crates/reactor/tests/alloc.rs
//! ```
//!
//! The number is the present size in lines. It is a ratchet: what grows past it is a finding, and
//! so is what has shrunk below it, until the number is lowered (`cargo xtask tidy --write`).

use std::collections::BTreeMap;

use super::Finding;
use super::lengths::Length;

/// What an exception of length is for: a file, or a function in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    File { path: String },
    Function { path: String, name: String },
}

/// One exception of length.
pub(super) struct Allowance {
    pub(super) lines: usize,
    /// Where it stands in the list.
    pub(super) listed_at: usize,
}

/// The parsed list.
#[derive(Default)]
pub(super) struct Allowances {
    pub(super) list_path: String,
    pub(super) lengths: BTreeMap<Subject, Allowance>,
    /// Files that may hold unsafe code, and the line that says so.
    pub(super) unsafe_paths: BTreeMap<String, usize>,
    text: String,
}

impl Allowances {
    /// Parses the list; lines that cannot be read are findings.
    pub(super) fn parse(list_path: &str, text: &str) -> (Self, Vec<Finding>) {
        let mut allowances = Self {
            list_path: list_path.into(),
            text: text.into(),
            ..Self::default()
        };
        let mut findings = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if !allowances.add(at + 1, line) {
                let problem = format!("this line cannot be read: `{line}`");
                let remedy = "write `file PATH LINES`, `fn PATH NAME LINES` or `unsafe PATH`";
                findings.push(Finding::new(list_path, at + 1, problem, remedy));
            }
        }
        (allowances, findings)
    }

    fn add(&mut self, listed_at: usize, line: &str) -> bool {
        let words: Vec<&str> = uncommented(line).split_whitespace().collect();
        let (subject, lines) = match words.as_slice() {
            [] => return true,
            ["unsafe", path] => {
                self.unsafe_paths.insert((*path).into(), listed_at);
                return true;
            }
            ["file", path, lines] => (
                Subject::File {
                    path: (*path).into(),
                },
                lines,
            ),
            ["fn", path, name, lines] => (
                Subject::Function {
                    path: (*path).into(),
                    name: (*name).into(),
                },
                lines,
            ),
            _ => return false,
        };
        let Ok(lines) = lines.parse() else {
            return false;
        };
        self.lengths.insert(subject, Allowance { lines, listed_at });
        true
    }

    /// The list's text with each number lowered to the present size, and without the exceptions
    /// that are needed no more. Numbers are never raised.
    pub(super) fn lowered(&self, present: &[Length]) -> String {
        let mut kept = String::new();
        for (at, line) in self.text.lines().enumerate() {
            let listed = self
                .lengths
                .iter()
                .find(|(_, allowance)| allowance.listed_at == at + 1);
            let Some((subject, allowance)) = listed else {
                kept.push_str(line);
                kept.push('\n');
                continue;
            };
            let longest = present
                .iter()
                .filter(|length| length.subject == *subject)
                .max_by_key(|l| l.lines);
            match longest {
                Some(length) if length.lines > length.lines_max() => {
                    let number = allowance.lines.to_string();
                    let lower = length.lines.min(allowance.lines).to_string();
                    kept.push_str(&replace_last(line, &number, &lower));
                    kept.push('\n');
                }
                _ => {}
            }
        }
        kept
    }
}

fn uncommented(line: &str) -> &str {
    line.split_once('#').map_or(line, |(before, _)| before)
}

/// Replaces the last occurrence of `from` before the comment.
fn replace_last(line: &str, from: &str, to: &str) -> String {
    match uncommented(line).rfind(from) {
        Some(at) => format!("{}{to}{}", &line[..at], &line[at + from.len()..]),
        None => line.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(subject: Subject, lines: usize) -> Length {
        Length {
            subject,
            line: 1,
            lines,
        }
    }

    #[test]
    fn the_list_is_read() {
        let text = "# why\nfile a.rs 900 # soon\nfn a.rs f 71\nunsafe b.rs\n\n";
        let (allowances, findings) = Allowances::parse("list", text);
        assert!(findings.is_empty());
        assert_eq!(allowances.lengths.len(), 2);
        assert_eq!(
            allowances.lengths[&Subject::File {
                path: "a.rs".into()
            }]
                .lines,
            900
        );
        assert_eq!(allowances.unsafe_paths["b.rs"], 4);
    }

    #[test]
    fn a_line_that_cannot_be_read_is_a_finding() {
        for line in [
            "file a.rs",
            "file a.rs many",
            "fn a.rs 3",
            "unsafe",
            "lines a.rs 3",
        ] {
            let (_, findings) = Allowances::parse("list", line);
            assert_eq!(findings.len(), 1, "{line}");
            assert_eq!(findings[0].line, 1);
        }
    }

    #[test]
    fn numbers_are_lowered_and_never_raised() {
        let text = "# head\nfile a.rs 900 # 900 once\nfile b.rs 850\nfile gone.rs 801\n";
        let (allowances, _) = Allowances::parse("list", text);
        let present = [
            length(
                Subject::File {
                    path: "a.rs".into(),
                },
                820,
            ),
            length(
                Subject::File {
                    path: "b.rs".into(),
                },
                860,
            ),
        ];
        assert_eq!(
            allowances.lowered(&present),
            "# head\nfile a.rs 820 # 900 once\nfile b.rs 850\n"
        );
    }
}
