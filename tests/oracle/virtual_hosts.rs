//! Which server answers.

use super::pair::{compare, compare_requests};
use super::request::{get, raw};

#[test]
fn the_same_server_answers_as_in_nginx() {
    let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let hosts = [
        "first.example",
        "second.example",
        "a.wild.example",
        "a.b.wild.example",
        "wild.example",
        "wt.foo",
        "wt.foo.bar",
        "wt",
        "wt.",
        "bob.re.example",
        "b-b.re.example",
        "x.dot.example",
        "dot.example",
        "DOT.example.",
        "adot.example",
        "unknown",
        "second.example:99",
        "second.example:",
        "second.example.",
        "second.example.:80",
        "[::1]",
        "[::1]:80",
        "127.0.0.1",
        "SECOND.EXAMPLE",
        "Bob.RE.example",
        "bare.example",
        "redirect.example",
        "machine.example",
        "a-b_c.wild.example",
        "1.2.3.4:5",
        "localhost",
        "x..wild.example",
        ".wild.example",
        "-",
        "a",
        "rootless.example",
        // One of two names that `.x` means may be another server's.
        "taken.example",
        "a.taken.example",
        "other.example",
        "a.other.example",
        "conflict.example",
        host_name.trim(),
    ];
    let each = |host: &str| {
        [
            get("/pre/q").host(host),
            get("//x//y").host(host),
            get("/a").host(host),
            get("/small.txt").host(host),
            get("/name/").host(host),
            get("/sname/").host(host),
            get("/pre/q").host(host).http_10(),
            get(format!("http://{host}/pre/q")).host("first.example"),
        ]
    };
    let nameless = ["/nameless", "/pre/q"].map(|path| get(path).http_10().no_host());
    compare_requests(hosts.into_iter().flat_map(each).chain(nameless));
}

#[test]
fn a_server_without_a_root_serves_html_in_the_prefix() {
    let paths = ["/where", "/small.txt", "/a", "/a/", "/nope", "/tfal/x"];
    compare_requests(paths.map(|path| get(path).host("www.apex.example")));
}

#[test]
fn a_host_may_allow_larger_headers_than_the_default_server() {
    let line = |bytes: usize| format!("X: {}", "y".repeat(bytes));
    let each = |host: &'static str| {
        let get = move || get("/small.txt").host(host);
        [
            get().line(line(8000)),
            get().line(line(9000)),
            get().line(line(9000)).line(line(9000)),
            get().line(line(17_000)),
            get().line(line(9000)).stay(),
        ]
    };
    compare_requests(
        ["first.example", "rootless.example"]
            .into_iter()
            .flat_map(each),
    );
    let later = |host| {
        let long = line(9000);
        raw(format!(
            "GET /small.txt HTTP/1.1\r\n{long}\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    };
    compare(vec![later("first.example"), later("rootless.example")]);
}
