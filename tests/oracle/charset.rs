//! `charset`: what is said of a text, and how it is written anew.

use super::filtered::Site;
use super::request::{Case, get, head};
use crate::support::Folder;

fn write(folder: &Folder) {
    folder.write("html/koi.html", b"abc \xc0\xc1\xff <b>");
    folder.write(
        "html/utf.html",
        "abc \u{44e}\u{430} \u{20ac} \u{1f600} <b>".as_bytes(),
    );
    folder.write("html/a.css", "body {}");
    folder.write("html/a.txt", "text");
    folder.write(
        "html/large.html",
        "abc \u{44e}\u{430} \u{20ac}\n".repeat(10_000),
    );
}

const SITE: Site = Site {
    http: "
        charset_map koi8-r utf-8 { C0 D18E; C1 D0B0; 80 E282AC; }
        charset_map windows-1251 koi8-r { FE C0; E0 C1; }
        charset_map windows-1251 utf-8 { FE D18E; E0 D0B0; }
    ",
    server: "
        location /said/ { charset utf-8; alias ROOT/html/; }
        location /types/ { charset utf-8; charset_types text/css; alias ROOT/html/; }
        location /to/ { charset utf-8; source_charset koi8-r; alias ROOT/html/; }
        location /from/ { charset koi8-r; source_charset UTF-8; alias ROOT/html/; }
        location /bytes/ { charset windows-1251; source_charset koi8-r; alias ROOT/html/; }
        location /same/ { charset koi8-r; source_charset koi8-r; alias ROOT/html/; }
        location /arg/ { charset $arg_c; source_charset koi8-r; alias ROOT/html/; }
        location /packed/ { gzip on; charset utf-8; source_charset koi8-r; alias ROOT/html/; }
        location /sub/ { sub_filter abc n; charset koi8-r; source_charset utf-8; alias ROOT/html/; }
        location /moved { charset utf-8; return 301 /x; }
        location /seen { charset utf-8; return 303 /x; }
        location /error { charset utf-8; return 404; }
        location /index/ { charset utf-8; autoindex on; alias ROOT/html/; }
    ",
    write,
};

#[test]
fn texts_say_what_they_are_in_and_are_written_anew() {
    let mut cases: Vec<Case> = Vec::new();
    // What is no text in the charset that it is said to be in, each makes something else of.
    for (folder, own) in [
        ("said/", ["koi.html", "utf.html", "large.html"]),
        ("types/", ["koi.html", "utf.html", "large.html"]),
        ("to/", ["koi.html", "a.txt", "none"]),
        ("from/", ["utf.html", "large.html", "none"]),
        ("bytes/", ["koi.html", "utf.html", "large.html"]),
        ("same/", ["koi.html", "utf.html", "large.html"]),
        ("packed/", ["koi.html", "a.txt", "none"]),
        ("sub/", ["utf.html", "large.html", "none"]),
    ] {
        for name in own.into_iter().chain(["a.css", "a.txt", "none", ""]) {
            cases.push(get(format!("/{folder}{name}")).into());
        }
        let path = format!("/{folder}{}", own[0]);
        cases.push(head(path.as_str()).into());
        cases.push(get(path.as_str()).http_10().into());
        cases.push(get(path.as_str()).line("Range: bytes=0-3").into());
        cases.push(get(path.as_str()).line("Accept-Encoding: gzip").into());
        cases.push(get(path.as_str()).line("If-None-Match: *").into());
    }
    for charset in ["utf-8", "koi8-r", "none", "windows-1251"] {
        cases.push(get(format!("/arg/koi.html?c={charset}")).into());
    }
    for path in ["/moved", "/seen", "/error", "/index/"] {
        cases.push(get(path).into());
    }
    SITE.compare(&cases);
}
