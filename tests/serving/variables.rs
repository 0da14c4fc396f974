//! Variables of which nginx cannot be asked: those that Debian's does not have yet, and what is random or large.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::Site;
use crate::support::{Client, Folder, until};

/// Source: nginx's `$request_port` and `$is_request_port`, since 1.29.3.
#[test]
fn the_port_is_that_of_the_request_line_or_of_the_host() {
    let site = Site::start(
        "",
        "return 200 \"$host$is_request_port$request_port ($request_port)\";",
    );
    let mut client = Client::connect(site.port);
    for (target, host, expected) in [
        ("/", "a.example", "a.example ()"),
        ("/", "a.example:", "a.example ()"),
        ("/", "a.example:8080", "a.example:8080 (8080)"),
        ("/", "a.example:0080", "a.example:80 (80)"),
        ("/", "[::1]", "[::1] ()"),
        ("/", "[::1]:443", "[::1]:443 (443)"),
        ("http://b.example:81/", "a.example:80", "b.example:81 (81)"),
        ("http://b.example/", "a.example:80", "b.example ()"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(client.response().text(), expected, "{target} {host}");
    }
}

/// Whoever has seen some cannot guess the next one.
#[test]
fn request_ids_are_random_and_stay_the_same() {
    let site = Site::start(
        "map $uri $mapped { volatile; default $request_id; }",
        "return 200 \"$request_id $mapped $request_id\";",
    );
    let mut client = Client::connect(site.port);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let text = client.response().text();
        let (id, again) = text.split_once(' ').expect("three of them");
        assert_eq!(again, format!("{id} {id}"));
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        assert!(id.len() == 32 && id.bytes().all(is_digit), "{id}");
        assert!(seen.insert(id.to_owned()), "{id} twice");
    }
}

/// As many keys as a site has redirects: each is found, and the table's file is read in linear time.
#[test]
fn a_hundred_thousand_keys_are_looked_up() {
    const COUNT: u32 = 100_000;
    let folder = Folder::new();
    let mut tables = [const { String::new() }; 3];
    for number in 0..COUNT {
        let begin = Ipv4Addr::from(0x0a00_0000 + number * 16);
        let end = Ipv4Addr::from(0x0a00_0000 + number * 16 + 9);
        let _ = writeln!(tables[0], "/old/{number} /new/{number};");
        let _ = writeln!(tables[1], "{begin}/29 {number};");
        let _ = writeln!(tables[2], "{begin}-{end} {number};");
    }
    for (name, table) in ["map", "networks", "ranges"].iter().zip(&tables) {
        folder.write(&format!("{name}.table"), table);
    }
    let here = folder.path().display().to_string();
    let http = "map $arg_k $new { include FOLDER/map.table; }
        geo $arg_a $network { include FOLDER/networks.table; }
        geo $arg_a $range { ranges; default -; include FOLDER/ranges.table; }"
        .replace("FOLDER", &here);
    let site = Site::serve(folder, &http, "return 200 \"$new $network $range\";");
    let mut client = Client::connect(site.port);
    for number in [0, 1, 4711, 65_535, 65_536, COUNT - 1] {
        for (last, networks, range) in [(3, true, true), (8, false, true), (12, false, false)] {
            let address = Ipv4Addr::from(0x0a00_0000 + number * 16 + last);
            let target = format!("/?k=/old/{number}&a={address}");
            client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            let shown = |is_there, other: &str| match is_there {
                true => number.to_string(),
                false => other.to_owned(),
            };
            let expected = format!(
                "/new/{number} {} {}",
                shown(networks, ""),
                shown(range, "-")
            );
            assert_eq!(client.response().text(), expected);
        }
    }
}

/// nginx says so twice, as it asks twice for each value.
#[test]
fn a_ring_of_variables_is_logged() {
    let ring = "map $uri $one { volatile; default x$two; } map $uri $two { default $one; }";
    let site = Site::start(ring, "return 200 $one;");
    let mut client = Client::connect(site.port);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "x".repeat(50));
    until("the log says so", || {
        let log = site.folder.read("logs/error.log");
        log.matches("[error]").count() == 1
            && log.contains("cycle while evaluating variable \"one\"")
    });
}

/// What nginx cannot be compared with: new numbers.
#[test]
fn a_client_without_a_number_gets_one_of_its_own() {
    let site = Site::start("", "userid on; return 200 \"$uid_got|$uid_set\";");
    let mut client = Client::connect(site.port);
    let mut ask = |cookie: &str| {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{cookie}\r\n"));
        let response = client.response();
        let set = response.header("set-cookie").map(str::to_owned);
        (set, response.text())
    };
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let (set, text) = ask("");
        let set = set.expect("a new cookie");
        let cookie = set.strip_suffix("; path=/").expect("its path");
        let number = text.strip_prefix('|').expect("none was there");
        assert!(
            number.starts_with("uid=0100007F") && number.len() == 36,
            "{number}"
        );
        assert!(cookie.ends_with("==") && cookie.len() == 28, "{cookie}");
        let again = ask(&format!("Cookie: {cookie}\r\n"));
        assert_eq!(again, (None, format!("{number}|")));
        assert!(seen.insert(set.clone()), "{set} twice");
    }
}

/// Source: nginx's `volatile` of `geo`, since 1.29.3, and its patterns of files, since 1.29.8.
#[test]
fn a_volatile_geo_is_asked_again() {
    let folder = Folder::new();
    folder.write("geo.d/one.conf", "10.0.0.1 one;\n");
    folder.write("geo.d/two.conf", "10.0.0.2 two;\n");
    let tables = format!("include {}/geo.d/*.conf;", folder.path().display());
    let http = format!(
        "map $uri $address {{ volatile; /a 10.0.0.1; default 10.0.0.2; }}
         geo $address $kept {{ {tables} }}
         geo $address $fresh {{ volatile; {tables} }}"
    );
    let server = "location = /a { try_files /$kept$fresh.none /b; }
         location = /b { return 200 \"$kept $fresh\"; }";
    let site = Site::serve(folder, &http, server);
    let mut client = Client::connect(site.port);
    for (path, expected) in [("/a", "one two"), ("/b", "two two")] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(client.response().text(), expected);
    }
}

/// Clients of a Unix socket have no address of their own; a proxy behind one may tell theirs.
#[test]
fn clients_of_unix_sockets_are_told_apart() {
    let folder = Folder::new();
    let socket = folder.file("socket");
    let server = format!(
        "listen unix:{};
         location /let-in {{ allow unix:; deny all; try_files /none @say; }}
         location /kept-out {{ deny unix:; try_files /none @say; }}
         location /told {{ set_real_ip_from unix:; allow 10.0.0.1; deny all; try_files /none @say; }}
         location @say {{ return 200 \"$remote_addr|$remote_port|$realip_remote_addr|$by_geo\"; }}",
        socket.display()
    );
    let http = "geo $by_geo { default other; 10.0.0.1 told; 255.255.255.255 none; }";
    let _site = Site::serve(folder, http, &server);
    for (path, line, expected) in [
        ("/let-in", "", "200 OK|unix:||unix:|none"),
        ("/kept-out", "", "403 Forbidden"),
        ("/told", "", "403 Forbidden"),
        (
            "/told",
            "X-Real-IP: 10.0.0.1\r\n",
            "200 OK|10.0.0.1||unix:|told",
        ),
        ("/told", "X-Real-IP: 10.0.0.2\r\n", "403 Forbidden"),
    ] {
        let mut stream = UnixStream::connect(&socket).expect("a server");
        let bound = Some(Duration::from_secs(10));
        stream.set_read_timeout(bound).expect("a socket");
        let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{line}Connection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("room for a head");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("a response");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.lines().next().and_then(|line| line.split_once(' '));
        let status = status.map(|(_, status)| status).unwrap_or_default();
        let shown = match status {
            "200 OK" => format!("{status}|{body}"),
            status => status.to_owned(),
        };
        assert_eq!(shown, expected, "{path} {line}");
    }
}
