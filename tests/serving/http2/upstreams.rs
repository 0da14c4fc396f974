//! HTTP/2 to the servers behind: what they get, and what they may not do.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::serving::Site;
use crate::support::http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, Http2, PING, RST_STREAM, SETTINGS, block, frame,
};
use crate::support::http2_upstream::{self, Got, Peer};
use crate::support::tls::Authority;
use crate::support::{Client, Folder, Server, Upstream, nginx, ports, until};

const TO: &str = "proxy_http_version 2; proxy_pass http://up;";

/// A site that passes all requests on to these, by HTTP/2.
#[track_caller]
fn site_of(upstreams: &[&Upstream], group: &str, server: &str) -> Site {
    let servers: String = upstreams
        .iter()
        .map(|it| format!("server {};\n", it.address))
        .collect();
    let http = format!("upstream up {{ {servers} {group} }}\nhttp2 on;");
    Site::start(&http, server)
}

#[track_caller]
fn site(upstream: &Upstream, server: &str) -> Site {
    let server = format!("location / {{ {TO} }}\n{server}");
    site_of(&[upstream], "", &server)
}

/// Says of each request its number on the connection, its head and the length of its body.
fn telling() -> Upstream {
    http2_upstream::start(&[], |mut peer, _| {
        let mut count = 0;
        while let Some(asked) = peer.request() {
            count += 1;
            let told = format!("{count}\n{}{}", asked.lines(), asked.body.len());
            peer.answer(asked.stream, &told);
        }
    })
}

#[test]
fn requests_share_a_connection_and_come_as_they_were_sent() {
    let upstream = telling();
    let site = site(
        &upstream,
        &format!(
            "location /set {{ {TO} proxy_set_header Host h.test; proxy_set_header X-Own $uri;
               proxy_set_header Connection upgrade; proxy_set_header Upgrade x; proxy_set_header TE gzip; }}
             location /own {{ {TO} proxy_method PUT; proxy_set_body own; }}
             location /a/ {{ proxy_http_version 2; proxy_pass http://up/b/; }}"
        ),
    );
    let mut client = Client::connect(site.port);
    client.send(
        "GET /x%2Fy?q=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         TE: gzip, trailers\r\nUpgrade: x\r\nX-Kept: 2\r\nKeep-Alive: 5\r\nCookie: a=1\r\n\r\n",
    );
    assert_eq!(
        client.response().text(),
        "1\n:method: GET\n:scheme: http\n:authority: up\n:path: /x%2Fy?q=1\nx-kept: 2\n\
         cookie: a=1\nte: trailers\n0"
    );
    assert_eq!(
        client.get("/set").text(),
        "2\n:method: GET\n:scheme: http\n:authority: h.test\n:path: /set\nx-own: /set\n0"
    );
    assert_eq!(
        client.get("/own").text(),
        "3\n:method: PUT\n:scheme: http\n:authority: up\n:path: /own\ncontent-length: 3\n3"
    );
    client.send("POST /a/c HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345");
    assert_eq!(
        client.response().text(),
        "4\n:method: POST\n:scheme: http\n:authority: up\n:path: /b/c\ncontent-length: 5\n5"
    );
    let mut client = Http2::connect(site.port);
    assert!(client.get("/two").text().starts_with("5\n"));
    let answer = client.post("/two", &[b'x'; 100_000]);
    assert!(answer.text().ends_with("\n100000"), "{}", answer.text());
}

/// Sends back what it gets, as it comes.
fn echoing() -> Upstream {
    http2_upstream::start(&[], |mut peer, _| {
        while let Some(got) = peer.next() {
            match got {
                Got::Head {
                    stream, is_last, ..
                } => {
                    let end = if is_last { END_STREAM } else { 0 };
                    peer.head(stream, &[(":status", "200")], end);
                }
                Got::Data {
                    stream,
                    bytes,
                    is_last,
                } => peer.body(stream, bytes, is_last),
                Got::Reset { .. } => {}
            }
        }
    })
}

#[test]
fn both_ways_of_a_stream_go_on_at_once() {
    let upstream = echoing();
    let server =
        format!("location / {{ {TO} proxy_request_buffering off; client_max_body_size 10m; }}");
    let site = site_of(&[&upstream], "", &server);
    let mut client = Http2::connect(site.port);
    let mut fields = crate::support::http2::get("/").to_vec();
    fields[0].1 = "POST";
    let stream = client.begin(&fields, 0);
    for round in 1..50_usize {
        client.frame(DATA, 0, stream, b"ping!");
        while client
            .answers
            .get(&stream)
            .is_none_or(|it| it.body.len() < 5 * round)
        {
            client.read().expect("an answer to each");
        }
    }
    client.frame(DATA, END_STREAM, stream, b"last");
    let answer = client.answer(stream);
    assert!(answer.is_ended && answer.body.ends_with(b"ping!last"));
    // More than all windows together, of a client of HTTP/1.
    let body: Vec<u8> = (0..2_000_000_u32).map(|at| (at % 251) as u8).collect();
    let stream = TcpStream::connect(("127.0.0.1", site.port)).expect("the server accepts");
    let mut writer = stream.try_clone().expect("a descriptor");
    let mut client = Client::over(stream);
    let len = body.len();
    client.send(format!(
        "POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: {len}\r\n\r\n"
    ));
    let sent = body.clone();
    let sending = std::thread::spawn(move || writer.write_all(&sent));
    let answer = client.response();
    sending.join().unwrap().unwrap();
    assert!(answer.body == body);
}

#[test]
fn a_peer_gets_no_more_streams_than_it_takes() {
    let connections = Arc::new(AtomicU32::new(0));
    let upstream = http2_upstream::start(&[(3, 2)], move |mut peer, seen| {
        let number = connections.fetch_add(1, Ordering::Relaxed) + 1;
        while let Some(got) = peer.next() {
            match got {
                Got::Head { stream, fields, .. } => {
                    let is_held = fields.iter().any(|(_, value)| value == "/hold");
                    match is_held {
                        true => _ = seen.send(format!("held by {number}")),
                        false => peer.answer(stream, &number.to_string()),
                    }
                }
                Got::Reset { .. } => _ = seen.send("reset".into()),
                Got::Data { .. } => {}
            }
        }
    });
    let site = site(&upstream, "");
    let mut client = Http2::connect(site.port);
    assert_eq!(client.get("/").text(), "1");
    let held = [client.ask("/hold"), client.ask("/hold")];
    assert_eq!([upstream.seen(), upstream.seen()], ["held by 1"; 2]);
    // There is no room on it any more.
    assert_eq!(client.get("/").text(), "2");
    assert_eq!(client.get("/").text(), "2");
    client.frame(RST_STREAM, 0, held[0], &8u32.to_be_bytes());
    assert_eq!(upstream.seen(), "reset");
    assert_eq!(client.get("/").text(), "1");
}

#[test]
fn what_a_peer_has_not_looked_at_is_asked_of_another() {
    let refusing = http2_upstream::start(&[], |mut peer, seen| {
        while let Some(asked) = peer.request() {
            let _ = seen.send(asked.field(":path").to_owned());
            match asked.field(":path") {
                "/refused" => peer.frame(RST_STREAM, 0, asked.stream, &7u32.to_be_bytes()),
                "/first" => peer.answer(asked.stream, "first"),
                _ => {
                    let last = asked.stream.saturating_sub(2).to_be_bytes();
                    peer.frame(GOAWAY, 0, 0, &[last, [0; 4]].concat());
                    return peer.wait_closed();
                }
            }
        }
    });
    let other = telling();
    let server = format!("location / {{ {TO} proxy_request_buffering off; }}");
    let http = format!(
        "upstream up {{ server {} max_fails=0; server {} backup; }}\nhttp2 on;",
        refusing.address, other.address
    );
    let site = Site::start(&http, &server);
    let mut client = Http2::connect(site.port);
    assert_eq!(client.get("/first").text(), "first");
    // A POST whose body comes as it is sent, too.
    let answer = client.post("/refused", b"12345");
    assert!(answer.text().ends_with("\n5"), "{}", answer.text());
    // Who closes is asked again over another connection, since it may have had its share of requests.
    let answer = client.post("/closing", b"123456");
    assert!(answer.text().ends_with("\n6"), "{}", answer.text());
    let paths: Vec<String> = (0..5).map(|_| refusing.seen()).collect();
    assert_eq!(
        paths,
        ["/first", "/refused", "/closing", "/closing", "/closing"]
    );
    let closed = "upstream closed its connection to new requests";
    until("it is logged", || {
        site.folder.read("logs/error.log").contains(closed)
    });
}

#[test]
fn a_kept_connection_that_was_closed_is_as_if_it_had_not_been_there() {
    let upstream = http2_upstream::start(&[], |mut peer, seen| {
        let asked = peer.request().expect("one request a connection");
        let _ = seen.send(asked.field(":path").to_owned());
        peer.answer(asked.stream, "ok");
        if asked.field(":path") == "/late" {
            // It reads the next, and closes without a word.
            peer.request();
        }
    });
    let site = site(&upstream, "");
    let mut client = Client::connect(site.port);
    for path in ["/a", "/b", "/late", "/c", "/d"] {
        assert_eq!(client.get(path).text(), "ok", "{path}");
    }
    for path in ["/a", "/b", "/late", "/c", "/d"] {
        assert_eq!(upstream.seen(), path);
    }
}

#[test]
fn a_client_that_leaves_has_its_stream_cancelled() {
    let upstream = http2_upstream::start(&[], |mut peer, seen| {
        while let Some(got) = peer.next() {
            if let Got::Head { stream, fields, .. } = &got
                && fields.iter().any(|(_, value)| value == "/begun")
            {
                peer.head(*stream, &[(":status", "200")], 0);
                peer.data(*stream, b"begun", 0);
            }
            if let Got::Reset { code, .. } = got {
                let _ = seen.send(format!("reset {code}"));
            }
        }
    });
    let site = site(&upstream, "");
    let mut client = Client::connect(site.port);
    client.send("GET /waits HTTP/1.1\r\nHost: h\r\n\r\n");
    until("it was asked", || {
        site.folder.read("logs/error.log").len() < 1 << 20
    });
    std::thread::sleep(std::time::Duration::from_millis(100));
    drop(client);
    assert_eq!(upstream.seen(), "reset 8");
    let mut client = Http2::connect(site.port);
    let stream = client.ask("/begun");
    while client
        .answers
        .get(&stream)
        .is_none_or(|it| it.body.is_empty())
    {
        client.read().unwrap();
    }
    client.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    assert_eq!(upstream.seen(), "reset 8");
}

/// What a hostile peer does with a stream, and what the error log says of it.
type Hostile = (&'static str, fn(&mut Peer, u32), &'static str);

const OK: (&str, &str) = (":status", "200");

const HOSTILE: &[Hostile] = &[
    (
        "push",
        |peer, stream| peer.frame(5, END_HEADERS, stream, &[0, 0, 0, 2, 0x88]),
        "upstream sent PUSH_PROMISE",
    ),
    (
        "bomb",
        |peer, stream| {
            // One entry of 4000 bytes, said ten thousand times.
            let value = "x".repeat(4000);
            let mut bomb = vec![0x88, 0x40, 1, b'a'];
            bomb.extend_from_slice(&block(&[("", &value)])[2..]);
            bomb.extend([0xbe].repeat(10_000));
            peer.frame(
                HEADERS,
                END_HEADERS,
                stream,
                &bomb[..16_000.min(bomb.len())],
            );
        },
        "upstream sent a header block that is far too large",
    ),
    (
        "garbage",
        |peer, stream| peer.frame(HEADERS, END_HEADERS, stream, &[0xff; 20]),
        "upstream sent a header block that cannot be read",
    ),
    (
        "interims",
        |peer, stream| {
            for _ in 0..20 {
                peer.head(stream, &[(":status", "103"), ("link", "</a>")], 0);
            }
        },
        "upstream sent too many interim responses",
    ),
    (
        "connection",
        |peer, stream| peer.head(stream, &[OK, ("connection", "close")], END_STREAM),
        "upstream sent a field that belongs to a connection",
    ),
    (
        "no status",
        |peer, stream| peer.head(stream, &[("x-a", "1")], END_STREAM),
        "upstream sent no :status header",
    ),
    (
        "switch",
        |peer, stream| peer.head(stream, &[(":status", "101")], 0),
        "upstream sent the status 101",
    ),
    (
        "line break",
        |peer, stream| peer.head(stream, &[OK, ("x-a", "1\r\nset-cookie: a")], END_STREAM),
        "upstream sent a field with an invalid value",
    ),
    (
        "big head",
        |peer, stream| peer.head(stream, &[OK, ("x-a", &"a".repeat(15_000))], END_STREAM),
        "upstream sent too big header (proxy_buffer_size bounds it)",
    ),
    (
        "data first",
        |peer, stream| peer.data(stream, b"body", 0),
        "upstream sent DATA before a head",
    ),
    (
        "reset",
        |peer, stream| peer.frame(RST_STREAM, 0, stream, &2u32.to_be_bytes()),
        "upstream rejected request with error 2 (INTERNAL_ERROR)",
    ),
    (
        "goaway",
        |peer, _| peer.frame(GOAWAY, 0, 0, &[0, 0, 0, 99, 0, 0, 0, 11]),
        "upstream sent goaway with error 11 (ENHANCE_YOUR_CALM)",
    ),
    (
        "pings",
        |peer, _| {
            // It reads none of the answers.
            let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
            (0..600).for_each(|_| peer.send(&pings));
        },
        "upstream ",
    ),
    (
        "empty",
        |peer, stream| {
            peer.head(stream, &[(":status", "103")], 0);
            for _ in 0..200 {
                peer.data(stream, b"", 0);
            }
        },
        "upstream sent ",
    ),
];

#[test]
fn hostile_peers_are_answered_for_with_502_and_a_line() {
    let upstream = http2_upstream::start(&[], |mut peer, _| {
        while let Some(asked) = peer.request() {
            let place: usize = asked.field("x-place").parse().expect("a number");
            (HOSTILE[place].1)(&mut peer, asked.stream);
            if HOSTILE[place].0 == "goaway" {
                return;
            }
        }
    });
    let server = format!("location / {{ {TO} proxy_buffer_size 8k; }}");
    let site = site_of(&[&upstream], "", &server);
    for (place, (name, _, line)) in HOSTILE.iter().enumerate() {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "GET /h HTTP/1.1\r\nHost: h\r\nX-Place: {place}\r\n\r\n"
        ));
        assert_eq!(client.response().status, 502, "{name}");
        until(&format!("{name} is logged: {line}"), || {
            site.folder.read("logs/error.log").contains(line)
        });
    }
}

#[test]
fn bodies_that_are_not_what_was_said_are_cut_off() {
    let upstream = http2_upstream::start(&[], |mut peer, _| {
        while let Some(asked) = peer.request() {
            let stream = asked.stream;
            peer.head(stream, &[OK, ("content-length", "5")], 0);
            match asked.field(":path") {
                "/long" => peer.data(stream, b"123456", 0),
                "/short" => peer.data(stream, b"123", END_STREAM),
                _ => {
                    peer.data(stream, b"123", 0);
                    peer.head(stream, &[("a", &"b".repeat(15_000))], END_STREAM);
                }
            }
        }
    });
    let server = format!("location / {{ {TO} proxy_buffer_size 8k; }}");
    let site = site_of(&[&upstream], "", &server);
    for (path, line) in [
        (
            "/long",
            "upstream sent a larger body than its content-length while reading upstream",
        ),
        (
            "/short",
            "upstream sent a smaller body than its content-length while reading upstream",
        ),
        (
            "/trailers",
            "upstream sent a smaller body than its content-length",
        ),
    ] {
        let mut client = Http2::connect(site.port);
        let stream = client.ask(path);
        assert_eq!(client.answer(stream).reset, Some(2), "{path}");
        until(line, || site.folder.read("logs/error.log").contains(line));
    }
}

#[test]
fn connections_are_kept_as_the_group_says() {
    let upstream = http2_upstream::start(&[], |mut peer, seen| {
        let mut count = 0;
        while let Some(asked) = peer.request() {
            count += 1;
            peer.answer(asked.stream, "ok");
        }
        let _ = seen.send(format!("{count}"));
    });
    for (group, counts) in [
        ("keepalive 0;", &["1", "1", "1"][..]),
        ("keepalive 1; keepalive_requests 2;", &["2"]),
        ("keepalive 1; keepalive_timeout 200ms;", &["3"]),
    ] {
        let server = format!("location / {{ {TO} }}");
        let site = site_of(&[&upstream], group, &server);
        let mut client = Client::connect(site.port);
        for _ in 0..3 {
            assert_eq!(client.get("/").text(), "ok");
        }
        let seen: Vec<String> = counts.iter().map(|_| upstream.seen()).collect();
        assert_eq!(seen, counts, "{group}");
        drop(site);
        if group.contains("requests") {
            assert_eq!(upstream.seen(), "1");
        }
    }
}

#[test]
fn answers_are_kept_and_hints_pass_as_those_of_http_1() {
    let upstream = http2_upstream::start(&[], |mut peer, seen| {
        while let Some(asked) = peer.request() {
            let _ = seen.send(asked.field(":path").to_owned());
            peer.head(asked.stream, &[(":status", "103"), ("link", "</a.css>")], 0);
            peer.head(
                asked.stream,
                &[OK, ("cache-control", "max-age=60"), ("x-a", "1")],
                0,
            );
            peer.data(asked.stream, b"kept", END_STREAM);
        }
    });
    let folder = Folder::new();
    let cached = folder.file("cached").display().to_string();
    let server = format!("location / {{ {TO} proxy_cache one; early_hints 1; }}");
    let http = format!(
        "proxy_cache_path {cached} keys_zone=one:1m;\nupstream up {{ server {}; }}",
        upstream.address
    );
    let site = Site::start(&http, &server);
    let mut client = Client::connect(site.port);
    client.send("GET /k HTTP/1.1\r\nHost: h\r\n\r\n");
    let hints = client.read_head();
    assert_eq!(
        (hints.status, hints.header("link")),
        (103, Some("</a.css>"))
    );
    let first = client.response();
    assert_eq!(
        (first.text(), first.header("x-a")),
        ("kept".into(), Some("1"))
    );
    let again = Client::connect(site.port).get("/k");
    assert_eq!(
        (again.text(), again.header("x-a")),
        ("kept".into(), Some("1"))
    );
    assert_eq!(upstream.seen(), "/k");
    assert!(upstream.is_quiet());
}

#[test]
fn trailers_pass_where_they_are_wanted() {
    let upstream = http2_upstream::start(&[], |mut peer, _| {
        while let Some(asked) = peer.request() {
            peer.head(asked.stream, &[OK], 0);
            peer.data(asked.stream, b"body", 0);
            let trailers = [("x-sum", "7"), ("content-length", "9")];
            peer.head(asked.stream, &trailers, END_STREAM);
        }
    });
    let site = site(
        &upstream,
        &format!("location /t {{ {TO} proxy_pass_trailers on; }}"),
    );
    let mut client = Http2::connect(site.port);
    let answer = client.get("/t");
    assert_eq!(
        (answer.text(), answer.header("x-sum")),
        ("body".into(), Some("7"))
    );
    assert_eq!(answer.heads.len(), 2);
    assert_eq!(answer.header("content-length"), None);
    let answer = client.get("/");
    assert_eq!((answer.text(), answer.heads.len()), ("body".into(), 1));
}

#[test]
fn trailers_of_requests_pass_where_they_are_wanted() {
    let two = telling();
    let one = Upstream::start(|mut asked, seen| {
        asked.head();
        let _ = seen.send(String::from_utf8_lossy(&asked.body(24)).into_owned());
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let old = one.address;
    let site = site(
        &two,
        &format!(
            "location /t {{ {TO} proxy_pass_trailers on; }}
             location /old {{ proxy_pass http://{old}; proxy_pass_trailers on;
               proxy_request_buffering off; }}"
        ),
    );
    let post = |client: &mut Http2, path: &str, trailers: &[(&str, &str)]| {
        let mut fields = crate::support::http2::get(path).to_vec();
        fields[0].1 = "POST";
        let stream = client.begin(&fields, 0);
        client.frame(DATA, 0, stream, b"body");
        client.frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(trailers));
        client.answer(stream)
    };
    let sum = [("x-sum", "7"), ("host", "forged")];
    let mut client = Http2::connect(site.port);
    let with = post(&mut client, "/t", &sum).text();
    assert!(with.ends_with("\nx-sum: 7\n4"), "{with}");
    let without = post(&mut client, "/", &sum).text();
    assert!(!without.contains("x-sum"), "{without}");
    assert_eq!(post(&mut client, "/old", &sum).text(), "ok");
    assert_eq!(one.seen(), "4\r\nbody\r\n0\r\nx-sum: 7\r\n\r\n");
    // None that could be taken for something else.
    for wrong in [[(":path", "/")], [("X-Sum", "1")], [("a", "b\r\nc: d")]] {
        assert_eq!(post(&mut client, "/t", &wrong).reset, Some(1), "{wrong:?}");
    }
    let mut client = Client::connect(site.port);
    client.send(
        "POST /t HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
         4\r\nbody\r\n0\r\nX-Sum: 8\r\nContent-Length: 1\r\n\r\n",
    );
    let with = client.response().text();
    assert!(with.ends_with("\ncontent-length: 4\nx-sum: 8\n4"), "{with}");
}

#[test]
fn settings_that_come_late_are_heeded() {
    // Nothing of a body leaves before the window opens.
    let upstream = http2_upstream::start(&[(4, 0)], |mut peer, _| {
        while let Some(got) = peer.next() {
            if let Got::Head {
                stream, is_last, ..
            } = got
            {
                match is_last {
                    true => peer.answer(stream, "ready"),
                    false => peer.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]),
                }
            }
            if let Got::Data {
                stream,
                bytes,
                is_last,
            } = got
            {
                assert!(bytes.len() <= 10);
                if is_last {
                    peer.answer(stream, "ok");
                }
            }
        }
    });
    let site = site(&upstream, "");
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/").text(), "ready");
    client
        .send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 25\r\n\r\n1234567890123456789012345");
    assert_eq!(client.response().text(), "ok");
}

#[test]
fn a_server_gets_what_nginx_sends_and_nginx_is_a_server_too() {
    if !nginx::is_here() {
        return;
    }
    let upstream = telling();
    let to = upstream.address;
    let pass = format!(
        "location / {{ {TO} }}
         location /set {{ {TO} proxy_set_header X-Own $uri; }}
         location /own {{ {TO} proxy_method PUT; proxy_set_body own; }}
         location /a/ {{ proxy_http_version 2; proxy_pass http://up/b/; }}"
    );
    let group = format!("upstream up {{ server {to}; keepalive 1; }}");
    let (folder, port, behind) = (Folder::new(), ports::free(), ports::free());
    let big: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    folder.write("html/big", &big);
    let (private, here) = (nginx::private_folders(&folder), folder.path().display());
    folder.write(
        "nginx-oracle.conf",
        format!(
            "daemon off;\nmaster_process off;\npid {here}/nginx.pid;\nevents {{}}\nhttp {{ access_log off; {private}\n\
             {group}\nhttp2 on;\nserver {{ listen 127.0.0.1:{port};\n{pass}\n}}\n\
             server {{ listen 127.0.0.1:{behind}; root {here}/html; }} }}\n"
        ),
    );
    let _nginx = nginx::start(&folder, "nginx-oracle.conf", &[port, behind]);
    let pass = format!(
        "{pass} location /big {{ proxy_http_version 2; proxy_pass http://127.0.0.1:{behind}; }}"
    );
    let site = Site::start(&format!("{group}\nhttp2 on;"), &pass);
    let told = |port: u16, path: &str, body: &[u8]| {
        let mut client = Http2::connect(port);
        let text = client.post(path, body).text();
        // The first line is its number on the connection.
        let mut lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
        lines.sort();
        lines
    };
    for path in ["/x%2Fy?q=1", "/set", "/own", "/a/c%20d"] {
        assert_eq!(
            told(site.port, path, b"12345"),
            told(port, path, b"12345"),
            "{path}"
        );
    }
    // Many at once, each larger than all its windows.
    let mut client = Http2::connect(site.port);
    let streams: Vec<u32> = (0..20).map(|_| client.ask("/big")).collect();
    for stream in streams {
        assert!(client.answer(stream).body == big);
    }
}

#[test]
fn over_tls_it_is_agreed_on_by_alpn() {
    let folder = Folder::new();
    let authority = Authority::new(&folder, "ca");
    authority.issue(&folder, "one", "one.test", 1);
    let (port, secure, old) = (ports::free(), ports::free(), ports::free());
    let here = folder.path().display();
    let verified =
        "proxy_ssl_verify on; proxy_ssl_trusted_certificate ca.crt; proxy_ssl_name one.test;
                    proxy_ssl_server_name on;";
    let text = format!(
        "daemon off;\npid {here}/pid;\nerror_log {here}/logs/error.log info;\nevents {{}}\nhttp {{ access_log off;\n\
         ssl_certificate one.crt; ssl_certificate_key one.key;\n\
         server {{ listen 127.0.0.1:{secure} ssl; http2 on; return 200 \"$http2 $ssl_server_name $connection\"; }}\n\
         server {{ listen 127.0.0.1:{old} ssl; return 200 \"$server_protocol\"; }}\n\
         server {{ listen 127.0.0.1:{port}; proxy_http_version 2;\n\
         location / {{ {verified} proxy_pass https://127.0.0.1:{secure}; }}\n\
         location /one {{ proxy_pass https://127.0.0.1:{secure}; proxy_http_version 1.1; }}\n\
         location /wrong {{ {verified} proxy_ssl_name two.test; proxy_pass https://127.0.0.1:{secure}; }}\n\
         location /old {{ proxy_pass https://127.0.0.1:{old}; }} }} }}\n"
    );
    let text = text.replacen("proxy_ssl_name one.test;\n                    proxy_ssl_server_name on; proxy_ssl_name two.test;", "proxy_ssl_name two.test;", 1);
    let _running = Server::start(&folder, &text, &[port, secure, old]);
    let mut client = Client::connect(port);
    let first = client.get("/").text();
    assert!(first.starts_with("h2 one.test "), "{first}");
    assert_eq!(client.get("/").text(), first);
    assert!(client.get("/one").text().starts_with("  "));
    assert_eq!(client.get("/wrong").status, 502);
    assert_eq!(client.get("/old").status, 502);
}
