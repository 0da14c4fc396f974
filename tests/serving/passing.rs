//! What is made of answers on their way, and of the connections that they come on.

use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::{Duration, Instant};

use super::Site;
use crate::support::{Client, Upstream, until};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789";

#[test]
fn cookies_are_rewritten() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: a=b; Domain=LOCALHOST; Path=/two/x\r\n\r\n",
    );
    let site = Site::start(
        "",
        &format!(
            "location / {{ proxy_pass http://{}; proxy_cookie_domain localhost $host;
                 proxy_cookie_path ~^/two/(.*)$ /one/$1; proxy_cookie_flags ~ secure samesite=lax;
                 location /off {{ proxy_pass http://{0}; proxy_cookie_domain off;
                     proxy_cookie_path off; proxy_cookie_flags off; }} }}",
            upstream.address
        ),
    );
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: h.example\r\n\r\n");
    let made = "a=b; Domain=h.example; Path=/one/x; Secure; SameSite=Lax";
    assert_eq!(client.response().header("Set-Cookie"), Some(made));
    let as_it_was = "a=b; Domain=LOCALHOST; Path=/two/x";
    assert_eq!(client.get("/off").header("Set-Cookie"), Some(as_it_was));
}

#[test]
fn a_client_that_leaves_is_ignored_where_that_is_wanted() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        thread::sleep(Duration::from_millis(400));
        asked.say(OK);
        let _ = seen.send("answered".into());
    });
    let site = Site::start(
        "",
        &format!(
            "location / {{ proxy_pass http://{}; proxy_ignore_client_abort on; }}",
            upstream.address
        ),
    );
    let mut client = Client::connect(site.port);
    client.send("GET /seen HTTP/1.1\r\nHost: h\r\n\r\n");
    upstream.seen();
    drop(client);
    assert_eq!(upstream.seen(), "answered");
    until("it is logged as it was answered", || {
        site.folder
            .read("logs/access.log")
            .contains("200 GET /seen")
    });
}

#[test]
fn connections_come_from_where_they_are_bound_to() {
    let upstream = Upstream::start(|mut asked, seen| {
        asked.head();
        let _ = seen.send(asked.peer().ip().to_string());
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    });
    let site = Site::start(
        "",
        &format!(
            "proxy_bind 127.0.0.2; proxy_socket_keepalive on; proxy_socket_rcvbuf 64k; proxy_socket_sndbuf 64k;
             location / {{ proxy_pass http://{0}; }}
             location /off {{ proxy_pass http://{0}; proxy_bind off; }}
             location /made {{ proxy_pass http://{0}; proxy_bind 127.0.0.$arg_x; }}
             location /lost {{ proxy_pass http://{0}; proxy_bind 192.0.2.1; }}",
            upstream.address
        ),
    );
    for (path, from) in [
        ("/", "127.0.0.2"),
        ("/off", "127.0.0.1"),
        ("/made?x=3", "127.0.0.3"),
    ] {
        assert_eq!(Client::connect(site.port).get(path).status, 200);
        assert_eq!(upstream.seen(), from, "{path}");
    }
    assert_eq!(Client::connect(site.port).get("/lost").status, 502);
    until("what can be done is said", || {
        let errors = site.folder.read("logs/error.log");
        errors.contains(
            "Cannot assign requested address) while connecting to upstream; no local address",
        )
    });
}

#[test]
fn answers_are_read_no_faster_than_they_may_be() {
    let body = "x".repeat(30_000);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n{body}");
    let paced = format!(
        "HTTP/1.1 200 OK\r\nX-Accel-Limit-Rate: 20000\r\nContent-Length: 30000\r\n\r\n{body}"
    );
    let (upstream, paced) = (Upstream::answering(answer), Upstream::answering(paced));
    let site = Site::start(
        "",
        &format!(
            "location /fast {{ proxy_pass http://{0}; }}
             location /slow {{ proxy_pass http://{0}; proxy_limit_rate 20k; proxy_buffer_size 4k; }}
             location /accel {{ proxy_pass http://{1}; }}
             location /ignored {{ proxy_pass http://{1}; proxy_ignore_headers X-Accel-Limit-Rate; }}",
            upstream.address, paced.address
        ),
    );
    let mut client = Client::connect(site.port);
    let mut time = |path: &str| {
        let began = Instant::now();
        assert_eq!(client.get(path).text().len(), 30_000);
        began.elapsed()
    };
    assert!(time("/fast") < Duration::from_millis(500));
    assert!(time("/slow") > Duration::from_millis(200));
    assert!(time("/accel") > Duration::from_millis(900));
    assert!(time("/ignored") < Duration::from_millis(500));
}

#[test]
fn ranges_are_cut_out_of_what_comes_whole() {
    let upstream = Upstream::answering(format!("HTTP/1.1 200 OK\r\nETag: \"e\"\r\n{}", &OK[17..]));
    let site = Site::start(
        "",
        &format!(
            "location / {{ proxy_pass http://{0}; proxy_force_ranges on; }}
             location /off {{ proxy_pass http://{0}; }}",
            upstream.address
        ),
    );
    let mut client = Client::connect(site.port);
    let mut ask = |path: &str, range: &str| {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{range}\r\n"));
        let response = client.response();
        let said = response.header("Content-Range").map(str::to_owned);
        (response.status, response.text(), said)
    };
    let whole = || "0123456789".to_owned();
    assert_eq!(ask("/", ""), (200, whole(), None));
    let part = Some("bytes 2-4/10".to_owned());
    assert_eq!(
        ask("/", "Range: bytes=2-4\r\n"),
        (206, "234".into(), part.clone())
    );
    assert_eq!(
        ask("/", "Range: bytes=2-4\r\nIf-Range: \"e\"\r\n"),
        (206, "234".into(), part)
    );
    assert_eq!(
        ask("/", "Range: bytes=2-4\r\nIf-Range: \"f\"\r\n"),
        (200, whole(), None)
    );
    assert_eq!(
        ask("/", "Range: bytes=0-1,3-4\r\n"),
        (200, whole(), None),
        "one alone"
    );
    assert_eq!(ask("/", "Range: bytes=20-\r\n").0, 416);
    assert_eq!(ask("/off", "Range: bytes=2-4\r\n"), (200, whole(), None));
}

#[test]
fn answers_are_stored_as_files() {
    let dated = "HTTP/1.1 200 OK\r\nLast-Modified: Thu, 01 Jan 2015 00:00:00 GMT\r\n";
    let upstream = Upstream::answering(format!("{dated}{}", &OK[17..]));
    let cut = Upstream::start(|mut asked, _| {
        asked.head();
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf");
    });
    let folder = crate::support::Folder::new();
    folder.make("stored");
    folder.make("html");
    folder.set_mode("stored", 0o777);
    let here = folder.path().display().to_string();
    let server = format!(
        "location /kept/ {{ root {here}/stored; try_files $uri @up; }}
         location @up {{ root {here}/stored; proxy_pass http://{0}; proxy_store on;
             proxy_store_access group:rw all:r; }}
         location /named {{ proxy_pass http://{0}; proxy_store {here}/stored/n$arg_n; }}
         location /cut {{ proxy_pass http://{1}; proxy_store {here}/stored/cut; }}
         location /lost {{ proxy_pass http://{0}; proxy_store /proc/none/x; }}",
        upstream.address, cut.address
    );
    let site = Site::serve(folder, "", &server);
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/kept/a/b.txt").text(), "0123456789");
    upstream.seen();
    assert_eq!(client.get("/kept/a/b.txt").text(), "0123456789");
    assert!(upstream.is_quiet(), "it is a file now");
    let meta = site.folder.file("stored/kept/a/b.txt").metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o777, 0o664);
    let seconds = meta
        .modified()
        .unwrap()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(seconds, 1_420_070_400);
    client.get("/named?n=1");
    assert_eq!(site.folder.read("stored/n1"), "0123456789");
    client.send("HEAD /named?n=2 HTTP/1.1\r\nHost: h\r\n\r\n");
    client.head("200");
    assert_eq!(
        client.get("/lost").text(),
        "0123456789",
        "it is passed on all the same"
    );
    let mut broken = Client::connect(site.port);
    broken.send("GET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(broken.try_response().is_err());
    let files: Vec<_> = site
        .folder
        .file("stored")
        .read_dir()
        .unwrap()
        .flatten()
        .collect();
    assert_eq!(files.len(), 2, "{files:?}");
    until("why is logged", || {
        site.folder
            .read("logs/error.log")
            .contains("the answer is not stored")
    });
}

#[test]
fn early_hints_reach_those_who_want_them() {
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x\r\n\r\n{OK}"
    ));
    let site = Site::start(
        "",
        &format!(
            "location / {{ proxy_pass http://{0}; early_hints $arg_hints; }}
             location /off {{ proxy_pass http://{0}; }}",
            upstream.address
        ),
    );
    let mut client = Client::connect(site.port);
    client.send("GET /?hints=1 HTTP/1.1\r\nHost: h\r\n\r\n");
    let hints = client.response();
    assert_eq!(
        hints.head,
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    );
    assert_eq!(client.response().text(), "0123456789");
    for path in ["/?hints=0", "/", "/off?hints=1"] {
        assert_eq!(client.get(path).status, 200, "{path}");
    }
    client.send("GET /?hints=1 HTTP/1.0\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().status, 200);
}

#[test]
fn lines_behind_a_body_are_passed_where_that_is_wanted() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\
         Content-Length: 5\r\n\r\n",
    );
    let site = Site::start(
        "",
        &format!(
            "location / {{ proxy_pass http://{0}; proxy_pass_trailers on; }}
             location /off {{ proxy_pass http://{0}; }}",
            upstream.address
        ),
    );
    for (path, end) in [
        ("/", "2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n"),
        ("/off", "2\r\nok\r\n0\r\n\r\n"),
    ] {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        ));
        let (bytes, _) = client.rest(Duration::from_secs(5));
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.ends_with(end), "{path}: {text}");
    }
}
