//! `xtask/tidy.allow`: what is too much today, and where unsafe code may stand.
//!
//! One exception a line, `#` begins a comment:
//!
//! ```text
//! file    crates/reactor/src/event_loop.rs 812
//! fn      crates/http/src/h1/head.rs parse_headers 74
//! up      crates/server 14
//! circles crates/server 74
//! unread  crates/server CoreSettings.satisfy
//! pub     crates/server Location
//! unsafe  crates/reactor/tests/alloc.rs
//! ```
//!
//! The number is the present size. It is a ratchet: what grows past it is a finding, and so is what
//! has shrunk below it, until the number is lowered (`cargo xtask tidy --write`).

use std::collections::BTreeMap;

use super::finding::Finding;

/// The kinds of exception with a number, and the words between both.
const WITH_NUMBER: [(&str, usize); 4] = [("file", 1), ("fn", 2), ("up", 1), ("circles", 1)];
/// Those that are there or are not.
const WITHOUT_NUMBER: [(&str, usize); 2] = [("unread", 2), ("pub", 2)];
const REMEDY: &str = "run `cargo xtask tidy --write`, which lowers the list, and commit it";

/// What a rule has measured.
#[derive(Debug)]
pub(super) struct Figure {
    /// What an exception for it says before the number: `fn crates/x.rs parse`.
    pub(super) subject: String,
    pub(super) count: usize,
    /// The limit where nothing is excepted.
    pub(super) count_max: usize,
    /// What is said of it where it is too large.
    pub(super) finding: Finding,
}

/// One exception.
pub(super) struct Allowance {
    pub(super) count: usize,
    /// Where it stands in the list.
    pub(super) listed_at: usize,
}

/// The parsed list.
#[derive(Default)]
pub(super) struct Allowances {
    pub(super) list_path: String,
    by_subject: BTreeMap<String, Allowance>,
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
            if allowances.add(at + 1, line).is_none() {
                let problem = format!("this line cannot be read: `{line}`");
                let remedy = "write what xtask/src/tidy/allowances.rs describes";
                findings.push(Finding::new(list_path, at + 1, problem, remedy));
            }
        }
        (allowances, findings)
    }

    fn add(&mut self, listed_at: usize, line: &str) -> Option<()> {
        let words: Vec<&str> = uncommented(line).split_whitespace().collect();
        let (kind, rest) = match words.split_first() {
            None => return Some(()),
            Some((kind, rest)) => (*kind, rest),
        };
        if let ("unsafe", [path]) = (kind, rest) {
            self.unsafe_paths.insert((*path).into(), listed_at);
            return Some(());
        }
        let (subject, count) = if WITHOUT_NUMBER.contains(&(kind, rest.len())) {
            (words.join(" "), 1)
        } else {
            let (number, names) = rest.split_last()?;
            let known = WITH_NUMBER.contains(&(kind, names.len()));
            let subject = known.then(|| words[..words.len() - 1].join(" "))?;
            (subject, number.parse().ok()?)
        };
        let allowance = Allowance { count, listed_at };
        self.by_subject.insert(subject, allowance);
        Some(())
    }

    /// What is larger than its limit, or than its allowance; and allowances that can be lowered.
    pub(super) fn check(&self, figures: &[Figure]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for figure in figures {
            let listed = self.by_subject.get(&figure.subject);
            let allowed = listed.map_or(figure.count_max, |allowance| allowance.count);
            if figure.count > allowed {
                let mut finding = figure.finding.clone();
                if allowed > 0 {
                    finding.problem += &format!(" (allowed: {allowed})");
                }
                findings.push(finding);
            }
        }
        for (subject, allowance) in &self.by_subject {
            let problem = match largest(figures, subject) {
                None => format!("the allowance for `{subject}` is for nothing"),
                Some(figure) if figure.count <= figure.count_max => {
                    format!("`{subject}` is {}: no allowance is needed", figure.count)
                }
                Some(figure) if figure.count < allowance.count => {
                    format!("`{subject}` has shrunk to {}", figure.count)
                }
                Some(_) => continue,
            };
            let at = allowance.listed_at;
            findings.push(Finding::new(&self.list_path, at, problem, REMEDY));
        }
        findings
    }

    /// The list's text with each number lowered to the present figure, and without the exceptions
    /// that are needed no more. Numbers are never raised.
    pub(super) fn lowered(&self, figures: &[Figure]) -> String {
        let mut kept = String::new();
        for (at, line) in self.text.lines().enumerate() {
            let mut listed = self.by_subject.iter();
            let listed = listed.find(|(_, allowance)| allowance.listed_at == at + 1);
            let lowered = match listed {
                None => Some(line.into()),
                Some((subject, allowance)) => largest(figures, subject)
                    .filter(|figure| figure.count > figure.count_max)
                    .map(|figure| {
                        let lower = figure.count.min(allowance.count).to_string();
                        replace_last(line, &allowance.count.to_string(), &lower)
                    }),
            };
            if let Some(line) = lowered {
                kept.push_str(&line);
                kept.push('\n');
            }
        }
        kept
    }
}

/// The largest figure of a subject: several functions of a file may have one name.
fn largest<'a>(figures: &'a [Figure], subject: &str) -> Option<&'a Figure> {
    let named = figures.iter().filter(|figure| figure.subject == subject);
    named.max_by_key(|figure| figure.count)
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

    fn figure(subject: &str, count: usize, count_max: usize) -> Figure {
        Figure {
            subject: subject.into(),
            count,
            count_max,
            finding: Finding::new("a.rs", 1, "too much", "less"),
        }
    }

    #[test]
    fn the_list_is_read() {
        let text = "# why\nfile a.rs 900 # soon\nfn a.rs f 71\nunsafe b.rs\n\npub c N\nup c 3\n";
        let (allowances, findings) = Allowances::parse("list", text);
        assert!(findings.is_empty());
        let counts = allowances
            .by_subject
            .iter()
            .map(|(subject, a)| (subject.as_str(), a.count));
        let expected = [
            ("file a.rs", 900),
            ("fn a.rs f", 71),
            ("pub c N", 1),
            ("up c", 3),
        ];
        assert!(counts.eq(expected));
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
            "pub a.rs",
        ] {
            let (_, findings) = Allowances::parse("list", line);
            assert_eq!(findings.len(), 1, "{line}");
            assert_eq!(findings[0].line, 1);
        }
    }

    #[test]
    fn numbers_are_lowered_and_never_raised() {
        let text = "# head\nfile a.rs 900 # 900 once\nfile b.rs 850\nfile gone.rs 801\npub c M\n\
                    pub c N\n";
        let (allowances, _) = Allowances::parse("list", text);
        let present = [
            figure("file a.rs", 820, 800),
            figure("file b.rs", 860, 800),
            figure("pub c N", 1, 0),
        ];
        assert_eq!(
            allowances.lowered(&present),
            "# head\nfile a.rs 820 # 900 once\nfile b.rs 850\npub c N\n"
        );
    }

    #[test]
    fn an_allowance_holds_at_the_present_figure_alone() {
        let paths = |list: &str, figures: &[Figure]| {
            let found = Allowances::parse("list", list).0.check(figures);
            found.into_iter().map(|one| one.path).collect::<Vec<_>>()
        };
        let of = |count| [figure("fn a.rs f", count, 70)];
        assert!(paths("", &of(70)).is_empty());
        assert_eq!(paths("", &of(71)), ["a.rs"]);
        assert!(paths("fn a.rs f 80", &of(80)).is_empty());
        assert_eq!(paths("fn a.rs f 79", &of(80)), ["a.rs"]);
        assert_eq!(paths("fn a.rs f 81", &of(80)), ["list"]);
        assert_eq!(paths("fn a.rs f 75", &of(3)), ["list"]);
        assert_eq!(paths("fn a.rs f 75", &[]), ["list"]);
    }
}
