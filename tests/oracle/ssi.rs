//! Pages with commands in them.

use super::error_log::compare_lines;
use super::filtered::Site;
use super::request::{Case, get, head, post};
use crate::support::Folder;

const PAGES: &[(&str, &str)] = &[
    (
        "echo",
        "a<!--#echo var=\"arg_x\" -->b<!--#echo var='none' --><!--#echo var='none' default='<d>' --><!--#echo var='none' default='' -->",
    ),
    (
        "encoding",
        "<!--#echo var='arg_x' encoding='url' -->|<!--#echo var='arg_x' -->|<!--#echo var='arg_x' encoding='none' -->|<!--#echo var='arg_x' encoding='entity' -->|<!--#echo var='arg_x' encoding='bad' -->",
    ),
    (
        "all",
        "<!--#echo var='none' encoding='url' default='a b!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~\x7f' -->",
    ),
    (
        "names",
        "<!--#echo var='URI' --><!--#echo var='Request_Uri' --><!--#echo var='http_host' --><!--#echo var='sent_http_content_type' --><!--#echo var='status' --><!--#echo var='mapped' --><!--#echo var='unused' -->",
    ),
    (
        "set",
        "<!--#set var='x' value='[$arg_x]${arg_y}$none' --><!--#echo var='X' --><!--#set var='x' value='b' --><!--#echo var='x' --><!--#set var='y' value='\\$x\\\\\\a\\'' --><!--#echo var='y' -->",
    ),
    (
        "set-bad",
        "<!--#set var='x' value='$' -->1<!--#set var='x' value='${a' -->2<!--#set var='x' value='$-' -->3<!--#set var='x' -->4<!--#set value='x' -->5",
    ),
    (
        "if",
        "<!--#if expr='$arg_x' -->1<!--#elif expr='$arg_y' -->2<!--#else -->3<!--#endif -->4",
    ),
    (
        "if-is",
        "<!--#if expr='$arg_x=1' -->a<!--#elif expr='$arg_x = 2' -->b<!--#elif expr='$arg_x != 3' -->c<!--#else -->d<!--#endif -->",
    ),
    (
        "if-like",
        "<!--#if expr='$arg_x = /^(.)(?P<rest>.*)\\$/' -->[<!--#echo var='0' -->|<!--#echo var='1' -->|<!--#echo var='rest' -->|<!--#echo var='7' -->]<!--#else -->no<!--#endif --><!--#echo var='1' -->",
    ),
    (
        "if-unlike",
        "<!--#if expr='$arg_x != /1/' -->a<!--#else -->b<!--#endif --><!--#if expr='$arg_x = \\/1' -->c<!--#endif --><!--#if expr='$arg_x = /' -->d<!--#endif -->",
    ),
    (
        "if-in",
        "<!--#if expr='$arg_x' -->a<!--#if expr='$arg_x' -->b<!--#endif -->c<!--#endif -->d<!--#endif -->e",
    ),
    (
        "if-off",
        "<!--#if expr='$none' --><!--#echo var='uri' --><!--#bad --><!--#if expr='$arg_x' -->x<!--#endif -->y<!--#set a=b -->z",
    ),
    (
        "if-bad",
        "<!--#if expr='a b' -->1<!--#endif --><!--#if expr='$arg_x = /[/' -->2<!--#endif --><!--#if -->3<!--#if expr='a' expr='b' -->4<!--#else -->5<!--#elif expr='a' -->6",
    ),
    (
        "if-case",
        "<!--#if expr='ABC = abc' -->1<!--#endif --><!--#if expr='$ARG_X = 1' -->2<!--#endif --><!--#if expr='\"a\" = \"a\"' -->3<!--#endif --><!--#if expr='' -->4<!--#else -->5<!--#endif -->",
    ),
    (
        "config",
        "<!--#config errmsg='[E]' --><!--#bad --><!--#config timefmt='%s' --><!--#if expr='$date_gmt = /^[0-9]+\\$/' -->ok<!--#endif --><!--#config timefmt='%Y %Z %a' --><!--#echo var='date_gmt' --><!--#config x='y' -->",
    ),
    (
        "date",
        "<!--#config timefmt='%A %d %B %Y' --><!--#echo var='date_local' -->",
    ),
    (
        "bad",
        "<!--#--><!--# --><!--#echo--><!--#echo var=x --><!--#echo var='x'y --><!--#echo var- --><!--#echo -x --><!--#echo v w --><!-- #echo --><!--#unknown x='y' --><!--#echo var='uri' -- -->.",
    ),
    (
        "long",
        "<!--#set var='x' value='0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789' --><!--#abcdefghijabcdefghijabcdefghijabcdefghij --><!--#set abcdefghijabcdefghijabcdefghijabcdefghij='x' -->.",
    ),
    (
        "many",
        "<!--#echo var='uri' a1='' a2='' a3='' a4='' a5='' a6='' a7='' a8='' a9='' b1='' b2='' b3='' b4='' b5='' b6='' b7='' -->.",
    ),
    (
        "text",
        "<<!-<!--<!--#echo var='arg_x' --><!-- x --><a>&--><!- -#echo",
    ),
    (
        "include",
        "(<!--#include virtual='/in/echo?x=<y>' -->|<!--#include virtual='part' -->|<!--#include file='part' -->|<!--#include virtual='/in/$arg_p' -->|<!--#include virtual='in/part' -->)",
    ),
    (
        "include-bad",
        "<!--#include -->1<!--#include virtual='/a' file='/b' -->2<!--#include virtual='../x' -->3<!--#include virtual='/a/../x' -->4<!--#include virtual='/%2e%2e/x' -->5<!--#include virtual='$none' -->6<!--#include virtual='?a' -->7<!--#include file='part' wait='yes' -->8<!--#include virtual='part' wait='x' -->9",
    ),
    (
        "include-bad2",
        "<!--#include virtual='part' stub='none' -->1<!--#include virtual='part' set='x' stub='y' -->2<!--#include virtual='' -->3<!--#include virtual='a%00b' -->4",
    ),
    (
        "escaped",
        "<!--#include virtual='/in/p%61rt' --><!--#include virtual='/in/part%3fx' --><!--#include virtual='/in//part' --><!--#include virtual='/in/./part' -->",
    ),
    (
        "lost",
        "a<!--#include virtual='/none' -->b<!--#include virtual='/moved' -->c<!--#include virtual='/refused' -->d<!--#include virtual='/paged' -->e<!--#include virtual='/returned?q' -->f",
    ),
    (
        "wait",
        "<!--#include virtual='/in/set' wait='yes' -->|<!--#echo var='v' -->|<!--#include virtual='/in/part' wait='no' -->",
    ),
    (
        "set-from",
        "<!--#include virtual='/in/part' set='x' -->[<!--#echo var='x' -->]<!--#include virtual='/returned' set='y' -->[<!--#echo var='y' -->]<!--#include virtual='/in/empty' set='z' -->[<!--#echo var='z' default='none' -->]",
    ),
    (
        "stub",
        "<!--#block name='s' -->[<!--#echo var='uri' -->]<!--#endblock --><!--#include virtual='/none' stub='s' -->|<!--#include virtual='/in/empty' stub='s' -->|<!--#include virtual='/in/part' stub='s' -->|<!--#include virtual='/moved' stub='s' -->|<!--#include virtual='/plain/none' stub='s' -->",
    ),
    (
        "blocks",
        "<!--#block name='a' -->A<!--#endblock --><!--#block name='a' -->B<!--#endblock --><!--#include virtual='/none' stub='a' --><!--#block -->C<!--#endblock --><!--#include virtual='/none' stub='b' -->",
    ),
    ("self", "x<!--#include virtual='/self.shtml' -->"),
    (
        "types",
        "<!--#include virtual='/plain/part.txt' --><!--#include virtual='/plain/echo.txt' -->",
    ),
    (
        "nested",
        "1<!--#include virtual='/include.shtml?p=part' -->2<!--#include virtual='/wait.shtml' -->3",
    ),
    ("headers", "<!--#include virtual='/added' -->"),
    (
        "proxied",
        "<!--#include virtual='/up/part' -->|<!--#include virtual='/up/large.shtml' -->|<!--#include virtual='/up/none' stub='x' --><!--#include virtual='/up/part' set='x' --><!--#echo var='x' encoding='none' -->",
    ),
    ("empty", ""),
];

fn write(folder: &Folder) {
    for (name, page) in PAGES {
        folder.write(&format!("html/{name}.shtml"), page);
    }
    let parts = [
        ("part", "<p>part</p>"),
        (
            "echo",
            "<!--#echo var='arg_x' -->,<!--#echo var='uri' -->,<!--#echo var='request_uri' -->,<!--#echo var='args' -->",
        ),
        ("set", "<!--#set var='v' value='V' -->set"),
        ("empty", ""),
    ];
    for (name, page) in parts {
        folder.write(&format!("html/in/{name}"), page);
        folder.write(&format!("html/{name}"), page);
        folder.write(&format!("html/plain/{name}.txt"), page);
    }
    let large = format!(
        "{}<!--#echo var='uri' -->",
        "0123456789abcdef".repeat(20_000)
    );
    folder.write("html/large.shtml", large.repeat(3));
}

const SITE: Site = Site {
    http: "map $arg_x $mapped { default map; } map $arg_x $unused { default unused; }",
    server: r#"
        types { text/html shtml; text/plain txt; }
        location / { ssi on; location /quiet/ { ssi_silent_errors on; ssi_last_modified on; alias ROOT/html/; } }
        location /small/ { ssi on; ssi_value_length 8; alias ROOT/html/; }
        location /in/ { ssi on; default_type text/html; }
        location /plain/ { }
        location /any/ { ssi on; ssi_types *; alias ROOT/html/; }
        location /off/ { alias ROOT/html/; }
        location /up/ { proxy_pass http://127.0.0.1:PORT/off/; proxy_set_header If-None-Match ""; }
        location = /moved { return 301 /x; }
        location = /refused { return 403; }
        location = /paged { error_page 404 =200 /in/part; return 404; }
        location = /returned { default_type text/html; return 200 "[$args|$uri]"; }
        location = /added { add_header X-A b; return 200 x; }
        location /around/ { ssi on; add_before_body /in/echo; add_after_body /in/part; alias ROOT/html/; }
    "#,
    write,
};

#[test]
fn pages_come_out_as_nginx_makes_them() {
    let paths = |folder: &str| -> Vec<String> {
        let path = |(name, _): &(&str, &str)| format!("{folder}/{name}.shtml?x=1&p=part");
        PAGES.iter().map(path).collect()
    };
    let mut cases: Vec<Case> = Vec::new();
    for path in paths("") {
        cases.push(get(&path).into());
        cases.push(get(path.replace("x=1", "x=<a>\"%20'&y=2")).into());
    }
    for path in paths("/quiet").into_iter().chain(paths("/off")) {
        cases.push(get(path).into());
    }
    for path in [
        "/echo.shtml?x=2",
        "/if.shtml",
        "/lost.shtml",
        "/large.shtml",
    ] {
        cases.push(head(path).into());
        cases.push(get(path).http_10().into());
        cases.push(post(path, "body").into());
        cases.push(get(path).line("Range: bytes=0-1").into());
        cases.push(get(path).line("If-None-Match: *").into());
        cases.push(
            get(path)
                .line("If-Modified-Since: Thu, 01 Jan 2037 00:00:00 GMT")
                .into(),
        );
    }
    for path in [
        "/small/set.shtml",
        "/any/plain/echo.txt?x=y",
        "/plain/echo.txt",
        "/around/echo.shtml?x=y",
        "/around/none",
        "/large.shtml",
        "/in/echo?x=y",
    ] {
        cases.push(get(path).into());
    }
    SITE.compare(&cases);
}

const LINES: &str = r#"
    server {
        listen 127.0.0.1:PORT; server_name ssi.example; root ROOT/html; default_type text/html; ssi on;
        location = /bad { return 200 "<!--#bad --><!--#set var='x' --><!--#echo x='y' --><!--#else -->"; }
        location = /more { return 200 "<!--#include virtual='/../x' --><!--#include --><!--#include virtual='/x' stub='y' -->"; }
        location = /twice { return 200 "<!--#echo var='a' var='b' --><!--#echo var=a --><!--#if expr='a b' -->"; }
        location = /lost { return 200 "<!--#include virtual='/none' -->"; }
        location = /self { return 200 "<!--#include virtual='/self' -->"; }
    }
"#;

#[test]
fn what_is_wrong_in_pages_is_logged_alike() {
    let paths = ["/bad", "/more", "/twice", "/lost", "/self"];
    let case = |path: &str| Case::from(get(path).host("ssi.example"));
    compare_lines(LINES, paths.map(case).to_vec());
}
