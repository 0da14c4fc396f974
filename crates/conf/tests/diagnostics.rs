//! What a person sees when a configuration is wrong.

use std::path::Path;

use revolve_conf::{
    DIAGNOSTICS_SHOWN_MAX, Diagnostic, Diagnostics, Document, Snapshot, SnapshotFiles, Sources,
    Span, directive, parse, value,
};

/// Parses `/etc/x.conf` among the given files.
fn read(files: &[(&str, &str)], globals: Option<&str>) -> (Document, Diagnostics) {
    let mut snapshot = Snapshot::default();
    for (path, text) in files {
        snapshot.insert_file(*path, text.as_bytes().to_vec());
    }
    parse(
        Path::new("/etc/x.conf"),
        globals,
        &mut SnapshotFiles::new(snapshot),
    )
}

/// The rendered errors of one file's text.
fn errors(text: &str) -> String {
    let (document, diagnostics) = read(&[("/etc/x.conf", text)], None);
    diagnostics.render(&document.sources, "revolve", false)
}

/// The first line of each error.
fn first_lines(rendered: &str) -> Vec<&str> {
    rendered
        .lines()
        .filter(|line| line.starts_with("revolve: "))
        .collect()
}

#[test]
fn an_unknown_directive_is_underlined_and_a_likely_one_named() {
    let text = "http {\n    server {\n        prxoy_pass http://x;\n    }\n}\n";
    let (document, mut diagnostics) = read(&[("/etc/x.conf", text)], None);
    assert!(diagnostics.is_empty());
    let server = &document.directives[0].block.as_ref().unwrap()[0];
    let wrong = &server.block.as_ref().unwrap()[0];
    diagnostics.push(directive::unknown(
        wrong,
        ["root", "proxy_pass"].into_iter(),
    ));
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        r#"revolve: [emerg] unknown directive "prxoy_pass" in /etc/x.conf:3
 --> /etc/x.conf:3:9
  |
3 |         prxoy_pass http://x;
  |         ^^^^^^^^^^
  |
  = help: did you mean `proxy_pass`?
"#
    );
}

#[test]
fn a_missing_semicolon_before_a_brace() {
    assert_eq!(
        errors("events { }\nhttp { server { listen 80 }\n}\n"),
        r#"revolve: [emerg] unexpected "}" in /etc/x.conf:2
 --> /etc/x.conf:2:27
  |
2 | http { server { listen 80 }
  |                           ^ expected `;` before this
  |
  = help: is a `;` missing after `listen 80`?
"#
    );
}

#[test]
fn a_missing_semicolon_at_the_end_of_a_line() {
    let text = "root /a # comment; here\nindex b;\n";
    let (document, mut diagnostics) = read(&[("/etc/x.conf", text)], None);
    let wrong = directive::check_args(directive::Args::ONE, &document.directives[0]);
    diagnostics.push(wrong.unwrap_err());
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        r#"revolve: [emerg] invalid number of arguments in "root" directive in /etc/x.conf:1
 --> /etc/x.conf:1:1
  |
1 | / root /a # comment; here
2 | | index b;
  | |_______^ expected 1 argument, found 3
  |
  = help: is a `;` missing at the end of line 1?
"#
    );
}

#[test]
fn a_block_that_is_never_closed() {
    assert_eq!(
        errors("http {\n  server {\n    root /x;\n  }\n"),
        r#"revolve: [emerg] unexpected end of file, expecting "}" in /etc/x.conf:5
 --> /etc/x.conf:4:5
  |
1 | http {
  | ---- this block is never closed
...
4 |   }
  |    ^
"#
    );
}

#[test]
fn a_quote_that_is_never_closed() {
    assert_eq!(
        errors("log_format a \"$uri;\n"),
        r#"revolve: [emerg] unexpected end of file, expecting ";" or "}" in /etc/x.conf:2
 --> /etc/x.conf:1:21
  |
1 | log_format a "$uri;
  |              -     ^
  |              |
  |              this quote is never closed
"#
    );
}

#[test]
fn a_value_says_what_was_expected() {
    let (document, mut diagnostics) = read(&[("/etc/x.conf", "client_max_body_size 8q;")], None);
    let wrong = &document.directives[0];
    diagnostics.push(value::size_of(&wrong.args[0], &wrong.name.text).unwrap_err());
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        r#"revolve: [emerg] "client_max_body_size" directive invalid value in /etc/x.conf:1
 --> /etc/x.conf:1:22
  |
1 | client_max_body_size 8q;
  |                      ^^ expected a size like 8k or 1m
"#
    );
}

#[test]
fn another_file_can_be_part_of_an_error() {
    let files = [
        ("/etc/x.conf", "include y;\npid b;\n"),
        ("/etc/y", "pid a;\n"),
    ];
    let (document, mut diagnostics) = read(&files, None);
    let [first, second] = document.directives.as_slice() else {
        panic!("two directives")
    };
    diagnostics.push(directive::duplicate(second).note(first.span, "first set here"));
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        r#"revolve: [emerg] "pid" directive is duplicate in /etc/x.conf:2
 --> /etc/x.conf:2:1
  |
2 | pid b;
  | ^^^ set a second time in this block
  |
 ::: /etc/y:1:1
  |
1 | pid a;
  | ----- first set here
"#
    );
}

#[test]
fn the_command_line_is_a_place_too() {
    let files = [("/etc/x.conf", "")];
    let (document, diagnostics) = read(&files, Some("daemon off"));
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        r#"revolve: [emerg] unexpected end of parameter, expecting ";" in command line
 --> command line:1:11
  |
1 | daemon off
  |           ^
"#
    );
    let (document, diagnostics) = read(&files, Some("daemon off; events { }"));
    let rendered = diagnostics.render(&document.sources, "revolve", false);
    let expected =
        "revolve: [emerg] block directives are not supported in -g option in command line";
    assert_eq!(first_lines(&rendered), [expected]);
}

#[test]
fn several_errors_come_at_once_and_in_order() {
    let rendered = errors("a \"b\"c;\n}\n;\n{ x; }\ninclude a b;\ninclude y { }\ninclude z;\nd");
    assert_eq!(
        first_lines(&rendered),
        [
            "revolve: [emerg] unexpected \"c\" in /etc/x.conf:1",
            "revolve: [emerg] unexpected \"}\" in /etc/x.conf:2",
            "revolve: [emerg] unexpected \";\" in /etc/x.conf:3",
            "revolve: [emerg] unexpected \"{\" in /etc/x.conf:4",
            "revolve: [emerg] invalid number of arguments in \"include\" directive in /etc/x.conf:5",
            "revolve: [emerg] directive \"include\" is not terminated by \";\" in /etc/x.conf:6",
            "revolve: [emerg] open() \"/etc/z\" failed (2: No such file or directory) in /etc/x.conf:7",
            "revolve: [emerg] unexpected end of file, expecting \";\" or \"}\" in /etc/x.conf:8",
        ]
    );
}

#[test]
fn a_missing_main_file_has_no_place() {
    let (document, diagnostics) = read(&[], None);
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        "revolve: [emerg] open() \"/etc/x.conf\" failed (2: No such file or directory)\n"
    );
}

#[test]
fn a_file_included_twice_has_its_errors_once() {
    let files = [
        ("/etc/x.conf", "include y;\ninclude y;\n"),
        ("/etc/y", "}\n"),
    ];
    let (_, diagnostics) = read(&files, None);
    assert_eq!(diagnostics.len(), 1);
}

#[test]
fn files_that_include_each_other_end() {
    let files = [
        ("/etc/x.conf", "include y;"),
        ("/etc/y", "http { include x.conf; }"),
    ];
    let (document, diagnostics) = read(&files, None);
    assert_eq!(
        diagnostics.render(&document.sources, "revolve", false),
        r#"revolve: [emerg] "/etc/x.conf" includes itself in /etc/y:1
 --> /etc/y:1:16
  |
1 | http { include x.conf; }
  |                ^^^^^^ already being read
"#
    );
}

#[test]
fn files_that_multiply_end() {
    let mut files: Vec<(String, String)> = (0..60)
        .map(|depth| {
            let next = depth + 1;
            (
                format!("/etc/{depth}"),
                format!("include {next};\ninclude {next};\n"),
            )
        })
        .collect();
    files.push(("/etc/60".into(), " ".repeat(1 << 20)));
    files.push(("/etc/x.conf".into(), "include 0;".into()));
    let borrowed: Vec<_> = files
        .iter()
        .map(|(path, text)| (&path[..], &text[..]))
        .collect();
    let (_, diagnostics) = read(&borrowed, None);
    let message = &diagnostics.iter().next().unwrap().message;
    assert_eq!(message, "the configuration is larger than 256 MiB");
}

#[test]
fn deep_blocks_are_refused_and_passed_over() {
    let text = "a {".repeat(100_000) + &"}".repeat(100_000) + "b;";
    let (document, diagnostics) = read(&[("/etc/x.conf", &text)], None);
    let messages: Vec<_> = diagnostics.iter().map(|it| it.message.as_str()).collect();
    assert_eq!(messages, ["blocks lie more than 100 deep"]);
    assert_eq!(document.directives[1].name.text, "b");
}

#[test]
fn bytes_that_are_not_utf8_are_fine_in_comments_alone() {
    let read = |bytes: &[u8]| {
        let mut snapshot = Snapshot::default();
        snapshot.insert_file("/etc/x.conf", bytes.to_vec());
        let (document, diagnostics) = parse(
            Path::new("/etc/x.conf"),
            None,
            &mut SnapshotFiles::new(snapshot),
        );
        diagnostics.render(&document.sources, "revolve", false)
    };
    assert_eq!(read(b"# caf\xe9\nuser x;\n"), "");
    assert_eq!(
        read(b"# caf\xe9\nroot /caf\xe9;\n"),
        r#"revolve: [emerg] byte 0xe9 is not UTF-8 in /etc/x.conf:2
 --> /etc/x.conf:2:6
  |
2 | root /caf?;
  |      ^^^^^
  |
  = help: save the file as UTF-8; only comments may hold other bytes
"#
    );
}

#[test]
fn control_characters_do_not_break_the_first_line() {
    let (document, mut diagnostics) = read(&[("/etc/x.conf", "\"a\nb\x1b[31m\";")], None);
    diagnostics.push(directive::unknown(
        &document.directives[0],
        std::iter::empty(),
    ));
    let rendered = diagnostics.render(&document.sources, "revolve", false);
    assert_eq!(
        rendered.lines().next().unwrap(),
        r#"revolve: [emerg] unknown directive "a\x0Ab\x1B[31m" in /etc/x.conf:1"#
    );
    assert!(!rendered.contains('\x1b'), "{rendered}");
}

#[test]
fn warnings_are_no_errors_and_colour_is_optional() {
    let (document, mut diagnostics) = read(&[("/etc/x.conf", "a;")], None);
    let span = document.directives[0].span;
    diagnostics.push(Diagnostic::new(span, "\"a\" is old").warn().help("use b"));
    assert!(!diagnostics.has_errors());
    let plain = diagnostics.render(&document.sources, "revolve", false);
    assert!(
        plain.starts_with("revolve: [warn] \"a\" is old in /etc/x.conf:1\n"),
        "{plain}"
    );
    let coloured = diagnostics.render(&document.sources, "revolve", true);
    assert!(coloured.contains("\x1b["), "{coloured}");
    diagnostics.push(Diagnostic::new(None, "no memory").help("buy some"));
    assert!(diagnostics.has_errors());
    let plain = diagnostics.render(&document.sources, "revolve", false);
    assert!(
        plain.starts_with("revolve: [emerg] no memory\n  = help: buy some\n"),
        "{plain}"
    );
}

#[test]
fn a_span_past_the_text_is_shown_and_not_a_panic() {
    let (document, mut diagnostics) = read(&[("/etc/x.conf", "a;")], None);
    let file = document.directives[0].span.file;
    diagnostics.push(Diagnostic::new(
        Span {
            file,
            start: 90,
            end: 99,
        },
        "odd",
    ));
    let rendered = diagnostics.render(&document.sources, "revolve", false);
    assert!(
        rendered.starts_with("revolve: [emerg] odd in /etc/x.conf:1\n"),
        "{rendered}"
    );
}

/// A million lines that are all wrong, or one that is a megabyte long, are as soon said as thirty.
#[test]
fn what_is_said_is_bounded() {
    let (document, diagnostics) = read(&[("/etc/x.conf", &"\"b\"c;\n".repeat(100_000))], None);
    assert_eq!(diagnostics.len(), 100_000);
    assert_eq!(diagnostics.iter().count(), DIAGNOSTICS_SHOWN_MAX);
    let rendered = diagnostics.render(&document.sources, "revolve", false);
    let lines = first_lines(&rendered);
    assert_eq!(lines.len(), DIAGNOSTICS_SHOWN_MAX + 1);
    assert!(lines[0].ends_with(" in /etc/x.conf:1"), "{}", lines[0]);
    assert!(lines[29].ends_with(" in /etc/x.conf:30"), "{}", lines[29]);
    assert_eq!(lines[30], "revolve: [emerg] 99970 more errors not shown");

    let word = "x".repeat(1 << 20);
    for text in [
        format!("a }} {word};"),
        format!("{word} }}"),
        format!("a {{ {};", "\n".repeat(1 << 20)),
        format!("a {}", "b\n".repeat(1 << 19)),
    ] {
        let rendered = errors(&text);
        assert!(
            !rendered.is_empty() && rendered.len() < 20_000,
            "{}",
            rendered.len()
        );
    }
}

#[test]
fn errors_are_kept_before_warnings_and_those_of_the_beginning_before_others() {
    let mut sources = Sources::default();
    let file = sources.add("/x", "a;\n".repeat(100).into_bytes());
    let at = |line: u32| {
        let (start, end) = (line * 3, line * 3 + 1);
        Span { file, start, end }
    };
    let mut diagnostics = Diagnostics::new();
    for line in 0..50 {
        diagnostics.push(Diagnostic::new(at(line), "odd").warn());
    }
    for line in (50..90).rev() {
        assert!(diagnostics.keeps_error_at(at(line)));
        diagnostics.push(Diagnostic::new(at(line), "wrong"));
        diagnostics.push(Diagnostic::new(at(line), "wrong"));
    }
    assert!(!diagnostics.keeps_error_at(at(90)));
    let mut others = Diagnostics::new();
    others.push(Diagnostic::new(at(0), "first"));
    diagnostics.append(others);
    assert_eq!(diagnostics.len(), 91);
    assert_eq!(
        diagnostics.more().unwrap(),
        "11 more errors and 50 more warnings not shown"
    );
    let rendered = diagnostics.render(&sources, "revolve", false);
    let lines = first_lines(&rendered);
    assert_eq!(lines[0], "revolve: [emerg] first in /x:1");
    assert_eq!(lines[1], "revolve: [emerg] wrong in /x:51");
    assert_eq!(lines[29], "revolve: [emerg] wrong in /x:79");
}

/// A terminal does what it reads, and a line that runs backwards says something else.
#[test]
fn nothing_of_a_file_is_shown_that_is_not_seen() {
    let text = "events {}\u{85};\n\"\u{9b}31m\u{202e}\" y \u{2066}\u{1b};\n\"b\"c;}";
    let (document, mut diagnostics) = read(&[("/etc/\u{202e}x.conf", text)], None);
    assert!(
        document.sources.iter().next().is_none(),
        "the name is another"
    );
    let (document, more) = read(&[("/etc/x.conf", text)], None);
    diagnostics.append(more);
    for directive in &document.directives {
        let wrong = directive::unknown(directive, std::iter::empty());
        let note = format!("\u{200b}{}", directive.name.text);
        diagnostics.push(
            wrong
                .help(note.clone())
                .label(note.clone())
                .note(directive.span, note),
        );
    }
    let mut sources = document.sources.clone();
    let file = sources.add("/etc/\u{202e}\"x\u{9b}.conf", text.into());
    let (start, end) = (12, 20);
    diagnostics.push(Diagnostic::new(Span { file, start, end }, "here"));
    let rendered = diagnostics.render(&sources, "revolve", false);
    let is_hidden = |character: &char| {
        let is_control = character.is_control() && *character != '\n';
        is_control || "\u{202e}\u{2066}\u{200b}".contains(*character)
    };
    assert_eq!(rendered.chars().find(is_hidden), None, "{rendered}");
    assert!(rendered.contains(r"\xC2\x9B31m\xE2\x80\xAE"), "{rendered}");
    assert!(
        rendered.contains(r"in /etc/\xE2\x80\xAE\x22x\xC2\x9B.conf:1"),
        "{rendered}"
    );
}
