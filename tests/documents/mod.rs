//! What goes with the program: its documents lead somewhere, those of a package too, and the example
//! site says what the library is today.

mod examples;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::Run;

fn sources() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().expect("the sources")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The documents that lie in a folder.
fn documents(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    let paths = entries.map(|entry| entry.path());
    let mut found: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "md"))
        .collect();
    found.sort();
    found
}

/// Where the links of a document lead.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let ends = text.split("](").skip(1);
    ends.filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
}

/// The names by which a document's headings can be reached, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |line: &str| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = |it: &char| it.is_alphanumeric() || [' ', '-', '_'].contains(it);
        let title: String = title.chars().filter(kept).collect();
        title.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The links of these documents that lead nowhere.
fn dead_links(documents: &[PathBuf]) -> Vec<String> {
    let mut dead = Vec::new();
    for document in documents {
        let text = read(document);
        for link in links(&text).filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(path)
            };
            let leads = target.exists()
                && (anchor.is_empty() || anchors(&read(&target)).iter().any(|it| it == anchor));
            if !leads {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    dead
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let sources = sources();
    let mut all = documents(&sources);
    all.extend(documents(&sources.join("docs")));
    assert!(all.len() > 10, "{all:?}");
    assert_eq!(dead_links(&all), [""; 0]);
}

#[test]
fn a_package_has_its_documents_and_both_licences() {
    let tree = tempfile::tempdir().expect("a folder");
    let run = Run::of(Command::new(sources().join("packaging/install-docs")).arg(tree.path()));
    assert_eq!((run.err.as_str(), run.code), ("", 0));
    let doc = tree.path().join("usr/share/doc/revolve");
    let mut all = documents(&doc);
    all.extend(documents(&doc.join("docs")));
    for name in [
        "configuration",
        "control",
        "logging",
        "operations",
        "packaging",
        "zones",
    ] {
        assert!(all.contains(&doc.join(format!("docs/{name}.md"))), "{name}");
    }
    assert_eq!(dead_links(&all), [""; 0]);
    let copyright = read(&doc.join("copyright"));
    for words in [
        "License: MIT or Apache-2.0\n",
        "License: MIT\n Permission",
        "License: Apache-2.0\n",
    ] {
        assert!(copyright.contains(words), "{copyright}");
    }
}

/// The text of a page without its tags.
fn plain(html: &str) -> String {
    let mut text = String::new();
    for piece in html.split('<') {
        text.push_str(piece.split_once('>').map_or(piece, |(_, rest)| rest));
    }
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&amp;", "&")
}

#[test]
fn the_example_site_shows_the_library_of_today() {
    let sources = sources();
    let readme = read(&sources.join("README.md"));
    // This one is compiled with the tests of the reactor.
    let (_, code) = readme.split_once("```rust,no_run\n").expect("an example");
    let (code, _) = code.split_once("```").expect("its end");
    let site = sources.join("examples/site");
    let page = plain(&read(&site.join("rust/index.html")));
    assert!(page.contains(code.trim_end()), "{page}");
    let parts = plain(&read(&site.join("how-it-works/index.html")));
    let crates = std::fs::read_dir(sources.join("crates")).expect("crates");
    for name in crates.flatten() {
        let manifest = read(&name.path().join("Cargo.toml"));
        let line = manifest.lines().find(|line| line.starts_with("name = "));
        let name = line
            .and_then(|line| line.split('"').nth(1))
            .expect("a name");
        assert!(parts.contains(name), "{name}");
    }
}
