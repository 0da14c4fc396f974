//! Runs what fuzzing has found, so that `cargo test` alone keeps it found.

mod checks;

use std::path::Path;

fn run(corpus: &str, check: fn(&[u8])) {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let folder = corpora.join(corpus);
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        check(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}

#[test]
fn corpus_of_hellos() {
    run("client_hello", checks::client_hello);
}

#[test]
fn corpus_of_certificates() {
    run("certificates", checks::certificates);
}
