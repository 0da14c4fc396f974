//! No path leads out of its root.

use super::Site;
use crate::support::{Client, Folder};

/// Ways up.
const UPS: &[&str] = &[
    "..",
    "%2e%2e",
    "%2E%2E",
    ".%2e",
    "%2e.",
    "%252e%252e",
    "..%00",
    "..%5c",
    "..\\",
    "%2e%2e%5c",
    "..;",
    "..;/..",
    ".%00.",
    "%c0%ae%c0%ae",
    "%e0%80%ae%e0%80%ae",
    "%uff0e%uff0e",
    "..%2f",
    "..%252f",
    "%2e%2e%2f",
    "..%c0%af",
    "..%ef%bc%8f",
    "...",
    "....//",
    ".../...",
    "..%0d",
    "..%0a",
    "..%20",
    "..%09",
    "%2e%2e%00",
    "%00..",
    "..?",
    "..#",
    "..%3f",
    "..%23",
    "~",
    "..~1",
    "%2e%2e;",
    "..\u{2215}",
    "..%u2215",
];

/// Where they start.
const STARTS: &[&str] = &[
    "/", "//", "/a/", "/a/b/", "/alias/", "/alias", "/re/", "/tf/", "/%2f/", "/./", "/a/../",
    "/a//", "/\\", "/a\\b/",
];

#[test]
fn no_path_leaves_its_root() {
    let folder = Folder::new();
    folder.write("secret.txt", "SECRET");
    folder.write("html/a/b/c.txt", "fine");
    folder.write("aliased/x.txt", "fine");
    let here = folder.path().display().to_string();
    let locations = format!(
        "location /alias/ {{ alias {here}/aliased/; }}\n\
         location ~ ^/re/(.*)$ {{ alias {here}/aliased/$1; }}\n\
         location /tf/ {{ try_files $uri $uri/ /a/b/c.txt; }}\n\
         location /arg/ {{ try_files /$arg_f =404; }}\n"
    );
    let site = Site::serve(folder, "", &locations);
    let mut tried = 0;
    let mut client = Client::connect(site.port);
    let mut check = |target: String| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        client.send(request);
        let response = client.response();
        assert!(
            !response.text().contains("SECRET"),
            "{target} leaves the root"
        );
        if response.header("connection") == Some("close") {
            client = Client::connect(site.port);
        }
        tried += 1;
    };
    for start in STARTS {
        for up in UPS {
            for depth in 1..=4 {
                for slash in ["/", "%2f", "//", "\\"] {
                    let ups = vec![*up; depth].join(slash);
                    check(format!("{start}{ups}{slash}secret.txt"));
                }
            }
        }
    }
    check(format!("{here}/secret.txt"));
    check(format!("http://x/../{here}/secret.txt"));
    check("http://x/%2e%2e/secret.txt".into());
    assert!(tried > 7000, "{tried}");
    // What is inside is served, or this test would show nothing.
    assert_eq!(
        crate::support::get(site.port, "/a/../a/b/c.txt").text(),
        "fine"
    );
    assert_eq!(
        crate::support::get(site.port, "/alias/x.txt").text(),
        "fine"
    );
    assert_eq!(crate::support::get(site.port, "/re/x.txt").text(), "fine");
    assert!(!site.folder.read("logs/error.log").contains("panicked"));
}

#[test]
fn what_a_client_sends_adds_no_line_to_a_log() {
    let site = Site::start("", "location /r { return 302 /x$arg_a; }");
    let targets = [
        "/a%0d%0aforged",
        "/\"%0aforged",
        "/r?a=%0d%0aforged",
        "/nope\u{1b}[31m",
    ];
    for target in targets {
        let mut client = Client::connect(site.port);
        client.send(format!(
            "GET {target} HTTP/1.1\r\nHost: x\r\nReferer: a\tb\"\r\nConnection: close\r\n\r\n"
        ));
        let response = client.response();
        assert!(!response.head.contains("\nforged"), "{}", response.head);
    }
    for raw in [
        "GET / HTTP/1.1\r\nHost: x\r\nBad Line\r\n\r\n",
        "BAD\rforged\r\n\r\n",
        "GET / HTTP/1.1\r\nX: \u{1}\r\n\r\n",
    ] {
        let mut client = Client::connect(site.port);
        client.send(raw);
        client.response();
    }
    crate::support::until("all are logged", || {
        site.folder.read("logs/access.log").lines().count() == 7
    });
    let error_log = site.folder.read("logs/error.log");
    for line in error_log.lines() {
        assert!(
            line.starts_with("20") && line.contains("] "),
            "a line of somebody else: {line}"
        );
        assert!(!line.contains('\u{1b}') && !line.contains('\r'), "{line:?}");
    }
    for line in site.folder.read("logs/access.log").lines() {
        assert!(
            line.as_bytes()[..3].iter().all(u8::is_ascii_digit),
            "{line}"
        );
    }
}
