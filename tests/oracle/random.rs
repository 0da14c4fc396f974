//! Configurations made of a seed, and requests of them: nginx and Revolve answer the same.
//!
//! Many configurations are many servers of one file. `REVOLVE_SEED` begins with another seed, and
//! `REVOLVE_RANDOM_CONFIGS` makes more of them, for a long night.

use super::pair::compare_with;
use super::request::{Case, Request, get, head, method, post};

/// Servers of one run, unless it is told otherwise.
const CONFIGS: u64 = 200;
/// Of one file: nginx would have to be told of larger hashes.
const CONFIGS_OF_ONE_FILE: u64 = 200;
const REQUESTS: usize = 20;

/// Numbers out of a seed (SplitMix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

/// What may stand once in a server or a location.
const ONCE: &[&[&str]] = &[
    &[
        "expires 1h;",
        "expires -1;",
        "expires epoch;",
        "expires max;",
        "expires off;",
    ],
    &[
        "default_type text/plain;",
        "default_type 'application/x-thing';",
    ],
    &["charset utf-8;", "charset off;", "charset koi8-r;"],
    &["etag off;", "etag on;"],
    &[
        "if_modified_since before;",
        "if_modified_since off;",
        "if_modified_since exact;",
    ],
    &["max_ranges 1;", "max_ranges 0;"],
    &[
        "index small.txt;",
        "index none.html index.html;",
        "index /exact;",
    ],
    &["satisfy any;", "satisfy all;"],
    &["chunked_transfer_encoding off;"],
    &["absolute_redirect off;"],
    &["port_in_redirect off;"],
    &["server_name_in_redirect on;"],
    &[
        "auth_basic realm;",
        "auth_basic off;",
        "auth_basic \"$arg_a\";",
    ],
    &["client_max_body_size 3;", "client_max_body_size 0;"],
    &["recursive_error_pages on;"],
    &[
        "real_ip_header X-Forwarded-For;",
        "real_ip_header X-Client;",
    ],
    &["real_ip_recursive on;"],
    &["autoindex off;"],
    &["keepalive_timeout 0;", "keepalive_timeout 5s 7s;"],
    &["add_header_inherit merge;", "add_header_inherit off;"],
];

/// What may stand as often as one likes.
const OFTEN: &[&str] = &[
    "add_header X-One \"$uri\";",
    "add_header X-Two two always;",
    "add_header Last-Modified \"\";",
    "add_header X-Set \"$s\" always;",
    "error_page 404 /small.txt;",
    "error_page 404 =200 /exact;",
    "error_page 403 405 = @named;",
    "error_page 401 /pages/401;",
    "error_page 404 =301 http://other.example/;",
    "allow 10.0.0.0/8;",
    "allow all;",
    "deny 192.168.0.0/16;",
    "deny all;",
    "set_real_ip_from 127.0.0.1;",
    "set $s \"$s-$uri\";",
    "set $s $arg_a;",
    "set $args \"a=new\";",
    "rewrite ^/old/(.*)$ /$1;",
    "rewrite ^/old/(.*)$ /a/$1 last;",
    "rewrite ^/here/(.*)$ /$1 break;",
    "rewrite ^/move/(.*)$ /to/$1 redirect;",
    "rewrite ^/move/(.*)$ /to/$1? permanent;",
    "rewrite ^/x(.)y$ http://other.example/$1;",
    "if ($arg_a) { set $s if; }",
    "if ($arg_a = b) { return 200 \"if $s\"; }",
    "if ($request_method = POST) { return 405; }",
    "if (-f $request_filename) { set $s file; }",
    "if (!-e $request_filename) { rewrite ^ /exact last; }",
    "if ($uri ~* \"/(a|b)/\") { set $s $1; break; }",
    "valid_referers none a.example;",
    "if ($invalid_referer) { return 403; }",
];

/// What may stand once in a location alone.
const LIMITS: &[&str] = &[
    "",
    "",
    "",
    "",
    "limit_except GET { deny all; }",
    "limit_except POST { allow 127.0.0.1; deny all; }",
    "if ($http_x_client ~ ^10) { add_header X-If 1; }",
];

/// What answers, once in a location.
const ANSWERS: &[&str] = &[
    "",
    "",
    "",
    "return 200 \"$uri|$args|$s|$request_uri\";",
    "return 204;",
    "return 301 /to;",
    "return 302 http://$host/x?$args;",
    "return 404;",
    "return 418 teapot;",
    "try_files $uri $uri/ =404;",
    "try_files $uri /small.txt;",
    "try_files /none @named;",
    "empty_gif;",
    "internal;",
    "alias ROOT/html/;",
    "alias ROOT/html/a/;",
];

const LOCATIONS: &[&str] = &[
    "/",
    "/a/",
    "= /exact",
    "^~ /pages/",
    "~ \\.txt$",
    "~* ^/B/(.*)$",
    "/to",
    "= /",
    "/old/",
    "/private/",
    "~ ^/(?<n>[a-z]+)/in$",
];

/// Lines of a block: each of [`ONCE`] at most once, and some of [`OFTEN`].
fn lines(random: &mut Random, rarely: usize) -> String {
    let mut lines = String::new();
    for choices in ONCE {
        if random.one_in(rarely) {
            lines.push_str(random.pick(choices));
            lines.push(' ');
        }
    }
    for _ in 0..random.below(4) {
        let line = random.pick(OFTEN);
        // Said twice in one block it would be refused.
        let is_unique = line.starts_with("error_page") || line.starts_with("valid_referers");
        if !is_unique || !lines.contains(line) {
            lines.push_str(line);
            lines.push(' ');
        }
    }
    lines
}

fn server(random: &mut Random, name: &str) -> String {
    let mut block = format!(
        "server {{ listen 127.0.0.1:PORT; server_name {name}; root ROOT/html;\n  set $s start; \
         auth_basic_user_file ROOT/users; location @named {{ return 202 \"named $uri $s\"; }}\n  {}\n",
        lines(random, 12)
    );
    let mut used: Vec<&str> = Vec::new();
    for _ in 0..1 + random.below(5) {
        let location = random.pick(LOCATIONS);
        if used.contains(&location) {
            continue;
        }
        used.push(location);
        let mut answer = random.pick(ANSWERS);
        if answer.starts_with("alias") && !location.starts_with('/') {
            answer = "";
        }
        let mut limit = random.pick(LIMITS);
        // One of the known differences.
        if answer == "empty_gif;" && limit.starts_with("limit_except") {
            limit = "";
        }
        let lines = lines(random, 10);
        block.push_str(&format!(
            "  location {location} {{ {lines} {limit} {answer} }}\n"
        ));
    }
    block + "}\n"
}

const PATHS: &[&str] = &[
    "/",
    "/small.txt",
    "/exact",
    "/a/",
    "/a",
    "/a/index.html",
    "/none",
    "/empty.txt",
    "/big.bin",
    "/page.css",
    "/noext",
    "/b/",
    "/b/other.html",
    "/B/small.txt",
    "/old/small.txt",
    "/old/a/",
    "/here/small.txt",
    "/move/x",
    "/xzy",
    "/to",
    "/to/x",
    "/pages/401",
    "/pages/",
    "/private/small.txt",
    "/word/in",
    "/a/../small.txt",
    "//small.txt",
    "/sm%61ll.txt",
    "/UP.HTM",
    "/.hid/",
    "/emptydir/",
    "/sp%20ace.txt",
];

const ARGS: &[&str] = &["", "", "", "?a=b", "?a=off", "?a", "?x=1&a=2"];

const LINES: &[&str] = &[
    "X-Client: 10.1.2.3",
    "X-Client: 192.168.3.4",
    "X-Forwarded-For: 10.0.0.1, 192.168.0.9",
    "Authorization: Basic cGxhaW46c2VjcmV0",
    "Authorization: Basic cGxhaW46d3Jvbmc=",
    "Range: bytes=0-3",
    "Range: bytes=2-3,5-",
    "Range: bytes=400000-",
    "If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",
    "If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT",
    "If-None-Match: *",
    "If-Match: \"x\"",
    "Referer: http://a.example/x",
    "Referer: http://evil.example/",
    "Cookie: a=1; b=2",
    "Accept-Encoding: gzip",
];

fn request(random: &mut Random, name: &str) -> Request {
    let target = format!("{}{}", random.pick(PATHS), random.pick(ARGS));
    let mut request = match random.below(12) {
        0 => head(target),
        1 => post(target, "four"),
        2 => method("DELETE", target),
        3 => get(target).http_10(),
        _ => get(target),
    };
    request = request.host(name);
    for _ in 0..random.below(3) {
        let line = random.pick(LINES);
        // Of two lines of a name nginx takes one, which is not the point here.
        let (header, _) = line.split_once(':').expect("a header");
        if !Case::from(request.clone()).to_string().contains(header) {
            request = request.line(line);
        }
    }
    request
}

fn number(name: &str, otherwise: u64) -> u64 {
    let value = std::env::var(name).ok();
    value.map_or(otherwise, |value| value.parse().expect("a number"))
}

#[test]
fn random_configurations_are_served_as_by_nginx() {
    let mut seed = number("REVOLVE_SEED", 1);
    let end = seed + number("REVOLVE_RANDOM_CONFIGS", CONFIGS);
    while seed < end {
        let (mut config, mut cases) = (String::new(), Vec::new());
        config.push_str("server_names_hash_max_size 4096; server_names_hash_bucket_size 128;\n");
        for seed in seed..end.min(seed + CONFIGS_OF_ONE_FILE) {
            let (mut random, name) = (Random(seed), format!("seed-{seed}.example"));
            config.push_str(&server(&mut random, &name));
            cases.extend((0..REQUESTS).map(|_| Case::from(request(&mut random, &name))));
        }
        compare_with(&config, |_| cases);
        seed += CONFIGS_OF_ONE_FILE;
    }
}
