//! Directives, and the tables that say how each may be written.

use crate::diagnostic::Diagnostic;
use crate::span::Span;
use crate::word::Word;

/// One directive: `name args…;` or `name args… { block }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directive {
    /// The first word.
    pub name: Word,
    /// The words after it.
    pub args: Vec<Word>,
    /// What stood between braces; `None` where the directive ended with `;`.
    pub block: Option<Vec<Directive>>,
    /// From the name to the last argument.
    pub span: Span,
}

/// How many arguments a directive takes, and whether it opens a block.
///
/// Source: the `NGX_CONF_*` bits of nginx's `ngx_conf_file.h`.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Args {
    /// The least number of arguments.
    pub min: u16,
    /// The largest number of arguments; `u16::MAX` is for any number.
    pub max: u16,
    /// Whether the one argument must be `on` or `off`.
    pub flag: bool,
    /// Whether a block must follow; where it is false none may.
    pub block: bool,
}

impl Args {
    /// No argument.
    pub const NONE: Args = Args::range(0, 0);
    /// Exactly one argument.
    pub const ONE: Args = Args::range(1, 1);
    /// Exactly two arguments.
    pub const TWO: Args = Args::range(2, 2);
    /// Exactly three arguments.
    pub const THREE: Args = Args::range(3, 3);
    /// One argument or two.
    pub const ONE_OR_TWO: Args = Args::range(1, 2);
    /// One to three arguments.
    pub const ONE_TO_THREE: Args = Args::range(1, 3);
    /// Two arguments or three.
    pub const TWO_OR_THREE: Args = Args::range(2, 3);
    /// Any number of arguments, none included.
    pub const ANY: Args = Args::range(0, u16::MAX);
    /// One argument or more.
    pub const ONE_MORE: Args = Args::range(1, u16::MAX);
    /// Two arguments or more.
    pub const TWO_MORE: Args = Args::range(2, u16::MAX);
    /// One argument, `on` or `off`.
    pub const FLAG: Args = Args {
        flag: true,
        ..Args::ONE
    };
    /// A block, and no argument.
    pub const BLOCK: Args = Args::NONE.with_block();
    /// One argument, and a block.
    pub const ONE_BLOCK: Args = Args::ONE.with_block();
    /// One argument or two, and a block.
    pub const ONE_OR_TWO_BLOCK: Args = Args::ONE_OR_TWO.with_block();
    /// One argument or more, and a block.
    pub const ONE_MORE_BLOCK: Args = Args::ONE_MORE.with_block();

    /// From `min` to `max` arguments, both included.
    pub const fn range(min: u16, max: u16) -> Args {
        Args {
            min,
            max,
            flag: false,
            block: false,
        }
    }

    /// The same, followed by a block.
    pub const fn with_block(self) -> Args {
        Args {
            block: true,
            ..self
        }
    }

    /// Whether `count` arguments are acceptable.
    pub const fn accepts(self, count: usize) -> bool {
        self.min as usize <= count && (count <= self.max as usize || self.max == u16::MAX)
    }

    /// What is accepted, in words: `1 to 3 arguments`.
    fn in_words(self) -> String {
        let plural = |count: u16| if count == 1 { "argument" } else { "arguments" };
        match (self.min, self.max) {
            (0, 0) => "no argument".to_owned(),
            (min, u16::MAX) => format!("at least {min} {}", plural(min)),
            (min, max) if min == max => format!("{min} {}", plural(min)),
            (min, max) if max == min + 1 => format!("{min} or {max} arguments"),
            (min, max) => format!("{min} to {max} arguments"),
        }
    }
}

/// One directive of a table: what it is called, where it may stand, how it is written, and what
/// it does to `S`, the configuration being built.
pub struct Row<S: 'static> {
    /// The directive's name.
    pub name: &'static str,
    /// The contexts in which it may stand: a set of bits that the user of this crate defines.
    pub contexts: u32,
    /// Its arguments.
    pub args: Args,
    /// Takes the directive, which [`check`] has found well formed, into the configuration.
    pub set: fn(&mut S, &Directive) -> Result<(), Diagnostic>,
}

/// Whether `directive` is written as `row` says: its block, the number of its arguments, and
/// `on` or `off` for a flag. nginx checks in the same order and with the same words.
pub fn check<S>(row: &Row<S>, directive: &Directive) -> Result<(), Diagnostic> {
    check_args(row.args, directive)
}

/// [`check`], for a directive that no table holds.
pub fn check_args(args: Args, directive: &Directive) -> Result<(), Diagnostic> {
    let name = &directive.name.text;
    if directive.block.is_some() && !args.block {
        let message = format!("directive \"{name}\" is not terminated by \";\"");
        return Err(Diagnostic::new(directive.span, message)
            .label("expected \";\" after this, found a block")
            .may_lack_semicolon());
    }
    if directive.block.is_none() && args.block {
        let message = format!("directive \"{name}\" has no opening \"{{\"");
        return Err(Diagnostic::new(directive.span, message).label("expected a block after this"));
    }
    let count = directive.args.len();
    if !args.accepts(count) {
        let expected = args.in_words();
        return Err(wrong_count(directive).label(format!("expected {expected}, found {count}")));
    }
    if args.flag {
        crate::value::flag_of(&directive.args[0], name)?;
    }
    Ok(())
}

/// `invalid number of arguments in "x" directive`, without a label.
pub fn wrong_count(directive: &Directive) -> Diagnostic {
    let name = &directive.name.text;
    let message = format!("invalid number of arguments in \"{name}\" directive");
    Diagnostic::new(directive.span, message).may_lack_semicolon()
}

/// `unknown directive "x"`, with the known name that was probably meant.
pub fn unknown<'a>(directive: &Directive, known: impl Iterator<Item = &'a str>) -> Diagnostic {
    let name = &directive.name;
    let diagnostic = Diagnostic::new(name.span, format!("unknown directive \"{}\"", name.text));
    match suggest(&name.text, known) {
        Some(meant) => diagnostic.help(format!("did you mean `{meant}`?")),
        None => diagnostic,
    }
}

/// `"x" directive is not allowed here`.
pub fn not_allowed(directive: &Directive) -> Diagnostic {
    let name = &directive.name;
    Diagnostic::new(
        name.span,
        format!("\"{}\" directive is not allowed here", name.text),
    )
}

/// `"x" directive is duplicate`: it stands twice in one level.
pub fn duplicate(directive: &Directive) -> Diagnostic {
    let name = &directive.name;
    let message = format!("\"{}\" directive is duplicate", name.text);
    Diagnostic::new(name.span, message).label("set a second time in this block")
}

/// The longest name that [`suggest`] looks at: its cost grows with the square of the length.
const SUGGEST_BYTES_MAX: usize = 64;

/// The known name nearest to `name`, if one is near enough to have been meant: by edit distance,
/// where two neighbours exchanged count as one edit, and at most a third of the name may differ.
pub fn suggest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.is_empty() || name.len() > SUGGEST_BYTES_MAX {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let limit = (name.len() / 3).max(1);
    known
        .filter(|candidate| candidate.len().abs_diff(lower.len()) <= limit)
        .map(|candidate| (distance(lower.as_bytes(), candidate.as_bytes()), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance, in three rows.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut two_above = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut row = vec![0; b.len() + 1];
    for i in 1..=a.len() {
        row[0] = i;
        for j in 1..=b.len() {
            let change = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(two_above[j - 2] + 1);
            }
        }
        std::mem::swap(&mut two_above, &mut above);
        std::mem::swap(&mut above, &mut row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sources;

    fn only(text: &str) -> Directive {
        let mut snapshot = crate::Snapshot::default();
        snapshot.insert_file("/x", text.as_bytes().to_vec());
        let mut files = crate::SnapshotFiles::new(snapshot);
        let (mut document, diagnostics) = crate::parse("/x".as_ref(), None, &mut files);
        assert!(!diagnostics.has_errors());
        document.directives.pop().unwrap()
    }

    fn message(args: Args, text: &str) -> String {
        match check_args(args, &only(text)) {
            Ok(()) => String::new(),
            Err(diagnostic) => diagnostic.message,
        }
    }

    #[test]
    fn arity_is_checked_with_the_words_of_nginx() {
        let wrong = "invalid number of arguments in \"x\" directive";
        assert_eq!(message(Args::NONE, "x;"), "");
        assert_eq!(message(Args::NONE, "x a;"), wrong);
        assert_eq!(message(Args::ONE_OR_TWO, "x;"), wrong);
        assert_eq!(message(Args::ONE_OR_TWO, "x a b;"), "");
        assert_eq!(message(Args::ONE_OR_TWO, "x a b c;"), wrong);
        assert_eq!(message(Args::TWO_MORE, "x a b c d e;"), "");
        let many = format!("x{};", " a".repeat(70_000));
        assert_eq!(message(Args::ONE_MORE, &many), "");
        assert_eq!(message(Args::ONE_TO_THREE, &many), wrong);
        assert_eq!(message(Args::BLOCK, "x {}"), "");
        assert_eq!(message(Args::BLOCK, "x a {}"), wrong);
        assert_eq!(
            message(Args::BLOCK, "x;"),
            "directive \"x\" has no opening \"{\""
        );
        assert_eq!(
            message(Args::ONE, "x a {}"),
            "directive \"x\" is not terminated by \";\""
        );
        assert_eq!(message(Args::FLAG, "x ON;"), "");
        assert_eq!(
            message(Args::FLAG, "x yes;"),
            "invalid value \"yes\" in \"x\" directive, it must be \"on\" or \"off\""
        );
    }

    #[test]
    fn what_was_expected_is_said() {
        let label = |args, text| check_args(args, &only(text)).unwrap_err().label.unwrap();
        assert_eq!(label(Args::NONE, "x a;"), "expected no argument, found 1");
        assert_eq!(label(Args::ONE, "x;"), "expected 1 argument, found 0");
        assert_eq!(
            label(Args::TWO_OR_THREE, "x;"),
            "expected 2 or 3 arguments, found 0"
        );
        assert_eq!(
            label(Args::range(1, 4), "x;"),
            "expected 1 to 4 arguments, found 0"
        );
        assert_eq!(
            label(Args::TWO_MORE, "x a;"),
            "expected at least 2 arguments, found 1"
        );
    }

    #[test]
    fn suggestions_are_near_or_none() {
        let known = [
            "proxy_pass",
            "root",
            "listen",
            "server_name",
            "server_names_hash_max_size",
        ];
        let suggest = |name| suggest(name, known.iter().copied());
        assert_eq!(suggest("prxoy_pass"), Some("proxy_pass"));
        assert_eq!(suggest("porxypass"), Some("proxy_pass"));
        assert_eq!(suggest("Listen"), Some("listen"));
        assert_eq!(suggest("roto"), Some("root"));
        assert_eq!(suggest("servername"), Some("server_name"));
        assert_eq!(suggest("gzip"), None);
        assert_eq!(suggest(""), None);
        assert_eq!(suggest(&"r".repeat(100_000)), None);
    }

    #[test]
    fn distance_is_symmetric_and_counts_a_swap_once() {
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"abcd", b"abdc"), 1);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"sitting", b"kitten"), 3);
    }

    #[test]
    fn a_row_is_checked_before_it_is_set() {
        static ROW: Row<u32> = Row {
            name: "x",
            contexts: 1,
            args: Args::ONE,
            set: |count, directive| {
                *count += directive.args.len() as u32;
                Ok(())
            },
        };
        let mut count = 0;
        let directive = only("x 1;");
        check(&ROW, &directive).unwrap();
        (ROW.set)(&mut count, &directive).unwrap();
        assert_eq!((count, ROW.name, ROW.contexts), (1, "x", 1));
        assert!(check(&ROW, &only("x;")).is_err());
    }

    #[test]
    fn common_errors_are_worded_like_those_of_nginx() {
        let directive = only("rot x;");
        let unknown = unknown(&directive, ["root"].into_iter());
        assert_eq!(unknown.message, "unknown directive \"rot\"");
        assert_eq!(unknown.help.as_deref(), Some("did you mean `root`?"));
        assert_eq!(
            not_allowed(&directive).message,
            "\"rot\" directive is not allowed here"
        );
        let duplicate = duplicate(&directive);
        assert_eq!(duplicate.message, "\"rot\" directive is duplicate");
        let mut sources = Sources::default();
        sources.add("/x", b"rot x;".to_vec());
        assert_eq!(
            duplicate.headline(&sources),
            "\"rot\" directive is duplicate in /x:1"
        );
    }
}
