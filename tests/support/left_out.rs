//! Tests that this machine cannot run: they are named, and counted at the end.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Where they are written down, one a line; `.ci/run` shows them when all tests have run.
const LIST: &str = "left-out.txt";

/// Says that the test which calls this is left out, and why.
pub(crate) fn left_out(why: &str) {
    let thread = std::thread::current();
    let line = format!("{}: {why}\n", thread.name().unwrap_or("a test"));
    // Not by a macro: what those print is shown of tests that fail alone.
    let _ = std::io::stderr().write_all(format!("left out: {line}").as_bytes());
    let list = Path::new(env!("CARGO_TARGET_TMPDIR")).join(LIST);
    let mut options = OpenOptions::new();
    let opened = options.create(true).append(true).open(list);
    opened
        .and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("the list of tests that are left out");
}
