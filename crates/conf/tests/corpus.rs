//! Runs what fuzzing has found, so that `cargo test` alone keeps it found.

mod checks;

use std::path::Path;

#[test]
fn corpus_of_configurations() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/conf");
    let mut files = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is in the repository") {
        checks::conf(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
        files += 1;
    }
    assert!(files > 0, "{} is empty", folder.display());
}
