//! Variables that the configuration defines: `map`, `geo` and `split_clients`.

use std::fmt::Write as _;

use super::pair::compare_with;
use super::request::{Case, get};

const HOSTS: &str = r#"
    map $arg_h $hosts {
        hostnames;
        default none;
        a.example.org exact;
        *.example.org sub;
        .b.example.org both;
        www.* any;
        WWW.Example.* longer;
        ~^(?<person>[a-z]+)\.(net)$ "$person|$2|$1";
        ~*^CASE-(.)$ "case $1";
        "" empty;
        \~tilde tilde;
    }
    map $arg_h $plain { *.a star; .a dot; \\default slash; \hostnames hosts; volatile one; "a b" blank; }
    map $arg_h $numbers { ~^x(.)(.)?$ "$1$2"; ~^y$ none; default "$1"; }
    map "$arg_h-$arg_k" $two { a-b one; ~^a-(.*)$ $1; default $hosts; }
    map $two $three { one "$uri$two"; default [$two]; }
    map $arg_h $ring { x $ring_two; default end; }
    map $ring $ring_two { default "again-$ring"; }
    map $arg_k $person { y before; default $arg_h; }
    map $arg_k $early { y hidden; }
    map $arg_h $groups { ~(?<early>[xy]) x; ~(?<late>[xy]) y; }
    map $arg_k $late { y seen; }
    server {
        listen 127.0.0.1:PORT; server_name maps.example;
        location / { return 200 "$hosts|$plain|$two|$three|$person|$early|$late|"; }
        location ~ ^/groups/(.) { return 200 "$groups $numbers $1|$2|$early|$late"; }
        location /ring { return 200 "$ring|$ring_two"; }
    }
"#;

#[test]
fn maps_have_the_values_that_nginx_gives_them() {
    let subjects = [
        "a.example.org",
        "A.EXAMPLE.org",
        "x.example.org",
        "x.y.example.org",
        ".example.org",
        "example.org",
        "b.example.org",
        "c.b.example.org",
        "www.other",
        "www.",
        "www",
        "www..x",
        "www.example.net",
        "www.example.org",
        "WWW.example.org",
        "host.net",
        "host.net.",
        "case-1",
        "CASE-2",
        "case-",
        "",
        "~tilde",
        "*.a",
        "b.a",
        ".a",
        "a",
        "\\default",
        "default",
        "hostnames",
        "volatile",
        "x",
        "x1",
        "x12",
        "x123",
        "y",
        "..",
        "a..b",
        ".",
        "*",
        "x.a",
    ];
    let mut cases: Vec<Case> = Vec::new();
    for subject in subjects {
        for path in ["/", "/groups/z", "/ring"] {
            let target = format!("{path}?h={subject}");
            cases.push(get(target).host("maps.example").into());
        }
        cases.push(
            get(format!("/?k=y&h={subject}"))
                .host("maps.example")
                .into(),
        );
        cases.push(
            get(format!("/?k=b&h={subject}"))
                .host("maps.example")
                .into(),
        );
    }
    cases.push(get("/").host("maps.example").into());
    compare_with(HOSTS, |_| cases);
}

/// A value is made once a request, unless it is volatile: so the path before a redirect is seen after it.
#[test]
fn a_value_is_kept_for_the_request() {
    let lines = r#"
        map $uri $kept { default "$uri"; }
        map $uri $fresh { volatile; default "$uri"; }
        map $kept $of_kept { volatile; ~^/(.*)$ "$1 $uri"; }
        server {
            listen 127.0.0.1:PORT; server_name kept.example;
            location / { return 200 "$kept $fresh $of_kept"; }
            location /before/ { try_files /$kept$fresh$of_kept.none /after; }
            location /untouched/ { try_files /none /after; }
            location /error/ { error_page 404 /after; try_files /$kept.none =404; }
        }
    "#;
    let paths = ["/", "/x", "/before/x", "/untouched/x", "/error/x"];
    let cases = paths.map(|path| Case::from(get(path).host("kept.example")));
    compare_with(lines, |_| cases.into());
}

const GEO: &str = r#"
    geo $arg_a $networks {
        default other;
        127.0.0.0/8 loop;
        127.0.0.1 one;
        10.0.0.0/8 ten;
        10.1.0.0/16 ten-one;
        10.1.2.0/24 gone;
        delete 10.1.2.0/24;
        10.1.2.3 host;
        0.0.0.0/1 half;
        128.0.0.0/2 quarter;
        255.255.255.255 last;
        ::1 six;
        2001:db8::/32 doc;
        2001:db8:1::/48 doc-one;
        ::ffff:0:0/96 mapped;
    }
    geo $arg_a $ranges {
        ranges;
        default out;
        10.0.0.0-10.0.255.255 block;
        10.0.1.0-10.0.1.9 within;
        10.0.1.5-10.0.1.5 single;
        11.0.0.9-11.3.2.1 wide;
        127.0.0.1-127.0.0.1 me;
        20.0.0.0-20.0.0.9 gone;
        delete 20.0.0.0-20.0.0.9;
    }
    geo $arg_a $nothing { 10.0.0.0/8 ten; }
    geo $own { default other; 127.0.0.0/8 $literal; }
    geo $first { proxy 127.0.0.0/8; proxy 10.0.0.0/8; default no; 10.0.0.0/8 proxy; 1.1.1.1 client; 2001:db8::/32 six; }
    geo $all { proxy 127.0.0.0/8; proxy_recursive; proxy 10.0.0.0/8; default no; 10.0.0.0/8 proxy; 1.1.1.1 client; 127.0.0.1 me; }
    geo $arg_a $of_both { proxy 10.0.0.0/8; default no; 10.0.0.0/8 proxy; 1.1.1.1 client; }
    geo $untrusted { proxy 9.9.9.9; ranges; 127.0.0.1-127.0.0.1 me; 1.1.1.1-1.1.1.1 client; }
    server {
        listen 127.0.0.1:PORT; server_name geo.example;
        return 200 "$networks|$ranges|$nothing|$own|$first|$all|$of_both|$untrusted|";
    }
"#;

const ADDRESSES: &[&str] = &[
    "127.0.0.1",
    "127.0.0.2",
    "127.255.255.255",
    "128.0.0.0",
    "10.0.0.0",
    "10.255.255.255",
    "11.0.0.0",
    "10.1.2.3",
    "10.1.2.4",
    "10.1.255.255",
    "10.2.0.0",
    "0.0.0.0",
    "191.255.255.255",
    "192.0.0.0",
    "255.255.255.255",
    "255.255.255.254",
    "::1",
    "::",
    "::2",
    "2001:db8::",
    "2001:db8:1::1",
    "2001:db8:1:ffff::",
    "2001:db8:2::",
    "::ffff:10.1.2.3",
    "::ffff:9.9.9.9",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "10.0.1.0",
    "10.0.1.4",
    "10.0.1.5",
    "10.0.1.6",
    "10.0.1.9",
    "10.0.1.10",
    "10.0.0.255",
    "10.0.255.255",
    "11.0.0.8",
    "11.0.0.9",
    "11.2.0.0",
    "11.3.2.1",
    "11.3.2.2",
    "20.0.0.5",
    "x",
    "",
    "10.0.0.1:80",
    "[::1]",
    "1.2.3",
    "010.1.2.3",
    "1.1.1.1",
];

const FORWARDED: &[&[&str]] = &[
    &["1.1.1.1"],
    &["1.1.1.1, 10.0.0.1"],
    &["1.1.1.1,10.0.0.1 , "],
    &["1.1.1.1:80"],
    &["[2001:db8::1]:80"],
    &["2001:db8::1"],
    &["x, 10.0.0.1"],
    &["x"],
    &[""],
    &["1.1.1.1", "10.0.0.1"],
    &["1.1.1.1", "x"],
    &["10.0.0.1", "10.0.0.2"],
    &["1.1.1.1", "8.8.8.8, 10.0.0.1"],
];

#[test]
fn addresses_have_the_values_that_nginx_gives_them() {
    let mut cases: Vec<Case> = Vec::new();
    for address in ADDRESSES {
        cases.push(get(format!("/?a={address}")).host("geo.example").into());
    }
    for lines in FORWARDED {
        for address in ["10.0.0.1", "9.9.9.9"] {
            let request = get(format!("/?a={address}")).host("geo.example");
            let request = lines.iter().fold(request, |request, line| {
                request.line(format!("X-Forwarded-For: {line}"))
            });
            cases.push(request.into());
        }
    }
    compare_with(GEO, |_| cases);
}

/// A client has the part that nginx would give it.
#[test]
fn clients_are_split_as_in_nginx() {
    let mut lines = String::new();
    let tables = [
        "50% a; * b;",
        "0.01% a; 0.5% b; .5% c; 33.33% d; 10% \"\"; 20% $uri;",
        "12.34% a; 23.45% b; 64.21% c;",
        "100% a;",
        "* a;",
        "",
    ];
    for (number, table) in tables.iter().enumerate() {
        let _ = writeln!(
            lines,
            "split_clients \"$arg_c$uri\" $split_{number} {{ {table} }}"
        );
    }
    lines.push_str(
        "server { listen 127.0.0.1:PORT; server_name split.example;
           return 200 \"$split_0|$split_1|$split_2|$split_3|$split_4|$split_5\"; }",
    );
    let cases = (0..300).map(|number: u32| {
        let client = "x".repeat(number as usize % 9);
        get(format!(
            "/{}?c={client}{}",
            number % 7,
            number.wrapping_mul(2_654_435_761)
        ))
        .host("split.example")
    });
    compare_with(&lines, |_| cases.map(Case::from).collect());
}
