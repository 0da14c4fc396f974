use crate::http::serve::Served;
use crate::http::testing::TestSite;

/// Asks each target and compares the answers: a status, and a body from the next line on.
#[track_caller]
fn check(server: &str, answers: &[(&str, &str)]) {
    let mut site = TestSite::new(server);
    for (target, expected) in answers {
        let (answer, _) = site.ask(&format!("GET {target} HTTP/1.1"));
        assert_eq!(answer, *expected, "{target}");
    }
}

#[test]
fn the_script_of_a_server_runs_before_the_location_is_found() {
    check(
        "set $a $uri; rewrite ^/x(.*)$ /y$1; rewrite ^/y/(.*)$ /z/$1 last; set $a not;
         location /z { return 200 $a:$uri; } location /y { return 200 y:$a; }
         location / { return 200 root:$a; }",
        &[
            ("/x/1", "200\n/x/1:/z/1"),
            ("/y", "200\ny:not"),
            ("/q", "200\nroot:not"),
        ],
    );
}

#[test]
fn where_no_location_is_found_the_script_runs_once() {
    check(
        "set $a $a+; location /l { return 200 l$a; } error_page 404 = @n;
         location @n { return 200 n$a; }",
        &[("/l", "200\nl+"), ("/none", "200\nn+")],
    );
}

#[test]
fn ten_changes_of_location_are_followed_and_no_more() {
    check(
        "location /a { rewrite ^/a(b*)$ /a${1}b last; return 200 never; }
         location = /abbbbbbbbbb { return 200 ten; }
         error_page 500 /page; location /page { return 200 page; }",
        &[("/a", "200\nten")],
    );
}

#[test]
fn what_changes_its_location_forever_is_an_error() {
    let mut site = TestSite::new("location /a { rewrite ^/a(b*)$ /a${1}b last; }");
    let (answer, _) = site.ask("GET /a HTTP/1.1");
    assert!(answer.starts_with("500\n"), "{answer}");
}

#[test]
fn an_if_of_a_location_is_a_level_of_its_own() {
    check(
        "location /t { try_files /none @tried; if ($arg_a) { error_page 404 @own; }
             if ($arg_b) { root /nowhere; } }
         location @tried { return 200 tried; } location @own { return 200 own; }
         location /stop { set $v 1; if ($arg_a) { set $v 2; break; set $v 3; } return 200 end$v; }
         location /d { if ($arg_a) { root /other; } return 200 $document_root; }
         error_page 404 @server; location @server { return 200 server; }",
        &[
            // It has no try_files, which is not inherited.
            ("/t", "200\ntried"),
            ("/t?a=1", "404\nown"),
            ("/t?b=1", "404\nserver"),
            // The last that is met holds.
            ("/t?a=1&b=1", "404\nserver"),
            ("/stop", "200\nend1"),
            ("/d?a=1", "200\n/other"),
            ("/d", "200\n/html"),
        ],
    );
}

#[test]
fn who_answers_in_a_location_does_so_in_its_if() {
    let mut site = TestSite::new("location /s { stub_status; if ($arg_a) { expires 1h; } }");
    for target in ["/s", "/s?a=1"] {
        let (answer, _) = site.ask(&format!("GET {target} HTTP/1.1"));
        assert!(answer.starts_with("200\nActive connections: "), "{answer}");
    }
}

#[test]
fn groups_are_those_of_the_last_pattern_that_was_asked() {
    check(
        "location ~ ^/(.)(.)$ { if ($arg_a ~ ^(x)) { return 200 $1$2; } return 200 [$1$2]; }
         location /n { rewrite ^/n/(?<one>.)(?<two>.)?$ /m?$two$one last; return 200 $one; }
         location /m { return 200 $args:$1:$one; }",
        &[
            ("/ab?a=x", "200\nx"),
            ("/ab?a=y", "200\n[]"),
            ("/n/ab", "200\nba:a:a"),
            ("/n/a", "200\na:a:a"),
            ("/n/abc", "200\n"),
        ],
    );
}

#[test]
fn what_is_set_is_what_others_see() {
    check(
        "set $args a=$arg_b; set $x $none; set $none 1; set $http_q $http_q-;
         location / { return 200 $args|$arg_a|$is_args|$x|$none|$http_q; }",
        &[("/?b=2", "200\na=2|2|?||1|-")],
    );
}

#[test]
fn a_text_that_doubles_itself_is_an_error() {
    let double = "set $a $a$a$a$a$a$a$a$a; ".repeat(30);
    let mut site = TestSite::new(&format!("set $a aaaaaaaa; {double} return 200 $a;"));
    let (answer, served) = site.ask("GET / HTTP/1.1");
    assert!(answer.starts_with("500\n"), "{} bytes", answer.len());
    assert!(matches!(served, Served::Answered));
}

#[test]
fn a_level_without_a_script_has_no_step_for_one() {
    use crate::config::setting::Inherit as _;
    use crate::http::modules::{RawSettings, rewrite};
    let settings = RawSettings::default().merge(None);
    assert!(!rewrite::applies(&settings));
}
