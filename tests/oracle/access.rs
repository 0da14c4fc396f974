//! Who may come in: `allow` and `deny`, `satisfy`, `limit_except`, and whose address counts.

use super::error_log::compare_lines;
use super::pair::compare_with;
use super::request::{Case, Request, get, head, method, post};

const RULES: &str = r#"
    deny 9.0.0.0/8;
    server {
        listen 127.0.0.1:PORT; server_name access.example; root ROOT/html;
        set_real_ip_from 127.0.0.1;
        add_header X-Who $remote_addr always;
        location / { }
        location /open/ { allow all; alias ROOT/html/; }
        location /mine/ { allow 127.0.0.0/8; deny all; alias ROOT/html/; }
        location /not-mine/ { deny 127.0.0.1; allow all; alias ROOT/html/; }
        location /six/ { deny ::1; deny 2001:db8::/32; allow ::/0; deny all; alias ROOT/html/; }
        location /unix/ { allow unix:; deny all; alias ROOT/html/; }
        location /order/ { deny 10.1.0.0/16; allow 10.0.0.0/8; deny all; alias ROOT/html/;
            location /order/inner/ { alias ROOT/html/; }
            location /order/own/ { allow all; alias ROOT/html/; } }
        location /any/ { satisfy any; deny 10.0.0.0/8; alias ROOT/html/; }
        location /page/ { deny all; error_page 403 /small.txt; alias ROOT/html/; }
        location /page-too/ { deny all; error_page 403 = @named; alias ROOT/html/; }
        location @named { return 200 "named"; }
        location /loop/ { deny all; error_page 403 /loop/again; }
        location /returned/ { deny all; return 200 "rewriting comes before"; }
        location /listed/ { allow all; try_files $uri /mine/small.txt; }
        location /get/ { alias ROOT/html/; limit_except GET { deny all; } }
        location /post/ { return 200 "$uri"; limit_except POST { deny 127.0.0.1; } }
        location /head/ { alias ROOT/html/; limit_except head OPTIONS { deny all; } }
        location ~ ^/pattern/(.*)$ { alias ROOT/html/$1; limit_except GET PUT { allow 10.0.0.0/8; deny all; } }
        location /empty/ { deny all; alias ROOT/html/; limit_except GET { } }
        location /inner/ { limit_except POST { deny all; } location /inner/x/ { alias ROOT/html/; } }
        location /to-named/ { error_page 405 404 403 @limited; alias ROOT/html/; }
        location @limited { limit_except GET { deny all; } }
    }
"#;

fn asks(host: &str, paths: &[&str], more: impl Fn(Request) -> Vec<Request>) -> Vec<Case> {
    let requests = paths.iter().map(|path| get(*path).host(host));
    requests.flat_map(more).map(Case::from).collect()
}

#[test]
fn the_first_rule_of_the_address_says_who_may() {
    let paths = [
        "/small.txt",
        "/open/small.txt",
        "/mine/small.txt",
        "/not-mine/small.txt",
        "/six/small.txt",
        "/unix/small.txt",
        "/order/small.txt",
        "/order/inner/small.txt",
        "/order/own/small.txt",
        "/any/small.txt",
        "/page/small.txt",
        "/page-too/small.txt",
        "/loop/small.txt",
        "/returned/small.txt",
        "/listed/none",
        "/mine/none",
        "/not-mine/none",
    ];
    let clients = [
        "9.1.1.1",
        "10.1.2.3",
        "10.2.2.3",
        "1.1.1.1",
        "::1",
        "2001:db8::7",
        "2001:db9::7",
        "::ffff:10.2.0.1",
    ];
    let cases = asks("access.example", &paths, |request| {
        let others = clients.map(|client| request.clone().line(format!("X-Real-IP: {client}")));
        others.into_iter().chain([request.clone()]).collect()
    });
    compare_with(RULES, |_| cases);
}

#[test]
fn other_methods_may_be_limited() {
    let mut cases: Vec<Case> = Vec::new();
    for path in [
        "/get/small.txt",
        "/post/small.txt",
        "/head/small.txt",
        "/pattern/small.txt",
        "/empty/small.txt",
        "/inner/small.txt",
        "/inner/x/small.txt",
        "/to-named/small.txt",
        "/to-named/none",
    ] {
        let requests = [
            get(path),
            head(path),
            post(path, "x"),
            method("PUT", path).line("Content-Length: 0"),
            method("OPTIONS", path),
            method("DELETE", path),
            method("PATCH", path),
            method("FOO", path),
            post(path, "x").line("X-Real-IP: 10.0.0.1"),
        ];
        cases.extend(requests.map(|request| Case::from(request.host("access.example"))));
    }
    compare_with(RULES, |_| cases);
}

const ADDRESSES: &str = r#"
    set_real_ip_from 127.0.0.1;
    set_real_ip_from 10.0.0.0/8;
    set_real_ip_from 2001:db8::/32;
    server {
        listen 127.0.0.1:PORT; server_name realip.example;
        location / { return 200 "$remote_addr|$port|$realip_remote_addr|"; }
        location /forwarded { real_ip_header X-Forwarded-For; try_files /none @say; }
        location /last { real_ip_header X-Forwarded-For; real_ip_recursive on; try_files /none @say; }
        location /lower { real_ip_header x-forwarded-for; real_ip_recursive on; try_files /none @say; }
        location /other { real_ip_header Client; real_ip_recursive on; try_files /none @say; }
        location /proxy { real_ip_header proxy_protocol; try_files /none @say; }
        location /untrusted { set_real_ip_from 9.9.9.9; try_files /none @say; }
        location @say { return 200 "$remote_addr|$port|$realip_remote_addr|"; }
    }
    server {
        listen 127.0.0.1:PORT; server_name first.realip.example; real_ip_header X-Forwarded-For;
        location / { real_ip_header Client; try_files /none @say; }
        location /mapped { return 200 "$first_octet|$remote_addr|"; }
        location @say { return 200 "$remote_addr|$port|$realip_remote_addr|"; }
    }
    # The port of the connection itself is not the same twice.
    map $remote_port:$realip_remote_port $port { ~^(\d+):\1$ same; default $remote_port; }
    map $remote_addr $first_octet { ~^(\d+) $1; default none; }
"#;

#[test]
fn the_address_is_what_trusted_proxies_tell() {
    let values: [&[&str]; 19] = [
        &[],
        &["1.1.1.1"],
        &["1.1.1.1:80"],
        &["2001:db9::1"],
        &["[2001:db9::1]:80"],
        &["1.1.1.1, 10.0.0.1"],
        &["10.0.0.1, 1.1.1.1"],
        &["3.3.3.3 2.2.2.2,10.0.0.1 , "],
        &["1.1.1.1, x"],
        &["x, 10.0.0.1"],
        &["x"],
        &[""],
        &[","],
        &["1.1.1.1", "10.0.0.1"],
        &["1.1.1.1", "x"],
        &["10.0.0.1", "2.2.2.2"],
        &["1.1.1.1", "10.0.0.2, 2001:db8::1"],
        &["10.0.0.2", "10.0.0.3"],
        &["127.0.0.1"],
    ];
    let mut cases: Vec<Case> = Vec::new();
    for host in ["realip.example", "first.realip.example"] {
        for path in [
            "/",
            "/forwarded",
            "/last",
            "/lower",
            "/other",
            "/proxy",
            "/untrusted",
            "/mapped",
        ] {
            for name in ["X-Real-IP", "X-Forwarded-For", "client"] {
                for lines in values {
                    let request = get(path).host(host);
                    let request = lines.iter().fold(request, |request, line| {
                        request.line(format!("{name}: {line}"))
                    });
                    cases.push(request.into());
                }
            }
        }
    }
    compare_with(ADDRESSES, |_| cases);
}

#[test]
fn refusals_are_logged_with_the_address_that_counts() {
    let paths = [
        "/mine/small.txt",
        "/not-mine/small.txt",
        "/any/small.txt",
        "/loop/small.txt",
        "/get/none",
        "/none",
    ];
    let cases = asks("access.example", &paths, |request| {
        let line = |address| request.clone().line(format!("X-Real-IP: {address}"));
        vec![request.clone(), line("10.0.0.1"), line("2001:db8::1")]
    });
    let post = post("/get/small.txt", "x").host("access.example");
    compare_lines(RULES, cases.into_iter().chain([post.into()]).collect());
}

/// An upstream is told the address that counts.
#[test]
fn upstreams_are_told_the_address_that_counts() {
    let lines = r#"
        server {
            listen 127.0.0.1:PORT; server_name told.example; set_real_ip_from 127.0.0.1;
            return 200 "$proxy_add_x_forwarded_for|";
        }
    "#;
    let told = |line: &str| get("/").host("told.example").line(line);
    let cases = [
        get("/").host("told.example"),
        told("X-Real-IP: 10.0.0.1"),
        told("X-Real-IP: 10.0.0.1").line("X-Forwarded-For: 9.9.9.9"),
    ];
    compare_with(lines, |_| cases.map(Case::from).into());
}
