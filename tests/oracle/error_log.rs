//! The lines of the error log: what is worth one, at which level, and with which words.

use std::time::Duration;

use super::pair::{Pair, Side, ask, start};
use super::request::{Case, get, method, post, raw};
use crate::support::until;
use crate::support::wait::comes;

fn cases() -> Vec<Case> {
    let long = "a".repeat(9000);
    let mut cases: Vec<Case> = [
        "/nope",
        "/nope/",
        "/b/",
        "/a/nope",
        "/small.txt/x",
        "/alias/nope",
        "/ep/none",
        "/epmiss/x",
        "/eploop/x",
        "/ralias/nope",
        "/idxhtm/b/",
        "/idxhtm/nope/",
        "/aliasf/",
        "/epforever/x",
        "/x.php",
        "/%00",
        "/..",
        "/%zz",
    ]
    .map(|path| get(path).into())
    .to_vec();
    cases.extend([
        post("/small/", "more than ten bytes").into(),
        method("TRACE", "/").into(),
        get("/nope").line("Referer: http://r/x").into(),
        get("/nope").host("second.example:80").into(),
        get("/nope").http_10().no_host().into(),
        raw("BAD\r\n\r\n"),
        raw("get / HTTP/1.1\r\n\r\n"),
        raw("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        raw("GET / HTTP/1.x\r\n\r\n"),
        raw("GET / HTTP/1.1\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nA@B: x\r\nConnection: close\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nA_B: x\r\nConnection: close\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
        raw("GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"),
        raw("POST /exact HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        raw("POST /exact\r\n\r\n"),
        raw(format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n")),
        raw(format!("GET / HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n")),
        raw("GET / HTTP/1.1\r\nHost: second.example\r\nA@B: x\r\nhost:  b\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: second.example\r\nIf-Match: a\r\nIF-Match:b\r\n\r\n"),
        raw("GET /exact HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/x\r\n\r\n"),
        raw("GET /exact HTTP/1.1\r\nHost: a\r\n\r\nGET /%00 HTTP/1.1\r\nHost: a\r\n\r\n"),
        raw("GET /cut HTTP/1.1\r\nHo"),
        raw("GET /cut"),
    ]);
    cases
}

/// The lines of a log without time, process and connection, and without those that are about
/// connections and processes rather than requests.
fn lines(pair: &Pair, side: &Side) -> Vec<String> {
    let text = pair.folder.read(&format!("logs/{}-error.log", side.name));
    let shorten = |line: &str| {
        let (_, rest) = line.split_once(" [")?;
        let (level, rest) = rest.split_once("] ")?;
        let (_, rest) = rest.split_once(": ")?;
        let (_, message) = rest.strip_prefix('*')?.split_once(' ')?;
        let message = message.replace(&format!(":{}", side.who.port), ":PORT");
        // The C library that the newest nginx was built with has another word for it.
        let message = message.replace("(110: Operation timed out)", "(110: Connection timed out)");
        // Which lines of an incomplete head were taken is not the point.
        let (message, _) = match message.contains(" while reading client ") {
            true => message.split_once(", host: ").unwrap_or((&message, "")),
            false => (message.as_str(), ""),
        };
        // nginx cuts a line at 2,048 bytes, we cut what a client sent in it.
        let message: String = message.chars().take(1000).collect();
        let is_noise = message.contains("keepalive connection");
        (!is_noise).then(|| format!("[{level}] {message}"))
    };
    text.lines().filter_map(shorten).collect()
}

#[test]
fn error_logs_have_the_lines_of_nginx() {
    compare_lines("", cases());
}

/// Sends each case to both servers, with more lines in the `http` block, and fails if one of them logs
/// something else than the other.
#[track_caller]
pub(super) fn compare_lines(http: &str, cases: Vec<Case>) {
    let Some(pair) = start(&format!("access_log off; {http}")) else {
        return;
    };
    let count = cases.len();
    let mut problems = Vec::new();
    let (mut seen_theirs, mut seen_ours) = (0, 0);
    for (number, case) in cases.into_iter().enumerate() {
        // A case may have no line. This one has, and comes after those of the case.
        let last = format!("/last-{number}-of-all");
        for side in [&pair.nginx, &pair.ours] {
            ask(side, &case, Duration::from_secs(4));
            ask(side, &get(last.clone()).into(), Duration::from_secs(4));
        }
        let has_last = |lines: &[String]| lines.iter().any(|line| line.contains(&last));
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        // A connection that lingers has its last line later.
        let is_same = comes(|| {
            (theirs, ours) = (lines(&pair, &pair.nginx), lines(&pair, &pair.ours));
            has_last(&theirs) && has_last(&ours) && theirs[seen_theirs..] == ours[seen_ours..]
        });
        if !is_same {
            let (theirs, ours) = (&theirs[seen_theirs..], &ours[seen_ours..]);
            problems.push(format!(
                "=== {case}\n  nginx:   {theirs:#?}\n  revolve: {ours:#?}"
            ));
        }
        (seen_theirs, seen_ours) = (theirs.len(), ours.len());
    }
    assert!(
        problems.is_empty(),
        "{} differ\n{}",
        problems.len(),
        problems.join("\n")
    );
    until("something was logged", || seen_ours > count);
}

/// A log in each context, and levels: a level with a log of its own writes to that alone.
const CONTEXTS: &str = r#"
  access_log off;
  error_log ROOT/logs/NAME-http.log error;
  error_log ROOT/logs/NAME-http-info.log info;
  server {
    listen 127.0.0.1:PORT;
    server_name own.example;
    root ROOT/html;
    error_log ROOT/logs/NAME-server.log;
    location /inherits/ {}
    location /own/ { error_log ROOT/logs/NAME-location.log error; }
    location /quiet/ { error_log ROOT/logs/NAME-location.log crit; }
    location /both/ { error_log ROOT/logs/NAME-location.log; error_log ROOT/logs/NAME-http.log; }
  }
  server { listen 127.0.0.1:PORT; server_name none.example; root ROOT/html; }
"#;

#[test]
fn error_logs_of_every_context_have_the_lines_of_nginx() {
    let Some(pair) = start(CONTEXTS) else { return };
    for path in ["/inherits/x", "/own/x", "/quiet/x", "/both/x", "/x"] {
        for host in ["own.example", "none.example"] {
            for side in [&pair.nginx, &pair.ours] {
                ask(side, &get(path).host(host).into(), Duration::from_secs(4));
            }
        }
    }
    for (log, at_least) in [
        ("http", 5),
        ("http-info", 5),
        ("server", 2),
        ("location", 2),
    ] {
        let of = |side: &Side| -> Vec<String> {
            let text = pair.folder.read(&format!("logs/{}-{log}.log", side.name));
            let message = |line: &str| Some(line.split_once(" open() ")?.1.to_owned());
            text.lines().filter_map(message).collect()
        };
        until("both have logged as much", || {
            let ours = of(&pair.ours).len();
            ours >= at_least && ours == of(&pair.nginx).len()
        });
        assert_eq!(of(&pair.nginx), of(&pair.ours), "{log}");
    }
}
