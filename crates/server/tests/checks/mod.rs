//! What must hold for any bytes. The fuzz target and the test over its corpus call the same
//! function.

use std::net::Ipv4Addr;
use std::path::Path;

use revolve_conf::{Directive, Files, Snapshot, SnapshotFiles};
use revolve_server::regex::{Groups, Pattern};
use revolve_server::{Prefix, load, log};

/// Any bytes as a configuration: there is one, or there are errors that can be shown; and the
/// same bytes give the same answer again.
pub(crate) fn server_config(data: &[u8]) {
    let mut snapshot = Snapshot::default();
    snapshot.insert_file("/x", data.to_vec());
    snapshot.insert_glob("/*", vec!["/x".into(), "/mime.types".into()]);
    snapshot.insert_file("/mime.types", b"types { text/html html; }\n".to_vec());
    let mut files = SnapshotFiles::new(snapshot);
    let (document, _) = revolve_conf::parse(Path::new("/x"), None, &mut files);
    if document.directives.iter().any(asks_the_resolver) {
        return;
    }
    let (listens, shown) = read(&mut files);
    let (again, shown_again) = read(&mut files);
    assert_eq!((&listens, &shown), (&again, &shown_again));
    assert!(listens.is_some() || shown.contains("[emerg]"), "{shown}");
}

/// Any bytes as a pattern in the first line and a path in the rest: there is a reason why it is none, or
/// what it captures lies in the path, in the order that groups have.
pub(crate) fn pattern(data: &[u8]) {
    let (source, path) = match data.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&data[..end], &data[end + 1..]),
        None => (data, &b"/"[..]),
    };
    let Ok(source) = std::str::from_utf8(source) else {
        return;
    };
    for ignore_case in [false, true] {
        let pattern = match Pattern::new(source, ignore_case) {
            Ok(pattern) => pattern,
            Err(why) => return assert!(!why.is_empty()),
        };
        let mut groups = Groups::new();
        let is_met = pattern.captures(path, &mut groups);
        assert!(is_met == Ok(true) || groups.is_empty());
        for (from, to) in groups.iter().flatten() {
            assert!(from <= to && *to as usize <= path.len(), "{groups:?}");
        }
    }
}

/// Builds the configuration; the answer is where it would listen, and what is said of it.
fn read(files: &mut dyn Files) -> (Option<Vec<String>>, String) {
    let prefix = Prefix {
        prefix: "/no/such/folder".into(),
        error_log: log::file::STDERR.into(),
        access_log: None,
    };
    let (config, sources, diagnostics) = load(Path::new("/x"), &prefix, None, files);
    let shown = diagnostics.render(&sources, "x", false);
    assert_eq!(config.is_none(), diagnostics.has_errors());
    let listens = config.map(|config| {
        let listens = config.listens().map(|spec| spec.id.to_string());
        listens.collect()
    });
    (listens, shown)
}

/// Whether a `listen` or a syslog server names a host: then the answer is the network's, and slow.
fn asks_the_resolver(directive: &Directive) -> bool {
    let inside = directive.block.iter().flatten();
    let is_host = |text: &str| {
        let host = text.split(':').next().unwrap_or_default();
        let is_literal = text.starts_with('[') || ["unix", "*", ""].contains(&host);
        let is_number = host.bytes().all(|byte| byte.is_ascii_digit());
        !(is_literal || is_number || host.parse::<Ipv4Addr>().is_ok())
    };
    let first = directive.args.first().map(|word| word.text.as_str());
    let mut named: Vec<&str> = Vec::new();
    match directive.name.text.as_str() {
        "listen" => named.extend(first),
        "access_log" | "error_log" => {
            let parameters = first.and_then(|text| text.strip_prefix("syslog:"));
            let each = parameters.into_iter().flat_map(|all| all.split(','));
            named.extend(each.filter_map(|one| one.strip_prefix("server=")));
        }
        _ => {}
    }
    named.into_iter().any(is_host) || inside.into_iter().any(asks_the_resolver)
}
