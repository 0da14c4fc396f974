//! Many streams at once: turns, windows, ends.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{site, site_with};
use crate::support::http2::{
    DATA, END_STREAM, Http2, PRIORITY_UPDATE, RST_STREAM, SETTINGS, WINDOW_UPDATE, get,
};
use crate::support::wait::PATIENCE;
use crate::support::{Upstream, until};

fn connect(port: u16, settings: &[(u16, u32)]) -> Http2 {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    Http2::over(stream, settings)
}

#[test]
fn a_slow_reader_of_one_stream_holds_up_no_other() {
    let site = site("");
    let mut client = connect(site.port, &[(4, 1000)]);
    client.takes = false;
    let slow = client.ask("/big");
    while client
        .answers
        .get(&slow)
        .is_none_or(|answer| answer.body.len() < 1000)
    {
        client.read().unwrap();
    }
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "home\n");
    }
    assert_eq!(client.answers[&slow].body.len(), 1000);
    // It gets what its window takes, and no more.
    client.frame(WINDOW_UPDATE, 0, slow, &500u32.to_be_bytes());
    client.get("/");
    while client.answers[&slow].body.len() < 1500 {
        client.read().unwrap();
    }
    client.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    client.takes = true;
    client.frame(WINDOW_UPDATE, 0, slow, &5_000_000u32.to_be_bytes());
    client.frame(WINDOW_UPDATE, 0, 0, &5_000_000u32.to_be_bytes());
    let answer = client.answer(slow);
    assert!(answer.body == std::fs::read(site.folder.file("html/big")).unwrap());
}

#[test]
fn who_takes_nothing_for_too_long_is_reset() {
    let site = site("send_timeout 1s;");
    let mut client = connect(site.port, &[(4, 100)]);
    client.takes = false;
    let stalled = client.ask("/1k");
    let began_at = Instant::now();
    assert_eq!(client.answer(stalled).reset, Some(8));
    assert!(began_at.elapsed() >= Duration::from_secs(1));
    assert_eq!(client.get("/").text(), "home\n");
    until("it is logged", || {
        let log = site.folder.read("logs/error.log");
        log.contains(
            "client timed out (110: Connection timed out) while sending response to client",
        )
    });
}

#[test]
fn urgent_answers_go_first() {
    let site = site("");
    let mut client = connect(site.port, &[(4, 1 << 20)]);
    client.takes = false;
    // All wait for the connection's window, which the first uses up.
    let first = client.ask("/100k.html");
    while client
        .answers
        .get(&first)
        .is_none_or(|answer| answer.body.len() < 65535)
    {
        client.read().unwrap();
    }
    let ask = |client: &mut Http2, priority: &'static str| {
        let fields = [&get("/100k.html")[..], &[("priority", priority)]].concat();
        client.begin(&fields, END_STREAM)
    };
    let image = ask(&mut client, "u=5, i");
    let other_image = ask(&mut client, "u=5, i");
    let late = ask(&mut client, "u=7");
    let script = ask(&mut client, "u=2");
    let style = ask(&mut client, "u=2");
    let page = ask(&mut client, "u=7");
    client.frame(
        PRIORITY_UPDATE,
        0,
        0,
        &[&page.to_be_bytes()[..], b"u=0"].concat(),
    );
    // All of them have come in by the time that this is answered.
    let fields = [&[(":method", "HEAD")], &get("/")[1..]].concat();
    let head = client.begin(&fields, END_STREAM);
    client.answer(head);
    client.order.clear();
    client.frame(WINDOW_UPDATE, 0, 0, &10_000_000u32.to_be_bytes());
    for stream in [page, script, style, image, other_image, late] {
        assert_eq!(client.answer(stream).body.len(), 100_000);
    }
    let without_first: Vec<u32> = client
        .order
        .iter()
        .copied()
        .filter(|it| *it != first)
        .collect();
    assert_eq!(without_first[..3], [page, script, style]);
    assert_eq!(without_first.last(), Some(&late));
    // Images take turns.
    let turns = &without_first[3..without_first.len() - 1];
    assert!(
        turns.len() >= 6 && turns.iter().all(|it| [image, other_image].contains(it)),
        "{turns:?}"
    );
}

#[test]
fn who_says_nothing_of_urgency_has_all_take_turns() {
    let site = site("");
    let mut client = connect(site.port, &[(4, 1 << 24)]);
    let big = client.ask("/big");
    let small = client.ask("/100k.html");
    client.answer(small);
    assert!(
        !client.answers[&big].is_ended,
        "a small one does not wait for a large one"
    );
    client.answer(big);
}

#[test]
fn trailers_and_interim_answers() {
    let upstream = Upstream::start(|mut asked, _| {
        asked.head();
        asked.body(4);
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        asked.wait_closed();
    });
    let to = upstream.address;
    let site = site(&format!(
        "location /t {{ add_trailer X-Sum $request_method; return 200 body; }}
         location /p {{ proxy_pass http://{to}; }}"
    ));
    let mut client = Http2::connect(site.port);
    let answer = client.get("/t");
    assert_eq!(answer.text(), "body");
    assert_eq!(answer.heads[1], [("x-sum".to_owned(), "GET".to_owned())]);
    // Who waits to be told that it may send is told; its own trailers end its body.
    let fields = [
        &[(":method", "POST")],
        &get("/p")[1..],
        &[("expect", "100-continue")],
    ]
    .concat();
    let stream = client.begin(&fields, 0);
    while !client.answers.contains_key(&stream) {
        client.read().unwrap();
    }
    assert_eq!(client.answers[&stream].heads[0][0].1, "100");
    client.frame(DATA, 0, stream, b"body");
    let trailers = crate::support::http2::block(&[("x-end", "1")]);
    client.frame(1, 5, stream, &trailers);
    let answer = client.answer(stream);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "ok"));
}

#[test]
fn a_client_that_gives_up_is_noticed_while_its_upstream_works() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.wait_closed();
        let _ = seen.send("closed".into());
    });
    let to = upstream.address;
    let site = site(&format!("location /p {{ proxy_pass http://{to}; }}"));
    let mut client = Http2::connect(site.port);
    let stream = client.ask("/p");
    upstream.seen();
    client.frame(RST_STREAM, 0, stream, &8u32.to_be_bytes());
    assert_eq!(upstream.seen(), "closed");
    until("it is logged", || {
        site.folder
            .read("logs/access.log")
            .contains("499 GET /p HTTP/2.0")
    });
    assert_eq!(client.get("/").text(), "home\n");
    // And one that leaves altogether.
    client.ask("/p");
    upstream.seen();
    drop(client);
    assert_eq!(upstream.seen(), "closed");
    until("it is logged", || {
        site.folder
            .read("logs/access.log")
            .matches("499 GET /p")
            .count()
            == 2
    });
}

#[test]
fn websockets_go_over_a_stream() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\nSec-WebSocket-Protocol: chat\r\n\r\nhello");
        let got = asked.body(4);
        asked.say([&b"got "[..], &got].concat());
    });
    let to = upstream.address;
    let site = site(&format!(
        "location /chat {{ proxy_pass http://{to}; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}"
    ));
    let mut client = Http2::connect(site.port);
    let fields = |path| {
        [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            ("sec-websocket-version", "13"),
        ]
    };
    let stream = client.begin(&fields("/chat"), 0);
    let head = upstream.seen();
    assert!(
        head.starts_with("GET /chat HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"),
        "{head}"
    );
    assert!(head.contains("sec-websocket-version: 13\r\n"), "{head}");
    let key = head
        .lines()
        .find_map(|line| line.strip_prefix("sec-websocket-key: "));
    assert_eq!(key.map(str::len), Some(24), "{head}");
    client.frame(DATA, 0, stream, b"ping");
    let answer = client.answer(stream);
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "hellogot ping")
    );
    assert_eq!(answer.header("sec-websocket-protocol"), Some("chat"));
    assert!(answer.header("upgrade").is_none() && answer.header("sec-websocket-accept").is_none());
    // Where nobody speaks it, nothing looks like success.
    let stream = client.begin(&fields("/"), 0);
    assert_eq!(client.answer(stream).status(), 501);
    assert_eq!(client.get("/").text(), "home\n");
}

#[test]
fn a_connection_has_its_share_and_goes() {
    let site = site_with("", "keepalive_requests 3;");
    let mut client = Http2::connect(site.port);
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(client.sent_away(), 0);
    assert_eq!(client.goaway, Some((5, 0)));
    let site = super::site("keepalive_timeout 1s;");
    let mut client = Http2::connect(site.port);
    client.get("/");
    let began_at = Instant::now();
    assert_eq!(client.sent_away(), 0);
    assert!(began_at.elapsed() >= Duration::from_millis(900));
}

#[test]
fn a_worker_that_ends_lets_streams_end() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        std::thread::sleep(Duration::from_millis(1500));
        asked.say("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate");
    });
    let to = upstream.address;
    let mut site = site(&format!("location /p {{ proxy_pass http://{to}; }}"));
    let mut idle = Http2::connect(site.port);
    idle.get("/");
    let mut busy = Http2::connect(site.port);
    let stream = busy.ask("/p");
    upstream.seen();
    site.server.signal(Signal::QUIT);
    assert_eq!(idle.sent_away(), 0);
    // What it asks for meanwhile is answered, or was not looked at.
    std::thread::sleep(Duration::from_millis(100));
    let second = busy.ask("/1k");
    let answer = busy.answer(stream);
    assert_eq!((answer.status(), answer.text().as_str()), (200, "late"));
    assert_eq!(busy.sent_away(), 0);
    let (last, _) = busy.goaway.unwrap();
    assert_eq!(
        last >= second,
        busy.answers.get(&second).is_some_and(|it| it.is_ended)
    );
    assert!(site.server.wait().success());
}

#[test]
fn a_reload_changes_what_the_next_stream_gets() {
    let site = site("location /v { return 200 one; }");
    let mut client = Http2::connect(site.port);
    assert_eq!(client.get("/v").text(), "one");
    let text = site
        .folder
        .read("nginx.conf")
        .replace("return 200 one", "return 200 two");
    site.folder.write("nginx.conf", &text);
    site.server.signal(Signal::HUP);
    until("the new configuration serves", || {
        client.get("/v").text() == "two"
    });
}

#[test]
fn streams_of_each_connection_are_counted_apart() {
    let upstream = Upstream::start(|mut asked, seen| {
        let _ = seen.send(asked.head());
        asked.wait_closed();
    });
    let to = upstream.address;
    let site = site_with(
        "limit_conn_zone $binary_remote_addr zone=c:1m;",
        &format!("location /p {{ limit_conn c 2; proxy_pass http://{to}; }}"),
    );
    let mut client = Http2::connect(site.port);
    let one = client.ask("/p");
    client.ask("/p");
    upstream.seen();
    upstream.seen();
    assert_eq!(client.get("/p").status(), 503);
    client.frame(RST_STREAM, 0, one, &8u32.to_be_bytes());
    let third = client.ask("/p");
    upstream.seen();
    assert!(!client.answers.contains_key(&third));
}
