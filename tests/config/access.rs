//! Mistakes in `allow` and `deny`, `limit_except` and the client's address.

use super::alike::check_in_http;
use super::mistakes::{Mistake, check_all, same};

const MISTAKES: &[Mistake] = &[
    same(
        "events {}\nhttp {\n allow x; }\n",
        "invalid parameter \"x\" in FILE:3",
        "expected an address, a network like 10.0.0.0/8, unix: or all",
    ),
    same(
        "events {}\nhttp { deny 1.2.3.4/33; }\n",
        "invalid parameter \"1.2.3.4/33\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { deny unix:/x; }\n",
        "invalid parameter \"unix:/x\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { allow a b; }\n",
        "invalid number of arguments in \"allow\" directive in FILE:2",
        "expected 1 argument",
    ),
    same(
        "events {}\nhttp { server { limit_except GET { deny all; } } }\n",
        "\"limit_except\" directive is not allowed here in FILE:2",
        "expected inside `location`",
    ),
    same(
        "events {}\nhttp { server { location / { limit_except GOT { deny all; } } } }\n",
        "invalid method \"GOT\" in FILE:2",
        "expected one of GET, HEAD, POST",
    ),
    same(
        "events {}\nhttp { server { location / { limit_except GET; } } }\n",
        "directive \"limit_except\" has no opening \"{\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { limit_except GET {} limit_except PUT {} } } }\n",
        "\"limit_except\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { limit_except GET { root /x; } } } }\n",
        "\"root\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { server { location / { limit_except GET { limit_except PUT {} } } } }\n",
        "\"limit_except\" directive is not allowed here in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { set_real_ip_from nohost.invalid; }\n",
        "host not found in set_real_ip_from \"nohost.invalid\" in FILE:2",
        "expected an address, a network like 10.0.0.0/8, unix: or the name of a host",
    ),
    same(
        "events {}\nhttp { set_real_ip_from 10.0.0.0/33; }\n",
        "host not found in set_real_ip_from \"10.0.0.0/33\" in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { real_ip_header x; real_ip_header y; }\n",
        "\"real_ip_header\" directive is duplicate in FILE:2",
        "",
    ),
    same(
        "events {}\nhttp { real_ip_recursive maybe; }\n",
        "invalid value \"maybe\" in \"real_ip_recursive\" directive, it must be \"on\" or \"off\" in FILE:2",
        "",
    ),
];

#[test]
fn mistakes_about_who_may_are_named() {
    check_all(MISTAKES);
}

#[test]
fn odd_rules_are_taken_and_warned_of_as_in_nginx() {
    check_in_http(&[
        ("allow all; deny unix:; allow 1.2.3.4/8; deny ::1/64;", true),
        ("allow 255.255.255.255;", false),
        ("deny \"\";", false),
        (
            "server { location / { limit_except get Patch { deny all; } } }",
            true,
        ),
        (
            "server { location / { limit_except trace { deny all; } } }",
            false,
        ),
        (
            "server { location ~ (?<group>.) { limit_except GET { deny all; } } }",
            true,
        ),
        (
            "server { location @n { limit_except GET { deny all; } } }",
            true,
        ),
        (
            "set_real_ip_from 1.2.3.4/8; set_real_ip_from unix:; set_real_ip_from ::1;",
            true,
        ),
        (
            "set_real_ip_from localhost; set_real_ip_from 255.255.255.255;",
            true,
        ),
        ("set_real_ip_from all;", false),
        ("set_real_ip_from \"\";", false),
        (
            "real_ip_header \"\"; server { real_ip_header proxy_protocol; }",
            true,
        ),
    ]);
}
