//! Built-in pages, `error_page`, and what may follow what.

use super::pair::compare_requests;
use super::request::{get, head, method};

const PATHS: &[&str] = &[
    "/ep/none",
    "/ep200/none",
    "/epe/none",
    "/epx/none",
    "/epn/none",
    "/epu/none",
    "/epu301/none",
    "/ep403/x",
    "/ep5/x",
    "/eploop/x",
    "/eprec/x",
    "/eprec2/x",
    "/epmiss/x",
    "/epnest/x",
    "/epnest3/x",
    "/epredir/x",
    "/epmaint/x",
    "/epforever/x",
    "/ep304/x",
    "/ep204/x",
    "/epstatus/x",
    "/epclose/x",
    "/epmiss302/x",
    "/epcycle/x",
    "/epmoved/x",
    "/epnowhere/x",
    "/epnoname/x",
    "/epnonames/x",
    "/epfolder/a",
    "/epvar/x?y=z",
    "/st/",
    "/nope",
    "/b/",
    "/r404",
    "/r500",
    "/r418",
    "/r408",
    "/r408t",
    "/r444t",
    "/r494",
    "/r495",
    "/r496",
    "/r497",
    "/r498",
    "/r499",
    "/tf444/",
    "/404.html",
    "/ep/..%2f",
    "/x.php",
];

#[test]
fn errors_have_the_pages_that_nginx_gives_them() {
    let each = |path: &&str| {
        [
            get(*path),
            head(*path),
            get(*path).stay(),
            get(*path).http_10(),
            method("POST", *path).line("Content-Length: 0"),
            method("PUT", *path).line("Content-Length: 3").body("abc"),
            get(*path).line("If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT"),
            get(*path).line("Range: bytes=0-1"),
            get(*path).line("If-Match: \"x\""),
            get(*path).line("Expect: 100-continue"),
            get(*path).line("User-Agent: Mozilla/4.0 (compatible; MSIE 7.0)"),
            get(*path).line("User-Agent: MSIE 9"),
            get(*path).line("If-None-Match: *"),
            get(*path).host("redirect.example"),
            get(*path).host("bare.example"),
        ]
    };
    compare_requests(PATHS.iter().flat_map(each));
}

/// What a filter refuses (412, 416), and what takes the place of it.
#[test]
fn pages_of_refused_answers_are_those_of_nginx() {
    compare_requests([
        get("/ep412/small.txt").line("If-Match: \"no\""),
        get("/ep416/small.txt").line("Range: bytes=1000-2000"),
        get("/ep416x/small.txt").line("Range: bytes=1000-2000"),
        get("/ep416x/small.txt").line("Range: bytes=0-1"),
    ]);
}

#[test]
fn what_is_meant_otherwise_is_so() {
    compare_requests(["/tfslash/none", "/split", "/splitloc"].map(get));
}
