//! Which server answers.

use super::pair::compare_requests;
use super::request::get;

#[test]
fn the_same_server_answers_as_in_nginx() {
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
    ];
    let each = |host: &str| {
        [
            get("/pre/q").host(host),
            get("//x//y").host(host),
            get("/a").host(host),
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
