//! The grammar: what is written is what is read, and no bytes are too strange.

use std::path::Path;

use proptest::prelude::*;
use revolve_conf::{
    Diagnostics, Directive, DiskFiles, Document, FileId, Recorded, Snapshot, SnapshotFiles, Span,
    Word, parse,
};

fn read(bytes: &[u8]) -> (Document, Diagnostics) {
    let mut snapshot = Snapshot::default();
    snapshot.insert_file("/x", bytes.to_vec());
    parse(Path::new("/x"), None, &mut SnapshotFiles::new(snapshot))
}

/// A directive without its spans.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tree {
    words: Vec<String>,
    block: Option<Vec<Tree>>,
}

fn tree(directive: &Directive) -> Tree {
    let args = directive.args.iter().map(|word| word.text.clone());
    Tree {
        words: std::iter::once(directive.name.text.clone())
            .chain(args)
            .collect(),
        block: directive
            .block
            .as_ref()
            .map(|block| block.iter().map(tree).collect()),
    }
}

/// One of the ways in which a word may be written.
fn print_word(word: &str, style: u8, out: &mut String) {
    let is_plain = |character: char| !" \t\r\n;{}\"'\\#$".contains(character);
    if style == 0 && !word.is_empty() && word.chars().all(is_plain) {
        return out.push_str(word);
    }
    let quote = if style == 1 { '\'' } else { '"' };
    out.push(quote);
    for character in word.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '\t' if style == 1 => out.push_str("\\t"),
            '\n' if style == 1 => out.push_str("\\n"),
            '\r' if style == 1 => out.push_str("\\r"),
            other if other == quote => out.extend(['\\', quote]),
            other => out.push(other),
        }
    }
    out.push(quote);
}

fn print(trees: &[Tree], styles: &mut impl Iterator<Item = u8>, out: &mut String) {
    const BLANKS: [&str; 4] = [" ", "\n", "\t \r\n", " # ; } \" comment\n"];
    for tree in trees {
        for word in &tree.words {
            let style = styles.next().unwrap_or(0);
            print_word(word, style % 3, out);
            out.push_str(BLANKS[usize::from(style / 3) % 4]);
        }
        match &tree.block {
            Some(block) => {
                out.push('{');
                print(block, styles, out);
                out.push('}');
            }
            None => out.push(';'),
        }
    }
}

fn trees() -> impl Strategy<Value = Vec<Tree>> {
    let word = prop_oneof![
        "[a-z_]{1,8}",
        "\\PC{0,6}",
        prop::collection::vec(
            prop::sample::select(vec![
                'a', ' ', '\\', '"', '\'', '$', '{', '}', '#', ';', '\n', '\t', 'n', 'é'
            ]),
            0..8
        )
        .prop_map(String::from_iter),
    ];
    let words = prop::collection::vec(word, 1..4)
        .prop_filter("include is expanded", |words| words[0] != "include");
    let leaf = words.clone().prop_map(|words| Tree { words, block: None });
    let nested = leaf.prop_recursive(4, 40, 5, move |inner| {
        (words.clone(), prop::collection::vec(inner, 0..5)).prop_map(|(words, block)| Tree {
            words,
            block: Some(block),
        })
    });
    prop::collection::vec(nested, 0..6)
}

proptest! {
    #[test]
    fn what_is_printed_is_what_is_parsed(trees in trees(), styles in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut text = String::new();
        print(&trees, &mut styles.into_iter(), &mut text);
        let (document, diagnostics) = read(text.as_bytes());
        prop_assert!(diagnostics.is_empty(), "{}\n{}", text, diagnostics.render(&document.sources, "x", false));
        let parsed: Vec<Tree> = document.directives.iter().map(tree).collect();
        prop_assert_eq!(parsed, trees);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let (document, diagnostics) = read(&bytes);
        diagnostics.render(&document.sources, "x", false);
    }

    #[test]
    fn no_sequence_of_tokens_makes_it_panic(
        parts in prop::collection::vec(
            prop::sample::select(vec!["a", "\"", "'", "{", "}", ";", "\\", "$", "#", "\n", " ", "include ", "é", "\u{feff}", "\r"]), 0..60)
    ) {
        let (document, diagnostics) = read(parts.concat().as_bytes());
        diagnostics.render(&document.sources, "x", true);
        for directive in &document.directives {
            // Every span lies in the text, on the borders of characters.
            let text = document.sources.text(directive.span.file);
            prop_assert!(text.get(directive.span.start as usize..directive.span.end as usize).is_some());
        }
    }

    #[test]
    fn a_snapshot_survives_encoding(
        files in prop::collection::btree_map("[a-z/]{0,9}", prop::collection::vec(any::<u8>(), 0..50), 0..6),
        globs in prop::collection::btree_map("\\PC{0,9}", prop::collection::vec("[a-z/]{0,9}", 0..4), 0..4),
    ) {
        let mut snapshot = Snapshot::default();
        for (path, bytes) in files {
            snapshot.insert_file(path, bytes);
        }
        for (pattern, paths) in globs {
            snapshot.insert_glob(pattern, paths.into_iter().map(Into::into).collect());
        }
        prop_assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
    }

    #[test]
    fn any_bytes_may_be_decoded(mut bytes in prop::collection::vec(any::<u8>(), 0..100), with_magic: bool) {
        if with_magic {
            bytes.splice(0..0, b"RVLVSNP\x01".iter().copied());
        }
        let _ = Snapshot::decode(&bytes);
    }
}

#[test]
fn spans_point_at_the_words() {
    let (document, _) = read(b"\n  root \"/a b\" ${c}d;\n");
    let directive = &document.directives[0];
    let span = |start, end| Span {
        file: FileId(0),
        start,
        end,
    };
    let word = |text: &str, span, quoted| Word {
        text: text.into(),
        span,
        quoted,
        begins_line: text == "root",
    };
    assert_eq!(directive.name, word("root", span(3, 7), false));
    assert_eq!(directive.args[0], word("/a b", span(8, 14), true));
    assert_eq!(directive.args[1], word("${c}d", span(15, 20), false));
    assert_eq!(directive.span, span(3, 20));
    assert_eq!(document.sources.line(directive.span), 2);
}

#[test]
fn includes_are_expanded_where_they_stand() {
    let mut snapshot = Snapshot::default();
    let files = [
        (
            "/etc/main",
            "a; include 'sub/one'; http { include sub/*.conf; b; } types { include t; }",
        ),
        ("/etc/sub/one", "one;"),
        ("/etc/sub/x.conf", "x; include /abs;"),
        ("/etc/sub/y.conf", "y { z; }"),
        ("/etc/t", "text/html html;"),
        ("/abs", "abs;"),
    ];
    for (path, text) in files {
        snapshot.insert_file(path, text.as_bytes().to_vec());
    }
    snapshot.insert_glob(
        "/etc/sub/*.conf",
        vec!["/etc/sub/x.conf".into(), "/etc/sub/y.conf".into()],
    );
    let mut files = SnapshotFiles::new(snapshot);
    let (document, diagnostics) = parse(Path::new("/etc/main"), Some("g;"), &mut files);
    assert!(diagnostics.is_empty());
    let mut printed = String::new();
    let trees: Vec<Tree> = document.directives.iter().map(tree).collect();
    print(&trees, &mut std::iter::empty(), &mut printed);
    assert_eq!(
        printed,
        "g ;a ;one ;http {x ;abs ;y {z ;}b ;}types {text/html html ;}"
    );
    let read: Vec<_> = document
        .sources
        .iter()
        .map(|(_, source)| source.path().to_owned())
        .collect();
    let expected = [
        "",
        "/etc/main",
        "/etc/sub/one",
        "/etc/sub/x.conf",
        "/abs",
        "/etc/sub/y.conf",
        "/etc/t",
    ];
    assert_eq!(read, expected.map(std::path::PathBuf::from));
}

/// The stock configuration of Debian's `nginx` package, where it is installed.
#[test]
fn the_stock_configuration_of_nginx_is_read() {
    let main = Path::new("/etc/nginx/nginx.conf");
    if !main.exists() {
        eprintln!("skipped: {} is not there", main.display());
        return;
    }
    let mut disk = DiskFiles;
    let mut recorded = Recorded::new(&mut disk);
    let (document, diagnostics) = parse(main, None, &mut recorded);
    assert!(
        !diagnostics.has_errors(),
        "{}",
        diagnostics.render(&document.sources, "x", false)
    );
    let http = document
        .directives
        .iter()
        .find(|it| it.name.text == "http")
        .unwrap();
    let block = http.block.as_ref().unwrap();
    let types = block.iter().find(|it| it.name.text == "types").unwrap();
    let has_html = |it: &Directive| {
        it.name.text == "text/html" && it.args.iter().any(|word| word.text == "html")
    };
    assert!(types.block.as_ref().unwrap().iter().any(has_html));

    let mut replayed = SnapshotFiles::new(recorded.into_snapshot());
    let (again, _) = parse(main, None, &mut replayed);
    assert_eq!(again.directives, document.directives);
}
