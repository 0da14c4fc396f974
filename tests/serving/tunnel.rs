//! Tunnels: clients that ask for a connection to somebody else.

use std::time::Duration;

use super::Site;
use crate::support::client::End;
use crate::support::http2::{DATA, END_STREAM, Http2};
use crate::support::{Client, Upstream, until};

/// Somebody who says back what it hears, in angle brackets.
fn echo() -> Upstream {
    Upstream::start(|mut asked, _| {
        while let Some(heard) = asked.any() {
            asked.say([b"<", heard.as_slice(), b">"].concat());
        }
    })
}

fn connect(to: &str, lines: &str) -> String {
    format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{lines}\r\n")
}

#[test]
fn a_tunnel_carries_bytes_both_ways() {
    let upstream = echo();
    let to = upstream.address;
    let site = Site::start(
        "log_format it '$request_method $status $body_bytes_sent $upstream_addr $uri';",
        "tunnel_pass; tunnel_allow_private 127.0.0.0/8; access_log logs/it.log it;
         location /x { return 200 x; }",
    );
    let mut client = Client::connect(site.port);
    client.send(connect(&to.to_string(), "") + "early");
    let head = client.read_head();
    assert_eq!((head.status, head.header("content-length")), (200, None));
    assert_eq!(head.header("connection"), Some("close"));
    assert_eq!(head.header("transfer-encoding"), None);
    assert_eq!(client.take(7).unwrap(), b"<early>");
    client.send("more");
    assert_eq!(client.take(6).unwrap(), b"<more>");
    drop(client);
    until("the tunnel is logged", || {
        let log = site.folder.read("logs/it.log");
        log == format!("CONNECT 200 13 {to} /\n")
    });
    // Others are served as ever, where they are; and who asks for no tunnel gets none.
    let mut client = Client::connect(site.port);
    assert_eq!(client.get("/x").text(), "x");
    assert_eq!(client.get("/").status, 405);
}

#[test]
fn clients_reach_no_address_that_is_not_public_unless_it_is_named() {
    let upstream = echo();
    let port = upstream.address.port();
    let to = upstream.address;
    let site = Site::start(
        &format!("upstream known {{ server {to}; }}"),
        "tunnel_pass; tunnel_connect_timeout 1s;",
    );
    for host in [
        "127.0.0.1",
        "localhost",
        "127.0.0.2",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
    ] {
        let mut client = Client::connect(site.port);
        client.send(connect(&format!("{host}:{port}"), ""));
        assert_eq!(client.response().status, 403, "{host}");
    }
    assert!(upstream.is_quiet());
    until("the error log says why", || {
        let log = site.folder.read("logs/error.log");
        log.contains("is not a public address") && log.contains("tunnel_allow_private")
    });
    // What the configuration names is reached, whoever asks for what.
    for pass in [
        format!("tunnel_pass {to};"),
        "tunnel_pass known;".to_owned(),
    ] {
        let site = Site::start(&format!("upstream known {{ server {to}; }}"), &pass);
        let mut client = Client::connect(site.port);
        client.send(connect("anything.example:1", ""));
        assert_eq!(client.read_head().status, 200, "{pass}");
        client.send("hi");
        assert_eq!(client.take(4).unwrap(), b"<hi>");
    }
}

#[test]
fn what_is_no_tunnel_is_refused_as_in_nginx() {
    let upstream = echo();
    let to = upstream.address.to_string();
    let tunnels = Site::start("", "tunnel_pass; tunnel_allow_private 127.0.0.1;");
    let none = Site::start("", "");
    let closed = "127.0.0.1:1";
    for (site, request, status) in [
        (&tunnels, connect(&to, "Content-Length: 5\r\n"), 400),
        (
            &tunnels,
            connect(&to, "Transfer-Encoding: chunked\r\n"),
            400,
        ),
        (&tunnels, format!("CONNECT {to} HTTP/1.0\r\n\r\n"), 405),
        (&tunnels, format!("CONNECT {to} HTTP/1.1\r\n\r\n"), 400),
        (
            &tunnels,
            "CONNECT 127.0.0.1 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
            400,
        ),
        (&tunnels, connect(closed, ""), 502),
        (&none, connect(&to, ""), 405),
        (&none, connect(&to, "Content-Length: 5\r\n"), 405),
    ] {
        let mut client = Client::connect(site.port);
        client.send(&request);
        let (answer, end) = client.rest(Duration::from_secs(10));
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.contains("Connection: close\r\n"),
            "{request}{answer}"
        );
        let said = answer.get(9..12).and_then(|it| it.parse().ok());
        assert_eq!((said, end == End::Open), (Some(status), false), "{request}");
    }
    let mut client = Client::connect(tunnels.port);
    client.send(connect(&to, "Content-Length: 0\r\n"));
    assert_eq!(client.read_head().status, 200);
}

#[test]
fn a_proxy_asks_who_somebody_is() {
    let upstream = echo();
    let to = upstream.address.to_string();
    let folder = crate::support::Folder::new();
    folder.write("html/index.html", "home\n");
    folder.write("users", "u:{PLAIN}p\n");
    let site = Site::serve(
        folder,
        "log_format it '$remote_user $status';",
        "auth_basic r; auth_basic_user_file users; tunnel_pass; tunnel_allow_private 127.0.0.1;
         access_log logs/it.log it; satisfy any; deny all;",
    );
    let mut client = Client::connect(site.port);
    client.send(connect(&to, "Authorization: Basic dTpw\r\n"));
    let answer = client.response();
    assert_eq!(answer.status, 407);
    assert_eq!(
        answer.header("proxy-authenticate"),
        Some("Basic realm=\"r\"")
    );
    assert!(answer.text().contains("407 Proxy Authentication Required"));
    let mut client = Client::connect(site.port);
    client.send(connect(&to, "Proxy-Authorization: Basic dTpw\r\n"));
    assert_eq!(client.read_head().status, 200);
    drop(client);
    until("both are logged", || {
        site.folder.read("logs/it.log") == "- 407\nu 200\n"
    });
}

#[test]
fn one_stream_of_http2_is_a_tunnel() {
    let upstream = echo();
    let to = upstream.address.to_string();
    let site = Site::start(
        "",
        "http2 on; tunnel_pass; tunnel_allow_private 127.0.0.1; location /x { return 200 x; }",
    );
    let mut client = Http2::connect(site.port);
    let fields = [(":method", "CONNECT"), (":authority", to.as_str())];
    let stream = client.begin(&fields, 0);
    client.frame(DATA, 0, stream, b"hi");
    while client
        .answers
        .get(&stream)
        .is_none_or(|it| it.body != b"<hi>")
    {
        client.read().expect("it is heard");
    }
    assert_eq!(client.answers[&stream].status(), 200);
    // Other streams go on beside it.
    assert_eq!(client.get("/x").text(), "x");
    client.frame(DATA, END_STREAM, stream, b"!");
    let answer = client.answer(stream);
    assert!(answer.is_ended || answer.reset.is_some());
    // The client chooses no more there than in HTTP/1.
    let fields = [(":method", "CONNECT"), (":authority", "10.0.0.1:80")];
    let stream = client.begin(&fields, END_STREAM);
    assert_eq!(client.answer(stream).status(), 403);
}
