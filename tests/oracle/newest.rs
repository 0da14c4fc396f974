//! What came with nginx 1.23 to 1.31.

use super::pair::compare_with;
use super::request::{Case, Request, get};

const LINES: &str = r#"
    add_header A 1; add_header_inherit merge;
    server {
        listen 127.0.0.1:PORT; server_name newest.example; root ROOT/html;
        add_header B "$uri"; max_headers 5; keepalive_min_timeout 1s;
        location / { add_header C 3 always; return 200 "$cookie_a|$cookie_b"; }
        location /none { return 404; }
        location /off { add_header_inherit off; return 200 x; }
        location /own { add_header_inherit off; add_header D 4; return 200 x;
            location /own/in { add_header E 5; return 200 x; } }
        location /on { add_header_inherit on; add_header D 4; return 200 x;
            location /on/in { return 200 x; } }
        location /if { if ($arg_x) { add_header F 6; return 200 x; } return 200 y; }
    }
"#;

#[test]
fn header_lines_are_inherited_as_in_nginx() {
    let paths = [
        "/", "/none", "/off", "/own", "/own/in", "/on", "/on/in", "/if", "/if?x=1",
    ];
    let cases = paths.map(|path| get(path).host("newest.example"));
    compare_with(LINES, |_| cases.map(Case::from).into());
}

#[test]
fn header_lines_are_counted_and_cookies_cut_as_in_nginx() {
    let ask = || get("/").host("newest.example");
    let with =
        |count: usize| (0..count).fold(ask(), |request, at| request.line(format!("X-{at}: y")));
    let mut cases: Vec<Request> = (1..7).map(with).collect();
    cases.extend(
        ["a=1, b=2", "a=1; b=2", "b=2;a=1,2", "a=1;;b =2", ",b=1"]
            .map(|cookie| ask().line(format!("Cookie: {cookie}"))),
    );
    compare_with(LINES, |_| cases.into_iter().map(Case::from).collect());
}
