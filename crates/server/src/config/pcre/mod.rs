//! PCRE's syntax, in which the patterns of an `nginx.conf` are written, in that of our engines.
//!
//! Where both take the same text for different things, a pattern would match what it must not: `$` also
//! stands before a newline that ends the subject, `\h` is no digit, a set holds no sets, `a++` gives
//! nothing back. What the engines have no word for is refused with the reason.
//!
//! Source: pcre2pattern(3).

mod escape;
mod set;

use std::fmt::Write as _;
use std::str::Chars;

/// A pattern in the syntax of the engines.
#[derive(Debug)]
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) needs: Needs,
}

/// What an engine must be able to do for a pattern.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// To see characters instead of bytes: for `\p` and sets of what is not ASCII.
    pub(super) characters: bool,
    /// To look around, to refer back, or to give nothing back.
    pub(super) backtracking: bool,
}

/// Translates a pattern.
///
/// Errors: why no engine takes it.
pub(super) fn translate(source: &str) -> Result<Translated, String> {
    let source_after_verb = ["(*UTF8)", "(*UTF)"]
        .iter()
        .find_map(|verb| source.strip_prefix(verb));
    let asked = Needs {
        characters: source_after_verb.is_some(),
        backtracking: false,
    };
    let source = source_after_verb.unwrap_or(source);
    let first = Translator::run(source, asked)?;
    // How some of it is written depends on the engine, which is known at the end.
    match first.needs == asked {
        true => Ok(first),
        false => Translator::run(source, first.needs),
    }
}

/// Counts of a quantifier at most.
const COUNT_MAX: u32 = 65_535;

/// Flags that a group may set for its rest.
#[derive(Clone, Copy, Default)]
struct Flags {
    multi_line: bool,
    extended: bool,
}

struct Translator<'a> {
    rest: Chars<'a>,
    text: String,
    /// What is known of the engine, and what was found to be needed.
    engine: Needs,
    needs: Needs,
    flags: Flags,
    /// The flags before each group that is open, and what closes it.
    open: Vec<(Flags, &'static str)>,
    groups: u32,
    /// Whether a quantifier may follow.
    is_repeatable: bool,
}

impl<'a> Translator<'a> {
    fn run(source: &'a str, engine: Needs) -> Result<Translated, String> {
        let mut translator = Translator {
            rest: source.chars(),
            text: String::with_capacity(source.len() + 16),
            engine,
            needs: engine,
            flags: Flags::default(),
            open: Vec::new(),
            groups: 0,
            is_repeatable: false,
        };
        while let Some(next) = translator.rest.next() {
            translator.item(next)?;
        }
        if !translator.open.is_empty() {
            return Err("a group is not closed: expected )".to_owned());
        }
        Ok(Translated {
            text: translator.text,
            needs: translator.needs,
        })
    }

    fn item(&mut self, next: char) -> Result<(), String> {
        match next {
            '\\' => return self.escape(),
            '[' => {
                let set = self.set()?;
                self.push(&set);
            }
            '(' => return self.group(),
            ')' => {
                let group = self.open.pop();
                let (flags, end) = group.ok_or("a group is closed that is not open")?;
                self.flags = flags;
                self.push(end);
            }
            '|' => self.push_place("|"),
            '^' => self.push_place("^"),
            '$' if self.flags.multi_line => self.push_place("$"),
            '$' => self.end_of_subject(),
            '.' => self.push("."),
            '*' => self.quantifier("*".to_owned())?,
            '+' => self.quantifier("+".to_owned())?,
            '?' => self.quantifier("?".to_owned())?,
            '{' => match count(self.rest.as_str()) {
                Some(count) => {
                    self.skip(count.len());
                    self.quantifier(counted(count)?)?;
                }
                None => self.literal('{'),
            },
            '#' if self.flags.extended => while self.rest.next().is_some_and(|it| it != '\n') {},
            next if self.flags.extended && next.is_ascii_whitespace() => {}
            next => self.literal(next),
        }
        Ok(())
    }

    /// Something that may be repeated.
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.is_repeatable = true;
    }

    /// Something that may not.
    fn push_place(&mut self, text: &str) {
        self.text.push_str(text);
        self.is_repeatable = false;
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.as_str()[bytes..].chars();
    }

    /// Takes what comes up to `end`, and the end.
    fn take_to(&mut self, end: &str) -> Option<&'a str> {
        let (taken, after) = self.rest.as_str().split_once(end)?;
        self.rest = after.chars();
        Some(taken)
    }

    /// A character that means itself: where the engine sees bytes, the bytes of it.
    fn literal(&mut self, literal: char) {
        if self.engine.characters || literal.is_ascii() {
            self.code(literal.into());
        } else {
            let mut bytes = [0; 4];
            for byte in literal.encode_utf8(&mut bytes).bytes() {
                self.code(byte.into());
            }
        }
    }

    fn code(&mut self, code: u32) {
        write_code(code, &mut self.text);
        self.is_repeatable = true;
    }

    /// The end, or before a newline that is the last of all.
    fn end_of_subject(&mut self) {
        self.push_place(match self.engine.backtracking {
            true => r"(?=\n?\z)",
            // Without a look ahead the newline belongs to what matched, which nobody asks for.
            false => r"(?:\n?\z)",
        });
    }

    fn quantifier(&mut self, mut text: String) -> Result<(), String> {
        if !self.is_repeatable {
            return Err(format!(
                "{text} does not follow something that can be repeated"
            ));
        }
        let suffix = self.rest.clone().next().filter(|it| "?+".contains(*it));
        if let Some(suffix) = suffix {
            self.rest.next();
            self.needs.backtracking |= suffix == '+';
            text.push(suffix);
        }
        self.push_place(&text);
        Ok(())
    }

    /// What `(` begins.
    fn group(&mut self) -> Result<(), String> {
        let all = self.rest.as_str();
        if all.starts_with('*') {
            return Err("words for the matcher, as (*SKIP), are not supported".to_owned());
        }
        let Some(kind) = all.strip_prefix('?') else {
            self.groups += 1;
            self.begin("(", ")");
            return Ok(());
        };
        for (opening, end) in [("<", ">"), ("P<", ">"), ("'", "'")] {
            if kind.starts_with(opening) && !kind.starts_with("<=") && !kind.starts_with("<!") {
                self.skip(1 + opening.len());
                let name = self.take_to(end);
                let name = name.ok_or_else(|| format!("expected {end} after a group's name"))?;
                self.groups += 1;
                self.begin(&format!("(?<{name}>"), ")");
                return Ok(());
            }
        }
        for opening in ["?:", "?>", "?=", "?!", "?<=", "?<!"] {
            if all.starts_with(opening) {
                self.skip(opening.len());
                self.needs.backtracking |= opening != "?:";
                if opening.contains(['=', '!']) {
                    // It may be repeated, which the engine refuses but for a group around it.
                    self.begin(&format!("(?>({opening}"), "))");
                } else {
                    self.begin(&format!("({opening}"), ")");
                }
                return Ok(());
            }
        }
        if kind.starts_with('#') {
            let comment = self.take_to(")");
            return comment
                .map(drop)
                .ok_or_else(|| "a comment has no end".to_owned());
        }
        if kind.starts_with("P=") {
            self.skip("?P=".len());
            let name = self.take_to(")").ok_or("expected ) after a group's name")?;
            self.refer_by_name(name);
            return Ok(());
        }
        if kind.starts_with('(') {
            return self.condition();
        }
        self.set_flags(kind)
    }

    fn begin(&mut self, text: &str, end: &'static str) {
        self.open.push((self.flags, end));
        self.push_place(text);
    }

    /// `(?(1)yes|no)`, `(?(<name>)yes|no)`: by what a group has captured.
    fn condition(&mut self) -> Result<(), String> {
        self.skip("?(".len());
        let wrong = || "of conditions, those of a group's number or name are supported".to_owned();
        let condition = self.take_to(")").ok_or_else(wrong)?;
        let name = condition
            .strip_prefix('<')
            .and_then(|name| name.strip_suffix('>'))
            .or_else(|| condition.strip_prefix('\'')?.strip_suffix('\''));
        let condition = match (condition.parse::<u32>(), name) {
            (Ok(number), _) if (1..=self.groups).contains(&number) => condition.to_owned(),
            (Ok(number), _) => return Err(format!("there is no group {number}")),
            (Err(_), Some(name)) => format!("<{name}>"),
            (Err(_), None) => return Err(wrong()),
        };
        self.needs.backtracking = true;
        self.begin(&format!("(?({condition})"), ")");
        Ok(())
    }

    /// `(?i)` and `(?i:`: flags, for the rest of the group or for one of its own.
    fn set_flags(&mut self, all: &str) -> Result<(), String> {
        let len = all.bytes().take_while(|it| b"imsxU-".contains(it)).count();
        let end = all[len..].chars().next();
        if len == 0 || !matches!(end, Some(')' | ':')) {
            return Err(match all.chars().next() {
                Some('|') => "(?| is not supported: give each alternative its own group".to_owned(),
                Some('R' | '&' | 'P' | '+' | '-' | '0'..='9') => recursion(),
                _ => "expected what is known after (?".to_owned(),
            });
        }
        self.skip(1 + len + 1);
        let before = self.flags;
        let (mut is_on, mut text) = (true, String::new());
        for flag in all[..len].chars() {
            match flag {
                '-' => is_on = false,
                'x' => self.flags.extended = is_on,
                'm' => self.flags.multi_line = is_on,
                _ => {}
            }
            // Blanks are left out here, as the engines have them mean nothing in sets, too.
            if flag != 'x' {
                text.push(flag);
            }
        }
        let text = text.trim_end_matches('-');
        if end == Some(':') {
            self.open.push((before, ")"));
            self.push_place(&format!("(?{text}:"));
        } else if text.is_empty() {
            self.is_repeatable = false;
        } else {
            self.push_place(&format!("(?{text})"));
        }
        Ok(())
    }
}

fn recursion() -> String {
    "recursion into a group is not supported".to_owned()
}

/// Writes one character or byte so that it means itself, within sets and outside.
fn write_code(code: u32, text: &mut String) {
    let _ = match u8::try_from(code) {
        Ok(plain) if plain.is_ascii_alphanumeric() => write!(text, "{}", char::from(plain)),
        // Of two digits it is a byte where the engine sees bytes.
        Ok(byte) => write!(text, r"\x{byte:02x}"),
        Err(_) => write!(text, r"\x{{{code:x}}}"),
    };
}

/// The text of a count, up to and with its brace, where one comes.
fn count(rest: &str) -> Option<&str> {
    let text = &rest[..=rest.find('}')?];
    let (least, most) = text[..text.len() - 1]
        .split_once(',')
        .unwrap_or((&text[..text.len() - 1], ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    (!least.is_empty() && is_number(least) && is_number(most)).then_some(text)
}

/// A count as a quantifier.
fn counted(text: &str) -> Result<String, String> {
    let numbers = text.trim_end_matches('}').split(',');
    let mut before = 0;
    for number in numbers.filter(|number| !number.is_empty()) {
        let number = number.parse::<u32>().ok().filter(|it| *it <= COUNT_MAX);
        let number = number.ok_or_else(|| format!("{{{text} is more than {COUNT_MAX}"))?;
        if number < before {
            return Err(format!("{{{text} ends before it begins"));
        }
        before = number;
    }
    Ok(format!("{{{text}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::regex::{Groups, Pattern};

    fn matches(source: &str, subject: impl AsRef<[u8]>) -> bool {
        let pattern = Pattern::new(source, false).unwrap_or_else(|why| panic!("{source}: {why}"));
        pattern.captures(subject.as_ref(), &mut Groups::new()) == Ok(true)
    }

    /// Each pattern, what it matches, and what it does not. As pcre2_match(3) has it.
    #[track_caller]
    fn check(table: &[(&str, &[&str], &[&str])]) {
        for (source, met, missed) in table {
            for subject in *met {
                assert!(matches(source, subject), "{source} meets {subject:?}");
            }
            for subject in *missed {
                assert!(!matches(source, subject), "{source} misses {subject:?}");
            }
        }
    }

    #[test]
    fn places() {
        check(&[
            (r"\.php$", &["a.php", "a.php\n"], &["a.php\n\n", "a.phpx"]),
            (r"a\Z", &["a", "a\n"], &["ab"]),
            (r"a\z", &["a"], &["a\n"]),
            (r"^(?=a)a$", &["a", "a\n"], &["a\nb"]),
            ("(?m)^b$", &["a\nb\nc"], &["ab"]),
            (r"\Ga\Kb", &["ab"], &["xab"]),
            (r"\<a\>", &["<a>"], &["a"]),
            (r"\ba\B", &["ab"], &["a", "xa"]),
            (r"(?!x)\ba\b", &["\u{e4}a"], &["ba"]),
        ]);
    }

    #[test]
    fn patterns_see_bytes() {
        assert!(matches(r"^/private/.*$", b"/private/\xff"));
        assert!(matches("^/[^a]$", b"/\xff"));
        check(&[
            (r"^/\w$", &["/a"], &["/\u{e4}"]),
            ("^/.$", &["/a"], &["/\u{e4}"]),
            ("^(?!x)/.$", &["/a"], &["/\u{e4}"]),
            (r"^(?!x)/\w$", &["/a"], &["/\u{e4}"]),
            ("^/\u{e4}$", &["/\u{e4}"], &["/\u{c3}"]),
            ("^/(?=\u{e4}$)", &["/\u{e4}"], &["/\u{c3}"]),
            // Characters, where a pattern speaks of them.
            (r"^/\p{L}$", &["/\u{e4}"], &["/1"]),
            (r"^/\pL\P{^L}$", &["/\u{e4}a"], &["/1a"]),
            ("^/[\u{e0}-\u{e5}]$", &["/\u{e4}"], &["/\u{e9}"]),
            ("(*UTF8)^/.$", &["/\u{e4}"], &["/ab"]),
        ]);
    }

    #[test]
    fn sets() {
        check(&[
            ("^[a&&b]$", &["&", "a"], &["c"]),
            ("^[[a]]$", &["[]", "a]"], &["a"]),
            ("^[]a]+$", &["]a"], &["b"]),
            ("^[^]a]+$", &["b"], &["b]"]),
            ("^[[:alpha:]_[:^digit:]]+$", &["a_"], &["1"]),
            ("^[a~~-]$", &["~", "-"], &["b"]),
            (r"^[\]\[]+$", &["[]"], &["a"]),
            (r"^[\d.-]+$", &["1.-"], &["d"]),
            (r"^[\W_]$", &["-", "_"], &["a"]),
            (
                r"^[\h\cA\101\x42\b\Q]\E]$",
                &[" ", "\x01", "A", "B", "\x08", "]"],
                &["Q"],
            ),
            (r"^[!-/]$", &["+"], &["a"]),
        ]);
    }

    #[test]
    fn escapes() {
        check(&[
            (r"^\Qa.b\E.$", &["a.bx"], &["axbx"]),
            (r"^\101\x42\x{43}\o{104}$", &["ABCD"], &["abcd"]),
            (r"^\e\cA\0$", &["\x1b\x01\0"], &["ecA0"]),
            (
                r"^\h\H\v\V\N\R$",
                &[" a\nab\r\n", "\tx\x0bxx\n"],
                &["hHvVN"],
            ),
            (r"^\d{2}\.\d{1,}$", &["12.3"], &["1.2"]),
            ("^{x}{,2}$", &["{x}{,2}"], &["{x}"]),
        ]);
    }

    #[test]
    fn groups() {
        check(&[
            (r"^(a|b)\1\g1\g{1}\g{-1}$", &["aaaaa"], &["aaaab"]),
            (
                r"^(?<n>a|b)\k<n>\k'n'\k{n}\g{n}(?P=n)$",
                &["bbbbbb"],
                &["bbbbba"],
            ),
            ("^(?'n'a)(?P<m>b)$", &["ab"], &["a"]),
            (r"^(a)?(?(1)b|c)$", &["ab", "c"], &["ac"]),
            ("^(?>a+)b$|^a++c$", &["aab", "aac"], &["aa"]),
            ("^a++a$|^(?>a+)a$", &[], &["aa", "aaa"]),
            ("^(?#of a)a$", &["a"], &["b"]),
            ("^(?x) a [ ] b # c\n c (?-x) d$", &["a bc d"], &["abcd"]),
            ("^a(?i)b(?-i:c)(?:(?s).)$", &["aBc\n"], &["ABc\n", "aBC\n"]),
            ("^(?=a){1,2}(?<!b)*a$", &["a"], &["b"]),
        ]);
    }

    #[test]
    fn what_no_engine_takes_is_refused_with_the_reason() {
        for (source, why) in [
            (
                "(?|(a)|(b))",
                "(?| is not supported: give each alternative its own group",
            ),
            ("(a(?1)?b)", "recursion into a group is not supported"),
            (r"\X", r"\X is not supported"),
            (r"\1", "there is no group 1 before the reference to it"),
            (
                "(*UCP)a",
                "words for the matcher, as (*SKIP), are not supported",
            ),
            ("*a", "* does not follow something that can be repeated"),
            (
                "a{2}{3}",
                "{3} does not follow something that can be repeated",
            ),
            ("a{3,2}", "{3,2} ends before it begins"),
            ("a{65536}", "{65536} is more than 65535"),
            ("[z-a]", "a range in a set ends before it begins"),
            (r"[a-\d]", "a range ends with several characters"),
            (r"[\d-z]", "a range begins with several characters"),
            ("[[:letter:]]", "[:letter:] is no known class"),
            ("[a", "a set is not closed: expected ]"),
            ("(a", "a group is not closed: expected )"),
            ("a)", "a group is closed that is not open"),
            (r"a\", r"\ ends the pattern"),
            (r"\x{100}", "there is no such character"),
            ("(?<n", "expected > after a group's name"),
            ("(?y)", "expected what is known after (?"),
        ] {
            assert_eq!(translate(source).unwrap_err(), why, "{source}");
        }
    }

    proptest! {
        /// What is quoted means itself and nothing else, in either engine.
        #[test]
        fn a_quotation_means_itself(text in "[^\\\\]{0,12}", other in ".{0,4}", looks in any::<bool>()) {
            let look = if looks { "(?=)" } else { "" };
            let source = format!(r"^{look}\Q{text}\E\z");
            prop_assert!(matches(&source, &text));
            prop_assert_eq!(matches(&source, &other), text == other);
        }

        /// Whatever is written, there is a pattern or a reason.
        #[test]
        fn no_pattern_ends_the_program(source in r"([\[\](){}?*+|^$\\<>!=:'#,0-9a-zA-Z-]|.){0,20}") {
            let _ = Pattern::new(&source, false);
        }
    }
}
