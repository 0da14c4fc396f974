//! nginx and Revolve side by side on one site.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::known::{self, About, Difference, Known};
use super::normal::{Answer, Who, normal};
use super::request::{Case, Request};
use super::site;
use crate::support::{Client, End, Folder, Server, client, nginx, ports, revolve};

/// How many cases are on their way at a time: those that wait for a timeout cost nothing else.
const PARALLEL: usize = 24;

/// How long a connection is looked at that does not end. What is not the same after the first is
/// looked at again for the second: a busy machine is no difference.
const LOOKS: [Duration; 2] = [Duration::from_millis(250), Duration::from_millis(2500)];

/// One of the two.
pub(super) struct Side {
    pub(super) who: Who,
    /// The name of its files.
    pub(super) name: &'static str,
    pub(super) server: Server,
}

/// Both.
pub(super) struct Pair {
    pub(super) folder: Folder,
    pub(super) nginx: Side,
    pub(super) ours: Side,
}

/// Starts both on the site, if nginx is here. `logs` are lines for the `http` block, where `NAME`
/// stands for the server's.
pub(super) fn start(logs: &str) -> Option<Pair> {
    start_on(site::CONFIG, site::write, logs)
}

/// [`start`], on another site: its configuration, as that of the usual one, and who writes its files.
pub(super) fn start_on(config: &str, write: fn(&Folder), logs: &str) -> Option<Pair> {
    if !nginx::is_here() {
        return None;
    }
    let folder = Folder::new();
    write(&folder);
    let root = folder.path().to_str().expect("a path in UTF-8");
    let configure = |name: &str, extra: &str| {
        let port = ports::free();
        let text = config
            .replace("LOGS", logs)
            .replace("NGINX_ONLY", extra)
            .replace("ROOT", root)
            .replace("NAME", name)
            .replace("PORT", &port.to_string());
        folder.write(&format!("{name}.conf"), text);
        port
    };
    let port = configure("nginx", &nginx::private_folders(&folder));
    let nginx = Side {
        who: Who {
            signature: nginx::signature(&folder, "nginx.conf"),
            port,
        },
        name: "nginx",
        server: nginx::start(&folder, "nginx.conf", &[port]),
    };
    let port = configure("revolve", "");
    let mut command = revolve(&folder);
    command.arg("-c").arg("revolve.conf");
    let ours = Side {
        who: Who {
            signature: concat!("revolve/", env!("CARGO_PKG_VERSION")).into(),
            port,
        },
        name: "revolve",
        server: Server::run(&mut command, folder.file("revolve-stderr.txt"), &[port]),
    };
    Some(Pair {
        folder,
        nginx,
        ours,
    })
}

/// Asks one server.
pub(super) fn ask(side: &Side, case: &Case, look: Duration) -> Answer {
    let mut client = Client::connect(side.who.port);
    // A server that refuses a request may close before it has all of it.
    let _ = client.try_send(&case.0);
    let (bytes, end) = client.rest(look);
    // Bytes that were not read any more turn a close into a reset, or not: a matter of luck.
    let end = if end == End::Reset { End::Closed } else { end };
    Answer { bytes, end }
}

/// Sends every case to both servers, and fails if one of the answers is not the same and not
/// known to differ.
pub(super) fn compare(cases: Vec<Case>) {
    compare_all(|_| cases);
}

/// [`compare`], where the cases depend on the servers.
pub(super) fn compare_all(make: impl FnOnce(&Pair) -> Vec<Case>) {
    compare_with("", make);
}

/// [`compare_all`], with more lines in the `http` block.
pub(super) fn compare_with(lines: &str, make: impl FnOnce(&Pair) -> Vec<Case>) {
    let Some(pair) = start(&format!("access_log off; {lines}")) else {
        return;
    };
    let cases = make(&pair);
    let known = known::table();
    let (sender, found) = mpsc::channel();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..PARALLEL {
            let sender = sender.clone();
            scope.spawn(|| {
                let sender = sender;
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Some(difference) = check(&pair, case, &known) {
                        sender.send(difference).expect("somebody collects them");
                    }
                }
            });
        }
    });
    drop(sender);
    let found: Vec<String> = found.iter().collect();
    assert!(
        found.is_empty(),
        "{} of {} answers differ\n\n{}",
        found.len(),
        cases.len(),
        found.join("\n\n")
    );
}

/// [`compare`], for a table of requests.
pub(super) fn compare_requests(requests: impl IntoIterator<Item = Request>) {
    compare(requests.into_iter().map(Case::from).collect());
}

fn check(pair: &Pair, case: &Case, known: &[Known]) -> Option<String> {
    let mut last = None;
    for look in LOOKS {
        let (theirs, ours) = (ask(&pair.nginx, case, look), ask(&pair.ours, case, look));
        // Asked in two different seconds they may tell two different times that are left.
        let is_final =
            theirs.end == End::Closed && ours.end == End::Closed && theirs.date() == ours.date();
        let theirs = normal(&theirs, &pair.nginx.who);
        let ours = normal(&ours, &pair.ours.who);
        let difference = Difference {
            case,
            theirs: &theirs,
            ours: &ours,
        };
        match judge(&difference, known) {
            Ok(()) => return None,
            Err(problem) => last = Some(problem),
        }
        if is_final {
            break;
        }
    }
    last
}

/// Whether two answers are as they should be: the same, or different in the way that is meant.
fn judge(it: &Difference, known: &[Known]) -> Result<(), String> {
    for Known { about, row: why } in known {
        match about {
            About::One(case, _) if case != it.case => {}
            About::One(..) if it.theirs == it.ours => {
                return Err(format!(
                    "{}\nis the same, but known as different: {why}",
                    describe(it)
                ));
            }
            About::One(_, status) if it.ours.starts_with(status) => return Ok(()),
            About::One(_, status) => {
                return Err(format!("{}\nshould begin {status:?}: {why}", describe(it)));
            }
            About::All(differs) if it.theirs != it.ours && differs(it) => return Ok(()),
            About::All(_) => {}
        }
    }
    if it.theirs == it.ours {
        Ok(())
    } else {
        Err(describe(it))
    }
}

pub(super) fn describe(it: &Difference) -> String {
    let Difference { case, theirs, ours } = it;
    let same = theirs
        .bytes()
        .zip(ours.bytes())
        .take_while(|(a, b)| a == b)
        .count();
    let cut = |text: &str| {
        let end = text
            .char_indices()
            .nth(900)
            .map_or(text.len(), |(at, _)| at);
        text[..end].replace('\r', "").replace('\n', "\n    ")
    };
    format!(
        "=== {case}\n  nginx:\n    {}\n  revolve:\n    {}\n  (the same up to byte {same})",
        cut(theirs),
        cut(ours)
    )
}

/// Whether an answer holds a built-in error page, whose length differs with the server's name.
pub(super) fn has_page(answer: &Answer) -> bool {
    client::find(&answer.bytes, b"<head><title>").is_some()
}
