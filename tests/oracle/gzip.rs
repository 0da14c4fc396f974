//! `gzip`: who gets what compressed, and what the head says of it.

use super::filtered::Site;
use super::request::{Case, get, head};
use crate::support::Folder;

fn write(folder: &Folder) {
    let text = |bytes: usize| "abc def ghi\n".repeat(bytes / 12 + 1)[..bytes].to_owned();
    for (name, bytes) in [
        ("none.html", 0),
        ("short.html", 19),
        ("page.html", 20),
        ("long.html", 50_000),
        ("huge.html", 700_000),
        ("a.txt", 300),
        ("a.css", 300),
        ("a.json", 300),
        ("noext", 300),
        ("404.html", 300),
    ] {
        folder.write(&format!("html/{name}"), text(bytes));
    }
}

const SITE: Site = Site {
    http: "gzip on; gzip_vary on; gzip_http_version 1.0;",
    server: r#"
        location /css/ { gzip_types text/css Text/Plain; alias ROOT/html/; }
        location /all/ { gzip_types *; gzip_comp_level 9; alias ROOT/html/; }
        location /min/ { gzip_min_length 301; gzip_types text/plain; alias ROOT/html/; }
        location /novary/ { gzip_vary off; alias ROOT/html/; }
        location /noetag/ { etag off; alias ROOT/html/; }
        location /ownetag/ { add_header ETag '"own"'; alias ROOT/html/; }
        location /weaketag/ { add_header ETag 'W/"own"'; alias ROOT/html/; }
        location /oddetag/ { add_header ETag own; add_header X-A a; alias ROOT/html/; }
        location /off/ { gzip off; alias ROOT/html/; }
        location /http11/ { gzip_http_version 1.1; alias ROOT/html/; }
        location /window/ { gzip_window 4k; gzip_hash 8k; gzip_buffers 2 600; postpone_gzipping 1k;
                            alias ROOT/html/; }
        location /old/ { gzip_disable msie6; alias ROOT/html/; }
        location /bots/ { gzip_disable "bot/[0-9]" spider; alias ROOT/html/; }
        location /return { default_type text/html; return 200 "a text of twenty bytes"; }
        location /return404 { default_type text/html; return 404 "a text of twenty bytes"; }
        location /return500 { default_type text/html; return 500 "a text of twenty bytes"; }
        location /empty { default_type text/html; return 200 ""; }
        location /moved { return 301 /; }
        location /refresh/ { msie_refresh on; error_page 404 "http://x/?a='b\"%20&uri=$uri"; alias ROOT/html/none/; }
        location /error/ { error_page 404 /404.html; alias ROOT/html/none/; }
        location /limited/ { limit_rate 1m; alias ROOT/html/; }
        location /nochunks/ { chunked_transfer_encoding off; alias ROOT/html/; }
        location /trailer/ { add_trailer X-T t; alias ROOT/html/; }
        location /p/off/ { gzip_proxied off; alias ROOT/html/; }
        location /p/any/ { gzip_proxied any; alias ROOT/html/; }
        location /p/auth/ { gzip_proxied auth; alias ROOT/html/; }
        location /p/none/ { gzip_proxied expired no-cache no-store private; alias ROOT/html/; }
        location /p/lm/ { gzip_proxied no_last_modified no_etag; alias ROOT/html/; }
        location /p/noetag/ { etag off; gzip_proxied no_last_modified no_etag; alias ROOT/html/; }
        location /p/lmadd/ { add_header Last-Modified "Thu, 01 Jan 1970 00:00:01 GMT"; etag off;
                             gzip_proxied no_last_modified; alias ROOT/html/; }
        location /p/expired/ { expires -1; gzip_proxied expired; alias ROOT/html/; }
        location /p/expiring/ { expires 1h; gzip_proxied expired no-cache; alias ROOT/html/; }
        location /p/cc/ { add_header Cache-Control $arg_c; gzip_proxied no-cache private; alias ROOT/html/; }
        location /p/ccstore/ { add_header Cache-Control $arg_c; gzip_proxied no-store; alias ROOT/html/; }
    "#,
    write,
};

const ACCEPT: &str = "Accept-Encoding: gzip";

const NAMES: [&str; 10] = [
    "none.html",
    "short.html",
    "page.html",
    "long.html",
    "huge.html",
    "a.txt",
    "a.css",
    "a.json",
    "noext",
    "no",
];
const FOLDERS: [&str; 15] = [
    "",
    "css/",
    "all/",
    "min/",
    "novary/",
    "noetag/",
    "ownetag/",
    "weaketag/",
    "oddetag/",
    "off/",
    "window/",
    "http11/",
    "error/",
    "nochunks/",
    "trailer/",
];
const ACCEPTS: [&str; 19] = [
    "gzip",
    "GZIP",
    "gzip, deflate, br",
    "deflate, gzip;q=0.5",
    "gzip;q=0",
    "gzip;q=0.000",
    "gzip;q=0.001",
    "gzip;q=1.5",
    "gzip; q=1",
    "gzip ;q=1",
    "gzip;q",
    "gzip;",
    "x-gzip",
    "x-gzip,gzip",
    "*",
    "identity",
    "gzip;q=0, *",
    "gzi",
    "br;q=1,gzip",
];
const AGENTS: [&str; 8] = [
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1)",
    "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)",
    "Mozilla/4.0 (compatible; MSIE 5.5; Windows 98)",
    "Mozilla/4.0 (compatible; MSIE 7.0; x) Opera",
    "Mozilla/4.0 (compatible; MSIE 6.0; x) Opera",
    "Bot/7",
    "a spider",
    "curl/8",
];

#[test]
fn what_is_compressed_and_what_is_said_of_it() {
    let mut cases: Vec<Case> = Vec::new();
    for folder in FOLDERS {
        for name in NAMES {
            if name == "huge.html" && !matches!(folder, "" | "window/" | "trailer/") {
                continue;
            }
            let path = format!("/{folder}{name}");
            cases.push(get(path.as_str()).line(ACCEPT).into());
            cases.push(get(path.as_str()).line(ACCEPT).into());
            cases.push(get(path).into());
        }
        let path = format!("/{folder}long.html");
        cases.push(get(path.as_str()).line(ACCEPT).http_10().into());
        cases.push(head(path.as_str()).line(ACCEPT).into());
        cases.push(head(path.as_str()).line(ACCEPT).http_10().into());
        for line in [
            "Range: bytes=0-9",
            "If-None-Match: *",
            "If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT",
        ] {
            cases.push(get(path.as_str()).line(ACCEPT).line(line).into());
        }
    }
    for path in [
        "/return",
        "/return404",
        "/return500",
        "/empty",
        "/moved",
        "/limited/huge.html",
        "/a",
    ] {
        cases.push(get(path).line(ACCEPT).into());
        cases.push(head(path).line(ACCEPT).into());
        cases.push(get(path).line(ACCEPT).http_10().into());
    }
    for agent in ["MSIE 7.0; x", "MSIE 7", "Opera MSIE 7.0; x", "curl"] {
        cases.push(
            get("/refresh/x")
                .line(format!("User-Agent: {agent}"))
                .into(),
        );
    }
    SITE.compare(&cases);
}

#[test]
fn who_gets_it_compressed() {
    let mut cases: Vec<Case> = Vec::new();
    for accept in ACCEPTS {
        cases.push(
            get("/long.html")
                .line(format!("Accept-Encoding: {accept}"))
                .into(),
        );
    }
    cases.push(
        get("/long.html")
            .line("Accept-Encoding: br")
            .line(ACCEPT)
            .into(),
    );
    for agent in AGENTS {
        for path in ["/old/long.html", "/bots/long.html"] {
            cases.push(
                get(path)
                    .line(ACCEPT)
                    .line(format!("User-Agent: {agent}"))
                    .into(),
            );
        }
    }
    for path in [
        "off", "any", "auth", "none", "lm", "noetag", "lmadd", "expired", "expiring", "cc",
        "ccstore",
    ] {
        let path = format!("/p/{path}/long.html");
        cases.push(get(path.as_str()).line(ACCEPT).into());
        cases.push(get(path.as_str()).line(ACCEPT).line("Via: x").into());
        cases.push(
            get(path.as_str())
                .line(ACCEPT)
                .line("Via: x")
                .line("Authorization: x")
                .into(),
        );
        for control in [
            "no-cache",
            "no-store",
            "private",
            "max-age=1,%20private",
            "public",
            "NO-CACHE",
        ] {
            let path = format!("{path}?c={control}");
            cases.push(
                get(path.replace("%20", "+"))
                    .line(ACCEPT)
                    .line("Via: x")
                    .into(),
            );
        }
    }
    SITE.compare(&cases);
}
