//! `sub_filter`: what is replaced, and what is said of the body then.

use super::filtered::Site;
use super::request::{Case, get, head};
use crate::support::Folder;

fn write(folder: &Folder) {
    folder.write("html/a.html", "<html><Body>AaAaB aab x</bOdY>aab</html>");
    folder.write("html/empty.html", "");
    folder.write("html/a.txt", "aab aab");
    folder.write("html/large.html", "0123456789aab<body>\n".repeat(20_000));
}

const SITE: Site = Site {
    http: "",
    server: "
        location /one/ { sub_filter aab [$uri]; alias ROOT/html/; }
        location /all/ { sub_filter aab ''; sub_filter_once off; alias ROOT/html/; }
        location /two/ { sub_filter '<body>' '(b)'; sub_filter a A; sub_filter aab n; sub_filter_once off; alias ROOT/html/; }
        location /twice/ { sub_filter '<body>' '(b)'; sub_filter aab n; alias ROOT/html/; }
        location /types/ { sub_filter aab n; sub_filter_types text/plain; alias ROOT/html/; }
        location /time/ { sub_filter aab n; sub_filter_last_modified on; alias ROOT/html/; }
        location /arg/ { sub_filter $arg_a '<$arg_b>'; sub_filter_once off; alias ROOT/html/; }
        location /packed/ { gzip on; sub_filter aab n; alias ROOT/html/; }
        location /lm/ { add_header Last-Modified 'Thu, 01 Jan 1970 00:00:01 GMT'; sub_filter aab n; alias ROOT/html/; }
        location /return { default_type text/html; sub_filter aab n; return 200 aabaab; }
        location /error { sub_filter center n; return 404; }
    ",
    write,
};

#[test]
fn texts_are_replaced() {
    let mut cases: Vec<Case> = Vec::new();
    for folder in [
        "one/", "all/", "two/", "twice/", "types/", "time/", "arg/", "packed/", "lm/",
    ] {
        for name in [
            "a.html",
            "empty.html",
            "a.txt",
            "large.html",
            "none",
            "a.html?a=aA&b=2",
            "a.html?a=B%20",
        ] {
            cases.push(get(format!("/{folder}{name}")).into());
        }
        let path = format!("/{folder}a.html");
        cases.push(head(path.as_str()).into());
        cases.push(get(path.as_str()).http_10().into());
        cases.push(get(path.as_str()).line("Range: bytes=0-3").into());
        cases.push(get(path.as_str()).line("Accept-Encoding: gzip").into());
        cases.push(get(path.as_str()).line("If-None-Match: *").into());
    }
    cases.push(get("/return").into());
    SITE.compare(&cases);
}
