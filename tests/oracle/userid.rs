//! `userid`: how a client's cookie is read, and what is set.

use super::error_log::compare_lines;
use super::pair::compare_with;
use super::request::{Case, get};

/// Without a mark a good cookie is left alone; with one it is set again, and is the same in both.
const LINES: &str = r#"
    map $arg_reset $uid_reset { default ""; 0 0; }
    userid_name ID;
    server {
        listen 127.0.0.1:PORT; server_name userid.example; root ROOT/html;
        add_header X-Ids "$uid_got|$uid_set" always;
        location /off/ { return 200 "$uid_got|$uid_set|"; }
        location /log/ { userid log; return 200 "$uid_got|$uid_set|"; }
        location /on/ { userid on; return 200 "$uid_got|$uid_set|"; }
        location /mark/ {
            userid on; userid_mark A; userid_domain .x.example; userid_path /p; userid_expires max;
            userid_p3p 'policyref="/p3p.xml"'; userid_flags samesite=lax secure; userid_flags httponly;
            return 200 "$uid_got|$uid_set|";
            location /mark/inner/ { userid_domain none; userid_p3p none; userid_flags off; return 200; }
            location /mark/v1/ { userid v1; userid_expires off; userid_mark =; return 200 "$uid_set"; }
            location /mark/none/ { userid_mark off; return 200 "$uid_set"; }
            location /mark/name/ { userid_name other; userid off; return 200 "$uid_set"; }
            location /mark/file/ { userid_flags samesite=strict samesite=none; alias ROOT/html/; }
        }
    }
"#;

const COOKIES: [&str; 12] = [
    "ID=fwAAAWsOQnF59S1NAwMDAg==",
    "ID=fwAAAWsOQnF59S1NAwMDAgA=",
    "ID=fwAAAWsOQnF59S1NAwMDAg",
    "ID=fwAAAWsOQnF59S1NAwMDAg==; other=x",
    "other=x; id=fwAAAWsOQnF59S1NAwMDAgA=x",
    "ID=fwAAAWsOQnF59S1NAwMDAgAx",
    "ID=fwAAAWsOQnF59S1NAwMDAgABCDEFG",
    "ID=ABCDEFGHIJKLMNOPQRSTUV",
    "ID=fwAAAWsOQnF59S1NAwMDA+/=",
    "ID=ABCDEFGHIJKLMNOPQRSTUV\r\nCookie: ID=fwAAAWsOQnF59S1NAwMDAg==",
    "ID=fwAAAWsOQnF59S1NAwMDAg==\r\nCookie: ID=x",
    "ID=fwAAAWsOQnF59S1NAwMDA===",
];

fn cases(paths: &[&str], cookies: &[&str]) -> Vec<Case> {
    let all = paths.iter().flat_map(|path| {
        cookies.iter().map(move |cookie| {
            let request = get(*path).host("userid.example");
            Case::from(request.line(format!("Cookie: {cookie}")))
        })
    });
    all.collect()
}

#[test]
fn a_client_is_known_again_as_in_nginx() {
    let paths = [
        "/off/",
        "/log/",
        "/on/",
        "/on/?reset=0",
        "/mark/",
        "/mark/inner/",
        "/mark/v1/",
        "/mark/none/",
        "/mark/name/",
        "/mark/file/small.txt",
        "/mark/file/none",
    ];
    compare_with(LINES, |_| cases(&paths, &COOKIES[..COOKIES.len() - 1]));
}

#[test]
fn cookies_that_are_none_are_logged() {
    let wrong = [
        "ID=x",
        "ID=",
        "ID=fwAAAWsOQnF59S1NA*MDAg==",
        "ID=fwAAAWsOQnF59S1NAwMDA==",
    ];
    compare_lines(LINES, cases(&["/log/", "/off/"], &wrong));
}
