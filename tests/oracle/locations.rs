//! Which location answers, and with which variables.

use super::pair::compare_requests;
use super::request::{get, head};

const PATHS: &[&str] = &[
    // Exact, prefix, `^~`, regular expressions, nested, named, internal.
    "/exact",
    "/exact?x",
    "/exactx",
    "/exact/",
    "/EXACT",
    "/pre/a%20b?x=y",
    "/pre/%2e%2e/pre/z",
    "/pre//double///s",
    "/pre/./x/../y",
    "/pre",
    "/pre/?",
    "/pre/%25",
    "/pre/x.php",
    "/noregex/x.php",
    "/x.php",
    "/x.php/",
    "/X.PHP",
    "/ci/ABC/12",
    "/CI/abc/1",
    "/ci/abc/x",
    "/ci/abc/1/",
    "/n1/",
    "/n1/n2/",
    "/n1/n2",
    "/n1/a.x",
    "/n1/n2/a.x",
    "/n1/n2/../a.x",
    "/cap/ab",
    "/cap/abc",
    "/cap/a",
    "/int",
    "/@named",
    "/lit/",
    // Aliases.
    "/alias/",
    "/alias/index.html",
    "/alias",
    "/alias/nope",
    "/alias/../small.txt",
    "/aliasf",
    "/aliasfx",
    "/aliasf/",
    "/ralias/small.txt",
    "/ralias/a",
    "/ralias/a/",
    "/ralias/nope",
    "/ralias/",
    "/ralias/../x",
    // What is within a location with an alias.
    "/aliasin/small.txt",
    "/aliasin/nope.txt",
    "/aliasin/index.html",
    "/aliasin/a/index.html",
    "/aliasin/a/other.html",
    "/aliasin/nope.html",
    "/aliasin/",
    "/aliasin/a",
    // `try_files`.
    "/tf/nope",
    "/tf/x?a=b",
    "/tf404/a",
    "/tf404/none",
    "/tfn/none",
    "/tfn/",
    "/tfa/?y=7",
    "/tfx/nope",
    "/tfx/../a/index",
    "/tf404/small.txt",
    "/tf404/",
    "/tf404",
    "/tfal/page.css",
    "/tfal/a",
    "/tfal/a/",
    "/tfal/nope",
    "/tfal/",
    "/tfaln/",
    "/tfaln/?f=small.txt",
    "/tfaln/?f=/tfaln/small.txt",
    "/tfre/small.txt",
    "/tfre/a",
    "/tfre/b",
    "/tfre/",
    "/tfre/nope",
    "/tfr/small.txt",
    "/tfr/a",
    "/tfr/nope",
    "/tfalb/small.txt",
    "/tfalb/a",
    "/tfalb/nope",
    "/tfla/nope",
    "/tf444/",
    "/nest/page.css",
    "/nest/small.txt",
    "/nest/a/index.html",
    "/nest/a/",
    "/nest/a",
    "/nest/a/nope",
    "/nest/a/x.css",
    "/namedfolder/",
    "/.css",
    // Regular expressions see bytes.
    "/re/dota.x",
    "/re/dot%ff.x",
    "/re/dot%c3%a4.x",
    "/re/wa",
    "/re/w%e4",
    "/re/w%c3%a4",
    "/re/nota",
    "/re/notb",
    "/re/not%ff",
    "/re/seta",
    "/re/set&",
    "/re/setc",
    "/re/%ff.y",
    "/re/no%ff.y",
    "/re/%c3%89",
    "/re/%c3%a9",
    // Variables.
    "/vars/?q=1",
    "/vars/?q=",
    "/vars/?Q=1",
    "/vars/?qq=1&q=2",
    "/vars/?q=1&q=2",
    "/vars/%61?q=%20",
    "/vars2/?a=1&A=2",
    "/vars2/?b",
    "/vars2/",
    "/vars2/?a",
    "/vars2/?&a=1",
    "/vars2/?a=1;b=2",
];

#[test]
fn the_same_location_answers_as_in_nginx() {
    compare_requests(PATHS.iter().flat_map(|path| [get(*path), head(*path)]));
}

#[test]
fn variables_have_the_values_of_nginx() {
    let cookies = [
        "c=2",
        "a=1; c=2",
        "a=1;c=2",
        "a=1, c=2",
        "c",
        "C=2",
        "xc=1; c=2",
        "c=\"q\"; c=3",
    ];
    let requests = cookies.map(|cookie| get("/vars/").line(format!("Cookie: {cookie}")));
    compare_requests(
        requests.into_iter().chain([
            get("/vars/").line("Cookie: a=1; c=2").line("Cookie: d=3"),
            get("/vars/")
                .line("X-Foo: y")
                .line("X-Foo: z")
                .line("User-Agent: ua"),
            get("/vars/")
                .line("x-foo:y  ")
                .line("user-agent:   spaces around   "),
            get("/vars/").line("X-Foo:").line("User-Agent:"),
            get("/vars/").line("Authorization: Basic dXNlcjpwYXNz"),
            get("/vars/").line("Authorization: Basic dXNlcg=="),
            get("/vars/").line("Authorization: Basic !!"),
            get("/vars/").line("Authorization: Bearer x"),
            get("/vars/").line("Content-Type: text/x; charset=utf-8"),
            get("/vars2/")
                .line("Range: bytes=0-1")
                .line("Referer: http://x/"),
            get("/vars2/").line("Referer: a").line("Referer: b"),
            get("/vars2/?a=1").host("FIRST.example:8080"),
            get("/vars2/")
                .host("first.example.")
                .stay()
                .line("Connection: close, x"),
        ]),
    );
}
