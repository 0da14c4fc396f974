//! What is said of names that Revolve does not have: who has them, what was meant, and advice that
//! publishes nothing.

use super::mistakes::{Mistake, check_all, ours};
use crate::support::{Folder, Run, revolve};

const NAMES: &[Mistake] = &[
    ours(
        "events {}\nhttp { server { location /x { auth_jwt_key_file x; } } }\n",
        "unknown directive \"auth_jwt_key_file\" in FILE:2",
        "it may keep clients out: where the line is only removed, they are let in",
    ),
    ours(
        "events {}\nhttp { server { auth_require x; } }\n",
        "unknown directive \"auth_require\" in FILE:2",
        "`return 403;`",
    ),
    ours(
        "events {}\nhttp { server { location / { js_access main.check; } } }\n",
        "unknown directive \"js_access\" in FILE:2",
        "they are let in",
    ),
    ours(
        "events {}\nhttp { server { auth_jwt realm; } }\n",
        "unknown directive \"auth_jwt\" in FILE:2",
        "they are let in",
    ),
    ours(
        "events {}\nhttp { server { location ~ \\.php$ { perl a::b; } } }\n",
        "unknown directive \"perl\" in FILE:2",
        "source code too",
    ),
    ours(
        "events {}\nhttp { server { location /api { api; } } }\n",
        "unknown directive \"api\" in FILE:2",
        "it is of NGINX Plus; Revolve does not have it",
    ),
    ours(
        "events {}\nhttp { js_import a.js; }\n",
        "unknown directive \"js_import\" in FILE:2",
        "it is of the njs module",
    ),
    ours(
        "rtmp {}\nevents {}\n",
        "unknown directive \"rtmp\" in FILE:1",
        "it is of the rtmp module",
    ),
    ours(
        "events {}\nhttp { server { more_set_headers 'Server: x'; } }\n",
        "unknown directive \"more_set_headers\" in FILE:2",
        "it is of the headers-more module",
    ),
    ours(
        "events {}\nhttp { perl_requires a.pm; }\n",
        "unknown directive \"perl_requires\" in FILE:2",
        "did you mean `perl_require`? nginx has it in http_perl_module",
    ),
];

/// What is not to be built, with the reason or what to do instead.
const NOT_BUILT: &[Mistake] = &[
    ours(
        "events {}\nhttp { server { location / { image_filter resize 100 100; } } }\n",
        "unknown directive \"image_filter\" in FILE:2",
        "pass such requests to an image server with `proxy_pass`",
    ),
    ours(
        "events {}\nhttp { geoip_country GeoIP.dat; }\n",
        "unknown directive \"geoip_country\" in FILE:2",
        "name it in `geo $geoip_country_code { include FILE; }`",
    ),
    ours(
        "events {}\nmail { server { listen 25; } }\n",
        "unknown directive \"mail\" in FILE:2",
        "proxies no IMAP, POP3 or SMTP",
    ),
    ours(
        "ssl_engine pkcs11;\nevents {}\n",
        "unknown directive \"ssl_engine\" in FILE:1",
        "engines are OpenSSL's, and there is none here",
    ),
    ours(
        "events { kqueue_changes 512; }\n",
        "unknown directive \"kqueue_changes\" in FILE:1",
        "`use epoll;` or `use io_uring;` in `events` chooses the method",
    ),
    ours(
        "events {}\nhttp { server { location / { perl x::y; } } }\n",
        "unknown directive \"perl\" in FILE:2",
        "And note that it answers in place of the files",
    ),
];

const VARIABLES: &[Mistake] = &[
    ours(
        "events {}\nhttp { log_format x $geoip_city; }\n",
        "unknown \"geoip_city\" variable in FILE:2",
        "which MaxMind has not updated since 2018",
    ),
    ours(
        "events {}\nhttp { log_format x $upstream_last_server_name; }\n",
        "unknown \"upstream_last_server_name\" variable in FILE:2",
        "http_upstream_module has it; Revolve does not have it yet",
    ),
    ours(
        "events {}\nhttp { log_format x $upstream_trailer_etag; }\n",
        "unknown \"upstream_trailer_etag\" variable in FILE:2",
        "http_upstream_module has it; Revolve does not have it yet",
    ),
    ours(
        "events {}\nhttp { log_format x $requst_uri; }\n",
        "unknown \"requst_uri\" variable in FILE:2",
        "did you mean `$request_uri`?",
    ),
];

const SEMICOLONS: &[Mistake] = &[
    ours(
        "events {}\nhttp {\n server {\n  listen 8080\n  server_name x;\n }\n}\n",
        "invalid parameter \"server_name\" in FILE:5",
        "is a `;` missing at the end of line 4?",
    ),
    ours(
        "events {}\nhttp {\n sendfile\n root x;\n}\n",
        "invalid number of arguments in \"sendfile\" directive in FILE:3",
        "is a `;` missing at the end of line 3?",
    ),
    ours(
        "events {}\nhttp {\n keepalive_timeout 5s\n gzip on;\n}\n",
        "invalid number of arguments in \"keepalive_timeout\" directive in FILE:3",
        "is a `;` missing at the end of line 3?",
    ),
];

/// A configuration that is fine, and what is warned of.
#[track_caller]
fn warns(server: &str, warnings: &[&str]) {
    let folder = Folder::new();
    let text = format!(
        "events {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:1;\n{server}\n}} }}\n"
    );
    folder.write("nginx.conf", text);
    let globals = format!("pid {}/pid;", folder.path().display());
    let run = Run::of(revolve(&folder).arg("-t").arg("-g").arg(globals));
    assert_eq!(run.code, 0, "{}", run.err);
    let count = run.err.matches("[warn]").count();
    assert_eq!(count, usize::from(!warnings.is_empty()), "{}", run.err);
    for warning in warnings {
        assert!(run.err.contains(warning), "{warning} in {}", run.err);
    }
}

#[test]
fn a_pattern_that_repeats_too_much_is_warned_of() {
    let location = |pattern: &str| format!("location ~ \"{pattern}\" {{ return 200; }}");
    warns(
        &location("^/(?:(?:a{1,50}){1,50}){1,20}$"),
        &["repeats very much in ", "given up, with 500, on more than "],
    );
    warns(&location("^/[a-z]{1,64}/(?:[0-9]{1,3}[.]){3}$"), &[]);
}

#[test]
fn an_alias_that_can_be_left_is_warned_of() {
    warns(
        "location /c { alias /dir/; }",
        &[
            "location \"/c\" leads out of the folder of its alias in ",
            "this ends with a slash",
            "and this does not",
            "a request for /c../x gets /dir/../x: write `location /c/`",
        ],
    );
    warns("location ^~ /c { alias /dir/; }", &["write `location /c/`"]);
    for fine in [
        "location /c/ { alias /dir/; }",
        "location /c { alias /dir; }",
        "location = /c { alias /dir/; }",
        "location ~ ^/c/(.*) { alias /dir/$1; }",
        "location /c { root /dir/; }",
    ] {
        warns(fine, &[]);
    }
}

#[test]
fn advice_on_names_publishes_nothing() {
    check_all(NAMES);
}

#[test]
fn what_is_not_to_be_built_says_why_and_what_to_do() {
    check_all(NOT_BUILT);
}

#[test]
fn variables_of_others_are_known_by_name() {
    check_all(VARIABLES);
}

#[test]
fn a_semicolon_that_is_missing_is_asked_for() {
    check_all(SEMICOLONS);
}
