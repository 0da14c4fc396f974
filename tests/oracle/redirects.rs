//! `return`, redirects of folders, and where they point.

use super::pair::compare_requests;
use super::request::{get, head, method};

const PATHS: &[&str] = &[
    "/r301",
    "/r302?a=5",
    "/r302",
    "/r302?a=%20",
    "/r303",
    "/r307",
    "/r308",
    "/r301e",
    "/r302arg",
    "/r302arg?to=/y",
    "/epurl/",
    "/epgone/",
    "/url?z",
    "/url",
    "/r204",
    "/r404",
    "/r404t",
    "/r500",
    "/r418",
    "/r418t",
    "/r444",
    "/r200e",
    "/r599",
    "/norel/",
    "/noport/",
    "/snr/",
    "/noreldir/a",
    "/noreldir/a?x=y",
    "/a",
    "/a?x=1&y=%20",
    "/b",
    "/emptydir",
    "/.hid",
    "/%61",
    "/alias",
    "/hd/a",
    "/tf404/a",
    "/%2e/a",
    "/a%3f",
];

#[test]
fn redirects_point_where_those_of_nginx_point() {
    let each = |path: &&str| {
        [
            get(*path),
            head(*path),
            get(*path).http_10(),
            get(*path).line("Expect: 100-continue"),
            get(*path).http_10().no_host(),
            get(*path).host("other.example:8080"),
            get(*path).host("second.example").line("X: y"),
            get(*path).host("redirect.example"),
            get(*path).host("www.redirect.example:81"),
            method("POST", *path).line("Content-Length: 0"),
        ]
    };
    compare_requests(PATHS.iter().flat_map(each));
}
