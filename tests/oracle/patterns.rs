//! Regular expressions: what PCRE's syntax means.

use std::fmt::Write as _;

use super::pair::compare_with;
use super::request::{Case, get};

/// Patterns, which are tried behind `^/N/`, and ends of paths. A backslash before a backslash, a quote or
/// one of `trn` means something to the configuration's grammar, so there is none.
const PATTERNS: &[(&str, &str)] = &[
    (r"(.*)\.php$", "a.php a.php%0a a.php%0a%0a a%0a.php"),
    (r"([^/]*)$", "a a%0a"),
    (r"a\Z", "a a%0a"),
    (r"a\z", "a a%0a"),
    (r"(?=a)(.)$", "a a%0a b"),
    (r"(\w+)\b(.*)", "ab-c %c3%a4b a%c3%a4"),
    (r"(?!x)(\w+)\b(.*)", "ab-c %c3%a4b a%c3%a4 x"),
    (r"(?!x)(.)$", "a %c3%a4 %e4 x"),
    ("([^a])$", "b a %e4 %c3%a4"),
    ("ä(.)$", "%c3%a4b %c3b"),
    (r"\Qa.b\E(.)$", "a.bc axbc"),
    (r"\101\x42\x{43}\o{104}$", "ABCD"),
    (r"\cA\e\0?$", "%01%1b cAe"),
    (r"\h\H\v\V\N\R$", "%20a%0aab%0d%0a hHvVNR"),
    ("([a&&b]+)$", "a& b c"),
    ("([]a]+)([^]a]+)$", "]ab%5d a]bc"),
    (r"([[:alpha:]_]+)([\d.-]+)$", "a_1.- 1a"),
    (r"([\W\h\b\Q]\E]+)$", "%20]%08 a"),
    (r"(a|b)\1\g1\g{-1}$", "aaaa aaab"),
    (r"(?<n>a|b)\k<n>\k'n'(?P=n)$", "bbbb bbba"),
    ("(?'q'a)(?P<p>b)$", "ab b"),
    (r"(a)?(?(1)b|c)$", "ab c ac"),
    ("(?>(a+))b$", "aab"),
    ("(a++)(b|a)$", "aab aaa"),
    ("(?#c)(?x) a [ ] b$", "a%20b ab"),
    ("(?i)a(?-i)(b)$", "Ab AB"),
    (r"a(?s)(.)b$", "a%0ab axb"),
    ("{x}{,2}(a{1,2})$", "{x}{,2}a {x}{,2}aaa {x}a"),
    (r"\<(a)\>$", "<a> a"),
    (r"a\K(b)$", "ab"),
];

#[test]
fn patterns_mean_what_they_do_in_nginx() {
    let mut lines = "server { listen 127.0.0.1:PORT; server_name patterns.example;\n".to_owned();
    let mut cases: Vec<Case> = Vec::new();
    for (number, (pattern, ends)) in PATTERNS.iter().enumerate() {
        let _ = writeln!(
            lines,
            "location ~ \"^/{number}/{pattern}\" {{ return 200 \"{number}|$1|$2|\"; }}"
        );
        for end in ends.split(' ') {
            let request = get(format!("/{number}/{end}")).host("patterns.example");
            cases.push(request.into());
        }
    }
    lines.push_str("location / { return 404; } }");
    compare_with(&lines, |_| cases);
}

/// What cannot be decided is an error in both, and not a path that does not match.
#[test]
fn a_pattern_that_takes_forever_is_an_error() {
    let lines = "server { listen 127.0.0.1:PORT; server_name forever.example;
        location ~ ^/((?=a)a|a)+$ { return 403; }
        location / { return 200 open; } }
      server { listen 127.0.0.1:PORT; server_name ~^((?=a)a|a)+b$; return 200 host; }";
    let long = "a".repeat(64);
    let paths = [format!("/{long}"), format!("/{long}!"), "/b".to_owned()];
    let paths = paths.map(|path| get(path).host("forever.example"));
    compare_with(lines, |_| paths.map(Case::from).into());
}
