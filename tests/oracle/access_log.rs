//! The lines of access logs, in the three ways of escaping.

use std::time::Duration;

use super::normal::Answer;
use super::pair::{Pair, Side, ask, has_page, start};
use super::request::{Case, get, head, method, post, raw};
use crate::support::until;

/// `$body_bytes_sent` comes last: it differs by the length of the name at an error page's foot.
const LOGS: &str = r#"
  log_format plain escape=default '$remote_addr|$remote_user|$request|$status|$http_referer|$http_user_agent|$http_x_foo|$request_length|$connection_requests|$pipe|$server_name|$uri|$sent_http_last_modified|$args|$request_completion|$body_bytes_sent';
  log_format js escape=json '{"r":"$request","u":"$request_uri","h":"$http_x_foo","s":$status,"ru":"$remote_user",$body_bytes_sent';
  log_format none escape=none '$request|$http_x_foo|$remote_user|$status|$body_bytes_sent';
  access_log ROOT/logs/NAME-plain.log plain;
  access_log ROOT/logs/NAME-json.log js;
  access_log ROOT/logs/NAME-none.log none;
  access_log ROOT/logs/NAME-combined.log;
  access_log ROOT/logs/NAME-some.log combined if=$arg_log;
"#;

/// Not among them: a path that is refused. nginx's `$request_uri` is empty then, ours is what was
/// asked for. And a line that is too long: nginx logs its first buffer, we log what came.
fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = [
        "/",
        "/small.txt",
        "/big.bin",
        "/nope",
        "/a",
        "/b/",
        "/exact",
        "/r204",
        "/r301",
        "/r404t",
        "/r418",
        "/r444",
        "/ep/none",
        "/ep200/none",
        "/epx/none",
        "/tf/nope?x=y",
        "/pre/a%20b?c=%22",
        "/ü\"\\x",
        "/small.txt?log=1",
        "/?log=0",
        "/?log=",
        "/n1/n2/",
        "/int",
        "/x.php",
    ]
    .iter()
    .flat_map(|path| [get(*path).into(), head(*path).into()])
    .collect();
    cases.extend(with_lines());
    cases.extend(refused());
    cases
}

/// Requests whose header lines are shown in a log, or decide what is.
fn with_lines() -> Vec<Case> {
    let odd = "q\" b\\ t\tv u\u{fc} d\u{7f} e\u{1b} s/";
    vec![
        get("/exact").line(format!("X-Foo: {odd}")).into(),
        get("/exact")
            .line(format!("User-Agent: {odd}"))
            .line("Referer: http://r/\"")
            .into(),
        get("/exact")
            .line("Authorization: Basic dSJz\u{65}XI6cA==")
            .into(),
        get("/exact").line("X-Foo: -").into(),
        get("/exact").line("X-Foo:").into(),
        get("/exact").http_10().into(),
        get("/small.txt").line("Range: bytes=2-3").into(),
        get("/small.txt").line("Range: bytes=2-3,5-").into(),
        get("/small.txt").line("Range: bytes=99-").into(),
        get("/small.txt").line("If-None-Match: *").into(),
        get("/small.txt").line("If-Match: \"x\"").into(),
        post("/exact", "hello").into(),
        post("/small.txt", "hello").into(),
        post("/small/", "more than ten bytes").into(),
        method("PUT", "/nope").line("Content-Length: 0").into(),
        method("TRACE", "/").into(),
        get("/pre/").host("second.example").into(),
        get("/exact")
            .stay()
            .then(get("/nope").stay())
            .then(get("/small.txt")),
    ]
}

/// Requests without a head that is good and complete.
fn refused() -> Vec<Case> {
    vec![
        raw("GET /small.txt\r\n"),
        get("/exact?").into(),
        get("/tf/none?").into(),
        raw("GET / HTTP/1.1\r\n\r\n"),
        raw("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        raw("GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        raw("G\u{1}T / HTTP/1.1\r\n\r\n"),
        raw("BAD\r\n\r\n"),
        raw(b"\x16\x03\x01\x02\x00\x01\x00"),
        raw("GET /a\"b\\c HTTP/1.1\r\nHost: a b\r\n\r\n"),
        raw(format!(
            "GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
            "a".repeat(9000)
        )),
        raw("GET /exact HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
        raw("GET /cut HTTP/1.1\r\nHo"),
        raw("GET /cut"),
    ]
}

fn lines(pair: &Pair, side: &Side, log: &str) -> Vec<String> {
    let text = pair.folder.read(&format!("logs/{}-{log}.log", side.name));
    text.lines()
        .map(|line| line.replace(&format!(":{}", side.who.port), ":PORT"))
        .collect()
}

/// What two lines may differ in.
struct Slack {
    /// How much longer our body is: the name at the foot of an error page.
    body_bytes: i64,
    /// nginx's `$request_length` leaves out what it never parsed (the rest of a refused head, a
    /// body that it throws away); its documentation says that all of it counts.
    any_length: bool,
    /// nginx counts a request that a filter refuses as incomplete.
    any_completion: bool,
}

/// The fields of the `plain` log whose value may differ.
const REQUEST_LENGTH: usize = 7;
const ARGUMENTS: usize = 13;
const COMPLETION: usize = 14;

/// Whether two lines are the same.
fn is_same(theirs: &str, ours: &str, slack: &Slack) -> bool {
    let split = |line: &str| {
        let at = line.rfind(['|', ',']).map_or(0, |at| at + 1);
        let mut fields: Vec<String> = line[..at].split('|').map(str::to_owned).collect();
        if fields.len() > COMPLETION {
            if slack.any_length {
                fields[REQUEST_LENGTH].clear();
            }
            // Empty arguments are arguments to nginx once `try_files` has looked at them.
            if fields[ARGUMENTS].is_empty() {
                fields[ARGUMENTS].push('-');
            }
            if slack.any_completion {
                fields[COMPLETION].clear();
            }
        }
        (fields, line[at..].parse::<i64>().ok())
    };
    let (theirs, ours) = (split(theirs), split(ours));
    let more = match (theirs.1, ours.1) {
        (Some(theirs), Some(ours)) => ours - theirs,
        _ => return theirs == ours,
    };
    theirs.0 == ours.0 && (more == 0 || more == slack.body_bytes)
}

/// Asks both servers one after the other, and checks the lines that this adds to each log.
fn check(pair: &Pair, case: &Case, seen: &mut usize, problems: &mut Vec<String>) {
    let ask = |side| ask(side, case, Duration::from_secs(4));
    let (theirs, ours): (Answer, Answer) = (ask(&pair.nginx), ask(&pair.ours));
    let names = [&pair.nginx, &pair.ours].map(|side| side.who.signature.len() as i64);
    let is = |status: &str| {
        ours.bytes
            .starts_with(format!("HTTP/1.1 {status}").as_bytes())
    };
    let slack = Slack {
        body_bytes: if has_page(&theirs) {
            names[1] - names[0]
        } else {
            0
        },
        any_length: is("4") || is("5") || ours.bytes.is_empty() || case.0.starts_with(b"POST"),
        any_completion: is("412"),
    };
    until("both have logged as much", || {
        let count = |side| lines(pair, side, "plain").len();
        count(&pair.nginx) == count(&pair.ours)
    });
    for log in ["plain", "json", "none"] {
        let (theirs, ours) = (lines(pair, &pair.nginx, log), lines(pair, &pair.ours, log));
        for (theirs, ours) in theirs.iter().skip(*seen).zip(ours.iter().skip(*seen)) {
            if !is_same(theirs, ours, &slack) {
                problems.push(format!(
                    "=== {case}\n  nginx:   {theirs}\n  revolve: {ours}"
                ));
            }
        }
    }
    *seen = lines(pair, &pair.ours, "plain").len();
}

#[test]
fn access_logs_have_the_lines_of_nginx() {
    let Some(pair) = start(LOGS) else { return };
    let (mut seen, mut problems) = (0, Vec::new());
    let cases = cases();
    for case in &cases {
        check(&pair, case, &mut seen, &mut problems);
    }
    assert!(
        problems.is_empty(),
        "{} lines differ\n{}",
        problems.len(),
        problems.join("\n")
    );
    assert!(seen >= cases.len() - 2, "only {seen} requests were logged");
    the_predefined_format(&pair);
}

/// `combined`, and `if=`: whatever is not empty and not 0 is logged.
fn the_predefined_format(pair: &Pair) {
    for log in ["combined", "some"] {
        let of = |side| -> Vec<String> {
            let shorten = |line: String| {
                let (before, rest) = line.split_once('[').expect("a time");
                let (time, after) = rest.split_once(']').expect("a time");
                assert_eq!(time.len(), "22/Nov/2026:12:44:46 +0000".len(), "{time}");
                let size = after.split(' ').nth_back(2).unwrap_or_default().to_owned();
                let status_is_good = after.contains("\" 200 ") || after.contains("\" 206 ");
                // The sizes of error pages were compared above.
                if status_is_good {
                    before.to_owned() + after
                } else {
                    after.replace(&size, "N")
                }
            };
            lines(pair, side, log).into_iter().map(shorten).collect()
        };
        until("both logs are complete", || {
            lines(pair, &pair.nginx, log).len() == lines(pair, &pair.ours, log).len()
        });
        assert_eq!(of(&pair.nginx), of(&pair.ours));
        assert!(!lines(pair, &pair.ours, log).is_empty());
    }
    assert_eq!(lines(pair, &pair.ours, "some").len(), 2);
}
