//! Nobody writes a part of another's line into the error log.

use super::Site;
use crate::support::{Client, Folder, until};

/// What an attacker would like to be read as the client.
const FORGED: &str = "198.51.100.7";

#[test]
fn the_first_client_of_a_line_is_the_client() {
    let folder = Folder::new();
    folder.write("html/index.html", "");
    let site = Site::serve(
        folder,
        "",
        "location /t/ { try_files /$arg_f =404; } location /e/ { return 200 ok; }",
    );
    let targets = [
        format!("/x%22,%20client:%20{FORGED},%20server:%20y,%20request:%20%22GET%20/"),
        format!("/x,%20client:%20{FORGED}/"),
        format!("/client:{FORGED}"),
        format!("/a%0a2026/01/01%2000:00:00%20[error]%201#1:%20*1%20x,%20client:%20{FORGED}"),
        format!("/%c2%85client:%20{FORGED}"),
        format!("/%e2%80%a8client:%20{FORGED}"),
        format!("/t/?f=x%22,%20client:%20{FORGED}"),
    ];
    let mut client = Client::connect(site.port);
    for target in &targets {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(client.response().status >= 400);
    }
    for lines in [
        format!("X: a\r\ncl@ient: x, client: {FORGED}, server: y\r\n"),
        format!("Referer: x\", client: {FORGED}\r\nT@: \u{9b}31m\u{202e}\u{85}\r\n"),
        format!("T@: \u{2066}client: {FORGED}\r\n"),
    ] {
        let mut client = Client::connect(site.port);
        client.send(format!("GET /nope HTTP/1.1\r\nHost: x\r\n{lines}\r\n"));
        assert_eq!(client.response().status, 404);
    }
    until("all are logged", || {
        site.folder.count("logs/error.log", "/html/nope\" failed") == 3
    });
    let log = site.folder.read("logs/error.log");
    for line in log.lines().filter(|line| line.contains('*')) {
        let (_, after) = line.split_once("client:").expect("a line with its client");
        assert!(after.starts_with(" 127.0.0.1, server: "), "{line}");
        assert_eq!(line.matches("client:").count(), 1, "{line}");
    }
    for character in ['\u{85}', '\u{9b}', '\u{202e}', '\u{2028}', '\u{2066}'] {
        assert!(!log.contains(character), "{character:?} in {log}");
    }
    assert!(
        log.contains("\\xC2\\x9B31m\\xE2\\x80\\xAE\\xC2\\x85"),
        "{log}"
    );
}
