//! What must hold for any bytes. The fuzz target and the test over its corpus call the same
//! function.

use std::path::Path;

use revolve_conf::{Directive, Document, Snapshot, SnapshotFiles, Span, parse};

/// A configuration of one file, which its own `include` may name; and the same bytes as an
/// encoded snapshot.
pub(crate) fn conf(data: &[u8]) {
    let mut snapshot = Snapshot::default();
    snapshot.insert_file("/x", data.to_vec());
    snapshot.insert_glob("/*", vec!["/x".into(), "/y".into()]);
    snapshot.insert_file("/y", b"y { z 1; }\n".to_vec());
    let mut files = SnapshotFiles::new(snapshot);
    let (document, diagnostics) = parse(Path::new("/x"), None, &mut files);
    for directive in &document.directives {
        check_spans(&document, directive);
    }
    for color in [false, true] {
        let shown = diagnostics.render(&document.sources, "x", color);
        assert_eq!(shown.is_empty(), diagnostics.is_empty());
    }
    // The first line of each is one line, whatever stands in the file: tools read it.
    for diagnostic in diagnostics.iter() {
        let headline = diagnostic.headline(&document.sources);
        assert!(!headline.contains(['\n', '\r', '\0']), "{headline:?}");
    }
    if let Ok(snapshot) = Snapshot::decode(data) {
        assert_eq!(Snapshot::decode(&snapshot.encode()), Ok(snapshot));
    }
}

/// Every span lies in its text, on the borders of characters, and holds those of its parts.
fn check_spans(document: &Document, directive: &Directive) {
    let text = |span: Span| {
        let text = document.sources.text(span.file);
        text.get(span.start as usize..span.end as usize)
            .unwrap_or_else(|| panic!("{span:?} is not a part of its text"))
    };
    text(directive.span);
    for word in std::iter::once(&directive.name).chain(&directive.args) {
        assert!(!text(word.span).is_empty(), "{word:?}");
        assert!(directive.span.start <= word.span.start && word.span.end <= directive.span.end);
    }
    for inner in directive.block.iter().flatten() {
        check_spans(document, inner);
    }
}
