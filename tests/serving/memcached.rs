//! Values that lie in memcached: a scripted one, and the program itself where it is installed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use super::Site;
use crate::support::program::Program;
use crate::support::{Client, Upstream, left_out, ports, until};

/// Answers each `get` with what `answer` makes of its key.
fn scripted(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + Clone + 'static) -> Upstream {
    Upstream::start(move |mut asked, seen| {
        let _ = seen.send("connected".into());
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                match asked.try_body(1) {
                    Some(byte) => line.extend(byte),
                    None => return,
                }
            }
            let line = String::from_utf8_lossy(&line).into_owned();
            let _ = seen.send(line.clone());
            let key = line.trim_end().strip_prefix("get ").expect("a get");
            asked.say(answer(key));
        }
    })
}

fn value(key: &str, flags: u32, value: &str) -> Vec<u8> {
    format!("VALUE {key} {flags} {}\r\n{value}\r\nEND\r\n", value.len()).into_bytes()
}

#[test]
fn values_are_found_by_their_key() {
    let cache = scripted(|key| match key {
        "/none.html" => b"END\r\n".to_vec(),
        "/packed" => value(key, 2, "gzip?"),
        "/empty" => value(key, 0, ""),
        _ => value(key, 0, "hello"),
    });
    let site = Site::start(
        "",
        &format!(
            "location / {{ set $memcached_key $uri; memcached_pass {0}; memcached_gzip_flag 2;
                 error_page 404 @none; }}
             location @none {{ return 200 elsewhere; }}
             location /unset {{ memcached_pass {0}; }}
             location /args {{ set $memcached_key $args; memcached_pass {0}; }}",
            cache.address
        ),
    );
    let mut client = Client::connect(site.port);
    let response = client.get("/a%20b.html");
    assert_eq!((response.status, &*response.text()), (200, "hello"));
    assert_eq!(response.header("Content-Length"), Some("5"));
    assert_eq!(response.header("Content-Type"), Some("text/html"));
    assert_eq!(cache.seen(), "connected");
    assert_eq!(cache.seen(), "get /a%20b.html\r\n");
    client.send("GET /r.txt HTTP/1.1\r\nHost: h\r\nRange: bytes=1-2\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status, &*response.text()), (206, "el"));
    assert_eq!(cache.seen(), "get /r.txt\r\n");
    let response = client.get("/packed");
    assert_eq!(response.header("Content-Encoding"), Some("gzip"));
    assert_eq!(cache.seen(), "get /packed\r\n", "the connection is kept");
    assert_eq!(client.get("/none.html").text(), "elsewhere");
    assert_eq!(cache.seen(), "get /none.html\r\n");
    let response = client.get("/empty");
    assert_eq!((response.status, &*response.text()), (200, ""));
    assert_eq!(cache.seen(), "get /empty\r\n");
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().status, 405);
    assert_eq!(Client::connect(site.port).get("/unset").status, 500);
    let path = format!("/args?{}", "k".repeat(251));
    assert_eq!(Client::connect(site.port).get(&path).status, 500);
    let mut client = Client::connect(site.port);
    client.send("HEAD /a.txt HTTP/1.1\r\nHost: h\r\n\r\n");
    client.head("200");
    assert_eq!(cache.seen(), "get /a.txt\r\n");
    for line in [
        "key: \"/none.html\" was not found by memcached",
        "the \"$memcached_key\" variable is not set",
        "invalid memcached key \"kkkk",
    ] {
        until(line, || site.folder.read("logs/error.log").contains(line));
    }
}

#[test]
fn what_is_no_answer_is_taken_for_none() {
    let empty = scripted(|_| b"END\r\n".to_vec());
    let full = scripted(|key| value(key, 0, "found"));
    let wrong = scripted(|key| match key {
        "/other" => value("another", 0, "x"),
        "/error" => b"ERROR\r\n".to_vec(),
        "/length" => b"VALUE /length 0 -1\r\n".to_vec(),
        "/end" => format!("VALUE {key} 0 3\r\nabcdefgh").into_bytes(),
        _ => value(key, 0, "found"),
    });
    let site = Site::start(
        &format!(
            "upstream next {{ server {}; server {} backup; }}",
            empty.address, full.address
        ),
        &format!(
            "set $memcached_key $uri;
             location / {{ memcached_pass {}; }}
             location /next {{ memcached_pass next; memcached_next_upstream not_found; }}",
            wrong.address
        ),
    );
    for (path, line) in [
        (
            "/other",
            "memcached sent invalid key in memcached response while reading",
        ),
        (
            "/error",
            "memcached sent invalid memcached response while reading response header",
        ),
        (
            "/length",
            "memcached sent invalid length in memcached response while reading",
        ),
    ] {
        assert_eq!(Client::connect(site.port).get(path).status, 502, "{path}");
        until(line, || site.folder.read("logs/error.log").contains(line));
    }
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/next").text(), "found");
    client.send("GET /end HTTP/1.1\r\nHost: h\r\n\r\n");
    // The value was there, but who knows whether it was all of it.
    let _ = client.rest(std::time::Duration::from_secs(5));
    let line = "memcached sent invalid memcached trailer while reading";
    until(line, || site.folder.read("logs/error.log").contains(line));
}

#[test]
fn memcached_itself_answers() {
    let program = Path::new("/usr/bin/memcached");
    if !program.exists() {
        left_out("memcached is not installed");
        return;
    }
    let port = ports::free();
    let _memcached = Program::start(
        program,
        &["-u", "nobody", "-l", "127.0.0.1", "-p", &port.to_string()],
    );
    until("memcached listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    let mut direct = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let large = "v".repeat(500_000);
    let mut said = [0; 8];
    for (key, value) in [("/a.css", "one"), ("/large", large.as_str())] {
        let set = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
        direct.write_all(set.as_bytes()).unwrap();
        direct.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"STORED\r\n");
    }
    let site = Site::start(
        "",
        &format!("location / {{ set $memcached_key $uri; memcached_pass 127.0.0.1:{port}; }}"),
    );
    let mut client = Client::connect(site.port);
    for _ in 0..3 {
        let response = client.get("/a.css");
        assert_eq!((response.status, &*response.text()), (200, "one"));
        assert_eq!(client.get("/large").text().len(), 500_000);
        assert_eq!(client.get("/none").status, 404);
    }
}
