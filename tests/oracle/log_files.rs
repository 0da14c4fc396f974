//! What is in the files of logs that are held back, compressed, or named by the request.

use std::io::Read;
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use rustix::process::Signal;

use super::pair::{Pair, Side, ask, start};
use super::request::{Case, get};
use crate::support::until;

const LOGS: &str = r#"
  log_format tiny '$request_method $status $arg_n';
  access_log ROOT/logs/NAME-flushed.log tiny buffer=200 flush=300ms;
  access_log ROOT/logs/NAME-held.log tiny buffer=200;
  access_log ROOT/logs/NAME-level.log.gz tiny gzip=6 buffer=1k flush=300ms;
  access_log ROOT/logs/NAME-plain.log.gz tiny gzip;
  access_log ROOT/logs/NAME-by-$arg_to.log tiny;
"#;

/// Requests whose log is one of several files, or none at all.
fn cases() -> Vec<Case> {
    let paths = [
        "/exact?to=a",
        "/nope?to=a",
        "/exact?to=b",
        "/exact",
        "/r444?to=a",
        // No such folder, no such root, a root that is a file.
        "/exact?to=no/such",
        "/rootvar/x?r=none&to=no-root",
        "/rootvar/x?r=html/small.txt&to=no-root",
        "/rootvar/small.txt?r=html&to=root",
        "/aliasf?to=file",
        "/alias/index.html?to=alias",
        "/b/?to=a",
    ];
    (0..60)
        .map(|number| {
            let path = paths[number % paths.len()];
            let mark = if path.contains('?') { '&' } else { '?' };
            get(format!("{path}{mark}n={number}")).into()
        })
        .collect()
}

/// The lines of a log; of one that is compressed, what is whole of it.
fn text(pair: &Pair, side: &Side, log: &str) -> String {
    let name = format!("logs/{}-{log}", side.name);
    if !log.ends_with(".gz") {
        return pair.folder.read(&name);
    }
    let bytes = std::fs::read(pair.folder.file(&name)).unwrap_or_default();
    let mut text = String::new();
    if bytes.is_empty() {
        return text;
    }
    let whole = MultiGzDecoder::new(bytes.as_slice()).read_to_string(&mut text);
    whole.expect("the file is made of whole blocks");
    text
}

/// The files that were named by requests.
fn by_path(pair: &Pair, side: &Side) -> Vec<(String, String)> {
    let beginning = format!("{}-by-", side.name);
    let entries = std::fs::read_dir(pair.folder.file("logs")).expect("a folder");
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut files: Vec<(String, String)> = names
        .filter_map(|name| {
            let rest = name.strip_prefix(&beginning)?;
            Some((rest.to_owned(), pair.folder.read(&format!("logs/{name}"))))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn files_of_logs_have_the_lines_of_nginx() {
    let Some(mut pair) = start(LOGS) else { return };
    // Logs that are named by requests are the worker's own.
    pair.folder.set_mode("logs", 0o777);
    let cases = cases();
    for case in &cases {
        for side in [&pair.nginx, &pair.ours] {
            ask(side, case, Duration::from_secs(4));
        }
    }
    for log in ["flushed.log", "level.log.gz"] {
        until("what was held back is written in time", || {
            let lines = |side| text(&pair, side, log).lines().count();
            lines(&pair.nginx) == cases.len() && lines(&pair.ours) == cases.len()
        });
    }
    let held = text(&pair, &pair.ours, "held.log");
    assert!(
        held.ends_with('\n') && !held.len().is_multiple_of(200),
        "{held:?}"
    );
    assert!(held.lines().count() < cases.len(), "{held}");
    assert_eq!(text(&pair, &pair.ours, "plain.log.gz"), "");
    for side in [&mut pair.nginx, &mut pair.ours] {
        side.server.signal(Signal::QUIT);
        assert!(side.server.wait().success());
    }
    for log in ["flushed.log", "held.log", "level.log.gz", "plain.log.gz"] {
        let (theirs, ours) = (text(&pair, &pair.nginx, log), text(&pair, &pair.ours, log));
        assert_eq!(theirs, ours, "{log}");
        assert_eq!(ours.lines().count(), cases.len(), "{log}");
    }
    let (theirs, ours) = (by_path(&pair, &pair.nginx), by_path(&pair, &pair.ours));
    assert_eq!(theirs, ours);
    let names: Vec<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            ".log",
            "a.log",
            "alias.log",
            "b.log",
            "file.log",
            "root.log"
        ]
    );
}
