//! Answers made of slices: what the client gets, and what the upstream is asked for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::known::Difference;
use super::normal::normal;
use super::pair::{Pair, ask, describe, start_on};
use super::request::{Case, get, head};
use super::site;
use crate::support::{Upstream, until};

const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid ROOT/NAME.pid;
error_log ROOT/logs/NAME-error.log error;
user root;
events {}
http {
  NGINX_ONLY
  LOGS
  access_log off;
  proxy_cache_path ROOT/cache-NAME keys_zone=cache:1m;
  server {
    listen 127.0.0.1:PORT;
    server_name first.example;
    slice 10;
    proxy_set_header Range $slice_range;
    proxy_set_header X-Who NAME;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    location / { proxy_pass http://UPSTREAM; }
    location /cached/ {
      proxy_cache cache;
      proxy_cache_key $uri$is_args$args$slice_range;
      proxy_cache_valid 200 206 1h;
      proxy_pass http://UPSTREAM/;
    }
    location /rewritten/ { rewrite ^/rewritten(/.*)$ $1 break; proxy_pass http://UPSTREAM; }
    location /large/ { slice 1k; proxy_pass http://UPSTREAM/; }
    location /off/ { slice 0; proxy_pass http://UPSTREAM/; }
    location /unused/ { proxy_set_header Range ""; proxy_pass http://UPSTREAM/; }
  }
}
"#;

/// The bytes of a file.
fn content(len: usize) -> Vec<u8> {
    (0..len).map(|at| b'a' + (at % 26) as u8).collect()
}

/// What the upstream answers to `GET /NAME` with a range.
fn answer(head: &str) -> Vec<u8> {
    let target = head
        .split(' ')
        .nth(1)
        .unwrap_or_default()
        .trim_start_matches('/');
    let name = target.split('?').next().unwrap_or_default();
    let range = head
        .lines()
        .find_map(|line| line.strip_prefix("Range: bytes="));
    let len = name
        .split('-')
        .next_back()
        .and_then(|len| len.parse().ok())
        .unwrap_or(35_usize);
    let whole = content(len);
    let is_head = head.starts_with("HEAD");
    let say = |status: &str, headers: String, body: &[u8]| {
        let len = body.len();
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/x\r\n{headers}Content-Length: {len}\r\n\r\n"
        );
        match is_head {
            true => head.into_bytes(),
            false => [head.as_bytes(), body].concat(),
        }
    };
    let Some((first, last)) = range.and_then(|range| range.split_once('-')) else {
        return say("200 OK", "ETag: \"whole\"\r\n".into(), &whole);
    };
    let first: usize = first.parse().unwrap_or(0);
    let last: usize = last
        .parse::<usize>()
        .unwrap_or(usize::MAX)
        .min(len.saturating_sub(1));
    if name.starts_with("plain") || (name.starts_with("laterplain") && first > 0) {
        return say("200 OK", "Accept-Ranges: bytes\r\n".into(), &whole);
    }
    if first >= len {
        return say(
            "416 Requested Range Not Satisfiable",
            format!("Content-Range: bytes */{len}\r\n"),
            b"none",
        );
    }
    let tag = match name {
        name if name.starts_with("notag") => String::new(),
        name if name.starts_with("changes") => format!("ETag: \"{first}\"\r\n"),
        name if name.starts_with("latetag") && first == 0 => String::new(),
        _ => "ETag: \"same\"\r\nLast-Modified: Mon, 28 Sep 1970 06:00:00 GMT\r\n".into(),
    };
    let said = match name {
        name if name.starts_with("nolength") => format!("bytes {first}-{last}/*"),
        name if name.starts_with("wrong") => format!("bytes {}-{last}/{len}", first + 1),
        name if name.starts_with("norange") => String::new(),
        name if name.starts_with("odd") => format!("bytes  {first} - {last} / {len} "),
        name if name.starts_with("bad") => format!("bytes {first}-{last}/{len}x"),
        name if name.starts_with("late") && first > 0 && !name.starts_with("latetag") => {
            "bytes x".into()
        }
        _ => format!("bytes {first}-{last}/{len}"),
    };
    let said = match said.is_empty() {
        true => said,
        false => format!("Content-Range: {said}\r\n"),
    };
    let headers = format!("{tag}{said}Accept-Ranges: bytes\r\n");
    say("206 Partial Content", headers, &whole[first..=last])
}

const RANGES: [&str; 16] = [
    "",
    "0-4",
    "5-14",
    "12-",
    "20-29",
    "30-",
    "-5",
    "34-40",
    "35-",
    "99-",
    "0-1,3-4",
    "11-12,3-4",
    "x",
    "-",
    "3-2",
    " 12-14",
];

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for name in [
        "file-35", "file-30", "file-10", "file-9", "file-1", "file-100",
    ] {
        for folder in ["", "cached/", "rewritten/", "large/"] {
            for range in RANGES {
                let request = get(format!("/{folder}{name}?x=y"));
                let request = match range {
                    "" => request,
                    range => request.line(format!("Range: bytes={range}")),
                };
                cases.push(request.into());
            }
        }
    }
    let names = "plain laterplain notag changes latetag nolength wrong norange odd bad late";
    for name in names.split(' ') {
        cases.push(get(format!("/{name}-35")).into());
        let range = "Range: bytes=12-14";
        cases.push(get(format!("/{name}-35")).line(range).into());
        cases.push(get(format!("/cached/{name}-35")).into());
        cases.push(get(format!("/cached/{name}-35")).into());
    }
    for path in [
        "/file-35",
        "/cached/file-35",
        "/off/file-35",
        "/unused/file-35",
    ] {
        let part = get(path).line("Range: bytes=12-14");
        let tag = "If-None-Match: \"same\"";
        let since = "If-Modified-Since: Mon, 28 Sep 1970 06:00:00 GMT";
        cases.push(head(path).into());
        cases.push(part.clone().line("If-Range: \"same\"").into());
        cases.push(part.clone().line("If-Range: \"other\"").into());
        cases.push(part.line(tag).into());
        cases.push(get(path).line(tag).into());
        cases.push(get(path).line("If-Match: \"other\"").into());
        cases.push(get(path).line(since).into());
        cases.push(get(path).http_10().into());
    }
    cases
}

/// Whether both give up, in the way that is theirs: where a later slice is none, nginx drops what it holds
/// back of those before, and here that is the client's; and what is refused as a slice is kept all the same,
/// as what the upstream has answered.
fn both_give_up(theirs: &str, ours: &str) -> bool {
    let is_broken_off = ours.contains("\r\n\r\nabcdefghij\n[Closed]");
    theirs.starts_with("\n[Closed]") && (is_broken_off || ours.starts_with("\n[Closed]"))
}

/// What the error log says of slices, but for what follows from that.
fn log(pair: &Pair, name: &str) -> Vec<String> {
    let text = pair.folder.read(&format!("logs/{name}-error.log"));
    let said = |line: &str| {
        let (_, said) = line.split_once(" *")?;
        let (_, said) = said.split_once(' ')?;
        // What was expected is said since 1.23.
        let ends = [" while ", ", expected: ", ", client: "];
        let cut = |said: &str, end| said.split(end).next().unwrap_or_default().to_owned();
        Some(
            ends.into_iter()
                .fold(said.to_owned(), |said, end| cut(&said, end)),
        )
    };
    let lines = text.lines().filter_map(said);
    lines
        .filter(|it| !it.starts_with("unexpected status code"))
        .collect()
}

type Asked = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// Answers slices, and notes who has asked for what.
fn upstream(asked: &Asked) -> Upstream {
    let asked = asked.clone();
    Upstream::start(move |mut client, _| {
        while let Some(head) = client.try_head() {
            let value = |name: &str| head.lines().find_map(|it| it.strip_prefix(name));
            let first = head.lines().next().unwrap_or_default();
            let line = format!("{first} {}", value("Range: ").unwrap_or("-"));
            let who = value("X-Who: ").unwrap_or("-").to_owned();
            asked.lock().unwrap().entry(who).or_default().push(line);
            client.say(answer(&head));
        }
    })
}

#[test]
fn answers_are_made_of_slices_as_by_nginx() {
    let asked = Asked::default();
    let upstream = upstream(&asked);
    let config = CONFIG.replace("UPSTREAM", &upstream.address.to_string());
    let Some(pair) = start_on(&config, site::write, "") else {
        return;
    };
    let cases = cases();
    let mut problems = Vec::new();
    for case in &cases {
        let [theirs, ours] = [&pair.nginx, &pair.ours].map(|side| {
            let answer = normal(&ask(side, case, Duration::from_secs(4)), &side.who);
            let asked = asked.lock().unwrap().remove(side.name).unwrap_or_default();
            format!("{answer}\n{}", asked.join("\n"))
        });
        if theirs != ours && !both_give_up(&theirs, &ours) {
            let (theirs, ours) = (&theirs, &ours);
            problems.push(describe(&Difference { case, theirs, ours }));
        }
    }
    let text = problems.iter().take(12).cloned().collect::<Vec<_>>();
    let (count, text) = (problems.len(), text.join("\n\n"));
    assert!(count == 0, "{count} of {}\n{text}", cases.len());
    let theirs = log(&pair, "nginx");
    until("as many lines", || {
        log(&pair, "revolve").len() >= theirs.len()
    });
    assert_eq!(theirs, log(&pair, "revolve"));
}
