//! Variables that Debian's nginx does not have yet, so that it cannot be asked.

use super::Site;
use crate::support::Client;

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
