//! What upstreams have answered: kept, answered with, renewed, and taken away.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use super::Site;
use crate::support::{Client, Folder, Response, Upstream, until};

/// An upstream that counts its answers: each is what `answer` makes of the request's head and of its number
/// among those to the same target.
fn counting(
    answer: impl Fn(&str, usize) -> String + Send + Sync + 'static,
) -> (Upstream, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, answer) = (count.clone(), Arc::new(answer));
    let seen = Arc::new(std::sync::Mutex::new(std::collections::HashMap::<
        String,
        usize,
    >::new()));
    let upstream = Upstream::start(move |mut asked, heads| {
        while let Some(head) = asked.try_head() {
            counted.fetch_add(1, Ordering::SeqCst);
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let number = {
                let mut seen = seen.lock().unwrap();
                let number = seen.entry(target).or_default();
                *number += 1;
                *number
            };
            let answered = answer(&head, number);
            let _ = heads.send(head);
            asked.say(answered);
        }
    });
    (upstream, count)
}

fn ok(headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A site whose cache lies in `cache` of its folder, which its workers may write to.
fn site(http: &str, server: &str) -> Site {
    let folder = Folder::new();
    folder.make("html");
    folder.make("cache");
    folder.set_mode("cache", 0o777);
    let http = format!(
        "proxy_cache_path {}/cache levels=1:2 keys_zone=X:1m {http}
         add_header X-Cache $upstream_cache_status always;",
        folder.path().display()
    );
    Site::serve(folder, &http, server)
}

fn ask(port: u16, path: &str, headers: &str) -> Response {
    let mut client = Client::connect(port);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n"));
    client.response()
}

/// `$upstream_cache_status` and the body.
fn state(port: u16, path: &str, headers: &str) -> String {
    let response = ask(port, path, headers);
    let status = response.header("x-cache").unwrap_or("-").to_owned();
    format!("{status} {}", response.text())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|it| it.is_dir()) {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

fn answers(site: &Site) -> usize {
    let files = files(&site.folder.file("cache"));
    files
        .iter()
        .filter(|it| it.extension().is_some_and(|it| it == "answer"))
        .count()
}

#[test]
fn answers_are_kept_and_outlive_the_server() {
    let (upstream, count) = counting(|head, number| match head.contains("/private") {
        true => ok("Cache-Control: private\r\n", &format!("{number}")),
        false => ok("ETag: \"x\"\r\n", &format!("answer {number}")),
    });
    let to = upstream.address;
    let server = format!(
        "proxy_cache X; proxy_cache_valid 200 10m; proxy_cache_key $request_uri;
         location / {{ proxy_pass http://{to}; proxy_cache_bypass $http_pragma; proxy_no_cache $arg_not; }}
         location /off {{ proxy_cache off; proxy_pass http://{to}; }}"
    );
    let site = site(";", &server);
    let port = site.port;
    assert_eq!(state(port, "/a", ""), "MISS answer 1");
    assert_eq!(state(port, "/a", ""), "HIT answer 1");
    assert_eq!(state(port, "/a", "Pragma: x\r\n"), "BYPASS answer 2");
    assert_eq!(state(port, "/a", ""), "HIT answer 2");
    let ranged = ask(port, "/a", "Range: bytes=7-\r\n");
    assert_eq!((ranged.status, ranged.text().as_str()), (206, "2"));
    assert_eq!(ask(port, "/a", "If-None-Match: \"x\"\r\n").status, 304);
    let mut client = Client::connect(port);
    client.send("HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    client.head("200");
    assert_eq!(count.load(Ordering::SeqCst), 2);
    // What a client has already is not asked for in its name, as others will want the whole.
    ask(
        port,
        "/b",
        "If-None-Match: \"x\"\r\nRange: bytes=0-0\r\nX-Kept: 1\r\n",
    );
    let [_, _, head] = [(); 3].map(|()| upstream.seen());
    assert!(
        head.contains("X-Kept") && !head.contains("Range") && !head.contains("None-Match"),
        "{head}"
    );
    for path in ["/private", "/off", "/c?not=1"] {
        ask(port, path, "");
        assert!(!state(port, path, "").starts_with("HIT"), "{path}");
    }
    assert_eq!(answers(&site), 2);
    let Site { folder, server, .. } = site;
    drop(server);
    let http = format!(
        "proxy_cache_path {}/cache levels=1:2 keys_zone=X:1m;
         add_header X-Cache $upstream_cache_status;",
        folder.path().display()
    );
    let site = Site::serve(
        folder,
        &http,
        &format!(
            "proxy_cache X; proxy_cache_key $request_uri; location / {{ proxy_pass http://{to}; }}"
        ),
    );
    assert_eq!(state(site.port, "/a", ""), "HIT answer 2");
}

#[test]
fn large_answers_come_from_their_file_and_clients_that_leave_spoil_nothing() {
    let large = "0123456789abcdef".repeat(200_000);
    let body = large.clone();
    let (upstream, count) = counting(move |head, _| match head.contains("/chunks") {
        false => ok("", &body),
        true => format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        ),
    });
    let to = upstream.address;
    let site = site(
        ";",
        &format!("location / {{ proxy_pass http://{to}; proxy_cache X; proxy_cache_valid 10m; }}"),
    );
    for path in ["/length", "/chunks"] {
        let mut client = Client::connect(site.port);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.read_head();
        drop(client);
        until("the answer is kept", || {
            state(site.port, path, "") == format!("HIT {large}")
        });
        let part = ask(site.port, path, "Range: bytes=3199990-\r\n");
        assert_eq!((part.status, part.text().as_str()), (206, "6789abcdef"));
    }
    assert!(count.load(Ordering::SeqCst) >= 2);
}

#[test]
fn answers_that_break_off_or_cannot_be_written_are_not_kept() {
    let cut = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf");
    });
    let (upstream, _) = counting(|_, number| ok("", &format!("{number}")));
    let folder = Folder::new();
    folder.make("html");
    folder.make("cache");
    folder.set_mode("cache", 0o777);
    let http = format!(
        "proxy_cache_path {}/cache keys_zone=X:1m; proxy_cache_path /proc/none keys_zone=Y:1m;
         proxy_cache_valid 10m; add_header X-Cache $upstream_cache_status;",
        folder.path().display()
    );
    let site = Site::serve(
        folder,
        &http,
        &format!(
            "location / {{ proxy_pass http://{}; proxy_cache X; }}
         location /lost {{ proxy_pass http://{}; proxy_cache Y; proxy_cache_lock on; }}",
            cut.address, upstream.address
        ),
    );
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.try_response().is_err());
    until("nothing is left of it", || {
        let left = files(&site.folder.file("cache"));
        left.iter().all(|it| it.ends_with(".manager"))
    });
    assert_eq!(state(site.port, "/lost", ""), "MISS 1");
    assert_eq!(state(site.port, "/lost", ""), "MISS 2");
    until("why is logged", || {
        site.folder
            .read("logs/error.log")
            .contains("writing a cached answer in \"/proc/none\" failed")
    });
}

#[test]
fn answers_differ_by_what_vary_names() {
    let (upstream, count) = counting(|head, number| {
        let vary = if head.contains("/all") {
            "*"
        } else {
            "Accept-Language"
        };
        ok(
            &format!("Vary: {vary}\r\nCache-Control: max-age=60\r\n"),
            &format!("{number}"),
        )
    });
    let to = upstream.address;
    let site = site(
        ";",
        &format!(
            "location / {{ proxy_pass http://{to}; proxy_cache X; proxy_cache_purge $arg_purge;
                       proxy_cache_key $uri; }}"
        ),
    );
    let port = site.port;
    let (de, en) = ("Accept-Language: de\r\n", "Accept-Language: en\r\n");
    assert_eq!(state(port, "/", de), "MISS 1");
    assert_eq!(state(port, "/", en), "MISS 2");
    assert_eq!(state(port, "/", de), "HIT 1");
    assert_eq!(state(port, "/", en), "HIT 2");
    assert_eq!(state(port, "/", ""), "MISS 3");
    assert_eq!(ask(port, "/?purge=1", "").status, 204);
    assert_eq!(ask(port, "/?purge=1", "").status, 404);
    assert_eq!(state(port, "/", de), "MISS 4");
    assert_eq!(state(port, "/", en), "MISS 5");
    assert_eq!(state(port, "/all", ""), "MISS 1");
    assert_eq!(state(port, "/all", ""), "MISS 2");
    assert_eq!(count.load(Ordering::SeqCst), 7);
}

#[test]
fn what_is_stale_is_better_than_nothing_where_that_is_wanted() {
    let (upstream, _) = counting(|head, number| match (number, head) {
        (1, _) => ok("", "first"),
        (_, head) if head.contains("/500") => "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n".into(),
        (_, head) if head.contains("/late") => {
            thread::sleep(Duration::from_millis(1500));
            ok("", "late")
        }
        _ => ok("", "second"),
    });
    let to = upstream.address;
    let site = site(
        ";",
        &format!(
            "proxy_cache X; proxy_cache_valid 200 1s; proxy_read_timeout 1s;
         location / {{ proxy_pass http://{to}; proxy_cache_use_stale http_500 timeout; }}
         location /not {{ proxy_pass http://{to}; }}
         location /behind {{ proxy_pass http://{to}; proxy_cache_use_stale updating;
                             proxy_cache_background_update on; }}"
        ),
    );
    let port = site.port;
    let paths = ["/500", "/late", "/other", "/not/500", "/behind"];
    for path in paths {
        assert_eq!(state(port, path, ""), "MISS first");
    }
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(state(port, "/500", ""), "STALE first");
    assert_eq!(state(port, "/late", ""), "STALE first");
    assert_eq!(state(port, "/other", ""), "EXPIRED second");
    assert_eq!(ask(port, "/not/500", "").status, 500);
    assert_eq!(state(port, "/behind", ""), "STALE first");
    until("it was renewed behind", || {
        state(port, "/behind", "").ends_with(" second")
    });
}

#[test]
fn one_fetches_while_others_wait() {
    let (upstream, count) = counting(|_, number| {
        thread::sleep(Duration::from_millis(700));
        ok("", &format!("{number}"))
    });
    let to = upstream.address;
    let site = site("; proxy_cache_valid 1m;", &format!(
        "proxy_cache X;
         location / {{ proxy_pass http://{to}; proxy_cache_lock on; }}
         location /brief {{ proxy_pass http://{to}; proxy_cache_lock on; proxy_cache_lock_timeout 200ms; }}"
    ));
    let port = site.port;
    let all = |path: &'static str| {
        let threads = [(); 5].map(|()| thread::spawn(move || state(port, path, "")));
        let mut states = threads.map(|it| it.join().unwrap());
        states.sort();
        states
    };
    assert_eq!(all("/"), ["HIT 1", "HIT 1", "HIT 1", "HIT 1", "MISS 1"]);
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert!(all("/brief").iter().all(|it| it.starts_with("MISS")));
    assert_eq!(count.load(Ordering::SeqCst), 6);
    let locks = files(&site.folder.file("cache"));
    assert!(
        !locks
            .iter()
            .any(|it| it.extension().is_some_and(|it| it == "lock"))
    );
}

#[test]
fn what_still_holds_is_not_sent_again() {
    let (upstream, _) = counting(|head, number| match head.contains("If-None-Match: \"x\"") {
        true => "HTTP/1.1 304 Not Modified\r\n\r\n".into(),
        false => ok("ETag: \"x\"\r\n", &format!("{number}")),
    });
    let to = upstream.address;
    let site = site(
        ";",
        &format!(
            "location / {{ proxy_pass http://{to}; proxy_cache X; proxy_cache_valid 1s;
                       proxy_cache_revalidate on; }}"
        ),
    );
    assert_eq!(state(site.port, "/", ""), "MISS 1");
    thread::sleep(Duration::from_millis(2100));
    assert_eq!(state(site.port, "/", ""), "REVALIDATED 1");
    assert_eq!(state(site.port, "/", ""), "HIT 1");
}

#[test]
fn what_is_asked_for_seldom_is_not_kept_and_what_is_unused_goes() {
    let (upstream, count) = counting(|_, number| ok("", &format!("{number}")));
    let to = upstream.address;
    let site = site(
        "inactive=2s;",
        &format!(
            "proxy_cache X; proxy_cache_valid 1h;
         location / {{ proxy_pass http://{to}; }}
         location /seldom {{ proxy_pass http://{to}; proxy_cache_min_uses 3; }}"
        ),
    );
    let port = site.port;
    for expected in ["MISS 1", "MISS 2", "MISS 3", "HIT 3"] {
        assert_eq!(state(port, "/seldom", ""), expected);
    }
    assert_eq!(state(port, "/", ""), "MISS 1");
    assert_eq!(answers(&site), 2);
    until("nobody asked for them", || answers(&site) == 0);
    assert_eq!(count.load(Ordering::SeqCst), 4);
    site.server.signal(Signal::HUP);
    assert_eq!(state(port, "/", ""), "MISS 2");
}

#[test]
fn a_file_that_was_spoilt_is_fetched_anew() {
    let (upstream, _) = counting(|_, number| ok("", &format!("{number}")));
    let to = upstream.address;
    let site = site(
        ";",
        &format!("location / {{ proxy_pass http://{to}; proxy_cache X; proxy_cache_valid 1h; }}"),
    );
    assert_eq!(state(site.port, "/", ""), "MISS 1");
    let file = files(&site.folder.file("cache"))
        .into_iter()
        .find(|it| it.extension().is_some_and(|it| it == "answer"));
    let file = file.unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[20] ^= 1;
    fs::write(&file, &bytes).unwrap();
    assert_eq!(state(site.port, "/", ""), "MISS 2");
    assert_eq!(state(site.port, "/", ""), "HIT 2");
}

#[test]
fn the_folder_is_made_and_all_workers_know_what_is_there() {
    let (upstream, count) = counting(|_, number| {
        thread::sleep(Duration::from_millis(700));
        ok("", &format!("{number}"))
    });
    let to = upstream.address;
    let folder = Folder::new();
    let here = folder.path().display().to_string();
    let ports = [crate::support::ports::free(), crate::support::ports::free()];
    let config = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nworker_processes 2;\n\
         events {{ worker_connections 64; }}\nhttp {{\naccess_log off;\n\
         proxy_cache_path {here}/made/cache levels=2 keys_zone=X:1m;\n\
         add_header X-Cache $upstream_cache_status always;\n\
         add_header X-Worker $pid always;\n\
         server {{ listen 127.0.0.1:{0} reuseport; listen 127.0.0.1:{1} reuseport; proxy_cache X; proxy_cache_valid 1m;\n\
         proxy_cache_lock on; location / {{ proxy_pass http://{to}; }} }} }}\n",
        ports[0], ports[1]
    );
    let server = crate::support::Server::start(&folder, &config, &ports);
    let threads: Vec<_> = (0..24)
        .map(|at| thread::spawn(move || ask(ports[at % 2], "/", "")))
        .collect();
    let answers: Vec<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
    assert!(answers.iter().all(|it| it.text() == "1"));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    assert_eq!(state(ports[0], "/", ""), "HIT 1");
    assert_eq!(server.workers().len(), 2);
    let by: std::collections::BTreeSet<_> = answers
        .iter()
        .map(|it| it.header("x-worker").map(str::to_owned))
        .collect();
    assert_eq!(by.len(), 2, "both had some of the requests");
}

#[test]
fn applications_behind_fastcgi_are_cached_by_the_key_that_is_given() {
    let record = |kind: u8, body: &[u8]| {
        let mut out = vec![
            1,
            kind,
            0,
            1,
            (body.len() >> 8) as u8,
            body.len() as u8,
            0,
            0,
        ];
        out.extend_from_slice(body);
        out
    };
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let upstream = Upstream::start(move |mut asked, _| {
        // All that a request without a body is: its beginning, its parameters, two ends.
        loop {
            let head = match asked.try_body(8) {
                Some(head) => head,
                None => return,
            };
            let len = usize::from(head[4]) << 8 | usize::from(head[5]);
            asked.body(len + usize::from(head[6]));
            if head[1] == 5 && len == 0 {
                break;
            }
        }
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        let answer = format!("Status: 200 OK\r\nContent-Type: text/plain\r\n\r\n{number}");
        let mut out = record(6, answer.as_bytes());
        out.extend(record(6, b""));
        out.extend(record(3, &[0; 8]));
        asked.say(out);
    });
    let to = upstream.address;
    let site = site(
        ";",
        &format!(
            "fastcgi_param REQUEST_METHOD $request_method; fastcgi_cache_valid 1m;
             location / {{ fastcgi_pass {to}; fastcgi_cache X; fastcgi_cache_key $uri; }}
             location /nokey {{ fastcgi_pass {to}; fastcgi_cache X; }}"
        ),
    );
    let port = site.port;
    assert_eq!(state(port, "/", ""), "MISS 1");
    let kept = ask(port, "/?other", "");
    assert_eq!(
        (kept.text().as_str(), kept.header("x-cache")),
        ("1", Some("HIT"))
    );
    assert_eq!(kept.header("content-type"), Some("text/plain"));
    assert_eq!(state(port, "/nokey", ""), "- 2");
    assert_eq!(state(port, "/nokey", ""), "- 3");
}
